//! What a legacy server asks outside of the call's own stream, and how it reaches a modern client.

use serde_json::json;

use super::asking::{CAN, is_answer, modern_call};
use super::asks_on_get::{ASKS, Form, Server};
use super::upstreams::{echo, error, event, events_reply, legacy_stateless};
use super::*;
use crate::call_sessions::Slot;
use crate::config::Config;
use crate::session::{Capabilities, ClientEra, Profile};
use crate::upstream::Link;

/// What `request` gets beside others that go on.
fn answer<'w>(world: &'w World, others: &mut Vec<Serving<'w>>, request: Request<Vec<u8>>) -> Got {
    others.push(world.begin(request));
    let mut got = None;
    world.go_on(others, |all| {
        got = got.take().or_else(|| all.last().unwrap().got());
        got.is_some()
    });
    got.expect("it got no answer")
}

fn again(state: &str, answers: &str) -> Request<Vec<u8>> {
    let call = modern_call(CAN);
    let body = String::from_utf8(call.body().clone()).unwrap();
    let more = format!(r#""inputResponses":{answers},"requestState":"{state}","name":"#);
    with_body(call, &body.replace(r#""name":"#, &more))
}

const ALICE: &str = r#"{"7":{"action":"accept","content":{"name":"Alice"}}}"#;

fn last(got: &Got) -> Value {
    if got.whole { got.json() } else { got.events().pop().unwrap() }
}

/// A whole call: asked, and made again with the answer. Lets what holds it end.
fn whole_call(world: &World) -> Value {
    let mut all = Vec::new();
    let asked = answer(world, &mut all, modern_call(CAN)).json()["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let state = asked["requestState"].as_str().unwrap();
    let got = answer(world, &mut all, again(state, ALICE));
    world.go_on(&mut all, |_| false);
    last(&got)["result"].clone()
}

/// R44: `server.server.elicitInput` of the TypeScript SDK 1.
#[test]
fn r44_what_a_legacy_server_asks_on_its_get_stream_is_asked_of_a_modern_client() {
    for form in [Form::Events, Form::Json, Form::Late] {
        let server = Server::that_says(&[ASKS]);
        server.form.set(form);
        let world = server.world();
        let mut all = Vec::new();
        let asked = answer(&world, &mut all, modern_call(CAN)).json()["result"].clone();
        assert_eq!(
            asked["inputRequests"],
            json!({"7": {"method": "elicitation/create", "params": {"message": "[up] Who?"}}})
        );
        world.sent();
        let got = answer(&world, &mut all, again(asked["requestState"].as_str().unwrap(), ALICE));
        assert_eq!(last(&got)["result"]["structuredContent"]["got"][0]["result"]["content"]["name"], "Alice");
        let told = world.sent();
        assert_eq!(told.len(), 1, "the answer alone: {told:?}");
        let own = server.streams.borrow().keys().last().cloned();
        assert_eq!(told[0].header("mcp-session-id"), own.as_deref(), "in the session in which it was asked");
        world.go_on(&mut all, |_| false);
        assert!(!server.is_ended(&own.unwrap()), "and that one can be used again");
    }
}

/// R44: a warm call is one POST and one GET; one POST alone if the server has no such stream, or the client cannot be asked.
#[test]
fn r44_a_warm_call_costs_one_get_more_if_something_may_be_asked() {
    let server = Server::that_says(&[]);
    let world = server.world();
    world.serve(modern_call(CAN));
    let opened = server.opened.get();
    for _ in 0..3 {
        world.sent();
        world.serve(modern_call(CAN));
        assert_eq!(world.methods(), ["", "tools/call"]);
    }
    assert_eq!(server.opened.get(), opened, "in one session");
    world.serve(modern_call("{}"));
    world.sent();
    world.serve(modern_call("{}"));
    assert_eq!(world.methods(), ["tools/call"]);
    let completion = Era::Modern.request("/mcp/up", "completion/complete", r#""ref":{"type":"ref/prompt","name":"p"}"#);
    let body = String::from_utf8(completion.body().clone()).unwrap();
    let body = body.replace(r#"clientCapabilities":{}"#, &format!(r#"clientCapabilities":{CAN}"#));
    world.serve(with_body(completion, &body));
    assert_eq!(world.methods(), ["completion/complete"], "it cannot be answered with a question");

    // A server that answers GET by 405 is not asked again for a day.
    let world = World::with(super::upstreams::legacy(echo));
    world.serve(modern_call(CAN));
    let methods = world.methods();
    assert_eq!(methods.iter().filter(|method| *method == "initialize").count(), 1, "{methods:?}");
    assert_eq!(methods[methods.len() - 2..], ["", "tools/call"]);
    for (seconds, sent) in [(0, vec!["tools/call"]), (23 * 60 * 60, vec!["tools/call"])] {
        world.pass(seconds);
        world.serve(modern_call(CAN));
        assert_eq!(world.methods(), sent);
    }
    world.pass(2 * 60 * 60);
    world.serve(modern_call(CAN));
    assert!(world.methods().contains(&String::new()));
}

/// R44: a server that keeps no sessions has one stream for everyone: whose its questions are could not be told.
#[test]
fn r44_a_server_without_sessions_is_not_listened_to() {
    let world = World::with(legacy_stateless(echo));
    for _ in 0..2 {
        world.serve(modern_call(CAN));
    }
    assert!(!world.methods().contains(&String::new()));
}

/// R44: calls at once have sessions of their own, four at most. What is asked in a session that more share is refused.
#[test]
fn r44_calls_at_once_have_sessions_of_their_own_and_the_fifth_is_not_asked() {
    let server = Server::that_says(&[ASKS]);
    let world = server.world();
    let mut all = Vec::new();
    for _ in 0..4 {
        let got = answer(&world, &mut all, modern_call(CAN)).json();
        assert_eq!(got["result"]["resultType"], "input_required");
    }
    let mut sessions: Vec<String> = server.calls.borrow().iter().map(|(session, _)| session.clone()).collect();
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 4);
    let fifth = answer(&world, &mut all, modern_call(CAN)).json()["result"].clone();
    let told = &fifth["structuredContent"]["got"][0]["error"];
    assert!(told["code"] == -32603 && told["message"].as_str().unwrap().contains("cannot be told"), "{fifth}");
    assert!(server.opened.get() <= 5, "four, and the one that is shared: {}", server.opened.get());
    assert_eq!(world.store.borrow().keys().filter(|key| key.starts_with("g.c.")).count(), 4);
}

/// R44: calls one after the other are made in one session, so that what they do there is not lost.
#[test]
fn r44_calls_one_after_the_other_share_a_session() {
    let server = Server::that_says(&[ASKS]);
    let world = server.world();
    let mut used = Vec::new();
    for _ in 0..3 {
        let mut all = Vec::new();
        let asked = answer(&world, &mut all, modern_call(CAN)).json()["result"].clone();
        used.push(server.calls.borrow()[0].0.clone());
        answer(&world, &mut all, again(asked["requestState"].as_str().unwrap(), ALICE));
        server.answers.borrow_mut().clear();
        // What holds the last call goes on meanwhile.
        std::mem::forget(all);
    }
    used.dedup();
    assert_eq!(used.len(), 1, "{used:?}");
}

/// R44: the slot of a call that was killed is free after a minute, and without its session, in which that call may go on.
#[test]
fn r44_the_session_of_a_call_that_was_killed_is_not_used_again() {
    let server = Server::that_says(&[ASKS]);
    let world = server.world();
    let mut killed = Vec::new();
    answer(&world, &mut killed, modern_call(CAN));
    let first = server.calls.borrow()[0].0.clone();
    drop(killed);
    server.says.borrow_mut().clear();
    world.serve(modern_call(CAN));
    assert_ne!(server.calls.borrow().last().map(|(session, _)| session), None);
    assert!(!server.is_ended(&first), "it may only be slow");
    // All four slots, so that the first one is needed.
    let mut others = Vec::new();
    server.says.borrow_mut().push(ASKS.to_owned());
    for _ in 0..3 {
        answer(&world, &mut others, modern_call(CAN));
    }
    world.pass(61);
    others.clear();
    server.says.borrow_mut().clear();
    server.calls.borrow_mut().clear();
    world.serve(modern_call(CAN));
    assert!(server.is_ended(&first), "{:?}", server.alive.borrow());
}

/// R44: what holds a call says that it has its slot, for as long as that takes.
#[test]
fn r44_a_call_that_takes_long_keeps_its_session() {
    let server = Server::that_says(&[ASKS]);
    let world = server.world();
    let mut all = Vec::new();
    let asked = answer(&world, &mut all, modern_call(CAN)).json()["result"].clone();
    let first = server.calls.borrow()[0].0.clone();
    let until = world.elapsed() + Duration::from_secs(300);
    world.go_on(&mut all, |_| world.elapsed() >= until);
    answer(&world, &mut all, modern_call(CAN));
    assert_ne!(server.calls.borrow()[1].0, first);
    let got = answer(&world, &mut all, again(asked["requestState"].as_str().unwrap(), ALICE));
    assert!(got.text().contains("Alice"), "{}", got.text());
}

/// R44: a call says so while the server says nothing, too.
#[test]
fn r44_a_call_in_which_nothing_is_said_keeps_its_session() {
    let server = Server::that_says(&[]);
    server.is_silent.set(true);
    let world = server.world();
    let mut all: Vec<_> = (0..4).map(|_| world.begin(modern_call(CAN))).collect();
    let until = world.elapsed() + Duration::from_secs(150);
    world.go_on(&mut all, |_| world.elapsed() >= until);
    let used: Vec<String> = server.calls.borrow().iter().map(|(session, _)| session.clone()).collect();
    all.push(world.begin(modern_call(CAN)));
    world.go_on(&mut all, |_| server.calls.borrow().len() == 5);
    assert_eq!(used.len(), 4);
    assert!(used.iter().all(|session| !server.is_ended(session)), "{used:?}");
    let fifth = server.calls.borrow()[4].0.clone();
    assert!(!used.contains(&fifth), "{fifth}");
}

/// R44: so does a call whose client leaves while its session is opened.
#[test]
fn r44_a_client_that_leaves_before_its_call_is_sent_holds_no_session() {
    let server = Server::that_says(&[]);
    let inner = server.clone();
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "initialize" if inner.opened.get() == 1 => Reply::Slow(Duration::from_secs(30), Box::new(inner.serve(sent))),
        _ => inner.serve(sent),
    }));
    world.serve_until(modern_call(CAN), 1);
    assert!(world.elapsed() < Duration::from_secs(20));
    assert!(!world.store.borrow().keys().any(|key| key.starts_with("g.c.")));
    assert!(server.calls.borrow().is_empty());
}

/// R44: a call that ends without an answer takes its session with it: the server may still ask there.
#[test]
fn r44_a_client_that_leaves_has_cancelled_and_its_session_is_ended() {
    let server = Server::that_says(&[]);
    server.is_silent.set(true);
    let world = server.world();
    world.serve_until(modern_call(CAN), 1);
    let session = server.calls.borrow().first().map(|(session, _)| session.clone()).unwrap();
    assert!(server.is_ended(&session));
    assert!(world.methods().contains(&"notifications/cancelled".to_owned()));
    assert!(!world.store.borrow().keys().any(|key| key.starts_with("g.c.")));
}

/// R44: a session that was lost, and a stream that the server still takes for open.
#[test]
fn r44_a_lost_session_is_opened_again_and_a_stream_that_is_seen_late_waited_for() {
    let server = Server::that_says(&[ASKS]);
    let world = server.world();
    assert_eq!(whole_call(&world)["structuredContent"]["got"][0]["id"], 7);
    let opened = server.opened.get();
    server.blind.set(2);
    whole_call(&world);
    assert_eq!(server.opened.get(), opened, "a little later the stream is free");
    server.blind.set(20);
    whole_call(&world);
    assert_eq!(server.opened.get(), opened + 1, "a session whose stream does not become free is replaced");
    server.blind.set(0);
    server.alive.borrow_mut().clear();
    whole_call(&world);
    assert!(server.opened.get() > opened + 1);
}

/// R44: a token that is renewed gives the call its session back.
#[test]
fn r44_a_call_is_made_again_with_a_new_token() {
    let server = Server::that_says(&[ASKS]);
    let inner = server.clone();
    let upstream: Upstream = Box::new(move |sent| match sent.header("authorization") {
        Some("Bearer old") if sent.method() == "tools/call" => Reply::Answer(401, vec![], vec![]),
        _ => inner.serve(sent),
    });
    let world = World::with_service(upstream, [token("old"), token("new")]);
    let got = answer(&world, &mut Vec::new(), modern_call(CAN)).json();
    assert_eq!(got["result"]["resultType"], "input_required", "{got}");
    assert_eq!(
        server.opened.get(),
        3,
        "the shared one, that of the call, and one that tells a lost session from a 401"
    );
}

/// R44: what else is said there is what a client of that era would hear, as far as it is about the call.
#[test]
fn r44_what_else_is_said_outside_of_the_call_passes_or_is_answered() {
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let progress = |token: u32| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    let server = Server::that_says(&[
        log,
        &progress(1),
        &progress(2),
        r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":4,"method":"acme/ask"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
        "no JSON",
    ]);
    let world = server.world();
    world.serve(Era::Modern.list("/mcp"));
    world.sent();
    let call = with_progress(modern_call(CAN));
    let level = r#""io.modelcontextprotocol/logLevel":"debug","#;
    let body =
        String::from_utf8(call.body().clone()).unwrap().replace(r#""_meta":{"#, &[r#""_meta":{"#, level].concat());
    let got = world.serve(with_body(call, &body)).events();
    let said: Vec<_> = got.iter().filter_map(|message| message["method"].as_str()).collect();
    assert_eq!(said, ["notifications/message", "notifications/progress"]);
    assert_eq!(got[1]["params"]["progressToken"], 1);
    let answers = got[2]["result"]["structuredContent"]["got"].clone();
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!({}), &json!(-32601)));
    assert!(world.sent().iter().any(|sent| is_answer(&sent.json())));
}

/// R44: a stream that ends while the call goes on is opened again.
#[test]
fn r44_a_stream_that_ends_is_opened_again() {
    let server = Server::that_says(&[ASKS]);
    server.ends.set(Some(Duration::from_secs(5)));
    let world = server.world();
    // The stream that only shows that there is one.
    world.serve(Era::Modern.list("/mcp"));
    let mut all = Vec::new();
    let got = answer(&world, &mut all, modern_call(CAN));
    assert_eq!(got.text().matches("Who?").count(), 1);
    server.ends.set(Some(Duration::from_secs(5)));
    let got = answer(&world, &mut all, modern_call(CAN));
    assert!(got.text().contains("Who?"), "{}", got.text());
}

/// R44: a question that was asked between two streams is not lost if the server gives ids.
#[test]
fn r44_a_stream_that_is_opened_again_goes_on_after_the_last_event() {
    for (busy, resumes) in [(0, true), (2, true), (0, false)] {
        let server = Server::that_says(&[ASKS]);
        let (inner, opened) = (server.clone(), Cell::new(0));
        let last = Rc::new(RefCell::new(Vec::new()));
        let asked = last.clone();
        let world = World::with(Box::new(move |sent| {
            let is_stream = sent.body.is_empty() && sent.header("accept") == Some("text/event-stream");
            if !is_stream || inner.calls.borrow().is_empty() {
                return match is_stream && inner.opened.get() > 1 {
                    true => events_reply(vec![
                        Piece::Bytes(b"id: e1\ndata:\n\n".to_vec()),
                        Piece::Wait(Duration::from_secs(5)),
                    ]),
                    false => inner.serve(sent),
                };
            }
            asked.borrow_mut().push(sent.header("last-event-id").map(str::to_owned));
            opened.set(opened.get() + 1);
            match sent.header("last-event-id") {
                _ if opened.get() <= busy => Reply::Answer(409, vec![], vec![]),
                Some(_) if !resumes => Reply::Answer(400, vec![], vec![]),
                _ => events_reply(vec![event(ASKS), Piece::Wait(Duration::from_secs(9999))]),
            }
        }));
        let got = answer(&world, &mut Vec::new(), modern_call(CAN));
        assert!(got.text().contains("Who?"), "{busy} {resumes}: {}", got.text());
        let last = last.borrow();
        assert!(last.len() <= busy + 2 && last[0].as_deref() == Some("e1"), "{busy} {resumes}: {last:?}");
    }
}

/// R44: of two calls that take one slot at once, one has it. The other sees that before it is sent.
#[test]
fn r44_of_two_that_take_one_slot_at_once_one_has_it() {
    let world = Server::that_says(&[]).world();
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#;
    let config = Config::read(file).unwrap();
    let server = config.entries()[0].server().unwrap();
    let caller = Caller {
        subject: "alice".into(),
        expires_at: None,
        sealing_key: vec![7; 32],
        hops: Default::default(),
        met: Met::default(),
    };
    let profile = Profile { can: Capabilities::ROOTS, client: ClientEra::Modern };
    let link = Link { server: &server, token: None, caller: &caller, profile };
    let before = world.store.borrow().clone();
    let one = Slot::take(&world, link).unwrap();
    *world.store.borrow_mut() = before;
    let other = Slot::take(&world, link).unwrap();
    assert!(!one.is_kept(&world, link) && other.is_kept(&world, link));
    one.release(&world, link);
    assert!(other.is_kept(&world, link), "it gives back nothing that it does not have");
    for _ in 0..3 {
        assert!(Slot::take(&world, link).is_some());
    }
    assert!(Slot::take(&world, link).is_none(), "there are four");
}

/// R44: clients that can be asked for something else do not use the session, and there are four all the same.
#[test]
fn r44_a_session_serves_clients_that_can_be_asked_for_the_same() {
    let server = Server::that_says(&[]);
    let world = server.world();
    for can in [CAN, r#"{"roots":{}}"#, r#"{"elicitation":{}}"#, r#"{"sampling":{}}"#, r#"{"roots":{},"sampling":{}}"#]
    {
        world.serve(modern_call(can));
        let sessions: Vec<Value> =
            world.sent().iter().filter(|sent| sent.method() == "initialize").map(Sent::json).collect();
        assert_eq!(sessions.len(), 2, "the shared one, and that of the call");
        assert_eq!(sessions[0]["params"]["capabilities"], sessions[1]["params"]["capabilities"]);
    }
    assert_eq!(server.alive.borrow().len(), 5 + 4, "the fifth has ended the first");
}

/// R44: a server that opens one session alone is called in it, as before.
#[test]
fn r44_a_server_that_opens_no_second_session_is_called_in_the_first() {
    let server = Server::that_says(&[]);
    let inner = server.clone();
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "initialize" if inner.opened.get() == 1 => error(400, &Value::Null, -32600),
        _ => inner.serve(sent),
    }));
    assert_eq!(world.serve(modern_call(CAN)).json()["result"]["resultType"], "complete");
    world.sent();
    world.serve(modern_call(CAN));
    assert_eq!(world.methods(), ["tools/call"], "that is remembered");
}

/// R44: a server that fails once is asked for a session again.
#[test]
fn r44_a_server_that_fails_to_open_a_second_session_once_is_asked_again() {
    for status in [500, 502] {
        let server = Server::that_says(&[]);
        let (inner, failed) = (server.clone(), Cell::new(false));
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "initialize" if inner.opened.get() == 1 && !failed.replace(true) => Reply::Answer(status, vec![], vec![]),
            _ => inner.serve(sent),
        }));
        assert_eq!(world.serve(modern_call(CAN)).json()["result"]["resultType"], "complete", "{status}");
        world.sent();
        world.serve(modern_call(CAN));
        assert!(world.methods().contains(&"initialize".to_owned()), "{status}");
    }
}

/// R44: a proxy that gives up does not show that the server has.
#[test]
fn r44_a_call_that_a_proxy_has_given_up_takes_its_session_with_it() {
    for (status, ends) in [(500, false), (502, true), (504, true)] {
        let server = Server::that_says(&[]);
        let inner = server.clone();
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => Reply::Answer(status, vec![], vec![]),
            _ => inner.serve(sent),
        }));
        world.serve(modern_call(CAN));
        assert_eq!(server.is_ended("session-2"), ends, "{status}");
    }
}
