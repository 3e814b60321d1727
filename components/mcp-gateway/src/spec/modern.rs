//! Clients of 2026-07-28 (S/2026-07-28/basic/transports/streamable-http, basic/versioning).

use super::upstreams::{echo, legacy, modern};
use super::*;

fn world() -> World {
    World::with(modern(echo))
}

fn list() -> Request<Vec<u8>> {
    Era::Modern.list("/mcp")
}

fn body(meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#)
}

#[test]
fn discover_says_what_the_upstream_can_and_remembers_it() {
    let world = world();
    let got = world.serve(Era::Modern.request("/mcp", "server/discover", ""));
    assert_eq!((got.status, got.whole), (OK, true));
    let result = &got.json()["result"];
    assert_eq!(result["supportedVersions"], serde_json::json!(["2026-07-28"]));
    assert_eq!(result["capabilities"], serde_json::json!({"tools": {}}));
    assert_eq!(result["resultType"], "complete");
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&0.into(), &"private".into()));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gatehouse");
    assert_eq!(got.header("mcp-session-id"), None, "never minted");
    assert_eq!(world.methods(), ["server/discover"]);
    world.serve(Era::Modern.request("/mcp", "server/discover", ""));
    assert_eq!(world.sent().len(), 0, "it is remembered");
}

#[test]
fn the_headers_have_to_say_what_the_body_says() {
    let mismatch = (400, -32020);
    let call = || Era::Modern.call("/mcp", "up__echo");
    assert_eq!(world().serve(without_header(list(), "mcp-protocol-version")).error(), mismatch);
    assert_eq!(world().serve(with_header(list(), "mcp-protocol-version", "2025-11-25")).error(), mismatch);
    assert_eq!(world().serve(with_header(list(), "mcp-protocol-version", "2027-01-01")).error(), mismatch);
    assert_eq!(world().serve(without_header(list(), "mcp-method")).error(), mismatch);
    assert_eq!(world().serve(with_header(list(), "mcp-method", "tools/call")).error(), mismatch);
    assert_eq!(world().serve(with_header(list(), "mcp-method", "Tools/List")).error(), mismatch);
    assert_eq!(world().serve(without_header(call(), "mcp-name")).error(), mismatch);
    assert_eq!(world().serve(with_header(call(), "mcp-name", "up__get-sum")).error(), mismatch);
    assert_eq!(world().serve(with_header(call(), "mcp-name", "=?base64?!?=")).error(), mismatch);
    let mut twice = call();
    twice.headers_mut().append("mcp-name", "up__echo".parse().unwrap());
    assert_eq!(world().serve(twice).error(), mismatch);
    assert_eq!(world().serve(with_header(call(), "mcp-name", " =?base64?dXBfX2VjaG8=?= ")).status, OK);
}

#[test]
fn an_unknown_version_is_told_what_is_supported() {
    let meta =
        r#"{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let got = world().serve(with_body(with_header(list(), "mcp-protocol-version", "2027-01-01"), &body(meta)));
    assert_eq!(got.error(), (400, -32022));
    assert_eq!(
        got.json()["error"]["data"],
        serde_json::json!({"supported": ["2026-07-28"], "requested": "2027-01-01"})
    );
    let without_meta = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let got = world().serve(with_body(with_header(list(), "mcp-protocol-version", "2027-01-01"), without_meta));
    assert_eq!(got.error(), (400, -32022));
}

#[test]
fn what_is_missing_in_meta_is_invalid_params() {
    let invalid = (400, -32602);
    for meta in [
        "{}",
        "7",
        r#"{"io.modelcontextprotocol/clientCapabilities":{}}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":1}"#,
        r#"{"io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}}"#,
    ] {
        assert_eq!(world().serve(with_body(list(), &body(meta))).error(), invalid, "{meta}");
    }
    let without = r#"{"jsonrpc":"2.0","id":"x","method":"tools/list"}"#;
    let got = world().serve(with_body(list(), without));
    assert_eq!((got.error(), &got.json()["id"]), (invalid, &"x".into()));
}

#[test]
fn a_version_in_meta_makes_a_request_modern_even_for_another_version_header() {
    let world = world();
    let got = world.serve(with_header(list(), "mcp-protocol-version", "2025-11-25"));
    assert_eq!(got.error(), (400, -32020), "it must not slip through as a legacy one");
    let doubled = body(&format!(r#"{{{},"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}"#, Era::META));
    assert_eq!(world.serve(with_body(list(), &doubled)).error(), (400, -32600));
}

#[test]
fn methods_of_the_other_era_are_404_with_the_request_id() {
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/list", "nonsense"] {
        let got = world().serve(Era::Modern.request_with_id("/mcp", "\"i\"", method, ""));
        assert_eq!((got.error(), &got.json()["id"]), ((404, -32601), &"i".into()), "{method}");
    }
}

#[test]
fn notifications_are_202_and_answers_and_batches_are_refused() {
    assert_eq!(world().serve(with_body(list(), r#"{"jsonrpc":"2.0","method":"notifications/x"}"#)).status, 202);
    assert_eq!(world().serve(with_body(list(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).error(), (400, -32600));
    let got = world().serve(with_body(list(), "[]"));
    assert_eq!(got.error(), (400, -32600));
    assert!(got.json().get("id").is_none(), "an id that is not known is left out: null is not in the schema");
}

#[test]
fn both_media_types_have_to_be_welcome() {
    for accept in ["application/json", "text/event-stream", "text/html"] {
        assert_eq!(world().serve(with_header(list(), "accept", accept)).error(), (406, 406), "{accept}");
    }
    assert_eq!(world().serve(without_header(list(), "accept")).status, 406);
    for accept in ["*/*", "text/*;q=0.5, application/*", "Text/Event-Stream , application/json;q=0.9"] {
        assert_eq!(world().serve(with_header(list(), "accept", accept)).status, OK, "{accept}");
    }
}

#[test]
fn session_and_resumption_headers_are_ignored() {
    let request = with_header(with_header(list(), "mcp-session-id", "not-ours"), "last-event-id", "7");
    let got = world().serve(request);
    assert_eq!((got.status, got.header("mcp-session-id")), (OK, None));
}

#[test]
fn delete_is_405() {
    let mut request = list();
    *request.method_mut() = http::Method::DELETE;
    let got = world().serve(request);
    assert_eq!((got.error().0, got.header("allow")), (405, Some("POST")));
}

#[test]
fn a_cursor_that_is_not_ours_is_unknown() {
    for era in [Era::Legacy, Era::Modern] {
        for cursor in [r#""x""#, r#""nobody:1""#, r#""up:x""#, "7"] {
            let members = format!(r#""cursor":{cursor}"#);
            assert_eq!(world().serve(era.request("/mcp", "tools/list", &members)).error(), (OK, -32602), "{cursor}");
        }
    }
}

#[test]
fn what_the_client_says_about_itself_reaches_a_modern_upstream_and_only_that() {
    let members = r#""name":"echo","arguments":{},"_meta":{"traceparent":"00-1","progressToken":7,"io.modelcontextprotocol/logLevel":"info",META}"#
        .replace("META", Era::META);
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{members}}}}}"#);
    let request = || with_body(Era::Modern.call("/mcp/up", "echo"), &body);

    let world = World::with(modern(echo));
    world.serve(with_header(request(), "mcp-param-region", "eu"));
    let sent = world.sent().pop().unwrap();
    assert_eq!(sent.body, body, "nothing is touched");
    assert_eq!(sent.header("mcp-param-region"), Some("eu"), "an intermediary MUST forward it");

    let world = World::with(legacy(echo));
    world.serve(request());
    let sent = world.sent().pop().unwrap().json();
    assert_eq!(sent["params"]["_meta"], serde_json::json!({"traceparent": "00-1", "progressToken": 7}));
}
