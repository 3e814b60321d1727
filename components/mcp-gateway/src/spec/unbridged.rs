//! Servers with `"bridge": false` in `servers.json`: they are spoken to in their own era alone.

use serde_json::json;

use super::upstreams::{behind_token, echo, legacy, legacy_sharing, modern};
use super::*;
use crate::host::Outcome;

const FILE: &str = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","bridge":false}}}"#;

fn unbridged(upstream: Upstream) -> World {
    World::new(FILE, vec![("https://up.example/mcp", upstream)])
}

/// Speaks either era, as servers of the SDKs do.
fn dual() -> Upstream {
    let (older, newer) = (legacy(echo), modern(echo));
    Box::new(move |sent| match sent.header("mcp-protocol-version") {
        Some("2026-07-28") => newer(sent),
        _ => older(sent),
    })
}

fn discover(path: &str) -> Request<Vec<u8>> {
    Era::Modern.request(path, "server/discover", "")
}

fn initialize(path: &str) -> Request<Vec<u8>> {
    Era::Legacy.request(path, "initialize", r#""protocolVersion":"2025-11-25","capabilities":{}"#)
}

/// What `GET /mcp/servers` says of the only server.
fn overview(world: &World) -> Value {
    let request = Request::get(format!("{GATEWAY}/mcp/servers")).header("authorization", format!("Bearer {BEARER}"));
    world.serve(request.body(Vec::new()).unwrap()).json()["servers"][0].clone()
}

/// R58: a client of both eras goes on with `initialize`, and has a session of its own.
#[test]
fn r58_a_client_of_both_eras_comes_by_initialize_to_a_legacy_server() {
    let opened = Rc::<Cell<u32>>::default();
    let world = unbridged(legacy_sharing(echo, opened.clone()));
    let got = world.serve(discover("/mcp/up"));
    assert_eq!(got.error(), (400, -32000), "as a legacy server answers it");
    let data = got.json()["error"]["data"].clone();
    assert_eq!(
        data,
        json!({"supported": ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"], "requested": "2026-07-28"})
    );
    let deleted = world.sent().iter().filter(|sent| sent.body.is_empty()).count();
    assert_eq!((opened.get(), deleted), (1, 1), "the session that told the era is not left there");
    for _ in 0..2 {
        assert_eq!(world.serve(discover("/mcp/up")).error(), (400, -32000));
    }
    assert!(world.sent().is_empty(), "the era is remembered");
    for method in ["tools/call", "tools/list", "subscriptions/listen", "acme/search"] {
        let request = Era::Modern.request("/mcp/up", method, r#""name":"echo","notifications":{}"#);
        assert_eq!(world.serve(request).error(), (400, -32022), "{method}");
    }

    let mut sessions = Vec::new();
    for _ in 0..2 {
        let got = world.serve(initialize("/mcp/up"));
        assert_eq!(got.json()["result"]["protocolVersion"], "2025-11-25");
        let id = got.header("mcp-session-id").unwrap().to_owned();
        world.sent();
        for _ in 0..2 {
            let got = world.serve(with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &id));
            assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
        }
        let used: Vec<_> = world.sent().iter().map(|sent| sent.header("mcp-session-id").unwrap().to_owned()).collect();
        assert!(used[0] == used[1] && !sessions.contains(&used[0]), "{used:?} after {sessions:?}");
        sessions.push(used[0].clone());
    }
}

/// R58: the other way round.
#[test]
fn r58_a_legacy_client_is_told_the_version_of_a_modern_server() {
    let world = unbridged(modern(echo));
    for _ in 0..2 {
        let got = world.serve(initialize("/mcp/up"));
        assert_eq!(got.error(), (400, -32022));
        assert_eq!(got.json()["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}));
    }
    assert!(!world.store.borrow().keys().any(|key| key.starts_with("g.e.")), "no session stays");
    assert_eq!(world.serve(Era::Legacy.call("/mcp/up", "echo")).error(), (400, -32022));
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up")).error(), (400, -32022));
    let got = world.serve(Era::Modern.call("/mcp/up", "echo"));
    assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
}

/// R58: where an era is shared, nothing changes; and a bridge is the default.
#[test]
fn r58_a_shared_era_is_spoken_and_bridging_is_the_default() {
    for world in [unbridged(dual()), World::with(legacy(echo)), World::with(modern(echo))] {
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(world.serve(era.call("/mcp/up", "echo")).status, OK);
            assert_eq!(world.serve(era.list("/mcp")).tool_names().len(), 2);
        }
        assert_eq!(world.serve(discover("/mcp/up")).json()["result"]["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(world.serve(initialize("/mcp/up")).status, OK);
        assert_eq!(overview(&world)["left_out"], Value::Null);
    }
}

/// R58: among many servers it is left out for clients of the other era, with the reason.
#[test]
fn r58_among_many_servers_it_is_left_out_with_the_reason() {
    for (upstream, era, other, why) in [
        (legacy(echo), Era::Legacy, Era::Modern, "up to 2025-11-25 alone"),
        (modern(echo), Era::Modern, Era::Legacy, "MCP 2026-07-28 alone"),
    ] {
        let world = unbridged(upstream);
        assert_eq!(world.serve(era.list("/mcp")).tool_names(), ["up__echo", "up__get-sum"]);
        assert_eq!(world.serve(era.call("/mcp", "up__echo")).status, OK);
        let got = world.serve(other.list("/mcp"));
        assert!(got.tool_names().is_empty());
        let got = world.serve(other.call("/mcp", "up__echo")).json()["result"].clone();
        let text = got["content"][0]["text"].as_str().unwrap();
        assert!(got["isError"] == true && text.contains(why) && text.contains("\"bridge\""), "{text}");

        let told = overview(&world);
        assert_eq!(told["state"], "ready", "it is no failure of the server: {told}");
        let left_out = told["left_out"][0].as_str().unwrap();
        assert!(left_out.starts_with("everything, for clients of ") && left_out.contains(why), "{left_out}");
        assert_eq!(told["left_out"].as_array().unwrap().len(), 1);
    }
}

/// R58: where tools are searched for, the answer says whose could not be looked through.
#[test]
fn r58_a_search_names_the_server_that_is_left_out() {
    let file = FILE.replacen('{', r#"{"endpoints":{"*":{"tools":"search"}},"#, 1);
    let world = World::new(&file, vec![("https://up.example/mcp", legacy(echo))]);
    let find = r#""name":"gatehouse_find_tools","arguments":{"query":"echo"}"#;
    let got = world.serve(Era::Modern.request("/mcp", "tools/call", find)).json();
    let missing = got["result"]["structuredContent"]["missing"][0].as_str().unwrap();
    assert!(missing.contains("up to 2025-11-25 alone"), "{missing}");
}

/// R58: a failure is no verdict about an era.
#[test]
fn r58_a_server_that_does_not_answer_is_of_no_era() {
    for fails in [true, false] {
        let world = unbridged(Box::new(move |_| match fails {
            true => Reply::Fails(SendError::Connection),
            false => Reply::NeverAnswers,
        }));
        assert_eq!(world.serve(discover("/mcp/up")).error(), (502, -32603));
        assert_eq!(world.serve(initialize("/mcp/up")).status, OK, "as without the setting");
    }
    // What was known before counts until it can be asked again.
    let down = Rc::new(Cell::new(false));
    let (is_down, inner) = (down.clone(), legacy(echo));
    let world = unbridged(Box::new(move |sent| match is_down.get() {
        true => Reply::Fails(SendError::Connection),
        false => inner(sent),
    }));
    assert_eq!(world.serve(discover("/mcp/up")).error(), (400, -32000));
    down.set(true);
    world.pass(2 * 24 * 60 * 60);
    assert_eq!(world.serve(discover("/mcp/up")).error(), (400, -32000));
}

/// R58: a server that cannot be asked without a connection is spoken to in the older era, until it can.
#[test]
fn r58_a_server_that_is_not_connected_is_taken_for_legacy() {
    let file = FILE.replace("\"bridge\"", r#""service":"s","bridge""#);
    let not_connected = || Outcome::NotConnected("https://auth.example.com/connect".into());
    let world = World::new(&file, vec![("https://up.example/mcp", behind_token("t", modern(echo)))]);
    let outcome = |outcome| world.outcomes.borrow_mut().insert("s", [outcome].into());
    outcome(not_connected());
    assert_eq!(world.serve(discover("/mcp/up")).error(), (400, -32000));
    assert_eq!(world.serve(initialize("/mcp/up")).status, OK);
    // A token that is renewed.
    world.outcomes.borrow_mut().insert("s", [token("old"), token("t")].into());
    assert_eq!(world.serve(discover("/mcp/up")).status, OK);
    outcome(not_connected());
    assert_eq!(world.serve(discover("/mcp/up")).status, OK, "by now it is known");
    assert_eq!(world.serve(initialize("/mcp/up")).status, OK);
}

#[test]
fn the_setting_is_true_or_false() {
    let file = FILE.replace("false", "\"no\"");
    let config = crate::config::Config::read(&file).unwrap();
    let fault = config.entries()[0].server().err().unwrap().to_string();
    assert_eq!(fault, r#""bridge" has to be true or false"#);
}
