//! What upstreams ask of clients, and how the answers find their way back.

use super::upstreams::{echo, event, events_reply, json_reply, legacy, modern};
use super::*;
use http_auth::Hops;

pub const CAN: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;

/// The session of a legacy client that declared `capabilities`.
pub fn session(world: &World, capabilities: &str) -> String {
    let members = format!(r#""protocolVersion":"2025-11-25","capabilities":{capabilities}"#);
    let got = world.serve(Era::Legacy.request("/mcp", "initialize", &members));
    world.sent();
    got.header("mcp-session-id").unwrap().to_owned()
}

fn call(session: &str) -> Request<Vec<u8>> {
    with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", session)
}

pub fn post_message(session: &str, body: &str) -> Request<Vec<u8>> {
    with_header(with_body(Era::Legacy.list("/mcp"), body), "mcp-session-id", session)
}

pub fn modern_call(capabilities: &str) -> Request<Vec<u8>> {
    let request = Era::Modern.call("/mcp", "up__echo");
    let body = String::from_utf8(request.body().clone()).unwrap();
    let body = body.replace(r#"clientCapabilities":{}"#, &format!(r#"clientCapabilities":{capabilities}"#));
    with_body(request, &body)
}

/// Returns true for what a client answers to a request of its server.
pub fn is_answer(message: &Value) -> bool {
    message.is_object() && message["method"].is_null()
}

/// The messages in what was written so far.
pub fn messages(pieces: &[String]) -> Vec<Value> {
    let text = pieces.concat();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// A modern upstream that asks for a form and a sample before it answers, and then tells what it was given.
pub fn curious() -> Upstream {
    let inner = modern(echo);
    Box::new(move |sent| {
        let message = sent.json();
        if sent.method() != "tools/call" {
            return inner(sent);
        }
        let params = &message["params"];
        let result = match params["requestState"].as_str() {
            None => {
                let form = r#"{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{}},"x":1.0}}"#;
                let sample = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1e1}}"#;
                format!(r#"{{"resultType":"input_required","inputRequests":{{"f":{form},"s":{sample}}},"requestState":"first"}}"#)
            }
            Some("first") => r#"{"resultType":"input_required","inputRequests":{"l":{"method":"elicitation/create","params":{"mode":"url","url":"https://x.example","message":"Open"}}},"requestState":"second"}"#.into(),
            Some(_) => format!(r#"{{"resultType":"complete","content":[],"structuredContent":{}}}"#, params["inputResponses"]),
        };
        json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]))
    })
}

#[test]
fn what_a_modern_upstream_wants_is_asked_of_a_legacy_client_whose_answers_come_by_other_instances() {
    let world = World::with(curious());
    let session = session(&world, CAN);
    let mut answered = 0;
    let got = world.converse(call(&session), |pieces| {
        for asked in messages(pieces).iter().filter(|message| message["method"].is_string()).skip(answered) {
            answered += 1;
            let result = match asked["method"].as_str().unwrap() {
                "sampling/createMessage" => {
                    r#"{"role":"assistant","content":{"type":"text","text":"s"},"model":"m","n":1.0}"#
                }
                _ => r#"{"action":"accept","content":{"n":1e2}}"#,
            };
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked["id"]);
            assert_eq!(world.serve(post_message(&session, &answer)).status, 202);
        }
    });
    let events = got.events();
    assert_eq!((events.len(), answered), (4, 3));
    assert!(got.text().contains(r#""x":1.0"#) && got.text().contains(r#""maxTokens":1e1"#), "asked as it was asked");
    assert_eq!(events[2]["params"]["mode"], "url");
    assert_eq!(events[2]["params"]["elicitationId"], events[2]["id"], "a link needs a name in this era");
    assert_eq!(events[3]["result"]["structuredContent"]["l"]["action"], "accept");
    assert!(events[3]["result"]["resultType"].is_null() && got.finished);
    let sent = world.sent();
    assert_eq!(sent.len(), 3, "one request for each round");
    let ids: BTreeMap<String, ()> = sent.iter().map(|sent| (sent.json()["id"].to_string(), ())).collect();
    assert_eq!(ids.len(), 3, "each with an id of its own");
    assert!(
        sent[1].body.contains(r#""s":{"role":"assistant","content":{"type":"text","text":"s"},"model":"m","n":1.0}"#)
    );
    assert_eq!(sent[1].json()["params"]["requestState"], "first");
    let declared = &sent[0].json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        *declared,
        serde_json::from_str::<Value>(r#"{"sampling":{"tools":{}},"roots":{},"elicitation":{"form":{},"url":{}}}"#)
            .unwrap()
    );
    assert!(world.store.borrow().keys().all(|key| !key.starts_with("g.w.")), "no letter is left behind");
}

#[test]
fn a_client_that_refuses_or_never_answers_ends_the_call_in_bounded_time() {
    let world = World::with(curious());
    let session = session(&world, CAN);
    let got = world.converse(call(&session), |pieces| {
        for asked in messages(pieces).iter().filter(|message| message["method"].is_string()) {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"no"}}}}"#, asked["id"]);
            world.serve(post_message(&session, &answer));
        }
    });
    assert_eq!(got.events().last().unwrap()["result"]["isError"], true);
    let got = world.serve(call(&session));
    let last = got.events().pop().unwrap();
    assert!(last["result"]["content"][0]["text"].as_str().unwrap().contains("no answer came"), "{last}");
    assert!(world.elapsed() < Duration::from_secs(11 * 60));
}

#[test]
fn a_client_is_never_asked_for_what_it_did_not_offer() {
    for capabilities in ["{}", r#"{"elicitation":{}}"#, r#"{"sampling":{}}"#] {
        let world = World::with(curious());
        let session = session(&world, capabilities);
        let got = world.converse(call(&session), |pieces| {
            assert!(!pieces.concat().contains("sampling/createMessage") || capabilities.contains("sampling"));
        });
        assert!(got.text().contains("has not offered to give"), "{}", got.text());
    }
    // Nor where its answer could not be waited for.
    let world = World::with(curious());
    let session = session(&world, CAN);
    let got = world.serve(with_header(call(&session), "accept", "application/json"));
    assert_eq!(got.json()["result"]["isError"], true);
}

/// A legacy upstream that asks before it answers, and says what it is told.
fn asking(pieces: fn(&str) -> Vec<Piece>) -> Upstream {
    let inner = legacy(echo);
    Box::new(move |sent| match sent.method().as_str() {
        "tools/call" if sent.header("mcp-session-id").is_some() => events_reply(pieces(&sent.json()["id"].to_string())),
        _ => inner(sent),
    })
}

#[test]
fn what_a_legacy_upstream_asks_passes_and_its_answer_goes_straight_to_it() {
    fn asks(id: &str) -> Vec<Piece> {
        vec![
            event(
                r#"{"jsonrpc":"2.0","id":"a:\"1","method":"elicitation/create","params":{"message":"Who?","x":1.0}}"#,
            ),
            Piece::Wait(Duration::from_secs(3)),
            event(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a:\"1"}}"#),
            event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)),
        ]
    }
    let world = World::with(asking(asks));
    let session = session(&world, CAN);
    let mut answered = false;
    let got = world.converse(call(&session), |pieces| {
        if let Some(asked) = messages(pieces).first().filter(|_| !std::mem::replace(&mut answered, true)) {
            let answer = format!(
                r#"{{"result":{{"action":"accept","content":{{"n":1e0}}}},"id":{},"jsonrpc":"2.0"}}"#,
                asked["id"]
            );
            world.sent();
            assert_eq!(world.serve(post_message(&session, &answer)).status, 202);
            let sent = world.sent();
            assert_eq!(sent.len(), 1);
            assert_eq!(
                sent[0].body,
                r#"{"result":{"action":"accept","content":{"n":1e0}},"id":"a:\"1","jsonrpc":"2.0"}"#
            );
            assert_eq!(sent[0].header("mcp-session-id"), Some("session-1"), "in the session in which it was asked");
        }
    });
    let events = got.events();
    assert!(got.text().contains(r#""params":{"message":"[up] Who?","x":1.0}"#));
    assert_eq!(events[1]["params"]["requestId"], events[0]["id"], "and it can be taken back");
    assert_eq!(events[2]["result"]["content"], serde_json::json!([]));
}

#[test]
fn each_legacy_upstream_is_told_what_its_client_can_be_asked_for_and_has_a_session_for_it() {
    let world = World::with(legacy(echo));
    // Who comes first meets the server.
    session(&world, "{}");
    let (can, cannot) = (session(&world, CAN), session(&world, "{}"));
    for (session, expected) in [(&can, serde_json::from_str(CAN).unwrap()), (&cannot, serde_json::json!({}))] {
        world.serve(call(session));
        let sent = world.sent();
        let opened = sent.iter().find(|sent| sent.method() == "initialize").unwrap();
        assert_eq!(opened.json()["params"]["capabilities"], expected);
    }
    // The server of the test keeps only the latest session alive.
    world.serve(call(&can));
    assert!(world.methods().contains(&"initialize".to_owned()), "not the session of the other");
    world.serve(call(&can));
    assert_eq!(world.methods(), ["tools/call"]);
}

#[test]
fn what_an_upstream_must_not_ask_is_refused_for_the_client_so_that_it_does_not_wait() {
    fn asks(id: &str) -> Vec<Piece> {
        vec![
            event(r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#),
            event(r#"{"jsonrpc":"2.0","id":8,"method":"ping"}"#),
            event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)),
        ]
    }
    let world = World::with(asking(asks));
    let session = session(&world, r#"{"elicitation":{}}"#);
    for request in [call(&session), modern_call(r#"{"elicitation":{}}"#)] {
        let got = world.serve(request);
        assert!(!got.text().contains("sampling"), "{}", got.text());
        let told: Vec<Value> = world.sent().iter().map(Sent::json).filter(is_answer).collect();
        assert_eq!((&told[0]["id"], &told[0]["error"]["code"]), (&7.into(), &(-32601).into()));
        assert_eq!(told[1], serde_json::json!({"jsonrpc": "2.0", "id": 8, "result": {}}));
    }
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let world = World::with(legacy(echo));
    let session = session(&world, CAN);
    for id in ["1", r#""gh:nobody:1""#, r#""gh:up:{}""#, r#""gh.x""#, "null"] {
        let got = world.serve(post_message(&session, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)));
        assert_eq!((got.status, got.text()), (202, String::new()), "{id}");
        assert_eq!(world.sent().len(), 0, "{id}");
    }
}

#[test]
fn a_link_that_a_legacy_upstream_requires_is_asked_for_in_the_modern_form_and_the_call_made_again() {
    let inner = legacy(echo);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" if sent.header("mcp-session-id").is_some() => {
            let body = sent.json();
            assert!(body["params"]["inputResponses"].is_null() && body["params"]["requestState"].is_null());
            let data =
                r#"{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x.example","message":"Open"}]}"#;
            json_reply(
                200,
                format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32042,"message":"m","data":{data}}}}}"#,
                    body["id"]
                ),
            )
        }
        _ => inner(sent),
    }));
    let result = world.serve(modern_call(CAN)).json()["result"].clone();
    assert_eq!(result["resultType"], "input_required");
    let asked = serde_json::json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://x.example", "message": "[up] Open"}});
    assert_eq!(result["inputRequests"]["link0"], asked);
    let again = String::from_utf8(modern_call(CAN).body().clone()).unwrap();
    let again =
        again.replace(r#""name":"#, r#""inputResponses":{"link0":{"action":"accept"}},"requestState":"x","name":"#);
    world.serve(with_body(modern_call(CAN), &again));
    assert_eq!(world.serve(modern_call("{}")).error(), (OK, -32603), "to who cannot be shown it, an error");
    let session = session(&world, CAN);
    assert_eq!(world.serve(call(&session)).error(), (OK, -32042), "its own era's passes");
}

#[test]
fn a_cancelled_call_ends_without_an_answer_and_the_upstream_hears_of_it() {
    fn slow(id: &str) -> Vec<Piece> {
        vec![Piece::Wait(Duration::from_secs(60)), event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))]
    }
    let cases: [(Upstream, bool); 3] = [
        (asking(slow), true),
        (
            {
                let inner = legacy(echo);
                Box::new(move |sent| {
                    if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
                        Reply::NeverAnswers
                    } else {
                        inner(sent)
                    }
                })
            },
            true,
        ),
        (
            {
                let inner = modern(echo);
                Box::new(move |sent| if sent.method() == "tools/call" { Reply::NeverAnswers } else { inner(sent) })
            },
            false,
        ),
    ];
    for (upstream, is_told) in cases {
        let world = World::with(upstream);
        let session = session(&world, "{}");
        let mut said = false;
        let before = world.elapsed();
        let got = world.converse(call(&session), |_| {
            if !std::mem::replace(&mut said, true) {
                let cancel =
                    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"bored"}}"#;
                assert_eq!(world.serve(post_message(&session, cancel)).status, 202);
            }
        });
        assert_eq!((got.events().len(), got.finished), (0, true));
        assert!(world.elapsed() - before < Duration::from_secs(10));
        let sent: Vec<Value> = world.sent().iter().map(Sent::json).collect();
        let called = sent.iter().find(|sent| sent["method"] == "tools/call").unwrap();
        let told: Vec<&Value> = sent.iter().filter(|sent| sent["method"] == "notifications/cancelled").collect();
        assert_eq!(told.len(), usize::from(is_told));
        assert!(told.iter().all(|told| told["params"]["requestId"] == called["id"]), "by the id that it knows");
    }
}

#[test]
fn a_call_that_never_pauses_is_cancelled_too() {
    fn busy(_: &str) -> Vec<Piece> {
        let progress = || {
            event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#)
        };
        (0..600).flat_map(|_| [progress(), Piece::Wait(Duration::from_millis(900))]).collect()
    }
    let world = World::with(asking(busy));
    let session = session(&world, "{}");
    let mut said = false;
    let got = world.converse(with_progress(call(&session)), |_| {
        if !std::mem::replace(&mut said, true) {
            let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
            world.serve(post_message(&session, cancel));
        }
    });
    assert!(got.events().len() < 10 && got.finished, "{} events", got.events().len());
}

#[test]
fn another_clients_cancellation_is_another_requests() {
    fn slow(id: &str) -> Vec<Piece> {
        vec![
            Piece::Wait(Duration::from_secs(20)),
            event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)),
        ]
    }
    let world = World::with(asking(slow));
    let (mine, other) = (session(&world, "{}"), session(&world, "{}"));
    let got = world.converse(call(&mine), |_| {
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        world.serve(post_message(&other, cancel));
    });
    assert_eq!(got.events().len(), 1);
}

#[test]
fn a_modern_clients_disconnect_cancels_at_a_legacy_upstream_and_a_legacy_clients_does_not() {
    fn slow(_: &str) -> Vec<Piece> {
        vec![Piece::Wait(Duration::from_secs(600))]
    }
    for (era, cancelled) in [(Era::Modern, 1), (Era::Legacy, 0)] {
        let world = World::with(asking(slow));
        let got = world.serve_until(era.call("/mcp", "up__echo"), 1);
        assert!(!got.finished && world.elapsed() < Duration::from_secs(60), "found out by a sign of life");
        let told = world.methods().iter().filter(|method| *method == "notifications/cancelled").count();
        assert_eq!(told, cancelled, "{era:?}");
    }
}

#[test]
fn log_levels_are_each_eras_own_way_of_asking() {
    let says = r#"{"logging":{},"tools":{}}"#;
    // Modern: with every request, as the legacy client has set it, or as legacy servers would say of their own accord.
    let world = World::with(super::upstreams::modern_that_can(says, echo));
    let session = session(&world, "{}");
    let level = |world: &World| {
        world.serve(call(&session));
        let sent = world.sent().pop().unwrap();
        sent.json()["params"]["_meta"]["io.modelcontextprotocol/logLevel"].as_str().map(str::to_owned)
    };
    assert_eq!(level(&world).as_deref(), Some("info"));
    let set = |level: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#);
        post_message(&session, &body)
    };
    assert_eq!(world.serve(set("error")).text(), r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    assert_eq!(level(&world).as_deref(), Some("error"));
    assert_eq!(world.serve(set("loud")).error(), (OK, -32602));
    // Legacy: told once, and again in a new session.
    fn levels(method: &str, params: &Value) -> String {
        if method == "logging/setLevel" { "{}".into() } else { echo(method, params) }
    }
    let sessions = Rc::new(Cell::new(0));
    let world = World::with(super::upstreams::legacy_that_can(says, levels, sessions.clone(), 404));
    let session = self::session(&world, "{}");
    let set = |level: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#);
        post_message(&session, &body)
    };
    world.serve(set("error"));
    assert_eq!(world.sent().pop().unwrap().json()["params"]["level"], "error");
    sessions.set(7);
    world.serve(call(&session));
    let sent = world.sent();
    assert!(sent.iter().any(|sent| sent.method() == "logging/setLevel" && sent.json()["params"]["level"] == "error"));
}

#[test]
fn a_modern_client_hears_logs_from_the_level_on_that_it_asked_for() {
    fn logs(id: &str) -> Vec<Piece> {
        let log = |level: &str| {
            event(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":1.0}}}}"#
            ))
        };
        vec![log("info"), log("error"), log("odd"), event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))]
    }
    let world = World::with(asking(logs));
    let heard = |level: &str| {
        let body = String::from_utf8(modern_call("{}").body().clone()).unwrap();
        let body = body.replace(r#""_meta":{"#, &format!(r#""_meta":{{{level}"#));
        let got = world.serve(with_body(modern_call("{}"), &body));
        got.text().matches("notifications/message").count()
    };
    assert_eq!(heard(""), 0);
    assert_eq!(heard(r#""io.modelcontextprotocol/logLevel":"warning","#), 1);
    assert_eq!(heard(r#""io.modelcontextprotocol/logLevel":"debug","#), 2);
}

#[test]
fn roots_that_changed_are_told_to_the_legacy_servers_that_are_known() {
    let world = World::with(legacy(echo));
    let session = session(&world, r#"{"roots":{"listChanged":true}}"#);
    let news = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","x":1.0}"#;
    world.serve(post_message(&session, news));
    assert_eq!(world.sent()[0].body, news);
}

#[test]
fn a_task_is_asked_about_at_the_server_that_runs_it() {
    fn runs(method: &str, params: &Value) -> String {
        match method {
            "tools/call" => r#"{"resultType":"task","taskId":"7__x","status":"working","ttlMs":1e3}"#.into(),
            "tasks/get" => format!(r#"{{"resultType":"complete","taskId":{},"status":"completed"}}"#, params["taskId"]),
            _ => String::new(),
        }
    }
    let can = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let world = World::with(modern(runs));
    let got = world.serve(modern_call(can));
    assert!(got.text().contains(r#""taskId":"up__7__x","status":"working","ttlMs":1e3"#), "{}", got.text());
    let request = Era::Modern.request("/mcp", "tasks/get", r#""taskId":"up__7__x""#);
    let body = String::from_utf8(request.body().clone()).unwrap();
    let body = body.replace(r#"clientCapabilities":{}"#, &format!(r#"clientCapabilities":{can}"#));
    let got = world.serve(with_body(request, &body));
    assert_eq!(got.json()["result"]["taskId"], "up__7__x");
    let sent = world.sent().pop().unwrap();
    assert_eq!((sent.header("mcp-name"), &sent.json()["params"]["taskId"]), (Some("7__x"), &"7__x".into()));
    let own = world.serve(Era::Modern.request("/mcp/up", "tasks/get", r#""taskId":"7__x""#));
    assert_eq!(own.json()["result"]["taskId"], "7__x", "on its own route an id is the server's own");
}

#[test]
fn a_letter_is_read_by_whom_it_is_for_alone_and_once() {
    let world = World::with(legacy(echo));
    let caller = Caller {
        subject: "alice".into(),
        expires_at: None,
        sealing_key: vec![7; 32],
        hops: Hops::default(),
        met: Met::default(),
    };
    let another = Caller { subject: "bob".into(), ..caller.clone() };
    let fetch = |caller: &Caller, to: &str| crate::letters::fetch(&world, caller, to);
    // More names than there are places: some share one.
    let names: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    crate::letters::post(&world, &caller, "7", "word");
    assert!(names.iter().filter(|name| *name != "7").all(|name| fetch(&caller, name).is_none()));
    assert_eq!(fetch(&another, "7"), None);
    assert_eq!((fetch(&caller, "7").as_deref(), fetch(&caller, "7")), (Some("word"), None));
    for name in &names {
        crate::letters::post(&world, &caller, name, "word");
    }
    assert!(world.store.borrow().len() <= 256, "what nobody fetches does not add up");
    world.pass(11 * 60);
    assert!(names.iter().all(|name| fetch(&caller, name).is_none()), "nor is it believed for ever");
}
