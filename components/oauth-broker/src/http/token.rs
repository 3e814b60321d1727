//! Hands out one token, and ends a connection.

use std::collections::BTreeMap;

use http::{Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Refusal, pages};
use crate::audit::{About, Event, Line};
use crate::broker::Broker;
use crate::connections::{DisconnectError, Disconnected, Status};
use crate::handout::Handout;
use crate::host::Host;
use crate::names::{CalledBy, Caller, ConnectionId, ServiceId};
use crate::params::Params;
use crate::people::Sender;
use sealing::Secret;

/// `POST /token/{service}`
pub async fn post<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let (by, id, resource) = addressed(broker, request, service, sender)?;
    let handout = match broker.handouts().status(&by, &id, None, &[]).await? {
        Status::Token(connection) => Handout::from(*connection),
        Status::NotConnected => {
            return Err(Refusal::NotConnected { connect_url: broker.tickets().connect_url(&id, &[])? });
        }
        Status::NeedsReconnect { missing_scopes } => {
            let connect_url = broker.tickets().connect_url(&id, &missing_scopes)?;
            return Err(Refusal::NeedsReconnect { connect_url, missing_scopes });
        }
        Status::RetryAfter(seconds) => return Err(Refusal::Later(seconds)),
        Status::UnknownService => {
            broker.handouts().note_refused(&by, &id.subject, std::slice::from_ref(&id));
            return Err(Refusal::UnknownService);
        }
    };
    let about = [About::new(&id).token(&handout.grant, handout.generation)];
    broker
        .audit()
        .note(Line::new(Event::HandedOut, (&by).into(), Some(&id.subject)).about(&about).resource(resource.as_deref()));
    let answer = TokenAnswer {
        expires_in: handout.expires_at.map(|end| end.saturating_sub(broker.host.now())),
        scope: handout.scopes.join(" "),
        extra: handout.extra,
        access_token: handout.access_token,
        token_type: handout.token_type,
    };
    Ok(super::json(StatusCode::OK, &answer))
}

/// RFC 6749 section 5.1.
#[derive(Serialize)]
struct TokenAnswer {
    access_token: Secret,
    token_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    scope: String,
    extra: BTreeMap<String, String>,
}

/// `DELETE /token/{service}`
pub async fn delete<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let (by, id, _) = addressed(broker, request, service, sender)?;
    let ended = match broker.handouts().disconnect(&by, &id).await {
        Err(DisconnectError::UnknownService) => {
            broker.handouts().note_refused(&by, &id.subject, std::slice::from_ref(&id));
            return Err(Refusal::UnknownService);
        }
        ended => ended?,
    };
    note_disconnected(broker, &by, &id, &ended);
    Ok(match ended.reason() {
        None => super::empty(StatusCode::NO_CONTENT),
        Some(why) => {
            let queued = ended == Disconnected::Queued;
            let body = json!({ "forgotten": true, "revoked": false, "queued": queued, "reason": why });
            super::json(StatusCode::OK, &body)
        }
    })
}

/// The caller, the connection that the request is about, and the resource that it names.
fn addressed<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    sender: Sender,
) -> Result<(CalledBy, ConnectionId, Option<String>), Refusal> {
    let asked = Asked::of(request)?;
    let Caller { subject, by } = broker.people().caller(sender, asked.subject_token.as_ref().map(Secret::reveal))?;
    Ok((by, super::connection(subject, service, asked.account.as_deref())?, asked.resource))
}

/// `POST /disconnect/{service}`, the form of our own page.
pub async fn disconnect<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let Sender::Person(person) = sender else { return Err(Refusal::sign_in()) };
    let form = Params::parse(request.body())?;
    let id = super::connection(person, service, form.get("account"))?;
    let ended = broker.connections().disconnect(&id).await?;
    note_disconnected(broker, &CalledBy::Person, &id, &ended);
    let revoked = match ended {
        Disconnected::Forgotten => "",
        Disconnected::Queued => "&revoked=queued",
        Disconnected::NotRevoked(_) => "&revoked=no",
    };
    pages::see_other(&format!("{}{revoked}", pages::connect::told("disconnected", &id)))
}

fn note_disconnected<H: Host>(broker: &Broker<'_, H>, by: &CalledBy, id: &ConnectionId, ended: &Disconnected) {
    let about = [About::new(id)];
    let line = Line::new(Event::Disconnected, by.into(), Some(&id.subject)).about(&about);
    broker.audit().note(match ended.reason() {
        None => line,
        Some(why) => line.reason(why),
    });
}

/// The body, in JSON or as a form. Each member is optional.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    subject_token: Option<Secret>,
    #[serde(default)]
    account: Option<String>,
    /// The resource for which the token is: noted in the audit, and nothing else.
    #[serde(default)]
    resource: Option<String>,
}

impl Asked {
    fn of(request: &Request<Vec<u8>>) -> Result<Self, Refusal> {
        let body = request.body();
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.to_ascii_lowercase().starts_with("application/json") && !body.is_empty() {
            let asked = json::check(body).and_then(serde_json::from_slice);
            return asked.map_err(|_| Refusal::Request("the body is not a JSON object with each name once"));
        }
        let form = Params::parse(body)?;
        let owned = |name: &str| form.get(name).map(str::to_owned);
        Ok(Self {
            subject_token: owned("subject_token").map(Secret::from),
            account: owned("account"),
            resource: owned("resource"),
        })
    }
}
