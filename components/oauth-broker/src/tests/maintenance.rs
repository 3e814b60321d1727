//! Sweeps move rows on to a new key, and say when the old one may go.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::connections::row::State;
use crate::names::{ConnectionId, ServiceId, Subject};

const OLD: &str = "old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "new:AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// In local mode, with audit lines, and the old key only: the forge is connected, and a connection to github waits for its
/// revocation.
fn world() -> World {
    let world = World::local();
    world.set("encryption_keys", OLD);
    world.set("audit", "store");
    let mut browser = Browser::default();
    world.connect(&mut browser, "github", grant("access-0", 3600, "refresh-0"));
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.answer(503, json!({}));
    world.handle(world.request("DELETE", "/token/github").body(Vec::new()).unwrap());
    world
}

fn keys(world: &World, keys: &[&str]) {
    world.set("encryption_keys", &keys.join(","));
}

fn step(world: &World, form: &str) -> Response<Vec<u8>> {
    world.handle(world.request("POST", "/admin/sweep").body(form.as_bytes().to_vec()).unwrap())
}

/// A whole sweep, and the number of its steps.
fn sweep(world: &World, form: &str) -> (Value, usize) {
    let mut answer = read(&step(world, form));
    for steps in 1..1000 {
        if answer["done"] == true {
            return (answer, steps);
        }
        answer = read(&step(world, &format!("{form}&cursor={}", answer["cursor"].as_str().unwrap())));
    }
    panic!("it never ends")
}

/// The kinds of durable rows that are sealed under a key.
fn sealed_under(world: &World, id: &str) -> Vec<String> {
    let durable = ["b.c.", "b.i.", "b.u.", "b.q.", "b.a."];
    let under = |(key, row): (String, Vec<u8>)| (row.get(2..5) == Some(id.as_bytes())).then(|| key[..4].to_owned());
    let mut kinds: Vec<String> = world.dump().into_iter().filter_map(under).collect();
    kinds.retain(|kind| durable.contains(&kind.as_str()));
    kinds.dedup();
    kinds
}

fn health(world: &World) -> String {
    read(&world.get("/health"))["checks"]["encryption_keys"].as_str().unwrap().to_owned()
}

/// Item 32: the sweep reaches none under the old key; before, it cannot be taken out unnoticed, and then it can.
#[test]
fn after_two_sweeps_the_old_key_may_go() {
    let world = world();
    assert_eq!(sealed_under(&world, "old"), ["b.a.", "b.c.", "b.i.", "b.q.", "b.u."]);
    keys(&world, &[NEW, OLD]);
    let (first, _) = sweep(&world, "");
    assert_eq!((&first["moved"], &first["unreadable"]), (&first["rows"]["old"], &json!(0)));
    assert_eq!(first["keys_in_use"], json!(["new", "old"]));
    assert!(sealed_under(&world, "old").is_empty(), "{:?}", sealed_under(&world, "old"));
    assert_eq!(sealed_under(&world, "new"), ["b.a.", "b.c.", "b.i.", "b.q.", "b.u."]);
    keys(&world, &[NEW]);
    assert!(health(&world).contains("`old`"), "not before a sweep has found it unused");

    keys(&world, &[NEW, OLD]);
    let (second, _) = sweep(&world, "");
    assert_eq!((&second["rows"]["old"], &second["keys_in_use"]), (&Value::Null, &json!(["new"])));
    keys(&world, &[NEW]);
    assert_eq!(health(&world), "ok");
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-1");
    let audit = read(&world.get("/admin/audit?subject=owner"));
    assert_eq!((&audit["record"]["unreadable"], &audit["encryption_keys"]), (&json!(0), &json!("ok")));
    assert!(audit["record"]["lines"].as_array().unwrap().len() >= 4);
    Browser::default().start(&world, "/auth/forge");
}

#[test]
fn a_sweep_of_many_goes_in_steps_and_leaves_nobody_out() {
    let world = world();
    let broker = Broker::new(&world);
    let connection = broker.connections().get(&owners("forge")).unwrap().unwrap();
    for number in 0..150 {
        let subject = Subject::parse(&format!("person-{number}")).unwrap();
        run(broker.connections().adopt(&ConnectionId::new(subject, ServiceId::parse("forge").unwrap()), &connection))
            .unwrap();
    }
    keys(&world, &[NEW, OLD]);
    let (answer, steps) = sweep(&world, "");
    assert!((3..=60).contains(&steps), "{steps}");
    assert_eq!(answer["moved"], answer["rows"]["old"]);
    assert!(answer["moved"].as_u64() >= Some(150 * 2 + 50), "{answer}");
    assert!(sealed_under(&world, "old").is_empty());
    assert_eq!(sweep(&world, "").0["keys_in_use"], json!(["new"]));
}

#[test]
fn a_cursor_is_good_for_its_own_sweep() {
    let world = world();
    let broker = Broker::new(&world);
    let connection = broker.connections().get(&owners("forge")).unwrap().unwrap();
    for number in 0..70 {
        let subject = Subject::parse(&format!("person-{number}")).unwrap();
        run(broker.connections().adopt(&ConnectionId::new(subject, ServiceId::parse("forge").unwrap()), &connection))
            .unwrap();
    }
    let cursor = read(&step(&world, ""))["cursor"].as_str().unwrap().to_owned();
    let goes_on = |form: String| step(&world, &form).status() == StatusCode::OK;
    assert!(goes_on(format!("cursor={cursor}")));
    assert!(!goes_on(format!("cursor={}", &cursor[1..])));
    assert!(!goes_on("cursor=x".to_owned()));
    keys(&world, &[NEW, OLD]);
    assert!(!goes_on(format!("cursor={cursor}")), "another key is the first now");
    keys(&world, &[OLD]);
    world.pass(90_000);
    assert!(!goes_on(format!("cursor={cursor}")), "a day ago");
}

/// What a refresh is about to write is not overwritten: its row is left to it.
#[test]
fn a_connection_that_is_being_refreshed_is_left_alone() {
    let world = world();
    keys(&world, &[NEW, OLD]);
    let broker = Broker::new(&world);
    let id = owners("forge");
    let identity = id.identity();
    let place = crate::vault::RowId { kind: crate::vault::RowKind::Connection, identity: &identity };
    let lease = run(broker.leases().take(place, None)).unwrap().unwrap();
    let (answer, _) = sweep(&world, "");
    assert!(answer["moved"].as_u64() < answer["rows"]["old"].as_u64());
    assert_eq!(sealed_under(&world, "old"), ["b.c."]);
    broker.leases().release(place, &lease);
    sweep(&world, "");
    assert!(sealed_under(&world, "old").is_empty());
}

/// Item 25: that a rotation is in doubt is still known after a sweep.
#[test]
fn a_rotation_in_doubt_stays_in_doubt() {
    let world = world();
    world.pass(3600);
    world.fault(SendFault::Timeout);
    assert_eq!(world.token("forge", None).status(), StatusCode::SERVICE_UNAVAILABLE);
    keys(&world, &[NEW, OLD]);
    sweep(&world, "");
    assert_eq!(sealed_under(&world, "old"), [""; 0]);
    world.answer(400, json!({ "error": "invalid_grant" }));
    assert_eq!(world.token("forge", None).status(), StatusCode::CONFLICT);
    let connection = Broker::new(&world).connections().get(&owners("forge")).unwrap().unwrap();
    assert_eq!(connection.state, State::NeedsReconnect { reason: "refresh_interrupted".to_owned() });
}

#[test]
fn revocations_that_are_due_are_tried_on_the_way() {
    let world = world();
    world.pass(3600);
    world.sent.borrow_mut().clear();
    sweep(&world, "");
    assert_eq!(world.sent.borrow().len(), 1);
}

/// Item 32: rows of a key that is gone are counted and left as they are.
#[test]
fn rows_that_do_not_open_are_counted_and_left() {
    let world = world();
    let before = world.dump();
    keys(&world, &[NEW]);
    let (answer, _) = sweep(&world, "");
    // The list of subjects does not open, so that nobody is found by it: the owner and the holders of API keys are.
    assert!(answer["unreadable"].as_u64() > Some(1), "{answer}");
    assert_eq!((&answer["moved"], &answer["rows"]["old"]), (&json!(0), &answer["unreadable"]));
    assert!(answer["encryption_keys"].as_str().unwrap().contains("`old`"));
    assert_eq!(answer["keys_in_use"], json!(["new", "old"]));
    for (key, row) in before.iter().filter(|(key, _)| *key != "b.keys") {
        assert_eq!(world.store.borrow().get(key), Some(row));
    }
}

#[test]
fn a_damaged_row_keeps_no_key_in_use() {
    let world = world();
    keys(&world, &[NEW, OLD]);
    let key = world.dump().into_keys().find(|key| key.starts_with("b.q.")).unwrap();
    *world.store.borrow_mut().get_mut(&key).unwrap().last_mut().unwrap() ^= 1;
    assert_eq!(sweep(&world, "").0["unreadable"], 1);
    assert_eq!(sweep(&world, "").0["keys_in_use"], json!(["new"]));
}

#[test]
fn a_key_that_is_lost_is_given_up_only_when_told() {
    let world = world();
    keys(&world, &[NEW]);
    sweep(&world, "");
    sweep(&world, "");
    assert!(health(&world).contains("`old`"));
    let (answer, _) = sweep(&world, "lost=old");
    assert!(answer["deleted"].as_u64() > Some(1), "{answer}");
    let (answer, _) = sweep(&world, "");
    assert_eq!((&answer["keys_in_use"], &answer["encryption_keys"]), (&json!(["new"]), &json!("ok")));
    Browser::default().start(&world, "/auth/forge");
    keys(&world, &[NEW, OLD]);
    assert_eq!(step(&world, "lost=old").status(), StatusCode::BAD_REQUEST, "a key that is there is not lost");
}

#[test]
fn another_key_of_the_same_name_does_not_make_the_right_one_forgotten() {
    let world = world();
    let (_, material) = NEW.split_once(':').unwrap();
    keys(&world, &[NEW, &format!("old:{material}")]);
    sweep(&world, "");
    sweep(&world, "");
    assert!(health(&world).contains("`old` is not the key of that name"), "{}", health(&world));
}

#[test]
fn a_step_that_the_store_stopped_can_be_taken_again() {
    let world = world();
    keys(&world, &[NEW, OLD]);
    world.read_only.set(true);
    let answer = step(&world, "");
    assert_eq!(
        (answer.status(), &read(&answer)["error"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("temporarily_unavailable"))
    );
    world.read_only.set(false);
    let (answer, _) = sweep(&world, "");
    assert_eq!(answer["moved"], answer["rows"]["old"]);
}

/// Item 35: in the form of the other routes.
#[test]
fn a_caller_without_an_admin_key_sweeps_nothing() {
    let world = World::public();
    for key in [None, Some("wrong"), Some(ANNS_KEY), Some(SERVICE_KEY)] {
        let mut request = world.request("POST", "/admin/sweep");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = world.handle(request.body(Vec::new()).unwrap());
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
    }
    assert!(world.dump().is_empty());
    let request = world.request("POST", "/admin/sweep").header("authorization", format!("Bearer {ADMIN_KEY}"));
    assert_eq!(world.handle(request.body(Vec::new()).unwrap()).status(), StatusCode::OK);
}
