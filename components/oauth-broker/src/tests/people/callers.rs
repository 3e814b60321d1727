//! Which callers get a token, and whose, and how others are refused.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::*;

/// A world in which ann has connected the forge.
fn anns() -> World {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("anns-token", 3600, "refresh-1"));
    world
}

fn question(world: &World, subject_token: Option<&str>, services: Value) -> Value {
    let resource = format!("{}/mcp", world.settings.borrow()["public_url"]);
    json!({ "subject_token": subject_token, "resource": resource, "services": services })
}

fn token_as(world: &World, bearer: &str, body: &str, kind: &str) -> Value {
    let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {bearer}"));
    read(&world.handle(request.header("content-type", kind).body(body.as_bytes().to_vec()).unwrap()))
}

/// Item 35: a caller gets their own tokens and cannot name another.
#[test]
fn each_person_gets_their_own_tokens() {
    let world = anns();
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "anns-token");
    assert_eq!(read(&world.token("forge", Some(BOBS_KEY)))["error"], "not_connected");
    let asked = token_as(&world, BOBS_KEY, &format!("subject_token={ANNS_KEY}"), "application/x-www-form-urlencoded");
    assert_eq!(asked["error"], "invalid_token");
    let asked = token_as(&world, BOBS_KEY, "subject=ann", "application/x-www-form-urlencoded");
    assert_eq!(asked["error"], "not_connected");
}

#[test]
fn a_service_gets_the_token_of_the_person_whose_bearer_it_passes_on() {
    let world = anns();
    let form = "application/x-www-form-urlencoded";
    assert_eq!(token_as(&world, SERVICE_KEY, &format!("subject_token={ANNS_KEY}"), form)["access_token"], "anns-token");
    let body = json!({ "subject_token": ANNS_KEY }).to_string();
    assert_eq!(token_as(&world, SERVICE_KEY, &body, "application/json; charset=utf-8")["access_token"], "anns-token");
    assert_eq!(token_as(&world, SERVICE_KEY, "", form)["error"], "invalid_token");
    assert_eq!(token_as(&world, SERVICE_KEY, "subject_token=unknown", form)["error"], "invalid_token");
    assert_eq!(token_as(&world, SERVICE_KEY, &format!("subject_token={SERVICE_KEY}"), form)["error"], "invalid_token");
    assert_eq!(token_as(&world, SERVICE_KEY, "{", "application/json")["error"], "invalid_request");
    assert_eq!(token_as(&world, SERVICE_KEY, "subject_token=a&subject_token=b", form)["error"], "invalid_request");
}

/// A01: whose token is wanted, and of what, is said once.
#[test]
fn a_request_with_a_name_twice_is_refused() {
    let world = anns();
    let twice = format!(r#"{{"subject_token":"{ANNS_KEY}","subject\u005ftoken":"{BOBS_KEY}"}}"#);
    assert_eq!(token_as(&world, SERVICE_KEY, &twice, "application/json")["error"], "invalid_request");
    let unknown = format!(r#"{{"subject_token":"{ANNS_KEY}","x":1,"x":2}}"#);
    assert_eq!(token_as(&world, SERVICE_KEY, &unknown, "application/json")["error"], "invalid_request");
    let marked = format!("\u{feff}{{\"subject_token\":\"{ANNS_KEY}\"}}");
    assert_eq!(token_as(&world, SERVICE_KEY, &marked, "application/json")["access_token"], "anns-token");
    for (path, body) in [
        ("/resolve", r#"{"resource":"x","services":[{"service":"a","service":"b"}]}"#),
        ("/tickets", r#"{"service":"forge","scopes":[],"x":{"a":1,"a":2}}"#),
    ] {
        let request = world.request("POST", path).header("authorization", format!("Bearer {SERVICE_KEY}"));
        let body = body.replacen('{', &format!(r#"{{"subject_token":"{ANNS_KEY}","#), 1);
        let answer = read(&world.handle(request.body(body.into_bytes()).unwrap()));
        assert_eq!(answer["error"], "invalid_request", "{path}: {answer}");
    }
}

/// Item 36: a service credential is needed, and nothing may be kept or read by another origin.
#[test]
fn a_token_is_for_whom_proves_who_they_are_and_is_not_kept() {
    let world = anns();
    for bearer in [None, Some(""), Some("wrong")] {
        let answer = world.token("forge", bearer);
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
        assert_eq!(head(&answer, "www-authenticate"), "Bearer");
    }
    let mut session = Browser::default();
    session.sign_in(&world, ANNS_KEY);
    assert_eq!(session.post(&world, "/token/forge", "").status(), StatusCode::UNAUTHORIZED);

    let answer = world.token("forge", Some(ANNS_KEY));
    assert_eq!((head(&answer, "cache-control"), head(&answer, "pragma")), ("no-store".into(), "no-cache".into()));
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
    let preflight = world.handle(world.request("OPTIONS", "/token/forge").body(Vec::new()).unwrap());
    assert!(preflight.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
}

/// Item 36, in local mode, where there is no login to protect it.
#[test]
fn in_local_mode_no_browser_gets_a_token() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    assert_eq!(world.token("forge", None).status(), StatusCode::OK);
    for (name, value) in [
        ("origin", "http://127.0.0.1:3000"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = world.request("POST", "/token/forge").header(name, value);
        assert_eq!(world.handle(request.body(Vec::new()).unwrap()).status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    for uri in ["http://evil.example:3000/token/forge", "http://oauth-broker.spin.internal/token/forge", "/token/forge"]
    {
        assert_eq!(world.handle(Request::post(uri).body(Vec::new()).unwrap()).status(), StatusCode::FORBIDDEN, "{uri}");
    }
}

#[test]
fn a_token_answer_is_that_of_the_standard() {
    let world = anns();
    world.pass(100);
    let answer = read(&world.token("forge", Some(ANNS_KEY)));
    let expected = json!({
        "access_token": "anns-token", "token_type": "Bearer", "expires_in": 3500, "scope": "read write", "extra": {},
    });
    assert_eq!(answer, expected);
}

#[test]
fn one_question_is_answered_in_its_order() {
    let world = anns();
    let services =
        json!([{ "service": "github" }, { "service": "forge" }, { "service": "nothing" }, { "service": "../x" }]);
    let answer = read(&world.ask(SERVICE_KEY, &question(&world, Some(ANNS_KEY), services)));
    assert_eq!((&answer["caller"]["subject"], &answer["caller"]["scopes"]), (&json!("ann"), &json!([])));
    let statuses: Vec<&str> =
        answer["services"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["not_connected", "token", "unknown_service", "unknown_service"]);
    let token = &answer["services"][1];
    assert_eq!((&token["service"], &token["expires_at"]), (&json!("forge"), &json!(NOW + 3600)));
    assert_eq!(token["scopes"], json!(["read", "write"]));
    assert_eq!(token["fingerprint"].as_str().unwrap().len(), 16);
}

#[test]
fn the_sealing_key_is_the_subjects_own() {
    let world = anns();
    let key = |bearer| {
        let answer = read(&world.ask(SERVICE_KEY, &question(&world, Some(bearer), json!([]))));
        answer["caller"]["sealing_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(key(ANNS_KEY).len(), 43);
    assert_eq!(key(ANNS_KEY), key(ANNS_KEY));
    assert_ne!(key(ANNS_KEY), key(BOBS_KEY));
}

/// A13: the sealing key opens what a gateway keeps, so a service that is none gets none.
#[test]
fn only_a_gateway_gets_the_sealing_key() {
    let world = anns();
    world.employ("reports", "canary-reports-key");
    let caller =
        |world: &World, key: &str| read(&world.ask(key, &question(world, Some(ANNS_KEY), json!([]))))["caller"].take();
    assert!(caller(&world, SERVICE_KEY)["sealing_key"].is_string());
    assert_eq!(caller(&world, "canary-reports-key"), json!({ "subject": "ann", "scopes": [] }));
    world.set("gateway_keys", " reports ,gateway,");
    assert!(caller(&world, "canary-reports-key")["sealing_key"].is_string());
    assert!(caller(&world, SERVICE_KEY)["sealing_key"].is_string());
    world.set("gateway_keys", "");
    assert_eq!(caller(&world, SERVICE_KEY), json!({ "subject": "ann", "scopes": [] }));

    // The owner's own tools are no gateway.
    let local = World::local();
    let asked = local.request("POST", "/resolve").body(question(&local, None, json!([])).to_string().into_bytes());
    assert_eq!(read(&local.handle(asked.unwrap()))["caller"], json!({ "subject": "owner", "scopes": [] }));
}

/// A13: a gateway whose key has another name than `gateway_keys` knows is told so, and no other service is mistaken for it.
#[test]
fn a_gateway_that_no_setting_names_is_told_so() {
    let world = anns();
    world.set("service_keys", &hashed("mcp-gateway", SERVICE_KEY));
    let answer = world.ask(SERVICE_KEY, &question(&world, Some(ANNS_KEY), json!([])));
    assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("server_error")));
    assert_eq!(read(&answer)["error_description"], "gateway_keys: wrong (the log says more)");
    let said = world.log.borrow().last().unwrap().clone();
    assert!(said.starts_with("gateway_keys: ") && said.contains("`service_keys`"), "{said}");
    assert_ne!(read(&world.get("/health"))["checks"]["gateway_keys"], "ok");
    world.set("gateway_keys", "mcp-gateway");
    assert_eq!(world.get("/health").status(), StatusCode::OK);
    assert_eq!(world.ask(SERVICE_KEY, &question(&world, Some(ANNS_KEY), json!([]))).status(), StatusCode::OK);
}

#[test]
fn a_question_of_a_stranger_is_not_answered() {
    let world = anns();
    let good = question(&world, Some(ANNS_KEY), json!([{ "service": "forge" }]));
    for key in ["wrong", "", ANNS_KEY] {
        let answer = world.ask(key, &good);
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
    }
    let unsigned = Request::post(format!("{PUBLIC}/resolve")).body(good.to_string().into_bytes()).unwrap();
    assert_eq!(read(&world.handle(unsigned))["error"], "invalid_client");
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let world = anns();
    let many: Vec<Value> = (0..65).map(|n| json!({ "service": format!("s{n}") })).collect();
    let elsewhere = json!({ "subject_token": ANNS_KEY, "resource": "https://other.example/mcp", "services": [] });
    let twice = json!([{ "service": "forge" }, { "service": "forge" }]);
    for (question, error) in [
        (question(&world, None, json!([])), "invalid_token"),
        (question(&world, Some("unknown"), json!([])), "invalid_token"),
        (elsewhere, "invalid_target"),
        (question(&world, Some(ANNS_KEY), json!(many)), "invalid_request"),
        (question(&world, Some(ANNS_KEY), twice), "invalid_request"),
        (json!({ "subject_token": ANNS_KEY }), "invalid_request"),
        (json!([]), "invalid_request"),
    ] {
        let answer = world.ask(SERVICE_KEY, &question);
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::BAD_REQUEST, &json!(error)), "{question}");
    }
}

#[test]
fn in_local_mode_a_question_needs_no_bearer_but_one_that_is_there_has_to_be_known() {
    let world = World::local();
    assert_eq!(world.resolve(None, json!({ "service": "forge" }))["status"], "not_connected");
    let answer = world.ask(SERVICE_KEY, &question(&world, Some("unknown"), json!([])));
    assert_eq!(read(&answer)["error"], "invalid_token");
    let answer = read(&world.ask(SERVICE_KEY, &question(&world, Some(ANNS_KEY), json!([]))));
    assert_eq!(answer["caller"]["subject"], "ann");
}

/// The way of every call of a gateway: one read of the store per service, and `oauth_clients` is not looked at.
#[test]
fn a_token_that_is_fresh_costs_one_read() {
    let world = anns();
    world.set("oauth_clients", "not looked at");
    world.reads.set(0);
    assert_eq!(world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }))["status"], "token");
    assert_eq!(world.reads.get(), 1);
}

#[test]
fn the_wit_interface_answers_the_same_without_a_service_key() {
    use crate::http::resolve::{Outcome, Question, ResolveError, Wanted, resolve};
    let world = anns();
    let question = |bearer: Option<&str>, resource: &str| Question {
        subject_token: bearer.map(|bearer| bearer.to_owned().into()),
        resource: resource.to_owned(),
        services: vec![Wanted { service: "forge".to_owned(), ..Wanted::default() }],
    };
    let resolution = run(resolve(&world, question(Some(ANNS_KEY), "https://auth.example.com/mcp"))).unwrap();
    assert!(
        matches!(&resolution.services[0].outcome, Outcome::Token { access_token, .. } if access_token.reveal() == "anns-token")
    );
    let refused = |bearer, resource| run(resolve(&world, question(bearer, resource))).err().unwrap();
    assert!(matches!(refused(None, "https://auth.example.com/mcp"), ResolveError::Bearer));
    assert!(matches!(refused(Some(ANNS_KEY), "https://evil.example/mcp"), ResolveError::Audience));
    world.set("encryption_keys", "");
    let Err(ResolveError::Setting(error)) =
        run(resolve(&world, question(Some(ANNS_KEY), "https://auth.example.com/mcp")))
    else {
        panic!("there is no key")
    };
    assert_eq!(error.to_string(), "encryption_keys: missing");
}

#[test]
fn a_wrong_address_or_method_is_told_so() {
    let world = World::local();
    for path in ["/nothing", "/auth", "/auth/", "/token", "/token/a/b", "//", "/connections/x", "/Health"] {
        assert_eq!(world.get(path).status(), StatusCode::NOT_FOUND, "{path}");
    }
    for (method, path, allow) in [
        ("PUT", "/auth/forge", "GET, POST, OPTIONS"),
        ("HEAD", "/callback/forge", "GET, POST, OPTIONS"),
        ("GET", "/token/forge", "POST, DELETE, OPTIONS"),
        ("PUT", "/token/forge", "POST, DELETE, OPTIONS"),
        ("GET", "/resolve", "POST, OPTIONS"),
        ("DELETE", "/connections", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("GET", "/disconnect/forge", "POST, OPTIONS"),
    ] {
        let answer = world.handle(world.request(method, path).body(Vec::new()).unwrap());
        assert_eq!(
            (answer.status(), head(&answer, "allow").as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, allow),
            "{path}"
        );
        assert_eq!(read(&answer)["error"], "invalid_request");
    }
    let options = world.handle(world.request("OPTIONS", "/health").body(Vec::new()).unwrap());
    assert_eq!((options.status(), head(&options, "allow")), (StatusCode::NO_CONTENT, "GET, HEAD, OPTIONS".into()));
}

#[test]
fn a_body_that_is_too_long_is_told_so() {
    let answer = crate::http::unreadable(&World::local(), shell::ReadError::TooLarge(65536));
    assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("invalid_request")));
}
