//! Clients are registered seldom, and not without end.

use http::StatusCode;
use serde_json::json;

use super::*;

const REGISTER: &str = "POST https://login.example.net/register";
const MOST: usize = 10;

fn registrations(world: &World) -> usize {
    sent(world).iter().filter(|url| url.ends_with("/register")).count()
}

fn rows(world: &World) -> usize {
    world.dump().keys().filter(|key| key.starts_with("b.n.")).count()
}

/// A22: flows that nobody finishes.
#[test]
fn unfinished_flows_register_no_more_than_so_many_clients_in_a_day() {
    let world = world();
    let begun = || {
        // A person uses no more tickets than so many in ten minutes.
        world.pass(20);
        start(&world)
    };
    for _ in 0..200 {
        assert_eq!(begun()["client_id"], "registered-1");
    }
    assert_eq!((registrations(&world), rows(&world)), (MOST, 1));
    world.pass(86_400);
    for _ in 0..200 {
        begun();
    }
    assert_eq!((registrations(&world), rows(&world)), (2 * MOST, 1));
}

/// A22: a flow that came back shows that the server knows the client, even with an error.
#[test]
fn flows_that_fail_register_nothing() {
    let world = world();
    posted(&world, "https://login.example.net/token", 400, json!({ "error": "invalid_grant" }));
    for round in 0..40 {
        world.pass(20);
        let mut browser = Browser::default();
        let to = browser.start(&world, "/auth/notes");
        let said = if round % 2 == 0 { "error=access_denied" } else { "code=x" };
        let answer = browser.get(&world, &format!("/callback/notes?{said}&state={}", to["state"]));
        assert!(answer.status().is_client_error(), "{}", text(&answer));
    }
    assert_eq!(registrations(&world), 1);
}

/// A22: a server that forgets its clients at once, or lets them end at once.
#[test]
fn a_server_that_keeps_no_client_is_asked_no_more_than_so_often() {
    let forgets = world();
    posted(&forgets, "https://login.example.net/token", 401, json!({ "error": "invalid_client" }));
    for _ in 0..MOST {
        connect(&forgets);
    }
    for _ in 0..5 {
        let page = Browser::default().get(&forgets, "/auth/notes");
        assert_eq!(page.status(), StatusCode::BAD_GATEWAY);
        assert!(text(&page).contains("10 clients of this service were registered today"), "{}", text(&page));
        assert!(text(&page).contains("set `client_id` of this service"), "{}", text(&page));
    }
    assert_eq!(registrations(&forgets), MOST);
    forgets.pass(86_400);
    connect(&forgets);
    assert_eq!(registrations(&forgets), MOST + 1);

    let ends = world();
    saying(&ends, json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] }));
    let said = json!({ "client_id": "ends", "client_secret": "s", "client_secret_expires_at": NOW + 1 });
    posted(&ends, "https://login.example.net/register", 201, said);
    for _ in 0..30 {
        start(&ends);
    }
    assert_eq!(registrations(&ends), MOST);
}

/// A22: a server that refuses or breaks registration counts as one that was asked.
#[test]
fn a_server_that_registers_nobody_is_asked_no_more_than_so_often() {
    for (status, body) in [(400, json!({ "error": "invalid_redirect_uri" })), (500, json!({})), (201, json!({}))] {
        let world = world();
        posted(&world, "https://login.example.net/register", status, body);
        for _ in 0..30 {
            assert!(Browser::default().get(&world, "/auth/notes").status().is_server_error());
        }
        // One that refuses is asked once more, without scopes.
        let times = if status == 400 { 2 } else { 1 };
        assert_eq!((registrations(&world), rows(&world)), (times * MOST, 1), "{status}");
    }
}

/// A22: a server whose issuer is another one each time has one row, and no more clients than any other.
#[test]
fn a_server_of_many_issuers_has_one_registration() {
    let world = world();
    for number in 0..30 {
        let issuer = format!("https://login-{number}.example.net");
        let mut said = metadata(&issuer);
        for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
            said[field] = json!(format!("{issuer}/{field}"));
        }
        said["registration_endpoint"] = json!(format!("{issuer}/register"));
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [issuer] }));
        at(&world, &format!("{issuer}/.well-known/oauth-authorization-server"), said);
        posted(&world, &format!("{issuer}/register"), 201, json!({ "client_id": format!("at-{number}") }));
        let page = Browser::default().get(&world, "/auth/notes");
        assert_eq!(page.status().is_success(), number < MOST, "{number} {}", text(&page));
        assert_eq!(rows(&world), 1);
    }
    assert_eq!(registrations(&world), MOST);
}

/// A22: of several instances one registers, and what it brings serves all.
#[test]
fn several_at_once_register_one_client() {
    let world = world();
    start(&world);
    world.store.borrow_mut().retain(|key, _| !key.starts_with("b.n."));
    world.sent.borrow_mut().clear();
    let mut browser = Browser::default();
    let page = Browser::default().get(&world, "/auth/notes");
    assert_eq!((page.status(), registrations(&world)), (StatusCode::OK, 1));
    world.store.borrow_mut().retain(|key, _| !key.starts_with("b.n."));
    // While the first one is answered, somebody else comes, and waits for as long as a call may take.
    let nested = |world: &World| {
        let page = Browser::default().get(world, "/auth/notes");
        assert!(text(&page).contains("it is being asked for a client"), "{}", text(&page));
    };
    let page = browser.get(&world, "/auth/notes");
    world.store.borrow_mut().retain(|key, _| !key.starts_with("b.n."));
    let before = registrations(&world);
    *world.meanwhile.borrow_mut() = Some(Box::new(nested));
    let left = browser.agree(&world, &page);
    assert_eq!(left.status(), StatusCode::OK, "{}", text(&left));
    assert_eq!(registrations(&world), before + 1);
    start(&world);
    assert_eq!(registrations(&world), before + 1);
}

/// A22: what cannot be counted is not asked for.
#[test]
fn a_store_that_takes_nothing_registers_nothing() {
    let world = world();
    world.read_only.set(true);
    for _ in 0..5 {
        assert!(!Browser::default().get(&world, "/auth/notes").status().is_success());
    }
    assert!(!sent(&world).contains(&REGISTER.to_owned()));
}
