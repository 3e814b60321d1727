//! The dialects of services, and how a grant ends there.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

/// A world that offers `service` of the catalogue.
fn offering(service: &str) -> World {
    let world = World::local();
    world.offer(service, json!({ "client_id": "the-id", "client_secret": "the-secret" }));
    world
}

/// The token endpoint's first request, after connecting.
fn exchange(world: &World, service: &str, answer: Value) -> (http::HeaderMap, String, http::Uri) {
    world.connect(&mut Browser::default(), service, answer);
    let sent = world.sent.borrow();
    let request = &sent[0];
    (request.headers().clone(), String::from_utf8(request.body().clone()).unwrap(), request.uri().clone())
}

fn form(body: &str) -> std::collections::BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn resolved(world: &World, service: &str) -> Value {
    world.resolve(None, json!({ "service": service }))
}

#[test]
fn every_row_of_the_catalogue_is_offered_with_a_client_alone() {
    let world = World::local();
    for id in ["github", "gitlab", "google", "microsoft", "slack", "notion", "linear", "atlassian"] {
        world.offer(id, json!({ "client_id": "the-id" }));
        let to = Browser::default().start(&world, &format!("/auth/{id}"));
        assert_eq!(to["client_id"], "the-id");
    }
}

/// Item 18: an error in a 200.
#[test]
fn an_error_in_disguise_is_an_error() {
    for (service, answer) in [
        ("github", json!({ "error": "bad_verification_code", "error_description": "…" })),
        ("slack", json!({ "ok": false, "error": "invalid_code" })),
        ("slack", json!({ "ok": false })),
    ] {
        let world = offering(service);
        let done = world.connect(&mut Browser::default(), service, answer);
        assert!(done.status().is_server_error(), "{}", done.status());
        assert_eq!(resolved(&world, service)["status"], "not_connected");
    }
}

/// Item 18: an answer has a limit, even if the host lets more through.
#[test]
fn a_token_answer_of_more_than_a_mebibyte_is_none() {
    for (more, status) in [(0, "token"), (1, "not_connected")] {
        let world = offering("github");
        let mut browser = Browser::default();
        let to = browser.start(&world, "/auth/github");
        let mut body = grant("access-1", 3600, "refresh-1").to_string().into_bytes();
        body.resize(1024 * 1024 + more, b' ');
        let answer = http::Response::builder().status(200).header("content-type", "application/json");
        world.answers.borrow_mut().push_back(Ok(answer.body(body).unwrap()));
        browser.get(&world, &format!("/callback/github?code=x&state={}", to["state"]));
        assert_eq!(resolved(&world, "github")["status"], status, "{more}");
    }
}

/// Item 18: GitHub answers in a form, with commas between the scopes.
#[test]
fn an_answer_in_a_form_is_read() {
    let world = offering("github");
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/github");
    assert_eq!(to["scope"], "repo read:org read:user");
    let body = b"access_token=gho_1&scope=repo%2Cread%3Aorg&token_type=bearer".to_vec();
    let answer = Response::builder().header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    world.answers.borrow_mut().push_back(Ok(answer.body(body).unwrap()));
    browser.get(&world, &format!("/callback/github?code=x&state={}", to["state"]));
    let token = resolved(&world, "github");
    assert_eq!((&token["access_token"], &token["token_type"]), (&json!("gho_1"), &json!("Bearer")));
    assert_eq!((&token["scopes"], &token["expires_at"]), (&json!(["repo", "read:org"]), &Value::Null));
}

#[test]
fn slack_is_asked_for_the_persons_token_and_keeps_it_apart_from_the_apps() {
    let world = offering("slack");
    let to = Browser::default().start(&world, "/auth/slack");
    assert_eq!(to["user_scope"], "search:read,channels:read,channels:history,chat:write,users:read");
    assert!(!to.contains_key("scope") && !to.contains_key("code_challenge"));
    let answer = json!({
        "ok": true, "access_token": "xoxb-app", "token_type": "bot", "team": { "id": "T1", "name": "Team" },
        "authed_user": { "id": "U1", "access_token": "xoxp-user", "token_type": "user", "scope": "search:read,chat:write" },
    });
    let (headers, _, _) = exchange(&world, "slack", answer);
    assert_eq!(headers["authorization"], "Basic dGhlLWlkOnRoZS1zZWNyZXQ=");
    let token = resolved(&world, "slack");
    assert_eq!((&token["access_token"], &token["token_type"]), (&json!("xoxp-user"), &json!("Bearer")));
    assert_eq!(token["scopes"], json!(["search:read", "chat:write"]));
    assert_eq!(token["extra"], json!({ "team_id": "T1", "team_name": "Team", "user_id": "U1" }));

    let world = offering("slack");
    let only_the_apps = json!({ "ok": true, "access_token": "xoxb-app", "authed_user": { "id": "U1" } });
    world.connect(&mut Browser::default(), "slack", only_the_apps);
    assert_eq!(resolved(&world, "slack")["status"], "not_connected");
}

#[test]
fn slacks_refresh_answer_is_not_nested() {
    let world = offering("slack");
    let user = json!({ "id": "U1", "access_token": "xoxp-1", "refresh_token": "xoxe-1", "expires_in": 43200 });
    world.connect(&mut Browser::default(), "slack", json!({ "ok": true, "authed_user": user }));
    world.pass(43200);
    world.answer(200, json!({ "ok": true, "access_token": "xoxp-2", "refresh_token": "xoxe-2", "expires_in": 43200 }));
    assert_eq!(resolved(&world, "slack")["access_token"], "xoxp-2");
    world.pass(43200);
    world.answer(200, json!({ "ok": false, "error": "invalid_refresh_token" }));
    assert_eq!(resolved(&world, "slack")["status"], "needs_reconnect");
}

#[test]
fn notion_and_atlassian_are_spoken_to_in_json() {
    let world = offering("notion");
    let to = Browser::default().start(&world, "/auth/notion");
    assert_eq!(to["owner"], "user");
    assert!(!to.contains_key("scope"));
    let answer = json!({ "access_token": "ntn_1", "token_type": "bearer", "workspace_id": "W", "refresh_token": null });
    let (headers, body, _) = exchange(&world, "notion", answer);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Basic dGhlLWlkOnRoZS1zZWNyZXQ=");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        json!({
            "grant_type": "authorization_code", "code": "canary-code",
            "redirect_uri": "http://127.0.0.1:3000/callback/notion",
        })
    );
    assert_eq!(resolved(&world, "notion")["extra"], json!({ "workspace_id": "W" }));

    let world = offering("atlassian");
    let (headers, body, _) = exchange(&world, "atlassian", grant("a", 3600, "r"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(!headers.contains_key("authorization"));
    assert_eq!((&body["client_id"], &body["client_secret"]), (&json!("the-id"), &json!("the-secret")));
    world.pass(3600);
    world.answer(403, json!({ "error": "unauthorized_client" }));
    assert_eq!(resolved(&world, "atlassian")["status"], "needs_reconnect");
}

#[test]
fn linears_scopes_are_read_in_every_form() {
    for scope in [json!("read write"), json!(["read", "write"]), json!("read  write ")] {
        let world = offering("linear");
        assert_eq!(Browser::default().start(&world, "/auth/linear")["scope"], "read,write");
        world.connect(&mut Browser::default(), "linear", json!({ "access_token": "t", "scope": scope }));
        assert_eq!(resolved(&world, "linear")["scopes"], json!(["read", "write"]));
    }
}

#[test]
fn google_is_asked_for_a_lasting_grant_and_its_scope_names_are_known() {
    let world = offering("google");
    let to = Browser::default().start(&world, "/auth/google");
    assert_eq!((to["access_type"].as_str(), to["prompt"].as_str()), ("offline", "consent"));
    let mut answer = grant("ya29", 3599, "1//r");
    answer["scope"] = json!("https://www.googleapis.com/auth/userinfo.email openid");
    world.connect(&mut Browser::default(), "google", answer);
    let listed = read(&world.get("/connections"));
    let google = listed["services"].as_array().unwrap().iter().find(|one| one["service"] == "google").unwrap();
    assert_eq!(google["missing_scopes"], json!([]));
}

#[test]
fn scopes_that_a_person_did_not_grant_are_named() {
    let world = World::local();
    let mut answer = grant("access-1", 3600, "refresh-1");
    answer["scope"] = json!("read");
    world.connect(&mut Browser::default(), "forge", answer);
    let listed = read(&world.get("/connections"))["services"][0].clone();
    assert_eq!((&listed["scopes"], &listed["missing_scopes"]), (&json!(["read"]), &json!(["write"])));
}

/// Item 28.
#[test]
fn a_lifetime_is_understood_in_every_form() {
    for (answer, expires_at) in [
        (json!({ "expires_in": 100 }), Some(100)),
        (json!({ "expires_in": "100" }), Some(100)),
        (json!({ "expires_in": 99.9 }), Some(99)),
        (json!({}), None),
        (json!({ "expires_in": null }), None),
        (json!({ "expires_in": 0 }), None),
        (json!({ "expires_in": -5 }), None),
        (json!({ "expires_in": "soon" }), None),
        (json!({ "expires_at": NOW + 100 }), Some(100)),
        (json!({ "expires_at": (NOW + 100) * 1000 }), Some(100)),
        (json!({ "expires_at": "2027-01-15T08:01:40Z" }), Some(100)),
        (json!({ "expires_in": 1e300 }), Some(315_360_000)),
    ] {
        let world = World::local();
        let mut grant = json!({ "access_token": "access-1", "token_type": "Bearer" });
        grant.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        world.connect(&mut Browser::default(), "forge", grant);
        let said = resolved(&world, "forge")["expires_at"].as_u64();
        assert_eq!(said, expires_at.map(|lifetime| NOW + lifetime), "{answer}");
    }
}

/// Item 28: a row says that its provider counts milliseconds, or how long a token lasts.
#[test]
fn a_row_can_say_what_a_provider_does_not() {
    let row = |rest: Value| {
        let mut row = json!({
            "client_id": "id", "authorize_url": "https://op.example/a", "token_url": "https://op.example/t",
        });
        row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        row
    };
    for (rest, answer) in [
        (json!({ "lifetime_unit": "milliseconds" }), json!({ "access_token": "t", "expires_in": 100_000 })),
        (json!({ "default_lifetime": 100 }), json!({ "access_token": "t" })),
    ] {
        let world = World::local();
        world.offer("op", row(rest));
        world.connect(&mut Browser::default(), "op", answer);
        assert_eq!(resolved(&world, "op")["expires_at"], NOW + 100);
    }
}

#[test]
fn a_client_without_a_secret_is_public() {
    let world = World::local();
    world.offer("github", json!({ "client_id": "the-id" }));
    let (headers, body, _) = exchange(&world, "github", json!({ "access_token": "t" }));
    assert!(!headers.contains_key("authorization"));
    let form = form(&body);
    assert_eq!(form["client_id"], "the-id");
    assert!(!form.contains_key("client_secret") && form.contains_key("code_verifier"));
}

#[test]
fn a_row_can_be_moved_to_another_host_and_its_tokens_stay_there() {
    let world = World::local();
    let client = json!({ "client_id": "id", "client_secret": "s", "variables": { "host": "git.corp.example" } });
    world.offer("gitlab", client);
    let (_, _, uri) = exchange(&world, "gitlab", json!({ "access_token": "t" }));
    assert_eq!(uri, "https://git.corp.example/oauth/token");
    let hosts: Vec<_> = world.sent.borrow().iter().map(|request| request.uri().host().unwrap().to_owned()).collect();
    assert_eq!(hosts, ["git.corp.example", "git.corp.example"]);

    let world = World::local();
    let ghes = json!({
        "client_id": "id", "client_secret": "s", "authorize_url": "https://ghes.example/login/oauth/authorize",
        "token_url": "https://ghes.example/login/oauth/access_token",
    });
    world.offer("github", ghes);
    exchange(&world, "github", json!({ "access_token": "t" }));
    assert_eq!(world.sent.borrow().len(), 1, "api.github.com is not shown another server's token");
}

#[test]
fn a_setting_that_is_not_understood_is_named_and_not_shown() {
    for (entry, says) in [
        (json!({ "client_id": "id", "colour": "canary" }), "`github`: unknown field `colour`"),
        (json!({ "client_id": ["canary"] }), "`github`: not JSON of the expected form"),
        (json!({ "client_secret": "canary" }), "`github`: `client_id` is missing"),
        (
            json!({ "client_id": "id", "token_url": "http://canary.example/" }),
            "`github`: `token_url`: it has to be https",
        ),
        (json!({ "client_id": "id", "token_url": "https://x.spin.internal/" }), "link-local hosts are not outside"),
        (json!({ "client_id": "id", "authorize_params": { "state": "x" } }), "may not set `state`"),
        (
            json!({ "client_id": "id", "pkce": "plain" }),
            "`github`: unknown variant, expected one of `required`, `s256`",
        ),
    ] {
        let world = World::local();
        world.offer("github", entry);
        let answer = world.get("/auth/github");
        assert_eq!(
            (answer.status(), &read(&answer)["error"]),
            (StatusCode::INTERNAL_SERVER_ERROR, &json!("server_error"))
        );
        assert_eq!(read(&answer)["error_description"], "oauth_clients: wrong (the log says more)");
        let said = world.log.borrow().join("\n");
        assert!(said.starts_with("oauth_clients: ") && said.contains(says) && !said.contains("canary"), "{said}");
        assert_eq!(world.get("/auth/forge").status(), StatusCode::OK, "another service is not held up");
    }
    let world = World::local();
    world.offer("forge", json!({ "client_id": "id", "authorize_url": "https://a.example/" }));
    assert!(text(&world.get("/auth/forge")).contains("oauth_clients: wrong"));
    assert!(world.log.borrow().last().unwrap().contains("`token_url` is missing"));
    world.set("oauth_clients", "{\"github\": canary}");
    world.get("/auth/forge");
    let said = world.log.borrow().last().unwrap().clone();
    assert!(said.contains("oauth_clients: not JSON") && !said.contains("canary"), "{said}");
}

/// A01: of two fields, services or callers of one name, two readers follow different ones.
#[test]
fn a_setting_with_a_name_twice_is_an_error_that_names_it() {
    let once = r#"{"client_id":"id","client_secret":"canary","authorize_url":"https://a.example/","token_url":"https://a.example/t"}"#;
    for (text, name) in [
        (format!(r#"{{"forge":{once},"forge":{once}}}"#), "forge"),
        (format!(r#"{{"x":{once},"forge":{once},"\u0078":{{"client_id":"canary"}}}}"#), "x"),
        (format!(r#"{{"forge":{}}}"#, once.replace("{", r#"{"client_id":"canary","#)), "client_id"),
        (format!(r#"{{"forge":{}}}"#, once.replace("{", r#"{"variables":{"v":"canary","v":"b"},"#)), "v"),
    ] {
        let world = World::local();
        world.set("oauth_clients", &text);
        let said = text_of_setting(&world);
        assert!(said.contains(&format!("oauth_clients: the member \"{name}\" is there twice")), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
    let world = World::local();
    world.set("oauth_clients", &format!("\u{feff}{{\"forge\":{once}}}"));
    assert_eq!(world.get("/auth/forge").status(), StatusCode::OK, "a byte order mark is passed over");
    let twice = r#"{"gateway":{"services":{"*":{}}},"gateway":{"services":{}}}"#;
    assert!(crate::policy::Policy::parse(twice).err().unwrap().contains("\"gateway\" is there twice"));
}

fn text_of_setting(world: &World) -> String {
    world.get("/auth/forge");
    world.log.borrow().last().unwrap().clone()
}

/// Item 37, without the queue: revoked in the row's style, and erased.
#[test]
fn disconnecting_revokes_in_the_providers_way() {
    let delete = |world: &World, service: &str| {
        world.sent.borrow_mut().clear();
        world.answer(200, json!({ "ok": true }));
        let request = world.request("DELETE", &format!("/token/{service}"));
        assert_eq!(world.handle(request.body(Vec::new()).unwrap()).status(), StatusCode::NO_CONTENT);
        let request = world.sent.borrow()[0].clone();
        assert!(world.store.borrow().keys().all(|key| !key.starts_with("b.c.")));
        let body = String::from_utf8(request.body().clone()).unwrap();
        (request.method().to_string(), request.uri().to_string(), request.headers()["authorization"].clone(), body)
    };
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    let (method, uri, authorization, body) = delete(&world, "forge");
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "https://forge.example/revoke"));
    assert!(authorization.to_str().unwrap().starts_with("Basic "));
    assert_eq!(form(&body), form("token=refresh-1&token_type_hint=refresh_token&client_id=forge-id"));

    let world = offering("github");
    world.connect(&mut Browser::default(), "github", json!({ "access_token": "gho_1" }));
    let (method, uri, authorization, body) = delete(&world, "github");
    assert_eq!((method.as_str(), uri.as_str()), ("DELETE", "https://api.github.com/applications/the-id/token"));
    assert_eq!(authorization, "Basic dGhlLWlkOnRoZS1zZWNyZXQ=");
    assert_eq!(body, r#"{"access_token":"gho_1"}"#);

    let world = offering("slack");
    world.connect(&mut Browser::default(), "slack", json!({ "ok": true, "authed_user": { "access_token": "xoxp-1" } }));
    let (method, uri, authorization, _) = delete(&world, "slack");
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "https://slack.com/api/auth.revoke"));
    assert_eq!(authorization, "Bearer xoxp-1");
}

/// Item 37: the provider down, or refusing, or without revocation: forgotten all the same, and said so.
#[test]
fn disconnecting_erases_the_connection_after_any_answer_of_the_provider() {
    let failing: [fn(&World); 3] = [
        |world| world.answer(503, json!({})),
        |world| world.fault(SendFault::Timeout),
        |world| world.answer(400, json!({ "error": "invalid_client" })),
    ];
    for fail in failing {
        let world = World::local();
        world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
        fail(&world);
        let answer = world.handle(world.request("DELETE", "/token/forge").body(Vec::new()).unwrap());
        assert_eq!((answer.status(), &read(&answer)["revoked"]), (StatusCode::OK, &json!(false)));
        assert_eq!(world.token("forge", None).status(), StatusCode::NOT_FOUND);
    }
    let world = offering("atlassian");
    world.connect(&mut Browser::default(), "atlassian", grant("access-1", 3600, "refresh-1"));
    world.sent.borrow_mut().clear();
    let answer = world.handle(world.request("DELETE", "/token/atlassian").body(Vec::new()).unwrap());
    assert_eq!((answer.status(), world.sent.borrow().len()), (StatusCode::OK, 0));
}

#[test]
fn disconnecting_what_is_not_connected_is_no_error() {
    let world = World::local();
    let delete =
        |service: &str| world.handle(world.request("DELETE", &format!("/token/{service}")).body(Vec::new()).unwrap());
    assert_eq!(delete("forge").status(), StatusCode::NO_CONTENT);
    assert_eq!(delete("nothing").status(), StatusCode::NOT_FOUND);
}

/// After any answer of the provider the person gets one, and no token that the provider did not name.
#[test]
fn no_answer_of_a_provider_brings_us_down() {
    let good =
        br#"{"access_token":"t","token_type":"x","expires_in":1,"expires_at":"2027-01-15T08:01:40Z","scope":"a"}"#;
    let mut bodies: Vec<Vec<u8>> = (0..good.len()).map(|end| good[..end].to_vec()).collect();
    for place in 0..good.len() {
        for byte in *b"\"{}[]\\,:-9e\0\xff" {
            let mut body = good.to_vec();
            body[place] = byte;
            bodies.push(body);
        }
    }
    bodies.push([b"[".repeat(100_000), good.to_vec()].concat());
    for body in bodies {
        let world = World::local();
        let mut browser = Browser::default();
        let to = browser.start(&world, "/auth/forge");
        world.answers.borrow_mut().push_back(Ok(Response::new(body.clone())));
        let answer = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
        let named = serde_json::from_slice::<Value>(&body).is_ok_and(|said| said["access_token"].is_string());
        let connected = answer.status() == StatusCode::SEE_OTHER;
        assert!(!connected || named, "{}", String::from_utf8_lossy(&body));
    }
}

/// A provider on this machine, as in a try-out, is spoken to in http, revocation included.
#[test]
fn a_provider_on_loopback_needs_no_tls() {
    let world = World::local();
    let local = json!({
        "client_id": "id", "authorize_url": "http://127.0.0.1:9000/a", "token_url": "http://127.0.0.1:9000/t",
        "revoke": { "url": "http://127.0.0.1:9000/r?x=1" },
    });
    world.offer("op", local);
    world.connect(&mut Browser::default(), "op", grant("access-1", 3600, "refresh-1"));
    world.answer(200, json!({}));
    world.handle(world.request("DELETE", "/token/op").body(Vec::new()).unwrap());
    let uris: Vec<String> = world.sent.borrow().iter().map(|request| request.uri().to_string()).collect();
    assert_eq!(uris, ["http://127.0.0.1:9000/t", "http://127.0.0.1:9000/r?x=1"]);
}
