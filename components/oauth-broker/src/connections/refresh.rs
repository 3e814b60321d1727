//! Refreshes the access token of a connection when it is due.
//!
//! * A grant ends only when the provider says so *and* the row still is the one that was refreshed: if another instance
//!   has brought a newer token meanwhile, that one counts (and is refreshed in its turn if it is due).
//! * An ended grant is marked, and from then on costs no provider call.
//! * Any other failure leaves the row as it is, and the old token is handed out for as long as it lasts.
//! * When the provider says when to come back (`Retry-After`), it is not asked before. That time has a row of its own
//!   (kind `w`), so that noting it cannot overwrite a newer token.
//! * A provider may refuse for ever and never say that the grant has ended. The same row counts such refusals of one
//!   generation. From the [`REPEATED`]th on, the provider is asked after ever longer pauses, and the person gets the link
//!   to connect again. The grant is kept: a later refresh that succeeds ends this state.
//! * An upstream that refuses every token cannot make us refresh at every call: a token that was refreshed because the
//!   upstream had refused one, and is refused within [`REFUSAL_PAUSE`], is not refreshed again.
//! * One instance at a time asks the provider: the one that holds the connection's [`lease`](crate::lease). Another instance
//!   hands out the old token while that is valid. Otherwise it looks every [`POLL`] for the result: a newer token, the end of
//!   the grant, or the free lease. It waits for at most [`PATIENCE`].
//! * A refresh that was interrupted after the provider was asked leaves a mark in the lease. The next caller sends the stored
//!   refresh token once more, at once: nothing else is known of the grant, a provider with a grace period accepts it, and so
//!   does one that had not got so far. If it says `invalid_grant`, the connection ends with the reason [`INTERRUPTED`]. If no
//!   answer comes again, the mark stays for the next caller.
//! * A token that arrives for a connection that was disconnected meanwhile is revoked ([`super::revocation`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::row::{self, Connection, State};
use super::{Connections, PATIENCE, Status};
use crate::audit::{About, Actor, Event, Line};
use crate::catalogue::Service;
use crate::host::{Host, SendFault};
use crate::lease::{GrantGeneration, Lease, POLL};
use crate::names::ConnectionId;
use crate::provider::{self, Failure, Grant};
use crate::services::ServiceError;
use crate::settings::SettingError;
use crate::vault::{RowError, RowId, RowKind};
use sealing::age::{SKEW, is_recent, left};

impl<H: Host> Connections<'_, H> {
    /// Refreshes a connection that is due, or whose token the upstream has `refused`.
    pub(super) async fn refresh_connection(
        &self,
        id: &ConnectionId,
        mut connection: Connection,
        mut refused: bool,
    ) -> Result<Status, SettingError> {
        let service = match self.services.service(&id.service, connection.issued.as_ref()).await {
            Ok(Some(service)) => service,
            Ok(None) => return Ok(Status::UnknownService),
            Err(error) => return self.without_service(id, connection, refused, error),
        };
        let identity = id.identity();
        let place = row::place(&identity);
        let end = self.host.ticks().saturating_add(PATIENCE);
        loop {
            let due = Due { id, service: &service, connection: &connection, refused };
            if let Some(status) = self.without_provider(&due) {
                return Ok(status);
            }
            let reread = match self.leases.take(place, Some(connection.spends())).await {
                Ok(Some(lease)) => {
                    let turn = self.refresh_under_lease(&due, &lease).await;
                    match &turn {
                        Ok(TurnResult { in_doubt: true, .. }) => self.leases.leave_in_doubt(place, &lease),
                        _ => self.leases.release(place, &lease),
                    }
                    turn?.reread
                }
                Ok(None) if !refused && !connection.is_expired(self.host.now()) => {
                    return Ok(Status::Token(Box::new(connection)));
                }
                Ok(None) => {
                    self.host.sleep(POLL).await;
                    self.reread(id, &connection)?
                }
                Err(error) => {
                    self.host.log(&format!("{}: no lease for a refresh: {error}", id.service));
                    return Ok(self.old_token_or_retry(connection, refused, BRIEFLY));
                }
            };
            match reread {
                Reread::Settled(status) => return Ok(status),
                Reread::Due(newer) => (connection, refused) = (*newer, false),
                Reread::Unchanged => {}
            }
            if self.host.ticks() >= end {
                return Ok(self.old_token_or_retry(connection, refused, BRIEFLY));
            }
        }
    }

    /// The status if the service cannot be found now. That says nothing about the grant, unless it is another issuer's.
    fn without_service(
        &self,
        id: &ConnectionId,
        connection: Connection,
        refused: bool,
        error: ServiceError,
    ) -> Result<Status, SettingError> {
        let seconds = match error {
            ServiceError::Row(RowError::Setting(error)) => return Err(error),
            ServiceError::OtherIssuer if refused || connection.is_expired(self.host.now()) => {
                return Ok(Status::NeedsReconnect { missing_scopes: connection.missing_scopes });
            }
            ServiceError::OtherIssuer | ServiceError::Row(_) | ServiceError::NoAnswer { .. } => BRIEFLY,
            // This needs someone to do something.
            ServiceError::Discovery(_) => 60,
        };
        self.host.log(&format!("{}: no refresh: {error}", id.service));
        Ok(self.old_token_or_retry(connection, refused, seconds))
    }

    /// The status if the provider need not, or must not, be asked.
    fn without_provider(&self, due: &Due<'_>) -> Option<Status> {
        let Due { id, service, connection, refused } = *due;
        let now = self.host.now();
        // A token that renews itself has to be alive for that.
        let renews_itself = service.renew.is_some() && !connection.is_expired(now);
        if connection.refresh_token.is_none() && !renews_itself {
            return Some(self.without_refresh_token(connection.clone(), refused));
        }
        if refused && connection.refused_at.is_some_and(|last| is_recent(last, now, REFUSAL_PAUSE - 1)) {
            return Some(Status::NeedsReconnect { missing_scopes: connection.missing_scopes.clone() });
        }
        let wait = self.wait_of(id, connection);
        let seconds =
            u32::try_from(left(wait.until, now, u64::from(LONGEST_WAIT) + SKEW)).ok().filter(|seconds| *seconds > 0)?;
        Some(self.during_wait(&wait, connection.clone(), refused, seconds))
    }

    /// Refreshes a connection, if it still is what the row says. Called by the holder of the lease.
    async fn refresh_under_lease(&self, due: &Due<'_>, lease: &Lease) -> Result<TurnResult, SettingError> {
        let Due { id, service, connection, refused } = *due;
        let was_in_doubt = lease.is_in_doubt();
        match self.reread(id, connection)? {
            // So late that another one may take the lease while the provider is asked.
            Reread::Unchanged if !lease.is_long_enough(self.host.now()) => {
                return Ok(TurnResult { reread: Reread::Unchanged, in_doubt: was_in_doubt });
            }
            Reread::Unchanged => {}
            changed => return Ok(TurnResult { reread: changed, in_doubt: was_in_doubt }),
        }
        if was_in_doubt {
            self.host.log(&format!("{}: a refresh was interrupted: its refresh token is sent once more", id.service));
        }
        let refreshed = provider::refresh(self.host, service, connection.held()).await;
        if let Err(failure) = &refreshed {
            // Where the client is gone, the next flow needs another.
            self.services.client_was_tried(service, Some(failure));
        }
        Ok(match refreshed {
            Ok(grant) => {
                let (status, is_stored) = self.renew(due, grant).await;
                TurnResult { reread: Reread::Settled(status), in_doubt: !is_stored }
            }
            Err(Failure::Ended(_)) if was_in_doubt => {
                TurnResult { reread: self.end(id, connection, INTERRUPTED.to_owned())?, in_doubt: false }
            }
            Err(Failure::Ended(reason) | Failure::NeedsPerson(reason)) => {
                TurnResult { reread: self.end(id, connection, reason)?, in_doubt: false }
            }
            Err(failure) => {
                self.host.log(&format!("{}: refresh failed: {failure}", id.service));
                let wait = self.wait_after(id, connection, &failure);
                let pause = u32::try_from(wait.until.saturating_sub(self.host.now())).unwrap_or_default();
                let status = self.during_wait(&wait, connection.clone(), refused, retry_after(&failure).max(pause));
                TurnResult { reread: Reread::Settled(status), in_doubt: was_in_doubt || leaves_doubt(&failure) }
            }
        })
    }

    /// Reads the connection again, and compares it with `known`.
    fn reread(&self, id: &ConnectionId, known: &Connection) -> Result<Reread, SettingError> {
        Ok(match self.get(id) {
            Ok(Some(current)) if current.state != State::Active => Reread::Settled(status_of(current)),
            Ok(Some(current)) if current.is_same_generation(known) => Reread::Unchanged,
            Ok(Some(newer)) if newer.is_due(self.host.now()) => Reread::Due(Box::new(newer)),
            Ok(Some(newer)) => Reread::Settled(status_of(newer)),
            Ok(None) => Reread::Settled(Status::NotConnected),
            Err(error) => Reread::Settled(self.unreadable(error)?),
        })
    }

    /// Stores the tokens of a refresh, unless something newer has come. Also returns whether they were stored or superseded.
    async fn renew(&self, due: &Due<'_>, grant: Grant) -> (Status, bool) {
        let Due { id, service, connection: old, refused } = *due;
        let now = self.host.now();
        let mut next = old.renewed(grant, now);
        next.missing_scopes = service.missing_scopes(&next.scopes);
        next.refused_at = if refused { Some(now) } else { old.refused_at };
        next.issued = next.issued.map(|issued| issued.accepted(service));
        match self.get(id) {
            Ok(Some(current)) if current.is_same_generation(old) => {}
            Ok(Some(newer)) => return (status_of(newer), true),
            Ok(None) => return self.revoke_late_tokens(id, next).await,
            // It was readable a moment ago: the store stutters. What the provider gave must not be lost for that.
            Err(error) => self.host.log(&format!(
                "{}: the connection could not be read again before its new token is stored: {error}",
                service.id
            )),
        }
        // The old refresh token may be spent: this write is worth some patience.
        for pause in STORING {
            match self.save(id, &next) {
                // A disconnect writes its row and then looks at this one; we have written this one, and look at that.
                Ok(()) if self.is_being_revoked(id, &next.grant) => return self.revoke_late_tokens(id, next).await,
                Ok(()) => {
                    self.index.index_connection(id, &next.grant).await;
                    return (Status::Token(Box::new(next)), true);
                }
                Err(error) => self.host.log(&format!("{}: a renewed token could not be stored: {error}", service.id)),
            }
            self.host.sleep(pause).await;
        }
        (Status::RetryAfter(BRIEFLY), false)
    }

    async fn revoke_late_tokens(&self, id: &ConnectionId, brought: Connection) -> (Status, bool) {
        if let Err(error) = self.revoke_late(id, brought).await {
            self.host
                .log(&format!("{}: tokens that came after a disconnect could not be revoked: {error}", id.service));
        }
        (Status::NotConnected, true)
    }

    /// Marks a grant that the provider has ended, if it still is what the row says. All that was stored stays.
    fn end(&self, id: &ConnectionId, due: &Connection, reason: String) -> Result<Reread, SettingError> {
        match self.reread(id, due)? {
            Reread::Unchanged => {}
            changed => return Ok(changed),
        }
        let mut connection = due.clone();
        self.host.log(&format!("{}: the provider ended a grant ({reason})", id.service));
        let about = [About::new(id).token(&connection.grant, connection.generation)];
        self.audit.note(Line::new(Event::GrantEnded, Actor::Provider, Some(&id.subject)).about(&about).reason(&reason));
        connection.state = State::NeedsReconnect { reason };
        if let Err(error) = self.save(id, &connection) {
            self.host.log(&format!("{}: the end of a grant could not be noted: {error}", id.service));
        }
        Ok(Reread::Settled(Status::NeedsReconnect { missing_scopes: connection.missing_scopes }))
    }

    fn without_refresh_token(&self, connection: Connection, refused: bool) -> Status {
        if refused || connection.is_expired(self.host.now()) {
            // Not marked: the clock tells it again, and one upstream's refusal is no proof against the grant.
            return Status::NeedsReconnect { missing_scopes: connection.missing_scopes };
        }
        Status::Token(Box::new(connection))
    }

    fn old_token_or_retry(&self, connection: Connection, refused: bool, seconds: u32) -> Status {
        if refused || connection.is_expired(self.host.now()) {
            return Status::RetryAfter(seconds);
        }
        Status::Token(Box::new(connection))
    }

    /// The same while the provider is not to be asked: a person does not wait for one that has refused again and again.
    fn during_wait(&self, wait: &Wait, connection: Connection, refused: bool, seconds: u32) -> Status {
        match self.old_token_or_retry(connection.clone(), refused, seconds) {
            Status::RetryAfter(_) if wait.needs_person() => {
                Status::NeedsReconnect { missing_scopes: connection.missing_scopes }
            }
            status => status,
        }
    }

    /// Why the person has to connect again although the provider has not ended the grant; `None` if they need not.
    pub(crate) fn refused_again(&self, id: &ConnectionId, connection: &Connection) -> Option<String> {
        let wait = self.wait_of(id, connection);
        if wait.needs_person() { wait.reason } else { None }
    }

    /// The stored wait for this very connection. A refusal of an earlier generation does not count any more.
    fn wait_of(&self, id: &ConnectionId, connection: &Connection) -> Wait {
        let noted: Option<Wait> = self.vault.read(wait_place(&id.identity())).ok().flatten();
        let of_this = |wait: &Wait| wait.of.as_ref().is_none_or(|of| *of == connection.spends());
        noted.filter(of_this).unwrap_or_default()
    }

    /// Notes when to ask again after `failure`.
    fn wait_after(&self, id: &ConnectionId, due: &Connection, failure: &Failure) -> Wait {
        let now = self.host.now();
        let mut wait = self.wait_of(id, due);
        let pause = match failure {
            Failure::Busy { retry_after: Some(_), .. } => retry_after(failure),
            Failure::Refused(_) | Failure::Misconfigured(_) => {
                wait.of = Some(due.spends());
                wait.refusals = wait.refusals.saturating_add(1);
                // Connecting again is of no use with a client that is not accepted, and the operator may mend it soon.
                wait.reason = match failure {
                    Failure::Refused(code) => Some(code.clone()),
                    _ => None,
                };
                match (wait.refusals.checked_sub(REPEATED), &wait.reason) {
                    (Some(more), Some(_)) => (REFUSED_PAUSE << more.min(6)).min(LONGEST_WAIT),
                    (Some(_), None) => REFUSED_PAUSE,
                    (None, _) => 0,
                }
            }
            _ => 0,
        };
        // Where a token renews itself its time is long, and not every call in it is to ask.
        let least = if due.refresh_token.is_none() { RENEWAL_PAUSE } else { 0 };
        wait.until = now + u64::from(pause.max(least));
        if (wait.until > now || wait.refusals > 0)
            && let Err(error) = self.vault.write(wait_place(&id.identity()), &wait)
        {
            self.host.log(&format!("{}: the pause until the next refresh could not be stored: {error}", id.service));
        }
        wait
    }
}

/// A connection that is to be refreshed.
struct Due<'a> {
    id: &'a ConnectionId,
    service: &'a Service,
    connection: &'a Connection,
    /// True if the upstream has refused its token.
    refused: bool,
}

/// The result of one turn with the lease.
struct TurnResult {
    reread: Reread,
    /// True if the provider may have spent the refresh token, in this turn or before, without an answer that arrived.
    in_doubt: bool,
}

/// A connection at a second look.
enum Reread {
    Unchanged,
    /// A newer one, and due in its turn.
    Due(Box<Connection>),
    Settled(Status),
}

/// When to ask a provider again for a connection, and why.
#[derive(Default, Serialize, Deserialize)]
struct Wait {
    /// When it may be asked again.
    until: u64,
    /// The generation that it has refused.
    #[serde(default)]
    of: Option<GrantGeneration>,
    /// How often.
    #[serde(default)]
    refusals: u32,
    /// Its error, if that is not about the client.
    #[serde(default)]
    reason: Option<String>,
}

impl Wait {
    fn needs_person(&self) -> bool {
        self.refusals >= REPEATED && self.reason.is_some()
    }
}

fn wait_place<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::RefreshWait, identity }
}

fn status_of(connection: Connection) -> Status {
    match connection.state {
        State::Active => Status::Token(Box::new(connection)),
        State::NeedsReconnect { .. } => Status::NeedsReconnect { missing_scopes: connection.missing_scopes },
    }
}

/// Returns true if the provider may have spent the refresh token: the answer was lost on its way, or makes no sense. An
/// answer that says no leaves no doubt.
fn leaves_doubt(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(fault) => !matches!(fault, SendFault::Denied | SendFault::Own | SendFault::Head),
        Failure::Busy { status, .. } => *status >= 500,
        Failure::Malformed(_) => true,
        Failure::Ended(_)
        | Failure::NeedsPerson(_)
        | Failure::Misconfigured(_)
        | Failure::Refused(_)
        | Failure::Forged(_) => false,
    }
}

/// After how many seconds to ask again.
pub(crate) fn retry_after(failure: &Failure) -> u32 {
    match failure {
        Failure::Busy { retry_after: Some(seconds), .. } => (*seconds).clamp(1, LONGEST_WAIT),
        Failure::Busy { .. } | Failure::Unreachable(_) => BRIEFLY,
        // These need someone to do something.
        Failure::Ended(_)
        | Failure::NeedsPerson(_)
        | Failure::Misconfigured(_)
        | Failure::Refused(_)
        | Failure::Malformed(_)
        | Failure::Forged(_) => 60,
    }
}

/// Seconds within which a token that was refreshed after a refusal is not refreshed for another refusal.
const REFUSAL_PAUSE: u64 = 30;
/// Seconds after which a token that renews itself is tried again.
const RENEWAL_PAUSE: u32 = 600;
/// Refusals of one generation from which on the provider is not asked at every call any more.
const REPEATED: u32 = 3;
/// Seconds until it is asked again then, at first.
const REFUSED_PAUSE: u32 = 60;
/// The pauses after each attempt to store what a provider gave.
const STORING: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2)];
/// The reason to connect again after an interrupted refresh whose token the provider does not accept any more.
const INTERRUPTED: &str = "refresh_interrupted";
const BRIEFLY: u32 = 5;
/// The longest that a provider is waited for if it says when to come back, in seconds.
pub(super) const LONGEST_WAIT: u32 = 3600;
