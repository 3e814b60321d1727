//! Answers the requests with which a person connects a service.

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_auth::scope::CALLED_FOR;
use serde::Deserialize;
use serde_json::json;

use super::sign_in::Next;
use super::{Refusal, pages, set_cookie};
use crate::broker::Broker;
use crate::connect::callback::Answered;
use crate::connect::{ConnectError, return_url, ticket};
use crate::host::Host;
use crate::names::{Caller, ConnectionId, ServiceId};
use crate::params::Params;
use crate::people::cookies::Cookie;
use crate::people::{Sender, local};
use sealing::Secret;

/// `GET /auth/{service}`: shows what will be connected, and the button that does it.
pub async fn show_offer<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let params = Params::of(request.uri())?;
    let (ticket, account) = (params.get("ticket"), params.get("account"));
    let next = Next::connect(&service, account, ticket).path();
    let subject = broker.people().person(request)?.ok_or(Refusal::SignIn(next))?;
    let id = super::connection(subject, service, account)?;
    offer(broker, request, id, ticket, false).await
}

/// `POST /auth/{service}`: the button of that page starts the flow.
///
/// A page and not a redirect takes the person to the provider: a redirect would be a part of the form's submission, which
/// our own policy (form-action) does not let leave our pages. If the service has changed since the page was shown, the page
/// is shown again instead.
pub async fn start_flow<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let params = Params::parse(request.body())?;
    let ticket = params.get("ticket");
    let Sender::Person(subject) = sender else {
        return Err(Refusal::SignIn(Next::connect(&service, None, ticket).path()));
    };
    let text = ticket.ok_or(Refusal::Request("ticket is missing"))?;
    match broker.connect().start(&subject, &service, text, request.headers()).await {
        Ok(started) => {
            let mut response = pages::connect::leave(&started);
            set_cookie(&mut response, &started.cookie);
            Ok(response)
        }
        Err(ConnectError::Changed) => {
            let id = super::connection(subject, service, None)?;
            offer(broker, request, id, ticket, true).await
        }
        Err(error) => Err(refused(error, Next::connect(&service, None, None).path())),
    }
}

/// The page that offers a connection. `changed`: the service is not what the page before has shown.
async fn offer<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    id: ConnectionId,
    ticket: Option<&str>,
    changed: bool,
) -> Result<Response<Vec<u8>>, Refusal> {
    let again = Next::connect(&id.service, Some(id.account.as_str()), None).path();
    let offer = broker.connect().offer(id, ticket, request.headers()).await.map_err(|error| refused(error, again))?;
    let return_to = return_url::listed(&broker.settings, offer.return_to.as_deref())?;
    let mut response = pages::connect::offer(&offer, return_to.as_ref(), changed);
    set_cookie(&mut response, &offer.cookie);
    Ok(response)
}

/// `GET /client/{service}`: the client id metadata document for that service's authorization server.
pub fn client_document<H: Host>(broker: &Broker<'_, H>, id: &ServiceId) -> Result<Response<Vec<u8>>, Refusal> {
    let document = broker.services().client_document(id)?.ok_or(Refusal::UnknownService)?;
    let mut response = super::json(StatusCode::OK, &document);
    // It says what anyone may know, and authorization servers ask often.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response.headers_mut().remove(header::PRAGMA);
    Ok(response)
}

/// `POST /callback/{service}`, where a provider posts its answer from its own site: nothing of it but our own state gets
/// into a URL.
pub fn posted<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let params = Params::parse(request.body())?;
    let again = Next::connect(&service, None, None).path();
    broker.connect().posted(&service, &params, request.headers()).map_err(|error| refused(error, again))?;
    let state = params.get("state").unwrap_or_default();
    pages::see_other(&format!("/callback/{service}?state={state}"))
}

/// `GET /callback/{service}`
pub async fn callback<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let params = Params::of(request.uri())?;
    let person = broker.people().person(request)?;
    let again = |account| Next::connect(&service, account, None).path();
    let answered = broker.connect().answered(&service, &params, request.headers(), person.as_ref());
    let Answered { flow, cookie } = answered.map_err(|error| refused(error, again(None)))?;
    let id = flow.connection.clone();
    let return_to = return_url::listed(&broker.settings, flow.return_to.as_deref())?;
    let result = broker.connect().finish(flow, &params).await;
    // Away from the URL that has the code in it.
    let mut response = match (result, return_to) {
        (Ok(()), Some(url)) => pages::see_other(&url.telling("connected", id.service.as_str(), &id))?,
        (Ok(()), None) => pages::see_other(&pages::connect::told("connected", &id))?,
        (Err(error), return_to) => {
            let refusal = refused(error, again(Some(id.account.as_str())));
            let mut response = refusal.answer(broker.host, super::wants_page(request));
            if let Some(url) = return_to {
                response = pages::see_other(&url.telling("error", refusal.class().1, &id))?;
            }
            response
        }
    };
    let secure = broker.settings.public_url()?.is_secure();
    set_cookie(&mut response, &Cookie::expired(cookie, secure));
    Ok(response)
}

/// The sender of a request for a link. A link is no token, and of use to this person only: their browser may have it, on our own
/// pages.
pub fn ticket_sender<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Sender, Refusal> {
    let sender = broker.people().sender(request);
    if sender.is_ok() || request.headers().contains_key(header::AUTHORIZATION) {
        return Ok(sender?);
    }
    local::check_origin(request, broker.settings.public_url()?)?;
    broker.people().person(request)?.map(Sender::Person).ok_or_else(Refusal::sign_in)
}

/// `POST /tickets`: makes a link with which the caller's person can connect a service.
pub async fn ticket<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let wish = json::check(request.body())
        .and_then(serde_json::from_slice::<Wish>)
        .map_err(|_| Refusal::Request("the body is not JSON of service, account, scopes, return_to"))?;
    let Caller { subject, by } = broker.people().caller(sender, wish.subject_token.as_ref().map(Secret::reveal))?;
    let service = ServiceId::parse(&wish.service).map_err(|_| Refusal::UnknownService)?;
    if !CALLED_FOR.hold(&wish.scopes) {
        return Err(Refusal::Request(SCOPES));
    }
    if wish.return_to.is_some() && return_url::listed(&broker.settings, wish.return_to.as_deref())?.is_none() {
        return Err(Refusal::Request("return_to is not one of the setting return_urls, letter by letter"));
    }
    let may = broker.handouts().may_ask(&by, &service, &wish.scopes)?;
    broker.services().offered(&service)?.filter(|_| may).ok_or(Refusal::UnknownService)?;
    let mut ticket =
        broker.tickets().create(super::connection(subject, service, wish.account.as_deref())?, wish.scopes);
    ticket.return_to = wish.return_to;
    let answer = json!({ "connect_url": broker.tickets().link(&ticket)?, "expires_in": ticket::LIFETIME });
    Ok(super::json(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    service: String,
    account: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    return_to: Option<String>,
    subject_token: Option<Secret>,
}

/// The refusal of a connection, with the address to start again if that can help.
fn refused(error: ConnectError, again: String) -> Refusal {
    let helps = !matches!(error, ConnectError::UnknownService | ConnectError::TicketOfAnother);
    Refusal::Connect { error, again: helps.then_some(again) }
}

/// What is wrong with scopes that are not [`CALLED_FOR`].
pub(super) const SCOPES: &str = "scopes are at most 64, of the letters of RFC 6749 section 3.3, and 2 KiB in all";
