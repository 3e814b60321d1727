//! Where does a request go?
//!
//! Down once: guards (host, origin, method), what it wants (`eras`), who sent it (`visitor`), then done. What is wrong
//! with the request itself is said before the broker is asked; what is there and what not is said only to known callers.

use std::net::SocketAddr;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use crate::config::{Config, Server, is_loopback};
use crate::eras::{Decision, Route, Site, Target, decide, legacy, modern};
use crate::host::Host;
use crate::passage::Answer;
use crate::visitor::{Visitor, misconfigured, refusal};
use crate::{calls, connections, jsonrpc, lists};

/// The longest request body.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;

enum Place<'a> {
    Mcp(Route<'a>),
    Servers,
}

/// Answers one request.
pub async fn serve<H: Host>(host: &H, request: Request<Vec<u8>>) -> Answer<'_, H> {
    let (head, body) = request.into_parts();
    match respond(host, &head, &body).await {
        Ok(answer) => answer,
        Err(response) => Answer::Whole(response, None),
    }
}

/// What a request gets whose body is longer than [`BODY_LIMIT`].
pub fn too_large() -> Response<Vec<u8>> {
    jsonrpc::refuse(StatusCode::PAYLOAD_TOO_LARGE, None, "The request is longer than 4 MiB")
}

/// What a request gets that is not HTTP to its end.
pub fn unreadable() -> Response<Vec<u8>> {
    jsonrpc::refuse(StatusCode::BAD_REQUEST, None, "The request could not be read")
}

async fn respond<'h, H: Host>(host: &'h H, head: &Parts, body: &[u8]) -> Result<Answer<'h, H>, Response<Vec<u8>>> {
    let path = head.uri.path().trim_end_matches('/');
    let place = match path.strip_prefix("/mcp") {
        Some("" | "/sse") => Place::Mcp(Route::All),
        Some("/servers") => Place::Servers,
        Some(rest) if rest.starts_with('/') && !rest[1..].contains('/') => Place::Mcp(Route::One(&rest[1..])),
        _ => return Err(jsonrpc::refuse(StatusCode::NOT_FOUND, None, "There is nothing here")),
    };
    let origins = host.public_urls().map_err(|error| refusal(host, &error, false))?;
    guard(head, &origins.gateway)?;
    let allowed = match place {
        Place::Mcp(_) => [Method::POST, Method::DELETE].as_slice(),
        Place::Servers => [Method::GET].as_slice(),
    };
    if !allowed.contains(&head.method) {
        return Err(not_allowed(allowed));
    }

    let file = host.servers().map_err(|problem| misconfigured(host, &format!("servers.json: {problem}")))?;
    let file = std::str::from_utf8(&file).map_err(|_| misconfigured(host, "servers.json: not UTF-8"))?;
    let config = Config::read(file).map_err(|error| misconfigured(host, &error.to_string()))?;
    let random = |bytes: &mut [u8]| host.random(bytes);
    let route = match place {
        Place::Mcp(route) => route,
        Place::Servers => Route::All,
    };
    let site = Site { config: &config, route, random: &random };
    let resource = origins.gateway + path;

    if matches!(place, Place::Servers) {
        let servers = site.servers();
        let visitor = Visitor::meet(host, &head.headers, resource, servers.iter(), 0)?;
        return Ok(Answer::Whole(connections::overview(host, &site, &visitor), None));
    }
    if head.method == Method::DELETE {
        return end_session(host, head, resource);
    }
    let decision = decide(head, body, &site);
    if let Decision::Refuse(response) = decision {
        return Err(response);
    }
    let listed = if wants_all(&decision) { site.servers() } else { Vec::new() };
    let mut visitor = {
        let called = calls_of(&decision).filter_map(|target| match target {
            Target::Tool { server, .. } => Some(&**server),
            _ => None,
        });
        Visitor::meet(host, &head.headers, resource, listed.iter().chain(called), config.resolution_seconds)?
    };
    if let Route::One(prefix) = route
        && calls_of(&decision).next().is_none_or(|target| !matches!(target, Target::Tool { .. }))
    {
        exists(&config, prefix)?;
    }
    Ok(match decision {
        Decision::Batch(decisions) => {
            let mut answers: Vec<Vec<u8>> = Vec::new();
            for decision in decisions {
                let answer = carry_out(host, decision, &site, &listed, &mut visitor, false).await;
                answers.extend(answer.message().await.filter(|answer| !answer.is_empty()));
            }
            Answer::Whole(batch(&answers), None)
        }
        decision => carry_out(host, decision, &site, &listed, &mut visitor, true).await,
    })
}

async fn carry_out<'h, H: Host>(
    host: &'h H,
    decision: Decision<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    may_stream: bool,
) -> Answer<'h, H> {
    match decision {
        Decision::Answer(response) | Decision::Refuse(response) => Answer::Whole(response, None),
        Decision::List(list) => Answer::Whole(lists::list(host, &list, site, servers, visitor).await, None),
        Decision::Call(mut call) => {
            call.takes_events &= may_stream;
            calls::call(host, &call, site, visitor).await
        }
        Decision::Batch(_) => Answer::Whole(unreadable(), None),
    }
}

/// Whether all servers' tokens are needed.
fn wants_all(decision: &Decision<'_>) -> bool {
    match decision {
        Decision::List(_) => true,
        Decision::Call(call) => matches!(call.target, Target::Connections),
        Decision::Batch(decisions) => decisions.iter().any(wants_all),
        Decision::Answer(_) | Decision::Refuse(_) => false,
    }
}

fn calls_of<'d>(decision: &'d Decision<'d>) -> Box<dyn Iterator<Item = &'d Target<'d>> + 'd> {
    match decision {
        Decision::Call(call) => Box::new(std::iter::once(&call.target)),
        Decision::Batch(decisions) => Box::new(decisions.iter().flat_map(calls_of)),
        _ => Box::new(std::iter::empty()),
    }
}

/// DNS rebinding: a page that a browser was lured to names its own host, and cannot hide its origin.
fn guard(head: &Parts, gateway: &str) -> Result<(), Response<Vec<u8>>> {
    let refuse = |message| Err(jsonrpc::refuse(StatusCode::FORBIDDEN, None, message));
    let own: Option<Uri> = gateway.parse().ok();
    let own_authority = own.as_ref().and_then(Uri::authority);
    let default_port = own.as_ref().map_or(80, |own| if own.scheme_str() == Some("https") { 443 } else { 80 });
    let is_own = |named: &Authority| {
        own_authority.is_some_and(|own| {
            let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
            let same_host =
                own.host().eq_ignore_ascii_case(named.host()) || (is_loopback(own.host()) && is_loopback(named.host()));
            same_host && port(own) == port(named)
        })
    };
    if head.uri.authority().is_some_and(|named| !is_own(named)) {
        return refuse("This host is not the gateway's");
    }
    if own_authority.is_some_and(|own| is_loopback(own.host())) && !is_from_here(&head.headers) {
        return refuse("Without a public URL this gateway serves its own machine only");
    }
    if let Some(origin) = head.headers.get(header::ORIGIN) {
        let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        let allowed = origin.as_ref().and_then(Uri::authority).is_some_and(|named| {
            is_loopback(named.host())
                || (is_own(named) && origin.as_ref().and_then(Uri::scheme) == own.as_ref().and_then(Uri::scheme))
        });
        if !allowed {
            return refuse("This origin may not call the gateway");
        }
    }
    Ok(())
}

/// Where no bearer is asked for, the network must not reach: the listening address may have been opened without thought.
/// Spin appends the peer's address to what the client sent under that name, so all of them have to be loopback.
fn is_from_here(headers: &HeaderMap) -> bool {
    headers.get_all("spin-client-addr").iter().all(|address| {
        let address: Option<SocketAddr> = address.to_str().ok().and_then(|address| address.parse().ok());
        address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    })
}

fn exists(config: &Config<'_>, prefix: &str) -> Result<(), Response<Vec<u8>>> {
    let unknown = |message: &str| {
        let body = jsonrpc::error(None, jsonrpc::INVALID_PARAMS, message, None);
        jsonrpc::respond(StatusCode::NOT_FOUND, body)
    };
    let entry = config.find(prefix).ok_or_else(|| unknown("Unknown server"))?;
    match entry.server() {
        Ok(_) => Ok(()),
        Err(fault) => Err(unknown(&format!("The server {prefix} cannot be used: {fault}"))),
    }
}

/// There is nothing to end: a session is in its id alone.
fn end_session<'h, H: Host>(host: &'h H, head: &Parts, resource: String) -> Result<Answer<'h, H>, Response<Vec<u8>>> {
    if modern::named_in(&head.headers) {
        return Err(not_allowed(&[Method::POST]));
    }
    Visitor::meet(host, &head.headers, resource, std::iter::empty(), 0)?;
    match legacy::session(&head.headers) {
        Ok(Some(_)) => {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(Answer::Whole(response, None))
        }
        Ok(None) => Err(jsonrpc::refuse(StatusCode::BAD_REQUEST, Some("null"), "Mcp-Session-Id is missing")),
        Err(refused) => Err(refused),
    }
}

fn not_allowed(allowed: &[Method]) -> Response<Vec<u8>> {
    let mut response = jsonrpc::refuse(StatusCode::METHOD_NOT_ALLOWED, None, "Method Not Allowed");
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn batch(answers: &[Vec<u8>]) -> Response<Vec<u8>> {
    if answers.is_empty() {
        let mut response = Response::new(Vec::new());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    jsonrpc::respond(StatusCode::OK, [b"[".as_slice(), &answers.join(b",".as_slice()), b"]"].concat())
}
