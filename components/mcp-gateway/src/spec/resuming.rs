//! How streams go on that have ended before all was said: an upstream's, and those of a client.

use super::upstreams::{echo, events_reply, legacy_that_can, modern, silence};
use super::*;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

fn answer(id: &str) -> String {
    format!(
        "id: e9\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"late\"}}]}}}}\n\n"
    )
}

fn wait(milliseconds: u64) -> Piece {
    Piece::Wait(Duration::from_millis(milliseconds))
}

/// What a server does when it is asked for what comes after an event: how often it was asked before, the event, and the id
/// of the call.
type Resumed = fn(usize, &str, &str) -> Reply;

/// What a server was asked by GET: the last event, and when.
type Asked = Rc<RefCell<Vec<(String, Duration)>>>;

/// How the answer of a call begins.
type First = fn() -> Vec<Piece>;

/// A legacy server whose `tools/call` begins with `first`.
fn resumable(first: First, resumed: Resumed) -> (World, Asked) {
    let asked = Asked::default();
    let timer = Timer::default();
    let (called, inner) =
        (Rc::new(RefCell::new(String::new())), legacy_that_can(r#"{"tools":{}}"#, echo, Rc::default(), 404));
    let (given, clock) = (asked.clone(), timer.clone());
    let world = World::with(Box::new(move |sent| {
        if let Some(event) = sent.header("last-event-id") {
            assert_eq!((sent.header("accept"), sent.header("content-type")), (Some("text/event-stream"), None));
            assert_eq!(sent.header("mcp-session-id"), Some("session-1"));
            given.borrow_mut().push((event.to_owned(), clock.now()));
            let count = given.borrow().len() - 1;
            return resumed(count, event, &called.borrow());
        }
        if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
            called.replace(sent.json()["id"].to_string());
            return events_reply(first());
        }
        inner(sent)
    }));
    timer.start(&world);
    (world, asked)
}

fn primed() -> Vec<Piece> {
    vec![bytes("id: e1\nretry: 200\ndata:\n\n"), wait(50)]
}

fn calls() -> impl Iterator<Item = (Era, &'static str, &'static str)> {
    BOTH.into_iter().flat_map(|era| [(era, "/mcp", "up__echo"), (era, "/mcp/up", "echo")])
}

/// R22: the answer that comes only in the resumed stream is the call's.
#[test]
fn a_call_whose_stream_ends_after_an_id_is_resumed_after_the_pause_that_the_server_names() {
    for (era, path, name) in calls() {
        let (world, asked) = resumable(primed, |_, _, id| events_reply(vec![bytes(&answer(id)), silence()]));
        let got = world.serve(era.call(path, name));
        let json = got.json();
        assert_eq!((&json["id"], &json["result"]["content"][0]["text"]), (&1.into(), &"late".into()), "{era:?} {path}");
        let asked = asked.borrow();
        assert_eq!(asked.len(), 1);
        // Before the call, the session that is opened for it settles for 25 ms.
        assert_eq!(asked[0], ("e1".to_owned(), Duration::from_millis(25 + 250)));
        let calls = world.methods().into_iter().filter(|method| method == "tools/call").count();
        assert_eq!(calls, 1, "the call is sent once");
    }
}

/// R22: a connection that breaks, a stream that ends again and again, and a server that is down for a moment.
#[test]
fn a_call_is_resumed_from_the_last_event_as_often_as_it_takes() {
    fn said(step: u32, id: &str) -> String {
        let params = format!(r#"{{"progressToken":1,"progress":{step}}}"#);
        format!("id: {id}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{params}}}\n\n")
    }
    for (era, path, name) in calls() {
        let first = || vec![bytes(&said(1, "e1")), bytes("id: e2\ndata: {\"jsonrpc\""), Piece::Breaks];
        let (world, asked) = resumable(first, |count, _, id| match count {
            0 => Reply::Fails(SendError::Connection),
            1 => Reply::Answer(503, vec![], vec![]),
            2 => events_reply(vec![bytes(&said(2, "e2")), Piece::Breaks]),
            3 => events_reply(vec![bytes("id: e3\nretry: 5000\n\n")]),
            _ => events_reply(vec![bytes(&answer(id))]),
        });
        let got = world.serve(with_progress(era.call(path, name)));
        let events = got.events();
        let steps: Vec<_> = events.iter().filter_map(|event| event["params"]["progress"].as_u64()).collect();
        assert_eq!(steps, [1, 2], "each once");
        assert_eq!(events.last().unwrap()["result"]["content"][0]["text"], "late");
        let asked = asked.borrow();
        let from: Vec<&str> = asked.iter().map(|(event, _)| event.as_str()).collect();
        assert_eq!(from, ["e1", "e1", "e1", "e2", "e3"]);
        let pauses: Vec<u64> = asked.windows(2).map(|two| (two[1].1 - two[0].1).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 1, 5], "the pause grows while nothing comes, and is the server's where it names one");
    }
}

/// R22: what a server says of its pauses costs neither a storm of requests nor an endless call.
#[test]
fn a_server_that_never_answers_is_asked_a_bounded_number_of_times() {
    let ends: [(First, Resumed); 4] = [
        (|| vec![bytes("id: e1\nretry: 0\ndata:\n\n")], |_, _, _| events_reply(vec![])),
        (
            || vec![bytes("id: e1\nretry: 0\ndata:\n\n")],
            |count, _, _| events_reply(vec![bytes(&format!("id: n{count}\nretry: 0\ndata:\n\n"))]),
        ),
        (|| vec![bytes("id: e1\nretry: 9999999999\ndata:\n\n")], |_, _, _| events_reply(vec![])),
        (|| vec![bytes("id: e1\nretry: 0\ndata:\n\n")], |_, _, _| events_reply(vec![silence()])),
    ];
    for (first, resumed) in ends {
        let (world, asked) = resumable(first, resumed);
        let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
        assert!(got.text().contains("isError"), "{}", got.text());
        assert!(asked.borrow().len() <= 1000, "{}", asked.borrow().len());
        assert!(world.elapsed() <= Duration::from_secs(17 * 60), "{:?}", world.elapsed());
        assert!(asked.borrow().windows(2).all(|two| two[1].1 - two[0].1 >= Duration::from_millis(100)));
    }
}

/// R22: a call in which the client can be asked, which is made in a session with a stream of its own.
#[test]
fn a_call_that_may_ask_is_resumed_too() {
    let called = RefCell::new(String::new());
    let inner = legacy_that_can(r#"{"tools":{}}"#, echo, Rc::default(), 404);
    let world = World::with(Box::new(move |sent| {
        if sent.header("last-event-id") == Some("e1") {
            return events_reply(vec![bytes(&answer(&called.borrow())), silence()]);
        }
        if sent.body.is_empty() && sent.header("accept") == Some("text/event-stream") {
            return events_reply(vec![silence()]);
        }
        if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
            called.replace(sent.json()["id"].to_string());
            return events_reply(primed());
        }
        inner(sent)
    }));
    let mut request = Era::Modern.call("/mcp", "up__echo");
    let body = String::from_utf8(request.body().clone()).unwrap();
    let can = r#""io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}"#;
    let body = body.replace(r#""io.modelcontextprotocol/clientCapabilities":{}"#, can);
    *request.body_mut() = body.into_bytes();
    let got = world.serve(request);
    assert_eq!(got.json()["result"]["content"][0]["text"], "late", "{}", got.text());
}

/// R22: a server that has no such streams is asked once, and the call has broken off.
#[test]
fn a_stream_that_cannot_be_resumed_has_broken_off() {
    let refusals: [Resumed; 4] = [
        |_, _, _| Reply::Answer(405, vec![], vec![]),
        |_, _, _| Reply::Answer(400, vec![], vec![]),
        |_, _, _| Reply::Answer(401, vec![], vec![]),
        |_, _, _| Reply::Answer(200, vec![("content-type", "application/json".into())], vec![bytes("{}")]),
    ];
    for refused in refusals {
        for (era, path, name) in calls() {
            let (world, asked) = resumable(primed, refused);
            let got = world.serve(era.call(path, name));
            assert!(got.text().contains("its answer broke off"), "{}", got.text());
            assert_eq!(asked.borrow().len(), 1);
            assert!(world.elapsed() < Duration::from_secs(1));
        }
    }
    let (world, asked) = resumable(|| vec![bytes(": no id\n\nretry: 200\ndata:\n\n")], |_, _, _| unreachable!());
    assert!(world.serve(Era::Legacy.call("/mcp", "up__echo")).text().contains("its answer broke off"));
    assert!(asked.borrow().is_empty());
}

/// R22: an answer without its last empty line counts if it cannot be had again.
#[test]
fn an_answer_whose_event_does_not_end_is_taken_if_nothing_more_comes() {
    let first =
        || vec![bytes("id: e1\ndata:\n\nid: e2\ndata: {\"jsonrpc\":\"2.0\",\"id\":null,\"result\":{\"content\":[]}}")];
    let (world, _) = resumable(first, |_, _, _| Reply::Answer(405, vec![], vec![]));
    let got = world.serve(Era::Legacy.call("/mcp", "up__echo"));
    assert_eq!(got.json()["result"]["content"], serde_json::json!([]));
}

/// R22: a list, and a prompt, as well as a call.
#[test]
fn what_the_gateway_asks_itself_is_resumed_too() {
    let inner = legacy_that_can(r#"{"tools":{}}"#, echo, Rc::default(), 404);
    let asked = Rc::new(RefCell::new(String::new()));
    let world = World::with(Box::new(move |sent| {
        if sent.header("last-event-id") == Some("l1") {
            let Reply::Answer(_, _, pieces) = inner(&Sent { body: asked.borrow().clone(), ..sent.clone() }) else {
                unreachable!()
            };
            return events_reply(pieces);
        }
        if sent.method() == "tools/list" && sent.header("mcp-session-id").is_some() {
            asked.replace(sent.body.clone());
            return events_reply(vec![bytes("id: l1\nretry: 100\ndata:\n\n")]);
        }
        inner(sent)
    }));
    for era in BOTH {
        assert_eq!(world.serve(era.list("/mcp")).tool_names(), ["up__echo", "up__get-sum"]);
    }
}

/// R22: a modern server resumes nothing, and is not asked to.
#[test]
fn the_stream_of_a_modern_server_is_not_resumed() {
    let inner = modern(echo);
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "tools/call" => events_reply(primed()),
        "" => panic!("a GET: {sent:?}"),
        _ => inner(sent),
    }));
    for era in BOTH {
        assert!(world.serve(era.call("/mcp", "up__echo")).text().contains("broke off"));
    }
}

/// A session of a legacy client.
fn session(world: &World, version: &str) -> String {
    let members =
        format!(r#""protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}"#);
    let got =
        world.serve(without_header(Era::Legacy.request("/mcp/up", "initialize", &members), "mcp-protocol-version"));
    got.header("mcp-session-id").unwrap().to_owned()
}

fn get(path: &str, session: &str, after: &str) -> Request<Vec<u8>> {
    let mut request = without_header(with_body(Era::Legacy.list(path), ""), "content-type");
    *request.method_mut() = http::Method::GET;
    let request = with_header(request, "mcp-session-id", session);
    if after.is_empty() { request } else { with_header(request, "last-event-id", after) }
}

fn ids(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

fn slow() -> Vec<Piece> {
    vec![bytes("id: e1\ndata:\n\n"), wait(600_000)]
}

fn called(world: &World, session: &str) -> Got {
    world.serve_until(with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", session), 2)
}

/// R56: the host may have been restarted in between: all that is needed is in the id and the store.
#[test]
fn a_legacy_client_that_comes_again_with_an_id_of_ours_gets_the_rest_of_its_call() {
    let (world, asked) = resumable(slow, |_, _, id| events_reply(vec![bytes(&answer(id))]));
    let session = session(&world, "2025-11-25");
    let got = called(&world, &session);
    let all = ids(&got.text());
    assert!(all.len() == 1 && !all[0].contains("e1"), "sealed: {}", got.text());
    assert!(got.text().starts_with(&format!("id: {}\ndata:\n\n", all[0])), "before anything is said: {}", got.text());
    assert!(!world.methods().contains(&"notifications/cancelled".to_owned()), "a disconnect cancels nothing");
    let got = world.serve(get("/mcp/up", &session, &all[0]));
    let events = got.events();
    assert_eq!((&events[0]["id"], &events[0]["result"]["content"][0]["text"]), (&1.into(), &"late".into()));
    assert!(got.finished && events.len() == 1);
    assert_eq!(asked.borrow()[0].0, "e1");
}

/// A server that gives one stream of a call at a time, and says 409 for as long as `is_busy` says of the open one.
fn one_stream(latency: u64, is_busy: impl Fn(bool) -> bool + 'static) -> World {
    let is_open = Rc::new(Cell::new(false));
    let inner = legacy_that_can(r#"{"tools":{}}"#, echo, Rc::default(), 404);
    let called = RefCell::new(String::new());
    World::with(Box::new(move |sent| {
        if sent.header("last-event-id").is_some() {
            return match is_busy(is_open.get()) {
                true => {
                    let refusal = Reply::Answer(409, vec![], vec![]);
                    Reply::Slow(Duration::from_millis(latency), Box::new(refusal))
                }
                false => events_reply(vec![bytes(&answer(&called.borrow())), silence()]),
            };
        }
        if sent.method() == "tools/call" && sent.header("mcp-session-id").is_some() {
            called.replace(sent.json()["id"].to_string());
            is_open.set(true);
            let dropped = Dropped(is_open.clone());
            let open = Piece::When(Box::new(move || {
                let _ = &dropped;
                None
            }));
            return events_reply(vec![bytes("id: e1\ndata:\n\n"), open, silence()]);
        }
        inner(sent)
    }))
}

/// Begins a call whose client leaves after so many writes, and resumes it so much later. Returns what the second stream got,
/// and whether the first one has ended.
fn comes_again(world: &World, writes: usize, later: Duration) -> (Option<Got>, bool) {
    let session = session(world, "2025-11-25");
    let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &session);
    let mut streams = vec![world.begin_until(call, writes)];
    world.go_on(&mut streams, |all| !all[0].text().is_empty());
    let id = ids(&streams[0].text()).remove(0);
    let until = world.elapsed() + later;
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    streams.push(world.begin(get("/mcp/up", &session, &id)));
    let until = world.elapsed() + Duration::from_secs(20);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    (streams[1].got(), streams[0].is_over())
}

/// R56: the connection that the client has lost is still open, at our side and at the server's.
#[test]
fn a_client_that_comes_again_takes_the_place_of_the_connection_that_it_has_lost() {
    for closes in [true, false] {
        // The streams look for words at different times.
        for (later, latency) in (0..20).flat_map(|step| [(step * 100, 100), (step * 100, 450), (step * 100, 900)]) {
            let world = one_stream(latency, |is_open| is_open);
            let writes = if closes { 1 } else { usize::MAX };
            let (got, is_over) = comes_again(&world, writes, Duration::from_millis(later));
            let got = got.unwrap_or_else(|| panic!("it has its answer: {closes} {later}"));
            assert_eq!(got.events()[0]["result"]["content"][0]["text"], "late", "{closes} {later}");
            assert!(is_over && !world.methods().contains(&"notifications/cancelled".to_owned()), "{closes} {later}");
        }
    }
}

/// R56: what tells an old stream to end is no cancellation, also when that stream has just lost its client.
#[test]
fn a_stream_that_takes_the_place_of_one_whose_client_has_left_does_not_cancel_the_call() {
    for later in [0, 500, 1000, 1500] {
        let tries = Cell::new(0);
        // Behind a proxy, the server sees late that the first stream is closed.
        let world = one_stream(0, move |_| tries.replace(tries.get() + 1) < 8);
        let (got, _) = comes_again(&world, 1, Duration::from_millis(later));
        assert!(got.is_some_and(|got| got.text().contains("late")), "{later}");
        assert!(!world.methods().contains(&"notifications/cancelled".to_owned()), "{later}");
    }
}

/// R56: a server that closes a stream when another one resumes it is not asked by both in turns.
#[test]
fn a_stream_that_another_one_has_replaced_at_the_server_does_not_resume_it() {
    let newest = Rc::new(Cell::new(0));
    let (asked, timer) = (newest.clone(), Timer::default());
    let inner = legacy_that_can(r#"{"tools":{}}"#, echo, Rc::default(), 404);
    let (called, clock) = (RefCell::new(String::new()), timer.clone());
    let world = World::with(Box::new(move |sent| {
        let is_call = sent.method() == "tools/call" && sent.header("mcp-session-id").is_some();
        if !is_call && sent.header("last-event-id").is_none() {
            return inner(sent);
        }
        if is_call {
            called.replace(sent.json()["id"].to_string());
        }
        asked.set(asked.get() + 1);
        let (number, newest, clock, answer) = (asked.get(), asked.clone(), clock.clone(), answer(&called.borrow()));
        let end = move || match newest.get() == number {
            true => (clock.now() >= Duration::from_secs(15)).then(|| answer.clone().into_bytes()),
            false => Some(Vec::new()),
        };
        events_reply(vec![bytes("id: e1\nretry: 200\ndata:\n\n"), Piece::When(Box::new(end))])
    }));
    timer.start(&world);
    let (got, is_over) = comes_again(&world, usize::MAX, Duration::ZERO);
    assert!(got.is_some_and(|got| got.text().contains("late")) && is_over);
    assert!(newest.get() < 8, "{} streams", newest.get());
}

/// R56: a word for a stream that has ended before it was read ends no later one.
#[test]
fn an_old_word_does_not_end_the_next_stream() {
    let tries = Cell::new(0);
    let world = one_stream(0, move |_| tries.replace(tries.get() + 1) < 9);
    let session = session(&world, "2025-11-25");
    let id = ids(&called(&world, &session).text()).remove(0);
    // It has said that it takes a place, which is free, and ends before it takes its word back.
    let mut streams = vec![world.begin(get("/mcp/up", &session, &id))];
    let until = world.elapsed() + Duration::from_secs(5);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    streams.clear();
    let got = world.serve(get("/mcp/up", &session, &id));
    assert!(got.text().contains("late"), "{}", got.text());
}

/// R56, R57: a legacy client cancels by a request of its own, also after it has left a resumed stream.
#[test]
fn a_resumed_call_is_cancelled_by_a_client_that_has_left() {
    let (world, _) = resumable(slow, |_, _, _| events_reply(vec![bytes("id: e2\ndata:\n\n"), silence()]));
    let session = session(&world, "2025-11-25");
    let id = ids(&called(&world, &session).text()).remove(0);
    world.sent();
    let mut streams = vec![world.begin_until(get("/mcp/up", &session, &id), 1)];
    let until = world.elapsed() + Duration::from_secs(3);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.serve(with_header(with_body(Era::Legacy.list("/mcp/up"), cancelled), "mcp-session-id", &session));
    world.go_on(&mut streams, |_| false);
    assert!(world.methods().contains(&"notifications/cancelled".to_owned()));
}

/// Notes that a connection is closed.
struct Dropped(Rc<Cell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// R56: nobody waits for what will not come.
#[test]
fn what_the_server_cannot_resume_ends_with_an_answer_that_says_so() {
    let refusals: [Resumed; 3] = [
        |_, _, _| Reply::Answer(400, vec![], vec![]),
        |_, _, _| Reply::Answer(405, vec![], vec![]),
        |_, _, _| events_reply(vec![]),
    ];
    for refused in refusals {
        let (world, _) = resumable(slow, refused);
        let session = session(&world, "2025-11-25");
        let id = ids(&called(&world, &session).text()).remove(0);
        let got = world.serve(get("/mcp/up", &session, &id));
        let events = got.events();
        assert_eq!((got.status, &events[0]["id"], &events[0]["result"]["isError"]), (OK, &1.into(), &true.into()));
        assert!(got.finished && got.text().contains("was lost"), "{}", got.text());
    }
    // The session at the server is another one now.
    let (world, asked) = resumable(slow, |_, _, _| unreachable!());
    let session = session(&world, "2025-11-25");
    let id = ids(&called(&world, &session).text()).remove(0);
    world.store.borrow_mut().retain(|key, _| !key.starts_with("g.u."));
    let got = world.serve(get("/mcp/up", &session, &id));
    assert_eq!(got.events()[0]["result"]["isError"], true);
    assert!(asked.borrow().is_empty());
}

/// R56: an id is good for the person, the session and the server that it was given for.
#[test]
fn an_id_that_was_not_given_to_this_client_resumes_nothing() {
    let (world, asked) = resumable(slow, |_, _, _| unreachable!());
    let own = session(&world, "2025-11-25");
    let id = ids(&called(&world, &own).text()).remove(0);
    let other = session(&world, "2025-11-25");
    world.subject.set("bob");
    let bobs = session(&world, "2025-11-25");
    assert_eq!(world.serve(get("/mcp/up", &bobs, &id)).error().0, 400);
    world.subject.set("alice");
    let changed = [&id[..id.len() - 2], if id.ends_with("AA") { "BB" } else { "AA" }].concat();
    let long = ["gha.", &"A".repeat(4000)].concat();
    for (path, session, id) in [
        ("/mcp/up", &other, id.as_str()),
        ("/mcp/up", &own, &changed),
        ("/mcp/up", &own, "e1"),
        ("/mcp/up", &own, "gha."),
        ("/mcp/up", &own, &long),
        ("/mcp", &own, &id),
    ] {
        let got = world.serve(get(path, session, id));
        assert_eq!(got.error().0, 400, "{path} {id}");
    }
    assert!(asked.borrow().is_empty());
}

/// R56: clients that would take it for something else get no event without data, and other streams have no ids.
#[test]
fn ids_stand_only_where_they_are_of_use() {
    let first = || {
        vec![bytes("id: e1\ndata:\n\n"), wait(3000), bytes(&format!("id: {}\ndata:\n\n", "x".repeat(600))), silence()]
    };
    let (world, _) = resumable(first, |_, _, _| unreachable!());
    let older = session(&world, "2025-06-18");
    assert!(called(&world, &older).text().starts_with(":\n\n"));
    let newer = session(&world, "2025-11-25");
    let aggregate = with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &newer);
    assert!(ids(&world.serve_until(aggregate, 2).text()).is_empty());
    assert!(ids(&world.serve_until(Era::Modern.call("/mcp/up", "echo"), 2).text()).is_empty(), "its era has none");
}

/// R56: what was said while the client was away comes on the next stream of GET.
#[test]
fn the_stream_of_get_goes_on_after_the_last_event_too() {
    fn said(step: u32) -> String {
        format!(
            "id: s{step}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"acme/step\",\"params\":{{\"step\":{step}}}}}\n\n"
        )
    }
    let inner = legacy_that_can(r#"{"tools":{"listChanged":true}}"#, echo, Rc::default(), 404);
    let forgets = Rc::new(Cell::new(false));
    let forgotten = forgets.clone();
    let world = World::with(Box::new(move |sent| match (sent.method().as_str(), sent.header("last-event-id")) {
        ("", Some("s1")) if forgotten.get() => Reply::Answer(400, vec![], vec![]),
        ("", Some("s1")) => events_reply(vec![bytes(&said(2)), silence()]),
        ("", None) if sent.header("accept") == Some("text/event-stream") => {
            events_reply(vec![wait(1000), bytes(&said(1)), silence()])
        }
        _ => inner(sent),
    }));
    let session = session(&world, "2025-11-25");
    let first = world.serve_until(get("/mcp/up", &session, ""), 2);
    let id = ids(&first.text()).remove(0);
    let steps =
        |got: &Got| -> Vec<u64> { got.events().iter().filter_map(|event| event["params"]["step"].as_u64()).collect() };
    assert_eq!(steps(&first), [1]);
    assert_eq!(steps(&world.serve_until(get("/mcp/up", &session, &id), 2)), [2]);
    forgets.set(true);
    assert_eq!(steps(&world.serve_until(get("/mcp/up", &session, &id), 2)), [1], "what is said from now on");
    world.sealing_key.set(8);
    let session = self::session(&world, "2025-11-25");
    assert_eq!(steps(&world.serve_until(get("/mcp/up", &session, &id), 2)), [1], "an id of old keys is no error here");
}
