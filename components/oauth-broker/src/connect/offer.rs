//! Shows a person what will be connected before they leave for a provider.
//!
//! Any page may send a browser to `GET /auth/{service}`, and a provider that knows the person may agree for them without
//! asking. So that nobody is connected behind their back, this address only shows a page: which account of whom, at
//! which service, with which scopes. Its button sends a ticket back that no other site can know and no other browser can
//! use ([`super::ticket`]); only with that does a flow start, and only if the service is still what the page has shown.

use http::HeaderMap;
use http_auth::scope::ASKED_FOR;
use serde_json::json;

use super::{Connect, ConnectError, flow};
use crate::catalogue::Service;
use crate::connections::row::Connection;
use crate::host::Host;
use crate::names::ConnectionId;
use crate::people::cookies::Cookie;
use crate::vault::RowError;

/// The offer that a person is asked to agree to.
pub struct Offer {
    pub service: Service,
    pub connection: ConnectionId,
    pub scopes: Vec<AskedScope>,
    /// The present connection, which will be replaced.
    pub replaces: Option<Connection>,
    /// True if a link led here, which another person may have sent.
    pub by_link: bool,
    pub return_to: Option<String>,
    /// For the form.
    pub ticket: String,
    pub cookie: Cookie,
}

pub struct AskedScope {
    pub name: String,
    /// Granted already.
    pub granted: bool,
}

impl<H: Host> Connect<'_, H> {
    /// The offer to the subject of `id` before they leave. A link's ticket says the account, and which scopes to ask for
    /// beside the row's.
    pub(crate) async fn offer(
        &self,
        mut id: ConnectionId,
        link: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Offer, ConnectError> {
        let service = self.services.service_to_connect(&id.service, None).await?.ok_or(ConnectError::UnknownService)?;
        let link = link.map(|link| self.tickets.read(link, &id.subject, &id.service)).transpose()?;
        let by_link = link.is_some();
        let mut ticket = match link {
            Some(ticket) => {
                id = ticket.connection.clone();
                ticket
            }
            None => self.tickets.create(id.clone(), Vec::new()),
        };
        let replaces = match self.connections.get(&id) {
            Ok(connection) => connection,
            // Connecting again replaces it.
            Err(RowError::Open(_) | RowError::Form) => None,
            Err(error) => return Err(error.into()),
        };
        let granted = |scope: &String| {
            replaces.as_ref().is_some_and(|connection| {
                let name = service.scope_aliases.get(scope).unwrap_or(scope);
                connection.scopes.contains(name) || connection.scopes.contains(scope)
            })
        };
        // What an earlier step-up has brought stays.
        let earlier = replaces.iter().flat_map(|connection| &connection.asked_scopes).filter(|scope| granted(scope));
        let further = std::mem::replace(&mut ticket.scopes, service.scopes.clone());
        ASKED_FOR.add(&mut ticket.scopes, &mut further.iter().chain(earlier).map(String::as_str));
        let scopes = ticket.scopes.iter().map(|scope| AskedScope { name: scope.clone(), granted: granted(scope) });
        let scopes = scopes.collect();
        let (mark, cookie) = self.browsers.mark(headers)?;
        ticket.browser = Some(mark);
        ticket.shown = Some(shown(&service));
        let (return_to, sealed) = (ticket.return_to.clone(), self.tickets.sealed(&ticket)?);
        Ok(Offer { service, connection: id, scopes, replaces, by_link, return_to, ticket: sealed, cookie })
    }
}

/// What a page shows of a service beside the scopes, as a digest: where it leads, and what the token will be for.
pub(super) fn shown(service: &Service) -> String {
    let resource = service.authorize_params.get("resource");
    let shown = json!([service.name, service.authorize_url.url().as_str(), service.issuer, resource]);
    flow::digest(&shown.to_string())
}
