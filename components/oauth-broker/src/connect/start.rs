//! Starts a flow.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderMap;
use url::Url;

use super::flow::{self, Flow, FlowId};
use super::offer::shown;
use super::ticket::Ticket;
use super::{Connect, ConnectError};
use crate::host::{Host, random};
use crate::names::{ServiceId, Subject};
use crate::people::cookies::Cookie;
use crate::provider::{self, Asked};
use sealing::Secret;

/// Where the person goes now, and the cookie that makes the flow this browser's.
pub struct Started {
    pub to: Url,
    pub name: String,
    pub cookie: Cookie,
}

impl<H: Host> Connect<'_, H> {
    /// Starts what the page with this ticket has offered to `subject` in this browser.
    pub(crate) async fn start(
        &self,
        subject: &Subject,
        id: &ServiceId,
        ticket: &str,
        headers: &HeaderMap,
    ) -> Result<Started, ConnectError> {
        // A new grant must not lie over one that a missing key would open.
        self.vault.check_keys()?;
        let mut ticket = self.ticket_of_form(subject, id, ticket, headers)?;
        let service =
            self.services.service_to_connect(id, Some(&ticket.scopes)).await?.ok_or(ConnectError::UnknownService)?;
        // Others may have had another authorization server discovered since, or the operator has changed a setting.
        if ticket.shown != Some(shown(&service)) {
            return Err(ConnectError::Changed);
        }
        if let Some(issued) = &service.issued {
            ticket.scopes = issued.askable(ticket.scopes);
        }
        let public_url = self.settings.public_url()?;
        let state = self.token();
        let cookie = self.token();
        let flow_id = FlowId::of(&state);
        let redirect_uri = public_url.redirect_uri(id);
        let verifier = Secret::from(self.token());
        let asked = Asked { scopes: &ticket.scopes, state: &state, redirect_uri: &redirect_uri, verifier: &verifier };
        let begun = provider::begin(self.host, &service, asked).await?;
        // Only now: a provider that fails before has cost nothing.
        self.tickets.use_up(&ticket)?;
        let flow = Flow {
            redirect_uri,
            connection: ticket.connection,
            verifier,
            kept: begun.kept,
            posted: None,
            issued: service.issued.clone(),
            cookie: flow::digest(&cookie),
            scopes: ticket.scopes,
            return_to: ticket.return_to,
            expires: self.host.now() + flow::LIFETIME,
        };
        self.flows.start(&flow_id, &flow)?;
        let secure = public_url.is_secure();
        let cookie = Cookie {
            name: flow_id.cookie_name(secure),
            value: cookie,
            lifetime: flow::LIFETIME,
            secure,
            cross_site: service.posts_back(),
        };
        Ok(Started { to: begun.to, name: service.name, cookie })
    }

    /// The ticket of a form that this browser was shown, if it may start a flow.
    fn ticket_of_form(
        &self,
        subject: &Subject,
        id: &ServiceId,
        ticket: &str,
        headers: &HeaderMap,
    ) -> Result<Ticket, ConnectError> {
        if self.services.offered(id)?.is_none() {
            return Err(ConnectError::UnknownService);
        }
        let ticket = self.tickets.read(ticket, subject, id)?;
        // A link alone starts nothing: its ticket is of no browser.
        let shown_here = ticket.browser.as_deref().map(|mark| self.browsers.is_browser(headers, mark)).transpose()?;
        if shown_here != Some(true) {
            return Err(ConnectError::NotShownHere);
        }
        if self.connections.index.has_room_for(&ticket.connection)? { Ok(ticket) } else { Err(ConnectError::TooMany) }
    }

    /// 256 random bits as 43 letters: a state, a cookie, a PKCE verifier (RFC 7636 section 4.1).
    fn token(&self) -> String {
        Base64UrlUnpadded::encode_string(&random::<32>(self.host))
    }
}
