//! How are clients of 2026-07-28 served?
//!
//! S/2026-07-28/basic/transports/streamable-http: one request, one answer, nothing in between. The headers repeat what
//! the body says, and have to say the same.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::legacy::PROTOCOL_VERSION;
use super::{
    CAPABILITIES, Client as AnyClient, Decision, Dialect, IMPLEMENTATION, Site, accepted, accepts, call, list,
    unknown_method,
};
use crate::json::{self, Edits, Object};
use crate::jsonrpc::{self, Incoming, Request};

pub const VERSION: &str = "2026-07-28";
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub const METHOD: &str = "mcp-method";
pub const NAME: &str = "mcp-name";

const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Whether the request asked for log messages.
    pub logs: bool,
}

impl Dialect for Client {
    fn result(&self, members: &str) -> String {
        let comma = if members.is_empty() { "" } else { "," };
        format!(
            r#"{{"resultType":"complete"{comma}{members},"_meta":{{"io.modelcontextprotocol/serverInfo":{IMPLEMENTATION}}}}}"#
        )
    }

    fn cacheable(&self, members: &str) -> String {
        // What is listed depends on whose connections there are, and nothing here tells when they change.
        self.result(&[members, r#","ttlMs":0,"cacheScope":"private""#].concat())
    }

    fn fit_result(&self, _text: &str, result: &Object<'_>, edits: &mut Edits<'_>) {
        if result.get("resultType") == Ok(None) {
            edits.rework(result, &[], r#""resultType":"complete""#);
        }
    }

    /// -32002 and -32042 MUST NOT come from modern servers.
    fn fit_code(&self, code: i64) -> i64 {
        match code {
            -32002 => jsonrpc::INVALID_PARAMS,
            -32042 => jsonrpc::INTERNAL_ERROR,
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

    /// Only what belongs to the request, and log messages only to who asked for them.
    fn hears(&self, method: &str) -> bool {
        method == "notifications/progress" || (self.logs && method == "notifications/message")
    }
}

/// Whether the headers name a version of this era: a date after the last legacy one.
pub fn named_in(headers: &HeaderMap) -> bool {
    let version = headers.get(PROTOCOL_VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let is_date = version.len() == 10
        && version
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    is_date && version > super::legacy::Version::LATEST.name()
}

/// The `_meta` of a request, if it names a protocol version.
pub fn meta<'a>(request: &Request<'a>) -> Option<Object<'a>> {
    let meta = request.params.as_ref()?.object("_meta").ok().flatten()?;
    // Twice is for the decision to refuse, so it counts as named.
    (meta.get(META_VERSION) != Ok(None)).then_some(meta)
}

pub fn decide<'a>(head: &'a Parts, text: &'a str, site: &Site<'a>) -> Decision<'a> {
    match Incoming::read(text) {
        Ok(Incoming::Request(request)) => decide_request(head, request, site),
        Ok(Incoming::Notification) => Decision::Answer(accepted(StatusCode::ACCEPTED)),
        Ok(Incoming::Response) => {
            refuse(None, jsonrpc::INVALID_REQUEST, "Invalid Request: a client answers nothing", None)
        }
        Err(malformed) => refuse(malformed.id, malformed.code, &malformed.message, None),
    }
}

pub fn decide_request<'a>(head: &'a Parts, request: Request<'a>, site: &Site<'a>) -> Decision<'a> {
    let logs = match check(&head.headers, &request) {
        Ok(logs) => logs,
        Err(refusal) => return refusal,
    };
    let client = AnyClient::Modern(Client { logs });
    match &*request.method {
        "server/discover" => discover(client, &request, site),
        "tools/list" => list(client, &request),
        "tools/call" => call(head, client, request, site),
        _ => unknown_method(client, &request),
    }
}

fn discover<'a>(client: AnyClient, request: &Request<'_>, site: &Site<'_>) -> Decision<'a> {
    let members = format!(
        r#""supportedVersions":["{VERSION}"],"capabilities":{CAPABILITIES},"instructions":{}"#,
        json::quoted(&site.instructions())
    );
    let result = client.dialect().cacheable(&members);
    Decision::Answer(jsonrpc::respond(StatusCode::OK, jsonrpc::result(request.id, &result)))
}

/// What every request of this era has to have, in the order in which a client can mend it. Gives whether log messages
/// are wanted.
fn check<'a>(headers: &HeaderMap, request: &Request<'_>) -> Result<bool, Decision<'a>> {
    let id = Some(request.id);
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let message = "Not Acceptable: Accept has to list application/json and text/event-stream";
        return Err(Decision::Refuse(jsonrpc::refuse(StatusCode::NOT_ACCEPTABLE, id, message)));
    }
    let invalid = |message: &str| refuse(id, jsonrpc::INVALID_PARAMS, message, None);
    let mismatch = |message: &str| refuse(id, HEADER_MISMATCH, message, None);

    let version = field(headers, PROTOCOL_VERSION)
        .map_err(|()| mismatch("Header mismatch: MCP-Protocol-Version is malformed"))?;
    let meta = request.params.as_ref().map(|params| params.object("_meta"));
    let meta = match meta {
        Some(Ok(Some(meta))) => meta,
        Some(Err(_)) => return Err(invalid("Invalid params: \"_meta\" is there twice")),
        _ => {
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
    if !matches!(meta.object(META_CAPABILITIES), Ok(Some(_))) {
        return Err(invalid("Invalid params: _meta has to have one io.modelcontextprotocol/clientCapabilities"));
    }
    match field(headers, METHOD) {
        Ok(Some(method)) if method == request.method => {}
        Ok(None) => return Err(mismatch("Header mismatch: Mcp-Method is missing")),
        _ => return Err(mismatch("Header mismatch: Mcp-Method is not the body's method")),
    }
    if request.method == "tools/call" {
        let name = request.params.as_ref().and_then(|params| params.string("name").ok().flatten());
        match (field(headers, NAME), name) {
            // Without a name the call itself is refused, which tells more.
            (_, None) => {}
            (Ok(Some(header)), Some(name)) if header == name => {}
            (Ok(None), _) => return Err(mismatch("Header mismatch: Mcp-Name is missing")),
            _ => return Err(mismatch("Header mismatch: Mcp-Name is not the body's name")),
        }
    }
    Ok(matches!(meta.get(META_LOG_LEVEL), Ok(Some(_))))
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

/// 400, whatever the code: the request itself is wrong.
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
