//! What a clock that was wrong has written is believed for no longer than its kind lasts.

use super::upstreams::{behind_token, echo, legacy, modern};
use super::*;
use crate::config::{Config, Server};
use crate::memory;
use crate::seats::Seat;
use crate::session::Profile;
use crate::shelf::Shelf;
use crate::upstream::Link;
use crate::{letters, subscriptions};

const HOUR: u64 = 60 * 60;
const YEAR: u64 = 365 * 24 * HOUR;

/// Does `work` while the clock is ahead.
fn ahead<T>(world: &World, seconds: u64, work: impl FnOnce() -> T) -> T {
    world.ahead.set(seconds);
    let done = work();
    world.ahead.set(0);
    done
}

fn alice() -> Caller {
    Caller {
        subject: "alice".to_owned(),
        expires_at: None,
        sealing_key: vec![7; 32],
        hops: Default::default(),
        met: Met::default(),
    }
}

/// Two servers, `up` and `other`, whose answers are kept for `seconds`.
fn keeping(seconds: u64) -> World {
    let server = |name: &str| format!(r#""{name}":{{"url":"https://up.example/mcp","service":"{name}"}}"#);
    let file = format!(r#"{{"resolutionSeconds":{seconds},"mcpServers":{{{},{}}}}}"#, server("up"), server("other"));
    let world = World::new(&file, vec![("https://up.example/mcp", behind_token("good", modern(echo)))]);
    *world.servers.borrow_mut() = file;
    for service in ["up", "other"] {
        world.outcomes.borrow_mut().insert(service, [token("good"), token("good")].into());
    }
    world
}

fn call(world: &World, tool: &str) -> u16 {
    world.serve(Era::Modern.call("/mcp", tool)).status
}

/// A26: the answer of the broker was kept while the clock was ahead; then the clock was set right, and the key removed.
#[test]
fn a_key_that_is_removed_is_refused_when_the_clock_was_ahead() {
    for seconds in [1, 10, 300] {
        let world = keeping(seconds);
        assert_eq!(ahead(&world, HOUR, || call(&world, "up__echo")), 200);
        *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
        assert_eq!(call(&world, "up__echo"), 401, "{seconds}");
        world.pass(HOUR - 1);
        assert_eq!(call(&world, "up__echo"), 401, "nor is it known again when that hour is over: {seconds}");
    }
}

/// A26: a clock that was ahead by less than the most that anybody may set.
#[test]
fn what_is_kept_ends_after_what_is_set_and_not_after_what_could_be() {
    let world = keeping(10);
    ahead(&world, 200, || call(&world, "up__echo"));
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(call(&world, "up__echo"), 401);
}

/// A26: each time in the row counts on its own.
#[test]
fn neither_token_nor_file_of_a_clock_that_was_ahead_is_used_beside_a_newer_answer() {
    let world = keeping(10);
    ahead(&world, HOUR, || call(&world, "up__echo"));
    assert_eq!((world.asked.borrow().len(), world.reads.get()), (1, 1));
    assert_eq!(call(&world, "other__echo"), 200);
    assert_eq!((world.asked.borrow().len(), world.reads.get()), (2, 2));
    assert_eq!(call(&world, "up__echo"), 200);
    assert_eq!((world.asked.borrow().len(), world.reads.get()), (3, 2));
}

/// A26: one that was behind and jumps ahead ends what is kept, and nothing else.
#[test]
fn a_clock_that_is_set_ahead_costs_a_question_to_the_broker() {
    let world = keeping(300);
    call(&world, "up__echo");
    world.ahead.set(YEAR);
    assert_eq!(call(&world, "up__echo"), 200);
    assert_eq!(world.asked.borrow().len(), 2);
    assert_eq!(call(&world, "up__echo"), 200);
    assert_eq!(world.asked.borrow().len(), 2, "and is kept again");
}

/// A26: rows `g.u.` and `g.f.`.
#[test]
fn how_an_upstream_speaks_is_found_out_again_when_the_clock_was_ahead() {
    for (upstream, first) in [(modern(echo), "server/discover"), (legacy(echo), "initialize")] {
        let world = World::with(upstream);
        let call = || world.serve(Era::Modern.call("/mcp", "up__echo")).status;
        let describe = || world.serve(Era::Modern.request("/mcp", "server/discover", "")).status;
        ahead(&world, YEAR, || (call(), describe()));
        world.sent();
        call();
        assert!(world.methods().contains(&first.to_owned()), "{first}");
        ahead(&world, YEAR, describe);
        world.sent();
        describe();
        assert!(!world.methods().is_empty(), "{first}");
    }
}

/// A26: rows `g.l.`, whose server says for how long they are true, or not.
#[test]
fn a_list_is_asked_for_again_when_the_clock_was_ahead() {
    for upstream in [modern(echo), legacy(echo)] {
        let world = World::with(upstream);
        let list = || world.serve(Era::Modern.list("/mcp")).tool_names().len();
        let asked = || world.methods().iter().filter(|method| *method == "tools/list").count();
        list();
        assert_eq!(asked(), 1);
        list();
        assert_eq!(asked(), 0);
        world.pass(YEAR);
        ahead(&world, 2 * HOUR, list);
        assert_eq!(asked(), 1);
        list();
        assert_eq!(asked(), 1);
    }
}

/// A26: rows `g.o.`. A stream that is open keeps its seat where one is free but for a clock that was ahead.
#[test]
fn a_seat_of_a_clock_that_was_ahead_is_free() {
    let world = World::with(modern(echo));
    let take = || world.run(Seat::take(&world, &alice(), 2)).unwrap().name().0;
    assert_eq!(take(), 0);
    assert_eq!(
        ahead(&world, YEAR, || world.run(Seat::take(&world, &alice(), 2)).unwrap().name().0),
        0,
        "it has ended by then"
    );
    assert_eq!(take(), 0, "that one has not begun");
    assert_eq!(take(), 1);
}

/// A26: rows `g.h.`. All shelves are of holders that were killed.
#[test]
fn a_shelf_of_a_clock_that_was_ahead_can_be_taken() {
    let (world, alice) = (World::with(modern(echo)), alice());
    let take = || world.run(Shelf::take(&world, &alice, "held".to_owned())).is_ok();
    ahead(&world, YEAR, || (0..64).for_each(|_| assert!(take())));
    assert!(take());
}

/// A26: rows `g.w.`.
#[test]
fn a_letter_of_a_clock_that_was_ahead_is_for_nobody() {
    let (world, alice) = (World::with(modern(echo)), alice());
    ahead(&world, HOUR, || letters::post(&world, &alice, "call", "cancel"));
    assert_eq!(letters::fetch(&world, &alice, "call"), None);
    letters::post(&world, &alice, "call", "cancel");
    assert_eq!(letters::fetch(&world, &alice, "call").as_deref(), Some("cancel"));
}

/// A26: rows `g.s.`, and once more `g.u.` and `g.f.`, whose readers nothing stands before here.
#[test]
fn what_is_noted_of_an_upstream_by_a_clock_that_was_ahead_is_not_known() {
    let (world, alice) = (World::with(modern(echo)), alice());
    let file = world.servers.borrow().clone();
    let config = Config::read(&file).unwrap();
    let server: Server<'_> = config.servers().next().unwrap();
    let link = Link { server: &server, token: None, caller: &alice, profile: Profile::NONE };
    let write = || {
        subscriptions::note(&world, link, "file://watched", "file://watched", true);
        memory::keep(&world, link, &crate::upstream::Peer::Modern(Default::default()));
        memory::keep_facts(&world, link, &memory::Facts { modern: true, ..Default::default() });
    };
    let known = || {
        (
            subscriptions::noted(&world, link).len(),
            memory::recall(&world, link).is_some(),
            memory::recall_anew(&world, link).is_some(),
            memory::facts(&world, link).is_some(),
        )
    };
    ahead(&world, HOUR, write);
    assert_eq!(known(), (0, false, false, false));
    write();
    assert_eq!(known(), (1, true, true, true));
    world.ahead.set(30);
    write();
    world.ahead.set(0);
    assert_eq!(known(), (1, true, true, true), "the clocks of two hosts may differ by half a minute");
}
