//! What a hostile server or client tries against memory, the store and other calls.

use super::asking::session;
use super::upstreams::{echo, legacy};
use super::*;

/// A server that names its session by so many letters.
fn with_session_id(length: usize) -> Upstream {
    let inner = legacy(echo);
    Box::new(move |sent| match inner(sent) {
        Reply::Answer(status, mut headers, pieces) => {
            for (name, value) in &mut headers {
                if *name == "mcp-session-id" {
                    *value = "s".repeat(length);
                }
            }
            Reply::Answer(status, headers, pieces)
        }
        reply => reply,
    })
}

/// A27: the id of a session goes into each request and into rows that each request reads.
#[test]
fn a_session_with_a_long_id_is_not_opened() {
    for era in [Era::Modern, Era::Legacy] {
        let world = World::with(with_session_id(4097));
        let got = world.serve(era.call("/mcp/up", "echo")).text();
        assert!(got.contains("the id that it gave its session is longer than 4 KiB"), "{got}");
        let longest = world.store.borrow().values().map(Vec::len).max().unwrap_or_default();
        assert!(longest < 4096, "{longest}");
    }
}

/// A27: a preflight has the answer grow with what it asks for, up to a limit.
#[test]
fn a_preflight_gets_no_long_names_back() {
    let file = r#"{"browserOrigins":["https://app.example"],"mcpServers":{}}"#;
    let world = World::new(file, vec![]);
    let name = |length| ["mcp-param-", &"x".repeat(length)].concat();
    let request = Request::options(format!("{GATEWAY}/mcp"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", [name(20), name(100_000)].join(","))
        .body(Vec::new());
    let got = world.serve(request.unwrap());
    let allowed = got.header("access-control-allow-headers").unwrap();
    assert!(got.status == 204 && allowed.contains(&name(20)) && allowed.len() < 1024, "{}", allowed.len());
}
