//! What each answer of a provider means for a grant.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::catalogue::Service;
use crate::provider::{self, Failure, Grant, Held};
use sealing::Secret;

/// A service with `rest` in its settings.
fn service(world: &World, rest: Value) -> Service {
    let mut entry = json!({
        "client_id": "id", "client_secret": "secret", "authorize_url": "https://op.example/a",
        "token_url": "https://op.example/t",
    });
    entry.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    world.offer("op", entry);
    let broker = Broker::new(world);
    run(broker.services().service(&owners("op").service, None)).unwrap().unwrap()
}

/// What a refresh makes of the next answer.
fn refreshed(world: &World, service: &Service) -> Result<Grant, Failure> {
    let (access, refresh) = (Secret::from("access-1".to_owned()), Secret::from("refresh-1".to_owned()));
    let held = Held { access_token: &access, refresh_token: Some(&refresh), extra: &Default::default() };
    run(provider::refresh(world, service, held))
}

fn answer(world: &World, status: u16, headers: &[(&str, &str)], body: &str) {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    world.answers.borrow_mut().push_back(Ok(response.body(body.as_bytes().to_vec()).unwrap()));
}

fn failure(world: &World, service: &Service, status: u16, body: &str) -> Failure {
    answer(world, status, &[("content-type", "application/json")], body);
    match refreshed(world, service) {
        Err(failure) => failure,
        Ok(_) => panic!("{status} {body} is a grant"),
    }
}

/// A27: a token goes into a header of every call, and hosts end the instance of a component that makes a head too long.
#[test]
fn a_token_that_fits_in_no_header_is_no_answer() {
    let world = World::local();
    let service = service(&world, json!({}));
    let (short, long) = ("t".repeat(32 * 1024), "t".repeat(32 * 1024 + 1));
    let body = |access: &str, refresh: &str| {
        json!({ "access_token": access, "token_type": "bearer", "refresh_token": refresh }).to_string()
    };
    for body in [body(&long, "r"), body("a", &long)] {
        assert_eq!(failure(&world, &service, 200, &body), Failure::Malformed("answer"));
    }
    answer(&world, 200, &[("content-type", "application/json")], &body(&short, &short));
    assert!(refreshed(&world, &service).is_ok());
}

/// A01: of two members of one name another reader would have taken the other one.
#[test]
fn an_answer_with_a_name_twice_is_none_and_a_byte_order_mark_is_passed_over() {
    let world = World::local();
    let service = service(&world, json!({ "revoke": { "url": "https://op.example/r" } }));
    for body in [
        r#"{"access_token":"a","token_type":"bearer","access_token":"b"}"#,
        r#"{"access_token":"a","token_type":"bearer","error":"","\u0065rror":"invalid_grant"}"#,
        r#"{"access_token":"a","token_type":"bearer","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(failure(&world, &service, 200, body), Failure::Malformed("answer"), "{body}");
    }
    answer(&world, 200, &[], "\u{feff}{\"access_token\":\"b\",\"token_type\":\"bearer\"}");
    assert!(refreshed(&world, &service).is_ok());
    let revoked = |body: &str| {
        answer(&world, 200, &[("content-type", "application/json")], body);
        let access = Secret::from("access-1".to_owned());
        let held = Held { access_token: &access, refresh_token: None, extra: &Default::default() };
        run(provider::revoke(&world, &service, held)).map(drop)
    };
    assert_eq!(revoked(r#"{"error":"no","error":""}"#), Err(Failure::Malformed("answer")));
    assert_eq!((revoked("{}"), revoked(""), revoked("ok")), (Ok(()), Ok(()), Ok(())));
}

#[test]
fn an_error_has_the_class_that_its_row_or_the_standard_gives_it() {
    let world = World::local();
    let plain = service(&world, json!({}));
    let row = service(
        &world,
        json!({
            "terminal_errors": ["dead", "190"], "consent_errors": ["see_me"], "retry_errors": ["ratelimited", "4"],
            "misconfigured_errors": ["bad_secret"],
        }),
    );
    let code = |code: &str| json!({ "error": code }).to_string();
    let ended = |code: &str| Failure::Ended(code.into());
    let person = |code: &str| Failure::NeedsPerson(code.into());
    let client = |code: &str| Failure::Misconfigured(code.into());
    let refused = |code: &str| Failure::Refused(code.into());
    let busy = || Failure::Busy { status: 400, retry_after: None };
    for (service, body, class) in [
        (&plain, code("invalid_grant"), ended("invalid_grant")),
        (&plain, code("interaction_required"), person("interaction_required")),
        (&plain, code("consent_required"), person("consent_required")),
        (&plain, code("login_required"), person("login_required")),
        (&plain, code("temporarily_unavailable"), busy()),
        (&plain, code("server_error"), busy()),
        (&plain, code("slow_down"), busy()),
        (&plain, code("invalid_client"), client("invalid_client")),
        (&plain, code("unauthorized_client"), client("unauthorized_client")),
        (&plain, code("invalid_request"), refused("invalid_request")),
        (&plain, code("invalid_scope"), refused("invalid_scope")),
        (&plain, code("dead"), refused("dead")),
        (&plain, json!({ "message": "no" }).to_string(), refused("status_400")),
        (&row, code("dead"), ended("dead")),
        (&row, code("see_me"), person("see_me")),
        (&row, code("ratelimited"), busy()),
        (&row, code("bad_secret"), client("bad_secret")),
        // Nested, and numbers.
        (&row, json!({ "error": { "type": "OAuthException", "code": 190 } }).to_string(), ended("190")),
        (&row, json!({ "error": { "type": "dead", "code": 7 } }).to_string(), ended("dead")),
        (&row, json!({ "error": { "type": "OAuthException", "code": 4 } }).to_string(), busy()),
        (&row, json!({ "error": { "type": "OAuthException", "code": 7 } }).to_string(), refused("7")),
        // What a provider puts there may be what we sent.
        (&plain, code("refresh-1 is not known"), refused("unnamed error")),
        (&plain, code("rt_9aF31c0"), refused("unnamed error")),
    ] {
        assert_eq!(failure(&world, service, 400, &body), class, "{body}");
    }
    // A row's word counts for more than what is usual.
    let own = service(&world, json!({ "terminal_errors": ["unauthorized_client"], "retry_errors": ["invalid_grant"] }));
    assert_eq!(failure(&world, &own, 403, &code("unauthorized_client")), ended("unauthorized_client"));
    assert_eq!(failure(&world, &own, 400, &code("invalid_grant")), busy());
}

/// Microsoft says in a second place that the person has to come.
#[test]
fn the_first_error_that_has_a_class_counts() {
    let world = World::local();
    world.offer("microsoft", json!({ "client_id": "id" }));
    let microsoft = run(Broker::new(&world).services().service(&owners("microsoft").service, None)).unwrap().unwrap();
    let said = |suberror: &str| json!({ "error": "invalid_grant", "suberror": suberror }).to_string();
    let person = Failure::NeedsPerson("consent_required".into());
    assert_eq!(failure(&world, &microsoft, 400, &said("consent_required")), person);
    let ended = Failure::Ended("invalid_grant".into());
    assert_eq!(failure(&world, &microsoft, 400, &said("bad_token")), ended);
    assert_eq!(failure(&world, &microsoft, 400, &said("")), ended);
}

/// Item 22, and 18: only an error code of a token endpoint says something about the grant.
#[test]
fn only_an_explicit_error_ends_a_grant() {
    let dead = json!({ "error": "invalid_grant" }).to_string();
    let html = "<!doctype html><title>invalid_grant</title>{\"error\":\"invalid_grant\"}";
    let (form, json_kind) = ("application/x-www-form-urlencoded", "application/json");
    for (status, kind, body) in [
        (200, "text/html", html),
        (400, "text/html", html),
        (401, json_kind, html),
        (403, json_kind, ""),
        (400, json_kind, &dead[..dead.len() - 1]),
        (400, json_kind, "[{\"error\":\"invalid_grant\"}]"),
        (400, json_kind, "\"invalid_grant\""),
        (400, json_kind, "{\"error\":null}"),
        (400, json_kind, "{\"error\":[\"invalid_grant\"]}"),
        (400, json_kind, "{\"error_description\":\"invalid_grant\"}"),
        (400, form, "invalid_grant"),
        (200, json_kind, "{\"access_token\":\"\"}"),
        (200, json_kind, "{\"access_token\":null,\"refresh_token\":\"refresh-2\"}"),
        (200, json_kind, "{\"access_token\":[\"a\"]}"),
        (204, json_kind, ""),
        (404, json_kind, "{\"message\":\"Not Found\"}"),
        (500, json_kind, &dead),
        (502, json_kind, &dead),
        (503, "text/html", html),
        (429, json_kind, &dead),
        (408, json_kind, &dead),
        (302, json_kind, &dead),
        (307, json_kind, &dead),
    ] {
        let world = World::local();
        world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
        let before = world.dump();
        let connection = before.iter().find(|(key, _)| key.starts_with("b.c.")).unwrap();
        world.pass(3600);
        answer(&world, status, &[("content-type", kind), ("location", "https://forge.example/elsewhere")], body);
        world.sent.borrow_mut().clear();
        let said = world.resolve(None, json!({ "service": "forge" }));
        assert_eq!(said["status"], "temporarily_unavailable", "{status} {kind} {body}: {said}");
        assert!(said["retry_after"].as_u64().is_some_and(|seconds| (1..=3600).contains(&seconds)), "{said}");
        // Item 18: no redirect is followed, and nothing is asked twice.
        assert_eq!(world.sent.borrow().len(), 1, "{status}");
        assert_eq!(world.dump().get(connection.0), Some(connection.1), "{status} {kind} {body}");
    }
}

/// Item 22: in seconds, and as a moment in each of HTTP's forms, by the clock of who says it.
#[test]
fn retry_after_is_understood_in_every_form() {
    // NOW is Fri, 15 Jan 2027 08:00:00 GMT.
    for (headers, seconds) in [
        (&[("retry-after", "120")][..], Some(120)),
        (&[("retry-after", " 7 ")], Some(7)),
        (&[("retry-after", "Fri, 15 Jan 2027 08:02:00 GMT")], Some(120)),
        (&[("retry-after", "Friday, 15-Jan-27 08:02:00 GMT")], Some(120)),
        (&[("retry-after", "Fri Jan 15 08:02:00 2027")], Some(120)),
        (&[("retry-after", "Fri, 15 Jan 2027 07:00:00 GMT")], Some(0)),
        (&[("date", "Fri, 15 Jan 2027 08:10:00 GMT"), ("retry-after", "Fri, 15 Jan 2027 08:12:00 GMT")], Some(120)),
        (&[("date", "Fri, 15 Jan 2027 07:50:00 GMT"), ("retry-after", "Fri, 15 Jan 2027 07:52:00 GMT")], Some(120)),
        (&[("retry-after", "-5")], None),
        (&[("retry-after", "soon")], None),
        (&[], None),
    ] {
        let world = World::local();
        let service = service(&world, json!({}));
        answer(&world, 429, headers, "{}");
        let busy = Failure::Busy { status: 429, retry_after: seconds };
        assert_eq!(refreshed(&world, &service).unwrap_err(), busy, "{headers:?}");
    }
}

/// Item 28: a moment is one of the provider's clock, ten minutes off either way.
#[test]
fn a_clock_that_is_wrong_costs_no_token() {
    for (date, end) in [
        ("Fri, 15 Jan 2027 08:00:00 GMT", NOW + 3600),
        ("Fri, 15 Jan 2027 08:10:00 GMT", NOW + 600 + 3600),
        ("Fri, 15 Jan 2027 07:50:00 GMT", NOW - 600 + 3600),
        ("nonsense", NOW + 3600),
    ] {
        let world = World::local();
        let service = service(&world, json!({}));
        for expires_at in [json!(end), json!(end.to_string()), json!(end * 1000)] {
            let body = json!({ "access_token": "access-2", "expires_at": expires_at }).to_string();
            answer(&world, 200, &[("date", date)], &body);
            assert_eq!(refreshed(&world, &service).unwrap().lifetime, Some(3600), "{date} {expires_at}");
        }
    }
    // Already over, by a clock that nobody can tell: as if nothing was said, and the upstream's refusal tells.
    let world = World::local();
    let service = service(&world, json!({}));
    answer(&world, 200, &[], &json!({ "access_token": "access-2", "expires_at": NOW - 600 }).to_string());
    assert_eq!(refreshed(&world, &service).unwrap().lifetime, None);
}

/// Item 28, for the refresh token: by any of the names that providers have for it.
#[test]
fn the_life_of_a_refresh_token_is_noted() {
    let world = World::local();
    let service = service(&world, json!({}));
    for (name, said, lifetime) in [
        ("refresh_token_expires_in", json!(5_184_000), Some(5_184_000)),
        ("refresh_expires_in", json!("5184000"), Some(5_184_000)),
        ("x_refresh_token_expires_in", json!(8_640_000), Some(8_640_000)),
        ("refresh_token_expires_in", json!(0), None),
        ("refresh_token_expires_in", json!(-1), None),
        ("refresh_token_expires_in", json!(null), None),
        ("refresh_token_expires_in", json!(1e300), Some(315_360_000)),
    ] {
        answer(&world, 200, &[], &json!({ "access_token": "access-2", name: said }).to_string());
        assert_eq!(refreshed(&world, &service).unwrap().refresh_lifetime, lifetime, "{name} {said}");
    }
}

/// Item 18: JSON and a form, under any content type.
#[test]
fn a_token_answer_is_read_as_what_it_is() {
    let (json_body, form) = (r#" {"access_token":"access-2","expires_in":60} "#, "access_token=access-2&expires_in=60");
    for (kind, body, read) in [
        (Some("application/json"), json_body, true),
        (Some("application/json; charset=utf-8"), json_body, true),
        (Some("text/plain"), json_body, true),
        (Some("text/html"), json_body, true),
        (None, json_body, true),
        (Some("application/x-www-form-urlencoded"), form, true),
        (Some("application/x-www-form-urlencoded;charset=UTF-8"), form, true),
        (Some("text/plain"), form, true),
        (Some("text/html"), form, false),
        (Some("application/json"), form, false),
        (None, form, false),
    ] {
        let world = World::local();
        let service = service(&world, json!({}));
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        answer(&world, 200, &headers, body);
        let grant = refreshed(&world, &service).ok();
        let lifetime = grant.filter(|grant| grant.access_token.reveal() == "access-2").and_then(|grant| grant.lifetime);
        assert_eq!(lifetime, read.then_some(60), "{kind:?} {body}");
    }
}

/// RFC 6749 section 2.3.1, and what some make of it.
#[test]
fn a_client_proves_itself_in_the_way_of_the_row() {
    let (id, secret) = ("the id", "s:e/c+r&t");
    let basic = |text: &str| {
        Some(format!("Basic {}", {
            use base64ct::{Base64, Encoding};
            Base64::encode_string(text.as_bytes())
        }))
    };
    for (way, secret, header, in_body) in [
        ("basic", Some(secret), basic("the+id:s%3Ae%2Fc%2Br%26t"), vec![("client_id", id)]),
        ("client_secret_basic", Some(secret), basic("the+id:s%3Ae%2Fc%2Br%26t"), vec![("client_id", id)]),
        ("client_secret_post", Some(secret), None, vec![("client_id", id), ("client_secret", secret)]),
        ("basic_raw", Some(secret), basic("the id:s:e/c+r&t"), vec![]),
        ("secret_as_user", Some(secret), basic("s:e/c+r&t:"), vec![]),
        ("post", Some(secret), None, vec![("client_id", id), ("client_secret", secret)]),
        ("none", Some(secret), None, vec![("client_id", id)]),
        // Without a secret the client is public; one provider wants the empty password.
        ("basic", None, None, vec![("client_id", id)]),
        ("post", None, None, vec![("client_id", id)]),
        ("basic_raw", None, basic("the id:"), vec![]),
    ] {
        let world = World::local();
        let service = service(&world, json!({ "client_id": id, "client_secret": secret, "client_auth": way }));
        answer(&world, 200, &[], r#"{"access_token":"access-2"}"#);
        refreshed(&world, &service).unwrap();
        let request = world.sent.borrow()[0].clone();
        let said = request.headers().get("authorization").map(|said| said.to_str().unwrap().to_owned());
        let form = world.forms_sent_to("https://op.example/t").remove(0);
        let mut expected = vec![("grant_type", "refresh_token"), ("refresh_token", "refresh-1")];
        expected.extend(in_body);
        expected.sort();
        let sent: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!((said, sent), (header, expected), "{way}");
    }
}

/// A provider that wants the person to come is answered with the way to connect, and not asked again by a machine.
#[test]
fn a_grant_that_needs_the_person_says_so() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.pass(3600);
    world.answer(400, json!({ "error": "interaction_required" }));
    let said = world.resolve(None, json!({ "service": "forge" }));
    assert_eq!(said["status"], "needs_reconnect");
    assert!(said["connect_url"].as_str().unwrap().contains("/auth/forge"));
    world.sent.borrow_mut().clear();
    assert_eq!(world.resolve(None, json!({ "service": "forge" }))["status"], "needs_reconnect");
    assert_eq!(world.sent.borrow().len(), 0);
}

/// Nothing but the status for the caller, and for the operator what to look at.
#[test]
fn a_client_that_is_refused_is_the_operators_to_mend() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.pass(3600);
    world.answer(401, json!({ "error": "invalid_client", "error_description": "canary" }));
    let said = world.resolve(None, json!({ "service": "forge" }));
    assert_eq!((&said["status"], said["retry_after"].as_u64()), (&json!("temporarily_unavailable"), Some(60)));
    let log = world.log.borrow().join("\n");
    assert!(log.contains("invalid_client") && log.contains("oauth_clients") && !log.contains("canary"), "{log}");
    assert_eq!(world.token("forge", None).status(), StatusCode::SERVICE_UNAVAILABLE);
}
