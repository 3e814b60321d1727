//! What people and operators see.

use http::StatusCode;
use serde_json::json;

use super::*;

#[test]
fn the_list_has_every_service_that_is_offered() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    let listed = read(&world.get("/connections"));
    assert_eq!(listed["subject"], "owner");
    let forge = json!({
        "service": "forge", "name": "forge", "connected": true, "state": "active", "scopes": ["read", "write"],
        "missing_scopes": [], "expires_at": NOW + 3600, "renewable": true, "connected_at": NOW, "refreshed_at": NOW,
        "connect_url": "http://127.0.0.1:3000/auth/forge",
    });
    assert_eq!(listed["services"][0], forge);
    let github = json!({
        "service": "github", "name": "GitHub", "connected": false, "state": "not_connected", "scopes": [],
        "missing_scopes": [], "renewable": false, "connect_url": "http://127.0.0.1:3000/auth/github",
    });
    assert_eq!(listed["services"][1], github);
}

#[test]
fn a_page_shows_the_same_and_lets_a_person_disconnect() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let page = browser.get(&world, "/?connected=forge");
    assert!(text(&page).contains("forge is connected.") && text(&page).contains("action=\"/disconnect/forge\""));
    assert!(text(&page).contains("href=\"/auth/github\"") && !text(&page).contains("<script"));
    assert_eq!(head(&page, "referrer-policy"), "same-origin");

    world.answer(200, json!({}));
    let done = browser.post(&world, "/disconnect/forge", "");
    assert_eq!((done.status(), head(&done, "location").as_str()), (StatusCode::SEE_OTHER, "/?disconnected=forge"));
    assert!(text(&browser.get(&world, "/?disconnected=forge")).contains("forge is disconnected."));
    assert!(!text(&browser.get(&world, "/")).contains("/disconnect/forge"));
}

#[test]
fn what_a_link_says_is_not_repeated_on_the_page() {
    let world = World::local();
    for query in ["connected=%3Cb%3E", "disconnected=nothing", "connected=a&connected=b"] {
        assert!(!text(&world.get(&format!("/?{query}"))).contains("is connected."));
    }
}

#[test]
fn health_names_what_is_wrong_and_shows_nothing() {
    let world = World::public();
    let answer = world.get("/health");
    assert_eq!((answer.status(), &read(&answer)["status"]), (StatusCode::OK, &json!("ok")));
    assert!(world.dump().is_empty());
    for (setting, value) in [
        ("public_url", "http://canary.example"),
        ("gateway_url", "canary"),
        ("encryption_keys", "canary"),
        ("service_keys", "canary"),
        ("gateway_keys", "canary"),
        ("local_owner", "canary"),
        ("api_keys", "canary"),
        ("oauth_clients", "{\"forge\": \"canary\"}"),
    ] {
        let world = World::public();
        world.set(setting, value);
        let answer = world.get("/health");
        assert_eq!((answer.status(), &read(&answer)["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("failing")));
        assert_ne!(read(&answer)["checks"][setting], "ok", "{setting}");
        assert!(!text(&answer).contains("canary"));
    }
    world.store_down.set(true);
    assert_eq!(read(&world.get("/health"))["checks"]["store"], "the store does not answer");
}

#[test]
fn a_setting_that_is_missing_stops_the_request_and_is_named() {
    for (setting, path) in
        [("public_url", "/"), ("encryption_keys", "/auth/forge"), ("encryption_keys", "/connections")]
    {
        let world = World::local();
        world.set(setting, "");
        let answer = world.get(path);
        let said = format!("{setting}: missing");
        assert_eq!(
            (answer.status(), &read(&answer)["error"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &json!("server_error"))
        );
        assert_eq!(read(&answer)["error_description"], said);
        assert_eq!(world.log.borrow().as_slice(), [said]);
        assert!(world.dump().is_empty());
    }
}

#[test]
fn a_store_that_is_down_is_told_so() {
    let world = World::local();
    world.store_down.set(true);
    for path in ["/", "/connections", "/auth/forge", "/callback/forge?code=x&state=y"] {
        let answer = world.get(path);
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(
            (read(&answer)["error"].clone(), head(&answer, "retry-after")),
            (json!("temporarily_unavailable"), "5".into())
        );
    }
}

#[test]
fn a_browser_gets_a_page_and_everything_else_json() {
    let world = World::local();
    let page = Browser::default().get(&world, "/nothing");
    assert!(head(&page, "content-type").starts_with("text/html") && text(&page).contains("href=\"/\""));
    let answer = world.get("/nothing");
    assert_eq!(
        (head(&answer, "content-type").as_str(), &read(&answer)["error"]),
        ("application/json", &json!("not_found"))
    );
}
