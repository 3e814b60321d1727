//! What happens outside of any request: subscriptions, lists that change, the stream of GET.

use super::upstreams::{event, events_reply, legacy_that_can, modern_that_can, silence};
use super::*;

const TELLS: &str = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true}}"#;
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

fn answers(method: &str, params: &Value) -> String {
    match method {
        "resources/list" => r#"{"resources":[{"uri":"test://a","name":"a"}]}"#.into(),
        "resources/subscribe" | "resources/unsubscribe" => "{}".into(),
        _ => super::upstreams::echo(method, params),
    }
}

/// A modern server that says `said` on a stream that listens, after it has acknowledged everything.
fn modern_teller(said: fn(&Value) -> Vec<Piece>) -> Upstream {
    let inner = modern_that_can(TELLS, answers);
    Box::new(move |sent| match &*sent.method() {
        "subscriptions/listen" => {
            let message = sent.json();
            let acknowledged = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
                "notifications": message["params"]["notifications"], "_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}});
            let mut pieces = vec![event(acknowledged)];
            pieces.extend(said(&message));
            pieces.push(silence());
            events_reply(pieces)
        }
        _ => inner(sent),
    })
}

/// A legacy server that says `said` on the stream of GET.
fn legacy_teller(said: fn() -> Vec<Piece>) -> Upstream {
    let inner = legacy_that_can(TELLS, answers, Rc::default(), 404);
    Box::new(move |sent| {
        if sent.body.is_empty() && sent.header("content-type").is_some() {
            return Reply::Answer(200, vec![], vec![]);
        }
        if sent.body.is_empty() {
            assert_eq!((sent.header("accept"), sent.header("content-type")), (Some("text/event-stream"), None));
            return events_reply(said().into_iter().chain([silence()]).collect());
        }
        inner(sent)
    })
}

fn get(path: &str) -> Request<Vec<u8>> {
    let mut request = without_header(with_body(Era::Legacy.list(path), ""), "content-type");
    *request.method_mut() = http::Method::GET;
    request
}

fn listen(path: &str, filter: &str) -> Request<Vec<u8>> {
    Era::Modern.request_with_id(path, "\"l\"", "subscriptions/listen", &format!(r#""notifications":{{{filter}}}"#))
}

fn methods(got: &Got) -> Vec<String> {
    got.events()
        .iter()
        .map(|event| event["method"].as_str().unwrap_or("answer").replace("notifications/", ""))
        .collect()
}

#[test]
fn a_legacy_client_hears_on_get_what_a_server_of_either_era_announces() {
    let modern = modern_teller(|_| vec![Piece::Wait(Duration::from_secs(1)), event(CHANGED)]);
    let legacy = legacy_teller(|| vec![Piece::Wait(Duration::from_secs(1)), event(CHANGED)]);
    for upstream in [legacy, modern] {
        let world = World::with(upstream);
        world.serve(Era::Legacy.list("/mcp"));
        let got = world.serve_until(get("/mcp/up"), 2);
        assert_eq!((got.status, got.pieces[0].as_str()), (OK, ":\n\n"), "it begins at once");
        assert_eq!(methods(&got), ["tools/list_changed"]);
        world.sent();
        world.serve(Era::Legacy.list("/mcp"));
        assert_eq!(world.methods(), ["tools/list"], "and what was kept of that list is not believed any more");
    }
}

#[test]
fn a_modern_client_hears_what_it_asked_for_from_servers_of_both_eras_in_one_stream() {
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
    let a = modern_teller(|listen| {
        let meta = serde_json::json!({"io.modelcontextprotocol/subscriptionId": listen["id"]});
        vec![
            Piece::Wait(Duration::from_secs(1)),
            event(
                serde_json::json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": meta}}),
            ),
            event(
                serde_json::json!({"jsonrpc": "2.0", "id": listen["id"], "result": {"resultType": "complete", "_meta": meta}}),
            ),
        ]
    });
    let b = legacy_teller(|| {
        vec![
            Piece::Wait(Duration::from_secs(2)),
            event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}"#),
            event(r#"{"jsonrpc":"2.0","id":4,"method":"roots/list"}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"x":1.0}}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"test://a"}}"#),
        ]
    });
    let world = World::new(file, vec![("https://a.example/mcp", a), ("https://b.example/mcp", b)]);
    let filter = r#""toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["gatehouse://b/test://a","nobody:x"]"#;
    let got = world.serve(listen("/mcp", filter));
    assert_eq!(
        methods(&got),
        ["subscriptions/acknowledged", "tools/list_changed", "tools/list_changed", "resources/updated", "answer"]
    );
    let events = got.events();
    let accepted = serde_json::json!({"toolsListChanged": true, "resourceSubscriptions": ["gatehouse://b/test://a"]});
    assert_eq!(events[0]["params"]["notifications"], accepted, "what nobody would say is not acknowledged");
    assert_eq!(events[3]["params"]["uri"], "gatehouse://b/test://a", "by the name that was asked for");
    assert!(events[..4].iter().all(|event| event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "l"));
    assert!(got.text().contains(r#""x":1.0"#));
    let result = &events[4]["result"];
    assert_eq!(
        (&result["resultType"], &result["_meta"]["io.modelcontextprotocol/subscriptionId"]),
        (&"complete".into(), &"l".into())
    );
    let sent = world.sent();
    let subscribed: Vec<String> =
        sent.iter().filter(|sent| sent.body.contains("\"test://a\"")).map(Sent::method).collect();
    assert_eq!(subscribed, ["resources/subscribe"]);
    assert!(sent.iter().any(|sent| sent.body.contains("-32601") && sent.json()["id"] == 4), "a request is refused");
}

#[test]
fn what_a_server_does_not_accept_is_not_acknowledged() {
    let inner = modern_that_can(TELLS, answers);
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "subscriptions/listen" => {
            let accepted = r#"{"toolsListChanged":false,"resourceSubscriptions":["test://a"]}"#;
            events_reply(vec![event(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{accepted}}}}}"#
            ))])
        }
        _ => inner(sent),
    }));
    let filter =
        r#""toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["test://a","test://b"]"#;
    let got = world.serve(listen("/mcp", filter));
    let accepted = serde_json::json!({"resourceSubscriptions": ["test://a"]});
    assert_eq!(got.events()[0]["params"]["notifications"], accepted);
}

#[test]
fn on_its_own_route_a_modern_server_does_all_of_it_itself() {
    let world = World::with(modern_teller(|listen| {
        assert_eq!(listen["params"]["notifications"]["taskIds"][0], "t", "what is not known passes too");
        vec![event(r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"t","x":1.0}}"#)]
    }));
    let got = world.serve(listen("/mcp/up", r#""taskIds":["t"]"#));
    assert_eq!(methods(&got)[..2], ["subscriptions/acknowledged", "tasks"]);
    assert!(got.text().contains(r#""x":1.0"#));
}

#[test]
fn what_a_legacy_client_subscribes_to_while_it_listens_is_listened_for_at_a_modern_server() {
    let world = World::with(modern_teller(|listen| {
        let wait = Piece::Wait(Duration::from_secs(600));
        match listen["params"]["notifications"]["resourceSubscriptions"][0].as_str() {
            Some(uri) => {
                let updated = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri, "x": 1.5}});
                vec![Piece::Wait(Duration::from_secs(1)), event(updated), wait]
            }
            None => vec![wait],
        }
    }));
    let subscribe = |method: &str| world.serve(Era::Legacy.request("/mcp/up", method, r#""uri":"test://a""#));
    let mut subscribed = false;
    let mut served = 0;
    let heard = Rc::new(RefCell::new(Heard::default()));
    let client = Client { heard: heard.clone(), leaves_after: 4 };
    let mut stream = Box::pin(world::serve(&world, get("/mcp/up"), client));
    world.run(poll_fn(|context| {
        if !heard.borrow().pieces.is_empty() && !std::mem::replace(&mut subscribed, true) {
            assert_eq!(subscribe("resources/subscribe").text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        }
        served += 1;
        stream.as_mut().poll(context)
    }));
    let text = heard.borrow().pieces.concat();
    assert_eq!(
        text.matches("notifications/resources/updated").count(),
        2,
        "once because it may have been, once because it was: {text}"
    );
    assert!(text.contains("1.5") && served > 0);
    assert_eq!(subscribe("resources/unsubscribe").status, OK);
    world.sent();
    let got = world.serve_until(get("/mcp/up"), 1);
    assert_eq!(got.status, OK);
    assert!(world.sent().iter().all(|sent| !sent.body.contains("test://a")));
}

/// A server that does not accept a URI is not asked for it every two seconds, and nothing is said to have been updated.
#[test]
fn what_a_modern_server_does_not_accept_is_asked_for_once() {
    let inner = modern_that_can(TELLS, answers);
    let listens = Rc::new(RefCell::new(Vec::new()));
    let seen = listens.clone();
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "subscriptions/listen" => {
            seen.borrow_mut().push(sent.json()["params"]["notifications"]["resourceSubscriptions"].clone());
            let acknowledged = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}"#;
            events_reply(vec![event(acknowledged), Piece::Wait(Duration::from_secs(3600)), silence()])
        }
        _ => inner(sent),
    }));
    let mut streams = vec![world.begin(get("/mcp/up"))];
    world.go_on(&mut streams, |all| !all[0].text().is_empty());
    let subscribe = |uri: &str| {
        let request = Era::Legacy.request("/mcp/up", "resources/subscribe", &format!(r#""uri":"{uri}""#));
        assert_eq!(world.serve(request).status, OK);
    };
    for uri in ["test://a", "test://b"] {
        subscribe(uri);
        let until = world.elapsed() + Duration::from_secs(60);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
    }
    let asked = listens.borrow();
    assert_eq!(
        asked[1..],
        [serde_json::json!(["test://a"]), serde_json::json!(["test://a", "test://b"])],
        "once for each change: {asked:?}"
    );
    assert!(streams[0].text().matches("resources/updated").count() <= 2, "{}", streams[0].text());
}

/// A stream that has to end while a server is told something says so, like every other.
#[test]
fn a_stream_that_loses_its_seat_while_a_server_is_answered_has_an_end() {
    let inner = legacy_that_can(TELLS, answers, Rc::default(), 404);
    let slow = Rc::new(Cell::new(true));
    let world = World::new(
        r#"{"streams":1,"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#,
        vec![(
            "https://up.example/mcp",
            Box::new(move |sent| {
                let is_get = sent.body.is_empty() && sent.header("content-type").is_none();
                match (is_get, sent.json()["result"].is_object()) {
                    (true, _) if slow.replace(false) => {
                        let ping = r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#;
                        events_reply(vec![Piece::Wait(Duration::from_secs(9)), event(ping), silence()])
                    }
                    (true, _) => events_reply(vec![Piece::Wait(Duration::from_secs(3600)), silence()]),
                    (_, true) => Reply::Slow(Duration::from_secs(50), Box::new(Reply::Answer(202, vec![], vec![]))),
                    _ => inner(sent),
                }
            }),
        )],
    );
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(world.begin(listen("/mcp", r#""toolsListChanged":true"#)));
        let until = world.elapsed() + Duration::from_secs(10);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
    }
    let until = world.elapsed() + Duration::from_secs(15);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    let got = streams[0].got().expect("it has an end");
    assert_eq!(methods(&got), ["subscriptions/acknowledged", "answer"]);
}

#[test]
fn a_legacy_clients_subscription_passes_to_a_legacy_server_and_is_unknown_where_nothing_is_watched() {
    let world = World::with(legacy_teller(Vec::new));
    let subscribe =
        |world: &World| world.serve(Era::Legacy.request("/mcp", "resources/subscribe", r#""uri":"test://a""#));
    assert_eq!(subscribe(&world).json()["result"], serde_json::json!({}));
    assert_eq!(world.sent().last().unwrap().method(), "resources/subscribe");
    let world = World::with(modern_that_can(r#"{"resources":{}}"#, answers));
    assert_eq!(subscribe(&world).error(), (OK, -32601));
}

#[test]
fn a_stream_does_not_last_for_ever_and_gives_signs_of_life() {
    let world = World::with(legacy_teller(|| vec![Piece::Wait(Duration::from_secs(100_000))]));
    let got = world.serve(get("/mcp"));
    assert!(got.finished && world.elapsed() <= Duration::from_secs(31 * 60));
    assert!(got.pieces.len() > 100, "every 15 seconds");
    let got = world.serve_until(listen("/mcp", r#""toolsListChanged":true"#), 2);
    assert!(!got.finished, "a client that has gone is found out");
}

#[test]
fn get_is_checked_like_every_request() {
    let world = World::with(legacy_teller(Vec::new));
    assert_eq!(world.serve(with_header(get("/mcp"), "accept", "application/json")).error().0, 406);
    assert_eq!(world.serve(with_header(get("/mcp"), "mcp-protocol-version", "x")).error().0, 400);
    assert_eq!(world.serve(with_header(get("/mcp"), "mcp-protocol-version", "2026-07-28")).error().0, 405);
    assert_eq!(world.serve(get("/mcp/nobody")).error().0, 404);
    let mut request = listen("/mcp", "");
    let body = String::from_utf8(request.body().clone()).unwrap().replace("notifications\":{}", "notifications\":7");
    *request.body_mut() = body.into_bytes();
    assert_eq!(world.serve(request).error(), (OK, -32602));
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(world.serve(get("/mcp")).error().0, 401);
}

/// R42: a modern client that comes again while its old stream is open, or that watches resources, disturbs no other one.
#[test]
fn a_modern_client_gets_a_session_of_its_own_where_it_needs_one_and_ends_it() {
    for (filter, says) in [
        (r#""toolsListChanged":true"#, "tools/list_changed"),
        (r#""resourceSubscriptions":["test://a"]"#, "resources/updated"),
    ] {
        let inner = legacy_that_can(TELLS, answers, Rc::default(), 404);
        let world = World::with(Box::new(move |sent| {
            match (sent.body.is_empty(), sent.header("accept"), sent.header("mcp-session-id")) {
                (true, Some("text/event-stream"), Some("session-1")) => Reply::Answer(409, vec![], vec![]),
                (true, Some("text/event-stream"), _) => {
                    let said =
                        format!(r#"{{"jsonrpc":"2.0","method":"notifications/{says}","params":{{"uri":"test://a"}}}}"#);
                    events_reply(vec![Piece::Wait(Duration::from_secs(1)), event(said), silence()])
                }
                (true, ..) => Reply::Answer(200, vec![], vec![]),
                _ => inner(sent),
            }
        }));
        let got = world.serve(listen("/mcp/up", filter));
        assert_eq!(methods(&got), ["subscriptions/acknowledged", says, "answer"]);
        let sent = world.sent();
        let own = sent.iter().skip_while(|sent| sent.header("mcp-session-id") != Some("session-2"));
        let own: Vec<_> = own.map(|sent| (sent.body.is_empty(), sent.header("mcp-session-id"))).collect();
        let (own_get, own_post) = ((true, Some("session-2")), (false, Some("session-2")));
        let expected = [own_post, own_get, own_post, own_get];
        match says {
            "resources/updated" => assert_eq!(own, expected, "opened, heard, subscribed to, ended"),
            _ => assert_eq!(own, [own_post, own_get, own_get], "opened, heard, ended"),
        }
    }
}

#[test]
fn a_person_has_so_many_streams_and_the_oldest_ends_for_a_new_one() {
    fn silent(_: &Value) -> Vec<Piece> {
        vec![Piece::Wait(Duration::from_secs(3600))]
    }
    for (request, says) in [
        (get("/mcp"), vec![]),
        (listen("/mcp", r#""toolsListChanged":true"#), vec!["subscriptions/acknowledged", "answer"]),
        // The server's own stream, which just ends.
        (listen("/mcp/up", r#""toolsListChanged":true"#), vec!["subscriptions/acknowledged"]),
    ] {
        let file = r#"{"streams":2,"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#;
        let world = World::new(file, vec![("https://up.example/mcp", modern_teller(silent))]);
        let mut streams: Vec<_> = Vec::new();
        for _ in 0..3 {
            streams.push(world.begin(request.clone()));
            let until = world.elapsed() + Duration::from_secs(40);
            world.go_on(&mut streams, |_| world.elapsed() > until);
        }
        assert_eq!([0, 1, 2].map(|at| streams[at].is_over()), [true, false, false], "{request:?}");
        assert_eq!(methods(&streams[0].got().expect("it has an end")), says);
    }
    for wrong in ["65", "-1", "1.5", "\"5\""] {
        let file = format!(r#"{{"streams":{wrong},"mcpServers":{{}}}}"#);
        assert!(World::new(&file, vec![]).serve(get("/mcp")).text().contains("has to be 0 to 64"), "{wrong}");
    }
}

fn silent(_: &Value) -> Vec<Piece> {
    vec![Piece::Wait(Duration::from_secs(3600))]
}

/// The four kinds of streams that only listen.
fn listeners() -> [Request<Vec<u8>>; 4] {
    let one = r#""toolsListChanged":true"#;
    [get("/mcp"), listen("/mcp", one), listen("/mcp/up", one), get("/mcp/sse")]
}

fn two_seats() -> World {
    let file = r#"{"streams":2,"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#;
    World::new(file, vec![("https://up.example/mcp", modern_teller(silent))])
}

/// A06: the host knows that a client has gone before anything is written to it.
#[test]
fn a_client_that_has_gone_frees_its_seat_within_seconds_and_ends_no_stream_that_is_read() {
    for request in listeners() {
        let world = two_seats();
        let go_on = |streams: &mut Vec<Serving<'_>>, time: Duration| {
            let until = world.elapsed() + time;
            world.go_on(streams, |_| world.elapsed() >= until);
        };
        let mut streams = vec![world.begin(request.clone())];
        go_on(&mut streams, Duration::from_secs(20));
        for _ in 0..6 {
            streams.push(world.begin_until(request.clone(), 1));
            go_on(&mut streams, Duration::from_secs(5));
        }
        go_on(&mut streams, Duration::from_secs(2));
        let over: Vec<bool> = streams.iter().map(Serving::is_over).collect();
        assert_eq!(over, [false, true, true, true, true, true, true], "{request:?}");
        let seats = world.store.borrow().keys().filter(|key| key.starts_with("g.o.")).count();
        assert_eq!(seats, 1, "{request:?}");
    }
}

/// A06, L02: streams that come all at once are refused, as long as seats change hands, and push nobody out.
#[test]
fn a_crowd_of_streams_is_refused_and_ends_no_stream_that_is_read() {
    for request in listeners() {
        let world = two_seats();
        let mut streams = vec![world.begin(request.clone())];
        let until = world.elapsed() + Duration::from_secs(20);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
        streams.extend((0..20).map(|_| world.begin_until(request.clone(), 1)));
        let until = world.elapsed() + Duration::from_secs(20);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
        assert!(!streams[0].is_over(), "{request:?}");
        let refused = streams[1..].iter().filter_map(Serving::got).filter(|got| got.status == 429);
        let refused: Vec<_> = refused.map(|got| got.header("retry-after").map(str::to_owned)).collect();
        assert!(refused.len() > 10 && refused.iter().all(Option::is_some), "{request:?}: {refused:?}");
    }
}
