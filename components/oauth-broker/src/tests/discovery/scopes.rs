//! Scopes from any source are tokens as RFC 6749 defines them, and not too many.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;

fn words(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("scope-{number}")).collect()
}

/// A18: of a challenge and of metadata.
#[test]
fn discovery_takes_what_is_a_scope_and_not_too_much_of_it() {
    let asked = |scopes: &[String], by_challenge: bool| {
        let world = world();
        saying(&world, json!({ "scopes_supported": ["offline_access"] }));
        let scope = if by_challenge { format!(r#", scope="{}""#, scopes.join(" ")) } else { String::new() };
        challenge(&world, &format!(r#"Bearer resource_metadata="{RESOURCE}"{scope}"#));
        let resource = json!({ "resource": SERVER, "authorization_servers": [ISSUER], "scopes_supported": scopes });
        at(&world, RESOURCE, resource);
        start(&world)["scope"].split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    for by_challenge in [false, true] {
        let mut expected = words(2);
        expected.push("offline_access".to_owned());
        assert_eq!(asked(&["scope-0".into(), "é".into(), "café".into(), "scope-1".into()], by_challenge), expected);
        let many = asked(&words(500), by_challenge);
        assert_eq!(many.len(), if by_challenge { 65 } else { 101 });
        let long: Vec<String> = words(30).iter().map(|word| format!("{word}{}", "x".repeat(200))).collect();
        let long = asked(&long, by_challenge);
        assert!(long.join(" ").len() < 3100 && long.last().unwrap() == "offline_access");
    }
}

/// A18: of a token answer. What was left out is not forgotten: a policy must not take the token for a narrower one.
#[test]
fn a_token_answer_says_scopes_and_not_too_many() {
    let connected = |scope: Value| {
        let world = World::local();
        let mut browser = Browser::default();
        let mut said = grant("access", 3600, "refresh");
        said["scope"] = scope;
        world.connect(&mut browser, "forge", said);
        world
    };
    let scopes = |world: &World| world.resolve(None, json!({ "service": "forge" }))["scopes"].clone();
    assert_eq!(scopes(&connected(json!("read write read"))), json!(["read", "write"]));
    for (said, kept) in [
        (json!("read \u{202e}evil"), json!(["read", "(more)"])),
        (json!(["read", "a b", 7]), json!(["read", "(more)"])),
        (json!(format!("read {}", "x".repeat(257))), json!(["read", "(more)"])),
    ] {
        let world = connected(said);
        assert_eq!(scopes(&world), kept);
        let policy = json!({ "gateway": { "services": { "forge": ["read"] } } });
        world.set("handout_policy", &policy.to_string());
        assert_eq!(world.resolve(None, json!({ "service": "forge" }))["status"], "unknown_service");
    }
    let many = scopes(&connected(json!(words(10_000))));
    let many = many.as_array().unwrap();
    assert_eq!((many.len(), many.last().unwrap()), (513, &json!("(more)")));
}

/// A18: of who asks for a token or for a link.
#[test]
fn a_caller_asks_for_scopes_and_for_few() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access", 3600, "refresh"));
    for bad in [json!(["a b"]), json!([""]), json!(["é"]), json!(["a\"b"]), json!(words(65)), json!(["x".repeat(257)])]
    {
        let service = json!({ "service": "forge", "scopes": bad });
        let question = json!({ "resource": format!("{LOCAL}/mcp"), "services": [service] });
        let answer = world.ask(SERVICE_KEY, &question);
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", text(&answer));
        assert!(text(&answer).contains("scopes are at most 64"), "{}", text(&answer));
        let ticket = world.request("POST", "/tickets").body(service.to_string().into_bytes()).unwrap();
        assert_eq!(world.handle(ticket).status(), StatusCode::BAD_REQUEST);
    }
    let step_up = world.resolve(None, json!({ "service": "forge", "scopes": words(64) }));
    assert_eq!(step_up["missing_scopes"], json!(words(64)));
}

/// A18: of the settings, where it is a mistake to be told.
#[test]
fn scopes_of_the_settings_are_checked() {
    let world = World::local();
    let row = json!({ "client_id": "id", "authorize_url": "https://a.example/", "token_url": "https://a.example/" });
    for mut entry in [row, json!({ "mcp_server": SERVER })] {
        for (scopes, is_well) in [
            (json!(words(128)), true),
            (json!(words(129)), false),
            (json!(["read write"]), false),
            (json!([""]), false),
            (json!(["\u{202e}"]), false),
        ] {
            entry["scopes"] = scopes;
            world.offer("notes", entry.clone());
            let said = read(&world.get("/health"))["checks"]["oauth_clients"].as_str().unwrap().to_owned();
            assert_eq!(said == "ok", is_well, "{said}");
            assert!(is_well || said.starts_with("`notes`: `scopes` are at most 128"), "{said}");
        }
    }
}

/// A18: what was granted in steps does not grow without end, so that it fits into a page, a row and a URL.
#[test]
fn steps_up_do_not_add_up_without_end() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access", 3600, "refresh"));
    for step in 0..8 {
        let further: Vec<String> = (0..60).map(|number| format!("step-{step}-{number}")).collect();
        let link = world.resolve(None, json!({ "service": "forge", "scopes": further }))["connect_url"].clone();
        let to = browser.start(&world, link.as_str().unwrap().strip_prefix(LOCAL).unwrap());
        let asked: Vec<&str> = to["scope"].split(' ').collect();
        assert!(asked.len() <= 128 && to["scope"].len() <= 4096, "{}", asked.len());
        assert!(asked.starts_with(&["read", "write"]) && asked.contains(&further[0].as_str()));
        let mut granted = grant("access", 3600, "refresh");
        granted["scope"] = json!(to["scope"]);
        world.answer(200, granted);
        browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
        world.answers.borrow_mut().clear();
    }
}
