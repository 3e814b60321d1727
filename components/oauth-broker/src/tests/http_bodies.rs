//! A request's body is read after all that its head decides, and for a bounded time.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use http::StatusCode;
use shell::body::BODY_DEADLINE;
use shell::{Pieces, ReadError, Unread};

use super::*;

/// One byte, and then nothing more. Counts how often it is asked for.
#[derive(Clone, Default)]
struct HalfSent {
    asked: Rc<Cell<usize>>,
}

impl Pieces for HalfSent {
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() == 1 { Ok(Some(b"x".to_vec())) } else { pending().await }
    }
}

/// Sends the head alone and one byte of ten. Gives the answer's status, and whether the body was asked for.
fn half_sent(world: &World, request: http::request::Builder) -> (u16, bool) {
    let body = HalfSent::default();
    let request = request.header("spin-client-addr", "127.0.0.1:50000").header("content-length", "10");
    let request = request.body(Unread::new(body.clone(), Some(10))).unwrap();
    let answer = run(crate::http::handle(world, request));
    (answer.status().as_u16(), body.asked.get() > 0)
}

/// A02: every route whose answer needs a body gives it up after the same time.
#[test]
fn a_body_that_does_not_come_is_answered_in_time() {
    let (local, public) = (World::local(), World::public());
    let bearer = |world: &World, method: &str, path: &str, key: &str| {
        world.request(method, path).header("authorization", format!("Bearer {key}"))
    };
    for (world, request) in [
        (&local, local.request("POST", "/token/x")),
        (&local, local.request("DELETE", "/token/x")),
        (&local, local.request("POST", "/resolve")),
        (&local, local.request("POST", "/tickets")),
        (&local, local.request("POST", "/auth/x")),
        (&local, local.request("POST", "/callback/x")),
        (&local, local.request("POST", "/disconnect/x")),
        (&local, local.request("POST", "/admin/sweep")),
        (&local, local.request("POST", "/sign-in")),
        (&local, local.request("POST", "/sign-out")),
        (&public, bearer(&public, "POST", "/token/x", ANNS_KEY)),
        (&public, bearer(&public, "POST", "/token/x", SERVICE_KEY)),
        (&public, bearer(&public, "DELETE", "/token/x", SERVICE_KEY)),
        (&public, bearer(&public, "POST", "/resolve", SERVICE_KEY)),
        (&public, bearer(&public, "POST", "/tickets", ANNS_KEY)),
        (&public, bearer(&public, "POST", "/admin/sweep", ADMIN_KEY)),
        (&public, public.request("POST", "/sign-in").header("origin", PUBLIC)),
        (&public, public.request("POST", "/callback/x")),
    ] {
        let what = format!("{request:?}");
        let before = world.clock.get();
        assert_eq!(half_sent(world, request), (408, true), "{what}");
        let took = world.clock.get() - before;
        assert!((10_000..15_000).contains(&took) && took == BODY_DEADLINE.as_millis() as u64, "{what}: {took} ms");
    }
}

/// A02, A24: what the head alone decides is said without the body: routes, methods, keys, hosts, origins.
#[test]
fn a_wrong_request_is_answered_without_its_body() {
    let (local, public) = (World::local(), World::public());
    let wrong = |world: &World, method: &str, path: &str| {
        world.request(method, path).header("authorization", "Bearer canary-unknown")
    };
    let foreign = |world: &World, path: &str| world.request("POST", path).header("origin", "https://evil.example");
    let other_host = |path: &str| http::Request::post(format!("http://evil.example{path}"));
    for (world, request, status) in [
        (&local, local.request("POST", "/nowhere"), 404),
        (&local, local.request("POST", "/token/A"), 404),
        (&local, local.request("PUT", "/token/x"), 405),
        (&local, local.request("GET", "/resolve"), 405),
        (&local, local.request("OPTIONS", "/token/x"), 204),
        (&local, local.request("GET", "/connections"), 200),
        (&local, local.request("GET", "/health"), 200),
        (&local, foreign(&local, "/token/x"), 403),
        (&local, foreign(&local, "/resolve"), 403),
        (&local, foreign(&local, "/tickets"), 403),
        (&local, foreign(&local, "/auth/x"), 403),
        (&local, foreign(&local, "/disconnect/x"), 403),
        (&local, foreign(&local, "/sign-in"), 403),
        (&local, foreign(&local, "/admin/sweep"), 403),
        (&local, other_host("/token/x"), 403),
        (&local, other_host("/resolve"), 403),
        (&local, other_host("/tickets"), 403),
        (&local, other_host("/auth/x"), 403),
        (&local, other_host("/disconnect/x"), 403),
        (&local, other_host("/admin/sweep"), 403),
        (&local, wrong(&local, "POST", "/token/x"), 401),
        (&public, public.request("POST", "/token/x"), 401),
        (&public, public.request("DELETE", "/token/x"), 401),
        (&public, public.request("POST", "/resolve"), 401),
        (&public, public.request("POST", "/tickets"), 401),
        (&public, public.request("POST", "/disconnect/x"), 401),
        (&public, public.request("POST", "/admin/sweep"), 401),
        (&public, wrong(&public, "POST", "/token/x"), 401),
        (&public, wrong(&public, "DELETE", "/token/x"), 401),
        (&public, wrong(&public, "POST", "/resolve"), 401),
        (&public, wrong(&public, "POST", "/tickets"), 401),
        (&public, wrong(&public, "POST", "/admin/sweep"), 401),
        (&public, foreign(&public, "/sign-in"), 403),
        (&public, foreign(&public, "/sign-out"), 403),
        (&public, foreign(&public, "/auth/x"), 403),
    ] {
        let what = format!("{request:?}");
        let before = world.clock.get();
        assert_eq!(half_sent(world, request), (status, false), "{what}");
        assert_eq!(world.clock.get(), before, "{what}");
    }
    // A service's key is good for what services may ask for.
    let person = public.request("POST", "/resolve").header("authorization", format!("Bearer {ANNS_KEY}"));
    assert_eq!(half_sent(&public, person), (401, false));
}

/// A02: more than is announced does not get in, and nothing is taken that was only announced.
#[test]
fn a_body_that_is_too_long_is_not_read() {
    let world = World::local();
    let body = HalfSent::default();
    let request = world.request("POST", "/token/x").header("spin-client-addr", "127.0.0.1:50000");
    let answer = run(crate::http::handle(&world, request.body(Unread::new(body.clone(), Some(u64::MAX))).unwrap()));
    assert_eq!((answer.status(), body.asked.get()), (StatusCode::PAYLOAD_TOO_LARGE, 0));
    assert_eq!(read(&answer)["error"], "invalid_request");
}
