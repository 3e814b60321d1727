//! Which tokens a calling service may have, and what it never gets.

use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::connections::row::Connection;
use crate::handout::Handout;
use crate::names::{ConnectionId, Subject};

const REPORTS: &str = "canary-reports-key";

/// Ann has connected the forge, and there are two services: `gateway`, and `reports` with these rights.
fn world(rights: Value) -> World {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.employ("reports", REPORTS);
    world.set("handout_policy", &json!({ "reports": rights }).to_string());
    world
}

fn token(world: &World, key: &str, method: &str, service: &str) -> Response<Vec<u8>> {
    let request = world.request(method, &format!("/token/{service}")).header("authorization", format!("Bearer {key}"));
    let request = request.header("content-type", "application/json");
    world.handle(request.body(json!({ "subject_token": ANNS_KEY }).to_string().into_bytes()).unwrap())
}

fn resolved(world: &World, key: &str, wanted: Value) -> Value {
    let question =
        json!({ "subject_token": ANNS_KEY, "resource": "https://auth.example.com/mcp", "services": [wanted] });
    read(&world.ask(key, &question))["services"][0].clone()
}

fn is_unknown(world: &World, key: &str) -> bool {
    let by_token = read(&token(world, key, "POST", "forge"))["error"] == "unknown_service";
    let by_resolve = resolved(world, key, json!({ "service": "forge" }))["status"] == "unknown_service";
    assert_eq!(by_token, by_resolve);
    by_token
}

#[test]
fn without_a_policy_every_service_may_ask_for_everything() {
    let world = world(json!({ "services": {} }));
    world.set("handout_policy", "");
    assert!(!is_unknown(&world, REPORTS) && !is_unknown(&world, SERVICE_KEY));
    assert_eq!(token(&world, REPORTS, "DELETE", "forge").status(), StatusCode::OK);
}

/// Item 35.
#[test]
fn a_service_gets_what_the_policy_names_and_nothing_else() {
    for (rights, may) in [
        (json!({ "services": { "forge": ["*"] } }), true),
        (json!({ "services": { "*": ["*"] } }), true),
        (json!({ "services": { "forge": ["read", "write", "admin"] } }), true),
        (json!({ "services": { "forge": ["read"], "*": ["*"] } }), false),
        (json!({ "services": { "forge": [] } }), false),
        (json!({ "services": { "github": ["*"] } }), false),
        (json!({ "services": {} }), false),
    ] {
        let world = world(rights.clone());
        assert_eq!(is_unknown(&world, REPORTS), !may, "{rights}");
        assert!(is_unknown(&world, SERVICE_KEY), "who is not named gets nothing");
        assert_eq!(world.token("forge", Some(ANNS_KEY)).status(), StatusCode::OK, "people are not limited by it");
    }
}

/// Item 35: nothing in the answer, and nothing in what it costs, tells a service that is kept from this caller from one
/// that does not exist.
#[test]
fn a_forbidden_service_is_answered_as_an_unknown_one() {
    let world = world(json!({ "services": { "github": ["*"] } }));
    let observed = |service: &str| {
        // The line in the log about it, which comes once a minute, would count for the first one.
        world.pass(61);
        world.reads.set(0);
        world.writes.set(0);
        let mut seen = Vec::new();
        for method in ["POST", "DELETE"] {
            let answer = token(&world, REPORTS, method, service);
            seen.push(format!("{:?} {:?} {}", answer.status(), answer.headers(), text(&answer)));
        }
        let mut answer = resolved(&world, REPORTS, json!({ "service": service }));
        answer["service"].take();
        seen.push(answer.to_string());
        (seen, world.reads.get(), world.writes.get(), world.sent.borrow().len())
    };
    assert_eq!(observed("forge"), observed("nowhere"));
    assert_eq!(world.token("forge", Some(ANNS_KEY)).status(), StatusCode::OK, "and nothing has ended");
}

#[test]
fn a_token_without_known_scopes_is_for_callers_that_may_have_any() {
    let world = world(json!({ "services": { "forge": [] } }));
    let broker = crate::broker::Broker::new(&world);
    let id = ConnectionId { subject: Subject::parse("ann").unwrap(), ..owners("forge") };
    let connection = broker.connections().get(&id).unwrap().unwrap();
    broker.connections().save(&id, &Connection { scopes: Vec::new(), ..connection }).unwrap();
    assert!(is_unknown(&world, REPORTS));
    world.set("handout_policy", r#"{"reports": {"services": {"forge": ["*"]}}}"#);
    assert!(!is_unknown(&world, REPORTS));
}

#[test]
fn nothing_is_renewed_for_who_does_not_get_it() {
    let world = world(json!({ "services": { "forge": ["read"] } }));
    world.pass(3600);
    world.sent.borrow_mut().clear();
    assert!(is_unknown(&world, REPORTS));
    assert_eq!(world.sent.borrow().len(), 0);
}

#[test]
fn a_renewed_token_that_may_do_more_is_kept_back() {
    let world = world(json!({ "services": { "forge": ["read", "write"] } }));
    assert!(!is_unknown(&world, REPORTS));
    world.pass(3600);
    let mut wider = grant("access-2", 3600, "refresh-2");
    wider["scope"] = json!("read write admin");
    world.answer(200, wider);
    assert!(is_unknown(&world, REPORTS));
    assert_eq!(read(&world.token("forge", Some(ANNS_KEY)))["access_token"], "access-2");
}

#[test]
fn a_link_to_more_scopes_than_a_service_may_have_is_not_made_for_it() {
    let world = world(json!({ "services": { "forge": ["read", "write", "comment"] } }));
    let more = |scope: &str| resolved(&world, REPORTS, json!({ "service": "forge", "scopes": [scope] }));
    assert_eq!(more("comment")["status"], "needs_reconnect");
    assert_eq!(more("admin")["status"], "unknown_service");
}

#[test]
fn to_disconnect_is_a_right_of_its_own() {
    let world = world(json!({ "services": { "forge": ["*"] } }));
    assert_eq!(read(&token(&world, REPORTS, "DELETE", "forge"))["error"], "unknown_service");
    assert!(!is_unknown(&world, REPORTS));
    world.set("handout_policy", r#"{"reports": {"services": {"forge": ["*"]}, "disconnect": true}}"#);
    assert!(token(&world, REPORTS, "DELETE", "forge").status().is_success());
    assert_eq!(read(&token(&world, REPORTS, "POST", "forge"))["error"], "not_connected");
}

#[test]
fn the_wit_interface_is_bound_by_the_rights_of_gateway() {
    use crate::http::resolve::{Outcome, Question, Wanted, resolve};
    let world = world(json!({ "services": { "*": ["*"] } }));
    let token = || {
        let question = Question {
            subject_token: Some(ANNS_KEY.to_owned().into()),
            resource: "https://auth.example.com/mcp".to_owned(),
            services: vec![Wanted { service: "forge".to_owned(), ..Wanted::default() }],
        };
        matches!(run(resolve(&world, question)).unwrap().services[0].outcome, Outcome::Token { .. })
    };
    assert!(!token());
    world.set("handout_policy", r#"{"gateway": {"services": {"forge": ["*"]}}}"#);
    assert!(token());
}

#[test]
fn a_policy_that_cannot_be_read_hands_out_nothing_and_is_named() {
    for bad in ["[]", "{", r#"{"a": {}}"#, r#"{"a": {"services": {"../x": []}}}"#, r#"{"a": {"services": {}, "b": 1}}"#]
    {
        let world = world(json!({ "services": {} }));
        world.set("handout_policy", bad);
        for key in [REPORTS, SERVICE_KEY] {
            let answer = token(&world, key, "POST", "forge");
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(text(&answer).contains("handout_policy: "), "{bad}: {}", text(&answer));
        }
        assert_ne!(read(&world.get("/health"))["checks"]["handout_policy"], "ok");
    }
}

/// Item 35: by type. This does not compile when something is added to what leaves.
#[test]
fn a_handout_has_no_place_for_a_refresh_token() {
    let world = world(json!({ "services": {} }));
    let broker = crate::broker::Broker::new(&world);
    let id = ConnectionId { subject: Subject::parse("ann").unwrap(), ..owners("forge") };
    let Handout {
        grant: _,
        generation: _,
        access_token,
        token_type: _,
        expires_at: _,
        scopes: _,
        extra,
        fingerprint: _,
    } = broker.connections().get(&id).unwrap().unwrap().into();
    assert_eq!((access_token.reveal(), extra.len()), ("access-1", 0));
}

/// Item 35: by search, even where an operator lists it among the values to be passed on.
#[test]
fn no_door_lets_a_refresh_token_out() {
    let world = world(json!({ "services": { "*": ["*"] } }));
    let broker = crate::broker::Broker::new(&world);
    let id = ConnectionId { subject: Subject::parse("ann").unwrap(), ..owners("forge") };
    let mut connection = broker.connections().get(&id).unwrap().unwrap();
    connection.extra.insert("spare".to_owned(), "refresh-1".to_owned());
    connection.extra.insert("api_base".to_owned(), "https://api.forge.example".to_owned());
    broker.connections().save(&id, &connection).unwrap();
    let question = json!({
        "subject_token": ANNS_KEY, "resource": "https://auth.example.com/mcp", "services": [{ "service": "forge" }],
    });
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let admin = Request::get("https://auth.example.com/admin/audit?subject=ann");
    let admin = admin.header("authorization", format!("Bearer {ADMIN_KEY}"));
    let answers = [
        world.token("forge", Some(ANNS_KEY)),
        token(&world, REPORTS, "POST", "forge"),
        world.ask(REPORTS, &question),
        browser.get(&world, "/"),
        browser.get(&world, "/connections"),
        world.handle(admin.body(Vec::new()).unwrap()),
    ];
    for answer in answers {
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!text(&answer).contains("refresh-1"), "{}", text(&answer));
    }
    assert_eq!(
        resolved(&world, REPORTS, json!({ "service": "forge" }))["extra"],
        json!({ "api_base": "https://api.forge.example" })
    );
}
