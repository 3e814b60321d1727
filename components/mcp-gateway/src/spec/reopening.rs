//! A server's stream that ends is opened again, and a client that comes again hears what comes.

use super::upstreams::{echo, event, events_reply, json_reply, legacy_that_can, modern_that_can, silence};
use super::*;

const TELLS: &str = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true}}"#;
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
const FILE: &str = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;

type Times = Rc<RefCell<Vec<Duration>>>;

/// A server of either era that gives `stream` when it is asked for its stream for the so many-th time (from 0), and when
/// that was.
fn telling(is_modern: bool, stream: impl Fn(usize, &Sent) -> Reply + 'static) -> (Upstream, Times, Timer) {
    let times = Times::default();
    let timer = Timer::default();
    let inner = if is_modern { modern_that_can(TELLS, echo) } else { legacy_that_can(TELLS, echo, Rc::default(), 404) };
    let (asked, clock) = (times.clone(), timer.clone());
    let upstream: Upstream = Box::new(move |sent| {
        let is_stream = sent.method() == "subscriptions/listen"
            || (sent.body.is_empty() && sent.header("accept") == Some("text/event-stream"));
        if !is_stream {
            return inner(sent);
        }
        asked.borrow_mut().push(clock.now());
        let count = asked.borrow().len() - 1;
        match stream(count, sent) {
            Reply::Answer(200, headers, pieces) if is_modern => {
                let message = sent.json();
                let acknowledged = serde_json::json!({"jsonrpc": "2.0",
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {"notifications": message["params"]["notifications"]}});
                Reply::Answer(200, headers, [event(acknowledged)].into_iter().chain(pieces).collect())
            }
            reply => reply,
        }
    });
    (upstream, times, timer)
}

fn world(upstreams: [(Upstream, Timer); 2]) -> World {
    let [(a, one), (b, two)] = upstreams;
    let world = World::new(FILE, vec![("https://a.example/mcp", a), ("https://b.example/mcp", b)]);
    one.start(&world);
    two.start(&world);
    world
}

fn get(path: &str) -> Request<Vec<u8>> {
    let mut request = without_header(with_body(Era::Legacy.list(path), ""), "content-type");
    *request.method_mut() = http::Method::GET;
    request
}

fn listen(path: &str) -> Request<Vec<u8>> {
    Era::Modern.request_with_id(path, "\"l\"", "subscriptions/listen", r#""notifications":{"toolsListChanged":true}"#)
}

fn wait(seconds: u64) -> Piece {
    Piece::Wait(Duration::from_secs(seconds))
}

fn heard(got: &Got) -> usize {
    got.events().iter().filter(|event| event["method"] == "notifications/tools/list_changed").count()
}

/// Serves `request` for so long.
fn for_so_long(world: &World, request: Request<Vec<u8>>, seconds: u64) -> String {
    let mut streams = [world.begin(request)];
    let until = world.elapsed() + Duration::from_secs(seconds);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    let [stream] = streams;
    stream.text()
}

/// R25: clients and servers of both eras.
#[test]
fn the_stream_of_one_server_that_ends_is_opened_again_after_a_pause_that_grows() {
    for is_modern in [false, true] {
        for request in [get("/mcp"), listen("/mcp")] {
            let (a, times, one) = telling(is_modern, |count, _| match count {
                0..5 => events_reply(vec![wait(1)]),
                _ => events_reply(vec![wait(1), event(CHANGED), silence()]),
            });
            let (b, others, two) = telling(false, |_, _| events_reply(vec![silence()]));
            let world = world([(a, one), (b, two)]);
            let text = for_so_long(&world, request, 120);
            assert_eq!(text.matches("list_changed").count(), 1, "{text}");
            let times = times.borrow();
            let pauses: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64() - 1.0).collect();
            assert_eq!(pauses.len(), 5);
            for (pause, least) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
                assert!((least..least * 1.5).contains(pause), "{pauses:?}");
            }
            assert_eq!(others.borrow().len(), 1, "the other one's lasts");
        }
    }
}

/// R25: on a server's own route; a server that is down for a while; and one whose stream lasts begins with short pauses.
#[test]
fn a_server_that_is_down_for_a_while_is_heard_again() {
    let (up, times, timer) = telling(false, |count, _| match count {
        0 => events_reply(vec![wait(1)]),
        1..4 => Reply::Fails(SendError::Connection),
        4..6 => Reply::Answer(503, vec![], vec![]),
        6 => events_reply(vec![event(CHANGED), wait(100)]),
        _ => events_reply(vec![event(CHANGED), silence()]),
    });
    let world = World::with(up);
    timer.start(&world);
    let text = for_so_long(&world, get("/mcp/up"), 400);
    assert_eq!(text.matches("list_changed").count(), 2, "{text}");
    let times = times.borrow();
    let last = times[7] - times[6] - Duration::from_secs(100);
    assert!(last < Duration::from_secs(2), "{last:?}");
}

/// R25: the pause stays long for as long as the server is down.
#[test]
fn a_server_that_stays_down_is_asked_about_once_a_minute() {
    let (up, times, timer) = telling(false, |count, _| match count {
        0 => events_reply(vec![wait(1)]),
        _ => Reply::Fails(SendError::Connection),
    });
    let world = World::with(up);
    timer.start(&world);
    for_so_long(&world, get("/mcp/up"), 1500);
    let times = times.borrow();
    let pauses: Vec<u64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert!(pauses.len() > 10 && pauses[7..].iter().all(|pause| *pause >= 59), "{pauses:?}");
}

/// R25: it goes on after the last event, when the server gave that an id, and waits as long as the server says.
#[test]
fn a_stream_with_ids_goes_on_after_the_last_event() {
    let (up, times, timer) = telling(false, |count, sent| {
        let after = sent.header("last-event-id");
        match count {
            0 => {
                assert_eq!(after, None);
                let said = format!("id: e7\nretry: 3000\ndata: {CHANGED}\n\n");
                events_reply(vec![Piece::Bytes(said.into_bytes()), wait(1)])
            }
            1 => {
                assert_eq!(after, Some("e7"));
                Reply::Answer(400, vec![], vec![])
            }
            _ => {
                assert_eq!(after, None, "the server does not know the event any more");
                events_reply(vec![event(CHANGED), silence()])
            }
        }
    });
    let world = World::with(up);
    timer.start(&world);
    let text = for_so_long(&world, get("/mcp"), 60);
    assert_eq!(text.matches("list_changed").count(), 2, "{text}");
    let times = times.borrow();
    let pause = times[1] - times[0];
    assert!(pause >= Duration::from_secs(4) && pause < Duration::from_secs(6), "{pause:?}");
    assert_eq!(times.len(), 3);
}

/// R25: what says for good that there is no such stream is asked once.
#[test]
fn a_server_that_has_no_stream_any_more_is_not_asked_again() {
    for is_modern in [false, true] {
        for (request, says) in [(get("/mcp"), 0), (listen("/mcp"), 1)] {
            let none = move |sent: &Sent| match is_modern {
                true => json_reply(
                    404,
                    serde_json::json!({"jsonrpc": "2.0", "id": sent.json()["id"], "error": {"code": -32601, "message": "no"}}),
                ),
                false => Reply::Answer(405, vec![], vec![]),
            };
            let (a, times, one) = telling(is_modern, move |count, sent| match count {
                0 => events_reply(vec![event(CHANGED), wait(1)]),
                _ => none(sent),
            });
            let (b, others, two) = telling(is_modern, move |_, sent| none(sent));
            let world = world([(a, one), (b, two)]);
            let got = world.serve(request);
            assert_eq!((heard(&got), times.borrow().len(), others.borrow().len()), (1, 2, 1));
            assert!(got.finished && world.elapsed() < Duration::from_secs(5), "it ends when no server has one");
            assert_eq!(got.events().iter().filter(|event| event["id"] == "l").count(), says);
        }
    }
}

/// R25: a server that ends its stream at once is not asked without end.
#[test]
fn a_stream_that_never_lasts_costs_a_bounded_number_of_requests() {
    for is_modern in [false, true] {
        let (a, times, one) = telling(is_modern, |_, _| {
            events_reply(vec![Piece::Bytes(format!("id: e\nretry: 0\ndata: {CHANGED}\n\n").into_bytes())])
        });
        let (b, _, two) = telling(false, |_, _| events_reply(vec![silence()]));
        let world = world([(a, one), (b, two)]);
        let got = world.serve(get("/mcp"));
        assert!(got.finished && world.elapsed() <= Duration::from_secs(31 * 60));
        assert!(times.borrow().len() < 60, "{}", times.borrow().len());
    }
}

/// Which sessions have a stream open at a server.
type Open = Rc<RefCell<Vec<String>>>;

/// A server that gives each session one stream at a time, as those of the TypeScript SDK do. Gives also how many sessions
/// were opened: the last one is alive.
fn one_stream() -> (World, Open, Rc<Cell<u32>>) {
    let sessions = Rc::new(Cell::new(0));
    let open = Open::default();
    let inner = legacy_that_can(TELLS, echo, sessions.clone(), 404);
    let (streams, alive) = (open.clone(), sessions.clone());
    let world = World::with(Box::new(move |sent| {
        if !sent.body.is_empty() || sent.header("accept") != Some("text/event-stream") {
            return inner(sent);
        }
        let session = sent.header("mcp-session-id").unwrap_or_default().to_owned();
        if session != format!("session-{}", alive.get()) {
            return Reply::Answer(404, vec![], vec![]);
        }
        if streams.borrow().contains(&session) {
            return Reply::Answer(409, vec![], vec![]);
        }
        streams.borrow_mut().push(session.clone());
        let dropped = Dropped { session, open: streams.clone() };
        events_reply(vec![
            Piece::When(Box::new(move || {
                let _ = &dropped;
                None
            })),
            silence(),
        ])
    }));
    (world, open, sessions)
}

/// Takes the stream of a session off the list when its reader has closed it.
struct Dropped {
    session: String,
    open: Open,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.open.borrow_mut().retain(|session| *session != self.session);
    }
}

fn client(world: &World) -> String {
    let members = r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}"#;
    let got = world.serve(without_header(Era::Legacy.request("/mcp", "initialize", members), "mcp-protocol-version"));
    got.header("mcp-session-id").unwrap().to_owned()
}

/// R42: its old stream may still be open at the server.
#[test]
fn a_legacy_client_that_comes_again_listens_in_the_session_in_which_it_calls() {
    for path in ["/mcp", "/mcp/up"] {
        let (world, open, sessions) = one_stream();
        let session = client(&world);
        let request = || with_header(get(path), "mcp-session-id", &session);
        // The host sees that the first client has gone; nothing else is written to it.
        let mut streams = vec![world.begin_until(request(), 1)];
        let go_on = |streams: &mut Vec<Serving<'_>>, seconds: u64| {
            let until = world.elapsed() + Duration::from_secs(seconds);
            world.go_on(streams, |_| world.elapsed() >= until);
        };
        world.go_on(&mut streams, |_| !open.borrow().is_empty());
        streams.push(world.begin(request()));
        go_on(&mut streams, 15);
        assert!(streams[0].is_over() && !streams[1].is_over());
        assert_eq!(*open.borrow(), ["session-1"], "{path}");
        assert_eq!(sessions.get(), 1, "no session that nobody calls in");
    }
}

/// R42: a connection that is not closed, as behind a proxy that died.
#[test]
fn a_stream_whose_client_does_not_close_it_ends_for_the_next_one_of_that_session() {
    let (world, open, sessions) = one_stream();
    let session = client(&world);
    let request = || with_header(get("/mcp"), "mcp-session-id", &session);
    let mut streams = vec![world.begin(request())];
    world.go_on(&mut streams, |_| !open.borrow().is_empty());
    streams.push(world.begin(request()));
    let until = world.elapsed() + Duration::from_secs(15);
    world.go_on(&mut streams, |_| world.elapsed() >= until);
    assert_eq!([0, 1].map(|at| streams[at].is_over()), [true, false]);
    assert_eq!((open.borrow().len(), sessions.get()), (1, 1));
}

/// R42: the server has lost the session: calls and the stream go on in one that both share.
#[test]
fn a_session_that_the_server_has_lost_is_renewed_for_calls_and_stream_alike() {
    for calls_first in [true, false] {
        let (world, open, sessions) = one_stream();
        let session = client(&world);
        let call = || world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &session));
        assert!(call().text().contains("hi of echo"));
        let mut streams = vec![world.begin(with_header(get("/mcp"), "mcp-session-id", &session))];
        world.go_on(&mut streams, |_| !open.borrow().is_empty());
        // It was restarted, behind a proxy that keeps connections open.
        sessions.set(5);
        if calls_first {
            assert!(call().text().contains("hi of echo"));
        } else {
            streams.clear();
            streams.push(world.begin(with_header(get("/mcp"), "mcp-session-id", &session)));
        }
        let until = world.elapsed() + Duration::from_secs(15);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
        assert_eq!(*open.borrow(), ["session-6"], "{calls_first}");
        assert!(call().text().contains("hi of echo"));
        assert_eq!(sessions.get(), 6, "{calls_first}");
    }
}

/// R42: many servers have no GET, and say so by 404.
#[test]
fn a_server_without_get_keeps_its_session() {
    for status in [400, 404, 405] {
        let sessions = Rc::new(Cell::new(0));
        let inner = legacy_that_can(TELLS, echo, sessions.clone(), 404);
        let world = World::with(Box::new(move |sent| match sent.body.is_empty() {
            true => Reply::Answer(status, vec![], vec![]),
            false => inner(sent),
        }));
        let session = client(&world);
        let with_session = |request| with_header(request, "mcp-session-id", &session);
        world.serve(with_session(Era::Legacy.call("/mcp", "up__echo")));
        assert_eq!(world.serve(with_session(get("/mcp"))).status, 405, "{status}");
        assert_eq!(sessions.get(), 1, "{status}");
    }
}

/// R42: a stream that is still open when its session ends, by DELETE or by 64 newer ones.
#[test]
fn a_session_that_is_over_is_not_begun_again_by_its_stream() {
    for by_delete in [true, false] {
        let (world, open, sessions) = one_stream();
        let session = client(&world);
        let mut streams = vec![world.begin(with_header(get("/mcp"), "mcp-session-id", &session))];
        world.go_on(&mut streams, |_| !open.borrow().is_empty());
        if by_delete {
            let mut request = with_header(get("/mcp"), "mcp-session-id", &session);
            *request.method_mut() = http::Method::DELETE;
            assert_eq!(world.serve(request).status, 204);
        } else {
            (0..64).for_each(|_| drop(client(&world)));
        }
        // The server has ended it too.
        let before = sessions.get() + 1;
        sessions.set(before);
        let rows = world.store.borrow().len();
        let until = world.elapsed() + Duration::from_secs(60);
        world.go_on(&mut streams, |_| world.elapsed() >= until);
        assert!(streams[0].is_over(), "{by_delete}");
        assert_eq!(sessions.get(), before, "{by_delete}");
        assert!(world.store.borrow().len() <= rows, "{by_delete}");
    }
}
