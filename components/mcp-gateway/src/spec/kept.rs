//! How long the broker's answer is used again, and for which requests.

use super::upstreams::{behind_token, echo, legacy, legacy_with, modern, modern_that_can};
use super::*;
use crate::kept::SECONDS;

fn world(seconds: &str) -> World {
    world_with(seconds, modern(echo))
}

fn world_with(seconds: &str, upstream: Upstream) -> World {
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","service":"s"}}KEPT}"#.replace("KEPT", seconds);
    let world = World::new(&file, vec![("https://up.example/mcp", behind_token("good", upstream))]);
    *world.servers.borrow_mut() = file;
    world.outcomes.borrow_mut().insert("s", [token("good")].into());
    world
}

fn call(world: &World) -> String {
    world.serve(Era::Modern.call("/mcp", "up__echo")).json()["result"]["content"][0]["text"].to_string()
}

fn asked(world: &World) -> usize {
    world.asked.borrow().len()
}

#[test]
fn a_warm_call_asks_no_broker_until_the_time_is_over() {
    let world = world("");
    for _ in 0..3 {
        assert_eq!(call(&world), "\"hi of echo\"");
    }
    assert_eq!(asked(&world), 1);
    world.pass(SECONDS);
    call(&world);
    assert_eq!(asked(&world), 2);
}

#[test]
fn a_warm_call_is_one_load_and_one_request_and_nothing_else_in_every_pairing() {
    for era in [Era::Legacy, Era::Modern] {
        for (kind, upstream) in [("modern", modern(echo)), ("legacy", legacy(echo))] {
            let world = world_with("", upstream);
            world.serve(era.call("/mcp", "up__echo"));
            world.sent();
            let (loads, reads) = (world.loads.get(), world.reads.get());
            let (asked, store) = (asked(&world), world.store.borrow().clone());
            let got = world.serve(era.call("/mcp", "up__echo"));
            assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo", "{era:?} {kind}");
            assert_eq!(world.methods(), ["tools/call"], "{era:?} {kind}");
            assert_eq!((world.loads.get() - loads, world.reads.get() - reads), (1, 0), "{era:?} {kind}");
            assert_eq!(self::asked(&world), asked, "{era:?} {kind}");
            assert_eq!(*world.store.borrow(), store, "{era:?} {kind}");
        }
    }
}

#[test]
fn a_session_that_was_lost_and_opened_anew_by_another_request_is_found() {
    let sessions = Rc::new(Cell::new(0));
    let world = world_with("", legacy_with(echo, sessions.clone(), 404));
    let call = |path, tool| {
        let got = world.serve(Era::Modern.call(path, tool));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
        world.methods()
    };
    call("/mcp", "up__echo");
    call("/mcp/up", "echo");
    // The upstream was restarted, and one of the two finds that out.
    sessions.set(sessions.get() + 1);
    assert_eq!(call("/mcp/up", "echo"), ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
    assert_eq!(call("/mcp", "up__echo"), ["tools/call", "tools/call"], "what the other one found serves this one");
    assert_eq!(call("/mcp", "up__echo"), ["tools/call"], "and is kept");
    // It is restarted once more: what each remembers is old, and so is what the other found.
    call("/mcp/up", "echo");
    sessions.set(sessions.get() + 1);
    call("/mcp/up", "echo");
    sessions.set(sessions.get() + 1);
    let twice_old = ["tools/call", "tools/call", "initialize", "notifications/initialized", "tools/call"];
    assert_eq!(call("/mcp", "up__echo"), twice_old);
}

#[test]
fn a_log_level_counts_from_the_next_call_on() {
    let logs = |method: &str, params: &Value| match method {
        "tools/call" => {
            let level = &params["_meta"]["io.modelcontextprotocol/logLevel"];
            format!(r#"{{"content":[{{"type":"text","text":{level}}}]}}"#)
        }
        _ => String::new(),
    };
    let world = world_with("", modern_that_can(r#"{"tools":{},"logging":{}}"#, logs));
    let level = || world.serve(Era::Legacy.call("/mcp", "up__echo")).json()["result"]["content"][0]["text"].clone();
    // Its question is about all servers, that of a call about one.
    let two = world.servers.borrow().replace("}}", r#"},"other":{"url":"https://other.example","service":"t"}}"#);
    *world.servers.borrow_mut() = two;
    assert_eq!(level(), "info");
    for wanted in ["debug", "error"] {
        world.serve(Era::Legacy.request("/mcp", "logging/setLevel", &format!(r#""level":"{wanted}""#)));
        assert_eq!(level(), wanted);
    }
}

#[test]
fn an_operator_sets_the_time_and_zero_means_never() {
    let never = world(r#","resolutionSeconds":0"#);
    call(&never);
    call(&never);
    assert_eq!(asked(&never), 2);
    assert_eq!(rows(&never), []);
    let long = world(r#","resolutionSeconds":300"#);
    call(&long);
    long.pass(299);
    call(&long);
    assert_eq!(asked(&long), 1);
    for wrong in ["301", "-1", "1.5", "\"5\"", "null"] {
        let got = world(&format!(r#","resolutionSeconds":{wrong}"#)).serve(Era::Modern.call("/mcp", "up__echo"));
        assert_eq!(got.status, 500, "{wrong}");
        assert!(got.text().contains("resolutionSeconds"), "{}", got.text());
    }
}

#[test]
fn it_ends_with_the_token_and_with_the_bearer() {
    let world = world("");
    let Outcome::Token(good) = token("good") else { unreachable!() };
    let ends = Outcome::Token(AccessToken { expires_at: Some(1_800_000_000 + 8), ..good });
    world.outcomes.borrow_mut().insert("s", [ends].into());
    call(&world);
    world.pass(2);
    call(&world);
    assert_eq!(asked(&world), 1);
    world.pass(1);
    call(&world);
    assert_eq!(asked(&world), 2, "five seconds before its end another token is asked for");
}

#[test]
fn a_token_that_the_upstream_refuses_is_not_used_again() {
    let world = world("");
    world.outcomes.borrow_mut().insert("s", [token("old"), token("good"), token("good")].into());
    assert_eq!(call(&world), "\"hi of echo\"");
    assert_eq!(asked(&world), 2);
    assert_eq!(call(&world), "\"hi of echo\"");
    assert_eq!(asked(&world), 3, "and what came of it is asked for once");
    call(&world);
    assert_eq!(asked(&world), 3);
}

#[test]
fn who_still_has_to_connect_is_looked_at_anew_each_time() {
    let world = world("");
    let connect = Outcome::NotConnected("https://auth.example.com/auth/s?ticket=t".into());
    world.outcomes.borrow_mut().insert("s", [connect, token("good")].into());
    assert!(call(&world).contains("https://auth.example.com/auth/s"));
    assert_eq!(call(&world), "\"hi of echo\"");
}

#[test]
fn another_bearer_another_endpoint_or_another_row_opens_nothing() {
    let world = world("");
    call(&world);
    let kept = rows(&world);
    assert_eq!(kept.len(), 1);
    let raw = String::from_utf8_lossy(&kept[0].1).into_owned() + &kept[0].0;
    assert!(!raw.contains("good") && !raw.contains("alice") && !raw.contains(BEARER), "{raw}");
    world.serve(with_header(Era::Modern.call("/mcp", "up__echo"), "authorization", "Bearer of-another"));
    assert_eq!(asked(&world), 2);
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    assert_eq!(asked(&world), 3);
    // Each row put in the place of each other one.
    let rows = rows(&world);
    for (key, _) in &rows {
        for (other, row) in &rows {
            if other != key {
                world.store.borrow_mut().insert(key.clone(), row.clone());
            }
        }
    }
    call(&world);
    assert_eq!(asked(&world), 4);
}

/// Item 33: all 192 bits of the nonce of every row are those that the random source gave for it, and for no other.
#[test]
fn a_nonce_is_24_bytes_of_the_random_source() {
    let world = world_with("", legacy(echo));
    for era in [Era::Modern, Era::Legacy] {
        world.serve(era.call("/mcp", "up__echo"));
        world.serve(era.list("/mcp"));
    }
    let rows = world.store.borrow();
    let kinds: std::collections::BTreeSet<&str> = rows.keys().map(|key| &key[..4]).collect();
    assert!(kinds.len() >= 4 && kinds.contains("g.k."), "{kinds:?}");
    let nonces: std::collections::BTreeSet<&[u8]> = rows.values().map(|row| &row[1..25]).collect();
    assert_eq!(nonces.len(), rows.len());
    for nonce in nonces {
        assert_eq!(world.drawn.borrow().iter().filter(|drawn| *drawn == nonce).count(), 1);
    }
}

#[test]
fn nothing_is_kept_for_a_client_without_a_bearer() {
    let world = world("");
    let mut request = Era::Modern.call("/mcp", "up__echo");
    request.headers_mut().remove("authorization");
    world.serve(request);
    assert_eq!(rows(&world), []);
}

#[test]
fn a_change_of_the_file_counts_when_the_time_is_over() {
    let denied = |world: &World| {
        let file = world.servers.borrow().replace(r#""service":"s""#, r#""service":"s","tools":{"deny":["echo"]}"#);
        *world.servers.borrow_mut() = file;
    };
    let world = world("");
    call(&world);
    denied(&world);
    world.pass(SECONDS - 1);
    assert_eq!(call(&world), "\"hi of echo\"");
    world.pass(1);
    assert_eq!(call(&world), "null");
    let never = self::world(r#","resolutionSeconds":0"#);
    call(&never);
    denied(&never);
    assert_eq!(call(&never), "null");
}

#[test]
fn a_file_that_is_kept_is_as_old_as_it_was_read_whatever_is_asked_meanwhile() {
    let world = world("");
    let two = world.servers.borrow().replace("}}", r#"},"other":{"url":"https://up.example/mcp","service":"t"}}"#);
    *world.servers.borrow_mut() = two;
    world.outcomes.borrow_mut().insert("t", [token("good")].into());
    call(&world);
    world.pass(SECONDS - 1);
    world.serve(Era::Modern.call("/mcp", "other__echo"));
    assert_eq!((asked(&world), world.reads.get()), (2, 1));
    call(&world);
    assert_eq!(asked(&world), 2, "what one question has brought is there beside that of another");
    world.pass(1);
    world.serve(Era::Modern.call("/mcp", "other__echo"));
    assert_eq!((asked(&world), world.reads.get()), (2, 2));
    call(&world);
    assert_eq!((asked(&world), world.reads.get()), (3, 2));
}

#[test]
fn a_long_file_is_read_each_time() {
    let world = world("");
    let long = world.servers.borrow().clone() + &" ".repeat(9000);
    *world.servers.borrow_mut() = long;
    call(&world);
    call(&world);
    assert_eq!((asked(&world), world.reads.get()), (1, 2));
}

/// What is kept of resolutions.
fn rows(world: &World) -> Vec<(String, Vec<u8>)> {
    let rows = world.store.borrow().clone();
    rows.into_iter().filter(|(key, _)| key.starts_with("g.k.")).collect()
}
