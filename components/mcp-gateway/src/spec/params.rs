//! Arguments that are repeated in headers, for a client whose era has no such headers.

use super::lists::overview;
use super::upstreams::{echo, legacy, modern};
use super::*;

/// A tool that wants its region in a header, and tools with such annotations as no client may offer.
fn marked(method: &str, params: &Value) -> String {
    let bad = [
        ("empty", r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#),
        ("spaced", r#"{"properties":{"a":{"type":"string","x-mcp-header":"My Region"}}}"#),
        ("control", r#"{"properties":{"a":{"type":"string","x-mcp-header":"a\r\nb"}}}"#),
        ("foreign", r#"{"properties":{"a":{"type":"string","x-mcp-header":"Région"}}}"#),
        ("no_text", r#"{"properties":{"a":{"type":"string","x-mcp-header":1}}}"#),
        ("number", r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#),
        ("untyped", r#"{"properties":{"a":{"x-mcp-header":"A"}}}"#),
        (
            "twice",
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
        ),
        ("root", r#"{"x-mcp-header":"A"}"#),
        ("items", r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#),
        ("any", r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#),
    ];
    let bad = bad.map(|(name, schema)| format!(r#"{{"name":"{name}","inputSchema":{}}}"#, typed(schema)));
    let good = [
        r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"x-mcp-header":{"type":"string"},"#,
        r#""deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},"#,
        r#""free":{"default":{"x-mcp-header":"data"}}}}"#,
    ];
    match method {
        "tools/list" => {
            format!(r#"{{"tools":[{},{{"name":"echo","inputSchema":{}}}]}}"#, bad.join(","), typed(&good.concat()))
        }
        _ => echo(method, params),
    }
}

fn typed(schema: &str) -> String {
    schema.replacen('{', r#"{"type":"object","#, 1)
}

fn names(got: &Got) -> Vec<String> {
    let tools = got.json()["result"]["tools"].clone();
    tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// "Clients MUST exclude the tool": a legacy client does not know that, so the gateway does it in its place.
#[test]
fn a_modern_servers_tool_with_a_header_that_is_not_valid_is_offered_to_no_legacy_client() {
    let world = World::with(modern(marked));
    assert_eq!(names(&world.serve(Era::Legacy.list("/mcp"))), ["up__echo"]);
    assert_eq!(names(&world.serve(Era::Legacy.list("/mcp/up"))), ["echo"]);
    assert_eq!(names(&world.serve(Era::Modern.list("/mcp"))), ["up__echo"]);
    let left_out = world.serve(overview()).json()["servers"][0]["left_out"].to_string();
    for said in ["tools/list spaced: its x-mcp-header is no name of a header: \\\"My Region\\\"", "number: ", "any: "] {
        assert!(left_out.contains(said), "{left_out}");
    }
    assert_eq!(names(&world.serve(Era::Modern.list("/mcp/up"))).len(), 12, "a modern client does it itself");
    let world = World::with(legacy(marked));
    assert_eq!(names(&world.serve(Era::Legacy.list("/mcp"))).len(), 12, "in the older era it means nothing");
}

#[test]
fn the_headers_of_a_tool_that_a_client_has_listed_are_in_its_first_call() {
    for (path, tool) in [("/mcp", "up__echo"), ("/mcp/up", "echo")] {
        let world = World::with(modern(marked));
        let session = asking::session(&world, "{}");
        let request =
            |method, members: &str| with_header(Era::Legacy.request(path, method, members), "mcp-session-id", &session);
        world.serve(request("tools/list", ""));
        world.sent();
        let arguments = r#""arguments":{"region":"eu","message":"m","deep":{"n":42},"free":1,"x-mcp-header":"y"}"#;
        for _ in 0..2 {
            world.serve(request("tools/call", &format!(r#""name":"{tool}",{arguments}"#)));
            let sent = world.sent();
            assert_eq!(sent.len(), 1);
            let headers = sent[0].headers.iter().filter(|(name, _)| name.starts_with("mcp-param-"));
            let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(headers, [("mcp-param-n", "42"), ("mcp-param-region", "eu")], "{path}");
        }
    }
}
