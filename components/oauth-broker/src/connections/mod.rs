//! Keeps what people have connected: stores it, refreshes its tokens, and ends it.

pub mod expiry;
pub mod index;
pub mod refresh;
pub mod revocation;
pub mod row;

use crate::audit::Audit;
use crate::host::Host;
use crate::lease::Leases;
use crate::names::ConnectionId;
use crate::services::Services;
use crate::settings::SettingError;
use crate::vault::{OpenError, RowError, Vault};
use index::ConnectionIndex;
pub use revocation::{DisconnectError, Disconnected};
use row::{Connection, State};

/// The state of a connection, for a caller who wants a token.
#[derive(Debug)]
pub enum Status {
    /// Call with this.
    Token(Box<Connection>),
    NotConnected,
    /// The grant has ended, or the upstream refuses it and it cannot be renewed.
    NeedsReconnect {
        missing_scopes: Vec<String>,
    },
    /// Nothing is lost; ask again after so many seconds.
    RetryAfter(u32),
    /// Not offered here.
    UnknownService,
}

/// The connections of all people.
pub(crate) struct Connections<'b, H> {
    pub host: &'b H,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
    pub audit: Audit<'b, H>,
    pub services: Services<'b, H>,
    pub index: ConnectionIndex<'b, H>,
}

impl<H: Host> Connections<'_, H> {
    /// The state of a connection now, after a refresh if one is due, or if `refused` is the fingerprint of the stored token.
    /// `needed` are the scopes that the upstream requires (RFC 6750 section 3.1, `insufficient_scope`). An unexpired token
    /// costs one read and no look at `oauth_clients`.
    pub(crate) async fn status(
        &self,
        id: &ConnectionId,
        refused: Option<&str>,
        needed: &[String],
    ) -> Result<Status, SettingError> {
        let connection = match self.get(id) {
            Ok(Some(connection)) => connection,
            Ok(None) => {
                return Ok(match self.services.offered(&id.service)? {
                    Some(_) => Status::NotConnected,
                    None => Status::UnknownService,
                });
            }
            Err(error) => return self.unreadable(error),
        };
        if let State::NeedsReconnect { .. } = connection.state {
            return Ok(Status::NeedsReconnect { missing_scopes: connection.missing_scopes });
        }
        let missing: Vec<String> = needed.iter().filter(|scope| !connection.scopes.contains(scope)).cloned().collect();
        if !missing.is_empty() {
            return Ok(Status::NeedsReconnect { missing_scopes: missing });
        }
        // A refused token that is not the one at hand has been replaced already.
        let refused = refused.is_some_and(|refused| refused == connection.fingerprint());
        if !refused && !connection.is_due(self.host.now()) {
            return Ok(Status::Token(Box::new(connection)));
        }
        self.refresh_connection(id, connection, refused).await
    }

    /// The status of a row that cannot be read. It stays as it is.
    fn unreadable(&self, error: RowError) -> Result<Status, SettingError> {
        let status = match &error {
            RowError::Setting(error) => return Err(error.clone()),
            RowError::Store(_) => Status::RetryAfter(5),
            // The operator can put the key back; connecting again would overwrite what it opens.
            RowError::Open(OpenError::UnknownKey(_)) => Status::RetryAfter(60),
            // Nothing opens it again: a new connection is the way on.
            RowError::Open(OpenError::Broken) | RowError::Form => Status::NeedsReconnect { missing_scopes: Vec::new() },
        };
        self.host.log(&format!("a connection could not be read, and was left as it is: {error}"));
        Ok(status)
    }

    /// Stores what a person has just granted, in place of an earlier connection.
    pub(crate) async fn adopt(&self, id: &ConnectionId, connection: &Connection) -> Result<(), RowError> {
        let identity = id.identity();
        let place = row::place(&identity);
        let lease = match self.get(id) {
            Ok(None) => None,
            // A refresh of it may be in flight, and must not write over the new one.
            _ => self.leases.wait(place, PATIENCE).await.ok().flatten(),
        };
        let kept = self.save(id, connection);
        if let Some(lease) = lease {
            self.leases.release(place, &lease);
        }
        kept?;
        self.index.index_connection(id, &connection.grant).await;
        Ok(())
    }
}

/// Milliseconds for which a refresh is waited for, by callers who need its token and by changes of the same row. Longer
/// than a call of a provider takes.
const PATIENCE: u64 = 25_000;
