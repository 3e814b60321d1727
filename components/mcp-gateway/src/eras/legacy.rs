//! How are clients of 2025-03-26, 2025-06-18 and 2025-11-25 served?
//!
//! S/2025-11-25/basic/transports and lifecycle. `initialize` is answered here, without asking any upstream.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    CAPABILITIES, Client as AnyClient, Decision, Dialect, IMPLEMENTATION, Site, accepted, call, list, unknown_method,
};
use crate::json::{self, Edits, Object};
use crate::jsonrpc::{self, Incoming, Malformed, Request};
use crate::session::{Capabilities, Session};

pub const SESSION_ID: &str = "mcp-session-id";
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// A batch is a burst of calls; more than that is not one.
const LONGEST_BATCH: usize = 64;

/// The legacy versions that are spoken. The numbers are part of session ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V20250326 = 1,
    V20250618 = 2,
    V20251125 = 3,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V20250326, Self::V20250618, Self::V20251125];
    pub const LATEST: Self = Self::V20251125;

    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::V20250326 => "2025-03-26",
            Self::V20250618 => "2025-06-18",
            Self::V20251125 => "2025-11-25",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Client;

impl Dialect for Client {
    fn result(&self, members: &str) -> String {
        ["{", members, "}"].concat()
    }

    fn cacheable(&self, members: &str) -> String {
        self.result(members)
    }

    fn fit_result(&self, text: &str, result: &Object<'_>, edits: &mut Edits<'_>) {
        if matches!(result.string("resultType"), Ok(Some(kind)) if kind == "input_required") {
            let message = "The server asks for input that this client has not offered to give. Nothing was done.";
            let content =
                format!(r#"{{"content":[{{"type":"text","text":{}}}],"isError":true}}"#, json::quoted(message));
            edits.replace(text, content);
        } else {
            edits.rework(result, &["resultType"], "");
        }
    }

    fn fit_code(&self, code: i64) -> i64 {
        code
    }

    fn status(&self, _code: i64) -> StatusCode {
        StatusCode::OK
    }

    fn hears(&self, _method: &str) -> bool {
        true
    }
}

/// What the headers of a request say.
struct Context {
    session: Option<Session>,
    version: Version,
}

pub fn decide<'a>(head: &Parts, message: Result<Incoming<'a>, Malformed<'a>>, site: &Site<'a>) -> Decision<'a> {
    let message = match message {
        Ok(message) => message,
        Err(malformed) => return Decision::Refuse(malformed_answer(&malformed)),
    };
    if let Incoming::Request(request) = &message
        && request.method == "initialize"
    {
        return initialize(request, site);
    }
    match Context::read(&head.headers) {
        Ok(context) => decide_message(head, message, &context, site),
        Err(refusal) => refusal,
    }
}

/// 2025-03-26: "JSON-RPC batching … MUST support receiving". Later versions have none.
pub fn decide_batch<'a>(head: &Parts, text: &'a str, site: &Site<'a>) -> Decision<'a> {
    let context = match Context::read(&head.headers) {
        Ok(context) => context,
        Err(refusal) => return refusal,
    };
    let invalid = |message: &str| {
        let body = jsonrpc::error(Some("null"), jsonrpc::INVALID_REQUEST, message, None);
        Decision::Refuse(jsonrpc::respond(StatusCode::BAD_REQUEST, body))
    };
    if context.version != Version::V20250326 {
        return invalid("Invalid Request: batches are of 2025-03-26 alone");
    }
    let Some(messages) = json::array(text) else {
        let body = jsonrpc::error(Some("null"), jsonrpc::PARSE_ERROR, "Parse error", None);
        return Decision::Refuse(jsonrpc::respond(StatusCode::BAD_REQUEST, body));
    };
    if messages.is_empty() || messages.len() > LONGEST_BATCH {
        return invalid("Invalid Request: a batch has 1 to 64 messages");
    }
    let decide_one = |text: &'a str| match Incoming::read(text) {
        Ok(Incoming::Request(request)) if request.method == "initialize" => {
            let message = "Invalid Request: initialize cannot be part of a batch";
            Decision::Answer(AnyClient::Legacy(Client).error(request.id, jsonrpc::INVALID_REQUEST, message))
        }
        Ok(message) => decide_message(head, message, &context, site),
        Err(malformed) => Decision::Answer(malformed_answer(&malformed)),
    };
    Decision::Batch(messages.into_iter().map(decide_one).collect())
}

fn decide_message<'a>(head: &Parts, message: Incoming<'a>, context: &Context, site: &Site<'a>) -> Decision<'a> {
    let Incoming::Request(request) = message else { return Decision::Answer(accepted(StatusCode::ACCEPTED)) };
    let client = AnyClient::Legacy(Client);
    match &*request.method {
        "ping" => Decision::Answer(client.result(request.id, "")),
        "tools/list" => list(client, &request),
        "tools/call" => match call(head, client, request, site) {
            Decision::Call(call) => Decision::Call(super::Call { session: context.session, ..call }),
            other => other,
        },
        _ => unknown_method(client, &request),
    }
}

fn initialize<'a>(request: &Request<'_>, site: &Site<'_>) -> Decision<'a> {
    let client = AnyClient::Legacy(Client);
    let params = request.params.as_ref();
    let asked = params.and_then(|params| params.string("protocolVersion").ok().flatten());
    let Some(asked) = asked else {
        let message = "Invalid params: \"protocolVersion\" has to be a string";
        return Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, message));
    };
    let version = Version::read(&asked).unwrap_or(Version::LATEST);
    let declared = params.and_then(|params| params.object("capabilities").ok().flatten());
    let mut nonce = [0; 16];
    (site.random)(&mut nonce);
    let session = Session { version, client: declared.as_ref().map(Capabilities::read).unwrap_or_default(), nonce };
    let members = format!(
        r#""protocolVersion":"{}","capabilities":{CAPABILITIES},"serverInfo":{IMPLEMENTATION},"instructions":{}"#,
        version.name(),
        json::quoted(&site.instructions())
    );
    let mut response = client.result(request.id, &members);
    if let Ok(id) = HeaderValue::try_from(session.id()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    Decision::Answer(response)
}

impl Context {
    fn read<'a>(headers: &HeaderMap) -> Result<Self, Decision<'a>> {
        let named = match headers.get(PROTOCOL_VERSION) {
            None => None,
            Some(value) => {
                let version = value.to_str().ok().and_then(|value| Version::read(value.trim()));
                Some(version.ok_or_else(|| {
                    let message = "Bad Request: unsupported MCP-Protocol-Version (supported: 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28)";
                    let body = jsonrpc::error(Some("null"), jsonrpc::INVALID_REQUEST, message, None);
                    Decision::Refuse(jsonrpc::respond(StatusCode::BAD_REQUEST, body))
                })?)
            }
        };
        let session = session(headers).map_err(Decision::Refuse)?;
        let version = session.map(|session| session.version).or(named).unwrap_or(Version::V20250326);
        Ok(Self { session, version })
    }
}

/// The session that the request names, or the 404 that makes its client start anew.
pub fn session(headers: &HeaderMap) -> Result<Option<Session>, http::Response<Vec<u8>>> {
    let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
    match id.to_str().ok().and_then(Session::read) {
        Some(session) => Ok(Some(session)),
        None => Err(jsonrpc::refuse(StatusCode::NOT_FOUND, Some("null"), "Session not found")),
    }
}

fn malformed_answer(malformed: &Malformed<'_>) -> http::Response<Vec<u8>> {
    let body = jsonrpc::error(Some(malformed.id.unwrap_or("null")), malformed.code, &malformed.message, None);
    jsonrpc::respond(StatusCode::BAD_REQUEST, body)
}
