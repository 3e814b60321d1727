//! Which request goes where, and in which form does it get its answer?
//!
//! A browser (`Accept: text/html`) gets a page, everything else JSON; errors in JSON are those of RFC 6749 section 5.2.
//! No answer has CORS headers: what leaves here is for servers, and for people on our own pages.

mod admin;
mod connect;
mod health;
mod listing;
pub mod pages;
pub mod params;
mod refusal;
pub mod resolve;
mod token;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_auth::Hops;
use serde::Serialize;
use shell::{Pieces, ReadError, Unread};
use zeroize::Zeroize;

pub use refusal::Refusal;

use crate::Broker;
use crate::discovery;
use crate::host::Host;
use crate::names::{AccountName, ConnectionId, ServiceId, Subject};
use crate::people::{Asker, local};

/// The longest body of a request, in bytes.
const BODY_LIMIT: usize = 64 * 1024;

/// Answers one request.
pub async fn handle<H: Host, P: Pieces>(host: &H, request: Request<Unread<P>>) -> Response<Vec<u8>> {
    let broker = Broker::new(host);
    let (head, mut body) = request.into_parts();
    let mut request = Request::from_parts(head, Vec::new());
    let response = match route(&broker, &mut request, &mut body).await {
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

async fn route<H: Host, P: Pieces>(
    broker: &Broker<'_, H>,
    request: &mut Request<Vec<u8>>,
    body: &mut Unread<P>,
) -> Result<Response<Vec<u8>>, Refusal> {
    broker.host.hops().set(Hops::of(request.headers())?);
    let uri = request.uri().clone();
    let path = uri.path();
    let (room, id) = match path.get(1..).and_then(|path| path.split_once('/')) {
        Some((_, id)) if id.contains('/') => return Err(Refusal::NoRoute),
        Some((room, id)) => (room, Some(id)),
        None => (path.get(1..).unwrap_or_default(), None),
    };
    let methods = match (room, id) {
        ("admin", Some("audit")) => "GET, OPTIONS",
        ("admin", Some("sweep")) => "POST, OPTIONS",
        ("" | "connections" | "health", None) | ("client", Some(_)) => "GET, HEAD, OPTIONS",
        ("auth" | "callback", Some(_)) => "GET, POST, OPTIONS",
        ("token", Some(_)) => "POST, DELETE, OPTIONS",
        ("resolve" | "sign-in" | "sign-out" | "tickets", None) | ("disconnect", Some(_)) => "POST, OPTIONS",
        _ => return Err(Refusal::NoRoute),
    };
    if request.method() == Method::OPTIONS {
        let mut response = empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        return Ok(response);
    }
    if !methods.split(", ").any(|method| method == request.method().as_str()) {
        return Err(Refusal::Method(methods));
    }
    let service = || ServiceId::parse(id.unwrap_or_default()).map_err(|_| Refusal::UnknownService);
    if id.is_some() && room != "admin" {
        service()?;
    }
    let asker = match sender(broker, request, room)? {
        Some(asker) => {
            *request.body_mut() = body.read(BODY_LIMIT, |duration| broker.host.sleep(duration)).await?;
            asker
        }
        None => Asker::Nobody,
    };
    let request = &*request;
    match room {
        "admin" if id == Some("audit") => admin::audit(broker, request),
        "admin" => admin::sweep(broker, request, &asker).await,
        "" => listing::page(broker, request).await,
        "connections" => listing::json(broker, request).await,
        "health" => Ok(health::answer(broker, request)),
        "client" => discovery::document(broker, &service()?),
        "auth" => connect::auth(broker, request, service()?, asker).await,
        "callback" if request.method() == Method::POST => connect::posted(broker, request, service()?),
        "callback" => connect::callback(broker, request, service()?).await,
        "tickets" => connect::ticket(broker, request, asker).await,
        "token" if request.method() == Method::DELETE => token::delete(broker, request, service()?, asker).await,
        "token" => token::post(broker, request, service()?, asker).await,
        "resolve" => resolve::post(broker, request, asker).await,
        "sign-in" => broker.sign_in(request).await,
        "sign-out" => broker.sign_out(request).await,
        _ => token::disconnect(broker, request, service()?, asker).await,
    }
}

/// Who sends a request whose answer needs its body. What the head alone can refuse is refused here, before the body is read.
/// `None`: the body decides nothing, and is not read.
fn sender<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>, room: &str) -> Result<Option<Asker>, Refusal> {
    let is_post = request.method() == Method::POST;
    Ok(Some(match room {
        "token" => broker.asker(request)?,
        "resolve" => broker.asker_for_resolution(request)?,
        "tickets" => connect::asker(broker, request)?,
        "admin" if is_post => Asker::Admin(broker.admin(request)?),
        // From the provider's site.
        "callback" if is_post => Asker::Nobody,
        "auth" | "disconnect" | "sign-in" | "sign-out" if is_post => {
            local::check_origin(request, broker.settings.public_url()?)?;
            match room {
                "sign-in" | "sign-out" => Asker::Nobody,
                _ => match broker.person(request)? {
                    Some(person) => Asker::Person(person),
                    None if room == "auth" => Asker::Nobody,
                    None => return Err(Refusal::SignIn("/".to_owned())),
                },
            }
        }
        _ => return Ok(None),
    }))
}

/// Which connection a request is about.
fn connection(subject: Subject, service: ServiceId, account: Option<&str>) -> Result<ConnectionId, Refusal> {
    let account = AccountName::parse(account.unwrap_or_default())
        .map_err(|_| Refusal::Request("account is not a name of at most 32 of a-z, 0-9, _ and -"))?;
    Ok(ConnectionId { subject, service, account })
}

/// An answer in JSON, which nobody may keep (RFC 6749 section 5.1).
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

fn wants_page(request: &Request<Vec<u8>>) -> bool {
    let accepts = request.headers().get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepts.into_iter().any(|accept| accept.contains("text/html"))
}
