//! What may a calling service have?
//!
//! The setting `handout_policy` says it for each name of `service_keys`. Without the setting every service may ask for
//! everything; with it, who is not named gets nothing:
//!
//! ```json
//! {"gateway": {"services": {"*": ["*"]}},
//!  "reports": {"services": {"github": ["repo", "read:user"], "slack": ["*"]}, "disconnect": true}}
//! ```
//!
//! For each service the scopes that a token may have, `*` for any. A provider gives no narrower token for one that it has
//! given, so one that may do more than the policy allows is not handed out at all; nor is one of which nobody has said
//! what it may do, unless any will do. `DELETE` is a right of its own.
//!
//! What is not allowed is answered as what does not exist, by the same way through the code: the question is then put
//! for a service that nobody has ([`ServiceId::nobodys`]). People and their own API keys are not limited by this.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Broker;
use crate::catalogue::without_values;
use crate::connections::row::Connection;
use crate::connections::{DisconnectError, Disconnected, Status};
use crate::host::Host;
use crate::names::{ConnectionId, ServiceId};
use crate::people::By;
use crate::settings::SettingError;
use sealing::Secret;

/// The setting, by the name of the service key.
pub struct Policy(BTreeMap<String, Allowed>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    services: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    disconnect: bool,
}

/// What leaves of a connection: an access token. There is no place in it for a refresh token.
pub struct Handout {
    /// Names the consent and counts its tokens, for the audit.
    pub grant: String,
    pub generation: u64,
    pub access_token: Secret,
    pub token_type: String,
    pub expires_at: Option<u64>,
    pub scopes: Vec<String>,
    pub extra: BTreeMap<String, String>,
    pub fingerprint: String,
}

/// What one caller may have.
enum Rights<'p> {
    Everything,
    Nothing,
    These(&'p Allowed),
}

impl Policy {
    /// Errors: what is wrong, without a value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy = json::check(text.as_bytes()).and_then(serde_json::from_slice);
        let policy: BTreeMap<String, Allowed> = policy.map_err(|error| without_values(&error))?;
        for (caller, allowed) in &policy {
            for id in allowed.services.keys() {
                if id != ANY && ServiceId::parse(id).is_err() {
                    return Err(format!(
                        "`{}` has a service that is neither a service id nor *",
                        caller.escape_default()
                    ));
                }
            }
        }
        Ok(Self(policy))
    }
}

impl From<Connection> for Handout {
    fn from(connection: Connection) -> Self {
        let fingerprint = connection.fingerprint();
        let mut extra = connection.extra;
        // Whichever values of the provider's answer an operator has listed to be passed on.
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

impl<H: Host> Broker<'_, H> {
    /// How `id` stands, for this caller: [`Broker::status`] within the caller's rights.
    pub(crate) async fn status_for(
        &self,
        caller: &By,
        id: &ConnectionId,
        refused: Option<&str>,
        needed: &[String],
    ) -> Result<Status, SettingError> {
        let limit = match self.rights(caller)? {
            Rights::Everything => return self.status(id, refused, needed).await,
            Rights::Nothing => None,
            Rights::These(allowed) => allowed.scopes(&id.service),
        };
        let Some(limit) = limit else { return self.nowhere(id).await };
        if is_any(limit) {
            return self.status(id, refused, needed).await;
        }
        // Before anything is renewed for a caller who does not get it. What cannot be read is not handed out either way.
        let beyond = |scopes: &[String]| scopes.is_empty() || !are_within(scopes, limit);
        let too_much = matches!(self.connection(id), Ok(Some(connection)) if beyond(&connection.scopes));
        if too_much || !are_within(needed, limit) {
            return self.nowhere(id).await;
        }
        match self.status(id, refused, needed).await? {
            // A refresh, or another consent, has changed what it may do.
            Status::Token(connection) if beyond(&connection.scopes) => Ok(Status::UnknownService),
            status => Ok(status),
        }
    }

    /// [`Broker::disconnect`] within the caller's rights.
    pub(crate) async fn disconnect_for(&self, caller: &By, id: &ConnectionId) -> Result<Disconnected, DisconnectError> {
        let may = match self.rights(caller)? {
            Rights::Everything => true,
            Rights::Nothing => false,
            Rights::These(allowed) => allowed.disconnect && allowed.scopes(&id.service).is_some(),
        };
        if may { self.disconnect(id).await } else { self.disconnect(&nobodys(id)).await }
    }

    /// Whether this caller may have a person asked to connect `service`, with these scopes beside its own.
    pub(crate) fn may_ask(&self, caller: &By, service: &ServiceId, scopes: &[String]) -> Result<bool, SettingError> {
        Ok(match self.rights(caller)? {
            Rights::Everything => true,
            Rights::Nothing => false,
            Rights::These(allowed) => {
                allowed.scopes(service).is_some_and(|limit| is_any(limit) || are_within(scopes, limit))
            }
        })
    }

    fn rights(&self, caller: &By) -> Result<Rights<'_>, SettingError> {
        let By::Service(name) = caller else { return Ok(Rights::Everything) };
        Ok(match self.settings.handout_policy()? {
            None => Rights::Everything,
            Some(Policy(callers)) => callers.get(name).map_or(Rights::Nothing, Rights::These),
        })
    }

    async fn nowhere(&self, id: &ConnectionId) -> Result<Status, SettingError> {
        self.status(&nobodys(id), None, &[]).await
    }
}

impl Allowed {
    /// The scopes that a token of this service may have; none when it may not be asked for.
    fn scopes(&self, service: &ServiceId) -> Option<&[String]> {
        self.services.get(service.as_str()).or_else(|| self.services.get(ANY)).map(Vec::as_slice)
    }
}

fn nobodys(id: &ConnectionId) -> ConnectionId {
    ConnectionId { service: ServiceId::nobodys(), ..id.clone() }
}

fn is_any(limit: &[String]) -> bool {
    limit.iter().any(|scope| scope == ANY)
}

fn are_within(scopes: &[String], limit: &[String]) -> bool {
    scopes.iter().all(|scope| limit.contains(scope))
}

const ANY: &str = "*";
