//! What does a client of either era want, and how is it told?
//!
//! Two implementations of one decision: [`legacy`] (2025-03-26 to 2025-11-25: `initialize`, sessions) and [`modern`]
//! (2026-07-28: every request on its own). Each turns an HTTP request into a [`Decision`], and knows its own way of
//! saying results and errors ([`Dialect`]). Nothing else in this component asks which era a client is of. How upstreams
//! of either era are spoken to is decided on the other side, in `upstream`; the two meet in a message's bytes only.
//!
//! # Which era is a request of?
//!
//! * It names a protocol version of its own in `_meta`: **modern**, whatever the header says; a header that says
//!   something else is a mismatch (-32020), not a way to be taken for legacy.
//! * Its `MCP-Protocol-Version` header is a date after 2025-11-25: **modern**. So a client that forgot `_meta` is told
//!   that (-32602), and one from the future learns what is supported (-32022), instead of a legacy client's 400.
//! * All else is **legacy**: above all `initialize`, which has no version header yet, and 2025-03-26, which never has.
//!
//! # Which version does a legacy client get?
//!
//! * The one it asks for in `initialize`, if it is one of the three; else the newest of them, which it may turn down.
//! * 2024-11-05 (HTTP+SSE) is not one of them: its transport is another one.
//! * Later requests: the session id carries the version. The header must name one of the three (else 400) but need
//!   not be the session's; without header and id it is 2025-03-26 (S/2025-11-25/basic/transports, "Protocol Version
//!   Header").
//! * `initialize` in a modern request is an unknown method (404, -32601); a modern-only answer to a legacy client does
//!   not exist, because both are always served.
//!
//! # Is a session needed?
//!
//! No. `initialize` always gives an id, because clients expect one; a request without one is served all the same,
//! because the session decides nothing that the request cannot do without. An id that is not ours is 404 (MUST), so
//! that its client starts anew.

pub mod legacy;
pub mod modern;

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::config::{Config, Server};
use crate::json::{Edits, Object};
use crate::jsonrpc::{self, Incoming, Request};
use crate::{connections, names, session};

/// What is to be done about a request.
pub enum Decision<'a> {
    /// It is not a request that can be served; nobody has to be known to say so.
    Refuse(Response<Vec<u8>>),
    /// This is the answer, once the caller is known.
    Answer(Response<Vec<u8>>),
    /// Ask the servers for their tools.
    List(List<'a>),
    /// Have a tool called.
    Call(Call<'a>),
    /// Several of them at once (2025-03-26 only).
    Batch(Vec<Decision<'a>>),
}

pub struct List<'a> {
    pub client: Client,
    pub id: &'a str,
}

pub struct Call<'a> {
    pub client: Client,
    pub request: Request<'a>,
    pub params: Object<'a>,
    /// The tool, as the client calls it.
    pub name: Cow<'a, str>,
    /// The same as it stands in the text.
    pub name_text: &'a str,
    pub target: Target<'a>,
    /// The client's fields for parameters, `Mcp-Param-*`: an intermediary MUST forward them.
    pub param_headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's session, if it has one.
    pub session: Option<session::Session>,
    /// Whether the client takes an event stream.
    pub takes_events: bool,
}

/// Whose tool it is.
pub enum Target<'a> {
    /// The gateway's own.
    Connections,
    Tool {
        server: Box<Server<'a>>,
        tool: String,
    },
    Unknown,
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
    /// One server, its names as they are.
    One(&'a str),
}

/// How a client's era says things.
pub trait Dialect {
    /// A result of the gateway's own. `members` is the text of its members.
    fn result(&self, members: &str) -> String;
    /// The same for a list or a description of the server, which could be kept.
    fn cacheable(&self, members: &str) -> String;
    /// Makes an upstream's result one of this era.
    fn fit_result(&self, text: &str, result: &Object<'_>, edits: &mut Edits<'_>);
    /// This era's code for what an upstream called `code`.
    fn fit_code(&self, code: i64) -> i64;
    /// The HTTP status that an error has.
    fn status(&self, code: i64) -> StatusCode;
    /// Whether this client may be sent a notification of this method.
    fn hears(&self, method: &str) -> bool;
}

/// A client of either era.
#[derive(Debug, Clone, Copy)]
pub enum Client {
    Legacy(legacy::Client),
    Modern(modern::Client),
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

    /// An error as an HTTP answer.
    pub fn error(&self, id: &str, code: i64, message: &str) -> Response<Vec<u8>> {
        jsonrpc::respond(self.dialect().status(code), jsonrpc::error(Some(id), code, message, None))
    }

    /// A result of the gateway's own as an HTTP answer.
    pub fn result(&self, id: &str, members: &str) -> Response<Vec<u8>> {
        jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &self.dialect().result(members)))
    }
}

/// Decides what is to be done about a POST.
pub fn decide<'a>(head: &'a Parts, body: &'a [u8], site: &Site<'a>) -> Decision<'a> {
    let is_json = head.headers.get(header::CONTENT_TYPE).is_some_and(|value| media_type(value) == "application/json");
    if !is_json {
        return Decision::Refuse(jsonrpc::refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            "Content-Type has to be application/json",
        ));
    }
    let Ok(text) = std::str::from_utf8(body) else {
        let message = "Parse error: not UTF-8";
        let body = jsonrpc::error(None, jsonrpc::PARSE_ERROR, message, None);
        return Decision::Refuse(jsonrpc::respond(StatusCode::BAD_REQUEST, body));
    };
    let is_batch = text.trim_start().starts_with('[');
    if modern::named_in(&head.headers) {
        return modern::decide(head, text, site);
    }
    if is_batch {
        return legacy::decide_batch(head, text, site);
    }
    match Incoming::read(text) {
        Ok(Incoming::Request(request)) if modern::meta(&request).is_some() => {
            modern::decide_request(head, request, site)
        }
        read => legacy::decide(head, read, site),
    }
}

impl<'a> Site<'a> {
    /// The servers that can be called here.
    pub fn servers(&self) -> Vec<Server<'a>> {
        match self.route {
            Route::All => self.config.servers().collect(),
            Route::One(prefix) => self.config.find(prefix).and_then(|entry| entry.server().ok()).into_iter().collect(),
        }
    }

    /// Whose tool `name` is here. One that the file hides is as unknown as one that does not exist.
    pub fn target(&self, name: &str) -> Target<'a> {
        if name == connections::TOOL {
            return Target::Connections;
        }
        let found = match self.route {
            Route::One(prefix) => Some((prefix, name)),
            Route::All => names::split(name),
        };
        found
            .and_then(|(prefix, tool)| Some((self.config.find(prefix)?.server().ok()?, tool)))
            .filter(|(server, tool)| server.offers(tool))
            .map_or(Target::Unknown, |(server, tool)| Target::Tool { server: Box::new(server), tool: tool.to_owned() })
    }

    /// The name that a tool has here.
    pub fn tool_name(&self, server: &Server<'_>, tool: &str) -> String {
        match self.route {
            Route::All => names::join(server.prefix, tool),
            Route::One(_) => tool.to_owned(),
        }
    }

    /// What a model is told about this endpoint.
    fn instructions(&self) -> String {
        let about = |server: &Server<'_>| match &server.description {
            Some(description) => format!("{} ({description})", server.prefix),
            None => server.prefix.to_owned(),
        };
        let servers = self.servers();
        let behind: Vec<String> = servers.iter().map(about).collect();
        let naming = match self.route {
            Route::All => " Their tools are called `server__tool`.",
            Route::One(_) => "",
        };
        let connecting = if servers.iter().any(|server| server.service.is_some()) {
            " A tool of a service that is not connected answers with a link for the person to open; \
             `gatehouse_connections` shows what is connected."
        } else {
            ""
        };
        match behind.as_slice() {
            [] => "No servers are configured behind this gateway yet.".to_owned(),
            names => format!("Behind this gateway: {}.{naming}{connecting}", names.join(", ")),
        }
    }
}

/// `tools/call`, which both eras write alike.
fn call<'a>(head: &Parts, client: Client, mut request: Request<'a>, site: &Site<'a>) -> Decision<'a> {
    let params = request.params.take();
    let name = params.as_ref().and_then(|params| {
        let text = params.get("name").ok().flatten()?;
        Some((crate::json::string(text)?, text))
    });
    // What decides has to be there once; `arguments` and the rest are the upstream's.
    let (Some(params), Some((name, name_text))) = (params, name) else {
        let message = "Invalid params: \"name\" has to be one string";
        return Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, message));
    };
    let param_headers = head.headers.iter().filter(|(name, _)| name.as_str().starts_with("mcp-param-"));
    Decision::Call(Call {
        client,
        target: site.target(&name),
        param_headers: param_headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
        session: None,
        takes_events: accepts(&head.headers, "text/event-stream"),
        request,
        params,
        name,
        name_text,
    })
}

/// `tools/list`, which both eras write alike.
fn list<'a>(client: Client, request: &Request<'a>) -> Decision<'a> {
    match request.params.as_ref().map(|params| params.get("cursor")) {
        None | Some(Ok(None)) => Decision::List(List { client, id: request.id }),
        // All pages are in the first.
        Some(_) => {
            Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, "Invalid params: unknown cursor"))
        }
    }
}

fn accepted(status: StatusCode) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    response
}

fn unknown_method<'a>(client: Client, request: &Request<'_>) -> Decision<'a> {
    Decision::Answer(client.error(request.id, jsonrpc::METHOD_NOT_FOUND, "Method not found"))
}

/// Whether an answer of this media type is welcome (RFC 9110 section 12.5.1, without weights).
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
/// What it can do so far. Lists that change are not announced: nothing here could deliver it.
const CAPABILITIES: &str = r#"{"tools":{}}"#;
