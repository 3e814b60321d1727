//! As many streams are open at once, without a failed request, as the operator's pool has room for.
//!
//! Spin gives every stream an instance, and by default has room for 1,000 memories, of which an instance of the gateway has
//! two. The test is run again in a process of its own, whose pool is larger, by the variable that Spin reads too.

use std::io::{self, ErrorKind, Read};
use std::process::Command;

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::Raw;
use gatehouse_fixtures::raw::Kind;
use gatehouse_fixtures::streams::{self, STEPS, in_parallel, listen_as_legacy, listen_as_modern, opened};
use serde_json::json;

const POOL: &str = "SPIN_MAX_INSTANCE_COUNT";
const IDLE: usize = 1_000;
const ACTIVE: usize = 200;
/// Clients, both sides of the host, and the servers are in one process: an idle stream is a connection of a client and one
/// to each of two servers, an active one to one of them, each has two ends here, and each instance has a folder.
const FILES: u64 = (8 * IDLE + 6 * ACTIVE + 500) as u64;

#[test]
fn a_thousand_idle_streams_and_two_hundred_active_ones_are_open_at_once() {
    if std::env::var_os(POOL).is_none() {
        let name = "a_thousand_idle_streams_and_two_hundred_active_ones_are_open_at_once";
        let mut again = Command::new(std::env::current_exe().unwrap());
        assert!(again.args(["--exact", name, "--nocapture"]).env(POOL, "3000").status().unwrap().success());
        return;
    }
    streams::allow_files(FILES).unwrap();
    let servers = [Kind::Modern, Kind::Sessions].map(|kind| streams::server(kind).unwrap());
    let [modern, legacy] = servers.each_ref().map(Raw::url);
    let servers_of = json!({ "modern": { "url": modern }, "legacy": { "url": legacy } });
    // All are of one person.
    let wish = Wish { servers: servers_of, file: json!({ "streams": 0 }), ..Wish::default() };
    let world = World::new(Composition::OneApp, wish);
    let address = world.house.gateway_address();
    // What is found out once, for each era.
    opened(address, &listen_as_modern(address)).unwrap();
    opened(address, &listen_as_legacy(address)).unwrap();

    let idle = in_parallel(IDLE, |number| {
        let request = if number % 2 == 0 { listen_as_modern(address) } else { listen_as_legacy(address) };
        opened(address, &request)
    });
    let idle = none_failed(&world, idle);
    let active = in_parallel(ACTIVE, |number| {
        let tool = ["modern__echo", "legacy__echo"][number % 2];
        let mut stream = opened(address, &streams::call(address, tool, number % 4 < 2))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    for text in none_failed(&world, active) {
        assert_eq!(text.matches("notifications/progress").count(), STEPS, "{text}");
        assert!(text.contains("\"content\":[]"), "{text}");
    }
    let hanging: usize = servers.iter().map(Raw::hanging).sum();
    assert!(hanging >= 2 * IDLE, "{hanging} streams are open behind {IDLE}");
    for mut stream in idle {
        stream.set_nonblocking(true).unwrap();
        let said = stream.read(&mut [0; 4096]);
        assert!(!matches!(said, Ok(0)), "an idle stream has ended");
        assert!(said.is_ok() || said.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
}

fn none_failed<T>(world: &World, done: Vec<io::Result<T>>) -> Vec<T> {
    let failed: Vec<_> = done.iter().filter_map(|done| done.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed, such as {:?}\n{}", failed.len(), failed[0], world.house.output());
    done.into_iter().flatten().collect()
}
