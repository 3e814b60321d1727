//! Ends connections, here and at their providers (rows of kind `q`).
//!
//! **The order of writes.** First a row is written that says what is to be revoked, with all that is known of the grant. Then
//! the connection is erased, and from there on it is served to nobody. Then the provider is asked. Then the first row is
//! erased, and last the connection's entry in its subject's index. The entry carries the grant, under which the row lies. So a
//! crash before the first write has changed nothing, and after it the next look at the index finds the row and continues.
//!
//! **A refresh that is in flight** is waited for, by its lease and for at most [`PATIENCE`], because its tokens have to be
//! revoked too. The refreshing instance looks for the row of the revocation after it has stored its tokens. The disconnecting
//! instance looks at the connection once more after it has written that row, and again when it has the lease. In any order,
//! one of the two sees the other's write: the row then has the newest tokens, and the connection is gone. (On a store whose
//! writes are seen late, both may miss it if they meet within that time. The connection is gone then too; whether its newest
//! tokens were revoked is not certain.)
//!
//! **When the provider does not do it**, it is asked again after a minute, and then after ever longer pauses, up to a day,
//! when the subject's connections are listed or ended, or by maintenance ([`Connections::retry_revocations`]). After
//! [`GIVEN_UP`] seconds that ends with a line in the log.
//!
//! **What is not revoked**, because it could end more than it should: a grant in whose place there is a newer connection (at
//! many providers a person's new consent is the same grant as the old, and Google ends all of it with any of its tokens).
//! For the same reason a grant that is replaced by connecting again is left alone. Where the catalogue says that an account
//! has one grant for all its connections (`shared_grant`), it is revoked with the last of them, of any subject.

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::index::{Index, SHARDS};
use super::refresh::{LONGEST_WAIT, retry_after};
use super::row::{self, Connection};
use super::{Connections, PATIENCE};
use crate::host::Host;
use crate::names::{ConnectionId, GrantId, Subject};
use crate::provider::{self, Failure, Revoked};
use crate::services::ServiceError;
use crate::settings::SettingError;
use crate::vault::{RowError, RowId, RowKind};
use sealing::age::{SKEW, left};

/// The result of disconnecting. The connection is erased here in any case.
#[derive(Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// And revoked at the provider, if there was anything to revoke.
    Forgotten,
    /// The provider could not be told yet, and will be.
    Queued,
    /// The provider may still honour it, for this reason.
    NotRevoked(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum DisconnectError {
    #[error("no such service")]
    UnknownService,
    #[error(transparent)]
    Row(#[from] RowError),
}

/// A grant that is to end at its provider.
#[derive(Debug, Serialize, Deserialize)]
struct Revocation {
    id: ConnectionId,
    connection: Connection,
    since: u64,
    attempts: u32,
    /// When to go on with it, unless the request that began it has.
    next: u64,
}

impl<H: Host> Connections<'_, H> {
    /// Forgets a connection, and ends its grant at the provider.
    pub(crate) async fn disconnect(&self, id: &ConnectionId) -> Result<Disconnected, DisconnectError> {
        let is_offered = self.services.offered(&id.service)?.is_some();
        let connection = match self.get(id) {
            Err(RowError::Open(_) | RowError::Form) => {
                self.forget(id)?;
                self.unindex_connection(id, None).await;
                return Ok(Disconnected::NotRevoked("what was stored of it cannot be read"));
            }
            connection => connection?,
        };
        let ended = match connection {
            Some(connection) => {
                let revocation = self.revocation_of(id, connection);
                self.write_revocation(&revocation)?;
                self.finish_revocation(revocation, PATIENCE).await?
            }
            None if is_offered => Disconnected::Forgotten,
            None => return Err(DisconnectError::UnknownService),
        };
        if let Err(error) = self.retry_revocations(&id.subject).await {
            self.host
                .log(&format!("revocations that are due were not tried, and will be at the next request: {error}"));
        }
        Ok(ended)
    }

    /// Goes on with the subject's revocations that are due, and takes the names of what is gone out of its list.
    pub async fn retry_revocations(&self, subject: &Subject) -> Result<(), RowError> {
        let list = self.index.index_of(subject)?;
        let mut due = Vec::new();
        let mut has_changed = false;
        for entry in &list.connections {
            due.extend(self.revocation(subject, &entry.grant)?);
            let connection = self.get(&entry.clone().id(subject));
            has_changed |= connection.is_ok_and(|row| row.is_none_or(|row| row.grant != entry.grant));
        }
        for grant in &list.revocations {
            let revocation = self.revocation(subject, grant)?;
            has_changed |= revocation.is_none();
            due.extend(revocation);
        }
        due.retain(|revocation| {
            left(revocation.next, self.host.now(), pause(revocation.attempts).max(LONGEST_WAIT.into()) + SKEW) == 0
        });
        due.truncate(AT_ONCE);
        for ended in join_all(due.into_iter().map(|revocation| self.finish_revocation(revocation, 0))).await {
            ended?;
        }
        if has_changed {
            self.index.change_index(subject, |list| self.remove_gone(subject, list)).await;
        }
        Ok(())
    }

    /// Revokes the tokens of a refresh that finished after its connection had been disconnected.
    pub(super) async fn revoke_late(&self, id: &ConnectionId, connection: Connection) -> Result<(), RowError> {
        match self.revocation(&id.subject, &connection.grant)? {
            // The disconnecting instance reads it again when the lease is free.
            Some(mut revocation) => {
                self.take_over(&mut revocation, connection)?;
                self.erase_grant(&mut revocation)
            }
            None => {
                let revocation = self.revocation_of(id, connection);
                self.write_revocation(&revocation)?;
                self.revoke(revocation).await.map(|_| ())
            }
        }
    }

    /// Returns true if this grant has been disconnected.
    pub(super) fn is_being_revoked(&self, id: &ConnectionId, grant: &GrantId) -> bool {
        self.revocation(&id.subject, grant).is_ok_and(|revocation| revocation.is_some())
    }

    /// From the written revocation on.
    async fn finish_revocation(&self, mut revocation: Revocation, patience: u64) -> Result<Disconnected, RowError> {
        let id = revocation.id.clone();
        self.erase_grant(&mut revocation)?;
        let identity = id.identity();
        let place = row::place(&identity);
        let lease = self.leases.wait(place, patience).await;
        let erased = self.erase_grant(&mut revocation);
        let is_alone = match lease {
            Ok(Some(lease)) => {
                self.leases.release(place, &lease);
                true
            }
            Ok(None) | Err(_) => false,
        };
        erased?;
        if !is_alone {
            self.unindex_connection(&id, Some(&revocation)).await;
            return Ok(Disconnected::Queued);
        }
        // A refresh that has ended meanwhile may have brought newer tokens.
        let Some(stored) = self.revocation(&id.subject, &revocation.connection.grant)? else {
            return Ok(Disconnected::Forgotten);
        };
        let is_newer = stored.connection.generation > revocation.connection.generation;
        self.revoke(if is_newer { stored } else { revocation }).await
    }

    /// Asks the provider, once, and stores the result.
    async fn revoke(&self, mut revocation: Revocation) -> Result<Disconnected, RowError> {
        let id = revocation.id.clone();
        let now = self.host.now();
        // A clock that was ahead must not have it tried for longer.
        revocation.since = revocation.since.min(now);
        // Seconds that the provider has asked for.
        let mut least = 0;
        let ended = match self.services.service(&id.service, revocation.connection.issued.as_ref()).await {
            Ok(None) => Disconnected::NotRevoked("there is no client of this service any more"),
            Err(ServiceError::Row(error)) => return Err(error),
            Err(ServiceError::OtherIssuer) => {
                Disconnected::NotRevoked("the service has another authorization server now")
            }
            Err(error @ (ServiceError::NoAnswer { .. } | ServiceError::Discovery(_))) => {
                self.host.log(&format!("{}: revocation failed: {error}", id.service));
                Disconnected::Queued
            }
            Ok(Some(service)) => match self.get(&id) {
                Ok(Some(newer)) if newer.grant != revocation.connection.grant => {
                    Disconnected::NotRevoked("it was connected again, and revoking the old grant could end the new one")
                }
                _ if service.shared_grant && self.lives_on_elsewhere(&revocation)? => {
                    Disconnected::NotRevoked("other connections of that account live on the same grant")
                }
                _ => match provider::revoke(self.host, &service, revocation.connection.held()).await {
                    Ok(Revoked::AtProvider) | Err(Failure::Ended(_)) => Disconnected::Forgotten,
                    Ok(Revoked::NotOffered) => Disconnected::NotRevoked("the provider offers no revocation"),
                    // What is not there has ended.
                    Err(Failure::Refused(code)) if code == "status_404" => Disconnected::Forgotten,
                    Err(failure) => {
                        self.host.log(&format!("{}: revocation failed: {failure}", id.service));
                        least = retry_after(&failure).into();
                        Disconnected::Queued
                    }
                },
            },
        };
        if ended == Disconnected::Queued && now < revocation.since + GIVEN_UP {
            revocation.next = now + pause(revocation.attempts).max(least);
            revocation.attempts += 1;
            // Another one may have been luckier meanwhile.
            if self.is_being_revoked(&id, &revocation.connection.grant) {
                self.write_revocation(&revocation)?;
            }
            self.unindex_connection(&id, Some(&revocation)).await;
            return Ok(Disconnected::Queued);
        }
        self.vault.erase(revocation_place(&[id.subject.as_str(), revocation.connection.grant.as_str()]))?;
        self.unindex_connection(&id, None).await;
        if ended == Disconnected::Queued {
            self.host.log(&format!("{}: a revocation is given up: the provider did not do it in a week. The access was erased here, and may still be valid there", id.service));
            return Ok(Disconnected::NotRevoked("the provider could not be asked, or refused"));
        }
        Ok(ended)
    }

    /// Returns true if any subject may have a connection of the same account of the same service. For the few services whose
    /// accounts have one grant for all.
    fn lives_on_elsewhere(&self, revocation: &Revocation) -> Result<bool, RowError> {
        let mut looked = 0;
        for shard in 0..SHARDS {
            for subject in self.index.subjects_of_shard(shard)? {
                looked += 1;
                if looked > MOST_SUBJECTS {
                    return Ok(true);
                }
                let others =
                    self.index.connections_of(&subject)?.into_iter().filter(|id| id.service == revocation.id.service);
                for id in others {
                    let Ok(Some(other)) = self.get(&id) else { continue };
                    let (ours, theirs) = (&revocation.connection.label, &other.label);
                    if ours.is_none() || theirs.is_none() || ours == theirs {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Erases the connection, if it is of the grant that is to be revoked, after taking over what is newer in it.
    fn erase_grant(&self, revocation: &mut Revocation) -> Result<(), RowError> {
        match self.get(&revocation.id)? {
            Some(connection) if connection.grant == revocation.connection.grant => {
                self.take_over(revocation, connection)?;
                self.forget(&revocation.id)
            }
            _ => Ok(()),
        }
    }

    fn take_over(&self, revocation: &mut Revocation, connection: Connection) -> Result<(), RowError> {
        if connection.generation > revocation.connection.generation {
            revocation.connection = connection;
            self.write_revocation(revocation)?;
        }
        Ok(())
    }

    fn revocation_of(&self, id: &ConnectionId, connection: Connection) -> Revocation {
        let now = self.host.now();
        Revocation { id: id.clone(), connection, since: now, attempts: 0, next: now + FIRST_PAUSE }
    }

    fn revocation(&self, subject: &Subject, grant: &GrantId) -> Result<Option<Revocation>, RowError> {
        self.vault.read(revocation_place(&[subject.as_str(), grant.as_str()]))
    }

    fn write_revocation(&self, revocation: &Revocation) -> Result<(), RowError> {
        let identity = [revocation.id.subject.as_str(), revocation.connection.grant.as_str()];
        self.vault.write(revocation_place(&identity), revocation)
    }

    /// Takes the connection's name out of the list if it is gone, and puts in that of the revocation that is left.
    async fn unindex_connection(&self, id: &ConnectionId, left: Option<&Revocation>) {
        self.index
            .change_index(&id.subject, |list| {
                if let Some(left) = left {
                    list.revocations.push(left.connection.grant.clone());
                }
                self.remove_gone(&id.subject, list);
            })
            .await;
    }

    /// Removes entries whose connection or revocation is gone. An entry that cannot be checked now stays.
    fn remove_gone(&self, subject: &Subject, list: &mut Index) {
        let Index { connections, revocations } = list;
        connections.retain_mut(|entry| {
            let Ok(connection) = self.get(&entry.clone().id(subject)) else { return true };
            if connection.as_ref().is_some_and(|connection| connection.grant == entry.grant) {
                return true;
            }
            revocations.push(std::mem::take(&mut entry.grant));
            connection.map(|connection| entry.grant = connection.grant).is_some()
        });
        revocations.sort_unstable();
        revocations.dedup();
        revocations.retain(|grant| !matches!(self.revocation(subject, grant), Ok(None)));
        while revocations.len() > MOST {
            let grant = revocations.remove(0);
            self.host.log("a revocation is given up: one subject has too many. Its access was erased here, and may still be valid at the provider");
            if let Err(error) = self.vault.erase(revocation_place(&[subject.as_str(), grant.as_str()])) {
                self.host.log(&format!("its row stays in the store: {error}"));
            }
        }
    }
}

impl From<SettingError> for DisconnectError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

impl Disconnected {
    /// The reason why the provider may still honour it.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Forgotten => None,
            Self::Queued => Some("the provider could not be asked, or refused: it is asked again for a week"),
            Self::NotRevoked(reason) => Some(reason),
        }
    }
}

/// Seconds from an attempt to the next one, after so many that failed before.
fn pause(attempts: u32) -> u64 {
    (FIRST_PAUSE << attempts.saturating_mul(2).min(16)).min(LONGEST_PAUSE)
}

fn revocation_place<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::Revocation, identity }
}

/// Seconds until a revocation that failed is tried again, at first and at most.
const FIRST_PAUSE: u64 = 60;
const LONGEST_PAUSE: u64 = 24 * 60 * 60;
/// Seconds after which it is not tried any more.
const GIVEN_UP: u64 = 7 * 24 * 60 * 60;
/// Subjects that are looked at for another connection of an account.
const MOST_SUBJECTS: usize = 256;
/// Revocations that one request goes on with.
const AT_ONCE: usize = 8;
/// Revocations of a subject that are kept.
const MOST: usize = 64;
