//! Serves clients of 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25.
//!
//! S/2025-11-25/basic/transports and lifecycle. `initialize` is answered here, without asking any upstream.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::{
    Client as AnyClient, Decision, Describe, Dialect, Listen, SetLevel, Site, Word, accepted, accepts, decide_common,
    unknown_method,
};
use crate::describe::Description;
use crate::host::Caller;
use crate::jsonrpc::{self, Incoming, Malformed, Request};
use crate::lists::is_cacheable;
use crate::session::{Capabilities, Session};
use crate::structured;
use crate::upstream::legacy::SET_LEVEL;
use crate::upstream::messages::LAST_EVENT_ID;
use json::{Edits, Object};

pub const SESSION_ID: &str = "mcp-session-id";
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// From the least to the most severe (RFC 5424 section 6.2.1).
pub const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
const RESOURCE_NOT_FOUND: i64 = -32002;
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// A batch is a burst of calls; more than that is not one.
const LONGEST_BATCH: usize = 64;

/// The legacy versions that are spoken. The numbers are part of session ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V20241105 = 4,
    V20250326 = 1,
    V20250618 = 2,
    V20251125 = 3,
}

impl Version {
    pub const ALL: [Self; 4] = [Self::V20241105, Self::V20250326, Self::V20250618, Self::V20251125];
    pub const LATEST: Self = Self::V20251125;
    pub const NEWEST_FIRST: [Self; 4] = [Self::V20251125, Self::V20250618, Self::V20250326, Self::V20241105];

    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::V20241105 => "2024-11-05",
            Self::V20250326 => "2025-03-26",
            Self::V20250618 => "2025-06-18",
            Self::V20251125 => "2025-11-25",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub session: Option<Session>,
    pub takes_events: bool,
}

impl Client {
    /// Returns true if it takes an event that has an id and no data, by which a server says that the stream can be resumed.
    pub fn takes_empty_events(&self) -> bool {
        self.session.is_some_and(|session| session.version == Version::V20251125)
    }
}

impl Dialect for Client {
    fn result(&self, members: &str) -> String {
        ["{", members, "}"].concat()
    }

    fn cacheable(&self, members: &str, _ttl: u64, _public: bool) -> String {
        self.result(members)
    }

    fn fit_result(&self, method: &str, result: &Object<'_>, edits: &mut Edits<'_>) {
        let (mut gone, mut more) = (vec!["resultType"], String::new());
        if is_cacheable(method) {
            gone.extend(["ttlMs", "cacheScope"]);
        }
        match method {
            "tools/list" => structured::fit_list(result, edits),
            "tools/call" => {
                let member;
                (member, more) = structured::fit_call(result, edits);
                gone.extend(member);
            }
            _ => {}
        }
        edits.rework(result, &gone, &more);
    }

    fn bridge_error(&self, _method: &str, _code: i64, _error: &Object<'_>) -> Option<String> {
        None
    }

    fn fit_code(&self, method: &str, code: i64) -> i64 {
        if method == "resources/read" && code == jsonrpc::INVALID_PARAMS { RESOURCE_NOT_FOUND } else { code }
    }

    fn status(&self, _code: i64) -> StatusCode {
        StatusCode::OK
    }

    fn hears(&self, _method: &str, _message: &Object<'_>) -> bool {
        true
    }

    fn ask(&self, _id: &str, _request: &str, _state: &str) -> Option<Response<Vec<u8>>> {
        None
    }

    /// S/2025-11-25/client/elicitation, "URL Elicitation Required Error".
    fn show_link(&self, _method: &str, id: &str, message: &str, url: &str) -> Option<Response<Vec<u8>>> {
        let session = self.session.filter(|session| session.version == Version::V20251125)?;
        if !session.client.has(Capabilities::ELICITATION_URL) {
            return None;
        }
        // The same link is the same elicitation.
        let name = Base64UrlUnpadded::encode_string(&Sha256::digest(url.as_bytes()));
        let data = format!(
            r#"{{"elicitations":[{{"mode":"url","elicitationId":"{name}","url":{},"message":{}}}]}}"#,
            json::quoted(url),
            json::quoted(message)
        );
        Some(AnyClient::Legacy(*self).error_with(id, URL_ELICITATION_REQUIRED, message, Some(&data)))
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
    let takes_events = accepts(&head.headers, "text/event-stream");
    if let Incoming::Request(request) = &message
        && request.method == "initialize"
    {
        return initialize(request, takes_events, site);
    }
    match Context::read(&head.headers) {
        Ok(context) => decide_message(head, message, &context, takes_events, site),
        Err(refusal) => Decision::Refuse(refusal),
    }
}

/// GET: the stream of what is said outside of any answer.
pub fn decide_stream(head: &Parts) -> Decision<'_> {
    if !accepts(&head.headers, "text/event-stream") {
        let message = "Not Acceptable: Accept has to list text/event-stream";
        return Decision::Refuse(jsonrpc::refuse(StatusCode::NOT_ACCEPTABLE, Some("null"), message));
    }
    match Context::read(&head.headers) {
        Ok(context) => {
            let client = AnyClient::Legacy(Client { session: context.session, takes_events: true });
            let resumes =
                head.headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
            Decision::Listen(Listen { client, request: None, filter: None, resumes })
        }
        Err(refusal) => Decision::Refuse(refusal),
    }
}

/// 2025-03-26: "JSON-RPC batching … MUST support receiving". Later versions have none.
pub fn decide_batch<'a>(head: &Parts, text: &'a str, site: &Site<'a>) -> Decision<'a> {
    let context = match Context::read(&head.headers) {
        Ok(context) => context,
        Err(refusal) => return Decision::Refuse(refusal),
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
            let client = AnyClient::Legacy(Client { session: None, takes_events: false });
            Decision::Answer(client.error(request.id, jsonrpc::INVALID_REQUEST, message))
        }
        Ok(message) => decide_message(head, message, &context, false, site),
        Err(malformed) => Decision::Answer(malformed_answer(&malformed)),
    };
    Decision::Batch(messages.into_iter().map(decide_one).collect())
}

fn decide_message<'a>(
    head: &Parts,
    message: Incoming<'a>,
    context: &Context,
    takes_events: bool,
    site: &Site<'a>,
) -> Decision<'a> {
    let client = AnyClient::Legacy(Client { session: context.session, takes_events });
    let request = match message {
        Incoming::Request(request) => request,
        said => {
            let word = context.session.and_then(|session| Some(Decision::Word(session, word(said)?)));
            return word.unwrap_or_else(|| Decision::Answer(accepted()));
        }
    };
    match &*request.method {
        "ping" => Decision::Answer(client.result(request.id, "")),
        SET_LEVEL => match request.params.as_ref().and_then(|params| params.string("level").ok().flatten()) {
            Some(level) if LEVELS.contains(&&*level) => Decision::SetLevel(SetLevel { client, id: request.id, level }),
            _ => {
                let message = "Invalid params: \"level\" has to be a log level";
                Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, message))
            }
        },
        // The other era's, which a server of that era behind this endpoint would answer.
        "server/discover" | "subscriptions/listen" | "tasks/update" => unknown_method(client, &request),
        _ => decide_common(head, client, request, site),
    }
}

/// What is to be done about a message that is not answered; nothing about most.
fn word(said: Incoming<'_>) -> Option<Word<'_>> {
    match said {
        Incoming::Response { text, id } => Some(Word::Answer { text, id: id? }),
        Incoming::Notification(said) => match &*said.method {
            "notifications/cancelled" => Some(Word::Cancelled { id: said.params?.get("requestId").ok()?? }),
            "notifications/roots/list_changed" => Some(Word::News { text: said.text }),
            _ => None,
        },
        Incoming::Request(_) => None,
    }
}

fn initialize<'a>(request: &Request<'a>, takes_events: bool, site: &Site<'_>) -> Decision<'a> {
    let params = request.params.as_ref();
    let asked = params.and_then(|params| params.string("protocolVersion").ok().flatten());
    let Some(asked) = asked else {
        let message = "Invalid params: \"protocolVersion\" has to be a string";
        let client = AnyClient::Legacy(Client { session: None, takes_events });
        return Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, message));
    };
    let version = Version::read(&asked).unwrap_or(Version::LATEST);
    let declared = params.and_then(|params| params.object("capabilities").ok().flatten());
    let can = match declared.as_ref().map(Capabilities::read).transpose() {
        Ok(can) => can.unwrap_or_default().in_session(),
        Err(ambiguous) => return Decision::Refuse(malformed_answer(&jsonrpc::invalid(Some(request.id), ambiguous))),
    };
    let mut nonce = [0; 16];
    (site.random)(&mut nonce);
    let session = Session { version, client: can, nonce };
    let client = AnyClient::Legacy(Client { session: Some(session), takes_events });
    Decision::Describe(Describe { client, id: request.id, declared })
}

/// The answer to `initialize`.
pub fn described(
    client: &AnyClient,
    id: &str,
    description: &Description,
    caller: &Caller,
    is_kept: bool,
) -> Response<Vec<u8>> {
    let session = client.session();
    let Description { capabilities, info, .. } = description;
    let instructions = description.instructions();
    let version = session.map_or(Version::LATEST, |session| session.version).name();
    let members =
        format!(r#""protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{info}{instructions}"#);
    let mut response = client.result(id, &members);
    let kept = session.filter(|_| is_kept);
    if let Some(id) = kept.and_then(|session| HeaderValue::try_from(session.id(caller)).ok()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    response
}

impl Context {
    fn read(headers: &HeaderMap) -> Result<Self, Response<Vec<u8>>> {
        let named = match headers.get(PROTOCOL_VERSION) {
            None => None,
            Some(value) => {
                let version = value.to_str().ok().and_then(|value| Version::read(value.trim()));
                Some(version.ok_or_else(|| {
                    let message = "Bad Request: unsupported MCP-Protocol-Version (supported: 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28)";
                    let body = jsonrpc::error(Some("null"), jsonrpc::INVALID_REQUEST, message, None);
                    jsonrpc::respond(StatusCode::BAD_REQUEST, body)
                })?)
            }
        };
        let session = session(headers)?;
        let version = session.map(|session| session.version).or(named).unwrap_or(Version::V20250326);
        Ok(Self { session, version })
    }
}

/// Refuses headers with which no request would be served.
pub fn check(headers: &HeaderMap) -> Result<(), Response<Vec<u8>>> {
    Context::read(headers).map(drop)
}

/// The session that the request names, or the 404 that makes its client start again.
pub fn session(headers: &HeaderMap) -> Result<Option<Session>, Response<Vec<u8>>> {
    let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
    id.to_str().ok().and_then(Session::read).map(Some).ok_or_else(no_session)
}

/// Refuses a session that was not given to `caller`.
pub fn check_session(headers: &HeaderMap, caller: &Caller) -> Result<(), Response<Vec<u8>>> {
    let is_own = |id: &HeaderValue| id.to_str().is_ok_and(|id| Session::is_of(id, caller));
    if headers.get(SESSION_ID).is_none_or(is_own) { Ok(()) } else { Err(no_session()) }
}

pub fn no_session() -> Response<Vec<u8>> {
    jsonrpc::refuse(StatusCode::NOT_FOUND, Some("null"), "Session not found")
}

pub fn malformed_answer(malformed: &Malformed<'_>) -> Response<Vec<u8>> {
    let body = jsonrpc::error(Some(malformed.id.unwrap_or("null")), malformed.code, &malformed.message, None);
    jsonrpc::respond(StatusCode::BAD_REQUEST, body)
}
