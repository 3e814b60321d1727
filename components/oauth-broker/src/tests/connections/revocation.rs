//! A connection ends at once here, and at the provider as soon as it answers.

use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;

use super::*;
use crate::broker::Broker;
use crate::connections::{Disconnected, Status};
use crate::host::Host;
use crate::tests::crowd::{Caller, Crowd};

fn connected() -> World {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.sent.borrow_mut().clear();
    world
}

fn disconnect(world: &World) -> Response<Vec<u8>> {
    world.handle(world.request("DELETE", "/token/forge").body(Vec::new()).unwrap())
}

fn retry(world: &World) {
    run(Broker::new(world).connections().retry_revocations(&owners("forge").subject)).unwrap();
}

/// What the provider was asked to revoke.
fn revoked(world: &World) -> Vec<String> {
    let forms = world.forms_sent_to("https://forge.example/revoke");
    forms.into_iter().map(|mut form| form.remove("token").unwrap()).collect()
}

fn rows(world: &World, kind: &str) -> usize {
    world.dump().keys().filter(|key| key.starts_with(kind)).count()
}

/// Item 37: nothing is left of it but what the flow left.
#[test]
fn a_connection_that_was_revoked_leaves_no_row() {
    let world = connected();
    world.answer(200, json!({}));
    assert_eq!(disconnect(&world).status(), StatusCode::NO_CONTENT);
    assert_eq!(revoked(&world), ["refresh-1"]);
    assert_eq!(["b.c.", "b.i.", "b.q.", "b.r."].map(|kind| rows(&world, kind)), [0; 4]);
    let broker = Broker::new(&world);
    assert!((0..64).all(|shard| broker.index().subjects_of_shard(shard).unwrap().is_empty()));
}

/// Item 37: asked again after a minute, and then ever later, until the provider does it.
#[test]
fn a_revocation_that_fails_is_tried_again_ever_later() {
    let world = connected();
    world.answer(503, json!({}));
    let answer = disconnect(&world);
    assert_eq!((answer.status(), &read(&answer)["queued"]), (StatusCode::OK, &json!(true)));
    assert_eq!(world.token("forge", None).status(), StatusCode::NOT_FOUND);
    for (pause, times) in [(59, 1), (1, 2), (239, 2), (1, 3), (959, 3), (1, 4)] {
        world.pass(pause);
        world.answers.borrow_mut().clear();
        world.answer(503, json!({}));
        retry(&world);
        assert_eq!(revoked(&world).len(), times, "after {pause} more");
    }
    world.answers.borrow_mut().clear();
    world.answer(200, json!({}));
    world.pass(24 * 3600);
    assert_eq!(read(&world.get("/connections"))["services"][0]["state"], "not_connected");
    assert_eq!((revoked(&world), rows(&world, "b.q."), rows(&world, "b.i.")), (vec!["refresh-1".to_owned(); 5], 0, 0));
}

#[test]
fn a_revocation_is_given_up_after_a_week_and_the_operator_is_told() {
    let world = connected();
    let mut times = 0;
    disconnect(&world);
    while rows(&world, "b.q.") > 0 {
        world.pass(12 * 3600);
        retry(&world);
        times += 1;
        assert!(times < 40);
    }
    assert!(times >= 14 && revoked(&world).len() >= 7);
    assert!(world.log.borrow().iter().any(|line| line.contains("given up")));
    assert_eq!(rows(&world, "b.i."), 0);
}

/// A new consent may be the same grant at the provider: what is still to be revoked could end it.
#[test]
fn a_newer_connection_is_not_revoked() {
    let world = connected();
    world.answer(503, json!({}));
    disconnect(&world);
    world.connect(&mut Browser::default(), "forge", grant("access-2", 3600, "refresh-2"));
    world.sent.borrow_mut().clear();
    world.pass(120);
    world.answer(200, json!({}));
    retry(&world);
    assert_eq!((revoked(&world).len(), rows(&world, "b.q.")), (0, 0));
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-2");
}

#[test]
fn connecting_again_revokes_nothing() {
    let world = connected();
    world.connect(&mut Browser::default(), "forge", grant("access-2", 3600, "refresh-2"));
    world.pass(120);
    retry(&world);
    assert!(revoked(&world).is_empty());
}

#[test]
fn a_provider_that_does_not_know_the_grant_any_more_has_nothing_left_to_revoke() {
    let world = connected();
    world.answer(400, json!({ "error": "invalid_grant" }));
    assert_eq!(disconnect(&world).status(), StatusCode::NO_CONTENT);
    assert_eq!(rows(&world, "b.q."), 0);
}

#[test]
fn an_unreadable_connection_can_be_disconnected() {
    let world = connected();
    let row = world.dump().into_keys().find(|key| key.starts_with("b.c.")).unwrap();
    world.store.borrow_mut().insert(row, vec![1, 2, 3]);
    assert_eq!(read(&disconnect(&world))["queued"], json!(false));
    assert_eq!((rows(&world, "b.c."), rows(&world, "b.i.")), (0, 0));
}

/// Item 37, in many orders: a refresh in flight is waited for, and its tokens are the ones that are revoked. On any store:
/// it is not served again.
#[test]
fn a_disconnect_waits_for_a_refresh_in_flight_and_revokes_what_it_brings() {
    for seed in 0..300 {
        let world = connected();
        world.pass(3600);
        let mut crowd = Crowd::new(world, seed);
        crowd.lag = [0, 10, 99][seed as usize % 3];
        let refresh: Caller<'_, Disconnected> = Box::pin(async {
            let _ = Broker::new(&crowd).connections().status(&owners("forge"), None, &[]).await.unwrap();
            Disconnected::Forgotten
        });
        let delay = Duration::from_millis(seed * 5 % 900);
        let disconnect: Caller<'_, Disconnected> = Box::pin(async {
            crowd.sleep(delay).await;
            Broker::new(&crowd).connections().disconnect(&owners("forge")).await.unwrap()
        });
        assert_eq!(crowd.run(vec![refresh, disconnect]), [Disconnected::Forgotten, Disconnected::Forgotten]);
        let newest = format!("refresh-{}", crowd.takes.get().unwrap());
        if crowd.lag == 0 {
            assert_eq!(revoked(&crowd.world).last(), Some(&newest), "seed {seed}");
        }
        assert_eq!(rows(&crowd.world, "b.q."), 0, "seed {seed}");
        let after = run(Broker::new(&crowd.world).connections().status(&owners("forge"), None, &[])).unwrap();
        assert!(matches!(after, Status::NotConnected), "seed {seed}");
    }
}

/// One grant for all connections of an account, of any subject: it ends with the last.
#[test]
fn a_grant_that_others_live_on_is_revoked_with_the_last_of_them() {
    let world = World::public();
    world.offer(
        "forge",
        json!({
            "client_id": "id", "client_secret": "secret", "shared_grant": true,
            "authorize_url": "https://forge.example/authorize", "token_url": "https://forge.example/token",
            "revoke": { "url": "https://forge.example/revoke" },
        }),
    );
    for key in [ANNS_KEY, BOBS_KEY] {
        let mut browser = Browser::default();
        browser.sign_in(&world, key);
        world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    }
    world.sent.borrow_mut().clear();
    let disconnect = |key: &str| {
        let request = world.request("DELETE", "/token/forge").header("authorization", format!("Bearer {key}"));
        world.handle(request.body(Vec::new()).unwrap())
    };
    let kept = disconnect(ANNS_KEY);
    assert_eq!((kept.status(), &read(&kept)["queued"]), (StatusCode::OK, &json!(false)));
    assert!(revoked(&world).is_empty());
    assert_eq!(read(&world.token("forge", Some(BOBS_KEY)))["access_token"], "access-1");
    world.answer(200, json!({}));
    assert_eq!(disconnect(BOBS_KEY).status(), StatusCode::NO_CONTENT);
    assert_eq!(revoked(&world), ["refresh-1"]);
}
