//! What readers could take for different things is refused, from clients and from servers, wherever it decides.
//!
//! `readers` says how other programs read; the gateway's own reader is not asked.

use super::asking::{CAN, messages, post_message, session};
use super::readers::{differ, differ_about_entry};
use super::upstreams::{TOOLS, echo, event, events_reply, json_reply, legacy, legacy_stateless, modern};
use super::*;
use crate::eras::modern::encoded;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];
/// `denied` is denied.
const FILE: &str = r#"{"endpoints":{"found":{"servers":["up"],"tools":"search"}},
    "mcpServers":{"up":{"url":"https://up.example/mcp","tools":{"deny":["denied"]}}}}"#;

/// Servers of each kind, as what there is to bring a message to.
fn kinds() -> [Upstream; 3] {
    [modern(lists), legacy(lists), legacy_stateless(lists)]
}

fn lists(method: &str, params: &Value) -> String {
    match method {
        "tools/list" => r#"{"tools":[{"name":"safe"},{"name":"denied"}]}"#.into(),
        _ => echo(method, params),
    }
}

fn ruled(upstream: Upstream) -> World {
    World::new(FILE, vec![("https://up.example/mcp", upstream)])
}

/// A request of `era` whose body is `body`, with headers as `method` and `name` would have them.
fn raw(era: Era, path: &str, body: &str, method: &str, name: &str) -> Request<Vec<u8>> {
    let request = with_body(era.list(path), body);
    match era {
        Era::Legacy => request,
        Era::Modern => with_header(with_header(request, "mcp-method", method), "mcp-name", &encoded(name)),
    }
}

/// The ways to write `name` so that some reader takes it for `name` and another does not.
fn look_alikes(name: &str) -> Vec<String> {
    let mut ways = vec![
        name.to_uppercase(),
        name[..1].to_uppercase() + &name[1..],
        [name, "\\u0000"].concat(),
        [name, "\\ud800"].concat(),
        ["\\udfff", name, "\\u0000x"].concat(),
    ];
    for (letter, other) in [("s", "\u{17f}"), ("k", "\u{212a}"), ("s", "\\u017F"), ("k", "\\u212A"), ("i", "\u{131}")] {
        if name.contains(letter) {
            ways.push(name.replace(letter, other));
        }
    }
    ways.retain(|way| way != name);
    // A second one of the very name.
    ways.push(name.to_owned());
    ways.push(format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]));
    ways
}

/// A01: with `deny`, the examples of the report one by one.
#[test]
fn a_denied_tool_is_not_reached_by_a_name_in_other_letters() {
    let params = [
        r#""params":{"name":"NAME","Name":"denied"}"#,
        r#""params":{"name":"NAME"},"Params":{"name":"denied"}"#,
        r#""params":{"name":"NAME"},"Method":"tools/list""#,
        r#""params":{"name":"NAME"},"METHOD":"tools/call""#,
        r#""params":{"name":"NAME"},"ID":9"#,
        r#""params":{"name":"NAME"},"JsonRPC":"2.0""#,
        r#""params":{"name":"NAME","name\u0000":"denied"}"#,
        r#""params":{"name":"NAME","arguments":1,"Arguments":{"x":1}}"#,
        r#""params":{"name":"NAME"},"param\u017f":{"name":"denied"}"#,
        "\"params\":{\"name\":\"NAME\",\"ta\u{17f}\u{212a}Id\":\"1\"}",
        r#""params":{"name":"NAME"},"result":{}"#,
    ];
    for era in BOTH {
        for (path, name) in [("/mcp", "up__safe"), ("/mcp/up", "safe"), ("/mcp/found", "up__safe")] {
            for params in params {
                let meta = if era == Era::Modern { format!(r#","_meta":{{{}}}}}"#, Era::META) } else { "}".into() };
                let params = params.replace("NAME", name).replacen('}', &meta, 1);
                let body = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call",{params}}}"#);
                for upstream in kinds() {
                    let world = ruled(upstream);
                    let got = world.serve(raw(era, path, &body, "tools/call", name));
                    assert_eq!(got.error(), (400, -32600), "{era:?} {path} {body}");
                    let id = if body.contains("\"ID\"") { Value::Null } else { 7.into() };
                    assert_eq!(got.json()["id"], id, "{body}");
                    assert_eq!(world.sent().len(), 0, "{body}");
                }
            }
        }
    }
}

/// A01: every decisive name, in every way that it can be written otherwise, in every place where it decides.
#[test]
fn no_name_that_decides_stands_beside_one_that_some_reader_takes_for_it() {
    let places: [(&str, &str, &str, &[&str]); 6] = [
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":PARAMSMORE}"#,
            "tools/call",
            r#"{"name":"up__safe"META}"#,
            &["jsonrpc", "method", "params", "result", "error"],
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":PARAMS}"#,
            "tools/call",
            r#"{"name":"up__safe"METAMORE}"#,
            &[
                "name",
                "uri",
                "taskId",
                "arguments",
                "_meta",
                "ref",
                "cursor",
                "level",
                "requestId",
                "progressToken",
                "protocolVersion",
                "capabilities",
                "requestState",
                "inputResponses",
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":PARAMS}"#,
            "tools/call",
            r#"{"name":"up__safe","_meta":{ALLMORE}}"#,
            &[
                "progressToken",
                "io.modelcontextprotocol/protocolVersion",
                "io.modelcontextprotocol/clientCapabilities",
                "io.modelcontextprotocol/logLevel",
                "io.modelcontextprotocol/clientInfo",
            ],
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":PARAMS}"#,
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"up__x"MORE}META}"#,
            &["type", "name", "uri"],
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":PARAMS}"#,
            "tools/call",
            r#"{"name":"gatehouse_call_tool","arguments":{"name":"up__safe","arguments":{}MORE}META}"#,
            &["name", "arguments"],
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":PARAMS}"#,
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":trueMORE}META}"#,
            &["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"],
        ),
    ];
    for era in BOTH {
        let all = if era == Era::Modern { Era::META } else { r#""x":1"# };
        let meta = format!(r#","_meta":{{{all}}}"#);
        for (message, method, params, names) in places {
            for name in names {
                for way in look_alikes(name) {
                    // One that is alone decides nothing twice.
                    let stands = params.contains(&format!("\"{name}\":")) || message.contains(&format!("\"{name}\":"));
                    let stands = stands
                        || era == Era::Modern
                            && (all.contains(&format!("\"{name}\"")) || *name == "_meta" && params.contains("META"));
                    if !stands && (way == **name || way.starts_with("\\u00")) {
                        continue;
                    }
                    let more = format!(r#","{way}":{{}}"#);
                    let text = message
                        .replace("PARAMS", params)
                        .replace("META", &meta)
                        .replace("ALL", all)
                        .replace("MORE", &more);
                    let world = ruled(legacy_stateless(lists));
                    let inner = if params.contains("gatehouse_call_tool") { "gatehouse_call_tool" } else { "up__safe" };
                    let got = world.serve(raw(era, "/mcp/found", &text, method, inner));
                    assert!(got.text().contains("-32600"), "{era:?} {text}");
                    assert_eq!(got.status, 400, "{era:?} {text}");
                    assert_eq!(world.sent().len(), 0, "{text}");
                }
            }
        }
    }
}

/// A01: what a tool is given, and what nobody knows, is not the gateway's to judge.
#[test]
fn arguments_and_what_is_unknown_may_have_names_that_look_alike() {
    let free = r#"{"name":"a","Name":"b","name":"c","URI":{"uri":1,"Uri":2},"ID":[{"id":1,"Id":2}],"_Meta":0}"#;
    for era in BOTH {
        for upstream in kinds() {
            let world = World::with(upstream);
            let odd = format!(r#""name":"up__echo","arguments":{free},"x":1,"X":2,"_x":{free}"#);
            let got = world.serve(era.request("/mcp", "tools/call", &odd));
            assert_eq!(got.status, OK, "{}", got.text());
            assert!(
                world.sent().pop().unwrap().body.contains(&format!(r#""arguments":{free},"x":1,"X":2,"_x":{free}"#))
            );
        }
    }
}

/// A01: a notification, an answer, a batch and the oldest transport are no ways around it.
#[test]
fn notifications_answers_and_batches_are_read_alike() {
    let call = r#""ID":9,"Method":"tools/call","Params":{"name":"denied"}"#;
    let told = format!(r#"{{"jsonrpc":"2.0","method":"notifications/roots/list_changed",{call}}}"#);
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"RequestId":2}}"#;
    let answer = format!(r#"{{"jsonrpc":"2.0","id":"gh:up:5","result":{{}},{call}}}"#);
    let both = r#"{"jsonrpc":"2.0","id":"gh:up:5","result":{},"method":"tools/call","params":{"name":"denied"}}"#;
    for upstream in kinds() {
        let world = ruled(upstream);
        let session = session(&world, CAN);
        world.serve(with_header(Era::Legacy.call("/mcp", "up__safe"), "mcp-session-id", &session));
        world.sent();
        for text in [&*told, cancelled, &answer, both] {
            assert_eq!(world.serve(post_message(&session, text)).error(), (400, -32600), "{text}");
            let modern = with_body(Era::Modern.list("/mcp"), text);
            assert_eq!(world.serve(modern).error(), (400, -32600), "{text}");
        }
        assert_eq!(world.sent().len(), 0);
    }
    let world = ruled(modern(lists));
    let batch = format!(
        r#"[{told},{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"up__safe","Name":"denied"}}}},{{"jsonrpc":"2.0","id":4,"method":"ping"}}]"#
    );
    let got = world.serve(without_header(with_body(Era::Legacy.list("/mcp"), &batch), "mcp-protocol-version")).json();
    let codes: Vec<(&Value, &Value)> =
        got.as_array().unwrap().iter().map(|answer| (&answer["id"], &answer["error"]["code"])).collect();
    let (none, invalid) = (Value::Null, Value::from(-32600));
    assert_eq!(codes, [(&none, &invalid), (&3.into(), &invalid), (&4.into(), &none)]);
    assert_eq!(world.sent().len(), 0);
}

/// A01: what a client says that it can be asked for, said twice.
#[test]
fn capabilities_that_readers_could_take_for_others_are_refused() {
    for declared in [
        r#"{"Sampling":{}}"#,
        r#"{"elicitation":{},"Elicitation":{"url":{}}}"#,
        r#"{"elicitation":{"form":{},"URL":{}}}"#,
        r#"{"roots":{"listChanged":true,"ListChanged":false}}"#,
        r#"{"extensions":{"IO.modelcontextprotocol/tasks":{}}}"#,
    ] {
        let world = World::with(modern(echo));
        let members = format!(r#""protocolVersion":"2025-11-25","capabilities":{declared}"#);
        assert_eq!(
            world.serve(Era::Legacy.request("/mcp", "initialize", &members)).error(),
            (400, -32600),
            "{declared}"
        );
        assert_eq!(world.serve(super::asking::modern_call(declared)).error(), (400, -32600), "{declared}");
        assert_eq!(world.sent().len(), 0);
    }
}

/// A01: methods that a server may read without regard to case or white space would come to it without a look at the name.
#[test]
fn a_method_that_looks_like_one_with_rules_is_unknown() {
    for method in
        ["Tools/Call", "tools/call ", "\\ttools/call", "tools/call\\u0000", "TOOL\u{17f}/call", "tool\\u017f/Call"]
    {
        for era in BOTH {
            for upstream in kinds() {
                let world = ruled(upstream);
                let request = era.request("/mcp/up", "tools/call", r#""name":"denied""#);
                let body = String::from_utf8(request.body().clone()).unwrap();
                let body = body.replace("\"tools/call\"", &format!("\"{method}\""));
                let decoded: String = serde_json::from_str(&format!("\"{method}\"")).unwrap();
                let request = with_header(with_body(request, &body), "mcp-method", &encoded(&decoded));
                assert_eq!(world.serve(request).error().1, -32601, "{method}");
                assert_eq!(world.sent().len(), 0, "{method}");
            }
        }
    }
}

/// A01: a value that no string can hold is different things to different readers.
#[test]
fn half_a_pair_of_surrogates_names_nothing() {
    for (method, member) in
        [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri"), ("tasks/get", "taskId")]
    {
        for era in BOTH {
            for path in ["/mcp", "/mcp/up"] {
                let world = World::with(modern(echo));
                let request = era.request(path, method, &format!(r#""{member}":"up__x""#));
                let body = String::from_utf8(request.body().clone()).unwrap().replace("up__x", r"up__\ud800x");
                assert_eq!(world.serve(with_body(request, &body)).error(), (OK, -32602), "{method}");
                assert_eq!(world.sent().len(), 0);
            }
        }
    }
    let world = World::with(modern(echo));
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\ud800","params":{"name":"echo"}}"#;
    assert_eq!(world.serve(with_body(Era::Legacy.list("/mcp/up"), body)).error(), (400, -32600));
}

#[test]
fn a_body_may_begin_with_a_byte_order_mark_and_what_is_passed_has_none() {
    for era in BOTH {
        let marked = |request: Request<Vec<u8>>| {
            let body = String::from_utf8(request.body().clone()).unwrap();
            with_body(request, &format!("\u{feff}{body}"))
        };
        for (upstream, form) in [modern(echo), legacy(echo), legacy_stateless(echo)].into_iter().zip([
            "application/json",
            "text/event-stream",
            "application/json",
        ]) {
            let world = World::with(Box::new(move |sent| match upstream(sent) {
                Reply::Answer(status, headers, pieces) => {
                    let mark = if form == "application/json" { "\u{feff}" } else { "" };
                    let pieces = std::iter::once(Piece::Bytes(mark.into())).chain(pieces).collect();
                    Reply::Answer(status, headers, pieces)
                }
                other => other,
            }));
            for request in [era.call("/mcp/up", "echo"), era.call("/mcp", "up__echo"), era.list("/mcp")] {
                let got = world.serve(marked(request));
                assert!(got.text().starts_with('{') && got.status == OK, "{era:?} {form} {}", got.text());
                assert!(world.sent().iter().all(|sent| !sent.body.starts_with('\u{feff}')));
            }
        }
        let twice = with_body(era.call("/mcp", "up__echo"), "\u{feff}\u{feff}{}");
        assert_eq!(World::with(modern(echo)).serve(twice).error(), (400, -32700));
        let mut bytes = era.call("/mcp", "up__echo");
        bytes.body_mut().extend_from_slice(b"\xff");
        assert_eq!(World::with(modern(echo)).serve(bytes).error(), (400, -32700));
    }
}

/// What a server answers to the call of a tool, as JSON or as the events of a stream. `ID` stands for the call's id.
fn answering(kind: usize, is_events: bool, said: &'static [&'static str]) -> Upstream {
    let inner = [modern(echo), legacy(echo), legacy_stateless(echo)].into_iter().nth(kind).unwrap();
    Box::new(move |sent| {
        if sent.method() != "tools/call" || kind == 1 && sent.header("mcp-session-id").is_none() {
            return inner(sent);
        }
        let id = sent.json()["id"].to_string();
        let mut said = said.iter().map(|text| text.replace("ID", &id));
        match is_events {
            true => events_reply(said.map(event).collect()),
            false => json_reply(200, said.next_back().unwrap()),
        }
    })
}

/// A01: an answer that one reader takes for another's, or for a request, is none; in JSON and as an event, in every pairing.
#[test]
fn what_readers_could_take_for_another_answer_is_not_passed() {
    const ANSWERS: [&[&str]; 11] = [
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"error":{"code":-32603,"message":"m"}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"params":{"content":[]}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"Id":99}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"id":99,"result":{"content":[]}}"#],
        &[r#"{"jsonrpc":"2.0","id":99,"result":{"content":[]}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"Result":{}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"Error":{"code":1,"message":""}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"Method":"sampling/createMessage"}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[]},"method":"sampling/createMessage"}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"m"},"error\u0000":{}}"#],
        &[r#"{"jsonrpc":"2.0","id":ID,"re\u017fult":{"content":[]}}"#],
    ];
    const SAID: [&[&str]; 5] = [
        &[r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1},"iD":99}"#],
        &[r#"{"jsonrpc":"2.0","method":"notifications/progress","Method":"x","params":{}}"#],
        &[
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"ProgressToken":2,"progress":1}}"#,
        ],
        &[r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"RequestID":2}}"#],
        &[
            r#"{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"mode":"form","Mode":"url","message":"m"}}"#,
        ],
    ];
    for era in BOTH {
        for kind in 0..3 {
            for is_events in [false, true] {
                for said in ANSWERS.into_iter().chain(SAID.into_iter().filter(|_| is_events)) {
                    let world = World::with(answering(kind, is_events, said));
                    for (path, name) in [("/mcp", "up__echo"), ("/mcp/up", "echo")] {
                        let got = world.serve(era.call(path, name));
                        let text = got.text();
                        assert!(text.contains("could not be called"), "{era:?} {kind} {said:?}: {text}");
                        assert!(!text.contains("99") && !text.contains("sampling"), "{text}");
                    }
                }
            }
        }
    }
}

/// A01: between the eras a result says what kind it is, and that may be said once.
#[test]
fn a_result_that_readers_could_take_for_another_kind_is_not_passed_between_the_eras() {
    for (era, kind) in [(Era::Legacy, 0), (Era::Modern, 1), (Era::Modern, 2)] {
        for said in [
            &[
                r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"resultType":"complete","ResultType":"input_required"}}"#,
            ],
            &[
                r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"resultType":"complete","resultType":"input_required"}}"#,
            ],
            &[r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"requestState":"a","RequestState":"b"}}"#],
        ] {
            let world = World::with(answering(kind, false, said));
            let text = world.serve(era.call("/mcp", "up__echo")).text();
            assert!(text.contains("could not be called"), "{era:?} {text}");
        }
    }
}

/// A01: an entry of a list that readers could take for another costs itself, and the log says so without its words.
#[test]
fn an_entry_that_readers_could_take_for_another_is_left_out_alone() {
    const BAD: [&str; 7] = [
        r#"{"name":"a","Name":"other__pay","inputSchema":{}}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a","de\u017fcription":"x"}"#,
        r#"{"name":"a","description":"x","Description":"EVIL"}"#,
        r#"{"name":"a","inputSchema":{},"InputSchema":{}}"#,
        r#"{"name":"a","name\u0000":"b"}"#,
        r#"{"NAME":"a"}"#,
    ];
    for era in BOTH {
        for kind in 0..3 {
            let inner = [modern(echo), legacy(echo), legacy_stateless(echo)].into_iter().nth(kind).unwrap();
            let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                "tools/list" if kind != 1 || sent.header("mcp-session-id").is_some() => {
                    let good = TOOLS.trim_matches(['[', ']']);
                    let free = r#"{"name":"free","inputSchema":{"properties":{"name":{},"Name":{}}},"x":1,"X":2}"#;
                    let listed = [&BAD.join(","), good, free].join(",");
                    let id = sent.json()["id"].to_string();
                    json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{listed}]}}}}"#))
                }
                _ => inner(sent),
            }));
            let got = world.serve(era.list("/mcp"));
            assert_eq!(got.tool_names(), ["up__echo", "up__get-sum", "up__free"]);
            let listed = Value::to_string(&got.json()["result"]["tools"]);
            for entry in serde_json::from_str::<Vec<Box<serde_json::value::RawValue>>>(&listed).unwrap() {
                assert_eq!(differ_about_entry(entry.get()), None);
            }
            let logged = world.logged.borrow().join("\n");
            assert!(
                logged.contains("up: 7 entries of tools/list are left out") && !logged.contains("EVIL"),
                "{logged}"
            );
        }
    }
}

/// A01: a list that readers could take for another has no entries to choose from.
#[test]
fn a_page_that_readers_could_take_for_another_is_not_mcp() {
    for result in [
        r#"{"tools":[],"Tools":[]}"#,
        r#"{"tools":[],"tools":[]}"#,
        r#"{"tools":[],"nextCursor":"1","NextCursor":"2"}"#,
    ] {
        let inner = modern(echo);
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/list" => {
                json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, sent.json()["id"]))
            }
            _ => inner(sent),
        }));
        assert_eq!(world.serve(Era::Modern.list("/mcp")).tool_names(), [""; 0], "{result}");
        assert!(world.logged.borrow().join("\n").contains("not MCP"), "{result}");
    }
}

/// A01: what is asked of a legacy client on behalf of a modern server is read like every other request.
#[test]
fn what_a_modern_server_wants_is_asked_only_if_all_read_it_alike() {
    for wanted in [
        r#"{"method":"elicitation/create","Method":"sampling/createMessage","params":{"message":"m"}}"#,
        r#"{"method":"elicitation/create","params":{"message":"m","mode":"form","Mode":"url"}}"#,
    ] {
        let inner = modern(echo);
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => {
                let result =
                    format!(r#"{{"resultType":"input_required","inputRequests":{{"f":{wanted}}},"requestState":"s"}}"#);
                json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, sent.json()["id"]))
            }
            _ => inner(sent),
        }));
        let session = session(&world, CAN);
        let mut asked = 0;
        let got =
            world.converse(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &session), |pieces| {
                asked += messages(pieces).iter().filter(|message| message["method"].is_string()).count();
            });
        assert_eq!(asked, 0, "{wanted}");
        assert!(got.text().contains("not MCP"), "{}", got.text());
    }
}

/// A01: the readers that the fuzz targets compare do see what is to be seen.
#[test]
fn other_readers_see_what_they_are_said_to_see() {
    for name in ["name", "uri", "taskId", "requestState"] {
        for way in look_alikes(name) {
            if way.contains('\u{131}') {
                // No reader of these.
                continue;
            }
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"{name}":"a","{way}":"b"}}}}"#);
            assert!(differ(&text).is_some(), "{text}");
        }
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","names":"b","arguments":{"name":1,"Name":2}}}"#,
        r#"{"jsonrpc":"2.0","id":"\ud800","method":"m","params":{"n\u0061me":"\u0061"}}"#,
    ] {
        assert_eq!(differ(text), None, "{text}");
    }
    assert!(differ(r#"{"method":"completion/complete","params":{"ref":{"type":"a","Type":"b"}}}"#).is_some());
}
