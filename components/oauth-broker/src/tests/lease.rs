//! Many callers cost a provider one refresh, even if their instances die.

use std::time::Duration;

use super::*;
use crate::broker::Broker;
use crate::connections::Status;
use crate::connections::row::State;
use crate::host::{CALL_LIMIT, Host};
use crate::tests::crowd::{Caller, Crowd};
use crate::vault::{RowId, RowKind};

/// A crowd of the owner's, whose token ends in `left` seconds.
fn crowd(left: u64, seed: u64) -> Crowd {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.sent.borrow_mut().clear();
    world.pass(3600 - left);
    Crowd::new(world, seed)
}

/// Somebody who wants a token after `delay` milliseconds, because `refused` was refused or in the normal course.
fn caller<'a>(crowd: &'a Crowd, delay: u64, refused: Option<&'a str>) -> Caller<'a, String> {
    Box::pin(async move {
        crowd.sleep(Duration::from_millis(delay)).await;
        match Broker::new(crowd).connections().status(&owners("forge"), refused, &[]).await.unwrap() {
            Status::Token(connection) => connection.access_token.reveal().to_owned(),
            Status::NeedsReconnect { .. } => "reconnect".to_owned(),
            Status::NotConnected => "not connected".to_owned(),
            Status::RetryAfter(_) => "later".to_owned(),
            Status::UnknownService => "unknown".to_owned(),
        }
    })
}

fn callers(crowd: &Crowd, number: u64) -> Vec<Caller<'_, String>> {
    (0..number).map(|place| caller(crowd, place * 15, None)).collect()
}

fn requests(crowd: &Crowd) -> usize {
    crowd.world.sent.borrow().len()
}

/// Returns true if the store holds nothing of a lease that has ended.
fn has_no_lease(crowd: &Crowd) -> bool {
    crowd.settle();
    !crowd.world.dump().keys().any(|key| key.starts_with("b.r."))
}

/// Items 20 and 21, in a thousand orders: on a store that is immediate, and on those that are as late as can be borne.
#[test]
fn callers_at_expiry_cost_one_refresh_and_all_get_its_token() {
    for seed in 0..1000 {
        let mut crowd = crowd(0, seed);
        crowd.lag = [0, 10, 99][seed as usize % 3];
        let told = crowd.run(callers(&crowd, 5));
        assert_eq!(told, ["access-2"; 5], "seed {seed}");
        assert_eq!(requests(&crowd), 1, "seed {seed}");
        assert!(has_no_lease(&crowd), "seed {seed}");
    }
}

/// Item 20: fifty at once.
#[test]
fn fifty_callers_at_expiry_cost_one_refresh() {
    for seed in 0..30 {
        let mut crowd = crowd(0, seed);
        crowd.lag = [0, 10, 99][seed as usize % 3];
        let all = (0..50).map(|place| caller(&crowd, place % 7 * 15, None)).collect();
        assert_eq!(crowd.run(all), ["access-2"; 50], "seed {seed}");
        assert_eq!(requests(&crowd), 1, "seed {seed}");
        assert!(has_no_lease(&crowd), "seed {seed}");
    }
}

/// The timing assumption is one: what it costs when it is broken is seen here, so that a change of it is noticed.
#[test]
fn a_store_that_is_later_than_assumed_lets_two_through() {
    let two = (0..50).any(|seed| {
        let mut crowd = crowd(0, seed);
        crowd.lag = 2000;
        crowd.run(callers(&crowd, 8));
        requests(&crowd) > 1
    });
    assert!(two);
}

#[test]
fn a_token_that_is_valid_is_handed_out_without_waiting_for_its_successor() {
    let crowd = crowd(50, 7);
    let winner = caller(&crowd, 0, None);
    let late = Box::pin(async {
        crowd.sleep(Duration::from_millis(100)).await;
        let asked = crowd.ticks();
        let told = caller(&crowd, 0, None).await;
        assert_eq!(crowd.ticks(), asked);
        told
    });
    assert_eq!(crowd.run(vec![winner, late]), ["access-2", "access-1"]);
    assert_eq!(requests(&crowd), 1);
}

#[test]
fn a_refused_token_is_waited_for_though_it_is_valid() {
    for seed in 0..50 {
        let crowd = crowd(3000, seed);
        let connection = Broker::new(&crowd).connections().get(&owners("forge"));
        let refused = connection.unwrap().unwrap().fingerprint();
        let told = crowd.run((0..5).map(|place| caller(&crowd, place * 40, Some(&refused))).collect());
        assert_eq!((told, requests(&crowd)), (vec!["access-2".to_owned(); 5], 1), "seed {seed}");
    }
}

/// Item 23: one is told by the provider, the others by the row.
#[test]
fn waiting_callers_are_told_that_the_grant_has_ended() {
    for seed in 0..50 {
        let crowd = crowd(0, seed);
        crowd.takes.set(None);
        assert_eq!(crowd.run(callers(&crowd, 5)), ["reconnect"; 5]);
        assert_eq!(requests(&crowd), 1);
    }
}

#[test]
fn waiting_callers_learn_of_a_disconnect() {
    let crowd = crowd(0, 3);
    let mut all = callers(&crowd, 3);
    all.push(Box::pin(async {
        crowd.sleep(Duration::from_millis(220)).await;
        let broker = Broker::new(&crowd);
        broker.connections().forget(&owners("forge")).unwrap();
        "not connected".to_owned()
    }));
    assert_eq!(crowd.run(all), ["not connected"; 4]);
}

/// Item 22: the lease comes back with the failure, and nobody is told worse than to come later.
#[test]
fn a_provider_that_fails_is_asked_by_one_at_a_time() {
    let crowd = crowd(0, 11);
    crowd.says.set(Some(503));
    assert_eq!(crowd.run(callers(&crowd, 3)), ["later"; 3]);
    crowd.says.set(None);
    assert_eq!(crowd.run(callers(&crowd, 3)), ["access-2"; 3]);
    assert!(has_no_lease(&crowd));
}

/// Item 26: while it may live it is waited for, for a bounded time; then the next caller goes on.
#[test]
fn the_lease_of_a_holder_that_died_ends() {
    let crowd = crowd(0, 5);
    crowd.dies(caller(&crowd, 0, None));
    assert!(!has_no_lease(&crowd));
    let asked = crowd.ticks();
    assert_eq!(crowd.run(callers(&crowd, 3)), ["later"; 3]);
    assert!((25_000..30_000).contains(&(crowd.ticks() - asked)));
    crowd.world.pass(15);
    assert_eq!(crowd.run(callers(&crowd, 3)), ["access-2"; 3]);
    assert_eq!(requests(&crowd), 1);
}

/// Item 26: an instance that was stopped while it held the lease finds it gone and sends nothing.
#[test]
fn a_holder_that_stood_still_sends_nothing() {
    let crowd = crowd(0, 5);
    let mut stopped = caller(&crowd, 0, None);
    crowd.until_it_writes(&mut stopped);
    crowd.world.pass(60);
    assert_eq!(crowd.run(callers(&crowd, 2)), ["access-2"; 2]);
    assert_eq!(crowd.run(vec![stopped]), ["access-2"]);
    assert_eq!(requests(&crowd), 1);
}

/// Item 25: an instance that takes over from a holder that died knows that the refresh token may be spent.
#[test]
fn a_lease_of_a_holder_that_died_while_it_asked_is_in_doubt() {
    for (honoured, told) in [(true, "access-2"), (false, "reconnect")] {
        let crowd = crowd(0, 5);
        let mut holder = caller(&crowd, 0, None);
        crowd.until_it_asks(&mut holder);
        drop(holder);
        if !honoured {
            crowd.takes.set(None);
        }
        crowd.world.pass(45);
        assert_eq!(crowd.run(callers(&crowd, 3)), [told; 3]);
        assert_eq!(requests(&crowd), 2);
        let interrupted = State::NeedsReconnect { reason: "refresh_interrupted".to_owned() };
        let state = Broker::new(&crowd).connections().get(&owners("forge")).unwrap().unwrap().state;
        assert_eq!(state, if honoured { State::Active } else { interrupted });
        assert!(has_no_lease(&crowd));
    }
}

/// Item 26: only its holder gives a lease back, and only while it is its own.
#[test]
fn a_lease_is_given_back_by_its_holder_alone() {
    let world = World::local();
    let broker = Broker::new(&world);
    let id = owners("forge");
    let identity = id.identity();
    let place = RowId { kind: RowKind::Connection, identity: &identity };
    let take = || run(broker.leases().take(place, None)).unwrap();
    let held = || world.dump().keys().any(|key| key.starts_with("b.r."));
    let first = take().unwrap();
    assert!(take().is_none());
    // As if it had been written over: by one that found none in the same moment, or on a store that is late.
    world.store.borrow_mut().clear();
    let second = take().unwrap();
    broker.leases().release(place, &first);
    assert!(held(), "the first one's holder has nothing to give back");
    assert!(take().is_none());
    broker.leases().release(place, &second);
    assert!(!held());
    // One that has run out may be another's by the time that it is deleted.
    let third = take().unwrap();
    world.pass(39);
    broker.leases().release(place, &third);
    assert!(held());
}

/// Item 27: wherever a holder stands still before it asks, a provider that takes all the time that it may is asked once,
/// though the others' clocks are nine seconds ahead. (A tenth second is for the write.)
#[test]
fn a_provider_at_the_limit_is_waited_for_however_late_it_was_asked() {
    for stands in (0..=20_000).step_by(2_500) {
        let mut crowd = crowd(0, stands);
        crowd.answers_after = Some(CALL_LIMIT.as_millis() as u64);
        let mut holder = caller(&crowd, 0, None);
        crowd.until_it_writes(&mut holder);
        crowd.world.clock.set(crowd.ticks() + stands);
        crowd.until_it_asks(&mut holder);
        crowd.ahead.set(9);
        // They come when the first lease may be over in their eyes, and when it is over in the holder's.
        let mut all: Vec<_> = [0, 5_000, 9_000, 15_000, 19_000].map(|delay| caller(&crowd, delay, None)).into();
        all.push(holder);
        let told = crowd.run(all);
        assert!(told.iter().all(|told| told == "access-2"), "{stands}: {told:?}");
        assert_eq!(requests(&crowd), 1, "{stands}");
    }
}

/// Item 27: a holder whose clock is ten seconds behind, at the slowest provider, is not overtaken by anyone.
#[test]
fn a_slow_answer_is_waited_for_by_instances_whose_clocks_differ() {
    for seed in 0..20 {
        let mut crowd = crowd(0, seed);
        crowd.thinks = 9_900;
        let mut holder = caller(&crowd, 0, None);
        crowd.until_it_asks(&mut holder);
        crowd.ahead.set(10);
        let mut all = callers(&crowd, 2);
        all.push(holder);
        assert_eq!(crowd.run(all), ["access-2"; 3]);
        assert_eq!(requests(&crowd), 1);
    }
}

/// A26: an end that lies further ahead than any lease lasts was written by a clock that was wrong.
#[test]
fn a_lease_of_a_clock_that_was_wrong_is_not_waited_for() {
    let crowd = crowd(0, 5);
    crowd.world.pass(1_000_000);
    crowd.dies(caller(&crowd, 0, None));
    crowd.world.clock.set(crowd.ticks() - 900_000_000);
    assert_eq!(crowd.run(callers(&crowd, 2)), ["access-2"; 2]);
}

/// A26: nor does its holder go on with it: others would not wait for it.
#[test]
fn a_holder_whose_clock_is_set_back_sends_nothing_under_its_old_lease() {
    for seed in 0..20 {
        let mut crowd = crowd(0, seed);
        crowd.thinks = 5_000;
        crowd.ahead.set(3600);
        let mut holder = caller(&crowd, 0, None);
        crowd.until_it_writes(&mut holder);
        crowd.ahead.set(0);
        let all = vec![holder, caller(&crowd, 300, None), caller(&crowd, 600, None)];
        assert_eq!(crowd.run(all), ["access-2"; 3], "seed {seed}");
        assert_eq!(requests(&crowd), 1, "seed {seed}");
    }
}

#[test]
fn without_a_lease_the_old_token_is_all_there_is() {
    for (left, told) in [(50, "access-1"), (0, "later")] {
        let crowd = crowd(left, 5);
        crowd.leases_down.set(true);
        assert_eq!(crowd.run(callers(&crowd, 2)), [told; 2]);
        assert_eq!(requests(&crowd), 0);
    }
}
