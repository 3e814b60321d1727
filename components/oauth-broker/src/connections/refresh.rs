//! When a token has to be renewed, what may happen to the connection?
//!
//! * A grant ends only when the provider says so *and* the row still is the one that was refreshed: if another instance
//!   has brought a newer token meanwhile, that one counts (and is renewed in its turn if it is due).
//! * An ended grant is marked, and from then on costs no provider call.
//! * Whatever else goes wrong leaves the row as it is, and the old token is handed out for as long as it lasts.
//! * When the provider says when to come back (`Retry-After`), it is not asked before. That moment has a row of its own
//!   (kind `w`), so that noting it cannot overwrite a newer token.
//! * An upstream that refuses every token cannot make us renew at every call: a token that came of a refusal and is
//!   refused within [`REFUSAL_PAUSE`] is not renewed again.
//!
//! * One instance at a time asks the provider: the one that holds the connection's [`lease`](super::lease). Whoever finds
//!   it taken hands out the old token while that is valid, and otherwise looks every [`POLL`] for what the holder
//!   brings: a newer token, the end of the grant, or the lease back. That wait is at most [`PATIENCE`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Standing;
use super::row::{Connection, State};
use crate::Broker;
use crate::audit::{About, Actor, Event, Line};
use crate::catalogue::Service;
use crate::host::Host;
use crate::names::ConnectionId;
use crate::provider::{self, Failure, Grant};
use crate::settings::SettingError;
use crate::vault::{Kind, Place};

impl<H: Host> Broker<'_, H> {
    pub(super) async fn refresh_connection(
        &self,
        id: &ConnectionId,
        mut connection: Connection,
        mut refused: bool,
    ) -> Result<Standing, SettingError> {
        let Some(service) = self.service(&id.service).await? else { return Ok(Standing::UnknownService) };
        let end = self.host.ticks().saturating_add(PATIENCE);
        loop {
            if let Some(standing) = self.without_provider(id, &connection, refused) {
                return Ok(standing);
            }
            let now = match self.take_lease(id).await {
                Ok(Some(lease)) => {
                    let now = self.in_turn(id, &service, &connection, refused).await;
                    self.release(id, &lease);
                    now?
                }
                Ok(None) if !refused && !connection.is_expired(self.host.now()) => {
                    return Ok(Standing::Token(Box::new(connection)));
                }
                Ok(None) => {
                    self.host.sleep(POLL).await;
                    self.look_again(id, &connection)?
                }
                Err(error) => {
                    self.host.log(&format!("{}: no lease for a refresh: {error}", id.service));
                    return Ok(self.old_or_later(connection, refused, BRIEFLY));
                }
            };
            match now {
                Now::Settled(standing) => return Ok(standing),
                Now::Due(newer) => (connection, refused) = (*newer, false),
                Now::Same => {}
            }
            if self.host.ticks() >= end {
                return Ok(self.old_or_later(connection, refused, BRIEFLY));
            }
        }
    }

    /// What can be said without asking the provider, or must be because it is not to be asked.
    fn without_provider(&self, id: &ConnectionId, connection: &Connection, refused: bool) -> Option<Standing> {
        let now = self.host.now();
        if connection.refresh_token.is_none() {
            return Some(self.without_refresh_token(connection.clone(), refused));
        }
        if refused && connection.refused_at.is_some_and(|last| now.saturating_sub(last) < REFUSAL_PAUSE) {
            return Some(Standing::NeedsReconnect { missing_scopes: connection.missing_scopes.clone() });
        }
        let seconds = self.waiting(id, now)?;
        Some(self.old_or_later(connection.clone(), refused, seconds))
    }

    /// Refreshes, if `due` still is what the row says. Called by the holder of the lease.
    async fn in_turn(
        &self,
        id: &ConnectionId,
        service: &Service,
        due: &Connection,
        refused: bool,
    ) -> Result<Now, SettingError> {
        match self.look_again(id, due)? {
            Now::Same => {}
            changed => return Ok(changed),
        }
        Ok(match provider::refresh(self.host, service, due.held()).await {
            Ok(grant) => Now::Settled(self.renew(id, service, due, grant, refused)),
            Err(Failure::Ended(reason) | Failure::NeedsPerson(reason)) => match self.look_again(id, due)? {
                Now::Same => Now::Settled(self.end(id, due.clone(), reason)),
                changed => changed,
            },
            Err(failure) => {
                self.host.log(&format!("{}: refresh failed: {failure}", id.service));
                let seconds = retry_after(&failure);
                if let Failure::Busy { retry_after: Some(_), .. } = failure {
                    self.wait(id, self.host.now() + u64::from(seconds));
                }
                Now::Settled(self.old_or_later(due.clone(), refused, seconds))
            }
        })
    }

    /// What has become of the connection since `known` was read.
    fn look_again(&self, id: &ConnectionId, known: &Connection) -> Result<Now, SettingError> {
        Ok(match self.connection(id) {
            Ok(Some(current)) if current.state != State::Active => Now::Settled(as_it_stands(current)),
            Ok(Some(current)) if current.is_same_generation(known) => Now::Same,
            Ok(Some(newer)) if newer.is_due(self.host.now()) => Now::Due(Box::new(newer)),
            Ok(Some(newer)) => Now::Settled(as_it_stands(newer)),
            Ok(None) => Now::Settled(Standing::NotConnected),
            Err(error) => Now::Settled(self.unreadable(error)?),
        })
    }

    /// Keeps what a refresh brought, unless something newer has come.
    fn renew(&self, id: &ConnectionId, service: &Service, old: &Connection, grant: Grant, refused: bool) -> Standing {
        let now = self.host.now();
        let mut next = old.renewed(grant, now);
        next.missing_scopes = service.missing_scopes(&next.scopes);
        next.refused_at = if refused { Some(now) } else { old.refused_at };
        match self.connection(id) {
            Ok(Some(current)) if current.is_same_generation(old) => {}
            Ok(Some(newer)) => return as_it_stands(newer),
            Ok(None) => return Standing::NotConnected,
            // It was readable a moment ago: the store stutters. What the provider gave must not be lost for that.
            Err(error) => self.host.log(&format!("{}: not read again before the write: {error}", service.id)),
        }
        // The old refresh token may be spent: this write is worth a second try.
        for _ in 0..2 {
            match self.keep(id, &next) {
                Ok(()) => return Standing::Token(Box::new(next)),
                Err(error) => self.host.log(&format!("{}: a renewed token could not be stored: {error}", service.id)),
            }
        }
        Standing::Later(BRIEFLY)
    }

    /// Marks a grant that the provider has ended. All that was stored stays.
    fn end(&self, id: &ConnectionId, mut connection: Connection, reason: String) -> Standing {
        self.host.log(&format!("{}: the provider ended a grant ({reason})", id.service));
        let about = [About::new(id).token(&connection.grant, connection.generation)];
        self.note(Line::new(Event::GrantEnded, Actor::Provider, Some(&id.subject)).about(&about).reason(&reason));
        connection.state = State::NeedsReconnect { reason };
        if let Err(error) = self.keep(id, &connection) {
            self.host.log(&format!("{}: the end of a grant could not be noted: {error}", id.service));
        }
        Standing::NeedsReconnect { missing_scopes: connection.missing_scopes }
    }

    fn without_refresh_token(&self, connection: Connection, refused: bool) -> Standing {
        if refused || connection.is_expired(self.host.now()) {
            // Not marked: the clock tells it again, and one upstream's refusal is no proof against the grant.
            return Standing::NeedsReconnect { missing_scopes: connection.missing_scopes };
        }
        Standing::Token(Box::new(connection))
    }

    fn old_or_later(&self, connection: Connection, refused: bool, seconds: u32) -> Standing {
        if refused || connection.is_expired(self.host.now()) {
            return Standing::Later(seconds);
        }
        Standing::Token(Box::new(connection))
    }

    /// For how many seconds the provider is not to be asked.
    fn waiting(&self, id: &ConnectionId, now: u64) -> Option<u32> {
        let wait: Wait = self.read(wait_place(&id.identity())).ok()??;
        u32::try_from(wait.until.saturating_sub(now)).ok().filter(|seconds| *seconds > 0)
    }

    fn wait(&self, id: &ConnectionId, until: u64) {
        if let Err(error) = self.write(wait_place(&id.identity()), &Wait { until }) {
            self.host.log(&format!("{}: when to come back could not be noted: {error}", id.service));
        }
    }
}

/// A connection at a second look.
enum Now {
    Same,
    /// A newer one, and due in its turn.
    Due(Box<Connection>),
    Settled(Standing),
}

#[derive(Serialize, Deserialize)]
struct Wait {
    until: u64,
}

fn wait_place<'a>(identity: &'a [&'a str]) -> Place<'a> {
    Place { kind: Kind::Wait, identity }
}

fn as_it_stands(connection: Connection) -> Standing {
    match connection.state {
        State::Active => Standing::Token(Box::new(connection)),
        State::NeedsReconnect { .. } => Standing::NeedsReconnect { missing_scopes: connection.missing_scopes },
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

/// Seconds within which a token that came of a refusal is not renewed for another.
const REFUSAL_PAUSE: u64 = 30;
/// How often whoever waits for the holder of a lease looks again.
const POLL: Duration = Duration::from_millis(100);
/// For how many milliseconds it does. Longer than a call of a provider takes.
const PATIENCE: u64 = 25_000;
const BRIEFLY: u32 = 5;
const LONGEST_WAIT: u32 = 3600;
