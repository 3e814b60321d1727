//! What an upstream does wrong costs one proper answer that says so, soon, and nothing later.

use super::upstreams::{echo, event, events_reply, json_reply, legacy, legacy_stateless, legacy_that_can, modern};
use super::*;

type Kind = fn() -> Upstream;
const KINDS: [(&str, Kind); 3] =
    [("modern", || modern(echo)), ("sessions", || legacy(echo)), ("stateless", || legacy_stateless(echo))];

/// What is answered to a call with this id.
type Fault = fn(&str) -> Reply;

fn typed(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Answer(status, vec![("content-type", media_type.into())], vec![Piece::Bytes(body.into())])
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"resultType":"complete"}}}}"#)
}

const FAULTS: [(&str, Fault); 24] = [
    ("it cannot be reached", |_| Reply::Fails(SendError::Connection)),
    ("its head does not come", |_| Reply::Fails(SendError::Timeout)),
    ("a page with 200", |_| typed(200, "text/html", "<h1>Hello</h1>")),
    ("a page with 502", |_| typed(502, "text/html", "<h1>Bad Gateway</h1>")),
    ("a page with 404", |_| typed(404, "text/html", "<h1>Not Found</h1>")),
    ("a page that is called JSON", |_| typed(200, "application/json", "<h1>Hello</h1>")),
    ("events that are called JSON", |id| typed(200, "application/json", format!("data: {}\n\n", result(id)))),
    ("JSON that is called events", |id| typed(200, "text/event-stream", result(id))),
    ("no type", |id| Reply::Answer(200, vec![], vec![Piece::Bytes(result(id).into())])),
    ("a type that is none", |id| typed(200, "application/jsonp", result(id))),
    ("what was packed and not asked for", |_| typed(200, "application/json", b"\x1f\x8b\x08\0\0\0\0\0".to_vec())),
    ("an empty answer", |_| typed(200, "application/json", "")),
    ("half an answer", |id| typed(200, "application/json", &result(id)[..20])),
    ("an answer that breaks off", |_| {
        Reply::Answer(
            200,
            vec![("content-type", "application/json".into())],
            vec![Piece::Bytes(b"{".into()), Piece::Breaks],
        )
    }),
    ("a stream that breaks off", |_| events_reply(vec![Piece::Bytes(b"data: {".into()), Piece::Breaks])),
    ("a stream without an answer", |_| events_reply(vec![Piece::Bytes(b": hello\n\n".into())])),
    ("a list of answers", |id| json_reply(200, format!("[{}]", result(id)))),
    ("202", |_| Reply::Answer(202, vec![], vec![])),
    ("204", |_| Reply::Answer(204, vec![], vec![])),
    ("a redirect", |_| Reply::Answer(307, vec![("location", "https://elsewhere.example/".into())], vec![])),
    ("401 for every token", |_| Reply::Answer(401, vec![("www-authenticate", "Bearer".into())], vec![])),
    ("429", |_| Reply::Answer(429, vec![("retry-after", "9".into())], vec![])),
    ("an event without end", |_| events_reply((0..18).map(|_| Piece::Bytes(vec![b'x'; 1024 * 1024])).collect())),
    ("an answer to another request alone", |_| events_reply(vec![event(result("77"))])),
];

#[test]
fn every_fault_is_a_tools_error_and_the_next_call_works() {
    for (fault, answer) in FAULTS {
        for (kind, inner) in KINDS {
            for era in [Era::Legacy, Era::Modern] {
                let broken = Rc::new(Cell::new(true));
                let (now, inner) = (broken.clone(), inner());
                let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                    "tools/call" if now.get() => answer(&sent.json()["id"].to_string()),
                    _ => inner(sent),
                }));
                for path in ["/mcp", "/mcp/up"] {
                    let call = || era.call(path, if path == "/mcp" { "up__echo" } else { "echo" });
                    let about = format!("{fault}: {era:?} {kind} {path}");
                    let got = world.serve(call());
                    assert_eq!(got.status, OK, "{about}");
                    assert!(got.finished && got.json()["result"]["isError"] == true, "{about}: {}", got.text());
                    assert!(got.text().contains("The server up could not be called: "), "{about}: {}", got.text());
                    assert!(world.sent().len() <= 7, "{about}");
                    assert!(world.elapsed() < Duration::from_secs(5), "{about}");
                    broken.set(false);
                    assert!(world.serve(call()).text().contains("hi of echo"), "{about}");
                    broken.set(true);
                    world.sent();
                }
            }
        }
    }
}

#[test]
fn an_answer_may_name_its_request_in_another_form() {
    for (asked, answered) in [("1.0", "1"), ("-0", "0"), ("7", "\"7\""), ("\"a\"", r#""\u0061""#), ("1e3", "1000")] {
        for (kind, inner) in KINDS.into_iter().filter(|(kind, _)| *kind != "sessions") {
            for era in [Era::Legacy, Era::Modern] {
                let inner = inner();
                let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                    "tools/call" => events_reply(vec![event(result(answered))]),
                    _ => inner(sent),
                }));
                let request = era.request_with_id("/mcp", asked, "tools/call", r#""name":"up__echo""#);
                let got = world.serve(request).text();
                assert!(got.contains(r#""content":[]"#), "{asked} {kind} {era:?}: {got}");
            }
        }
    }
}

#[test]
fn what_answers_another_request_is_read_over_and_what_follows_the_answer_too() {
    for (kind, inner) in KINDS {
        let inner = inner();
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => {
                let right = result(&sent.json()["id"].to_string());
                let said =
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
                let wrong = r#"{"jsonrpc":"2.0","id":"another","result":{"secret":true}}"#;
                events_reply(vec![
                    event(said),
                    Piece::Wait(Duration::from_secs(1)),
                    event(wrong),
                    event(&right),
                    event(&right),
                    event(said),
                ])
            }
            _ => inner(sent),
        }));
        for era in [Era::Legacy, Era::Modern] {
            let got = world.serve(with_progress(era.call("/mcp", "up__echo")));
            let events = got.events();
            assert_eq!((events.len(), &events[1]["id"]), (2, &1.into()), "{kind} {era:?}: {}", got.text());
            assert!(!got.text().contains("secret"));
        }
    }
}

/// A request of the gateway's own has a limit, too.
#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let world = World::with(never_ending("initialize", legacy(echo)));
    let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert!(got.text().contains("it took too long to answer"), "{}", got.text());
    assert!(world.elapsed() <= Duration::from_secs(61), "{:?}", world.elapsed());
}

/// Answers `slow` by a stream that says something now and then, for ever.
fn never_ending(slow: &'static str, inner: Upstream) -> Upstream {
    Box::new(move |sent| match sent.method() {
        method if method == slow => {
            let dripping =
                (0..10_000).flat_map(|_| [Piece::Bytes(b": x\n\n".into()), Piece::Wait(Duration::from_secs(20))]);
            events_reply(dripping.collect())
        }
        _ => inner(sent),
    })
}

/// R27: `server/discover` is never answered, in any way; `initialize` is, and that is remembered.
#[test]
fn a_server_that_never_answers_discover_is_initialized() {
    let silent: fn() -> Upstream = || {
        let inner = legacy(echo);
        Box::new(move |sent| if sent.method() == "server/discover" { Reply::NeverAnswers } else { inner(sent) })
    };
    let dripping: fn() -> Upstream = || never_ending("server/discover", legacy(echo));
    for upstream in [silent, dripping] {
        for era in [Era::Legacy, Era::Modern] {
            let world = World::with(upstream());
            assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("hi of echo"), "{era:?}");
            assert!(world.elapsed() <= Duration::from_secs(11), "{:?}", world.elapsed());
            world.sent();
            assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("hi of echo"), "{era:?}");
            assert_eq!(world.methods(), ["tools/call"], "{era:?}");
        }
    }
}

/// R27, the other way round: a modern server that is only slow is waited for.
#[test]
fn a_modern_server_that_is_slow_to_answer_discover_is_waited_for() {
    let inner = modern(echo);
    let world = World::with(Box::new(move |sent| match (sent.method().as_str(), inner(sent)) {
        ("server/discover", Reply::Answer(status, headers, pieces)) => {
            let late = std::iter::once(Piece::Wait(Duration::from_secs(20))).chain(pieces);
            Reply::Answer(status, headers, late.collect())
        }
        (_, reply) => reply,
    }));
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
}

/// R28: `initialize` is tried before a server is called down.
#[test]
fn an_error_to_discover_is_no_outage_of_a_legacy_server() {
    for status in [400, 403, 404, 405, 406, 415, 429, 500, 501, 502, 503, 504] {
        let inner = legacy(echo);
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "server/discover" => Reply::Answer(status, vec![], vec![]),
            _ => inner(sent),
        }));
        for era in [Era::Legacy, Era::Modern] {
            assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("hi of echo"), "{status} {era:?}");
        }
    }
}

/// R51: -32022 names the versions that are spoken, and that alone does not show a legacy server.
#[test]
fn a_version_that_is_not_supported_is_no_sign_of_the_older_era() {
    let refusing = |supported: &'static str, legacy_too: bool| {
        let inner = legacy(echo);
        World::with(Box::new(move |sent| match sent.method().as_str() {
            "server/discover" => json_reply(
                400,
                format!(
                    r#"{{"jsonrpc":"2.0","id":"0","error":{{"code":-32022,"message":"no","data":{{"supported":[{supported}]}}}}}}"#
                ),
            ),
            _ if legacy_too => inner(sent),
            _ => Reply::Answer(400, vec![], vec![]),
        }))
    };
    let got = refusing(r#""2027-01-01","2028-01-01""#, false).serve(Era::Modern.call("/mcp", "up__echo")).text();
    assert!(got.contains("it speaks only the protocol versions 2027-01-01, 2028-01-01"), "{got}");
    let both = refusing(r#""2027-01-01","2025-11-25""#, true);
    assert!(both.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
}

/// R51: a server that refuses a version and names that same one is asked with it once more, and is of the newer era.
#[test]
fn a_server_that_names_the_version_that_it_refused_is_asked_once_more() {
    let refusing = |most: usize| {
        let (inner, refused) = (modern(echo), Cell::new(0));
        World::with(Box::new(move |sent| {
            if sent.method() != "server/discover" || refused.get() == most {
                return inner(sent);
            }
            refused.set(refused.get() + 1);
            let error = r#"{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}"#;
            json_reply(400, format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, sent.json()["id"]))
        }))
    };
    let world = refusing(1);
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
    assert_eq!(world.methods(), ["server/discover", "server/discover", "tools/call"]);
    let world = refusing(usize::MAX);
    world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert_eq!(world.methods(), ["server/discover", "server/discover", "initialize"], "no more often");
}

/// R10: a server refuses the version of `initialize` with an error instead of naming its own.
#[test]
fn a_server_that_refuses_the_version_is_asked_with_another() {
    let refusing = |data: &'static str, speaks: &'static [&'static str], status: u16| {
        let inner = legacy_stateless(echo);
        World::with(Box::new(move |sent| {
            let message = sent.json();
            let version = message["params"]["protocolVersion"].as_str().unwrap_or_default().to_owned();
            match sent.method().as_str() {
                "server/discover" => Reply::Answer(404, vec![], vec![]),
                "initialize" if !speaks.contains(&version.as_str()) => json_reply(
                    status,
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32602,"message":"Unsupported protocol version"{data}}}}}"#,
                        message["id"]
                    ),
                ),
                _ => inner(sent),
            }
        }))
    };
    let asked = |world: &World| -> Vec<String> {
        let sent = world.sent();
        let versions = sent.iter().filter(|sent| sent.method() == "initialize");
        versions.map(|sent| sent.json()["params"]["protocolVersion"].as_str().unwrap().to_owned()).collect()
    };
    for status in [200, 400] {
        let world =
            refusing(r#","data":{"supported":["2025-06-18"],"requested":"2025-11-25"}"#, &["2025-06-18"], status);
        assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"), "{status}");
        assert_eq!(asked(&world), ["2025-11-25", "2025-06-18"]);
        let world = refusing("", &["2025-03-26"], status);
        assert!(world.serve(Era::Legacy.call("/mcp", "up__echo")).text().contains("hi of echo"), "{status}");
        assert_eq!(asked(&world), ["2025-11-25", "2025-06-18", "2025-03-26"]);
        let world = refusing(r#","data":{"supported":["1999-01-01"]}"#, &[], status);
        let got = world.serve(Era::Modern.call("/mcp", "up__echo")).text();
        assert!(got.contains("it speaks only the protocol versions 1999-01-01"), "{got}");
        assert_eq!(asked(&world).len(), 1);
    }
}

/// R32: `notifications/initialized` is taken and never answered.
#[test]
fn a_server_that_never_answers_initialized_can_be_called() {
    let inner = legacy(echo);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "notifications/initialized" => Reply::NeverAnswers,
        _ => inner(sent),
    }));
    for era in [Era::Legacy, Era::Modern] {
        assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("hi of echo"), "{era:?}");
    }
    assert!(world.elapsed() <= Duration::from_secs(5), "{:?}", world.elapsed());
}

/// R04: a restarted server may call a lost session a missing right. A new session comes before a new token.
#[test]
fn a_lost_session_that_is_called_unauthorized_costs_no_token() {
    for status in [401, 403, 404, 400] {
        let sessions = Rc::new(Cell::new(0));
        let (inner, now) = (legacy_that_can(r#"{"tools":{}}"#, echo, sessions.clone(), 404), sessions.clone());
        let world = World::with_service(
            Box::new(move |sent| {
                let known = format!("session-{}", now.get());
                match sent.header("mcp-session-id") {
                    Some(session) if session != known => Reply::Answer(status, vec![], vec![]),
                    _ => inner(sent),
                }
            }),
            [token("t")],
        );
        for era in [Era::Legacy, Era::Modern] {
            assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("hi of echo"));
            // The server restarts.
            sessions.set(sessions.get() + 100);
            world.sent();
            world.asked.borrow_mut().clear();
            let got = world.serve(era.call("/mcp", "up__echo")).text();
            assert!(got.contains("hi of echo"), "{status} {era:?}: {got}");
            assert_eq!(world.methods(), ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
            assert_eq!(world.asked.borrow().len(), 1, "no other token is asked for");
        }
    }
}

/// R04: where the token really is refused, a new session is tried once and no more is sent than that.
#[test]
fn a_token_that_ends_in_a_session_is_renewed_after_one_new_session_was_tried() {
    let valid = Rc::new(Cell::new("a"));
    let (now, inner) = (valid.clone(), legacy(echo));
    let world = World::with_service(
        Box::new(move |sent| match sent.header("authorization") {
            Some(value) if value == format!("Bearer {}", now.get()) => inner(sent),
            _ => Reply::Answer(401, vec![], vec![]),
        }),
        [token("a")],
    );
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
    valid.set("b");
    world.outcomes.borrow_mut().insert("s", [token("a"), token("b")].into());
    world.sent();
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
    let methods = world.methods();
    assert_eq!(methods[..2], ["tools/call", "initialize"], "{methods:?}");
    assert_eq!(methods.last().unwrap(), "tools/call");
}

/// R29: null means absent.
#[test]
fn an_error_beside_a_null_result_is_the_error() {
    for (kind, inner) in KINDS {
        for (first, second) in [("result", "error"), ("error", "result")] {
            let inner = inner();
            let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                "tools/call" => {
                    let value = |name| if name == "error" { r#"{"code":-32000,"message":"boom"}"# } else { "null" };
                    let (one, two) = (value(first), value(second));
                    let id = sent.json()["id"].to_string();
                    json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"{first}":{one},"{second}":{two}}}"#))
                }
                _ => inner(sent),
            }));
            for era in [Era::Legacy, Era::Modern] {
                for path in ["/mcp", "/mcp/up"] {
                    let call = era.call(path, if path == "/mcp" { "up__echo" } else { "echo" });
                    let got = world.serve(call).json();
                    assert_eq!(got["error"]["message"], "boom", "{kind} {first} {era:?} {path}: {got}");
                    assert!(got.get("result").is_none(), "{got}");
                }
            }
        }
    }
}

/// R24: a client may write `"params": null`.
#[test]
fn params_that_are_null_are_absent() {
    for (kind, inner) in KINDS {
        let world = World::with(inner());
        for path in ["/mcp", "/mcp/up"] {
            let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}"#;
            let got = world.serve(with_body(Era::Legacy.list(path), body));
            assert!(got.text().contains("echo"), "{kind} {path}: {}", got.text());
            assert!(world.sent().iter().all(|sent| sent.json().get("params").is_none_or(|params| !params.is_null())));
            let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":null}"#;
            assert_eq!(world.serve(with_body(Era::Legacy.list(path), body)).status, 202);
        }
    }
}

/// R54: a body that is packed is refused as what it is.
#[test]
fn a_packed_body_is_415() {
    for era in [Era::Legacy, Era::Modern] {
        let world = World::with(modern(echo));
        for coding in ["gzip", "br", "identity, gzip"] {
            let got = world.serve(with_header(era.call("/mcp", "up__echo"), "content-encoding", coding));
            assert_eq!((got.status, got.header("accept-encoding")), (415, Some("identity")), "{coding}");
        }
        assert_eq!(world.serve(with_header(era.call("/mcp", "up__echo"), "content-encoding", "identity")).status, OK);
    }
}

/// R52: a legacy server's -32601 for a name is no unknown method, which would be 404.
#[test]
fn an_unknown_name_at_a_legacy_server_is_no_transport_error() {
    let inner = legacy(echo);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" | "prompts/get" | "resources/read" => super::upstreams::error(200, &sent.json()["id"], -32601),
        _ => inner(sent),
    }));
    for (method, member) in [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")] {
        let got = world.serve(Era::Modern.request("/mcp/up", method, &format!(r#""{member}":"x:y""#)));
        assert_eq!(got.error(), (OK, -32602), "{method}");
    }
    assert_eq!(world.serve(Era::Modern.request("/mcp/up", "acme/other", "")).error(), (404, -32601));
}

/// R47: a silent tool of ten minutes works; a handshake or a list does not take that long.
#[test]
fn a_call_may_take_much_longer_than_a_handshake() {
    for (timeout, seconds, works) in
        [("", 70, true), ("", 590, true), ("", 610, false), (r#","timeout":30"#, 40, false)]
    {
        for (kind, inner) in KINDS {
            let inner = inner();
            let file = format!(r#"{{"mcpServers":{{"up":{{"url":"https://up.example/mcp"{timeout}}}}}}}"#);
            let slow: Upstream = Box::new(move |sent| match sent.method().as_str() {
                "tools/call" => Reply::Slow(Duration::from_secs(seconds), Box::new(inner(sent))),
                _ => inner(sent),
            });
            let world = World::new(&file, vec![("https://up.example/mcp", slow)]);
            for era in [Era::Legacy, Era::Modern] {
                let got = world.serve(era.call("/mcp", "up__echo"));
                let about = format!("{kind} {era:?} {seconds}: {}", got.text());
                assert_eq!(got.text().contains("hi of echo"), works, "{about}");
                assert!(works || got.text().contains(r#""isError":true"#), "{about}");
            }
        }
    }
}

/// R21: what breaks after signs of life is a result that the model sees, in both eras.
#[test]
fn a_call_that_breaks_after_signs_of_life_is_a_tools_error() {
    let ends: [fn() -> Vec<Piece>; 3] = [
        || vec![Piece::Wait(Duration::from_secs(3)), Piece::Breaks],
        || vec![Piece::Wait(Duration::from_secs(40))],
        || vec![Piece::Bytes(b": x\n\n".into()), Piece::Wait(Duration::from_secs(40)), Piece::Breaks],
    ];
    for (kind, inner) in KINDS {
        for pieces in ends {
            let inner = inner();
            let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                "tools/call" => events_reply(pieces()),
                _ => inner(sent),
            }));
            for era in [Era::Legacy, Era::Modern] {
                let got = world.serve(era.call("/mcp", "up__echo"));
                let last = got.events().pop().unwrap_or_else(|| panic!("{kind} {era:?}: {}", got.text()));
                assert_eq!(last["result"]["isError"], true, "{kind} {era:?}: {last}");
                assert_eq!(last["result"]["resultType"] == "complete", era == Era::Modern, "{last}");
            }
        }
    }
}

/// R31: the model is told when to come again.
#[test]
fn a_busy_server_says_when_to_come_again() {
    for (status, inner) in [(429, modern(echo)), (503, legacy(echo))] {
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => Reply::Answer(status, vec![("retry-after", "7".into())], vec![]),
            _ => inner(sent),
        }));
        for era in [Era::Legacy, Era::Modern] {
            let got = world.serve(era.call("/mcp", "up__echo")).json();
            let text = got["result"]["content"][0]["text"].as_str().unwrap();
            assert!(got["result"]["isError"] == true && text.contains("in 7 seconds"), "{text}");
        }
    }
}

/// R33: a byte that is not UTF-8 becomes U+FFFD.
#[test]
fn an_event_with_a_wrong_byte_is_read() {
    for (kind, inner) in KINDS {
        let inner = inner();
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => {
                let text = r#""content":[{"type":"text","text":"a?b"}],"resultType":"complete""#;
                let message = format!(r#"data: {{"jsonrpc":"2.0","id":{},"result":{{{text}}}}}"#, sent.json()["id"]);
                let bytes = message.into_bytes().into_iter().map(|byte| if byte == b'?' { 0xff } else { byte });
                events_reply(vec![Piece::Bytes(bytes.chain(*b"\n\n").collect())])
            }
            _ => inner(sent),
        }));
        for era in [Era::Legacy, Era::Modern] {
            let got = world.serve(era.call("/mcp", "up__echo")).text();
            assert!(got.contains("a\u{fffd}b"), "{kind} {era:?}: {got}");
        }
    }
}

/// R34: a redirect that only adds or takes away a slash is followed, and remembered; any other names its place.
#[test]
fn a_redirect_that_only_adds_a_slash_is_followed() {
    for (kind, inner) in KINDS {
        for status in [307, 308] {
            let inner = inner();
            let world = World::new(
                r#"{"mcpServers":{"up":{"url":"https://up.example/mcp?key=1"}}}"#,
                vec![
                    (
                        "https://up.example/mcp?key=1",
                        Box::new(move |_| Reply::Answer(status, vec![("location", "/mcp/?key=1".into())], vec![])),
                    ),
                    ("https://up.example/mcp/?key=1", inner),
                ],
            );
            for era in [Era::Legacy, Era::Modern] {
                let got = world.serve(era.call("/mcp", "up__echo")).text();
                assert!(got.contains("hi of echo"), "{kind} {status} {era:?}: {got}");
                world.sent();
                world.serve(era.call("/mcp", "up__echo"));
                assert_eq!(world.methods(), ["tools/call"], "{kind} {status} {era:?}: it is remembered");
            }
        }
    }
    for place in ["https://up.example/other", "https://evil.example/mcp/", "/mcp/x"] {
        let redirect: Upstream = Box::new(move |_| Reply::Answer(308, vec![("location", place.into())], vec![]));
        let world = World::with(redirect);
        let got = world.serve(Era::Modern.call("/mcp", "up__echo")).text();
        let shown = if place.starts_with('/') { ["https://up.example", place].concat() } else { place.to_owned() };
        assert!(got.contains(&shown), "{got}");
        assert!(world.sent().iter().all(|sent| sent.url == "https://up.example/mcp"), "nothing was sent elsewhere");
    }
}

/// R08: no request asks for a coding of its answer, and an answer that is coded all the same is called that.
#[test]
fn every_request_asks_for_no_coding_and_one_that_comes_is_named() {
    for (kind, inner) in KINDS {
        for media_type in ["application/json", "text/event-stream"] {
            for status in [200, 400] {
                let inner = inner();
                let world = World::with(Box::new(move |sent| match sent.body.contains("\"tools/call\"") {
                    true => Reply::Answer(
                        status,
                        vec![("content-type", media_type.into()), ("content-encoding", "gzip".into())],
                        vec![Piece::Bytes(b"\x1f\x8b\x08\0\0\0\0\0".to_vec())],
                    ),
                    false => inner(sent),
                }));
                for era in [Era::Legacy, Era::Modern] {
                    let got = world.serve(era.call("/mcp", "up__echo")).text();
                    let names = got.contains("its answer is gzip-coded");
                    assert_eq!(names, status == 200, "{kind} {media_type} {era:?}: {got}");
                }
                let sent = world.sent();
                assert!(sent.len() >= 3);
                for sent in sent {
                    assert_eq!(sent.header("accept-encoding"), Some("identity"), "{kind} {}", sent.body);
                }
            }
        }
    }
    // From the first answer on, as behind a proxy that packs everything.
    let packed: Upstream = Box::new(|_| {
        Reply::Answer(
            200,
            vec![("content-type", "application/json".into()), ("content-encoding", "br".into())],
            vec![Piece::Bytes(vec![1, 2, 3])],
        )
    });
    let world = World::with(packed);
    let got = world.serve(Era::Modern.call("/mcp", "up__echo")).text();
    assert!(got.contains("its answer is br-coded"), "{got}");
}

#[test]
fn a_token_that_is_refused_for_ever_costs_two_questions_of_the_broker() {
    let world =
        World::with_service(Box::new(|_| Reply::Answer(401, vec![], vec![])), [token("a"), token("b"), token("c")]);
    for era in [Era::Legacy, Era::Modern] {
        let before = world.asked.borrow().len();
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(got.json()["result"]["isError"], true, "{}", got.text());
        assert_eq!((world.asked.borrow().len() - before, world.sent().len()), (2, 2));
    }
}

/// A legacy server is told that nobody waits for its answer any more (2025-11-25, "Timeouts").
#[test]
fn a_legacy_server_hears_that_its_call_has_taken_too_long() {
    let replies: [fn() -> Reply; 4] = [
        || Reply::NeverAnswers,
        || Reply::Answer(504, vec![], vec![]),
        || events_reply(vec![]),
        || events_reply(vec![Piece::Bytes(vec![b'x'; 17 * 1024 * 1024])]),
    ];
    for is_modern in [false, true] {
        for reply in replies {
            for era in [Era::Legacy, Era::Modern] {
                let inner = if is_modern { modern(echo) } else { legacy(echo) };
                let called = Rc::new(RefCell::new(Value::Null));
                let id = called.clone();
                let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                    "tools/call" if is_modern || sent.header("mcp-session-id").is_some() => {
                        id.replace(sent.json()["id"].clone());
                        reply()
                    }
                    _ => inner(sent),
                }));
                assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("isError"));
                let sent = world.sent();
                let told: Vec<Value> = sent.iter().map(Sent::json).collect();
                let told = told.iter().filter(|message| message["method"] == "notifications/cancelled");
                let told: Vec<&Value> = told.map(|message| &message["params"]["requestId"]).collect();
                let expected = if is_modern { vec![] } else { vec![called.borrow().clone()] };
                assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{era:?} {is_modern}");
            }
        }
    }
}
