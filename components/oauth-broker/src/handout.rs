//! Hands out access tokens, each caller within its rights of the [`policy`](crate::policy).
//!
//! What a caller may not have is answered as what does not exist, on the same path through the code: the question is then
//! asked for a service that cannot exist ([`ServiceId::unknown`]).

use std::collections::BTreeMap;

use crate::audit::{About, Audit, Event, Line};
use crate::connections::row::Connection;
use crate::connections::{Connections, DisconnectError, Disconnected, Status};
use crate::host::Host;
use crate::names::{CalledBy, ConnectionId, GrantId, ServiceId, Subject};
use crate::policy::{Policies, Rights, are_within, is_any};
use crate::settings::SettingError;
use crate::vault::{RowId, RowKind, Vault};
use sealing::Secret;
use sealing::age::is_recent;

/// The part of a connection that leaves the broker. There is no place in it for a refresh token.
pub struct Handout {
    /// Names the consent and counts its tokens, for the audit.
    pub grant: GrantId,
    pub generation: u64,
    pub access_token: Secret,
    pub token_type: String,
    pub expires_at: Option<u64>,
    pub scopes: Vec<String>,
    pub extra: BTreeMap<String, String>,
    pub fingerprint: String,
}

impl From<Connection> for Handout {
    fn from(connection: Connection) -> Self {
        let fingerprint = connection.fingerprint();
        let mut extra = connection.extra;
        // An operator may have listed any value of the provider's answer to be passed on.
        if let Some(refresh_token) = connection.refresh_token {
            extra.retain(|_, value| !value.contains(refresh_token.reveal()));
        }
        Self {
            grant: connection.grant,
            generation: connection.generation,
            access_token: connection.access_token,
            token_type: connection.token_type,
            expires_at: connection.expires_at,
            scopes: connection.scopes,
            extra,
            fingerprint,
        }
    }
}

/// Answers callers within their rights.
pub(crate) struct Handouts<'b, H> {
    pub host: &'b H,
    pub policies: Policies<'b, H>,
    pub connections: Connections<'b, H>,
    pub vault: Vault<'b, H>,
    pub audit: Audit<'b, H>,
}

impl<H: Host> Handouts<'_, H> {
    /// [`Connections::status`] within the caller's rights.
    pub async fn status(
        &self,
        caller: &CalledBy,
        id: &ConnectionId,
        refused: Option<&str>,
        needed: &[String],
    ) -> Result<Status, SettingError> {
        let limit = match self.policies.rights(caller)? {
            Rights::Everything => return self.connections.status(id, refused, needed).await,
            Rights::Nothing => None,
            Rights::Limited(allowed) => allowed.scopes(&id.service),
        };
        let Some(limit) = limit else { return self.unknown(id).await };
        if is_any(limit) {
            return self.connections.status(id, refused, needed).await;
        }
        // Before anything is renewed for a caller who does not get it. What cannot be read is not handed out either way.
        let beyond = |scopes: &[String]| scopes.is_empty() || !are_within(scopes, limit);
        let too_much = matches!(self.connections.get(id), Ok(Some(connection)) if beyond(&connection.scopes));
        if too_much || !are_within(needed, limit) {
            return self.unknown(id).await;
        }
        match self.connections.status(id, refused, needed).await? {
            // A refresh, or another consent, has changed what it may do.
            Status::Token(connection) if beyond(&connection.scopes) => Ok(Status::UnknownService),
            status => Ok(status),
        }
    }

    /// [`Connections::disconnect`] within the caller's rights.
    pub async fn disconnect(&self, caller: &CalledBy, id: &ConnectionId) -> Result<Disconnected, DisconnectError> {
        let may = match self.policies.rights(caller)? {
            Rights::Everything => true,
            Rights::Nothing => false,
            Rights::Limited(allowed) => allowed.disconnect && allowed.scopes(&id.service).is_some(),
        };
        if may { self.connections.disconnect(id).await } else { self.connections.disconnect(&unknown(id)).await }
    }

    /// Returns true if this caller may have a person asked to connect `service`, with these scopes beside its own.
    pub fn may_ask(&self, caller: &CalledBy, service: &ServiceId, scopes: &[String]) -> Result<bool, SettingError> {
        Ok(match self.policies.rights(caller)? {
            Rights::Everything => true,
            Rights::Nothing => false,
            Rights::Limited(allowed) => {
                allowed.scopes(service).is_some_and(|limit| is_any(limit) || are_within(scopes, limit))
            }
        })
    }

    /// Notes that a service asked for what it may not have, or for what does not exist: the same for both, so that the
    /// time this takes tells nothing. At most once in [`PAUSE`] for each service, which may ask as often as it likes.
    pub fn note_refused(&self, by: &CalledBy, subject: &Subject, asked: &[ConnectionId]) {
        let (CalledBy::Service(name), Ok(Some(_))) = (by, self.policies.policy()) else { return };
        let identity = [name.as_str()];
        let row = RowId { kind: RowKind::RefusalLimit, identity: &identity };
        let now = self.host.now();
        let last: Option<u64> = self.vault.read(row).unwrap_or_default();
        if last.is_some_and(|last| is_recent(last, now, PAUSE - 1)) {
            return;
        }
        if let Err(error) = self.vault.write(row, &now) {
            self.host.log(&format!("a refusal could not be counted: {error}"));
        }
        let about: Vec<About> = asked.iter().map(About::new).collect();
        self.audit.note(Line::new(Event::NotHandedOut, by.into(), Some(subject)).about(&about));
    }

    async fn unknown(&self, id: &ConnectionId) -> Result<Status, SettingError> {
        self.connections.status(&unknown(id), None, &[]).await
    }
}

fn unknown(id: &ConnectionId) -> ConnectionId {
    ConnectionId { service: ServiceId::unknown(), ..id.clone() }
}

/// Seconds between two notes of refusals of one service.
const PAUSE: u64 = 60;
