//! How can someone else hand a person the way to connect? (rows of kind `t`)
//!
//! A connect ticket is a sealed note in a URL: this subject may connect this service, within ten minutes, once. Making
//! one writes nothing, so that a gateway may be given as many as it asks for. It does not sign anyone in: who opens it
//! has to be signed in as its subject, or else a victim could be made to connect their account to an attacker's subject.
//!
//! Using one writes a mark for its subject and service: the second in which it was made, and the ids of the used tickets
//! of that second. From then on a ticket of an earlier second is dead, and so is a used one; a later one works. A second
//! in which more than [`SAME_SECOND`] have been used is over as a whole.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::ConnectError;
use crate::Broker;
use crate::host::Host;
use crate::names::{AccountName, ConnectionId, ServiceId, Subject};
use crate::settings::SettingError;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};

#[derive(Serialize, Deserialize)]
struct Ticket {
    connection: ConnectionId,
    /// To be asked for beside those of the service's row.
    scopes: Vec<String>,
    issued: u64,
    id: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Mark {
    issued: u64,
    used: Vec<String>,
}

impl<H: Host> Broker<'_, H> {
    /// A one-time URL at which the subject of `connection` can connect it, with `scopes` beside those of the service's row.
    pub(crate) fn connect_url(&self, connection: &ConnectionId, scopes: &[String]) -> Result<String, SettingError> {
        let ticket = Ticket {
            connection: connection.clone(),
            scopes: scopes.to_vec(),
            issued: self.host.now(),
            id: Base64UrlUnpadded::encode_string(&self.random::<12>()),
        };
        let sealed = match self.seal(TICKET, &ticket) {
            Ok(sealed) => sealed,
            Err(RowError::Setting(error)) => return Err(error),
            Err(_) => unreachable!("sealing touches nothing but settings"),
        };
        let public_url = self.settings.public_url()?;
        let sealed = Base64UrlUnpadded::encode_string(&sealed);
        Ok(format!("{}/auth/{}?ticket={sealed}", public_url.as_str(), connection.service))
    }

    /// Uses a ticket up, and gives the account and the further scopes that it is for. Errors leave it as it was.
    pub(super) fn use_ticket(
        &self,
        ticket: &str,
        subject: &Subject,
        service: &ServiceId,
    ) -> Result<(AccountName, Vec<String>), ConnectError> {
        let vault = self.settings.vault()?;
        let sealed = Base64UrlUnpadded::decode_vec(ticket).map_err(|_| ConnectError::Ticket)?;
        let ticket = vault.open(TICKET, &sealed).map_err(|_| ConnectError::Ticket)?;
        let ticket: Ticket = serde_json::from_slice(&ticket).map_err(|_| ConnectError::Ticket)?;
        let age = self.host.now().saturating_sub(ticket.issued);
        if age > LIFETIME || ticket.connection.service != *service {
            return Err(ConnectError::Ticket);
        }
        if ticket.connection.subject != *subject {
            return Err(ConnectError::TicketOfAnother);
        }
        let identity = [subject.as_str(), service.as_str()];
        let place = Place { kind: Kind::TicketMark, identity: &identity };
        let mut mark: Mark = self.read(place)?.unwrap_or_default();
        if ticket.issued > mark.issued {
            mark = Mark { issued: ticket.issued, used: Vec::new() };
        } else if ticket.issued < mark.issued || mark.used.contains(&ticket.id) || mark.used.len() >= SAME_SECOND {
            return Err(ConnectError::TicketUsed);
        }
        mark.used.push(ticket.id);
        self.write(place, &mark)?;
        Ok((ticket.connection.account, ticket.scopes))
    }
}

const TICKET: Place = Place { kind: Kind::Ticket, identity: &[] };
/// Seconds.
const LIFETIME: u64 = 600;
const SAME_SECOND: usize = 16;
