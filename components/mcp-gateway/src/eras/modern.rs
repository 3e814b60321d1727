//! Serves clients of 2026-07-28.
//!
//! S/2026-07-28/basic/transports/streamable-http: one request, one answer, nothing in between. The headers repeat what
//! the body says, and have to say the same.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::legacy::{LEVELS, PROTOCOL_VERSION, URL_ELICITATION_REQUIRED};
use super::{
    Client as AnyClient, Decision, Describe, Dialect, IMPLEMENTATION, Listen, Site, accepted, accepts, decide_common,
    unknown_method,
};
use crate::describe::Description;
use crate::jsonrpc::{self, Incoming, Malformed, Request};
use crate::lists::is_cacheable;
use crate::session::Capabilities;
use json::{Edits, Object};

pub const VERSION: &str = "2026-07-28";
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub const METHOD: &str = "mcp-method";
pub const NAME: &str = "mcp-name";

/// The `requestState` of a request for input that is the gateway's own. It says only whose it is: the gateway
/// looks up again what has happened when the client calls again.
pub const OWN_STATE: &str = "gatehouse:connect";
/// How the `requestState` of a call begins that goes on meanwhile (`held`).
pub const HELD_STATE: &str = "gatehouse:held:";

pub const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
pub const UNSUPPORTED_VERSION: i64 = -32022;

#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// From which level on the request asked for log messages, as a place in [`LEVELS`].
    pub level: Option<usize>,
    pub capabilities: Capabilities,
}

impl Dialect for Client {
    fn result(&self, members: &str) -> String {
        complete(members, IMPLEMENTATION)
    }

    fn cacheable(&self, members: &str, ttl: u64, public: bool) -> String {
        let scope = if public { "public" } else { "private" };
        self.result(&format!(r#"{members},"ttlMs":{ttl},"cacheScope":"{scope}""#))
    }

    fn fit_result(&self, method: &str, result: &Object<'_>, edits: &mut Edits<'_>) {
        let lacks = |name| result.get(name) == Ok(None);
        let mut members = Vec::new();
        if lacks("resultType") {
            members.push(r#""resultType":"complete""#);
        }
        // A legacy server does not say how long what it said is true, nor for whom.
        if is_cacheable(method) && lacks("ttlMs") {
            members.push(r#""ttlMs":0"#);
        }
        if is_cacheable(method) && lacks("cacheScope") {
            members.push(r#""cacheScope":"private""#);
        }
        edits.rework(result, &[], &members.join(","));
    }

    /// A legacy server that wants the person to open a link first (-32042), for a client that can show one: in this era
    /// that is a result, and the client calls again.
    fn bridge_error(&self, method: &str, code: i64, error: &Object<'_>) -> Option<String> {
        if code != URL_ELICITATION_REQUIRED || !self.capabilities.has(Capabilities::ELICITATION_URL) || !may_ask(method)
        {
            return None;
        }
        let data = error.object("data").ok()??;
        let wanted = json::array(data.get("elicitations").ok()??)?;
        let requests: Option<Vec<String>> = wanted
            .into_iter()
            .enumerate()
            .map(|(number, text)| {
                let params = Object::parse(text).ok()?;
                let mut edits = Edits::new(text);
                edits.rework(&params, &["elicitationId"], "");
                let params = String::from_utf8(edits.apply()).ok()?;
                Some(format!(r#""link{number}":{{"method":"elicitation/create","params":{params}}}"#))
            })
            .collect();
        Some(input_required(&["{", &requests?.join(","), "}"].concat(), OWN_STATE))
    }

    /// -32002 and -32042 MUST NOT come from modern servers. -32601 is for methods that a server does not have, and comes
    /// with 404; legacy servers also say it of a name.
    fn fit_code(&self, method: &str, code: i64) -> i64 {
        match code {
            jsonrpc::METHOD_NOT_FOUND if matches!(method, "tools/call" | "prompts/get" | "resources/read") => {
                jsonrpc::INVALID_PARAMS
            }
            -32002 => jsonrpc::INVALID_PARAMS,
            URL_ELICITATION_REQUIRED => jsonrpc::INTERNAL_ERROR,
            code => code,
        }
    }

    fn status(&self, code: i64) -> StatusCode {
        match code {
            jsonrpc::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
            jsonrpc::PARSE_ERROR
            | jsonrpc::INVALID_REQUEST
            | HEADER_MISMATCH
            | MISSING_CAPABILITY
            | UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }

    /// Only what belongs to the request, and log messages only from the level on that it asked for.
    fn hears(&self, method: &str, message: &Object<'_>) -> bool {
        match method {
            "notifications/progress" => true,
            "notifications/message" => {
                let params = message.object("params").ok().flatten();
                let level = params.and_then(|params| params.string("level").ok().flatten());
                let level = level.and_then(|level| LEVELS.iter().position(|known| *known == level));
                self.level.is_some_and(|least| level.is_some_and(|level| level >= least))
            }
            _ => false,
        }
    }

    fn show_link(&self, method: &str, id: &str, message: &str, url: &str) -> Option<Response<Vec<u8>>> {
        if !self.capabilities.has(Capabilities::ELICITATION_URL) || !may_ask(method) {
            return None;
        }
        let request = format!(
            r#"{{"connect":{{"method":"elicitation/create","params":{{"mode":"url","url":{},"message":{}}}}}}}"#,
            json::quoted(url),
            json::quoted(message)
        );
        Some(jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &input_required(&request, OWN_STATE))))
    }

    fn ask(&self, id: &str, request: &str, state: &str) -> Option<Response<Vec<u8>>> {
        let can = self.capabilities.has(Capabilities::ELICITATION);
        let request = ["{", request, "}"].concat();
        can.then(|| jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &input_required(&request, state))))
    }
}

/// S/2026-07-28/basic/patterns/mrtr: only these may be answered with a request for input.
pub fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get")
}

/// A result of the gateway's own that asks for input. `requests` is the text of an object.
pub fn input_required(requests: &str, state: &str) -> String {
    format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":"{state}"}}"#)
}

/// Returns true if the headers name a version of this era: a date after the last legacy one.
pub fn named_in(headers: &HeaderMap) -> bool {
    let version = headers.get(PROTOCOL_VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let is_date = version.len() == 10
        && version
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    is_date && version > super::legacy::Version::LATEST.name()
}

/// Returns true if the request names a protocol version of its own.
pub fn is_named_in(request: &Request<'_>) -> bool {
    request.meta.as_ref().is_some_and(|meta| meta.find(META_VERSION).is_some())
}

pub fn decide<'a>(head: &'a Parts, text: &'a str, site: &Site<'a>) -> Decision<'a> {
    match Incoming::read(text) {
        Ok(Incoming::Request(request)) => decide_request(head, request, site),
        Ok(Incoming::Notification(_)) => Decision::Answer(accepted()),
        Ok(Incoming::Response { .. }) => {
            refuse(None, jsonrpc::INVALID_REQUEST, "Invalid Request: a client answers nothing", None)
        }
        Err(malformed) => Decision::Refuse(malformed_answer(&malformed)),
    }
}

pub fn malformed_answer(malformed: &Malformed<'_>) -> Response<Vec<u8>> {
    let body = jsonrpc::error(malformed.id, malformed.code, &malformed.message, None);
    jsonrpc::respond(StatusCode::BAD_REQUEST, body)
}

pub fn decide_request<'a>(head: &'a Parts, request: Request<'a>, site: &Site<'a>) -> Decision<'a> {
    let client = match check(&head.headers, &request) {
        Ok(client) => AnyClient::Modern(client),
        Err(refusal) => return refusal,
    };
    match &*request.method {
        "server/discover" => Decision::Describe(Describe { client, id: request.id, declared: None }),
        "subscriptions/listen" => match request.params.as_ref().map(|params| params.object("notifications")) {
            Some(Ok(Some(filter))) => {
                Decision::Listen(Listen { client, request: Some(request), filter: Some(filter), resumes: None })
            }
            _ => {
                let message = "Invalid params: \"notifications\" has to be one object";
                Decision::Answer(client.error(request.id, jsonrpc::INVALID_PARAMS, message))
            }
        },
        // The other era's, which a server of that era behind this endpoint would answer.
        "initialize"
        | "ping"
        | "logging/setLevel"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "tasks/list"
        | "tasks/result" => unknown_method(client, &request),
        _ => decide_common(head, client, request, site),
    }
}

/// The answer to `server/discover`.
pub fn described(id: &str, description: &Description) -> Response<Vec<u8>> {
    let Description { capabilities, info, .. } = description;
    let instructions = description.instructions();
    // What is said depends on whose connections there are, and nothing here tells when they change.
    let members = format!(
        r#""supportedVersions":["{VERSION}"],"capabilities":{capabilities}{instructions},"ttlMs":0,"cacheScope":"private""#
    );
    jsonrpc::respond(StatusCode::OK, jsonrpc::result(id, &complete(&members, info)))
}

/// A result of this era, with `info` as the `Implementation` that it comes from.
fn complete(members: &str, info: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"resultType":"complete"{comma}{members},"_meta":{{"{META_SERVER}":{info}}}}}"#)
}

/// Checks what every request of this era has to have, in the order in which a client can mend it. Returns what it says of
/// its client.
fn check<'a>(headers: &HeaderMap, request: &Request<'_>) -> Result<Client, Decision<'a>> {
    let id = Some(request.id);
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let message = "Not Acceptable: Accept has to list application/json and text/event-stream";
        return Err(Decision::Refuse(jsonrpc::refuse(StatusCode::NOT_ACCEPTABLE, id, message)));
    }
    let invalid = |message: &str| refuse(id, jsonrpc::INVALID_PARAMS, message, None);
    let mismatch = |message: &str| refuse(id, HEADER_MISMATCH, message, None);

    let version = field(headers, PROTOCOL_VERSION)
        .map_err(|()| mismatch("Header mismatch: MCP-Protocol-Version is malformed"))?;
    let meta = match &request.meta {
        Some(meta) => meta,
        None => {
            if let Some(version) = version.as_deref().filter(|version| *version != VERSION) {
                return Err(unsupported(id, version));
            }
            return Err(invalid("Invalid params: \"_meta\" is missing"));
        }
    };
    let named = match meta.string(META_VERSION) {
        Ok(Some(named)) => named,
        _ => return Err(invalid("Invalid params: _meta has to have one io.modelcontextprotocol/protocolVersion")),
    };
    match version.as_deref() {
        None => return Err(mismatch("Header mismatch: MCP-Protocol-Version is missing")),
        Some(version) if version != named => {
            return Err(mismatch("Header mismatch: MCP-Protocol-Version is not what _meta says"));
        }
        Some(VERSION) => {}
        Some(version) => return Err(unsupported(id, version)),
    }
    let Ok(Some(capabilities)) = meta.object(META_CAPABILITIES) else {
        return Err(invalid("Invalid params: _meta has to have one io.modelcontextprotocol/clientCapabilities"));
    };
    match field(headers, METHOD) {
        Ok(Some(method)) if method == request.method => {}
        Ok(None) => return Err(mismatch("Header mismatch: Mcp-Method is missing")),
        _ => return Err(mismatch("Header mismatch: Mcp-Method is not the body's method")),
    }
    let named = match &*request.method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    let name = named.and_then(|member| request.params.as_ref()?.string(member).ok().flatten());
    // Without a name the request itself is refused, which tells more.
    if let Some(name) = name {
        match field(headers, NAME) {
            Ok(Some(header)) if header == name => {}
            Ok(None) => return Err(mismatch("Header mismatch: Mcp-Name is missing")),
            _ => return Err(mismatch("Header mismatch: Mcp-Name is not what the body names")),
        }
    }
    let level = meta.string(META_LOG_LEVEL).ok().flatten();
    let capabilities = Capabilities::read(&capabilities)
        .map_err(|ambiguous| Decision::Refuse(malformed_answer(&jsonrpc::invalid(id, ambiguous))))?;
    let level = level.and_then(|level| LEVELS.iter().position(|known| *known == level));
    Ok(Client { level, capabilities })
}

/// The one value of a header field, decoded; an error when it is there more than once or malformed.
fn field<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<Cow<'h, str>>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => decoded(value.to_str().map_err(drop)?.trim()).map(Some).ok_or(()),
        _ => Err(()),
    }
}

/// A header's value, out of the sentinel that carries what a header cannot: `=?base64?…?=`.
pub fn decoded(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        None => Some(Cow::Borrowed(value)),
        Some(encoded) => String::from_utf8(Base64::decode_vec(encoded).ok()?).ok().map(Cow::Owned),
    }
}

/// The other way: `value` as a header can carry it.
pub fn encoded(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
        && value.trim() == value
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    if plain {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(["=?base64?", &Base64::encode_string(value.as_bytes()), "?="].concat())
    }
}

fn unsupported<'a>(id: Option<&str>, requested: &str) -> Decision<'a> {
    let data = format!(r#"{{"supported":["{VERSION}"],"requested":{}}}"#, json::quoted(requested));
    refuse(id, UNSUPPORTED_VERSION, "Unsupported protocol version", Some(&data))
}

/// An error with status 400: the request itself is wrong.
fn refuse<'a>(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Decision<'a> {
    Decision::Refuse(jsonrpc::respond(StatusCode::BAD_REQUEST, jsonrpc::error(id, code, message, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_cannot_carry_goes_there_and_back() {
        for value in ["echo", "", " echo", "é", "a\nb", "=?base64?eA==?=", "=?base64?", "server__tool"] {
            assert_eq!(decoded(&encoded(value)).as_deref(), Some(value));
        }
        assert_eq!(encoded("echo"), "echo");
        assert_eq!(decoded("=?base64?!?="), None);
        assert_eq!(decoded("=?BASE64?eA==?=").as_deref(), Some("=?BASE64?eA==?="), "markers are exactly lower case");
    }
}
