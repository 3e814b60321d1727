//! The lists that people and operators see.

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
fn the_text_of_a_link_is_not_repeated_on_the_page() {
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

/// A14: of a wrong setting a stranger reads its name and a fixed word, here and in the errors of other routes.
/// An admin reads what is wrong, and no value either. Nor does the log have one.
#[test]
fn only_an_admin_is_told_what_is_wrong_with_a_setting_and_no_value_is_quoted() {
    let client = |field: &str| format!(r#"{{"forge":{{"client_id":"canary","client_secret":"canary-s",{field}}}}}"#);
    let cases = [
        ("oauth_clients", client(r#""pkce":"canary-variant""#), "unknown variant, expected one of `required`"),
        ("oauth_clients", client(r#""token_body":"canary`, expected x""#), "unknown variant, expected one of `form`"),
        ("oauth_clients", client(r#""CANARY canary-field":1"#), "not JSON of the expected form"),
        ("oauth_clients", client(r#""canary0123456789canary0123456789canary":1"#), "not JSON of the expected form"),
        ("oauth_clients", client(r#""colour":"canary-value""#), "unknown field `colour`"),
        ("oauth_clients", client(r#""scopes":"canary-value""#), "not JSON of the expected form"),
        ("oauth_clients", client(r#""default_lifetime":-99"#), "not JSON of the expected form"),
        ("oauth_clients", "canary".into(), "not JSON of the expected form"),
        ("handout_policy", r#"{"gateway":{"services":"canary"}}"#.into(), "not JSON of the expected form"),
        ("handout_policy", r#"{"gateway":{"services":{},"disconnect":"canary"}}"#.into(), "not JSON"),
        ("handout_policy", r#"{"gateway":{"services":{"Canary canary":[]}}}"#.into(), "neither a service id nor *"),
        ("handout_policy", r#"["canary"]"#.into(), "not JSON of the expected form"),
        ("encryption_keys", "canary".into(), "entry 1 is not id:base64"),
        ("service_keys", "gateway:canary".into(), "entry 1 is not name:sha256"),
        ("api_keys", "ann:canary".into(), "entry 1 is not name:sha256"),
        ("return_urls", "canary://x".into(), "entry 1 is not an https URL"),
        ("audit", "canary".into(), "neither store, each nor log"),
        ("local_owner", "canary".into(), "neither true nor false"),
    ];
    for (setting, value, problem) in cases {
        let world = World::public();
        world.set(setting, &value);
        let health = |bearer: &str| {
            let request = world.request("GET", "/health").header("authorization", format!("Bearer {bearer}"));
            world.handle(request.body(Vec::new()).unwrap())
        };
        let mut shown = vec![world.get("/health")];
        for bearer in ["wrong", ANNS_KEY, SERVICE_KEY] {
            shown.push(health(bearer));
        }
        for answer in &shown {
            assert_eq!(read(answer)["checks"][setting], "wrong (the log says more)", "{setting}: {value}");
            assert!(!text(answer).contains(problem), "{}", text(answer));
        }
        let told = read(&health(ADMIN_KEY))["checks"][setting].as_str().unwrap().to_owned();
        assert!(told.contains(problem), "{told}");
        shown.push(health(ADMIN_KEY));
        for path in ["/", "/auth/forge", "/connections", "/client/forge"] {
            shown.push(world.get(path));
            shown.push(Browser::default().get(&world, path));
        }
        shown.push(world.ask(SERVICE_KEY, &json!({ "subject_token": ANNS_KEY, "resource": PUBLIC, "services": [] })));
        shown.push(world.token("forge", Some(ANNS_KEY)));
        for answer in &shown {
            let said = text(answer).to_lowercase();
            assert!(!said.contains("canary") && !said.contains("-99"), "{said}");
            if answer.status() == StatusCode::INTERNAL_SERVER_ERROR {
                assert!(said.contains(setting) && !said.contains(&problem.to_lowercase()), "{said}");
            }
        }
        let log = world.log.borrow().join("\n").to_lowercase();
        assert!(!log.contains("canary") && !log.contains("-99"), "{log}");
    }
}

/// A14: which keys there are is nobody's business but the operator's.
#[test]
fn the_id_of_a_key_that_is_missing_is_told_to_an_admin_alone() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.set("encryption_keys", &KEYS.replace("k1:AAEC", "other:BBEC"));
    browser.sign_in(&world, ANNS_KEY);
    let ask = |bearer: &str, path: &str| {
        let request = world.request("GET", path).header("authorization", format!("Bearer {bearer}"));
        text(&world.handle(request.body(Vec::new()).unwrap()))
    };
    assert!(ask(ADMIN_KEY, "/health").contains("`k1`"), "{}", ask(ADMIN_KEY, "/health"));
    let page = browser.get(&world, "/auth/forge");
    let refused = browser.agree(&world, &page);
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    for told in [ask("wrong", "/health"), text(&refused)] {
        assert!(!told.contains("k1") && told.to_lowercase().contains("encryption_keys"), "{told}");
    }
}

#[test]
fn in_local_mode_the_owners_tools_are_told_what_is_wrong() {
    let world = World::local();
    world.set("audit", "nowhere");
    assert_eq!(read(&world.get("/health"))["checks"]["audit"], "neither store, each nor log");
    let mut request = world.request("GET", "/health").header("sec-fetch-site", "cross-site").body(Vec::new()).unwrap();
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(read(&world.handle(request))["checks"]["audit"], "wrong (the log says more)");
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
