//! Clients of 2024-11-05: one stream to hear, POSTs to speak, each of them at another instance.

use std::pin::Pin;

use super::upstreams::{echo, event, events_reply, json_reply, legacy, legacy_that_can, modern};
use super::*;

/// A stream that is held open, and what was heard on it.
struct Stream<'w> {
    world: &'w World,
    served: Pin<Box<dyn Future<Output = ()> + 'w>>,
    heard: Rc<RefCell<Heard>>,
    over: bool,
}

impl<'w> Stream<'w> {
    fn open(world: &'w World, path: &str) -> Self {
        Self::open_until(world, path, usize::MAX)
    }

    /// The client closes its connection after so many writes.
    fn open_until(world: &'w World, path: &str, leaves_after: usize) -> Self {
        Self::open_by(world, get(path), leaves_after)
    }

    fn open_by(world: &'w World, request: Request<Vec<u8>>, leaves_after: usize) -> Self {
        let heard = Rc::new(RefCell::new(Heard::default()));
        let client = Client { heard: heard.clone(), leaves_after };
        let mut stream = Self { world, served: Box::pin(world::serve(world, request, client)), heard, over: false };
        stream.run_until(|stream| !stream.heard.borrow().pieces.is_empty());
        stream
    }

    /// Where messages are to be sent to.
    fn endpoint(&self) -> String {
        let said = self.heard.borrow().pieces.concat();
        let said = said.strip_prefix("event: endpoint\ndata: ").unwrap_or_else(|| panic!("{said}"));
        said.lines().next().unwrap().to_owned()
    }

    fn post(&mut self, body: &str) -> u16 {
        let request = message(&self.endpoint(), body);
        self.serve(request).status
    }

    /// Serves another request while the stream is open.
    fn serve(&mut self, request: Request<Vec<u8>>) -> Got {
        let heard = Rc::new(RefCell::new(Heard::default()));
        let client = Client { heard: heard.clone(), leaves_after: usize::MAX };
        let mut served = Box::pin(world::serve(self.world, request, client));
        self.world.run(poll_fn(|context| {
            self.over = self.over || self.served.as_mut().poll(context).is_ready();
            served.as_mut().poll(context)
        }));
        heard.take().into_got()
    }

    fn run_until(&mut self, reached: impl Fn(&Self) -> bool) {
        self.world.run(poll_fn(|context| {
            self.over = self.over || self.served.as_mut().poll(context).is_ready();
            if self.over || reached(self) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        }));
    }

    fn messages(&self) -> Vec<Value> {
        let text = self.heard.borrow().pieces.concat();
        let data = text.split("event: message\ndata: ").skip(1);
        data.map(|data| serde_json::from_str(data.lines().next().unwrap()).unwrap()).collect()
    }

    /// The first message for which this is true, as soon as it is there.
    fn hear(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.run_until(|stream| stream.messages().iter().any(&wanted));
        let all = self.messages();
        all.iter().find(|message| wanted(message)).unwrap_or_else(|| panic!("not heard, but {all:?}")).clone()
    }

    fn answer(&mut self, id: i64) -> Value {
        self.hear(|message| message["id"] == id && message["method"].is_null())
    }

    fn initialize(&mut self, version: &str, capabilities: &str) -> Value {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"old","version":"1"}}}}}}"#
        );
        assert_eq!(self.post(&body), 202);
        let answer = self.answer(0);
        assert_eq!(self.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), 202);
        answer["result"].clone()
    }
}

fn get(path: &str) -> Request<Vec<u8>> {
    Request::get(format!("{GATEWAY}{path}"))
        .header("accept", "text/event-stream")
        .header("authorization", format!("Bearer {BEARER}"))
        .body(Vec::new())
        .unwrap()
}

/// As an old client sends it: it wants no answer to read.
fn message(endpoint: &str, body: &str) -> Request<Vec<u8>> {
    with_header(with_body(post(endpoint).body(Vec::new()).unwrap(), body), "accept", "*/*")
}

fn call(id: i64, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":1}},"name":"{tool}","arguments":{{"message":"hi","n":1.0}}}}}}"#
    )
}

const PING: &str = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;

/// A16: what is sent for a message of a stream has passed as many Gatehouses as the stream.
#[test]
fn messages_of_a_stream_count_the_gatehouses_before_it() {
    let world = World::with(modern(echo));
    let mut stream = Stream::open_by(&world, with_header(get("/mcp/sse"), "gatehouse-hop", "1"), usize::MAX);
    stream.post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    stream.answer(1);
    let sent = world.sent();
    assert!(!sent.is_empty() && sent.iter().all(|sent| sent.header("gatehouse-hop") == Some("2")), "{sent:?}");
}

#[test]
fn the_first_event_says_where_to_post_and_what_is_posted_is_answered_on_the_stream() {
    for upstream in [legacy(echo), modern(echo)] {
        let world = World::with(upstream);
        let mut stream = Stream::open(&world, "/mcp/sse");
        assert!(stream.endpoint().starts_with("/mcp/sse?sessionId="), "of its own origin: {}", stream.endpoint());
        let described = stream.initialize("2024-11-05", "{}");
        assert_eq!(
            (&described["protocolVersion"], &described["serverInfo"]["name"]),
            (&"2024-11-05".into(), &"gatehouse".into())
        );
        assert_eq!(stream.post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#), 202);
        assert_eq!(stream.answer(1)["result"]["tools"][0]["name"], "up__echo");
        assert_eq!(stream.post(&call(2, "up__echo")), 202);
        let answer = stream.answer(2);
        assert_eq!(answer["result"]["content"][0]["text"], "hi of echo", "{answer}");
        assert!(answer["result"]["resultType"].is_null(), "as legacy clients know it");
        assert_eq!(stream.post(PING), 202);
        assert_eq!(stream.answer(7)["result"], serde_json::json!({}));
        let all = stream.heard.borrow().pieces.concat();
        assert_eq!(all.matches("event: message").count(), 4, "each is answered once: {all}");
    }
}

#[test]
fn one_server_has_such_a_stream_too_and_what_it_is_sent_goes_as_it_is() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/up/sse");
    assert!(stream.endpoint().starts_with("/mcp/up/sse?"));
    stream.initialize("2024-11-05", "{}");
    stream.post(&call(2, "echo"));
    stream.answer(2);
    let sent = world.sent().pop().unwrap();
    assert!(sent.body.contains(r#""name":"echo","arguments":{"message":"hi","n":1.0}}"#), "{}", sent.body);
    assert_eq!(world.serve(get("/mcp/nobody/sse")).error(), (404, -32602));
}

#[test]
fn the_version_is_the_clients_where_it_is_spoken_and_else_the_newest_of_its_era() {
    for (asked, told) in [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25")] {
        let world = World::with(legacy(echo));
        assert_eq!(Stream::open(&world, "/mcp/sse").initialize(asked, "{}")["protocolVersion"], told);
    }
}

#[test]
fn a_client_of_a_later_transport_gets_that_at_the_same_url() {
    let world = World::with(legacy(echo));
    let got = world.serve(Era::Legacy.list("/mcp/sse"));
    assert_eq!(got.tool_names()[0], "up__echo", "a POST that names no stream is answered");
    assert_eq!(world.serve(Era::Modern.list("/mcp/sse?sessionId=0.x")).tool_names()[0], "up__echo");
    let initialize =
        Era::Legacy.request("/mcp/sse", "initialize", r#""protocolVersion":"2025-11-25","capabilities":{}"#);
    let session = world.serve(initialize).header("mcp-session-id").unwrap().to_owned();
    let got = world.serve(with_header(get("/mcp/sse"), "mcp-session-id", &session));
    assert_eq!(got.status, 405, "its GET says which session it is of, and nothing announces anything here");
}

/// Tells its progress and takes its time, or asks for a form first.
fn slow(tool: &'static str) -> Upstream {
    let inner = legacy(echo);
    Box::new(move |sent| {
        if sent.body.is_empty() {
            return inner(sent);
        }
        let id = sent.json()["id"].to_string();
        let answer = event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#));
        match (sent.method().as_str(), tool) {
            ("tools/call", "slow") if sent.body.contains("slow") => events_reply(vec![
                event(
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1.0}}"#,
                ),
                Piece::Wait(Duration::from_secs(60)),
                answer,
            ]),
            ("tools/call", "asks") => events_reply(vec![
                event(
                    r#"{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1e1}}"#,
                ),
                Piece::Wait(Duration::from_secs(3)),
                answer,
            ]),
            _ => inner(sent),
        }
    })
}

#[test]
fn a_call_that_takes_its_time_holds_up_nothing_and_its_progress_is_heard_at_once() {
    let world = World::with(slow("slow"));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    stream.post(&call(2, "up__slow"));
    stream.hear(|message| message["method"] == "notifications/progress");
    stream.post(PING);
    stream.answer(7);
    stream.post(&call(3, "up__echo"));
    stream.answer(3);
    assert!(world.elapsed() < Duration::from_secs(5) && stream.messages().iter().all(|message| message["id"] != 2));
    assert!(stream.heard.borrow().pieces.concat().contains(r#""progress":1.0"#));
    stream.answer(2);
    assert!(world.elapsed() > Duration::from_secs(60));
}

#[test]
fn a_cancellation_reaches_the_call_and_the_server() {
    let world = World::with(slow("slow"));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    stream.post(&call(2, "up__slow"));
    stream.hear(|message| message["method"] == "notifications/progress");
    stream.post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    world.sent();
    stream.run_until(|_| world.elapsed() > Duration::from_secs(10));
    assert_eq!(world.methods(), ["notifications/cancelled"]);
    stream.run_until(|_| world.elapsed() > Duration::from_secs(70));
    assert!(stream.messages().iter().all(|message| message["id"] != 2), "and there is no answer");
}

#[test]
fn what_a_legacy_server_asks_is_asked_on_the_stream_and_its_answer_is_a_post() {
    let world = World::with(slow("asks"));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", r#"{"sampling":{},"roots":{}}"#);
    stream.post(&call(2, "up__echo"));
    let asked = stream.hear(|message| message["method"] == "sampling/createMessage");
    assert!(stream.heard.borrow().pieces.concat().contains(r#""maxTokens":1e1"#));
    world.sent();
    stream.post(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"role":"assistant","n":1.0}}}}"#, asked["id"]));
    stream.answer(2);
    let sent = world.sent();
    assert_eq!(sent[0].body, r#"{"jsonrpc":"2.0","id":5,"result":{"role":"assistant","n":1.0}}"#);
}

#[test]
fn what_a_modern_server_wants_is_asked_on_the_stream_and_sent_with_the_call_made_again() {
    let inner = modern(echo);
    let world = World::with(Box::new(move |sent| {
        let message = sent.json();
        if sent.method() != "tools/call" {
            return inner(sent);
        }
        let result = match &message["params"]["inputResponses"] {
            Value::Null => r#"{"resultType":"input_required","inputRequests":{"f":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}}}}"#.into(),
            given => format!(r#"{{"resultType":"complete","content":[],"structuredContent":{given}}}"#),
        };
        json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]))
    }));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2025-06-18", r#"{"elicitation":{}}"#);
    stream.post(&call(2, "up__echo"));
    let asked = stream.hear(|message| message["method"] == "elicitation/create");
    stream.post(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept"}}}}"#, asked["id"]));
    assert_eq!(stream.answer(2)["result"]["structuredContent"]["f"]["action"], "accept");
}

#[test]
fn what_servers_announce_is_heard_from_the_first_message_after_initialize_on() {
    let inner = legacy_that_can(r#"{"tools":{"listChanged":true}}"#, echo, Rc::default(), 404);
    let world = World::with(Box::new(move |sent| {
        if sent.body.is_empty() {
            let changed = event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            return events_reply(vec![Piece::Wait(Duration::from_secs(20)), changed]);
        }
        inner(sent)
    }));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    stream.hear(|message| message["method"] == "notifications/tools/list_changed");
    assert!(stream.heard.borrow().pieces.contains(&":\n\n".to_owned()), "and meanwhile there are signs of life");
}

#[test]
fn each_message_has_its_own_bearer() {
    let world = World::with_service(legacy(echo), [token("t")]);
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    let renewed = with_header(message(&stream.endpoint(), &call(2, "up__echo")), "authorization", "Bearer newer");
    assert_eq!(stream.serve(renewed).status, 202);
    stream.answer(2);
    let asked = world.asked.borrow();
    let bearers: Vec<&str> =
        asked.iter().rev().take(2).filter_map(|asked| Some(asked.bearer.as_ref()?.reveal())).collect();
    assert_eq!(bearers, ["newer", "newer"], "by who takes it, and by who works on it");
    assert!(asked.iter().all(|asked| asked.resource == format!("{GATEWAY}/mcp/sse")));
}

#[test]
fn a_post_is_refused_for_what_is_wrong_with_it() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    let endpoint = stream.endpoint();
    let right = || message(&endpoint, PING);
    let batch = format!("[{PING}]");
    for (request, expected) in [
        (message(&endpoint, "{"), (400, -32700)),
        (message(&endpoint, "7"), (400, -32600)),
        (message(&endpoint, &batch), (400, -32600)),
        (with_header(right(), "content-type", "text/plain"), (415, 415)),
        (with_header(right(), "mcp-protocol-version", "x"), (400, -32600)),
        (with_header(right(), "origin", "https://elsewhere.example"), (403, 403)),
        (message("/mcp/sse?sessionId=", PING), (404, 404)),
        (message("/mcp/sse?sessionId=0.x", PING), (404, 404)),
        (message("/mcp/sse?sessionId=300.x", PING), (404, 404)),
    ] {
        let path = request.uri().clone();
        assert_eq!(stream.serve(request).error(), expected, "{path}");
    }
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    let got = stream.serve(right());
    assert_eq!((got.error().0, got.header("www-authenticate")), (401, Some("Bearer error=\"invalid_token\"")));
    *world.resolve_error.borrow_mut() = None;
    assert_eq!(stream.messages().len(), 1, "nothing of it was heard by the stream");
    assert_eq!(stream.serve(with_header(right(), "mcp-protocol-version", "2024-11-05")).status, 202);
}

#[test]
fn nobody_but_its_subject_can_post_to_a_stream() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    world.sealing_key.set(8);
    assert_eq!(stream.post(PING), 404);
    world.sealing_key.set(7);
    assert_eq!(stream.post(PING), 202);
}

#[test]
fn a_bearer_that_ends_between_post_and_work_is_the_answer_to_its_request() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    let request = message(&stream.endpoint(), PING);
    let heard = Rc::new(RefCell::new(Heard::default()));
    let client = Client { heard: heard.clone(), leaves_after: usize::MAX };
    let mut served = Box::pin(world::serve(&world, request, client));
    // It is in the letterbox when the bearer ends.
    let _ = served.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(stream.answer(7)["error"]["code"], 401);
}

#[test]
fn messages_that_are_posted_at_once_are_all_heard_once() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    let heard: Vec<Rc<RefCell<Heard>>> = (0..8).map(|_| Rc::default()).collect();
    let mut posts: Vec<_> = heard
        .iter()
        .enumerate()
        .map(|(at, heard)| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, 100 + at);
            let client = Client { heard: heard.clone(), leaves_after: usize::MAX };
            Box::pin(world::serve(&world, message(&stream.endpoint(), &body), client))
        })
        .collect();
    world.run(poll_fn(|context| {
        // Every one of them finds the box as it was before the others came.
        let before = world.store.borrow().clone();
        let mut after = before.clone();
        posts.retain_mut(|post| {
            *world.store.borrow_mut() = before.clone();
            let over = post.as_mut().poll(context).is_ready();
            after.extend(world.store.borrow().clone());
            !over
        });
        *world.store.borrow_mut() = after;
        let _ = stream.served.as_mut().poll(context);
        if posts.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }));
    assert!(heard.into_iter().all(|heard| heard.take().into_got().status == 202));
    stream.hear(|message| message["id"] == 107);
    let mut ids: Vec<i64> = stream.messages().iter().filter_map(|message| message["id"].as_i64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 100, 101, 102, 103, 104, 105, 106, 107]);
}

#[test]
fn too_many_requests_at_once_are_refused_and_words_are_heard_all_the_same() {
    let world = World::with(slow("slow"));
    let mut stream = Stream::open(&world, "/mcp/sse");
    stream.initialize("2024-11-05", "{}");
    for id in 100..133 {
        assert_eq!(stream.post(&call(id, "up__slow")), 202);
    }
    assert_eq!(stream.answer(132)["error"]["message"], "Too many requests at once");
    stream.post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":100}}"#);
    world.sent();
    stream.run_until(|_| world.elapsed() > Duration::from_secs(20));
    assert_eq!(world.methods(), ["notifications/cancelled"]);
    stream.post(PING);
    stream.answer(7);
}

#[test]
fn a_client_that_goes_ends_its_calls_and_its_stream() {
    let world = World::with(slow("slow"));
    let mut stream = Stream::open_until(&world, "/mcp/sse", 3);
    stream.initialize("2024-11-05", "{}");
    stream.post(&call(2, "up__slow"));
    let endpoint = stream.endpoint();
    stream.run_until(|stream| stream.over);
    assert!(world.elapsed() < Duration::from_secs(40), "found out by a sign of life");
    assert_eq!(world.sent().last().unwrap().method(), "notifications/cancelled", "the server need not go on");
    assert_eq!(world.serve(message(&endpoint, PING)).error().0, 404);
    assert!(world.store.borrow().keys().all(|key| !key.starts_with("g.o.") && !key.starts_with("g.b.")));
}

#[test]
fn a_post_to_a_stream_whose_instance_was_killed_is_404_in_bounded_time_and_leaves_no_bearer() {
    let world = World::with(legacy(echo));
    let stream = Stream::open(&world, "/mcp/sse");
    let endpoint = stream.endpoint();
    drop(stream);
    let got = world.serve(message(&endpoint, PING));
    assert_eq!(got.error().0, 404);
    assert!(world.elapsed() < Duration::from_secs(12));
    assert!(world.store.borrow().keys().all(|key| !key.starts_with("g.b.")));
}

#[test]
fn what_is_stored_of_a_message_opens_for_nobody_else() {
    let world = World::with(legacy(echo));
    let stream = Stream::open(&world, "/mcp/sse");
    let request = message(&stream.endpoint(), &call(2, "up__echo"));
    let heard = Rc::new(RefCell::new(Heard::default()));
    let mut served = Box::pin(world::serve(&world, request, Client { heard, leaves_after: usize::MAX }));
    let _ = served.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let stored: Vec<u8> = world.store.borrow().values().flatten().copied().collect();
    let holds = |text: &str| stored.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(stored.len() > 200 && !holds(BEARER) && !holds("echo"));
}

#[test]
fn a_stream_lasts_half_an_hour_at_most_and_looks_less_often_when_nobody_speaks() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    let before = world.loads.get();
    stream.run_until(|_| world.elapsed() > Duration::from_secs(60));
    assert!(world.loads.get() - before < 60 * 5, "four looks in a second, and one for the seat every 5");
    stream.run_until(|stream| stream.over);
    assert!(world.elapsed() < Duration::from_secs(31 * 60));
    assert!(stream.heard.borrow().pieces.len() > 100);
}

/// A26: its end and the looks at its seat are those of the clock as it is now.
#[test]
fn a_stream_whose_clock_is_set_back_lasts_no_longer_and_finds_its_seat_taken() {
    let world = World::with(legacy(echo));
    world.ahead.set(3600);
    let mut stream = Stream::open(&world, "/mcp/sse");
    world.ahead.set(0);
    stream.run_until(|stream| stream.over);
    assert!(world.elapsed() < Duration::from_secs(31 * 60), "{:?}", world.elapsed());

    world.ahead.set(3600);
    let mut stream = Stream::open(&world, "/mcp/sse");
    world.ahead.set(0);
    let before = world.elapsed();
    // Its seat is free in the eyes of the newcomer.
    let _newcomer = Stream::open(&world, "/mcp/sse");
    stream.run_until(|stream| stream.over);
    assert!(world.elapsed() - before < Duration::from_secs(30));
}

#[test]
fn a_get_that_wants_no_events_or_has_no_bearer_is_refused() {
    let world = World::with(legacy(echo));
    assert_eq!(world.serve(with_header(get("/mcp/sse"), "accept", "application/json")).error().0, 406);
    assert_eq!(world.serve(with_header(get("/mcp/sse"), "mcp-protocol-version", "2026-07-28")).error().0, 405);
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(world.serve(get("/mcp/sse")).error().0, 401);
}

#[test]
fn a_person_has_64_streams_and_the_65th_takes_the_place_of_the_oldest() {
    let world = World::with(legacy(echo));
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(Stream::open(&world, "/mcp/sse"));
        world.pass(1);
    }
    let mut newest = Stream::open(&world, "/mcp/sse");
    assert_eq!(newest.post(PING), 202);
    world.pass(15);
    let still_open: Vec<usize> = (0..64)
        .filter(|at| {
            let stream = &mut streams[*at];
            let until = world.elapsed() + Duration::from_secs(1);
            stream.run_until(|_| world.elapsed() > until);
            !stream.over
        })
        .collect();
    assert_eq!(still_open, (1..64).collect::<Vec<_>>());
    drop(streams);
    let mut another = Stream::open(&world, "/mcp/sse");
    assert_eq!(another.post(PING), 202);
}

#[test]
fn streams_that_are_opened_at_once_do_not_share_a_seat() {
    let world = World::with(legacy(echo));
    let heard: Vec<Rc<RefCell<Heard>>> = (0..2).map(|_| Rc::default()).collect();
    let open = |heard: &Rc<RefCell<Heard>>| {
        let client = Client { heard: heard.clone(), leaves_after: usize::MAX };
        Box::pin(world::serve(&world, get("/mcp/sse"), client))
    };
    let mut served: Vec<_> = heard.iter().map(open).collect();
    let found = world.store.borrow().clone();
    world.run(poll_fn(|context| {
        for stream in &mut served {
            if world.elapsed().is_zero() {
                // Both find the same seats free; the later one writes over the other.
                *world.store.borrow_mut() = found.clone();
            }
            assert!(stream.as_mut().poll(context).is_pending());
        }
        let both = heard.iter().all(|heard| !heard.borrow().pieces.is_empty());
        if both { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }));
    let seats: Vec<String> =
        heard.iter().map(|heard| heard.borrow().pieces[0].split(['=', '.']).nth(1).unwrap().to_owned()).collect();
    assert_ne!(seats[0], seats[1]);
}

#[test]
fn a_message_that_is_put_in_again_is_not_heard_again() {
    let world = World::with(legacy(echo));
    let mut stream = Stream::open(&world, "/mcp/sse");
    let client = Client { heard: Rc::default(), leaves_after: usize::MAX };
    let mut served = Box::pin(world::serve(&world, message(&stream.endpoint(), PING), client));
    let _ = served.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let posted = world.store.borrow().clone();
    stream.answer(7);
    *world.store.borrow_mut() = posted;
    let until = world.elapsed() + Duration::from_secs(1);
    stream.run_until(|_| world.elapsed() > until);
    assert_eq!(stream.messages().len(), 1);
    world.run(served);
}
