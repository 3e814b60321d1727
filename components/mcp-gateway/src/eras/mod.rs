//! Decides what a client of either era wants, and writes results and errors for it.
//!
//! Two implementations of one decision: [`legacy`] (2024-11-05 to 2025-11-25: `initialize`, sessions) and [`modern`]
//! (2026-07-28: every request on its own). Each turns an HTTP request into a [`Decision`], and knows its own way of
//! saying results and errors ([`Dialect`]). Nothing else in this component asks which era a client is of. How upstreams
//! of either era are spoken to is decided on the other side, in `upstream`; the two meet in a message's bytes only.
//!
//! # Which era is a request of?
//!
//! * It names a protocol version of its own in `_meta`: **modern**. A header that says something else does not make it
//!   legacy: it is a mismatch (-32020), not a way to be taken for legacy.
//! * Its `MCP-Protocol-Version` header is a date after 2025-11-25: **modern**. So a client that forgot `_meta` is told
//!   that (-32602), and one from the future learns what is supported (-32022), instead of a legacy client's 400.
//! * All else is **legacy**: above all `initialize`, which has no version header yet, and 2025-03-26, which never has.
//!
//! # Which version does a legacy client get?
//!
//! * The one it asks for in `initialize`, if it is one of the four; else the newest of them, which it may turn down.
//! * It may be any of them on any transport: 2024-11-05 has one of its own (`http_sse`), but its messages are no others.
//! * Later requests: the session id carries the version. The header must name one of the four (else 400) but need
//!   not be the session's; without header and id it is 2025-03-26 (S/2025-11-25/basic/transports, "Protocol Version
//!   Header").
//! * `initialize` in a modern request is an unknown method (404, -32601); a modern-only answer to a legacy client does
//!   not exist, because both are always served.
//!
//! # Sessions
//!
//! No session is needed. `initialize` always gives an id, because clients expect one. A request without one is served all
//! the same, because it can do without what the session decides. An id that is not ours is 404 (MUST), so that its client
//! begins again.

pub mod legacy;
pub mod modern;

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::config::{Config, EVERYTHING, Server};
use crate::jsonrpc::{self, Incoming, Malformed, Request};
use crate::lists::Kind;
use crate::session::{Capabilities, ClientEra, Profile, Session};
use crate::{connections, decisive, finding, names, pins, skills};
use json::{Edits, Object};

/// What is to be done about a request.
pub enum Decision<'a> {
    /// It is not a request that can be served; nobody has to be known to say so.
    Refuse(Response<Vec<u8>>),
    /// This is the answer, once the caller is known.
    Answer(Response<Vec<u8>>),
    /// Say what this endpoint can do.
    Describe(Describe<'a>),
    /// Ask the servers what they have.
    List(List<'a>),
    /// Pass it to the server that it is for.
    Relay(Box<Relay<'a>>),
    /// Keep a stream open for what changes.
    Listen(Listen<'a>),
    /// Have the servers log from this level on.
    SetLevel(SetLevel<'a>),
    /// A legacy client says something that is not answered.
    Word(Session, Word<'a>),
    /// Several of them at once (2025-03-26 only).
    Batch(Vec<Decision<'a>>),
}

/// `initialize` or `server/discover`.
pub struct Describe<'a> {
    pub client: Client,
    pub id: &'a str,
    /// What a legacy client declares of itself, which begins a session.
    pub declared: Option<Object<'a>>,
}

pub struct List<'a> {
    pub client: Client,
    pub request: Request<'a>,
    pub kind: &'static Kind,
}

/// A request that is for one server.
pub struct Relay<'a> {
    pub client: Client,
    pub request: Request<'a>,
    pub params: Option<Object<'a>>,
    /// What in it says which server is meant. `None` if the route says it.
    pub handle: Option<Handle<'a>>,
    /// Where it is not the call that the client wrote, but one inside of that (`finding`).
    pub inner: Option<Inner<'a>>,
    pub target: Target<'a>,
    /// The client's fields for parameters, `Mcp-Param-*`: an intermediary MUST forward them.
    pub param_headers: Vec<(HeaderName, HeaderValue)>,
}

/// The name of a server's thing in a request.
pub struct Handle<'a> {
    pub by: By,
    pub value: Cow<'a, str>,
    /// The same as it stands in the text.
    pub text: &'a str,
}

/// A call inside of another one's arguments.
pub struct Inner<'a> {
    /// The arguments that the client wrote, as they stand in the text.
    pub place: &'a str,
    /// Those that belong in their place, as they stand in these.
    pub arguments: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Tool,
    Prompt,
    Uri,
    /// The URI of its `SKILL.md`.
    Skill,
    Task,
}

/// Whose thing it is.
pub enum Target<'a> {
    /// A tool of the gateway's own.
    Own(Own),
    Server {
        server: Box<Server<'a>>,
        /// Its own name for the thing.
        own: String,
    },
    /// What the servers list has to tell (`owners`).
    SomeServers,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Connections,
    Find,
    Describe,
    /// What there is that is called nearly so.
    Near,
    Approve,
}

pub struct Listen<'a> {
    pub client: Client,
    /// `None` for the GET of a legacy client.
    pub request: Option<Request<'a>>,
    /// What a modern client wants to hear of.
    pub filter: Option<Object<'a>>,
    /// The event after which a legacy client wants a stream to go on (`Last-Event-ID`).
    pub resumes: Option<&'a str>,
}

pub struct SetLevel<'a> {
    pub client: Client,
    pub id: &'a str,
    pub level: Cow<'a, str>,
}

pub enum Word<'a> {
    /// It no longer needs the answer to this request.
    Cancelled { id: &'a str },
    /// It answers a request.
    Answer { text: &'a str, id: &'a str },
    /// It tells all servers.
    News { text: &'a str },
}

/// Where the request came in, and what is behind it.
pub struct Site<'a> {
    pub config: &'a Config<'a>,
    pub route: Route<'a>,
    pub random: &'a dyn Fn(&mut [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// All servers behind one endpoint.
    All,
    /// One server with its names as they are, or an endpoint over some servers.
    Named(&'a str),
}

/// How a client's era says things.
pub trait Dialect {
    /// A result of the gateway's own. `members` is the text of its members.
    fn result(&self, members: &str) -> String;
    /// The same for what could be kept for so many milliseconds, by everyone or by this client alone.
    fn cacheable(&self, members: &str, ttl: u64, public: bool) -> String;
    /// Makes an upstream's result one of this era.
    fn fit_result(&self, method: &str, result: &Object<'_>, edits: &mut Edits<'_>);
    /// An upstream's error that is a result in this era.
    fn bridge_error(&self, method: &str, code: i64, error: &Object<'_>) -> Option<String>;
    /// This era's code for what an upstream called `code`.
    fn fit_code(&self, method: &str, code: i64) -> i64;
    /// The HTTP status that an error has.
    fn status(&self, code: i64) -> StatusCode;
    /// Returns true if this client may be sent a notification.
    fn hears(&self, method: &str, message: &Object<'_>) -> bool;
    /// An answer that makes the client show its person a link, if it said that it can.
    fn show_link(&self, method: &str, id: &str, message: &str, url: &str) -> Option<Response<Vec<u8>>>;
    /// An answer that makes the client put a form to its person and call again with what they said and `state`, if its
    /// era has such answers and it said that it can. `request` is a member of the requests for input.
    fn ask(&self, id: &str, request: &str, state: &str) -> Option<Response<Vec<u8>>>;
}

/// A client of either era.
#[derive(Debug, Clone, Copy)]
pub enum Client {
    Legacy(legacy::Client),
    Modern(modern::Client),
}

impl<'a> Relay<'a> {
    /// The arguments of a call.
    pub fn arguments(&self) -> Option<Object<'a>> {
        match &self.inner {
            Some(inner) => Object::parse(inner.arguments).ok(),
            None => self.params.as_ref()?.object("arguments").ok().flatten(),
        }
    }
}

impl Client {
    pub fn dialect(&self) -> &dyn Dialect {
        match self {
            Self::Legacy(client) => client,
            Self::Modern(client) => client,
        }
    }

    pub fn is_modern(&self) -> bool {
        matches!(self, Self::Modern(_))
    }

    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Legacy(client) => client.session.as_ref(),
            Self::Modern(_) => None,
        }
    }

    /// The same client in `session`.
    pub fn with_session(self, session: Session) -> Self {
        match self {
            Self::Legacy(client) => Self::Legacy(legacy::Client { session: Some(session), ..client }),
            Self::Modern(_) => self,
        }
    }

    pub fn takes_events(&self) -> bool {
        match self {
            Self::Legacy(client) => client.takes_events,
            Self::Modern(_) => true,
        }
    }

    /// What upstreams are told that this client can be asked for. A modern client says it to modern upstreams itself.
    pub fn profile(&self) -> Profile {
        match self {
            Self::Legacy(legacy::Client { session, takes_events }) => Profile {
                can: session.filter(|_| *takes_events).map_or(Capabilities::NONE, |session| session.client),
                client: ClientEra::Legacy(session.map(|session| session.nonce)),
            },
            Self::Modern(client) => Profile { can: client.capabilities.in_legacy(), client: ClientEra::Modern },
        }
    }

    /// Returns true if the answer may be a task that this client asks about later.
    pub fn may_get_tasks(&self, method: &str) -> bool {
        let can = matches!(self, Self::Modern(client) if client.capabilities.has(Capabilities::TASKS));
        can && (method == "tools/call" || method.starts_with("tasks/"))
    }

    /// An error as an HTTP answer.
    pub fn error(&self, id: &str, code: i64, message: &str) -> Response<Vec<u8>> {
        self.error_with(id, code, message, None)
    }

    pub fn error_with(&self, id: &str, code: i64, message: &str, data: Option<&str>) -> Response<Vec<u8>> {
        jsonrpc::respond(self.dialect().status(code), jsonrpc::error(Some(id), code, message, data))
    }

    /// The answer to a malformed message. Its status is 400 in both eras, with every code.
    pub fn malformed(&self, malformed: &Malformed<'_>) -> Response<Vec<u8>> {
        match self {
            Self::Legacy(_) => legacy::malformed_answer(malformed),
            Self::Modern(_) => modern::malformed_answer(malformed),
        }
    }

    /// A list of the gateway's own as an HTTP answer, which may be kept for so many milliseconds.
    pub fn cacheable(&self, id: &str, members: &str, ttl: u64, public: bool) -> Response<Vec<u8>> {
        jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &self.dialect().cacheable(members, ttl, public)))
    }

    /// A result of the gateway's own as an HTTP answer.
    pub fn result(&self, id: &str, members: &str) -> Response<Vec<u8>> {
        jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &self.dialect().result(members)))
    }
}

/// Decides what is to be done about a POST.
pub fn decide<'a>(head: &'a Parts, body: &'a [u8], site: &Site<'a>) -> Decision<'a> {
    let text = match text(body) {
        Ok(text) => text,
        Err(refusal) => return Decision::Refuse(refusal),
    };
    let is_batch = text.trim_start().starts_with('[');
    if modern::named_in(&head.headers) {
        return modern::decide(head, text, site);
    }
    if is_batch {
        return legacy::decide_batch(head, text, site);
    }
    match Incoming::read(text) {
        Ok(Incoming::Request(request)) if modern::is_named_in(&request) => modern::decide_request(head, request, site),
        read => legacy::decide(head, read, site),
    }
}

/// Refuses a POST whose head says that it is no message.
pub fn check_type(head: &Parts) -> Result<(), Response<Vec<u8>>> {
    let is_json = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| media_type(value) == "application/json");
    if !is_json {
        let message = "Content-Type has to be application/json";
        return Err(jsonrpc::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, message));
    }
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    let mut response =
        jsonrpc::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, None, "A body has to come without Content-Encoding");
    // RFC 9110 section 15.5.16: what is taken.
    response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Err(response)
}

/// The text of a POST.
pub fn text(body: &[u8]) -> Result<&str, Response<Vec<u8>>> {
    std::str::from_utf8(json::without_bom(body)).map_err(|_| {
        let body = jsonrpc::error(None, jsonrpc::PARSE_ERROR, "Parse error: not UTF-8", None);
        jsonrpc::respond(StatusCode::BAD_REQUEST, body)
    })
}

impl<'a> Site<'a> {
    /// The servers that can be called here.
    pub fn servers(&self) -> Vec<Server<'a>> {
        match self.route {
            Route::All => self.config.servers().collect(),
            Route::Named(name) => match self.config.endpoint(name) {
                Some(servers) => servers.iter().filter_map(|entry| entry.server().ok()).collect(),
                None => self.config.find(name).and_then(|entry| entry.server().ok()).into_iter().collect(),
            },
        }
    }

    /// Returns true if there is one server alone, whose names are as they are.
    pub fn is_single(&self) -> bool {
        matches!(self.route, Route::Named(name) if self.config.endpoint(name).is_none())
    }

    /// Returns true if its tools are found by searching instead of listed.
    pub fn is_searched(&self) -> bool {
        self.config.is_searched(match self.route {
            Route::All => EVERYTHING,
            Route::Named(name) => name,
        })
    }

    /// The server whose names start with `prefix` here.
    pub fn server(&self, prefix: &str) -> Option<Server<'a>> {
        let entry = self.config.find(prefix)?;
        let is_here = match self.route {
            Route::All => true,
            Route::Named(name) => match self.config.endpoint(name) {
                Some(servers) => servers.iter().any(|entry| entry.prefix == prefix),
                None => name == prefix,
            },
        };
        is_here.then(|| entry.server().ok()).flatten()
    }

    /// Whose thing `name` is here. One that the file hides is as unknown as one that does not exist.
    pub fn target(&self, by: By, name: &str) -> Target<'a> {
        match name {
            _ if by != By::Tool => {}
            connections::TOOL => return Target::Own(Own::Connections),
            finding::FIND if self.is_searched() => return Target::Own(Own::Find),
            pins::APPROVE if self.servers().iter().any(|server| server.pin.is_some()) => {
                return Target::Own(Own::Approve);
            }
            finding::DESCRIBE if self.is_searched() => return Target::Own(Own::Describe),
            _ => {}
        }
        let found = match self.route {
            Route::Named(prefix) if self.is_single() => Some((prefix, name)),
            _ if matches!(by, By::Uri | By::Skill) => match names::split_uri(name) {
                Some(found) => Some(found),
                None => return Target::SomeServers,
            },
            _ => names::split(name),
        };
        let found = found.and_then(|(prefix, own)| {
            let server = self.server(prefix)?;
            let own = if by == By::Tool { server.tool_called(own)?.into_owned() } else { own.to_owned() };
            Some(Target::Server { server: Box::new(server), own })
        });
        found.unwrap_or(Target::Unknown)
    }

    /// Returns true if a tool called `name` is the gateway's own here.
    pub fn owns_tool(&self, name: &str) -> bool {
        matches!(self.target(By::Tool, name), Target::Own(_)) || name == finding::CALL && self.is_searched()
    }

    /// The name that a server's tool or prompt has here.
    pub fn name(&self, server: &Server<'_>, own: &str) -> String {
        if self.is_single() { own.to_owned() } else { names::join(server.prefix, own) }
    }
}

/// What both eras write alike. `head` is the request's, none in a batch.
fn decide_common<'a>(head: &Parts, client: Client, request: Request<'a>, site: &Site<'a>) -> Decision<'a> {
    let kind = Kind::listed_by(&request.method);
    if let Some(kind) = kind.filter(|kind| client.is_modern() || !kind.is_of_extension()) {
        return Decision::List(List { client, request, kind });
    }
    let invalid = |what: &str| {
        let message = format!("Invalid params: \"{what}\" has to be one string");
        Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, &message))
    };
    let params = || request.params.as_ref();
    let (by, member, within) = match &*request.method {
        "tools/call" => (By::Tool, "name", params().map(|params| params.text())),
        "prompts/get" => (By::Prompt, "name", params().map(|params| params.text())),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            (By::Uri, "uri", params().map(|params| params.text()))
        }
        skills::GET if client.is_modern() => (By::Skill, "uri", params().map(|params| params.text())),
        skills::READ_DIRECTORY if client.is_modern() => (By::Uri, "uri", params().map(|params| params.text())),
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
            (By::Task, "taskId", params().map(|params| params.text()))
        }
        "completion/complete" => {
            let reference = params().and_then(|params| params.object("ref").ok().flatten());
            let kind = reference.as_ref().and_then(|reference| reference.string("type").ok().flatten());
            let text = reference.as_ref().map(|reference| reference.text());
            match kind.as_deref() {
                Some("ref/prompt") => (By::Prompt, "name", text),
                Some("ref/resource") => (By::Uri, "uri", text),
                _ => return invalid("ref"),
            }
        }
        // To a server that reads it in another way it would be one whose name and rules were not looked at.
        method if decisive::looks_like_another(method) => return unknown_method(client, &request),
        _ => return relay(head, client, request, None, None, site),
    };
    let handle = within.and_then(|within| {
        let text = Object::parse(within).ok()?.get(member).ok()??;
        Some(Handle { by, value: json::string(text)?, text })
    });
    match handle {
        Some(outer) if by == By::Tool && outer.value == finding::CALL && site.is_searched() => {
            match params().map(|params| finding::inner(params, &outer)) {
                Some(Ok(Some((handle, inner)))) => relay(head, client, request, Some(handle), Some(inner), site),
                Some(Err(ambiguous)) => {
                    let malformed = jsonrpc::invalid(Some(request.id), ambiguous);
                    Decision::Refuse(client.malformed(&malformed))
                }
                Some(Ok(None)) | None => Decision::Answer(client.result(request.id, &finding::no_call())),
            }
        }
        Some(handle) => relay(head, client, request, Some(handle), None, site),
        // What decides has to be there once; `arguments` and the rest are the upstream's.
        None => invalid(member),
    }
}

fn relay<'a>(
    head: &Parts,
    client: Client,
    mut request: Request<'a>,
    handle: Option<Handle<'a>>,
    inner: Option<Inner<'a>>,
    site: &Site<'a>,
) -> Decision<'a> {
    let target = match (&handle, site.route) {
        (Some(handle), _) => match site.target(handle.by, &handle.value) {
            Target::Unknown if inner.is_some() => Target::Own(Own::Near),
            target => target,
        },
        // What only one server can be meant by is that server's to know.
        (None, Route::Named(name)) if site.is_single() => match site.server(name) {
            Some(server) => Target::Server { server: Box::new(server), own: String::new() },
            None => Target::Unknown,
        },
        (None, _) => return unknown_method(client, &request),
    };
    // The client's repeat arguments that the upstream gets: of the call that it wrote itself.
    let is_own = inner.is_none();
    let param_headers = head.headers.iter().filter(|(name, _)| is_own && name.as_str().starts_with("mcp-param-"));
    Decision::Relay(Box::new(Relay {
        client,
        target,
        param_headers: param_headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
        params: request.params.take(),
        handle,
        inner,
        request,
    }))
}

/// The answer to what is not answered.
pub(crate) fn accepted() -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn unknown_method<'a>(client: Client, request: &Request<'_>) -> Decision<'a> {
    Decision::Answer(client.error(request.id, jsonrpc::METHOD_NOT_FOUND, "Method not found"))
}

/// Returns true if an answer of this media type is welcome (RFC 9110 section 12.5.1, without weights).
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let group = wanted.split('/').next().unwrap_or_default();
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            range.eq_ignore_ascii_case(wanted)
                || range == "*/*"
                || range.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(group))
        })
}

/// A media type without its parameters, in lower case.
pub(crate) fn media_type(value: &HeaderValue) -> String {
    let value = value.to_str().unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `Implementation` of this gateway, in both eras and towards both sides.
pub(crate) const IMPLEMENTATION: &str =
    concat!(r#"{"name":"gatehouse","title":"Gatehouse","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
