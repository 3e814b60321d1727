//! When a request's body is read: after all that its head decides, a long one only for a known caller, and for a bounded
//! time.

use shell::Unread;
use shell::body::BODY_DEADLINE;

use super::upstreams::{echo, legacy, modern};
use super::*;
use crate::routes;

const LARGE: usize = 64 * 1024;

/// Serves `request` without its body, which arrives as these pieces. Gives how often it was asked for.
fn arrive(world: &World, request: Request<Vec<u8>>, announced: Option<u64>, pieces: Vec<Piece>) -> (Got, usize) {
    let heard = Rc::new(RefCell::new(Heard::default()));
    let asked = Rc::new(Cell::new(0));
    let body = Unread::new(Arriving { body: world.script(pieces), asked: asked.clone() }, announced);
    let request = world.arrived(request).map(|_| body);
    world.run(routes::serve(world, request, Client { heard: heard.clone(), leaves_after: usize::MAX }));
    (heard.take().into_got(), asked.get())
}

/// One byte, and then silence.
fn half_sent(world: &World, request: Request<Vec<u8>>) -> (u16, usize) {
    let (got, asked) = arrive(world, request, Some(10), vec![bytes("{"), never()]);
    (got.status, asked)
}

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

fn never() -> Piece {
    Piece::When(Box::new(|| None))
}

/// A call with so long an argument.
fn long_call(length: usize) -> Request<Vec<u8>> {
    let argument = "x".repeat(length);
    Era::Modern.request("/mcp", "tools/call", &format!(r#""name":"up__echo","arguments":{{"message":"{argument}"}}"#))
}

/// A world that keeps the broker's answer for ten seconds.
fn keeping() -> World {
    let world = World::with(modern(echo));
    world.servers.replace(r#"{"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#.into());
    world
}

/// A02: every route that takes a body gives it up after the same time.
#[test]
fn a_body_that_does_not_come_is_answered_in_time() {
    for (path, era) in [("/mcp", Era::Modern), ("/mcp/up", Era::Legacy), ("/mcp/sse?sessionId=0.x", Era::Legacy)] {
        let world = World::with(legacy(echo));
        assert_eq!(half_sent(&world, era.list(path)), (408, 2), "{path}");
        assert_eq!(world.elapsed(), BODY_DEADLINE, "{path}");
        assert_eq!((world.asked.borrow().len(), world.sent().len()), (0, 0), "{path}");
    }
    let world = World::with(legacy(echo));
    let slowly = (0..100).flat_map(|_| [bytes("{"), Piece::Wait(Duration::from_secs(9))]).collect();
    assert_eq!(arrive(&world, Era::Modern.list("/mcp"), Some(100), slowly).0.status, 408);
    assert!(world.elapsed() < Duration::from_secs(15), "{:?}", world.elapsed());
}

/// A02: what the head alone decides is said without the body, and a body that decides nothing is not read.
#[test]
fn a_wrong_request_is_answered_without_its_body() {
    let list = || Era::Modern.list("/mcp");
    let method = |method: http::Method, path: &str| {
        let mut request = Era::Legacy.list(path);
        *request.method_mut() = method;
        request
    };
    for (request, status) in [
        (Era::Modern.list("/nowhere"), 404),
        (Era::Modern.list("/mcp/a/b"), 404),
        (Era::Modern.list("/mcp/servers"), 405),
        (method(http::Method::PUT, "/mcp"), 405),
        (method(http::Method::DELETE, "/mcp"), 400),
        (method(http::Method::OPTIONS, "/mcp"), 405),
        (method(http::Method::GET, "/mcp"), 405),
        (method(http::Method::GET, "/mcp/servers"), 200),
        (with_header(list(), "content-type", "text/plain"), 415),
        (with_header(list(), "origin", "https://evil.example"), 403),
        (with_header(list(), "authorization", "Bearer a b"), 401),
        (without_header(list(), "authorization"), 401),
    ] {
        let what = format!("{request:?}");
        let world = World::with(modern(echo));
        assert_eq!(half_sent(&world, request), (status, 0), "{what}");
    }
    let mut elsewhere = list();
    *elsewhere.uri_mut() = "https://evil.example/mcp".parse().unwrap();
    assert_eq!(half_sent(&World::with(modern(echo)), elsewhere), (403, 0));
}

/// A24: without a bearer nobody is asked, and nothing is read or kept.
#[test]
fn a_caller_without_a_bearer_is_refused_before_the_body() {
    let world = World::with(modern(echo));
    let (got, asked) =
        arrive(&world, without_header(long_call(1 << 20), "authorization"), Some(1 << 20), vec![never()]);
    assert_eq!((got.status, got.header("www-authenticate"), asked), (401, Some("Bearer"), 0));
    assert_eq!((world.asked.borrow().len(), world.loads.get(), world.elapsed()), (0, 0, Duration::ZERO));
}

/// A24: a long body waits until the broker has accepted its sender.
#[test]
fn a_long_body_of_a_stranger_is_not_read() {
    let world = keeping();
    world.resolve_error.replace(Some(ResolveError::InvalidToken));
    let long = LARGE as u64 + 1;
    let (got, asked) = arrive(&world, Era::Modern.list("/mcp"), Some(long), vec![never()]);
    assert_eq!((got.status, asked), (401, 0));
    assert!(world.asked.borrow_mut().drain(..).all(|asked| asked.services.is_empty()));

    // One that says nothing of its length is read as far as a short one.
    let pieces = || (0..4096).map(|_| Piece::Bytes(vec![b' '; 1024])).collect();
    let (got, asked) = arrive(&world, Era::Modern.list("/mcp"), None, pieces());
    assert_eq!((got.status, asked), (401, LARGE / 1024 + 1));
    assert_eq!(world.asked.borrow().len(), 1);

    // Nobody is asked about one that is too long for everybody.
    world.asked.take();
    let (got, asked) = arrive(&world, Era::Modern.list("/mcp"), Some(4 * 1024 * 1024 + 1), vec![never()]);
    assert_eq!((got.status, asked, world.asked.borrow().len()), (413, 0, 0));
}

/// A24: a short body costs no more questions and no more rows than it did, a long one a question only if nothing is kept.
#[test]
fn a_long_body_of_a_known_caller_costs_nothing_more() {
    let world = keeping();
    let serve = |request: Request<Vec<u8>>| {
        world.loads.set(0);
        world.asked.take();
        let got = world.serve(request);
        assert_eq!(got.status, OK, "{}", got.text());
        (world.asked.borrow().len(), world.loads.get())
    };
    serve(long_call(1));
    let warm = serve(long_call(1));
    assert_eq!(warm, (0, 1), "a warm call reads one row");
    assert_eq!(serve(long_call(LARGE)), warm);
    assert_eq!(serve(long_call(1 << 20)), warm);
    world.pass(60);
    assert_eq!(serve(long_call(1)).0, 1);
    world.pass(60);
    assert_eq!(serve(long_call(1 << 20)).0, 2, "who it is, and then as for a short one");

    let never_kept = World::with(modern(echo));
    assert_eq!(never_kept.serve(long_call(1 << 20)).status, OK);
    assert_eq!(never_kept.asked.borrow().len(), 2, "who it is, and then the tokens");
}

/// A24, in local mode, where the caller has no bearer: the broker says whether there is such a mode.
#[test]
fn in_local_mode_the_broker_is_asked_about_a_long_body_alone() {
    let mut world = keeping();
    world.gateway = "http://127.0.0.1:3000".into();
    let at_home = |request: Request<Vec<u8>>| {
        let mut request = without_header(request, "authorization");
        *request.uri_mut() = "http://127.0.0.1:3000/mcp".parse().unwrap();
        request
    };
    assert_eq!(world.serve(at_home(long_call(1))).status, OK);
    assert_eq!(world.asked.take().len(), 1);
    world.resolve_error.replace(Some(ResolveError::InvalidToken));
    let (got, asked) = arrive(&world, at_home(long_call(1)), Some(1 << 20), vec![never()]);
    assert_eq!((got.status, asked), (401, 0));
}

/// A24: that a caller is known says nothing of their session. One that was ended is over for warm calls at once.
#[test]
fn a_long_body_opens_no_session_that_is_over() {
    let world = keeping();
    let initialize = r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}"#;
    let session = world.serve(Era::Legacy.request("/mcp", "initialize", initialize));
    let session = session.header("mcp-session-id").unwrap().to_owned();
    let call = |length: usize| {
        let argument = "x".repeat(length);
        let params = format!(r#""name":"up__echo","arguments":{{"message":"{argument}"}}"#);
        with_header(Era::Legacy.request("/mcp", "tools/call", &params), "mcp-session-id", &session)
    };
    assert_eq!(world.serve(call(1 << 20)).status, OK);
    let mut end = call(1);
    *end.method_mut() = http::Method::DELETE;
    assert!(world.serve(end).status < 300);
    for _ in 0..2 {
        assert_eq!(world.serve(call(1 << 20)).status, 404);
        assert_eq!(world.serve(call(1)).status, 404);
    }
}
