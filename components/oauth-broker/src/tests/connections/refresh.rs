//! When a token is refreshed. Only an explicit error from the provider ends a grant.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;

/// A world whose owner has connected the forge with a token of an hour.
fn connected() -> World {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.sent.borrow_mut().clear();
    world
}

fn forge(world: &World) -> Value {
    world.resolve(None, json!({ "service": "forge" }))
}

fn refused(world: &World, fingerprint: &Value) -> Value {
    world.resolve(None, json!({ "service": "forge", "refused": fingerprint }))
}

/// The refresh tokens that the provider was sent.
fn spent(world: &World) -> Vec<String> {
    let forms = world.forms_sent_to("https://forge.example/token");
    forms.into_iter().map(|mut form| form.remove("refresh_token").unwrap()).collect()
}

#[test]
fn a_token_is_renewed_a_minute_before_its_end() {
    let world = connected();
    world.pass(3539);
    assert_eq!(forge(&world)["access_token"], "access-1");
    world.pass(1);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    let renewed = forge(&world);
    assert_eq!((&renewed["access_token"], &renewed["expires_at"]), (&json!("access-2"), &json!(NOW + 3540 + 3600)));
    assert_eq!(forge(&world)["access_token"], "access-2");
    assert_eq!(spent(&world), ["refresh-1"]);
}

#[test]
fn a_short_lived_token_is_not_renewed_in_the_first_half_of_its_life() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 5, "refresh-1"));
    world.pass(2);
    assert_eq!(forge(&world)["access_token"], "access-1");
    world.pass(1);
    world.answer(200, grant("access-2", 5, "refresh-1"));
    assert_eq!(forge(&world)["access_token"], "access-2");
}

/// Item 24: an answer without a refresh token keeps the old one, one with a new one replaces it.
#[test]
fn the_newest_refresh_token_is_the_one_that_is_spent() {
    let world = connected();
    for answer in [grant("access-2", 3600, "refresh-2"), json!({ "access_token": "access-3", "expires_in": 3600 })] {
        world.pass(3600);
        world.answer(200, answer);
        forge(&world);
    }
    world.pass(3600);
    world.answer(200, grant("access-4", 3600, "refresh-4"));
    assert_eq!(forge(&world)["access_token"], "access-4");
    assert_eq!(spent(&world), ["refresh-1", "refresh-2", "refresh-2"]);
}

/// Item 22: the old token is served while it lasts, and the connection stays byte for byte what it was.
#[test]
fn a_provider_that_does_not_answer_costs_nothing() {
    let faults: [fn(&World); 8] = [
        |world| world.answer(500, json!({ "error": "invalid_grant" })),
        |world| world.answer(503, json!({})),
        |world| world.answer(429, json!({ "error": "slow_down" })),
        |world| world.answer(302, json!({})),
        |world| world.answer(200, json!({ "hello": "there" })),
        |world| world.answer(400, json!({ "error": "invalid_request" })),
        |world| world.fault(SendFault::Timeout),
        |world| world.fault(SendFault::TooLarge),
    ];
    for fault in faults {
        let world = connected();
        let before = connections(&world);
        world.pass(3550);
        fault(&world);
        assert_eq!(forge(&world)["access_token"], "access-1");
        world.pass(100);
        fault(&world);
        let later = forge(&world);
        assert_eq!(later["status"], "temporarily_unavailable");
        assert!(later["retry_after"].as_u64().unwrap() > 0);
        assert_eq!(connections(&world), before);
        world.answer(200, grant("access-2", 3600, "refresh-2"));
        assert_eq!(forge(&world)["access_token"], "access-2");
        assert_eq!(spent(&world).last().unwrap(), "refresh-1");
    }
}

/// Item 22: `Retry-After` is passed on, and kept.
#[test]
fn a_provider_that_says_when_to_come_back_is_not_asked_before() {
    let world = connected();
    world.pass(3600);
    let busy = Response::builder().status(429).header("retry-after", "120").body(Vec::new()).unwrap();
    world.answers.borrow_mut().push_back(Ok(busy));
    assert_eq!(forge(&world)["retry_after"], 120);
    world.pass(20);
    let answer = world.token("forge", None);
    assert_eq!((answer.status(), head(&answer, "retry-after").as_str()), (StatusCode::SERVICE_UNAVAILABLE, "100"));
    assert_eq!(spent(&world).len(), 1);
    world.pass(100);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
}

/// Item 23: an ended grant says so, once, and costs no further calls.
#[test]
fn a_grant_that_the_provider_ended_is_not_asked_for_again() {
    let world = connected();
    world.pass(3600);
    world.answer(400, json!({ "error": "invalid_grant" }));
    for _ in 0..3 {
        let ended = forge(&world);
        assert_eq!(ended["status"], "needs_reconnect");
        assert!(ended["connect_url"].as_str().unwrap().starts_with("http://127.0.0.1:3000/auth/forge?ticket="));
    }
    assert_eq!(spent(&world), ["refresh-1"]);
    let answer = world.token("forge", None);
    assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::CONFLICT, &json!("needs_reconnect")));
    world.connect(&mut Browser::default(), "forge", grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
}

/// Item 23: what a sibling stored meanwhile is used, and not called dead.
#[test]
fn a_newer_token_of_a_sibling_survives_our_failure() {
    let world = connected();
    world.pass(3600);
    world.answer(400, json!({ "error": "invalid_grant" }));
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| renew_elsewhere(world, "access-s", NOW + 9000)));
    assert_eq!(forge(&world)["access_token"], "access-s");
    assert_eq!(forge(&world)["access_token"], "access-s");
    assert_eq!(spent(&world).len(), 1);
}

/// Item 23: if that one is due itself, it is renewed in its turn, once.
#[test]
fn a_siblings_token_that_is_due_is_renewed_in_its_turn() {
    let world = connected();
    world.pass(3600);
    world.answer(400, json!({ "error": "invalid_grant" }));
    world.answer(200, grant("access-3", 3600, "refresh-3"));
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| renew_elsewhere(world, "access-s", NOW)));
    assert_eq!(forge(&world)["access_token"], "access-3");
    assert_eq!(spent(&world), ["refresh-1", "refresh-s"]);
}

#[test]
fn a_late_answer_does_not_overwrite_a_newer_token() {
    let world = connected();
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| renew_elsewhere(world, "access-s", NOW + 9000)));
    assert_eq!(forge(&world)["access_token"], "access-s");
    assert_eq!(forge(&world)["access_token"], "access-s");
}

#[test]
fn a_late_answer_does_not_bring_back_what_was_disconnected() {
    let world = connected();
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    world.answer(200, json!({}));
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.store.borrow_mut().clear()));
    assert_eq!(forge(&world)["status"], "not_connected");
    assert_eq!(world.dump().into_keys().collect::<Vec<_>>(), ["b.keys"]);
    assert_eq!(world.forms_sent_to("https://forge.example/revoke")[0]["token"], "refresh-2", "nor leaves it alive");
}

/// Item 25: the provider has spent the token, its answer never came. It is tried once more, the person is told, and that
/// is all: no loop.
#[test]
fn a_refresh_whose_answer_was_lost_is_tried_once_more_and_then_ends_with_its_reason() {
    let lost: [fn(&World); 5] = [
        |world| world.fault(SendFault::Timeout),
        |world| world.fault(SendFault::Connection),
        |world| world.fault(SendFault::TooLarge),
        |world| world.answer(502, json!({})),
        |world| world.answer(200, json!({ "access_": "truncated" })),
    ];
    for lose in lost {
        let world = connected();
        world.pass(3600);
        lose(&world);
        assert_eq!(forge(&world)["status"], "temporarily_unavailable");
        world.answer(400, json!({ "error": "invalid_grant" }));
        for _ in 0..3 {
            assert_eq!(forge(&world)["status"], "needs_reconnect");
        }
        assert_eq!(spent(&world), ["refresh-1", "refresh-1"]);
        assert_eq!(reason(&world), "refresh_interrupted");
        assert!(!world.dump().keys().any(|key| key.starts_with("b.r.")), "the doubt has ended");
    }
}

/// Item 25: a provider with a period of grace, or one that never got the first request, gives the token.
#[test]
fn a_refresh_in_doubt_that_the_provider_honours_is_as_if_nothing_had_been() {
    let world = connected();
    world.pass(3600);
    world.fault(SendFault::Timeout);
    forge(&world);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
    assert!(!world.dump().keys().any(|key| key.starts_with("b.r.")));
    world.pass(3600);
    world.answer(400, json!({ "error": "invalid_grant" }));
    assert_eq!(forge(&world)["status"], "needs_reconnect");
    assert_eq!(reason(&world), "invalid_grant", "the doubt was about another generation");
}

/// Item 25: doubt lasts until the provider has said something about the grant.
#[test]
fn a_rate_limit_between_does_not_end_a_doubt() {
    let world = connected();
    world.pass(3600);
    world.fault(SendFault::Timeout);
    forge(&world);
    world.answer(429, json!({}));
    forge(&world);
    world.answer(400, json!({ "error": "invalid_grant" }));
    forge(&world);
    assert_eq!(reason(&world), "refresh_interrupted");
}

/// Items 22 and 25: an answer that says no is an answer, and leaves no doubt.
#[test]
fn a_refusal_leaves_no_doubt() {
    let said: [fn(&World); 4] = [
        |world| world.answer(429, json!({})),
        |world| world.answer(401, json!({ "error": "invalid_client" })),
        |world| world.answer(400, json!({ "error": "invalid_request" })),
        |world| world.fault(SendFault::Denied),
    ];
    for say in said {
        let world = connected();
        world.pass(3600);
        say(&world);
        assert_eq!(forge(&world)["status"], "temporarily_unavailable");
        world.answer(400, json!({ "error": "invalid_grant" }));
        forge(&world);
        assert_eq!(reason(&world), "invalid_grant");
    }
}

/// Item 25: what the provider gave is not given up for a store that stutters.
#[test]
fn a_renewed_token_that_cannot_be_stored_at_once_is_stored_a_little_later() {
    let world = connected();
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.down_until.set(Some(world.clock.get() + 1000))));
    assert_eq!(forge(&world)["access_token"], "access-2");
    world.pass(3600);
    world.answer(200, grant("access-3", 3600, "refresh-3"));
    assert_eq!(forge(&world)["access_token"], "access-3");
    assert_eq!(spent(&world), ["refresh-1", "refresh-2"]);
}

#[test]
fn a_refused_token_is_renewed_at_once_and_an_older_one_is_not() {
    let world = connected();
    let first = forge(&world)["fingerprint"].clone();
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(refused(&world, &first)["access_token"], "access-2");
    assert_eq!(refused(&world, &first)["access_token"], "access-2");
    assert_eq!(spent(&world).len(), 1);
}

#[test]
fn an_upstream_that_refuses_everything_does_not_make_us_renew_forever() {
    let world = connected();
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    let second = refused(&world, &forge(&world)["fingerprint"]);
    assert_eq!(refused(&world, &second["fingerprint"])["status"], "needs_reconnect");
    assert_eq!(spent(&world).len(), 1);
    assert_eq!(forge(&world)["access_token"], "access-2", "the grant is not marked for one upstream's sake");
    world.pass(30);
    world.answer(200, grant("access-3", 3600, "refresh-3"));
    assert_eq!(refused(&world, &second["fingerprint"])["access_token"], "access-3");
}

#[test]
fn a_refused_token_is_not_served_again_while_the_provider_is_down() {
    let world = connected();
    let fingerprint = forge(&world)["fingerprint"].clone();
    world.answer(503, json!({}));
    assert_eq!(refused(&world, &fingerprint)["status"], "temporarily_unavailable");
}

#[test]
fn a_token_that_cannot_be_renewed_lasts_until_its_end() {
    let world = World::local();
    let answer = json!({ "access_token": "access-1", "token_type": "bearer", "expires_in": 100 });
    world.connect(&mut Browser::default(), "forge", answer);
    world.pass(99);
    assert_eq!(forge(&world)["access_token"], "access-1");
    world.pass(1);
    assert_eq!(forge(&world)["status"], "needs_reconnect");
}

/// Item 29: what a refresh narrows is recorded.
#[test]
fn scopes_that_a_refresh_narrows_are_recorded() {
    let world = connected();
    world.pass(3600);
    let mut narrower = grant("access-2", 3600, "refresh-2");
    narrower["scope"] = json!("read");
    world.answer(200, narrower);
    assert_eq!(forge(&world)["scopes"], json!(["read"]));
    let listed = read(&world.get("/connections"))["services"][0].clone();
    assert_eq!((&listed["service"], &listed["missing_scopes"]), (&json!("forge"), &json!(["write"])));
}

#[test]
fn a_client_that_the_provider_does_not_accept_ends_no_grant() {
    let world = connected();
    let before = connections(&world);
    world.pass(3600);
    world.answer(401, json!({ "error": "invalid_client" }));
    assert_eq!(forge(&world)["status"], "temporarily_unavailable");
    assert_eq!(connections(&world), before);
    assert!(world.log.borrow().iter().any(|line| line.contains("oauth_clients")));
}

/// R07: a provider that refuses for ever, and never says that the grant has ended, is not asked at every call; the person
/// gets the link, and the grant stays.
#[test]
fn a_provider_that_refuses_for_ever_leads_the_person_to_connect_again_and_is_not_asked_at_every_call() {
    let refusals: [(u16, &str, &str); 6] = [
        (400, r#"{"error":"invalid_request"}"#, "invalid_request"),
        (400, r#"{"error":"unsupported_grant_type"}"#, "unsupported_grant_type"),
        (404, "<html>", "status_404"),
        (405, "", "status_405"),
        (403, "<html>", "status_403"),
        (422, r#"{"detail":[]}"#, "status_422"),
    ];
    for (status, body, reason) in refusals {
        let world = connected();
        let before = connections(&world);
        world.pass(3600);
        let refuse = || {
            let answer = Response::builder().status(status).body(body.as_bytes().to_vec()).unwrap();
            world.answers.borrow_mut().push_back(Ok(answer));
        };
        for expected in ["temporarily_unavailable", "temporarily_unavailable", "needs_reconnect"] {
            refuse();
            assert_eq!(forge(&world)["status"], expected, "{body}");
        }
        for _ in 0..10 {
            let stands = forge(&world);
            assert_eq!(stands["status"], "needs_reconnect", "{body}");
            assert!(stands["connect_url"].as_str().unwrap().contains("/auth/forge?ticket="));
        }
        assert_eq!(world.token("forge", None).status(), StatusCode::CONFLICT);
        assert_eq!(spent(&world).len(), 3, "{body}");
        let listed = read(&world.get("/connections"))["services"][0].clone();
        assert_eq!((&listed["state"], &listed["reason"]), (&json!("needs_reconnect"), &json!(reason)));
        assert_eq!(connections(&world), before, "the grant is kept");

        // The pauses grow up to an hour.
        for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            world.pass(pause - 1);
            assert_eq!(forge(&world)["status"], "needs_reconnect");
            let asked = spent(&world).len();
            world.pass(1);
            refuse();
            assert_eq!(forge(&world)["status"], "needs_reconnect");
            assert_eq!(spent(&world).len(), asked + 1, "after {pause} s");
        }
        // A provider that comes to its senses is taken at its word.
        world.pass(3600);
        world.answer(200, grant("access-2", 3600, "refresh-2"));
        assert_eq!(forge(&world)["access_token"], "access-2");
        assert_eq!(read(&world.get("/connections"))["services"][0]["state"], "active");
        // And its next refusals are the first again.
        world.pass(3600);
        refuse();
        assert_eq!(forge(&world)["status"], "temporarily_unavailable");
    }
}

/// R07: nobody is sent away while the token is good, and who connects again does not wait for the pauses of the old grant.
#[test]
fn refusals_cost_nothing_while_the_token_is_good_and_end_with_a_new_grant() {
    let world = connected();
    world.pass(3550);
    for _ in 0..4 {
        world.answer(400, json!({ "error": "invalid_request" }));
        assert_eq!(forge(&world)["access_token"], "access-1");
    }
    assert_eq!(spent(&world).len(), 3);
    world.answers.borrow_mut().clear();
    world.pass(50);
    assert_eq!(forge(&world)["status"], "needs_reconnect");
    world.connect(&mut Browser::default(), "forge", grant("access-2", 10, "refresh-2"));
    assert_eq!(read(&world.get("/connections"))["services"][0]["state"], "active");
    world.pass(10);
    world.answer(200, grant("access-3", 3600, "refresh-3"));
    assert_eq!(forge(&world)["access_token"], "access-3");
}

/// R07: outages are no refusals, however often; and where the client is not accepted no person can help, so the operator has
/// to, and the provider is asked once a minute.
#[test]
fn an_outage_and_a_client_that_is_not_accepted_send_nobody_away() {
    for status in [500, 502, 503, 429] {
        let world = connected();
        world.pass(3600);
        for _ in 0..6 {
            world.answer(status, json!({ "error": "invalid_request" }));
            assert_eq!(forge(&world)["status"], "temporarily_unavailable", "{status}");
        }
        assert_eq!(spent(&world).len(), 6, "{status}");
    }
    let world = connected();
    world.pass(3600);
    for _ in 0..6 {
        world.answer(401, json!({ "error": "invalid_client" }));
        assert_eq!(forge(&world)["status"], "temporarily_unavailable");
    }
    assert_eq!(spent(&world).len(), 3);
    world.answers.borrow_mut().clear();
    world.pass(60);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
}

/// R31: what a provider says of when to come again is kept to, and told on: in a refresh, at the callback and in a revocation.
#[test]
fn a_provider_that_says_when_to_come_again_is_kept_to_and_told_on() {
    let busy = |world: &World, status: u16, wait: &str| {
        let busy = Response::builder().status(status).header("retry-after", wait).body(Vec::new()).unwrap();
        world.answers.borrow_mut().push_back(Ok(busy));
    };
    for status in [429, 503] {
        let world = connected();
        world.pass(3600);
        busy(&world, status, "7");
        assert_eq!(forge(&world)["retry_after"], 7);
        world.pass(6);
        let answer = world.token("forge", None);
        assert_eq!((answer.status().as_u16(), head(&answer, "retry-after").as_str()), (503, "1"));
        assert_eq!(spent(&world).len(), 1);
        world.pass(1);
        world.answer(200, grant("access-2", 3600, "refresh-2"));
        assert_eq!(forge(&world)["access_token"], "access-2");

        let mut browser = Browser::default();
        let to = browser.start(&world, "/auth/forge");
        busy(&world, status, "7");
        let page = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
        assert_eq!((page.status().as_u16(), head(&page, "retry-after").as_str()), (503, "7"));

        busy(&world, status, "1000");
        browser.post(&world, "/disconnect/forge", "");
        let asked = world.sent.borrow().len();
        world.pass(999);
        world.get("/connections");
        assert_eq!(world.sent.borrow().len(), asked);
        world.pass(1);
        world.answer(200, json!({}));
        world.get("/connections");
        assert_eq!(world.sent.borrow().len(), asked + 1);
    }
}

#[test]
fn a_store_that_is_down_is_no_reason_to_reconnect() {
    let world = connected();
    world.store_down.set(true);
    assert_eq!(forge(&world)["status"], "temporarily_unavailable");
    assert_eq!(world.token("forge", None).status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Item 32: an unknown key id is a clear error, and the row stays.
#[test]
fn a_key_that_was_taken_out_too_early_can_be_put_back() {
    let world = connected();
    let before = world.dump();
    world.set("encryption_keys", &KEYS.replace("k1:", "k2:"));
    assert_eq!(forge(&world)["status"], "temporarily_unavailable");
    assert!(world.log.borrow().iter().any(|line| line.contains("encryption_keys has no key `k1`")));
    assert_eq!(world.dump(), before);
    world.set("encryption_keys", &format!("{},{KEYS}", KEYS.replace("k1:AAEC", "k2:AQEC")));
    assert_eq!(forge(&world)["access_token"], "access-1");
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    forge(&world);
    let row = world.dump().into_iter().find(|(key, _)| key.starts_with("b.c.")).unwrap().1;
    assert_eq!(&row[..4], b"\x01\x02k2", "sealed with the first key when it was written");
}

/// The rows of the connections.
fn connections(world: &World) -> Vec<Vec<u8>> {
    world.dump().into_iter().filter(|(key, _)| key.starts_with("b.c.")).map(|(_, row)| row).collect()
}

fn reason(world: &World) -> Value {
    read(&world.get("/connections"))["services"][0]["reason"].clone()
}

/// What another instance would have stored: the next generation of the same grant.
fn renew_elsewhere(world: &World, token: &str, expires_at: u64) {
    let broker = Broker::new(world);
    let mut connection = broker.connections().get(&owners("forge")).unwrap().unwrap();
    connection.generation += 1;
    connection.access_token = token.to_owned().into();
    connection.refresh_token = Some("refresh-s".to_owned().into());
    connection.expires_at = Some(expires_at);
    broker.connections().save(&owners("forge"), &connection).unwrap();
}
