//! A time that a wrong clock has written is believed for no longer than its kind lasts.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;

const DAY: u64 = 86_400;

/// Does `work` while the clock is ahead.
fn ahead<T>(world: &World, seconds: u64, work: impl FnOnce() -> T) -> T {
    let before = world.clock.get();
    world.pass(seconds);
    let done = work();
    world.clock.set(world.clock.get() - seconds * 1000);
    assert!(world.clock.get() - before < 60_000);
    done
}

fn count(world: &World, kind: &str) -> usize {
    world.dump().keys().filter(|key| key.starts_with(kind)).count()
}

fn forge(world: &World) -> Value {
    world.resolve(None, json!({ "service": "forge" }))
}

fn connect(world: &World, granted: Value) {
    assert!(world.connect(&mut Browser::default(), "forge", granted).status().is_redirection());
    world.sent.borrow_mut().clear();
}

fn refreshes(world: &World) -> usize {
    world.forms_sent_to("https://forge.example/token").len()
}

/// A26: rows `f` and `p`.
#[test]
fn a_flow_of_a_clock_that_was_ahead_is_over_and_goes() {
    let world = World::local();
    let mut browser = Browser::default();
    let states: Vec<String> =
        ahead(&world, DAY, || (0..16).map(|_| browser.start(&world, "/auth/forge")["state"].clone()).collect());
    let answer = browser.get(&world, &format!("/callback/forge?code=c&state={}", states[0]));
    assert!(text(&answer).contains("No connection waits"), "{}", text(&answer));
    assert!(world.sent.borrow().is_empty());
    browser.start(&world, "/auth/forge");
    assert_eq!(count(&world, "b.f."), 1);
}

/// A26: what is sealed into a link, and what rows `t` say.
#[test]
fn a_link_of_a_clock_that_was_ahead_is_not_valid_and_uses_no_other_up() {
    let world = World::local();
    let link = || forge(&world)["connect_url"].as_str().unwrap().strip_prefix(LOCAL).unwrap().to_owned();
    let mut browser = Browser::default();
    let early = ahead(&world, DAY, link);
    let answer = browser.get(&world, &early);
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(text(&answer).contains("not valid, or has expired"), "{}", text(&answer));
    ahead(&world, DAY, || {
        for _ in 0..40 {
            browser.start(&world, "/auth/forge");
            world.pass(1);
        }
    });
    let link = link();
    browser.start(&world, &link);
    assert!(text(&browser.get(&world, &link)).contains("has been used"));
    world.pass(DAY);
    let early_again = browser.get(&world, &early);
    assert_eq!(early_again.status(), StatusCode::OK, "its ten minutes are those of then");
}

/// A26: a session is sealed into its cookie.
#[test]
fn a_session_of_a_clock_that_was_ahead_is_none() {
    let world = World::public();
    let mut browser = Browser::default();
    ahead(&world, DAY, || browser.sign_in(&world, ANNS_KEY));
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    browser.sign_in(&world, ANNS_KEY);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK);
}

/// A26: row `l`.
#[test]
fn guesses_that_a_clock_that_was_ahead_has_counted_keep_nobody_out() {
    let world = World::public();
    let mut browser = Browser::default();
    ahead(&world, DAY, || {
        for _ in 0..10 {
            browser.sign_in(&world, "guess");
        }
    });
    assert_eq!(browser.sign_in(&world, PASSPHRASE).status(), StatusCode::OK);
}

/// A26: rows `w`.
#[test]
fn a_provider_that_asked_a_clock_that_was_ahead_to_wait_is_asked() {
    let world = World::local();
    connect(&world, grant("access-1", 3600, "refresh-1"));
    world.pass(3600);
    let busy = http::Response::builder().status(429).header("retry-after", "120").body(Vec::new()).unwrap();
    world.answers.borrow_mut().push_back(Ok(busy));
    ahead(&world, DAY, || assert_eq!(forge(&world)["retry_after"], 120));
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
}

/// A26: rows `c`. When the token ends is not known: it is renewed where it can be, and else served until it is refused.
#[test]
fn a_token_whose_end_a_clock_that_was_ahead_has_written_is_renewed() {
    let world = World::local();
    ahead(&world, DAY, || connect(&world, grant("access-1", 3600, "refresh-1")));
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    assert_eq!(forge(&world)["access_token"], "access-2");
    assert_eq!(forge(&world)["access_token"], "access-2");
    assert_eq!(refreshes(&world), 1);

    ahead(&world, DAY, || connect(&world, json!({ "access_token": "alone", "expires_in": 3600 })));
    assert_eq!(forge(&world)["access_token"], "alone");
    assert_eq!(refreshes(&world), 0);
}

/// A26: rows `c`, which say when a token was last renewed because it had been refused.
#[test]
fn a_refusal_of_a_clock_that_was_ahead_is_not_the_last_one() {
    let world = World::local();
    connect(&world, grant("access-1", 7 * DAY, "refresh-1"));
    let refused = || world.resolve(None, json!({ "service": "forge", "refused": forge(&world)["fingerprint"] }));
    world.answer(200, grant("access-2", 7 * DAY, "refresh-2"));
    ahead(&world, DAY, refused);
    world.answer(200, grant("access-3", 7 * DAY, "refresh-3"));
    assert_eq!(forge(&world)["access_token"], "access-3");
    world.answer(200, grant("access-4", 7 * DAY, "refresh-4"));
    assert_eq!(refused()["access_token"], "access-4");
}

/// A26: rows `q`, which say when to try again.
#[test]
fn a_revocation_is_tried_when_a_clock_that_was_ahead_has_put_it_off() {
    let world = World::local();
    connect(&world, grant("access-1", 3600, "refresh-1"));
    let revoked = || world.forms_sent_to("https://forge.example/revoke").len();
    let retry = || run(Broker::new(&world).connections().retry_revocations(&owners("forge").subject)).unwrap();
    world.answer(503, json!({}));
    ahead(&world, DAY / 2, || world.handle(world.request("DELETE", "/token/forge").body(Vec::new()).unwrap()));
    assert_eq!(revoked(), 1);
    retry();
    assert_eq!(revoked(), 2);
    retry();
    assert_eq!(revoked(), 2, "and then it waits as ever");
}

/// A26: rows `q`, which say since when it has been tried.
#[test]
fn a_revocation_is_given_up_a_week_after_the_clock_was_set_right() {
    let world = World::local();
    connect(&world, grant("access-1", 3600, "refresh-1"));
    ahead(&world, 365 * DAY, || world.handle(world.request("DELETE", "/token/forge").body(Vec::new()).unwrap()));
    let mut days = 0;
    while count(&world, "b.q.") > 0 {
        assert!(days < 9);
        run(Broker::new(&world).connections().retry_revocations(&owners("forge").subject)).unwrap();
        world.pass(DAY);
        days += 1;
    }
    assert!(days >= 7, "{days}");
}

/// A26: rows `h`.
#[test]
fn a_refusal_is_noted_when_a_clock_that_was_ahead_has_noted_one() {
    let world = World::public();
    world.set("handout_policy", "{}");
    world.employ("reports", "canary-reports-key");
    let ask = || {
        let body = json!({ "subject_token": ANNS_KEY, "resource": format!("{PUBLIC}/mcp"), "services": [{ "service": "forge" }] });
        world.ask("canary-reports-key", &body);
    };
    let noted = || world.log.borrow().iter().filter(|line| line.contains("not_handed_out")).count();
    ahead(&world, DAY, ask);
    assert_eq!(noted(), 1);
    ask();
    assert_eq!(noted(), 2);
    ask();
    assert_eq!(noted(), 2);
}

/// A26: rows `a`, where hand-outs that are alike are one line for ten seconds.
#[test]
fn a_line_of_a_clock_that_was_ahead_stands_for_none_of_now() {
    let world = World::local();
    connect(&world, grant("access-1", 7 * DAY, "refresh-1"));
    world.set("audit", "store");
    let block = NOW / 14_400;
    world.clock.set((block + 1) * 14_400_000);
    let lines = || {
        let found = Broker::new(&world).audit().read(Some(&owners("forge").subject), 0, world.clock.get() / 1000 + DAY);
        found.unwrap().lines.len()
    };
    ahead(&world, 7200, || forge(&world));
    assert_eq!(lines(), 1);
    forge(&world);
    assert_eq!(lines(), 2);
    forge(&world);
    assert_eq!(lines(), 2);
}

/// A26: what is sealed into the cursor of a sweep.
#[test]
fn a_sweep_that_a_clock_that_was_ahead_began_does_not_go_on() {
    let world = World::local();
    let broker = Broker::new(&world);
    let cursor = || broker.maintenance().cursor(&broker.maintenance().begin().unwrap()).unwrap();
    let early = ahead(&world, DAY, cursor);
    assert!(broker.maintenance().resume(&early).unwrap().is_none());
    assert!(broker.maintenance().resume(&cursor()).unwrap().is_some());
}

/// A26: one that was behind and jumps ahead ends what has ended, and nothing else.
#[test]
fn a_clock_that_is_set_ahead_costs_a_refresh_and_no_connection() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.pass(365 * DAY);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    browser.sign_in(&world, ANNS_KEY);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    let outcome = world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    assert_eq!(outcome["access_token"], "access-2");
    world.connect(&mut browser, "forge", grant("access-3", 3600, "refresh-3"));
    assert_eq!(world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }))["access_token"], "access-3");
}
