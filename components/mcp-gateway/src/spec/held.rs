//! What a legacy upstream asks in the middle of a call, and how a modern client answers.

use std::pin::Pin;
use std::task::Poll;

use super::asking::{CAN, is_answer, modern_call};
use super::upstreams::{echo, event, events_reply, legacy};
use super::*;
use crate::shelf::Shelf;

type Answers = Rc<RefCell<Vec<Value>>>;

/// A legacy upstream that streams these pieces in answer to the first call of a tool, and what it was answered.
fn asking(pieces: impl Fn(&str, &Answers) -> Vec<Piece> + 'static) -> (World, Answers) {
    let (inner, answers) = (legacy(echo), Answers::default());
    let given = answers.clone();
    let world = World::with(Box::new(move |sent| {
        if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
            return events_reply(pieces(&sent.json()["id"].to_string(), &given));
        }
        if sent.method().is_empty() && !sent.body.is_empty() {
            given.borrow_mut().push(sent.json());
        }
        inner(sent)
    }));
    (world, answers)
}

fn form(id: &str) -> Piece {
    event(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"message":"Who?","x":1.0}}}}"#
    ))
}

fn said(piece: Piece) -> Vec<u8> {
    match piece {
        Piece::Bytes(bytes) => bytes,
        _ => unreachable!(),
    }
}

/// Comes when so many answers are there: what all of them were.
fn after(answers: &Answers, count: usize, id: &str) -> Piece {
    let (answers, id) = (answers.clone(), id.to_owned());
    Piece::When(Box::new(move || {
        let answers = answers.borrow();
        let results: Vec<&Value> = answers.iter().map(|answer| &answer["result"]).collect();
        let result = serde_json::json!({"content": [], "structuredContent": {"got": results}});
        (answers.len() >= count)
            .then(|| said(event(serde_json::json!({"jsonrpc": "2.0", "id": serde_json::from_str::<Value>(&id).unwrap(), "result": result}))))
    }))
}

/// A question comes when so many answers are there.
fn form_after(answers: &Answers, count: usize, id: &'static str) -> Piece {
    let answers = answers.clone();
    Piece::When(Box::new(move || (answers.borrow().len() >= count).then(|| said(form(id)))))
}

/// The call made again: `answers` is the text of `inputResponses`.
fn again(state: &str, answers: &str) -> Request<Vec<u8>> {
    let call = modern_call(CAN);
    let body = String::from_utf8(call.body().clone()).unwrap();
    let more = format!(r#""inputResponses":{answers},"requestState":"{state}","name":"#);
    with_body(call, &body.replace(r#""id":1"#, r#""id":2"#).replace(r#""name":"#, &more))
}

fn accept(name: &str) -> String {
    format!(r#"{{"action":"accept","content":{{"name":"{name}","n":1e0}}}}"#)
}

/// The first call, held: what the client got, and its state.
fn first<'w>(world: &'w World) -> (Serving<'w>, Value, String) {
    let mut call = [world.begin(modern_call(CAN))];
    let mut got = None;
    world.go_on(&mut call, |all| {
        got = all[0].got();
        got.is_some()
    });
    let result = got.expect("nothing was answered").json()["result"].clone();
    assert_eq!(result["resultType"], "input_required", "{result}");
    let state = result["requestState"].as_str().unwrap().to_owned();
    let [call] = call;
    assert!(!call.is_over(), "somebody has to hold it");
    (call, result, state)
}

/// Makes the call again beside the holder; what it got.
fn comes_again<'w>(world: &'w World, holder: &mut Serving<'w>, request: Request<Vec<u8>>) -> Got {
    let mut both = [std::mem::take(holder), world.begin(request)];
    let mut got = None;
    world.go_on(&mut both, |all| {
        got = got.take().or_else(|| all[1].got());
        got.is_some()
    });
    let [held, _] = both;
    *holder = held;
    got.expect("it got no answer")
}

/// Lets the holder go on to its end.
fn ends(world: &World, holder: Serving<'_>) {
    world.go_on(&mut [holder], |_| false);
    assert!(rows(world).is_empty(), "what was left for others is taken away: {:?}", rows(world));
}

/// What is on shelves.
fn rows(world: &World) -> Vec<String> {
    world.store.borrow().keys().filter(|key| key.starts_with("g.h.")).cloned().collect()
}

#[test]
fn what_a_legacy_upstream_asks_is_a_result_and_the_call_made_again_has_the_answer() {
    let (world, answers) = asking(|id, given| vec![form("7"), after(given, 1, id)]);
    let (mut holder, result, state) = first(&world);
    let asked = serde_json::json!({"method": "elicitation/create", "params": {"message": "[up] Who?", "x": 1.0}});
    assert_eq!(result["inputRequests"], serde_json::json!({"7": asked}));
    let opened = world.sent().into_iter().find(|sent| sent.method() == "initialize").unwrap();
    let can: Value = serde_json::from_str(CAN).unwrap();
    assert_eq!(opened.json()["params"]["capabilities"], can, "it was told what this client can be asked for");

    let got = comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{}}}"#, accept("Alice"))));
    assert_eq!(got.json()["id"], 2);
    assert_eq!(got.json()["result"]["resultType"], "complete");
    assert_eq!(got.json()["result"]["structuredContent"]["got"][0]["content"]["name"], "Alice");
    assert_eq!(answers.borrow().len(), 1);
    let sent = world.sent();
    assert_eq!(sent.len(), 1, "the call itself is not made again");
    assert_eq!(sent[0].body, format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, accept("Alice")), "bytes and all");
    assert_eq!(sent[0].header("mcp-session-id"), Some("session-1"), "in the session in which it was asked");
    ends(&world, holder);
    assert!(world.sent().is_empty(), "a call that has its answer is not cancelled");
}

#[test]
fn several_questions_at_once_are_one_result_and_later_ones_another() {
    let (world, answers) =
        asking(|id, given| vec![form("7"), form("\"b\""), form_after(given, 2, "9"), after(given, 3, id)]);
    let (mut holder, result, state) = first(&world);
    assert_eq!(result["inputRequests"].as_object().unwrap().len(), 2);
    let both = format!(r#"{{"7":{},"\"b\"":{},"more":7}}"#, accept("A"), accept("B"));
    let got = comes_again(&world, &mut holder, again(&state, &both)).json()["result"].clone();
    assert_eq!(got["resultType"], "input_required");
    assert!(got["inputRequests"]["9"].is_object());
    let next = got["requestState"].as_str().unwrap();
    assert_ne!(next, state);
    let got = comes_again(&world, &mut holder, again(next, &format!(r#"{{"9":{}}}"#, accept("C"))));
    let names = &got.json()["result"]["structuredContent"]["got"];
    assert_eq!(
        names.as_array().unwrap().iter().map(|got| &got["content"]["name"]).collect::<Vec<_>>(),
        ["A", "B", "C"]
    );
    assert_eq!(answers.borrow()[1]["id"], "b");
    ends(&world, holder);
}

#[test]
fn a_call_that_is_made_again_twice_answers_once_and_gets_the_result_twice() {
    let (world, answers) =
        asking(|id, given| vec![form("7"), Piece::Wait(Duration::from_secs(1)), after(given, 1, id)]);
    let (mut holder, _, state) = first(&world);
    let answer = |name: &str| again(&state, &format!(r#"{{"7":{}}}"#, accept(name)));
    let mut all = [holder, world.begin(answer("A")), world.begin(answer("B"))];
    let mut got = Vec::new();
    world.go_on(&mut all, |all| {
        got.extend(all[1..].iter().filter_map(Serving::got));
        got.len() == 2
    });
    [holder, _, _] = all;
    assert_eq!(got[0].json()["result"], got[1].json()["result"]);
    assert_eq!(answers.borrow().len(), 1, "both at once");
    let until = world.elapsed() + Duration::from_secs(20);
    world.go_on(std::slice::from_mut(&mut holder), |_| world.elapsed() >= until);
    let late = comes_again(&world, &mut holder, answer("C"));
    assert_eq!(late.json()["result"], got[0].json()["result"]);
    assert_eq!(answers.borrow().len(), 1, "and one after the other");
    ends(&world, holder);
    let over = world.serve(answer("D")).json()["result"].clone();
    assert!(over["content"][0]["text"].as_str().unwrap().contains("is over"), "{over}");
    assert_eq!(answers.borrow().len(), 1);
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let (world, answers) = asking(|id, given| vec![form("7"), form("8"), after(given, 2, id)]);
    let (mut holder, result, mut state) = first(&world);
    for given in ["{}", r#"{"7":{"action":"cancel"}}"#, r#"{"7":1,"8":{}}"#, "null", "7"] {
        let got = comes_again(&world, &mut holder, again(&state, given)).json()["result"].clone();
        assert_eq!(got["inputRequests"], result["inputRequests"], "{given}");
        state = got["requestState"].as_str().unwrap().to_owned();
    }
    assert_eq!(answers.borrow().len(), 0);
    comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{},"8":{}}}"#, accept("A"), accept("B"))));
    assert_eq!(answers.borrow().len(), 2);
    ends(&world, holder);
}

#[test]
fn a_state_that_was_changed_or_is_of_another_call_or_person_is_refused() {
    let (world, answers) = asking(|id, given| vec![form("7"), after(given, 1, id)]);
    let (mut holder, _, state) = first(&world);
    let given = format!(r#"{{"7":{}}}"#, accept("Mallory"));
    let fine = again(&state, &given);
    let text = String::from_utf8(fine.body().clone()).unwrap();
    let other_name =
        with_header(with_body(again(&state, &given), &text.replace("up__echo", "up__other")), "mcp-name", "up__other");
    let mut refused = vec![
        again(&(state.clone() + "-TAMPERED"), &given),
        again(&state[..state.len() - 1], &given),
        again("gatehouse:held:", &given),
        with_body(again(&state, &given), &text.replace(r#""message":"hi""#, r#""message":"ho""#)),
        other_name,
    ];
    for request in refused.drain(..) {
        assert_eq!(world.serve(request).error(), (OK, -32602));
    }
    let twice = text.replace(r#""requestState""#, r#""requestState":"x","requestState""#);
    assert_eq!(world.serve(with_body(again(&state, &given), &twice)).error(), (400, -32600));
    world.subject.set("bob");
    assert_eq!(world.serve(again(&state, &given)).error(), (OK, -32602), "by another person of the same key");
    world.subject.set("alice");
    world.sealing_key.set(8);
    assert_eq!(world.serve(again(&state, &given)).error(), (OK, -32602), "by another key");
    world.sealing_key.set(7);
    assert_eq!(answers.borrow().len(), 0);
    comes_again(&world, &mut holder, fine);
    assert_eq!(answers.borrow().len(), 1);
}

#[test]
fn a_holder_that_was_killed_is_missed_and_what_is_known_of_the_call_is_said() {
    // Before the answer, and after it.
    for answered in [false, true] {
        let (world, answers) = asking(|_, _| vec![form("7"), Piece::Wait(Duration::from_secs(9999))]);
        let (holder, _, state) = first(&world);
        let given = format!(r#"{{"7":{}}}"#, accept("Alice"));
        let mut both = [holder, world.begin(again(&state, &given))];
        if answered {
            world.go_on(&mut both, |_| answers.borrow().len() == 1);
        }
        let [holder, second] = both;
        drop(holder);
        let before = world.elapsed();
        let mut alone = [second];
        let mut got = None;
        world.go_on(&mut alone, |all| {
            got = all[0].got();
            got.is_some()
        });
        let got = got.unwrap();
        assert!(world.elapsed() - before < Duration::from_secs(40));
        let last = got.events().pop().unwrap();
        let message = last["result"]["content"][0]["text"].as_str().unwrap().to_owned();
        let expected = if answered { "is not known" } else { "can be made again" };
        assert!(message.contains(expected), "{message}");
        let left = rows(&world).len();
        world.pass(60);
        let before = world.elapsed();
        let late = world.serve(again(&state, &given)).text();
        assert!(late.contains(expected) && world.elapsed() == before, "by then it is known at once: {late}");
        for _ in 0..64 {
            first(&world);
        }
        assert!(rows(&world).len() <= 64 * left, "its place is taken by others");
    }
}

#[test]
fn a_client_that_never_comes_back_costs_ten_minutes_and_the_upstream_is_told() {
    let (world, _) = asking(|_, _| vec![form("7"), Piece::Wait(Duration::from_secs(9999))]);
    let (holder, _, state) = first(&world);
    let before = world.elapsed();
    let called = world.sent().into_iter().find(|sent| sent.method() == "tools/call").unwrap().json();
    ends(&world, holder);
    let took = (world.elapsed() - before).as_secs();
    assert!((600..=602).contains(&took), "{took}");
    let sent = world.sent();
    assert_eq!((sent.len(), sent[0].method().as_str()), (1, "notifications/cancelled"));
    assert_eq!(sent[0].json()["params"]["requestId"], called["id"]);
    world.pass(60);
    let late = world.serve(again(&state, r#"{"7":{}}"#)).json()["result"].clone();
    assert!(late["content"][0]["text"].as_str().unwrap().contains("no answer came in time"), "{late}");
}

/// A26: a `requestState` of a clock that was ahead is over, and a holder whose clock is set back waits no longer.
#[test]
fn a_held_call_ends_in_its_time_when_the_clock_was_ahead() {
    let (world, answers) = asking(|_, _| vec![form("7"), Piece::Wait(Duration::from_secs(9999))]);
    world.ahead.set(3600);
    let (mut holder, _, state) = first(&world);
    world.ahead.set(0);
    let before = world.elapsed();
    let got = comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{}}}"#, accept("Alice"))));
    assert!(got.text().contains("no answer came in time"), "{}", got.text());
    assert!(answers.borrow().is_empty());
    ends(&world, holder);
    let took = (world.elapsed() - before).as_secs();
    assert!((590..=602).contains(&took), "{took}");
}

/// A26: a holder whose clock is set back goes on to give signs of life.
#[test]
fn a_holder_whose_clock_is_set_back_is_not_missed() {
    let (world, answers) =
        asking(|id, answers| vec![form("7"), Piece::Wait(Duration::from_secs(90)), after(answers, 1, id)]);
    let (holder, _, state) = first(&world);
    let mut both = [holder, world.begin(again(&state, &format!(r#"{{"7":{}}}"#, accept("Alice"))))];
    world.go_on(&mut both, |_| answers.borrow().len() == 1);
    world.ahead.set(0_u64.wrapping_sub(3600));
    let mut got = None;
    world.go_on(&mut both, |all| {
        got = all[1].got();
        got.is_some()
    });
    let text = got.unwrap().text();
    assert!(text.contains("Alice"), "{text}");
}

#[test]
fn a_client_that_leaves_while_it_waits_has_cancelled() {
    let (world, answers) = asking(|_, _| vec![form("7"), Piece::Wait(Duration::from_secs(9999))]);
    let (holder, _, state) = first(&world);
    world.sent();
    let given = format!(r#"{{"7":{}}}"#, accept("Alice"));
    let mut both = [holder, world.begin_until(again(&state, &given), 1)];
    world.go_on(&mut both, |_| false);
    assert!(world.elapsed() < Duration::from_secs(30), "{:?}", world.elapsed());
    assert_eq!(answers.borrow().len(), 1);
    assert_eq!(world.methods(), ["", "notifications/cancelled"]);
    assert!(rows(&world).is_empty());
}

#[test]
fn what_is_said_on_the_way_reaches_whoever_waits_under_the_token_of_its_own_call() {
    fn progress(step: u32) -> Piece {
        event(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"old","progress":{step}}}}}"#
        ))
    }
    let (world, _) = asking(|id, given| {
        vec![
            progress(1),
            form("7"),
            Piece::Wait(Duration::from_secs(1)),
            progress(2),
            form_after(given, 1, "8"),
            Piece::Wait(Duration::from_secs(1)),
            progress(3),
            after(given, 2, id),
        ]
    });
    let with_token = |request: Request<Vec<u8>>, token: &str| {
        let body = String::from_utf8(request.body().clone()).unwrap();
        with_body(request, &body.replace(r#""_meta":{"#, &format!(r#""_meta":{{"progressToken":{token},"#)))
    };
    let mut call = [world.begin(with_token(modern_call(CAN), "\"old\""))];
    let mut got = None;
    world.go_on(&mut call, |all| {
        got = all[0].got();
        got.is_some()
    });
    let events = got.unwrap().events();
    assert_eq!((events.len(), &events[0]["params"]["progress"]), (2, &1.into()));
    let [mut holder] = call;
    let state = events[1]["result"]["requestState"].as_str().unwrap();
    let second = again(state, &format!(r#"{{"7":{}}}"#, accept("A")));
    let events = comes_again(&world, &mut holder, with_token(second, "22")).events();
    assert_eq!(events[0]["params"], serde_json::json!({"progressToken": 22, "progress": 2}));
    assert_eq!(events.len(), 2, "{events:?}");
    let state = events[1]["result"]["requestState"].as_str().unwrap();
    let third = again(state, &format!(r#"{{"8":{}}}"#, accept("A")));
    let events = comes_again(&world, &mut holder, with_token(third, "33")).events();
    assert_eq!(events[0]["params"], serde_json::json!({"progressToken": 33, "progress": 3}));
    assert_eq!(events.len(), 2, "{events:?}");
}

#[test]
fn answers_and_results_may_be_longer_than_a_row_of_a_store() {
    let (world, _) = asking(|id, given| vec![form("7"), after(given, 1, id)]);
    let (mut holder, _, state) = first(&world);
    let long = "é\"".repeat(700_000);
    let given = serde_json::json!({"7": {"action": "accept", "content": {"name": long}}});
    let got = comes_again(&world, &mut holder, again(&state, &given.to_string()));
    assert_eq!(got.json()["result"]["structuredContent"]["got"][0]["content"]["name"], long);
    assert!(world.store.borrow().values().all(|row| row.len() <= 400_000));
    ends(&world, holder);
}

#[test]
fn a_stream_that_breaks_off_while_it_waits_is_said_to_have() {
    for last in [
        || vec![form("7"), Piece::Wait(Duration::from_secs(1))],
        || vec![form("7"), Piece::Wait(Duration::from_secs(70)), Piece::Breaks],
    ] {
        let (world, _) = asking(move |_, _| last());
        let (mut holder, _, state) = first(&world);
        let got = comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{}}}"#, accept("A"))));
        let text = got.text();
        assert!(text.contains("broke off") || text.contains("connection to it failed"), "{text}");
        ends(&world, holder);
    }
}

#[test]
fn who_asks_without_end_is_cancelled() {
    let (world, answers) = asking(|_, given| (0..20).map(|round| form_after(given, round, "7")).collect());
    let (mut holder, _, mut state) = first(&world);
    for round in 1.. {
        let got = comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{}}}"#, accept("A"))));
        match got.json()["result"]["requestState"].as_str() {
            Some(next) => state = next.to_owned(),
            None => {
                assert!(got.text().contains("asks for input"), "{}", got.text());
                assert_eq!((round, answers.borrow().len()), (16, 16));
                break;
            }
        }
    }
    ends(&world, holder);
    assert_eq!(world.methods().last().unwrap(), "notifications/cancelled");
}

#[test]
fn sixty_four_calls_of_a_person_can_wait_at_once_and_no_more() {
    let (world, _) = asking(|id, given| vec![form("7"), after(given, 1, id)]);
    let mut calls: Vec<Serving<'_>> = (0..65).map(|_| world.begin(modern_call(CAN))).collect();
    let mut got = Vec::new();
    world.go_on(&mut calls, |all| {
        got.extend(all.iter().filter_map(Serving::got));
        got.len() == 65
    });
    let asked = got.iter().filter(|got| got.json()["result"]["resultType"] == "input_required").count();
    let refused = got.iter().filter(|got| got.text().contains("64 calls of this person")).count();
    assert_eq!((asked, refused), (64, 1));
}

#[test]
fn where_the_store_keeps_nothing_the_call_ends_and_says_why() {
    let (world, _) = asking(|id, given| vec![form("7"), after(given, 1, id)]);
    world.serve(Era::Modern.list("/mcp/up"));
    world.sent();
    world.most.set(0);
    let got = world.serve(modern_call(CAN));
    assert!(got.text().contains("the store keeps nothing"), "{}", got.text());
    assert_eq!(world.methods().last().unwrap(), "notifications/cancelled");
}

#[test]
fn a_token_that_has_expired_while_a_person_thought_is_renewed_for_the_answer() {
    let (inner, given) = (legacy(echo), Answers::default());
    let known = given.clone();
    let upstream: Upstream = Box::new(move |sent| {
        if sent.method().is_empty() && sent.header("authorization") == Some("Bearer old") {
            return Reply::Answer(401, vec![], vec![]);
        }
        if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
            return events_reply(vec![form("7"), after(&known, 1, &sent.json()["id"].to_string())]);
        }
        if sent.method().is_empty() {
            known.borrow_mut().push(sent.json());
        }
        inner(sent)
    });
    let world = World::with_service(upstream, [token("old"), token("old"), token("new")]);
    let (mut holder, _, state) = first(&world);
    let got = comes_again(&world, &mut holder, again(&state, &format!(r#"{{"7":{}}}"#, accept("Alice"))));
    assert_eq!(got.json()["result"]["structuredContent"]["got"][0]["content"]["name"], "Alice");
    let refused: Vec<_> = world.asked.borrow().iter().filter_map(|asked| asked.services[0].refused.clone()).collect();
    assert_eq!(refused, ["fingerprint of old"]);
}

#[test]
fn a_server_that_does_not_say_that_it_has_heard_the_answers_goes_on_all_the_same() {
    let (inner, given) = (legacy(echo), Answers::default());
    let known = given.clone();
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" if sent.header("mcp-session-id").is_some() => {
            let wait = Piece::Wait(Duration::from_secs(100));
            events_reply(vec![form("7"), form("8"), wait, after(&known, 2, &sent.json()["id"].to_string())])
        }
        "" if is_answer(&sent.json()) => {
            known.borrow_mut().push(sent.json());
            Reply::NeverAnswers
        }
        _ => inner(sent),
    }));
    let (mut holder, _, state) = first(&world);
    let both = format!(r#"{{"7":{},"8":{}}}"#, accept("A"), accept("B"));
    let got = comes_again(&world, &mut holder, again(&state, &both)).events();
    assert_eq!(got.last().unwrap()["result"]["structuredContent"]["got"][1]["content"]["name"], "B");
    assert_eq!(given.borrow().len(), 2);
}

#[test]
fn only_a_request_that_can_be_answered_with_a_question_may_be_interrupted_by_one() {
    let inner = legacy(echo);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/list" => {
            let id = &sent.json()["id"];
            events_reply(vec![form("7"), event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[]}}}}"#))])
        }
        _ => inner(sent),
    }));
    let list = Era::Modern.list("/mcp/up");
    let body = String::from_utf8(list.body().clone()).unwrap();
    let body = body.replace(r#"clientCapabilities":{}"#, &format!(r#"clientCapabilities":{CAN}"#));
    assert_eq!(world.serve(with_body(list, &body)).tool_names().len(), 0);
    assert_eq!(world.sent().last().unwrap().json()["error"]["code"], -32601);
}

fn begin<T>(world: &World, mut future: Pin<&mut impl Future<Output = T>>) {
    world.run(poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
}

#[test]
fn of_two_that_take_the_last_shelf_at_once_one_gets_it() {
    let world = World::with(legacy(echo));
    let caller = Caller {
        subject: "alice".into(),
        expires_at: None,
        sealing_key: vec![7; 32],
        hops: Default::default(),
        met: Default::default(),
    };
    let take = |name: &str| Box::pin(Shelf::take(&world, &caller, name.to_owned()));
    for name in 0..63 {
        assert!(world.run(take(&name.to_string())).is_ok());
    }
    let (mut one, mut other) = (take("one"), take("other"));
    let before = world.store.borrow().clone();
    begin(&world, one.as_mut());
    // The other one does not see it yet.
    *world.store.borrow_mut() = before;
    begin(&world, other.as_mut());
    assert!(world.run(one).is_err() && world.run(other).is_ok());
}

#[test]
fn links_are_asked_for_without_their_names_and_only_by_who_can_show_them() {
    let link = r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"https://x.example","message":"Open"}}"#;
    let (world, answers) = asking(move |id, given| vec![event(link), after(given, 1, id)]);
    let (_, result, _) = first(&world);
    let asked = serde_json::json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://x.example", "message": "[up] Open"}});
    assert_eq!(result["inputRequests"]["7"], asked);
    let got = world.serve(modern_call(r#"{"elicitation":{}}"#));
    assert_eq!(got.json()["result"]["resultType"], "complete");
    assert_eq!(answers.borrow()[0]["error"]["code"], -32601);
}

#[test]
fn a_modern_upstreams_own_state_passes_even_if_it_is_a_gatehouse_too() {
    let world = World::with(super::upstreams::modern(echo));
    world.serve(modern_call(CAN));
    world.sent();
    world.serve(again("gatehouse:held:AAAA", "{}"));
    assert_eq!(world.sent()[0].json()["params"]["requestState"], "gatehouse:held:AAAA");
}
