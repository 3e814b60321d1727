//! Several accounts of one person at one service, and the lists that find them.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::names::{AccountName, ConnectionId};

fn account(name: &str) -> ConnectionId {
    ConnectionId { account: AccountName::parse(name).unwrap(), ..owners("forge") }
}

/// Connects the forge by that name, with tokens called after it.
fn connect(world: &World, name: &str) {
    let mut browser = Browser::default();
    let to = browser.start(world, &format!("/auth/forge?account={name}"));
    world.answer(200, grant(&format!("access-{name}"), 3600, &format!("refresh-{name}")));
    browser.get(world, &format!("/callback/forge?code=canary-code&state={}", to["state"]));
    world.answers.borrow_mut().clear();
}

fn token(world: &World, account: &str) -> Value {
    let body = json!({ "account": account }).to_string().into_bytes();
    let request = world.request("POST", "/token/forge").header("content-type", "application/json");
    read(&world.handle(request.body(body).unwrap()))
}

fn listed(world: &World) -> Vec<(String, String)> {
    let listing = read(&world.get("/connections"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let services = listing["services"].as_array().unwrap().iter();
    services.filter(|one| one["service"] == "forge").map(|one| (text(&one["account"]), text(&one["state"]))).collect()
}

fn named(world: &World) -> Vec<ConnectionId> {
    Broker::new(world).index().connections_of(&owners("forge").subject).unwrap()
}

#[test]
fn each_account_has_its_own_token() {
    let world = World::local();
    connect(&world, "work");
    connect(&world, "home");
    assert_eq!(token(&world, "work")["access_token"], "access-work");
    assert_eq!(token(&world, "home")["access_token"], "access-home");
    assert_eq!(named(&world), [account("work"), account("home")]);
}

/// Nobody acts under an account that nobody named, even if it is the only one.
#[test]
fn without_a_name_it_is_the_account_without_a_name_and_no_other() {
    let world = World::local();
    connect(&world, "work");
    assert_eq!(token(&world, "")["error"], "not_connected");
    connect(&world, "");
    assert_eq!(token(&world, "")["access_token"], "access-");
}

#[test]
fn one_account_ends_without_the_others() {
    let world = World::local();
    connect(&world, "work");
    connect(&world, "");
    world.answer(200, json!({}));
    let request = world.request("DELETE", "/token/forge").header("content-type", "application/json");
    let ended = world.handle(request.body(json!({ "account": "work" }).to_string().into_bytes()).unwrap());
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    assert_eq!(token(&world, "work")["error"], "not_connected");
    assert_eq!(token(&world, "")["access_token"], "access-");
    assert_eq!(named(&world), [account("")]);
}

#[test]
fn a_connection_whose_name_was_lost_works_and_gets_it_back() {
    for bring_back in [(|world| connect(world, "work")) as fn(&World), |world| {
        world.pass(3600);
        world.answer(200, grant("access-work", 3600, "refresh-work"));
        token(world, "work");
    }] {
        let world = World::local();
        connect(&world, "work");
        world.store.borrow_mut().retain(|key, _| !key.starts_with("b.i."));
        assert!(named(&world).is_empty());
        assert_eq!(token(&world, "work")["access_token"], "access-work");
        bring_back(&world);
        assert_eq!(named(&world), [account("work")]);
    }
}

#[test]
fn a_name_whose_connection_is_gone_goes_when_somebody_looks() {
    let world = World::local();
    connect(&world, "work");
    connect(&world, "");
    Broker::new(&world).connections().forget(&account("work")).unwrap();
    run(Broker::new(&world).connections().retry_revocations(&owners("forge").subject)).unwrap();
    assert_eq!(named(&world), [account("")]);
}

/// Somebody who looks after all subjects finds each, and only those that have something.
#[test]
fn the_shards_name_every_subject_that_has_connections() {
    let world = World::public();
    for key in [ANNS_KEY, BOBS_KEY] {
        let mut browser = Browser::default();
        browser.sign_in(&world, key);
        world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    }
    let subjects = |world: &World| -> Vec<String> {
        let broker = Broker::new(world);
        let mut all: Vec<String> = (0..crate::connections::index::SHARDS)
            .flat_map(|n| broker.index().subjects_of_shard(n).unwrap())
            .map(String::from)
            .collect();
        all.sort();
        all
    };
    assert_eq!(subjects(&world), ["ann", "bob"]);
    world.answer(200, json!({}));
    let request = world.request("DELETE", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
    assert_eq!(world.handle(request.body(Vec::new()).unwrap()).status(), StatusCode::NO_CONTENT);
    assert_eq!(subjects(&world), ["bob"]);
}

#[test]
fn the_number_of_connections_is_bounded() {
    let world = World::local();
    for number in 0..256 {
        connect(&world, &format!("a{number}"));
    }
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge?account=one-more");
    assert!(text(&browser.agree(&world, &page)).contains("as many connections"));
    let page = browser.get(&world, "/auth/forge?account=a7");
    assert_eq!(browser.agree(&world, &page).status(), StatusCode::OK, "connecting again is not one more");
}

#[test]
fn the_list_shows_every_account() {
    let world = World::local();
    connect(&world, "work");
    let active = |name: &str| (name.to_owned(), "active".to_owned());
    assert_eq!(listed(&world), [(String::new(), "not_connected".to_owned()), active("work")]);
    connect(&world, "");
    assert_eq!(listed(&world), [active(""), active("work")]);
}

/// What was asked for and not granted, the way to grant it, and when all of it ends.
#[test]
fn the_list_shows_what_is_missing_and_when_it_dies() {
    let world = World::local();
    world.offer(
        "forge",
        json!({
            "client_id": "id", "client_secret": "secret", "scopes": ["read", "write"],
            "authorize_url": "https://forge.example/authorize", "token_url": "https://forge.example/token",
            "refresh_lifetime": { "idle": 30 * 86400, "absolute": 60 * 86400 },
        }),
    );
    let mut narrow = grant("access-1", 3600, "refresh-1");
    narrow["scope"] = json!("read");
    world.connect(&mut Browser::default(), "forge", narrow);
    let forge = || read(&world.get("/connections"))["services"][0].clone();
    assert_eq!((&forge()["scopes"], &forge()["missing_scopes"]), (&json!(["read"]), &json!(["write"])));
    assert_eq!(forge()["step_up_url"], "http://127.0.0.1:3000/auth/forge");
    assert_eq!((&forge()["dies_at"], &forge()["warning"]), (&json!(NOW + 30 * 86400), &Value::Null));
    world.pass(24 * 86400);
    assert_eq!(forge()["warning"], "use_soon");
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    token(&world, "");
    assert_eq!((&forge()["dies_at"], &forge()["warning"]), (&json!(NOW + 54 * 86400), &Value::Null));
    world.pass(29 * 86400);
    world.answer(200, grant("access-3", 3600, "refresh-3"));
    token(&world, "");
    assert_eq!((&forge()["dies_at"], &forge()["warning"]), (&json!(NOW + 60 * 86400), &json!("reconnect_soon")));
    assert_eq!(forge()["refresh_absolute_ends_at"], json!(NOW + 60 * 86400));
}

#[test]
fn a_connection_stays_in_the_list_when_its_service_is_not_offered_any_more() {
    let world = World::local();
    connect(&world, "work");
    let clients = json!({ "github": { "client_id": "github-id", "client_secret": "secret" } });
    world.set("oauth_clients", &clients.to_string());
    assert_eq!(listed(&world), [("work".to_owned(), "not_offered".to_owned())]);
}
