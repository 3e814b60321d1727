//! Reads JSON-RPC messages, and writes answers to them.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};
use json::{Ambiguous, Object};

use crate::decisive;

pub const PARSE_ERROR: i64 = -32700;
pub const INVALID_REQUEST: i64 = -32600;
pub const METHOD_NOT_FOUND: i64 = -32601;
pub const INVALID_PARAMS: i64 = -32602;
pub const INTERNAL_ERROR: i64 = -32603;

/// A message from a client.
pub enum Incoming<'a> {
    Request(Request<'a>),
    Notification(Notification<'a>),
    /// An answer to a request of ours, or of an upstream's.
    Response {
        text: &'a str,
        /// `None` if it names no request.
        id: Option<&'a str>,
    },
}

pub struct Notification<'a> {
    pub text: &'a str,
    pub method: Cow<'a, str>,
    pub params: Option<Object<'a>>,
}

/// A request from a client, as slices of its text.
pub struct Request<'a> {
    /// The whole message.
    pub text: &'a str,
    /// As it stands: a string or a number.
    pub id: &'a str,
    pub method: Cow<'a, str>,
    pub params: Option<Object<'a>>,
    /// `_meta` of the params, if it is an object.
    pub meta: Option<Object<'a>>,
}

/// Why a text is no message, and the id that it could still be answered with.
#[derive(Debug)]
pub struct Malformed<'a> {
    pub id: Option<&'a str>,
    pub code: i64,
    pub message: Cow<'static, str>,
}

impl<'a> Incoming<'a> {
    pub fn read(text: &'a str) -> Result<Self, Malformed<'a>> {
        let object = Object::parse(text).map_err(|error| {
            let (code, message) = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => (INVALID_REQUEST, "Invalid Request: not an object".to_owned()),
                Err(_) => (PARSE_ERROR, format!("Parse error: {error}")),
            };
            Malformed { id: None, code, message: message.into() }
        })?;
        let id = object.get("id").map_err(|ambiguous| invalid(None, ambiguous))?;
        let usable = id.filter(|id| id.starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9')));
        let invalid = |message: &'static str| Malformed { id: usable, code: INVALID_REQUEST, message: message.into() };
        let ambiguous = |ambiguous: Ambiguous| self::invalid(usable, ambiguous);
        decisive::message(&object).map_err(ambiguous)?;
        if object.string("jsonrpc").map_err(ambiguous)?.as_deref() != Some("2.0") {
            return Err(invalid("Invalid Request: \"jsonrpc\" has to be \"2.0\""));
        }
        let has = |name| object.find(name).is_some();
        let answers = object.present("result").is_some() || object.present("error").is_some();
        let Some(method) = object.find("method") else {
            return if has("result") || has("error") {
                Ok(Self::Response { text, id: usable })
            } else {
                Err(invalid("Invalid Request: neither a method nor a result"))
            };
        };
        if answers {
            return Err(invalid("Invalid Request: both a method and a result"));
        }
        let method = json::string(method).ok_or_else(|| invalid("Invalid Request: \"method\" has to be a string"))?;
        let params = match object.present("params") {
            None => None,
            Some(params) => {
                Some(Object::parse(params).map_err(|_| invalid("Invalid Request: \"params\" has to be an object"))?)
            }
        };
        let meta = match &params {
            None => None,
            Some(params) => decisive::params(&method, params).map_err(ambiguous)?,
        };
        match (id, usable) {
            (None, _) => Ok(Self::Notification(Notification { text, method, params })),
            (Some(_), Some(id)) => Ok(Self::Request(Request { text, id, method, params, meta })),
            (Some(_), None) => Err(invalid("Invalid Request: \"id\" has to be a string or a number")),
        }
    }
}

/// The message of a result. `result` is the text of an object.
pub fn result(id: &str, result: &str) -> Vec<u8> {
    ["{\"jsonrpc\":\"2.0\",\"id\":", id, ",\"result\":", result, "}"].concat().into_bytes()
}

/// The message of an error. Where no id could be read, legacy says `null` (JSON-RPC 2.0 section 5) and modern leaves the
/// member out (`id?: RequestId` in its schema): that is `Some("null")` and `None`.
pub fn error(id: Option<&str>, code: i64, message: &str, data: Option<&str>) -> Vec<u8> {
    let id = id.map(|id| ["\"id\":", id, ","].concat()).unwrap_or_default();
    let data = data.map(|data| [",\"data\":", data].concat()).unwrap_or_default();
    let message = json::quoted(message);
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}").into_bytes()
}

/// The notification that the sender of the request `id` does not wait for its answer any more.
pub fn cancelled(id: &str) -> Vec<u8> {
    let start = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#;
    [start, id, "}}"].concat().into_bytes()
}

/// An HTTP answer that is one JSON text.
pub fn respond(status: StatusCode, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An HTTP answer that is an error for which neither JSON-RPC nor MCP has a code: it is the HTTP status, which lies
/// outside of the range that both keep for themselves.
pub fn refuse(status: StatusCode, id: Option<&str>, message: &str) -> Response<Vec<u8>> {
    respond(status, error(id, i64::from(status.as_u16()), message, None))
}

/// Why a message is refused in which readers could take different members for the one that decides.
pub fn invalid(id: Option<&str>, ambiguous: Ambiguous) -> Malformed<'_> {
    Malformed { id, code: INVALID_REQUEST, message: format!("Invalid Request: {ambiguous}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (Option<&str>, i64) {
        let malformed = Incoming::read(text).err().unwrap_or_else(|| panic!("{text} was read"));
        (malformed.id, malformed.code)
    }

    #[test]
    fn a_request_keeps_its_id_as_it_stands() {
        for id in ["1", "1.0", "-0", "\"a\\u0062\"", "12345678901234567890123"] {
            let text = format!(r#"{{"jsonrpc":"2.0","method":"ping","id":{id},"x":1}}"#);
            let Ok(Incoming::Request(request)) = Incoming::read(&text) else { panic!("{text}") };
            assert_eq!(request.id, id);
        }
    }

    /// R24, R29: null means absent.
    #[test]
    fn a_member_that_is_null_is_absent() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":null,"error":null}"#,
        ] {
            let Ok(Incoming::Request(request)) = Incoming::read(text) else { panic!("{text}") };
            assert!(request.params.is_none());
        }
        let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":null}"#;
        assert!(matches!(Incoming::read(text), Ok(Incoming::Notification(_))));
        let text = r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":1,"message":"x"}}"#;
        assert!(matches!(Incoming::read(text), Ok(Incoming::Response { id: Some("1"), .. })));
    }

    #[test]
    fn what_is_wrong_has_its_own_code() {
        assert_eq!(code("{"), (None, PARSE_ERROR));
        assert_eq!(code(""), (None, PARSE_ERROR));
        assert_eq!(code("7"), (None, INVALID_REQUEST));
        assert_eq!(code(r#"{"id":1,"method":"ping"}"#), (Some("1"), INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#), (None, INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":7}"#), (Some("1"), INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1}"#), (Some("1"), INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#), (Some("1"), INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}"#), (Some("1"), INVALID_REQUEST));
        assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#), (None, INVALID_REQUEST));
    }
}
