//! Takes a request from its arrival to its answer.
//!
//! In this order: guards (host, origin, method), the decision what it wants (`eras`), its caller (`visitor`), its work. A
//! wrong request is refused before the broker is asked. What exists is told to known callers only.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_auth::Origin;
use http_auth::local::{self, Foreign};
use shell::{Pieces, ReadError, Unread};

use crate::config::{Config, Own, Server, plain};
use crate::cors::{self, Readers};
use crate::eras::{self, Decision, Route, Site, Target, Word, accepted, accepts, decide, legacy, modern};
use crate::host::{Host, Origins};
use crate::passage::Line;
use crate::visitor::{Stranger, Visitor, misconfigured, refusal};
use crate::{connections, describe, http_sse, jsonrpc, listening, lists, page, relay, sessions, unbridged, words};

/// The longest request body.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// A longer one is read only for a caller whom the broker has accepted.
const STRANGERS_LIMIT: usize = 64 * 1024;

enum Place<'a> {
    Mcp(Route<'a>),
    Servers,
}

/// Where a request has come in, as far as its head and the settings say.
struct Entrance<'a> {
    place: Place<'a>,
    is_sse: bool,
    own: Origin,
    /// `own` by the name and the port that the request gives it.
    reached: Origin,
    broker: String,
    resource: String,
}

/// Answers one request of `client`.
pub async fn serve<H: Host, P: Pieces>(host: &H, request: Request<Unread<P>>, client: H::Outlet) {
    let (head, body) = request.into_parts();
    let takes_events = accepts(&head.headers, "text/event-stream");
    let mut line = Line::new(host, client, takes_events);
    if let Err(response) = respond(host, &head, body, &mut line).await {
        // It may have been refused before its origin was looked at.
        line.open_to(|| readers(host, &head));
        line.answer(response).await;
    }
}

/// The answer to a request that could not be read.
pub fn unread(error: ReadError) -> Response<Vec<u8>> {
    let (status, message) = match error {
        ReadError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "The request is longer than 4 MiB"),
        ReadError::TimedOut => (StatusCode::REQUEST_TIMEOUT, "The request did not come in time"),
        ReadError::Broken => (StatusCode::BAD_REQUEST, "The request could not be read"),
    };
    jsonrpc::refuse(status, None, message)
}

async fn respond<H: Host, P: Pieces>(
    host: &H,
    head: &Parts,
    body: Unread<P>,
    line: &mut Line<'_, H>,
) -> Result<(), Response<Vec<u8>>> {
    let entrance = Entrance::of(host, head)?;
    if matches!(entrance.place, Place::Mcp(_)) && page::is_wanted(head) {
        line.answer(page::page(&entrance.broker)).await;
        return Ok(());
    }
    entrance.check_method(head)?;
    let mut stranger = Stranger::of(host, &head.headers, entrance.resource.clone())?;
    let known = stranger.file().map(str::to_owned);
    let file = match &known {
        Some(file) => Cow::from(file.as_bytes()),
        None => host.servers().map_err(|problem| misconfigured(host, &format!("servers.json: {problem}")))?.into(),
    };
    let file = std::str::from_utf8(&file).map_err(|_| misconfigured(host, "servers.json: not UTF-8"))?;
    // What was kept is plain already.
    let file = if known.is_some() { Cow::from(file) } else { plain(file) };
    let config = Config::read(&file).map_err(|error| misconfigured(host, &error.to_string()))?;
    let broker = Origin::parse(&entrance.broker).filter(|broker| *broker != entrance.own);
    let config = config.reached_at(Own { gateway: Some(&entrance.reached), broker: broker.as_ref() });
    entrance.guard_pages(head, &config)?;
    if let Place::Mcp(_) = entrance.place {
        line.open_to(|| Some(Readers::let_in(&head.headers)));
        if cors::is_preflight(head) {
            line.answer(cors::preflight(&head.headers)).await;
            return Ok(());
        }
    }
    if !entrance.own.is_loopback() {
        stranger.needs_bearer()?;
    }
    if known.is_none() {
        stranger.note_file(host, &file, config.resolution_seconds);
        note_foreign(host, &config);
    }
    let random = |bytes: &mut [u8]| host.random(bytes);
    let route = match entrance.place {
        Place::Mcp(route) => route,
        Place::Servers => {
            let site = Site { config: &config, route: Route::All, random: &random };
            let servers = site.servers();
            let visitor = stranger.meet(host, servers.iter(), 0)?;
            line.answer(connections::overview(host, &site, &visitor)).await;
            return Ok(());
        }
    };
    take(host, head, body, &entrance, &Site { config: &config, route, random: &random }, stranger, line).await
}

/// Takes what a client has sent to an MCP endpoint.
async fn take<H: Host, P: Pieces>(
    host: &H,
    head: &Parts,
    body: Unread<P>,
    entrance: &Entrance<'_>,
    site: &Site<'_>,
    stranger: Stranger,
    line: &mut Line<'_, H>,
) -> Result<(), Response<Vec<u8>>> {
    if head.method == Method::DELETE {
        return sessions::delete(host, head, site, stranger, line).await;
    }
    let keep_seconds = site.config.resolution_seconds;
    let body = match head.method {
        Method::POST => read(host, head, body, &stranger, keep_seconds).await?,
        _ => Vec::new(),
    };
    if entrance.is_sse && !modern::named_in(&head.headers) {
        if http_sse::is_opened_by(head) {
            return http_sse::hold(host, head, site, stranger, &entrance.resource, line).await;
        }
        if let Some(stream) = http_sse::named_in(&head.uri) {
            let taken = http_sse::receive(host, head, &body, stream, stranger, keep_seconds).await?;
            line.answer(taken).await;
            return Ok(());
        }
    }
    let decision = if head.method == Method::GET { legacy::decide_stream(head) } else { decide(head, &body, site) };
    work(host, decision, site, stranger, &head.headers, line).await
}

impl<'a> Entrance<'a> {
    /// Errors: 404 for a path without a route, 403 for another host than ours, and for another machine if our address is a
    /// loopback one.
    fn of<H: Host>(host: &H, head: &'a Parts) -> Result<Self, Response<Vec<u8>>> {
        let path = head.uri.path().trim_end_matches('/');
        let is_sse = path.ends_with("/sse");
        let place = match path.strip_suffix("/sse").unwrap_or(path).strip_prefix("/mcp") {
            Some("") => Place::Mcp(Route::All),
            Some("/servers") if !is_sse => Place::Servers,
            Some(rest) if rest.starts_with('/') && !rest[1..].contains('/') => Place::Mcp(Route::Named(&rest[1..])),
            _ => return Err(jsonrpc::refuse(StatusCode::NOT_FOUND, None, "There is nothing here")),
        };
        let Origins { gateway, broker } = host.public_urls().map_err(|error| refusal(host, &error, false))?;
        let own = Origin::parse(&gateway).ok_or_else(|| misconfigured(host, "gateway_url: not an origin"))?;
        let reached = local::reached(&head.uri, &head.headers, &own).map_err(|foreign| forbidden(&foreign))?;
        if own.is_loopback() {
            local::check_peer(&head.headers).map_err(|foreign| forbidden(&foreign))?;
        }
        Ok(Self { place, is_sse, own, reached, broker, resource: gateway + path })
    }

    fn check_method(&self, head: &Parts) -> Result<(), Response<Vec<u8>>> {
        let allowed = match self.place {
            Place::Servers => [Method::GET].as_slice(),
            Place::Mcp(_) if cors::is_preflight(head) => &[Method::OPTIONS],
            Place::Mcp(_) if modern::named_in(&head.headers) => &[Method::POST],
            Place::Mcp(_) => &[Method::POST, Method::GET, Method::DELETE],
        };
        if allowed.contains(&head.method) { Ok(()) } else { Err(not_allowed(allowed)) }
    }

    /// Refuses what a page of another site sent. A link to the list of servers may be followed from anywhere.
    fn guard_pages(&self, head: &Parts, config: &Config<'_>) -> Result<(), Response<Vec<u8>>> {
        if matches!(self.place, Place::Servers) && local::is_navigation(&head.method, &head.headers) {
            return Ok(());
        }
        local::check_origin(&head.headers, &self.reached, |origin| config.lets_pages_of(origin, &self.own))
            .map_err(|foreign| forbidden(&foreign))
    }
}

/// The page that may read the answer to a request that was refused before its origin was looked at.
fn readers<H: Host>(host: &H, head: &Parts) -> Option<Readers> {
    if !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let entrance = Entrance::of(host, head).ok().filter(|entrance| matches!(entrance.place, Place::Mcp(_)))?;
    let file = host.servers().ok()?;
    let file = plain(std::str::from_utf8(&file).ok()?);
    let config = Config::read(&file).ok()?;
    entrance.guard_pages(head, &config).ok().map(|()| Readers::let_in(&head.headers))
}

/// Reads the body, of a media type that can be one. A long one costs memory and time to read and to parse: so its sender is
/// known before.
async fn read<H: Host, P: Pieces>(
    host: &H,
    head: &Parts,
    mut body: Unread<P>,
    stranger: &Stranger,
    keep_seconds: u64,
) -> Result<Vec<u8>, Response<Vec<u8>>> {
    eras::check_type(head)?;
    let sleep = |duration| host.sleep(duration);
    let read = match body.read(STRANGERS_LIMIT, sleep).await {
        Err(ReadError::TooLarge(_)) if !body.is_announced_over(BODY_LIMIT) => {
            stranger.identify(host, keep_seconds)?;
            body.read(BODY_LIMIT, sleep).await
        }
        read => read,
    };
    read.map_err(unread)
}

/// Does what was decided, for `stranger`, who sent `headers`.
pub async fn work<H: Host>(
    host: &H,
    decision: Decision<'_>,
    site: &Site<'_>,
    stranger: Stranger,
    headers: &HeaderMap,
    line: &mut Line<'_, H>,
) -> Result<(), Response<Vec<u8>>> {
    if let Decision::Refuse(response) = decision {
        return Err(response);
    }
    let servers = if wants_all(&decision) { site.servers() } else { Vec::new() };
    let addressee = match &decision {
        Decision::Word(_, word) => words::addressee(word, site),
        _ => None,
    };
    let mut visitor = {
        let called = calls_of(&decision).filter_map(|target| match target {
            Target::Server { server, .. } => Some(&**server),
            _ => None,
        });
        let wanted = servers.iter().chain(called).chain(&addressee);
        stranger.meet(host, wanted, site.config.resolution_seconds)?
    };
    // A session begins with `initialize`, also if that names one. Modern requests have none.
    if !matches!(decision, Decision::Describe(_)) && !modern::named_in(headers) {
        legacy::check_session(headers, &visitor.caller)?;
        if let (false, Some(session)) = (visitor.is_recalled(), legacy::session(headers)?)
            && !sessions::is_open(host, &session, &visitor.caller)
        {
            visitor.forget(host);
            return Err(legacy::no_session());
        }
    }
    if calls_of(&decision).next().is_none_or(|target| !matches!(target, Target::Server { .. })) {
        exists(site)?;
    }
    match decision {
        Decision::Batch(decisions) => {
            let mut all = Line::batch(host);
            for decision in decisions {
                carry_out(host, decision, site, &servers, &mut visitor, &mut all).await;
            }
            line.answer(all.collected()).await;
        }
        decision => carry_out(host, decision, site, &servers, &mut visitor, line).await,
    }
    visitor.part(host);
    Ok(())
}

async fn carry_out<H: Host>(
    host: &H,
    decision: Decision<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    line: &mut Line<'_, H>,
) {
    // Its status tells clients of both eras which one to speak: so no stream is begun before it.
    if let Some(refusal) = unbridged::refusal(host, &decision, site, servers, visitor).await {
        return line.answer(refusal).await;
    }
    let response = match decision {
        Decision::Answer(response) | Decision::Refuse(response) => response,
        Decision::Describe(describe) => Box::pin(describe::describe(host, &describe, site, servers, visitor)).await,
        Decision::List(list) => match lists::passed_on(host, list, site, visitor) {
            Ok(relay) => return relay::relay(host, &relay, site, servers, visitor, line).await,
            Err(list) => Box::pin(lists::list(host, &list, site, servers, visitor)).await,
        },
        Decision::Relay(relay) => return relay::relay(host, &relay, site, servers, visitor, line).await,
        Decision::Listen(listen) => {
            return Box::pin(listening::listen(host, listen, site, servers, visitor, line)).await;
        }
        Decision::SetLevel(wanted) => words::set_level(host, &wanted, servers, visitor).await,
        Decision::Word(session, word) => {
            words::hear(host, &session, &word, site, servers, visitor).await;
            accepted()
        }
        Decision::Batch(_) => unread(ReadError::Broken),
    };
    line.answer(response).await;
}

/// Returns true if all servers' tokens are needed.
fn wants_all(decision: &Decision<'_>) -> bool {
    match decision {
        Decision::Describe(_) | Decision::List(_) | Decision::Listen(_) | Decision::SetLevel(_) => true,
        Decision::Relay(relay) => matches!(relay.target, Target::Own(_) | Target::SomeServers),
        Decision::Word(_, word) => matches!(word, Word::News { .. }),
        Decision::Batch(decisions) => decisions.iter().any(wants_all),
        Decision::Answer(_) | Decision::Refuse(_) => false,
    }
}

fn calls_of<'d>(decision: &'d Decision<'d>) -> Box<dyn Iterator<Item = &'d Target<'d>> + 'd> {
    match decision {
        Decision::Relay(relay) => Box::new(std::iter::once(&relay.target)),
        Decision::Batch(decisions) => Box::new(decisions.iter().flat_map(calls_of)),
        _ => Box::new(std::iter::empty()),
    }
}

/// Names the keys of the file that say nothing here: one of them may be a mistyped one of ours.
fn note_foreign(host: &impl Host, config: &Config<'_>) {
    const MOST: usize = 8;
    if !config.foreign.is_empty() {
        let names: Vec<String> = config.foreign.iter().take(MOST).map(|name| json::quoted(name)).collect();
        host.log(&format!("gateway: servers.json: read over at its top: {}", names.join(", ")));
    }
}

fn forbidden(foreign: &Foreign) -> Response<Vec<u8>> {
    jsonrpc::refuse(StatusCode::FORBIDDEN, None, &foreign.to_string())
}

/// Refuses an endpoint that is for one server, which is not there.
pub fn exists(site: &Site<'_>) -> Result<(), Response<Vec<u8>>> {
    let Route::Named(prefix) = site.route else { return Ok(()) };
    if !site.is_single() {
        return Ok(());
    }
    let unknown = |message: &str| {
        let body = jsonrpc::error(None, jsonrpc::INVALID_PARAMS, message, None);
        jsonrpc::respond(StatusCode::NOT_FOUND, body)
    };
    let entry = site.config.find(prefix).ok_or_else(|| unknown("Unknown server"))?;
    match entry.server() {
        Ok(_) => Ok(()),
        Err(fault) => Err(unknown(&format!("The server {prefix} cannot be used: {fault}"))),
    }
}

pub fn not_allowed(allowed: &[Method]) -> Response<Vec<u8>> {
    let mut response = jsonrpc::refuse(StatusCode::METHOD_NOT_ALLOWED, None, "Method Not Allowed");
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
