//! What has a person connected, how is it handed out, and how does it end?

mod lease;
pub mod refresh;
pub mod row;

use http::StatusCode;

use crate::Broker;
use crate::host::Host;
use crate::names::ConnectionId;
use crate::provider::{self, Revoked};
use crate::settings::SettingError;
use crate::vault::rows::RowError;
use row::{Connection, State};

/// How a subject stands with a service, for a caller who wants a token.
#[derive(Debug)]
pub enum Standing {
    /// Call with this.
    Token(Box<Connection>),
    NotConnected,
    /// The grant has ended, or the upstream refuses it and it cannot be renewed.
    NeedsReconnect {
        missing_scopes: Vec<String>,
    },
    /// Nothing is lost; ask again after so many seconds.
    Later(u32),
    /// Not offered here.
    UnknownService,
}

impl<H: Host> Broker<'_, H> {
    /// How a subject stands with a service now, after a refresh where one is due or `refused` is the fingerprint of the
    /// token at hand. `needed` are the scopes that the upstream has called for (RFC 6750 section 3.1,
    /// `insufficient_scope`). An unexpired token costs one read and no look at `oauth_clients`.
    pub(crate) async fn standing(
        &self,
        id: &ConnectionId,
        refused: Option<&str>,
        needed: &[String],
    ) -> Result<Standing, SettingError> {
        let connection = match self.connection(id) {
            Ok(Some(connection)) => connection,
            Ok(None) => {
                return Ok(match self.service(&id.service).await? {
                    Some(_) => Standing::NotConnected,
                    None => Standing::UnknownService,
                });
            }
            Err(error) => return self.unreadable(error),
        };
        if let State::NeedsReconnect { .. } = connection.state {
            return Ok(Standing::NeedsReconnect { missing_scopes: connection.missing_scopes });
        }
        let missing: Vec<String> = needed.iter().filter(|scope| !connection.scopes.contains(scope)).cloned().collect();
        if !missing.is_empty() {
            return Ok(Standing::NeedsReconnect { missing_scopes: missing });
        }
        // A refused token that is not the one at hand has been replaced already.
        let refused = refused.is_some_and(|refused| refused == connection.fingerprint());
        if !refused && !connection.is_due(self.host.now()) {
            return Ok(Standing::Token(Box::new(connection)));
        }
        self.refresh_connection(id, connection, refused).await
    }

    /// What a row that cannot be read means for a caller. It stays as it is.
    fn unreadable(&self, error: RowError) -> Result<Standing, SettingError> {
        let standing = match &error {
            RowError::Setting(error) => return Err(error.clone()),
            RowError::Store(_) => Standing::Later(5),
            // The operator can put the key back; connecting anew would overwrite what it opens.
            RowError::Open(crate::vault::OpenError::UnknownKey(_)) => Standing::Later(60),
            // Nothing opens it again: a new connection is the way on.
            RowError::Open(crate::vault::OpenError::Broken) | RowError::Form => {
                Standing::NeedsReconnect { missing_scopes: Vec::new() }
            }
        };
        self.host.log(&format!("a connection could not be read: {error}"));
        Ok(standing)
    }

    /// Forgets a connection, then ends its grant at the provider: whatever the provider does, it is not served again.
    pub(crate) async fn disconnect(&self, id: &ConnectionId) -> Result<Disconnected, DisconnectError> {
        let offered = self.service(&id.service).await?;
        let connection = match self.connection(id) {
            Ok(connection) => connection,
            // What cannot be opened cannot be revoked, but it can be forgotten.
            Err(RowError::Open(_) | RowError::Form) => None,
            Err(error) => return Err(error.into()),
        };
        self.forget(id)?;
        let Some(connection) = connection else {
            return match offered {
                Some(_) => Ok(Disconnected::Forgotten),
                None => Err(DisconnectError::UnknownService),
            };
        };
        let Some(offered) = offered else {
            return Ok(Disconnected::NotRevoked("it has no client of this service any more"));
        };
        Ok(match provider::revoke(self.host, &offered, connection.held()).await {
            Ok(Revoked::AtProvider) => Disconnected::Forgotten,
            Ok(Revoked::Shared) => Disconnected::NotRevoked("other connections of that account live on the same grant"),
            Ok(Revoked::NotOffered) => Disconnected::NotRevoked("the provider offers no revocation"),
            Err(failure) => {
                self.host.log(&format!("{}: revocation failed: {failure}", id.service));
                Disconnected::NotRevoked("the provider could not be asked, or refused")
            }
        })
    }
}

/// What became of a connection that was to end. It is forgotten here in any case.
#[derive(Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// And revoked at the provider, if there was anything to revoke.
    Forgotten,
    /// But the provider may still honour it, for this reason.
    NotRevoked(&'static str),
}

#[derive(Debug, thiserror::Error)]
pub enum DisconnectError {
    #[error("no such service")]
    UnknownService,
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<SettingError> for DisconnectError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

impl Disconnected {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Forgotten => StatusCode::NO_CONTENT,
            Self::NotRevoked(_) => StatusCode::OK,
        }
    }
}
