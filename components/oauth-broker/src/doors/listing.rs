//! What has this person connected? (`GET /connections`, and `GET /` as a page)

use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::params::Params;
use super::{Refusal, pages};
use crate::Broker;
use crate::connections::row::State;
use crate::host::Host;
use crate::names::{ConnectionId, ServiceId, Subject};
use crate::vault::rows::RowError;

/// `GET /connections`
pub fn json<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let subject = broker.person(request)?.ok_or_else(|| Refusal::SignIn("/".to_owned()))?;
    Ok(super::json(StatusCode::OK, &listing(broker, subject)?))
}

/// `GET /`
pub fn page<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let subject = broker.person(request)?.ok_or_else(|| Refusal::SignIn("/".to_owned()))?;
    let params = Params::of(request.uri())?;
    let listing = listing(broker, subject)?;
    let named =
        |name: &str| params.get(name).and_then(|id| listing.services.iter().find(|one| one.service.as_str() == id));
    let notice = if let Some(one) = named("connected") {
        Some(format!("{} is connected.", one.name))
    } else {
        named("disconnected").map(|one| match params.get("revoked") {
            None => format!("{} is disconnected.", one.name),
            Some(_) => format!(
                "{} is disconnected here, but could not be told so: you can remove Gatehouse in its own settings.",
                one.name
            ),
        })
    };
    let local = broker.settings.public_url()?.is_loopback();
    Ok(pages::connections(&listing, notice.as_deref(), local, broker.host.now()))
}

#[derive(Serialize)]
pub struct Listing {
    pub subject: Subject,
    pub services: Vec<Listed>,
}

/// How the subject stands with one service that is offered.
#[derive(Serialize)]
pub struct Listed {
    pub service: ServiceId,
    pub name: String,
    pub connected: bool,
    /// `active`, `needs_reconnect`, `not_connected` or `unreadable`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    pub scopes: Vec<String>,
    pub missing_scopes: Vec<String>,
    /// Of the access token. It is renewed before, where it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    pub renewable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<u64>,
    pub connect_url: String,
}

fn listing<H: Host>(broker: &Broker<'_, H>, subject: Subject) -> Result<Listing, Refusal> {
    let public_url = broker.settings.public_url()?.as_str();
    let now = broker.host.now();
    let mut services = Vec::new();
    for service in broker.services()? {
        let mut listed = Listed {
            name: service.name.clone(),
            connected: false,
            state: "not_connected",
            reason: None,
            account: None,
            scopes: Vec::new(),
            missing_scopes: Vec::new(),
            expires_at: None,
            renewable: false,
            connected_at: None,
            refreshed_at: None,
            connect_url: format!("{public_url}/auth/{}", service.id),
            service: service.id.clone(),
        };
        match broker.connection(&ConnectionId::new(subject.clone(), service.id.clone())) {
            Ok(None) => {}
            Ok(Some(connection)) => {
                let ended = match &connection.state {
                    State::NeedsReconnect { reason } => Some(reason.clone()),
                    State::Active if connection.refresh_token.is_none() && connection.is_expired(now) => {
                        Some("expired".to_owned())
                    }
                    State::Active => None,
                };
                listed.state = if ended.is_some() { "needs_reconnect" } else { "active" };
                listed.connected = ended.is_none();
                listed.reason = ended;
                listed.missing_scopes = service.missing_scopes(&connection.scopes);
                listed.account = connection.account;
                listed.scopes = connection.scopes;
                listed.expires_at = connection.expires_at;
                listed.renewable = connection.refresh_token.is_some();
                listed.connected_at = Some(connection.connected_at);
                listed.refreshed_at = Some(connection.refreshed_at);
            }
            Err(error @ (RowError::Open(_) | RowError::Form)) => {
                broker.host.log(&format!("a connection could not be read: {error}"));
                listed.state = "unreadable";
            }
            Err(error) => return Err(error.into()),
        }
        services.push(listed);
    }
    Ok(Listing { subject, services })
}
