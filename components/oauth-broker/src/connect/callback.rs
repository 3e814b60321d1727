//! Finishes a flow when the provider sends the person back.
//!
//! The checks, in this order: the state is one of ours and has not expired; it came to the address of its own service (else it
//! has leaked to another provider, and the flow ends at once); this browser holds the flow's cookie; the signed-in person is
//! the one who started the flow. None of these sends anything, and of the failures only the second changes the flow: a
//! stranger who learns a state cannot end another person's flow with it. Then the flow is deleted, so that its state is spent
//! even if a later step fails. Only then the answer itself is read.

use subtle::ConstantTimeEq;

use super::flow::{self, Flow, FlowId};
use super::{Connect, ConnectError};
use crate::audit::{About, Actor, Event, Line};
use crate::catalogue::Service;
use crate::connections::row::Connection;
use crate::discovery::GONE;
use crate::host::{Host, random};
use crate::maps::map_of;
use crate::names::{GrantId, ServiceId, Subject};
use crate::params::Params;
use crate::people::cookies;
use crate::provider::{self, Failure, Returned};
use crate::services::Offered;
use crate::text;
use sealing::Secret;

/// A flow that this answer may finish, and that is over.
pub struct Answered {
    pub flow: Flow,
    /// The name of the flow's cookie, which has done its work.
    pub cookie: String,
}

impl<H: Host> Connect<'_, H> {
    /// Keeps an answer that the provider has the browser post, with the flow. A redirect then brings the browser back for
    /// it, because on a post from another site it does not say who is signed in (cookies with `SameSite=Lax`).
    pub(crate) fn posted(
        &self,
        id: &ServiceId,
        params: &Params,
        headers: &http::HeaderMap,
    ) -> Result<(), ConnectError> {
        let (flow_id, mut flow, _) = self.of_this_browser(id, params, headers)?;
        let posts_back = match self.services.offered(id)?.ok_or(ConnectError::UnknownService)? {
            Offered::Row(service) => service.posts_back(),
            Offered::McpServer(_) => false,
        };
        if !posts_back || flow.posted.is_some() {
            return Err(ConnectError::NotPosted);
        }
        let secret = |(name, value): (&str, &str)| (name.to_owned(), Secret::from(value.to_owned()));
        flow.posted = Some(map_of(params.iter().map(secret)));
        Ok(self.flows.save(&flow_id, &flow)?)
    }

    /// Takes the flow that `params` answers, if this browser and this person may finish it.
    pub(crate) fn answered(
        &self,
        id: &ServiceId,
        params: &Params,
        headers: &http::HeaderMap,
        person: Option<&Subject>,
    ) -> Result<Answered, ConnectError> {
        let (flow_id, flow, cookie) = self.of_this_browser(id, params, headers)?;
        if person != Some(&flow.connection.subject) {
            return Err(ConnectError::OtherPerson);
        }
        self.flows.end(&flow_id)?;
        Ok(Answered { flow, cookie })
    }

    /// The flow that `params` answers, if this browser holds it; and the name of its cookie.
    fn of_this_browser(
        &self,
        id: &ServiceId,
        params: &Params,
        headers: &http::HeaderMap,
    ) -> Result<(FlowId, Flow, String), ConnectError> {
        let flow_id = FlowId::of(params.get("state").ok_or(ConnectError::NoState)?);
        let flow = self.flows.get(&flow_id)?.ok_or(ConnectError::UnknownState)?;
        if flow.connection.service != *id {
            self.flows.end(&flow_id)?;
            return Err(ConnectError::OtherService);
        }
        let cookie_name = flow_id.cookie_name(self.settings.public_url()?.is_secure());
        let cookie = cookies::read(headers, &cookie_name).ok_or(ConnectError::OtherBrowser)?;
        if !bool::from(flow::digest(cookie).as_bytes().ct_eq(flow.cookie.as_bytes())) {
            return Err(ConnectError::OtherBrowser);
        }
        Ok((flow_id, flow, cookie_name))
    }

    /// Turns the answer to `flow` into a connection.
    pub(crate) async fn finish(&self, mut flow: Flow, params: &Params) -> Result<(), ConnectError> {
        let posted = flow.posted.take().map(Params::from);
        let params = posted.as_ref().unwrap_or(params);
        let service = self.services.service(&flow.connection.service, flow.issued.as_ref()).await?;
        let service = service.ok_or(ConnectError::UnknownService)?;
        check_issuer(&service, params)?;
        if let Some(error) = params.get("error") {
            // One that it does not know, it should not lead back.
            if !GONE.contains(&error) {
                self.services.client_was_tried(&service, Some(&Failure::Refused(String::new())));
            }
            let description = params.get("error_description").map(|said| text::plain(said, 300));
            return Err(ConnectError::Declined { error: text::plain(error, 64), description });
        }
        let code = params.get(&service.code_parameter).ok_or(ConnectError::NoCode)?;
        let Flow { redirect_uri, verifier, kept, .. } = &flow;
        let returned = Returned { code, params, kept, redirect_uri, verifier };
        let exchanged = provider::exchange(self.host, &service, returned).await;
        self.services.client_was_tried(&service, exchanged.as_ref().err());
        self.connected(&service, flow, exchanged?).await
    }

    /// Keeps the grant at once, and the account's label when the provider has told it: that may take a while, or fail.
    async fn connected(&self, service: &Service, flow: Flow, grant: provider::Grant) -> Result<(), ConnectError> {
        let id = GrantId::from_random(random(self.host));
        let mut connection = Connection::new(id, grant, &flow.scopes, self.host.now());
        connection.issued = flow.issued.map(|issued| issued.accepted(service));
        connection.missing_scopes = service.missing_scopes(&connection.scopes);
        self.connections.adopt(&flow.connection, &connection).await?;
        let about = [About::new(&flow.connection).token(&connection.grant, connection.generation)];
        self.audit.note(Line::new(Event::Connected, Actor::Person, Some(&flow.connection.subject)).about(&about));
        let Some(account) = provider::whoami(self.host, service, connection.held()).await else { return Ok(()) };
        match self.connections.get(&flow.connection) {
            Ok(Some(current)) if current.is_same_generation(&connection) => {
                connection.label = account.label;
                connection.extra.extend(account.extra);
                if let Err(error) = self.connections.save(&flow.connection, &connection) {
                    self.host.log(&format!("{}: an account's label could not be kept: {error}", service.id));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 9207 section 2.4: compared byte by byte, in errors too.
fn check_issuer(service: &Service, params: &Params) -> Result<(), ConnectError> {
    match (&service.issuer, params.get("iss")) {
        (Some(expected), Some(said)) if expected != said => Err(ConnectError::Issuer),
        (Some(_), None) if service.issuer_required => Err(ConnectError::Issuer),
        _ => Ok(()),
    }
}
