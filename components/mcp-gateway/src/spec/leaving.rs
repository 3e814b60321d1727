//! Clients that leave in the middle of a call, and signs of life for those that stay, however much a server says.

use super::upstreams::{echo, event, events_reply, legacy, modern};
use super::*;

const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;

/// Notes when the connection of an answer is closed.
struct Closed {
    closed: Rc<Cell<Option<Duration>>>,
    timer: Timer,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.closed.set(Some(self.timer.now()));
    }
}

/// A server whose tool says `said` every 0.3 s for so many times, or is silent for as long, and then answers.
fn busy(is_modern: bool, said: Option<&'static str>, times: usize) -> (World, Rc<Cell<Option<Duration>>>) {
    let closed: Rc<Cell<Option<Duration>>> = Rc::default();
    let timer = Timer::default();
    let inner = if is_modern { modern(echo) } else { legacy(echo) };
    let (end, clock) = (closed.clone(), timer.clone());
    let world = World::with(Box::new(move |sent| {
        if sent.method() != "tools/call" || (!is_modern && sent.header("mcp-session-id").is_none()) {
            return inner(sent);
        }
        let id = sent.json()["id"].to_string();
        let mut pieces = Vec::new();
        for _ in 0..times {
            pieces.push(Piece::Wait(Duration::from_millis(300)));
            pieces.extend(said.map(event));
        }
        pieces
            .push(event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"resultType":"complete"}}}}"#)));
        let dropped = Closed { closed: end.clone(), timer: clock.clone() };
        pieces.push(Piece::When(Box::new(move || {
            let _ = &dropped;
            None
        })));
        events_reply(pieces)
    }));
    timer.start(&world);
    (world, closed)
}

/// R46: what the client does not hear is no sign of life.
#[test]
fn a_client_hears_signs_of_life_while_the_server_says_what_is_not_for_it() {
    for is_modern in [false, true] {
        let (world, _) = busy(is_modern, Some(LOG), 60);
        let mut stream = [world.begin(Era::Modern.call("/mcp/up", "echo"))];
        let (mut last, mut longest, mut seen) = (Duration::ZERO, Duration::ZERO, 0);
        world.go_on(&mut stream, |all| {
            let now = all[0].text().len();
            if now != seen {
                longest = longest.max(world.elapsed() - last);
                (seen, last) = (now, world.elapsed());
            }
            false
        });
        assert!(longest <= Duration::from_secs(6), "{longest:?}");
        let got = stream[0].got().unwrap();
        assert!(got.pieces.len() >= 4 && got.pieces[..3].iter().all(|piece| piece == ":\n\n"), "{:?}", got.pieces);
        assert_eq!(got.events().len(), 1);
    }
}

/// R46, R57: a modern client cancels by closing its connection, whether the server is silent, says what the client hears, or
/// what it does not hear.
#[test]
fn a_modern_client_that_leaves_has_the_call_cancelled_within_seconds() {
    const PROGRESS: &str =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for is_modern in [false, true] {
        for said in [None, Some(LOG), Some(PROGRESS)] {
            let (world, closed) = busy(is_modern, said, 400);
            let mut stream = [world.begin_until(with_progress(Era::Modern.call("/mcp/up", "echo")), 1)];
            world.go_on(&mut stream, |_| false);
            let closed = closed.get().unwrap();
            assert!(closed <= Duration::from_secs(5), "{is_modern} {said:?}: {closed:?}");
            let told = world.methods().contains(&"notifications/cancelled".to_owned());
            assert_eq!(told, !is_modern, "{said:?}: a legacy server is told, a modern one sees it");
        }
    }
}

fn session(world: &World) -> String {
    let members = r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}"#;
    let got = world.serve(without_header(Era::Legacy.request("/mcp", "initialize", members), "mcp-protocol-version"));
    got.header("mcp-session-id").unwrap().to_owned()
}

/// R57: "a disconnect SHOULD NOT be interpreted as the client cancelling its request" (2025-11-25).
#[test]
fn a_legacy_client_that_leaves_cancels_nothing() {
    for said in [None, Some(LOG)] {
        let (world, _) = busy(false, said, 400);
        let session = session(&world);
        let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &session);
        world.serve_until(call.clone(), 1);
        assert!(!world.methods().contains(&"notifications/cancelled".to_owned()));
        assert!(world.elapsed() < Duration::from_secs(20));
        // For a modern server a closed connection is a cancellation, so it stays open until the call is over.
        let (world, closed) = busy(true, said, 400);
        let session = self::session(&world);
        let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &session);
        let mut stream = [world.begin_until(call, 1)];
        world.go_on(&mut stream, |_| false);
        assert!(closed.get().unwrap() >= Duration::from_secs(120), "{:?}", closed.get());
    }
    let (world, closed) = busy(true, Some(LOG), 10_000);
    let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &session(&world));
    let mut stream = [world.begin_until(call, 1)];
    world.go_on(&mut stream, |_| false);
    let closed = closed.get().unwrap();
    assert!((600..620).contains(&closed.as_secs()), "and not for longer than ten minutes: {closed:?}");
}

/// R57: whether or not it stays, and however much the server says.
#[test]
fn a_legacy_client_that_says_that_it_has_cancelled_has_cancelled() {
    for is_modern in [false, true] {
        for said in [None, Some(LOG)] {
            for leaves_after in [usize::MAX, 1] {
                let (world, closed) = busy(is_modern, said, 400);
                let session = session(&world);
                let with_session = |request| with_header(request, "mcp-session-id", &session);
                let call = with_session(Era::Legacy.call("/mcp/up", "echo"));
                let mut stream = [world.begin_until(call, leaves_after)];
                world.go_on(&mut stream, |_| world.elapsed() >= Duration::from_millis(2_500));
                let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
                let word = with_body(Era::Legacy.request("/mcp/up", "x", ""), body);
                assert_eq!(world.serve(with_session(word)).status, 202);
                world.go_on(&mut stream, |_| false);
                let about = format!("{is_modern} {said:?} {leaves_after}");
                assert!(closed.get().unwrap() <= Duration::from_secs(7), "{about}: {:?}", closed.get());
                let told = world.methods().contains(&"notifications/cancelled".to_owned());
                assert_eq!(told, !is_modern, "{about}");
            }
        }
    }
    // Clients that take no events as well.
    let (world, closed) = busy(false, Some(LOG), 400);
    let session = session(&world);
    let with_session = |request| with_header(request, "mcp-session-id", &session);
    let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "accept", "application/json");
    let mut stream = [world.begin(with_session(call))];
    world.go_on(&mut stream, |_| world.elapsed() >= Duration::from_secs(3));
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    world.serve(with_session(with_body(Era::Legacy.request("/mcp/up", "x", ""), body)));
    world.go_on(&mut stream, |_| false);
    assert!(closed.get().unwrap() <= Duration::from_secs(8));
}
