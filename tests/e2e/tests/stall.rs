//! A small call waits for nothing but its work.
//!
//! Spin sets no TCP_NODELAY. An answer whose head and body leave in two writes costs a client on a kept-alive connection
//! the 40 ms of its own delayed acknowledgement, almost every time. A slow machine is slow in many ways, but not by that
//! much and almost every time: so what is counted is how many calls took far longer than the fastest.

use std::time::{Duration, Instant};

use gatehouse_e2e::{World, in_every_composition};
use http::Request;
use serde_json::json;

in_every_composition! {
    fn one_caller_on_a_kept_alive_connection_does_not_stall(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        let wire = world.house.wire();
        let page = |path: String| {
            let wire = wire.clone();
            move || drop(wire.send(Request::get(&path).body(()).unwrap()).unwrap())
        };
        let (mut modern, mut legacy, mut direct) = (world.modern(), world.legacy(), world.direct());
        let echo = json!({ "message": "hello" });
        stalls_rarely("a modern call", || drop(modern.call("demo__echo", echo.clone()).unwrap()));
        stalls_rarely("a legacy call", || drop(legacy.call("demo__echo", echo.clone()).unwrap()));
        stalls_rarely("a call of one server", || drop(direct.call("echo", echo.clone()).unwrap()));
        stalls_rarely("a list", || drop(modern.list_tools().unwrap()));
        stalls_rarely("the servers", page(format!("{}/mcp/servers", world.house.gateway())));
        stalls_rarely("the connections", page(format!("{}/connections", world.house.broker())));
        stalls_rarely("a refusal", page(format!("{}/auth/unknown", world.house.broker())));
    }
}

fn stalls_rarely(what: &str, mut call: impl FnMut()) {
    call();
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let started = Instant::now();
            call();
            started.elapsed()
        })
        .collect();
    times.sort();
    let stalled = times.iter().filter(|time| **time > times[0] + STALL).count();
    assert!(
        stalled * 10 < CALLS,
        "{what}: {stalled} of {CALLS} stalled; fastest {:?}, median {:?}",
        times[0],
        times[CALLS / 2]
    );
}

const CALLS: usize = 60;
const STALL: Duration = Duration::from_millis(30);
