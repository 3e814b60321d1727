//! How the client authenticates at servers as they are found in the world (R01).

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "https://login.example.net/token";
const REGISTER: &str = "https://login.example.net/register";
const REVOKE: &str = "https://login.example.net/revoke";

/// A world whose authorization server gives a client a secret and lists `methods`.
fn with_secret(methods: Value) -> World {
    let world = world();
    saying(&world, json!({ "token_endpoint_auth_methods_supported": methods }));
    posted(&world, REGISTER, 201, json!({ "client_id": "registered-1", "client_secret": "canary-secret" }));
    world
}

/// An authorization server that reads the client from the form alone, or wants Basic and the id in the form. It refuses
/// with `status` and `body`.
fn strict(world: &World, takes: &'static str, status: u16, body: &'static str) {
    *world.provider.borrow_mut() = Some(Box::new(move |request, _| {
        let answer =
            |status: u16, body: &str| Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
        if ![TOKEN, REVOKE].contains(&request.uri().to_string().as_str()) {
            return answer(500, "");
        }
        let form: std::collections::BTreeMap<String, String> =
            url::form_urlencoded::parse(request.body()).into_owned().collect();
        let basic = request.headers().contains_key("authorization");
        let way = if basic {
            "basic"
        } else if form.contains_key("client_secret") {
            "post"
        } else {
            "none"
        };
        if !form.contains_key("client_id") || way != takes {
            return answer(status, body);
        }
        answer(200, &granted("a-1", "r-1").to_string())
    }));
}

/// How the client authenticated, request by request, at the endpoint of that path.
fn ways(world: &World, path: &str) -> Vec<&'static str> {
    let sent = world.sent.borrow();
    let there = sent.iter().filter(|request| request.uri().path() == path);
    there
        .map(|request| {
            let form = String::from_utf8_lossy(request.body()).into_owned();
            assert!(form.contains("client_id="), "{form}");
            match (request.headers().contains_key("authorization"), form.contains("client_secret=")) {
                (true, false) => "basic",
                (false, true) => "post",
                (false, false) => "none",
                (true, true) => panic!("both"),
            }
        })
        .collect()
}

/// Connects while `provider` answers for the token endpoint: discovery comes first, with the sites.
fn connect_at(world: &World, takes: &'static str, status: u16, body: &'static str) -> StatusCode {
    let mut browser = Browser::default();
    let to = browser.start(world, "/auth/notes");
    strict(world, takes, status, body);
    let done = browser.get(world, &format!("/callback/notes?code=x&state={}", to["state"]));
    *world.provider.borrow_mut() = None;
    done.status()
}

/// R01: the client's id stands in the form beside Basic, at every endpoint where a client authenticates.
#[test]
fn the_clients_id_stands_in_the_form_beside_basic() {
    let world = with_secret(json!(["client_secret_basic", "client_secret_post"]));
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/notes");
    browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "token");
    browser.post(&world, "/disconnect/notes", "");
    assert_eq!((ways(&world, "/token"), ways(&world, "/revoke")), (vec!["basic", "basic"], vec!["basic"]));

    // A provider of the catalogue is spoken to as its documents say.
    let world = World::local();
    world.offer("gitlab", json!({ "client_id": "the-id", "client_secret": "s", "client_auth": "basic" }));
    world.connect(&mut browser, "gitlab", grant("a", 3600, "r"));
    assert!(!String::from_utf8_lossy(world.sent.borrow()[0].body()).contains("client_id"));
}

/// R01: a server that reads the client from the form alone, as the official Python SDK does, gets it there at once: the
/// method that a server names first is the one that it prefers.
#[test]
fn the_method_that_the_server_names_first_is_used() {
    for (methods, way) in [
        (json!(["client_secret_post", "client_secret_basic"]), "post"),
        (json!(["private_key_jwt", "client_secret_post", "client_secret_basic"]), "post"),
        (json!(["client_secret_basic", "client_secret_post"]), "basic"),
        (json!(["none", "client_secret_basic", "client_secret_post"]), "basic"),
    ] {
        let world = with_secret(methods.clone());
        assert_eq!(connect_at(&world, way, 401, r#"{"error":"invalid_client"}"#), StatusCode::SEE_OTHER);
        assert_eq!(ways(&world, "/token"), [way], "{methods}");
        let sent = world.sent.borrow();
        let request = sent.iter().find(|request| request.uri().path() == "/register").unwrap();
        let said: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(said["token_endpoint_auth_method"], format!("client_secret_{way}"), "{methods}");
    }
}

/// R01: a client that is not accepted tries the other method once, where the metadata list it or say nothing, and remembers
/// which one was accepted: with the grant and with the registration.
#[test]
fn a_client_that_is_not_accepted_tries_the_other_method_once_and_remembers() {
    for methods in [json!(["client_secret_basic", "client_secret_post"]), Value::Null] {
        for (status, body) in [
            (401, r#"{"error":"invalid_client"}"#),
            (400, r#"{"error":"invalid_client"}"#),
            (401, r#"{"error":"unauthorized_client"}"#),
            (401, "<html>"),
            (401, ""),
        ] {
            let world = with_secret(methods.clone());
            assert_eq!(connect_at(&world, "post", status, body), StatusCode::SEE_OTHER, "{body}");
            assert_eq!(ways(&world, "/token"), ["basic", "post"]);
            world.pass(3600);
            strict(&world, "post", status, body);
            assert_eq!(resolved(&world)["access_token"], "a-1");
            *world.provider.borrow_mut() = None;
            assert_eq!(ways(&world, "/token"), ["basic", "post", "post"], "remembered with the grant");
            world.pass(600);
            assert_eq!(connect_at(&world, "post", status, body), StatusCode::SEE_OTHER);
            assert_eq!(ways(&world, "/token"), ["basic", "post", "post", "post"], "and with the registration");
            Browser::default().post(&world, "/disconnect/notes", "");
            assert_eq!(ways(&world, "/revoke"), ["post"]);
        }
    }
    // A server that has changed its mind is found out at a refresh, and at a revocation.
    let world = with_secret(Value::Null);
    connect(&world);
    world.pass(3600);
    strict(&world, "post", 401, r#"{"error":"invalid_client"}"#);
    assert_eq!(resolved(&world)["status"], "token");
    strict(&world, "basic", 401, "");
    let ended = Browser::default().post(&world, "/disconnect/notes", "");
    assert!(!head(&ended, "location").contains("revoked"), "{}", head(&ended, "location"));
    assert_eq!(
        (ways(&world, "/token"), ways(&world, "/revoke")),
        (vec!["basic", "basic", "post"], vec!["post", "basic"])
    );
}

/// R01: no method is tried that the metadata do not list, none twice, and none for an error that is not about the client.
#[test]
fn the_other_method_is_tried_only_where_it_can_help() {
    for (methods, status, body, tried) in [
        (json!(["client_secret_basic"]), 401, r#"{"error":"invalid_client"}"#, vec!["basic"]),
        (json!(["client_secret_post"]), 401, r#"{"error":"invalid_client"}"#, vec!["post"]),
        (json!(["none"]), 401, r#"{"error":"invalid_client"}"#, vec!["none"]),
        (Value::Null, 401, r#"{"error":"invalid_client"}"#, vec!["basic", "post"]),
        (Value::Null, 400, r#"{"error":"invalid_grant"}"#, vec!["basic"]),
        (Value::Null, 400, r#"{"error":"invalid_request"}"#, vec!["basic"]),
        (Value::Null, 503, r#"{"error":"invalid_client"}"#, vec!["basic", "post"]),
        (Value::Null, 403, "", vec!["basic"]),
    ] {
        let world = with_secret(methods);
        assert_ne!(connect_at(&world, "never", status, body), StatusCode::SEE_OTHER);
        assert_eq!(ways(&world, "/token"), tried, "{status} {body}");
    }
}

/// R01: a client of the operator's can say its method; then no other is tried.
#[test]
fn the_operators_client_can_say_how_it_authenticates() {
    for (said, way) in [
        (json!("client_secret_post"), "post"),
        (json!("client_secret_basic"), "basic"),
        (json!("none"), "none"),
        (Value::Null, "basic"),
    ] {
        let world = world();
        saying(
            &world,
            json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"] }),
        );
        let mut entry = json!({ "mcp_server": SERVER, "client_id": "ours", "client_secret": "canary-ours" });
        if !said.is_null() {
            entry["token_endpoint_auth_method"] = said.clone();
        }
        world.offer("notes", entry);
        assert_eq!(connect_at(&world, way, 401, ""), StatusCode::SEE_OTHER);
        world.pass(3600);
        assert_eq!(resolved(&world)["status"], "token");
        assert_eq!(ways(&world, "/token"), [way, way], "{said}");
        if !said.is_null() {
            assert_ne!(connect_at(&world, "never", 401, ""), StatusCode::SEE_OTHER);
            assert_eq!(ways(&world, "/token").len(), 3, "{said}");
        }
    }
    // What was learnt of a client of the operator's is kept with the grant.
    let world = world();
    saying(&world, json!({ "token_endpoint_auth_methods_supported": null }));
    world.offer("notes", json!({ "mcp_server": SERVER, "client_id": "ours", "client_secret": "canary-ours" }));
    assert_eq!(connect_at(&world, "post", 401, ""), StatusCode::SEE_OTHER);
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "token");
    assert_eq!(ways(&world, "/token"), ["basic", "post", "post"]);

    for (entry, why) in [
        (
            json!({ "mcp_server": SERVER, "client_id": "x", "token_endpoint_auth_method": "private_key_jwt" }),
            "`notes`: `token_endpoint_auth_method` has to be client_secret_basic, client_secret_post or none",
        ),
        (
            json!({ "mcp_server": SERVER, "token_endpoint_auth_method": "none" }),
            "`notes`: `token_endpoint_auth_method` is of no use without `client_id`",
        ),
    ] {
        world.offer("notes", entry);
        assert_eq!(read(&world.get("/health"))["checks"]["oauth_clients"], why);
    }
}

/// R01: both attempts are over in the time that a lease leaves for one.
#[test]
fn the_second_attempt_has_what_the_first_has_left_of_the_time() {
    let world = with_secret(Value::Null);
    connect(&world);
    world.pass(3600);
    posted(&world, TOKEN, 401, json!({ "error": "invalid_client" }));
    for (seconds, tried) in [(19, vec!["basic", "basic", "post"]), (20, vec!["basic", "basic", "post", "basic"])] {
        *world.meanwhile.borrow_mut() = Some(Box::new(move |world| world.pass(seconds)));
        // The client is gone, as far as the server says: the next grant needs another one.
        assert_ne!(resolved(&world)["status"], "token");
        assert_eq!(ways(&world, "/token"), tried, "after {seconds} s");
        let id = owners("notes");
        let broker = crate::broker::Broker::new(&world);
        let mut connection = broker.connections().get(&id).unwrap().unwrap();
        connection.state = crate::connections::row::State::Active;
        broker.connections().save(&id, &connection).unwrap();
    }
}
