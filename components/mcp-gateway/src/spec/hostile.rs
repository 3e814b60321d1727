//! What a hostile server or client tries against memory, the store and other calls.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

use super::asking::{CAN, is_answer, modern_call, session};
use super::asks_on_get::Server;
use super::upstreams::{echo, legacy};
use super::*;

/// A server that names its session by so many letters.
fn with_session_id(length: usize) -> Upstream {
    let inner = legacy(echo);
    Box::new(move |sent| match inner(sent) {
        Reply::Answer(status, mut headers, pieces) => {
            for (name, value) in &mut headers {
                if *name == "mcp-session-id" {
                    *value = "s".repeat(length);
                }
            }
            Reply::Answer(status, headers, pieces)
        }
        reply => reply,
    })
}

/// A27: the id of a session goes into each request and into rows that each request reads.
#[test]
fn a_session_with_a_long_id_is_not_opened() {
    for era in [Era::Modern, Era::Legacy] {
        let world = World::with(with_session_id(4097));
        let got = world.serve(era.call("/mcp/up", "echo")).text();
        assert!(got.contains("the id that it gave its session is longer than 4 KiB"), "{got}");
        let longest = world.store.borrow().values().map(Vec::len).max().unwrap_or_default();
        assert!(longest < 4096, "{longest}");
    }
}

/// A28: of sessions that are opened at once the list loses some, and each list that is written last is an old one here.
#[test]
fn sessions_that_the_list_has_lost_leave_no_rows_behind() {
    let world = World::with(legacy(echo));
    let is_list = |key: &String| key.starts_with("g.i.");
    let mut first = String::new();
    for number in 0..200 {
        let before: Vec<_> = world.store.borrow().iter().filter(|(key, _)| is_list(key)).map(clone).collect();
        let session = session(&world, "{}");
        let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &session);
        assert_eq!(world.serve(call).status, OK);
        world.store.borrow_mut().retain(|key, _| !is_list(key));
        world.store.borrow_mut().extend(before);
        if number == 0 {
            first = session;
        }
        if number == 40 {
            let call = with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", &first);
            assert_eq!(world.serve(call).status, OK, "it is open for all that");
        }
    }
    let rows = |kind: &str| world.store.borrow().keys().filter(|key| key.starts_with(kind)).count();
    // Besides, one row for requests that begin no session.
    assert!(rows("g.e.") <= 64 && rows("g.u.") <= 64 + 1, "{} sessions, {} rows", rows("g.e."), rows("g.u."));
}

fn clone((key, value): (&String, &Vec<u8>)) -> (String, Vec<u8>) {
    (key.clone(), value.clone())
}

/// A28: of two sessions that take one place at once, the later one has it. The other is over, and reads nothing of it.
#[test]
fn of_two_sessions_that_take_one_place_at_once_one_is_open() {
    let world = World::with(legacy(echo));
    let call = |id: &str| with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", id);
    // There are 64 places, so one of 65 has that of another one. Each finds the store empty.
    let mut at_place: BTreeMap<u8, (String, BTreeMap<String, Vec<u8>>)> = BTreeMap::new();
    for _ in 0..65 {
        world.store.take();
        let other = session(&world, "{}");
        world.serve(call(&other));
        let rows = world.store.take();
        let place = Base64UrlUnpadded::decode_vec(&other[3..]).unwrap()[2] % 64;
        let Some((one, before)) = at_place.insert(place, (other.clone(), rows.clone())) else { continue };
        *world.store.borrow_mut() = before.into_iter().chain(rows).collect();
        world.sent();
        assert_eq!((world.serve(call(&one)).status, world.serve(call(&other)).status), (404, OK));
        assert_eq!(world.methods(), ["tools/call"]);
        return;
    }
    panic!("no two sessions have one place");
}

/// A29: what holds a slot for longer than its lease says so, also while the server says nothing.
#[test]
fn a_call_whose_server_is_silent_for_minutes_keeps_its_session() {
    let server = Server::that_says(&[]);
    server.is_silent.set(true);
    let world = server.world();
    let mut all = vec![world.begin(modern_call(CAN))];
    let until = world.elapsed() + Duration::from_secs(180);
    world.go_on(&mut all, |_| world.elapsed() >= until);
    let first = server.calls.borrow()[0].0.clone();
    for _ in 0..4 {
        all.push(world.begin(modern_call(CAN)));
        let until = world.elapsed() + Duration::from_secs(10);
        world.go_on(&mut all, |_| world.elapsed() >= until);
    }
    assert!(!server.is_ended(&first), "another call has ended the session of a call that goes on");
}

/// A30: what a server asks of a modern client is held, up to 16 requests at once, in memory and in the store.
#[test]
fn a_question_that_is_too_long_is_refused() {
    for (length, is_asked) in [(1024 * 1024, false), (1000 * 1024, true)] {
        let text = "x".repeat(length);
        let ask = json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"message": text}});
        let server = Server::that_says(&[&ask.to_string()]);
        let world = server.world();
        let mut all = vec![world.begin(modern_call(CAN))];
        let until = world.elapsed() + Duration::from_secs(5);
        world.go_on(&mut all, |_| world.elapsed() >= until);
        let refused =
            world.sent().iter().any(|sent| is_answer(&sent.json()) && sent.body.contains("longer than 1 MiB"));
        assert_eq!((all[0].text().contains("input_required"), refused), (is_asked, !is_asked));
    }
}

/// A27: a preflight has the answer grow with what it asks for, up to a limit.
#[test]
fn a_preflight_gets_no_long_names_back() {
    let file = r#"{"browserOrigins":["https://app.example"],"mcpServers":{}}"#;
    let world = World::new(file, vec![]);
    let name = |length| ["mcp-param-", &"x".repeat(length)].concat();
    let request = Request::options(format!("{GATEWAY}/mcp"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", [name(20), name(100_000)].join(","))
        .body(Vec::new());
    let got = world.serve(request.unwrap());
    let allowed = got.header("access-control-allow-headers").unwrap();
    assert!(got.status == 204 && allowed.contains(&name(20)) && allowed.len() < 1024, "{}", allowed.len());
}
