//! Servers of either era, as strict as their spec lets them be.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Piece, Reply, Sent, Upstream};
use crate::eras::modern::decoded;

pub const TOOLS: &str = r#"[{"name":"echo","inputSchema":{"type":"object"}},{"name":"get-sum","x-odd":1.0,"inputSchema":{"type":"object"}}]"#;

pub fn json_reply(status: u16, body: impl ToString) -> Reply {
    Reply::Answer(
        status,
        vec![("content-type", "application/json".into())],
        vec![Piece::Bytes(body.to_string().into_bytes())],
    )
}

pub fn events_reply(pieces: Vec<Piece>) -> Reply {
    Reply::Answer(200, vec![("content-type", "text/event-stream".into())], pieces)
}

pub fn event(message: impl std::fmt::Display) -> Piece {
    Piece::Bytes(format!("event: message\nid: 1_2\ndata: {message}\n\n").into_bytes())
}

/// Longer than any stream of ours.
pub fn silence() -> Piece {
    Piece::Wait(Duration::from_secs(3600))
}

pub fn error(status: u16, id: &Value, code: i64) -> Reply {
    json_reply(status, json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}))
}

/// What a server does with the requests that come after the handshake: the result's text, empty for what it has not.
pub type Answers = fn(&str, &Value) -> String;

pub fn echo(method: &str, params: &Value) -> String {
    match method {
        "tools/list" => format!(r#"{{"tools":{TOOLS}}}"#),
        "tools/call" => format!(
            r#"{{"content":[{{"type":"text","text":"{} of {}"}}]}}"#,
            params["arguments"]["message"].as_str().unwrap_or_default(),
            params["name"].as_str().unwrap_or_default()
        ),
        _ => String::new(),
    }
}

/// Returns true if `Mcp-Name` belongs to requests of this method.
pub fn is_named(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read") || method.starts_with("tasks/")
}

/// 2026-07-28 only: refuses what lacks its headers or its `_meta`.
pub fn modern(answers: Answers) -> Upstream {
    modern_that_can(r#"{"tools":{}}"#, answers)
}

pub fn modern_that_can(capabilities: &'static str, answers: Answers) -> Upstream {
    Box::new(move |sent| {
        let message = sent.json();
        let params = &message["params"];
        let meta = &params["_meta"];
        if message["method"] == "initialize" {
            return error(404, &message["id"], -32601);
        }
        if meta["io.modelcontextprotocol/protocolVersion"] != "2026-07-28"
            || !meta["io.modelcontextprotocol/clientCapabilities"].is_object()
        {
            return error(400, &message["id"], -32602);
        }
        let name = ["name", "uri", "taskId"].into_iter().find_map(|member| params[member].as_str());
        let name = name.filter(|_| is_named(message["method"].as_str().unwrap_or_default()));
        let header = |field| sent.header(field).and_then(decoded);
        if sent.header("mcp-protocol-version") != Some("2026-07-28")
            || header("mcp-method").as_deref() != message["method"].as_str()
            || header("mcp-name").as_deref() != name
        {
            return error(400, &message["id"], -32020);
        }
        let method = message["method"].as_str().unwrap();
        let cached = r#"{"resultType":"complete","ttlMs":5000,"cacheScope":"public","#;
        let result = match method {
            "server/discover" => format!(
                r#"{{"supportedVersions":["2026-07-28"],"capabilities":{capabilities},"instructions":"Be kind.","resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#
            ),
            _ => {
                let answer = answers(method, params);
                let start = if method.ends_with("/list") || matches!(method, "resources/read" | "skills/get") {
                    cached
                } else {
                    r#"{"resultType":"complete","#
                };
                if answer.contains("resultType") { answer } else { answer.replacen('{', start, 1) }
            }
        };
        if result.is_empty() {
            return error(404, &message["id"], -32601);
        }
        json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]))
    })
}

/// 2025-11-25 with sessions, answering by event streams: as servers of the TypeScript SDK do. `sessions` counts those
/// that were opened; only the latest is alive, and `dead` is what the others get.
pub fn legacy_with(answers: Answers, sessions: Rc<Cell<u32>>, dead: u16) -> Upstream {
    legacy_that_can(r#"{"tools":{}}"#, answers, sessions, dead)
}

pub fn legacy_that_can(capabilities: &'static str, answers: Answers, sessions: Rc<Cell<u32>>, dead: u16) -> Upstream {
    Box::new(move |sent: &Sent| {
        if sent.body.is_empty() {
            return Reply::Answer(405, vec![], vec![]);
        }
        let message = sent.json();
        let id = &message["id"];
        let method = message["method"].as_str().unwrap_or_default();
        if method == "initialize" {
            sessions.set(sessions.get() + 1);
            let result = format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{{"name":"x","version":"1"}}}}"#
            );
            let Reply::Answer(status, mut headers, pieces) =
                events_reply(vec![event(format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#))])
            else {
                unreachable!()
            };
            headers.push(("mcp-session-id", format!("session-{}", sessions.get())));
            return Reply::Answer(status, headers, pieces);
        }
        let Some(session) = sent.header("mcp-session-id") else {
            return error(400, &Value::Null, -32000);
        };
        if session != format!("session-{}", sessions.get()) {
            return error(dead, &Value::Null, if dead == 404 { -32001 } else { -32000 });
        }
        if sent.header("mcp-protocol-version") != Some("2025-11-25") {
            return error(400, &Value::Null, -32000);
        }
        if id.is_null() || method.is_empty() {
            return Reply::Answer(202, vec![], vec![]);
        }
        assert!(
            message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_null(),
            "a legacy server must not see what modern requests say of themselves: {message}"
        );
        match answers(method, &message["params"]) {
            result if result.is_empty() => error(200, id, -32601),
            result => events_reply(vec![event(format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#))]),
        }
    })
}

pub fn legacy(answers: Answers) -> Upstream {
    legacy_with(answers, Rc::default(), 404)
}

/// Legacy without sessions: answers each request on its own, in JSON.
pub fn legacy_stateless(answers: Answers) -> Upstream {
    Box::new(move |sent: &Sent| {
        if sent.body.is_empty() {
            return Reply::Answer(405, vec![], vec![]);
        }
        let message = sent.json();
        let id = &message["id"];
        let result = match message["method"].as_str().unwrap() {
            "initialize" => r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}"#.into(),
            method @ ("tools/list" | "tools/call") => answers(method, &message["params"]),
            _ if id.is_null() => return Reply::Answer(202, vec![], vec![]),
            _ => return error(200, id, -32601),
        };
        json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    })
}

/// Wants `token`; else 401.
pub fn behind_token(token: &'static str, inner: Upstream) -> Upstream {
    Box::new(move |sent| match sent.header("authorization") {
        Some(value) if value == format!("Bearer {token}") => inner(sent),
        _ => Reply::Answer(401, vec![("www-authenticate", "Bearer error=\"invalid_token\"".into())], vec![]),
    })
}

/// Legacy with as many sessions alive at once as were opened; DELETE ends one. `opened` counts them.
pub fn legacy_sharing(answers: Answers, opened: Rc<Cell<u32>>) -> Upstream {
    let alive: Rc<RefCell<Vec<String>>> = Rc::default();
    Box::new(move |sent: &Sent| {
        let session = sent.header("mcp-session-id").map(str::to_owned);
        if sent.body.is_empty() {
            alive.borrow_mut().retain(|id| Some(id) != session.as_ref());
            return Reply::Answer(204, vec![], vec![]);
        }
        if sent.method() == "initialize" {
            opened.set(opened.get() + 1);
            let id = format!("session-{}", opened.get());
            alive.borrow_mut().push(id.clone());
            let Reply::Answer(status, mut headers, pieces) = legacy_stateless(answers)(sent) else { unreachable!() };
            headers.push(("mcp-session-id", id));
            return Reply::Answer(status, headers, pieces);
        }
        match session.filter(|id| alive.borrow().contains(id)) {
            Some(_) => legacy_stateless(answers)(sent),
            None => error(404, &Value::Null, -32001),
        }
    })
}
