//! Connects people to services: a person's consent becomes a connection, and only their own.
//!
//! `GET /auth/{service}` ([`offer`]) shows what will be connected. Its button ([`start`]) makes a flow, bound to the
//! subject, the service, the redirect URI and this very browser, and sends the person to the provider. `/callback/{service}`
//! ([`callback`]) ends it, and [`return_url`] checks where the person goes then. The person who starts a flow must be the one
//! who finishes it: PKCE alone would not notice that a victim completes what an attacker began
//! (draft-ietf-oauth-security-topics-update, cross-user session fixation).

pub mod callback;
pub mod flow;
pub mod offer;
pub mod return_url;
pub mod start;
pub mod ticket;

use thiserror::Error;

use crate::audit::Audit;
use crate::connections::Connections;
use crate::people::browser::Browsers;
use crate::provider::Failure;
use crate::services::{ServiceError, Services};
use crate::settings::{SettingError, Settings};
use crate::vault::{RowError, Vault};
use flow::Flows;
use ticket::Tickets;

/// Connects people to services.
pub(crate) struct Connect<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
    pub services: Services<'b, H>,
    pub connections: Connections<'b, H>,
    pub tickets: Tickets<'b, H>,
    pub flows: Flows<'b, H>,
    pub browsers: Browsers<'b, H>,
    pub audit: Audit<'b, H>,
}

/// Why a person was not connected. Each says in its text what happened and what to do.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("this Gatehouse does not offer that service")]
    UnknownService,
    #[error("you have as many connections as one person may have here: disconnect one first")]
    TooMany,
    #[error("this link or page is not valid, or has expired: start again, or ask for a new link")]
    Ticket,
    #[error("this link or page has been used: start again, or ask for a new link")]
    TicketUsed,
    #[error("this connect link was made for another person: you are signed in as somebody else. Nothing was changed")]
    TicketOfAnother,
    #[error("this was agreed to on a page that was opened in another browser, or its cookie is gone: start again here")]
    NotShownHere,
    #[error("the service has changed since its page was shown: start again")]
    Changed,
    #[error("the answer came without a state: start again")]
    NoState,
    #[error("no connection waits for this answer: it is finished, or has expired. Start again")]
    UnknownState,
    #[error("the answer of one service came in at another's address. For safety this attempt was ended: start again")]
    OtherService,
    #[error("this was started in another browser, or its cookie is gone: start again here")]
    OtherBrowser,
    #[error("this was started by another person. Nothing was connected")]
    OtherPerson,
    #[error("the answer came from another issuer than this service's. For safety this attempt was ended: start again")]
    Issuer,
    #[error("this service's answer is not one that is posted here: start again")]
    NotPosted,
    #[error("the answer had neither a code nor an error: start again")]
    NoCode,
    /// The provider, or the person there, said no (RFC 6749 section 4.1.2.1).
    #[error("the provider did not connect you: {error}{}", description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Declined { error: String, description: Option<String> },
    /// The code could not be turned into a grant.
    #[error("the provider gave no token: {0}")]
    Provider(#[from] Failure),
    /// The service's way of speaking could not be found.
    #[error(transparent)]
    Service(ServiceError),
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<ServiceError> for ConnectError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Row(error) => Self::Row(error),
            error => Self::Service(error),
        }
    }
}

impl From<SettingError> for ConnectError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}
