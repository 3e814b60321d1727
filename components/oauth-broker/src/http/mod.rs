//! Answers HTTP requests: routes them, checks who sends them, and writes pages and JSON.
//!
//! A browser (`Accept: text/html`) gets a page, everything else JSON; errors in JSON are those of RFC 6749 section 5.2.
//! No answer has CORS headers: what leaves here is for servers, and for people on our own pages.

mod admin;
mod connect;
mod health;
mod listing;
pub mod pages;
mod refusal;
pub mod resolve;
mod routes;
mod sign_in;
mod token;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_auth::Hops;
use serde::Serialize;
use shell::{Pieces, ReadError, Unread};
use zeroize::Zeroize;

pub use refusal::Refusal;

use crate::broker::Broker;
use crate::host::Host;
use crate::names::{AccountName, ConnectionId, ServiceId, Subject};
use crate::people::cookies::Cookie;
use crate::people::{Sender, local};
use routes::{Access, Route};

/// The longest body of a request, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Answers one request.
pub async fn handle<H: Host, P: Pieces>(host: &H, request: Request<Unread<P>>) -> Response<Vec<u8>> {
    let broker = Broker::new(host);
    let (head, mut body) = request.into_parts();
    let mut request = Request::from_parts(head, Vec::new());
    let response = match answer(&broker, &mut request, &mut body).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(host, wants_page(&request)),
    };
    request.body_mut().zeroize();
    response
}

/// Answers a request whose head could not be read.
pub fn unreadable<H: Host>(host: &H, error: ReadError) -> Response<Vec<u8>> {
    Refusal::Unread(error).answer(host, false)
}

async fn answer<H: Host, P: Pieces>(
    broker: &Broker<'_, H>,
    request: &mut Request<Vec<u8>>,
    body: &mut Unread<P>,
) -> Result<Response<Vec<u8>>, Refusal> {
    broker.host.hops().set(Hops::of(request.headers())?);
    let path = request.uri().path().to_owned();
    let matched = routes::find(&path).ok_or(Refusal::NoRoute)?;
    if request.method() == Method::OPTIONS {
        let mut response = empty(StatusCode::NO_CONTENT);
        response
            .headers_mut()
            .extend(HeaderValue::try_from(matched.methods()).ok().map(|allow| (header::ALLOW, allow)));
        return Ok(response);
    }
    let entry = matched.entry(request.method()).ok_or_else(|| Refusal::Method(matched.methods()))?;
    let service = match matched.service {
        Some(id) => Some(ServiceId::parse(id).map_err(|_| Refusal::UnknownService)?),
        None => None,
    };
    let sender = match sender(broker, request, entry.access)? {
        Some(sender) => {
            *request.body_mut() = body.read(BODY_LIMIT, |duration| broker.host.sleep(duration)).await?;
            sender
        }
        None => Sender::Anonymous,
    };
    let service = || service.ok_or(Refusal::UnknownService);
    let request = &*request;
    match entry.route {
        Route::ConnectionsPage => listing::page(broker, request).await,
        Route::Connections => listing::json(broker, request).await,
        Route::ShowOffer => connect::show_offer(broker, request, service()?).await,
        Route::StartFlow => connect::start_flow(broker, request, service()?, sender).await,
        Route::Callback => connect::callback(broker, request, service()?).await,
        Route::PostedCallback => connect::posted(broker, request, service()?),
        Route::Token => token::post(broker, request, service()?, sender).await,
        Route::DeleteToken => token::delete(broker, request, service()?, sender).await,
        Route::Disconnect => token::disconnect(broker, request, service()?, sender).await,
        Route::Resolve => resolve::post(broker, request, sender).await,
        Route::CreateTicket => connect::ticket(broker, request, sender).await,
        Route::ClientDocument => connect::client_document(broker, &service()?),
        Route::SignIn => sign_in::sign_in(broker, request).await,
        Route::SignOut => sign_in::sign_out(broker, request).await,
        Route::ReadAudit => admin::audit(broker, request),
        Route::Sweep => admin::sweep(broker, request, &sender).await,
        Route::Health => Ok(health::answer(broker, request)),
    }
}

/// The sender of a request whose answer needs its body. `None` if the body is not read. What the head alone can refuse is
/// refused here.
fn sender<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    access: Access,
) -> Result<Option<Sender>, Refusal> {
    let check_origin = || Ok::<_, Refusal>(local::check_origin(request, broker.settings.public_url()?)?);
    Ok(Some(match access {
        Access::NoBody => return Ok(None),
        Access::Key => broker.people().sender(request)?,
        Access::ServiceKey => broker.people().sender_for_resolution(request)?,
        Access::KeyOrPerson => connect::ticket_sender(broker, request)?,
        Access::AdminKey => Sender::Admin(broker.people().admin(request)?),
        Access::Provider => Sender::Anonymous,
        Access::OwnPage => {
            check_origin()?;
            Sender::Anonymous
        }
        Access::OwnPageOfAnyone => {
            check_origin()?;
            broker.people().person(request)?.map_or(Sender::Anonymous, Sender::Person)
        }
        Access::OwnPageOfPerson => {
            check_origin()?;
            Sender::Person(broker.people().person(request)?.ok_or_else(Refusal::sign_in)?)
        }
    }))
}

/// The connection of a request.
fn connection(subject: Subject, service: ServiceId, account: Option<&str>) -> Result<ConnectionId, Refusal> {
    let account = AccountName::parse(account.unwrap_or_default())
        .map_err(|_| Refusal::Request("account is not a name of at most 32 of a-z, 0-9, _ and -"))?;
    Ok(ConnectionId { subject, service, account })
}

/// An answer in JSON, which no cache may keep (RFC 6749 section 5.1).
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Vec<u8>> {
    let mut response = empty(status);
    *response.body_mut() = sealing::to_json(body).map(|mut json| std::mem::take(&mut *json)).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Adds a cookie to an answer.
fn set_cookie(response: &mut Response<Vec<u8>>, cookie: &Cookie) {
    if let Some(value) = cookie.header() {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn wants_page(request: &Request<Vec<u8>>) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepts.into_iter().any(|accept| accept.contains("text/html"))
}
