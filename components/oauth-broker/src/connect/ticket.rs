//! Makes one-time tickets to connect (rows of kind `t`).
//!
//! A ticket is a sealed note: this subject may connect this account of this service, with these scopes, within ten
//! minutes, once. Making one writes nothing, so a gateway may be given as many as it asks for. There are two sorts:
//!
//! * A **link** carries one that may be handed on. It does not sign anyone in: the person who opens it has to be signed in
//!   as its subject. Otherwise a victim could be made to connect their account to an attacker's subject.
//! * The **form** of the page that asks for agreement ([`super::offer`]) carries one that is bound to the browser that was
//!   shown that page and to the authorization server that the page named, and has the very scopes that it named. Nothing
//!   else starts a flow. If a link has led to the page, the form's ticket has the link's id: both are used up together.
//!
//! Using a ticket writes its id into its subject's row, where it stays until the ticket would have expired. When there are
//! too many ids the oldest is removed, and every ticket as old as that counts as used. (Two uses in the same moment may
//! lose one of the two ids, and a row whose key is gone counts as absent. Then the same person may use a link of theirs
//! twice. Tickets that were sealed under a key that is gone do not open either.)

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::ConnectError;
use crate::host::{Host, random};
use crate::names::{ConnectionId, ServiceId, Subject};
use crate::settings::{SettingError, Settings};
use crate::vault::{RowError, RowId, RowKind, Vault};
use sealing::age::is_recent;

#[derive(Debug, Serialize, Deserialize)]
pub struct Ticket {
    pub connection: ConnectionId,
    /// In a link: to be asked for beside those of the service's row. In a form: all of them.
    pub scopes: Vec<String>,
    /// Where to go when it is over: one of `return_urls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
    /// The mark of the browser that was shown the form; a link has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// What the form showed of the service ([`super::offer::shown`]); a link has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
    issued: u64,
    id: String,
}

/// Makes, reads and uses up tickets.
pub(crate) struct Tickets<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
}

impl<H: Host> Tickets<'_, H> {
    pub(crate) fn create(&self, connection: ConnectionId, scopes: Vec<String>) -> Ticket {
        let id = Base64UrlUnpadded::encode_string(&random::<12>(self.host));
        Ticket { connection, scopes, return_to: None, browser: None, shown: None, issued: self.host.now(), id }
    }

    /// A one-time URL at which the subject of `connection` can connect it, with `scopes` beside those of the service's row.
    pub(crate) fn connect_url(&self, connection: &ConnectionId, scopes: &[String]) -> Result<String, SettingError> {
        self.link(&self.create(connection.clone(), scopes.to_vec()))
    }

    /// The URL that carries a ticket.
    pub(crate) fn link(&self, ticket: &Ticket) -> Result<String, SettingError> {
        let public_url = self.settings.public_url()?;
        Ok(format!("{}/auth/{}?ticket={}", public_url.as_str(), ticket.connection.service, self.sealed(ticket)?))
    }

    pub(super) fn sealed(&self, ticket: &Ticket) -> Result<String, SettingError> {
        match self.vault.seal(TICKET, ticket) {
            Ok(sealed) => Ok(Base64UrlUnpadded::encode_string(&sealed)),
            Err(RowError::Setting(error)) => Err(error),
            Err(_) => unreachable!("sealing touches nothing but settings"),
        }
    }

    /// Reads a ticket that `subject` has shown for `service`, if it can still be used.
    pub(super) fn read(&self, text: &str, subject: &Subject, service: &ServiceId) -> Result<Ticket, ConnectError> {
        let keyring = self.vault.keyring()?;
        let sealed = Base64UrlUnpadded::decode_vec(text).map_err(|_| ConnectError::Ticket)?;
        let plain = keyring.open(TICKET, &sealed).map_err(|_| ConnectError::Ticket)?;
        let ticket: Ticket = serde_json::from_slice(&plain).map_err(|_| ConnectError::Ticket)?;
        if !is_recent(ticket.issued, self.host.now(), LIFETIME) || ticket.connection.service != *service {
            return Err(ConnectError::Ticket);
        }
        if ticket.connection.subject != *subject {
            return Err(ConnectError::TicketOfAnother);
        }
        if self.has_used(&ticket)? { Err(ConnectError::TicketUsed) } else { Ok(ticket) }
    }

    /// Uses a ticket up.
    pub(super) fn use_up(&self, ticket: &Ticket) -> Result<(), ConnectError> {
        if self.has_used(ticket)? {
            return Err(ConnectError::TicketUsed);
        }
        let identity = [ticket.connection.subject.as_str()];
        let mut used = self.vault.used_ids(row_id(&identity), LIFETIME)?;
        used.add(ticket.issued, ticket.id.clone(), LIFETIME, self.host.now());
        Ok(self.vault.write_used_ids(row_id(&identity), &used)?)
    }

    fn has_used(&self, ticket: &Ticket) -> Result<bool, RowError> {
        let used = self.vault.used_ids(row_id(&[ticket.connection.subject.as_str()]), LIFETIME)?;
        Ok(used.has(ticket.issued, &ticket.id))
    }
}

fn row_id<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::UsedTickets, identity }
}

const TICKET: RowId = RowId { kind: RowKind::Ticket, identity: &[] };
/// Seconds.
pub const LIFETIME: u64 = 600;
