//! Rotation of keys, and the rows that they have sealed.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::names::{ConnectionId, Subject};

const OLD: &str = "old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "new:AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn anns(service: &str) -> ConnectionId {
    ConnectionId { subject: Subject::parse("ann").unwrap(), ..owners(service) }
}

/// Ann has connected the forge while there was the old key only.
fn world() -> (World, Browser) {
    let world = World::public();
    world.set("encryption_keys", OLD);
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    (world, browser)
}

fn keys(world: &World, keys: &[&str]) {
    world.set("encryption_keys", &keys.join(","));
}

/// The id of the key under which the connection lies.
fn sealed_under(world: &World) -> String {
    let dump = world.dump();
    let (_, row) = dump.iter().find(|(key, _)| key.starts_with("b.c.")).unwrap();
    String::from_utf8(row[2..5].to_vec()).unwrap()
}

fn ledger(world: &World) -> Vec<String> {
    let row: Value = serde_json::from_slice(&world.dump()["b.keys"]).unwrap();
    row.as_object().unwrap().keys().cloned().collect()
}

fn health(world: &World) -> String {
    let request = world.request("GET", "/health").header("authorization", format!("Bearer {ADMIN_KEY}"));
    read(&world.handle(request.body(Vec::new()).unwrap()))["checks"]["encryption_keys"].as_str().unwrap().to_owned()
}

/// Signs ann in again (a session ends with its key) and lets her begin to connect the forge.
fn begin(world: &World) -> http::Response<Vec<u8>> {
    let mut browser = Browser::default();
    browser.sign_in(world, ANNS_KEY);
    let page = browser.get(world, "/auth/forge");
    browser.agree(world, &page)
}

/// Item 32: old rows can be read, and what is written is under the new key.
#[test]
fn a_row_moves_to_the_first_key_when_it_is_written() {
    let (world, _) = world();
    keys(&world, &[NEW, OLD]);
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "access-1");
    assert_eq!(sealed_under(&world), "old");
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "access-2");
    assert_eq!(sealed_under(&world), "new");
    assert_eq!(ledger(&world), ["new", "old"]);
}

/// Item 32: a key that still seals rows cannot be taken out unnoticed, and while it is missing no row is touched.
#[test]
fn a_key_that_is_missing_is_named_and_no_row_is_touched() {
    let (world, _) = world();
    let before = world.dump();
    keys(&world, &[NEW]);
    assert!(health(&world).contains("no key `old`"), "{}", health(&world));
    assert_eq!(world.get("/health").status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = world.token("forge", Some(ANNS_KEY));
    assert_eq!(
        (answer.status(), &read(&answer)["error"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("temporarily_unavailable"))
    );
    let answer = begin(&world);
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&answer).contains("encryption_keys: wrong"), "{}", text(&answer));
    assert!(world.log.borrow().last().unwrap().contains("there is no key `old`"));
    for (key, row) in &before {
        assert_eq!(world.store.borrow().get(key), Some(row));
    }
    keys(&world, &[NEW, OLD]);
    assert_eq!(health(&world), "ok");
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "access-1");
    assert_eq!(begin(&world).status(), StatusCode::OK);
}

#[test]
fn rows_that_open_are_handed_out_while_another_key_is_missing() {
    let (world, _) = world();
    keys(&world, &[NEW, OLD]);
    let mut browser = Browser::default();
    browser.sign_in(&world, BOBS_KEY);
    world.connect(&mut browser, "forge", grant("bobs-token", 3600, "refresh-1"));
    keys(&world, &[NEW]);
    assert_eq!(read(&world.token("forge", Some(BOBS_KEY)))["access_token"], "bobs-token");
}

#[test]
fn another_key_of_the_same_name_is_noticed() {
    let (world, _) = world();
    keys(&world, &[&NEW.replace("new:", "old:")]);
    assert!(health(&world).contains("`old` is not the key of that name"), "{}", health(&world));
    assert_eq!(begin(&world).status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_new_ledger_begins_with_all_keys() {
    let (world, _) = world();
    world.store.borrow_mut().remove("b.keys");
    keys(&world, &[NEW, OLD]);
    assert_eq!(health(&world), "ok");
    let broker = Broker::new(&world);
    let connection = broker.connections().get(&anns("forge")).unwrap().unwrap();
    broker.connections().save(&anns("forge"), &connection).unwrap();
    assert_eq!(ledger(&world), ["new", "old"]);
}

/// The way of every call reads nothing of it.
#[test]
fn a_fresh_token_is_handed_out_without_a_look_at_the_keys_in_use() {
    let (world, _) = world();
    world.store.borrow_mut().remove("b.keys");
    world.reads.set(0);
    assert_eq!(world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }))["status"], "token");
    assert_eq!((world.reads.get(), world.dump().contains_key("b.keys")), (1, false));
}

#[test]
fn nothing_in_the_row_of_keys_is_a_key() {
    let (world, _) = world();
    let row = String::from_utf8(world.dump()["b.keys"].clone()).unwrap();
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["old"].as_str().unwrap().len(), 8);
    assert!(!OLD.contains(row["old"].as_str().unwrap()));
}

/// Rows that are there for minutes must not stand in the way when their key is gone: flows under way, used tickets, the
/// limit of sign-ins, leases and waits.
#[test]
fn rows_under_a_retired_key_stop_nobody() {
    let (world, _) = world();
    Browser::default().sign_in(&world, "canary-wrong");
    begin(&world);
    world.resolve(Some(ANNS_KEY), json!({ "service": "github" }));
    keys(&world, &[NEW, OLD]);
    for _ in 0..2 {
        let request = world.request("POST", "/admin/sweep").header("authorization", format!("Bearer {ADMIN_KEY}"));
        assert_eq!(read(&world.handle(request.body(Vec::new()).unwrap()))["done"], true);
    }
    keys(&world, &[NEW]);
    assert_eq!(health(&world), "ok");
    for kind in ["b.p.", "b.t.", "b.l.", "b.f."] {
        assert!(world.dump().keys().any(|key| key.starts_with(kind)), "{kind}");
    }
    Browser::default().sign_in(&world, "canary-wrong");
    let mut owner = Browser::default();
    owner.sign_in(&world, PASSPHRASE);
    assert_eq!(owner.get(&world, "/connections").status(), StatusCode::OK);
    assert_eq!(begin(&world).status(), StatusCode::OK);
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "access-2");
}
