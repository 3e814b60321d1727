//! How does a person come in to connect, and how do they leave?

use http::{Method, Request, Response, StatusCode, header};
use http_auth::scope::CALLED_FOR;
use serde::Deserialize;
use serde_json::json;

use super::params::Params;
use super::{Refusal, pages};
use crate::Broker;
use crate::connect::callback::Answered;
use crate::connect::{ConnectError, ticket};
use crate::host::Host;
use crate::names::ServiceId;
use crate::people::cookies::Cookie;
use crate::people::sign_in::{self, Next};
use crate::people::{Asker, Caller, local};
use sealing::Secret;

/// `GET /auth/{service}`: what will be connected, and the button that does it. `POST /auth/{service}`: that button.
///
/// A page and not a redirect takes the person to the provider: a redirect would be a part of the form's submission, which
/// our own policy (form-action) ends at our own door. If what was shown has changed, the page is shown again instead.
pub async fn auth<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
    asker: Asker,
) -> Result<Response<Vec<u8>>, Refusal> {
    let pressed = request.method() == Method::POST;
    let params = if pressed { Params::parse(request.body()) } else { Params::of(request.uri()) }?;
    let (ticket, account) = (params.get("ticket"), params.get("account").filter(|_| !pressed));
    let next = |ticket| Next::connect(&service, account, ticket).path();
    let person = match asker {
        Asker::Person(person) => Some(person),
        _ if pressed => None,
        _ => broker.person(request)?,
    };
    let subject = person.ok_or_else(|| Refusal::SignIn(next(ticket)))?;
    if pressed {
        let ticket = ticket.ok_or(Refusal::Request("ticket is missing"))?;
        match broker.start(&subject, &service, ticket, request.headers()).await {
            Ok(started) => {
                let mut response = pages::connect::leave(&started);
                sign_in::set(&mut response, &started.cookie);
                return Ok(response);
            }
            Err(ConnectError::Changed) => {}
            Err(error) => return Err(refused(error, next(None))),
        }
    }
    let id = super::connection(subject, service.clone(), account)?;
    let offer = broker.offer(id, ticket, request.headers()).await.map_err(|error| refused(error, next(None)))?;
    let return_to = broker.return_url(offer.return_to.as_deref())?;
    let mut response = pages::connect::offer(&offer, return_to.as_ref(), pressed);
    sign_in::set(&mut response, &offer.cookie);
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
    broker.posted(&service, &params, request.headers()).map_err(|error| refused(error, again))?;
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
    let person = broker.person(request)?;
    let again = |account| Next::connect(&service, account, None).path();
    let answered = broker.answered(&service, &params, request.headers(), person.as_ref());
    let Answered { flow, cookie } = answered.map_err(|error| refused(error, again(None)))?;
    let id = flow.connection.clone();
    let return_to = broker.return_url(flow.return_to.as_deref())?;
    let result = broker.finish(flow, &params).await;
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
    sign_in::set(&mut response, &Cookie::over(cookie, secure));
    Ok(response)
}

/// Who may have a link made. A link is no token, and of use to this person only: their browser may have it, on our own
/// pages.
pub fn asker<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Asker, Refusal> {
    let asker = broker.asker(request);
    if asker.is_ok() || request.headers().contains_key(header::AUTHORIZATION) {
        return asker;
    }
    local::check_origin(request, broker.settings.public_url()?)?;
    broker.person(request)?.map(Asker::Person).ok_or_else(|| Refusal::SignIn("/".to_owned()))
}

/// `POST /tickets`: a link with which the person whom the caller speaks for can connect a service.
pub async fn ticket<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    asker: Asker,
) -> Result<Response<Vec<u8>>, Refusal> {
    let wish = json::check(request.body())
        .and_then(serde_json::from_slice::<Wish>)
        .map_err(|_| Refusal::Request("the body is not JSON of service, account, scopes, return_to"))?;
    let Caller { subject, by } = broker.caller(asker, wish.subject_token.as_ref().map(Secret::reveal))?;
    let service = ServiceId::parse(&wish.service).map_err(|_| Refusal::UnknownService)?;
    if !CALLED_FOR.hold(&wish.scopes) {
        return Err(Refusal::Request(SCOPES));
    }
    if wish.return_to.is_some() && broker.return_url(wish.return_to.as_deref())?.is_none() {
        return Err(Refusal::Request("return_to is not one of the setting return_urls, letter by letter"));
    }
    let may = broker.may_ask(&by, &service, &wish.scopes)?;
    broker.offered(&service)?.filter(|_| may).ok_or(Refusal::UnknownService)?;
    let mut ticket = broker.new_ticket(super::connection(subject, service, wish.account.as_deref())?, wish.scopes);
    ticket.return_to = wish.return_to;
    let answer = json!({ "connect_url": broker.link(&ticket)?, "expires_in": ticket::LIFETIME });
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

/// Why nothing was connected, with the way to start again where that can help.
fn refused(error: ConnectError, again: String) -> Refusal {
    let helps = !matches!(error, ConnectError::UnknownService | ConnectError::TicketOfAnother);
    Refusal::Connect { error, again: helps.then_some(again) }
}

/// What is wrong with scopes that are not [`CALLED_FOR`].
pub(super) const SCOPES: &str = "scopes are at most 64, of the letters of RFC 6749 section 3.3, and 2 KiB in all";
