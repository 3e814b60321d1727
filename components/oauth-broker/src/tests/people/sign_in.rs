//! How often a passphrase can be guessed, and which people guesses keep out.

use http::{Request, Response, StatusCode};

use super::*;
use crate::tests::crowd::{Caller, Crowd};

fn attempt(world: &World, credential: &str) -> Request<Vec<u8>> {
    let request = world.request("POST", "/sign-in").header("spin-client-addr", "192.0.2.1:1");
    request.body(format!("credential={credential}").into_bytes()).unwrap()
}

/// What each of so many guesses was told, and when, in milliseconds. One that was compared is told 401.
fn guess(crowd: &Crowd, number: usize) -> Vec<(StatusCode, u64)> {
    let guesses = (0..number).map(|_| {
        let request = attempt(&crowd.world, "guess");
        let caller: Caller<'_, _> =
            Box::pin(async move { (serve(crowd, request).await.status(), crate::host::Host::ticks(crowd)) });
        caller
    });
    crowd.run(guesses.collect())
}

/// The most that were compared within a minute. (A second is what a clock of seconds may be wrong by.)
fn most_in_a_minute(told: &[(StatusCode, u64)]) -> usize {
    let compared = || told.iter().filter(|(status, _)| *status == StatusCode::UNAUTHORIZED).map(|(_, at)| *at);
    compared().map(|first| compared().filter(|at| (first..first + 59_000).contains(at)).count()).max().unwrap()
}

/// A03: in many orders, on a store that is immediate and on one that is as late as can be borne.
#[test]
fn no_more_guesses_than_the_bound_are_compared_however_many_come_at_once() {
    for seed in 0..40 {
        let mut crowd = Crowd::new(World::public(), seed);
        crowd.lag = [0, 10, 99][seed as usize % 3];
        let told = guess(&crowd, if seed == 0 { 600 } else { 60 });
        let refused = |(status, _): &(StatusCode, u64)| *status == StatusCode::TOO_MANY_REQUESTS;
        assert!(told.iter().all(|one| one.0 == StatusCode::UNAUTHORIZED || refused(one)), "seed {seed}");
        let most = most_in_a_minute(&told);
        assert!((1..=10).contains(&most), "seed {seed}: {most} were compared");
    }
}

/// A03: in any minute, not only in those that begin with a guess.
#[test]
fn the_end_of_a_minute_does_not_double_the_bound() {
    let world = World::public();
    let mut told = Vec::new();
    for pause in [45, 1].into_iter().chain([1; 200]) {
        let status = world.handle(attempt(&world, "guess")).status();
        told.push((status, world.clock.get()));
        world.pass(pause);
    }
    assert_eq!(most_in_a_minute(&told), 10);
}

/// A03: what cannot be counted is not compared, not even if it is right.
#[test]
fn without_its_turn_or_its_count_no_guess_is_compared() {
    let crowd = Crowd::new(World::public(), 1);
    crowd.leases_down.set(true);
    let request = attempt(&crowd.world, PASSPHRASE);
    let caller: Caller<'_, Response<Vec<u8>>> = Box::pin(serve(&crowd, request));
    assert_eq!(crowd.run(vec![caller])[0].status(), StatusCode::SERVICE_UNAVAILABLE);
    crowd.leases_down.set(false);
    crowd.only_leases.set(true);
    for (credential, status) in [
        ("guess", StatusCode::SERVICE_UNAVAILABLE),
        (PASSPHRASE, StatusCode::SERVICE_UNAVAILABLE),
        // It is not counted.
        (ANNS_KEY, StatusCode::OK),
    ] {
        let request = attempt(&crowd.world, credential);
        let caller: Caller<'_, Response<Vec<u8>>> = Box::pin(serve(&crowd, request));
        assert_eq!(crowd.run(vec![caller])[0].status(), status, "{credential}");
    }
}

/// A03: nor is one that waits for its turn in vain.
#[test]
fn a_guess_whose_turn_does_not_come_is_refused() {
    let crowd = Crowd::new(World::public(), 1);
    let stuck = attempt(&crowd.world, "guess");
    crowd.dies(Box::pin(serve(&crowd, stuck)));
    let request = attempt(&crowd.world, PASSPHRASE);
    let caller: Caller<'_, Response<Vec<u8>>> = Box::pin(serve(&crowd, request));
    assert_eq!(crowd.run(vec![caller])[0].status(), StatusCode::TOO_MANY_REQUESTS);
    crowd.world.pass(60);
    let mut owner = Browser::default();
    assert_eq!(owner.sign_in(&crowd.world, PASSPHRASE).status(), StatusCode::OK, "nobody holds it for ever");
}

#[test]
fn guessing_is_slowed_down_and_locks_no_key_out() {
    let world = World::public();
    let mut browser = Browser::default();
    for _ in 0..10 {
        assert_eq!(browser.sign_in(&world, "guess").status(), StatusCode::UNAUTHORIZED);
    }
    let limited = browser.sign_in(&world, PASSPHRASE);
    assert_eq!((limited.status(), head(&limited, "retry-after").as_str()), (StatusCode::TOO_MANY_REQUESTS, "58"));
    assert_eq!(browser.sign_in(&world, ANNS_KEY).status(), StatusCode::OK);
    assert_eq!(world.dump().len(), 1, "one row, however many try");
    world.pass(60);
    assert_eq!(browser.sign_in(&world, PASSPHRASE).status(), StatusCode::OK);
}

/// A03: strangers keep the owner out of no browser in which the owner has been.
#[test]
fn a_browser_of_the_owners_has_a_counter_of_its_own() {
    let world = World::public();
    let (mut owner, mut stranger) = (Browser::default(), Browser::default());
    owner.sign_in(&world, PASSPHRASE);
    owner.post(&world, "/sign-out", "");
    world.pass(100 * 86_400);
    while stranger.sign_in(&world, "guess").status() != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(stranger.sign_in(&world, PASSPHRASE).status(), StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..20 {
        assert_eq!(owner.sign_in(&world, PASSPHRASE).status(), StatusCode::OK, "who is right is not counted");
    }
    while owner.sign_in(&world, "guess").status() != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(owner.sign_in(&world, PASSPHRASE).status(), StatusCode::TOO_MANY_REQUESTS, "it has a bound too");
    world.pass(60);
    stranger.sign_in(&world, PASSPHRASE);
    assert_eq!(read(&stranger.get(&world, "/connections"))["subject"], "owner");
}

/// A03: the cookie is sealed, for the owner alone, and as good as the credential that it was made for.
#[test]
fn nobody_else_gets_such_a_counter() {
    let name = "__Host-gatehouse-owners-browser";
    let world = World::public();
    let (mut ann, mut owner) = (Browser::default(), Browser::default());
    let cookie = head(&ann.sign_in(&world, ANNS_KEY), "set-cookie");
    assert!(cookie.starts_with("__Host-gatehouse-session="), "{cookie}");
    assert!(!ann.cookies.contains_key(name));
    owner.sign_in(&world, PASSPHRASE);
    let sealed = owner.cookies[name].clone();
    for forged in [ann.cookies["__Host-gatehouse-session"].clone(), "A".into(), sealed.replace('A', "B")] {
        ann.cookies.insert(name.into(), forged);
        while ann.sign_in(&world, "guess").status() != StatusCode::TOO_MANY_REQUESTS {}
        assert_eq!(world.dump().keys().filter(|key| key.starts_with("b.l.")).count(), 1);
    }
    owner.cookies.retain(|known, _| known == name);
    let in_session =
        Browser { cookies: [("__Host-gatehouse-session".to_owned(), sealed)].into() }.get(&world, "/connections");
    assert_eq!(in_session.status(), StatusCode::UNAUTHORIZED, "it signs nobody in");
    world.set("owner_passphrase", "another");
    assert_eq!(owner.sign_in(&world, "another").status(), StatusCode::TOO_MANY_REQUESTS);
}

/// A03: a fixed number of places, however many browsers there have been.
#[test]
fn the_counters_of_browsers_are_bounded() {
    let world = World::public();
    for _ in 0..500 {
        Browser::default().sign_in(&world, PASSPHRASE);
        let mut browser = Browser::default();
        browser.sign_in(&world, PASSPHRASE);
        browser.sign_in(&world, "guess");
        world.pass(60);
    }
    let rows: Vec<usize> = world.dump().into_values().map(|row| row.len()).collect();
    assert!(rows.len() <= 65 && rows.iter().all(|row| *row < 512), "{rows:?}");
}
