//! Indexes the connections of each subject, and the subjects that have any (rows of kinds `i` and `u`).
//!
//! A store with get, set and delete cannot be listed. So one row per subject lists its connections and its revocations that
//! are due, and [`SHARDS`] rows list the subjects that have such a row, for maintenance.
//!
//! The indexes are for finding; the connection's own row is what counts. A connection that is missing in the index (because
//! two changes met on a store that is slower than assumed, or an instance died between two writes) works as before, and is
//! indexed when it is connected again or refreshed. An entry whose connection is gone is removed at the next look. Each index
//! changes under a [`lease`](crate::lease) of its own. A subject's index is changed before the index of subjects, under the
//! first one's lease, so that the two agree.
//!
//! An entry carries the grant that it was written for. Disconnecting erases the connection before its entry. So an entry
//! without its connection leads to the revocation that must be there, and none is lost ([`super::revocation`]).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::Host;
use crate::lease::Leases;
use crate::names::{AccountName, ConnectionId, GrantId, ServiceId, Subject};
use crate::vault::{OpenError, RowError, RowId, RowKind, Vault};

/// The index of one subject.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) connections: Vec<Entry>,
    /// Grants that are to be revoked.
    pub(super) revocations: Vec<GrantId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) service: ServiceId,
    pub(super) account: AccountName,
    pub(super) grant: GrantId,
}

/// The index of connections, by subject, and the index of subjects.
pub(crate) struct ConnectionIndex<'b, H> {
    pub host: &'b H,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
}

impl<H: Host> ConnectionIndex<'_, H> {
    /// The connections in the subject's index.
    pub fn connections_of(&self, subject: &Subject) -> Result<Vec<ConnectionId>, RowError> {
        let list = self.index_of(subject)?;
        Ok(list.connections.into_iter().map(|entry| entry.id(subject)).collect())
    }

    /// The grants of the subject for which there may be a revocation to come.
    pub(crate) fn revocations_of(&self, subject: &Subject) -> Result<Vec<GrantId>, RowError> {
        let Index { connections, revocations } = self.index_of(subject)?;
        Ok(connections.into_iter().map(|entry| entry.grant).chain(revocations).collect())
    }

    /// The subjects of one of the [`SHARDS`] lists that have connections, or revocations to come.
    pub fn subjects_of_shard(&self, shard: u8) -> Result<Vec<Subject>, RowError> {
        Ok(self.vault.read(RowId { kind: RowKind::SubjectIndex, identity: &[&shard.to_string()] })?.unwrap_or_default())
    }

    /// Returns true if one more may be connected.
    pub(crate) fn has_room_for(&self, id: &ConnectionId) -> Result<bool, RowError> {
        let list = match self.index_of(&id.subject) {
            // An index that cannot be counted does not hold people up.
            Err(RowError::Open(_)) => return Ok(true),
            list => list?,
        };
        Ok(list.connections.len() < MOST || list.connections.iter().any(|entry| entry.is(id)))
    }

    /// Sees to it that the list names a connection.
    pub(super) async fn index_connection(&self, id: &ConnectionId, grant: &GrantId) {
        let entry = Entry { service: id.service.clone(), account: id.account.clone(), grant: grant.clone() };
        if !self.index_of(&id.subject).is_ok_and(|list| list.connections.contains(&entry)) {
            self.change_index(&id.subject, |list| {
                list.connections.retain(|other| !other.is(id));
                list.connections.push(entry);
            })
            .await;
        }
    }

    pub(super) fn index_of(&self, subject: &Subject) -> Result<Index, RowError> {
        match self.vault.read(index_place(&[subject.as_str()])) {
            // Nothing opens it again: what it entry comes back by and by.
            Err(RowError::Open(OpenError::Broken) | RowError::Form) => Ok(Index::default()),
            list => Ok(list?.unwrap_or_default()),
        }
    }

    /// Changes a subject's index under its lease. If that fails, the next look repairs the index, so it is no error of the
    /// caller's work.
    pub(super) async fn change_index(&self, subject: &Subject, change: impl FnOnce(&mut Index)) {
        let identity = [subject.as_str()];
        let place = index_place(&identity);
        let changed = match self.leases.wait(place, PATIENCE).await {
            Ok(Some(lease)) => {
                let changed = self.change_index_in_turn(subject, change).await;
                self.leases.release(place, &lease);
                changed
            }
            Ok(None) => return self.host.log("an index of connections was not changed: another instance holds its lease. The next request repairs it"),
            Err(error) => Err(error),
        };
        if let Err(error) = changed {
            self.host.log(&format!("an index of connections was not changed: {error}. The next request repairs it"));
        }
    }

    async fn change_index_in_turn(&self, subject: &Subject, change: impl FnOnce(&mut Index)) -> Result<(), RowError> {
        let before = self.index_of(subject)?;
        let mut list = before.clone();
        change(&mut list);
        if list == before {
            return Ok(());
        }
        let is_empty = list.connections.is_empty() && list.revocations.is_empty();
        if !is_empty {
            self.change_subjects(subject, true).await?;
            return self.vault.write(index_place(&[subject.as_str()]), &list);
        }
        self.vault.erase(index_place(&[subject.as_str()]))?;
        self.change_subjects(subject, false).await
    }

    /// Sees to it that the subject's shard names it, or does not.
    async fn change_subjects(&self, subject: &Subject, entry: bool) -> Result<(), RowError> {
        let shard = shard_of(subject);
        let number = shard.to_string();
        let identity = [number.as_str()];
        let place = RowId { kind: RowKind::SubjectIndex, identity: &identity };
        if self.subjects_of_shard(shard)?.contains(subject) == entry {
            return Ok(());
        }
        let Some(lease) = self.leases.wait(place, PATIENCE).await? else {
            self.host.log("an index of subjects was not changed: another instance holds its lease. The next change of the subject repairs it");
            return Ok(());
        };
        let changed = self.subjects_of_shard(shard).and_then(|mut subjects| {
            subjects.retain(|other| other != subject);
            if entry && subjects.len() < MOST_SUBJECTS {
                subjects.push(subject.clone());
            } else if entry {
                self.host.log("an index of subjects is full: one subject is left out of sweeps");
            }
            self.vault.write(place, &subjects)
        });
        self.leases.release(place, &lease);
        changed
    }
}

impl Entry {
    pub(super) fn is(&self, id: &ConnectionId) -> bool {
        (&self.service, &self.account) == (&id.service, &id.account)
    }

    pub(super) fn id(self, subject: &Subject) -> ConnectionId {
        ConnectionId { subject: subject.clone(), service: self.service, account: self.account }
    }
}

fn index_place<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::ConnectionIndex, identity }
}

fn shard_of(subject: &Subject) -> u8 {
    let [first, ..] = <[u8; 32]>::from(Sha256::digest(subject.as_str()));
    first % SHARDS
}

/// The number of rows of the index of subjects.
pub const SHARDS: u8 = 64;
/// Connections of a subject. A row of a store may not have more than some 400 KB everywhere.
const MOST: usize = 256;
/// Subjects of a shard.
const MOST_SUBJECTS: usize = 2048;
/// For how many milliseconds a change waits for another.
const PATIENCE: u64 = 5000;
