//! Tools whose results are no objects, for clients of an era in which they are.

use serde_json::json;

use super::upstreams::{event, events_reply, modern};
use super::*;

const ARRAY: &str = r#"{"type":"array","items":{"type":"string"}}"#;

fn answers(method: &str, params: &Value) -> String {
    let value = |value: &str| format!(r#"{{"content":[{{"type":"text","text":"t"}}],"structuredContent":{value}}}"#);
    match (method, params["name"].as_str()) {
        ("tools/list", _) => format!(
            r#"{{"tools":[{{"name":"names","inputSchema":{{"type":"object"}},"outputSchema":{ARRAY}}},{{"name":"any","inputSchema":{{"type":"object"}},"outputSchema":{{}}}}]}}"#
        ),
        ("tools/call", Some("names")) => value(r#"["a", "b"]"#),
        ("tools/call", Some("any")) => value(r#"{"n":1.0}"#),
        _ => String::new(),
    }
}

/// Answers by an event stream, as well as it does by JSON.
fn streaming(inner: Upstream) -> Upstream {
    Box::new(move |sent| match inner(sent) {
        Reply::Answer(200, _, pieces) if sent.method() == "tools/call" => {
            let text = pieces.into_iter().map(|piece| match piece {
                Piece::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                _ => unreachable!(),
            });
            events_reply(vec![event(text.collect::<String>())])
        }
        reply => reply,
    })
}

/// R45: a list with such a tool is one that clients of the older era take, in each form in which they get it.
#[test]
fn r45_an_output_schema_that_is_no_object_is_put_under_result_in_lists() {
    let wrapped = json!({"type": "object", "properties": {"result": serde_json::from_str::<Value>(ARRAY).unwrap()}, "required": ["result"]});
    for path in ["/mcp", "/mcp/up"] {
        let world = World::with(modern(answers));
        // Asked for, and kept.
        for _ in 0..2 {
            let got = world.serve(Era::Legacy.list(path)).json();
            assert_eq!(got["result"]["tools"][0]["outputSchema"], wrapped, "{path}");
            assert_eq!(got["result"]["tools"][1]["outputSchema"]["type"], "object", "{path}");
        }
        let got = world.serve(Era::Modern.list(path)).json();
        assert_eq!(got["result"]["tools"][0]["outputSchema"]["type"], "array", "a modern client gets it as it is");
    }
}

/// R45: and so it is where tools are searched for.
#[test]
fn r45_an_output_schema_that_is_no_object_is_put_under_result_in_descriptions() {
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp"}},"endpoints":{"*":{"tools":"search"}}}"#;
    let world = World::new(file, vec![("https://up.example/mcp", modern(answers))]);
    let describe = r#""name":"gatehouse_describe_tool","arguments":{"names":["up__names"]}"#;
    for (era, shown) in [(Era::Legacy, "object"), (Era::Modern, "array")] {
        let got = world.serve(era.request("/mcp", "tools/call", describe)).json();
        assert_eq!(got["result"]["structuredContent"]["tools"][0]["outputSchema"]["type"], shown, "{era:?}: {got}");
    }
    let call = r#""name":"gatehouse_call_tool","arguments":{"name":"up__names"}"#;
    let got = world.serve(Era::Legacy.request("/mcp", "tools/call", call)).json();
    assert_eq!(got["result"]["structuredContent"], json!({"result": ["a", "b"]}));
}

/// R45: a call's result has the form that the list has announced, without a look at the list.
#[test]
fn r45_a_result_that_is_no_object_is_put_under_result() {
    for upstream in [modern(answers), streaming(modern(answers))] {
        let world = World::with(upstream);
        for (path, prefix) in [("/mcp", "up__"), ("/mcp/up", "")] {
            let structured = |era: Era, tool: &str| {
                let got = world.serve(era.call(path, &[prefix, tool].concat())).text();
                let line = got.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&got).to_owned();
                let message: Value = serde_json::from_str(&line).unwrap();
                message["result"]["structuredContent"].clone()
            };
            assert_eq!(structured(Era::Legacy, "names"), json!({"result": ["a", "b"]}), "{path}");
            assert_eq!(structured(Era::Legacy, "any"), json!({"n": 1.0}), "{path}");
            assert_eq!(structured(Era::Modern, "names"), json!(["a", "b"]), "{path}");
        }
        assert!(!world.methods().contains(&"tools/list".to_owned()));
    }
}
