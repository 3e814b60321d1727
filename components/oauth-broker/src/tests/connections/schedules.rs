//! Every order in which the steps of a few instances can happen, with an instance that dies at every one of them.
//!
//! The code is the real one. Each instance is a thread that stops before each step that others can see: a read or write of
//! the connection, its lease or its revocation, the provider's work, the way of its answer, the end of a sleep. A
//! search goes through all orders of these steps; where it comes to a state that it knows, it turns back. The clock
//! stands still while anybody can go on (that is the timing assumption), except for so many ticks as a test allows.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use http::{Request, Response};

use super::*;
use crate::broker::Broker;
use crate::connections::Status;
use crate::connections::row::State;
use crate::host::{Host, StoreFault};
use crate::vault::{RowId, RowKind};

/// What an instance does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Asks,
    /// After so many milliseconds.
    Disconnects(u64),
}

/// What is searched.
#[derive(Clone, Copy)]
struct Search {
    instances: &'static [Does],
    /// Instances that may die.
    deaths: u8,
    /// How often the clock may go on by [`TICK`] though somebody could.
    ticks: u8,
    /// True if the provider takes the last refresh token too.
    grace: bool,
}

#[derive(Clone, Default)]
struct Model {
    store: BTreeMap<String, Vec<u8>>,
    clock: u64,
    provider: Provider,
    instances: Vec<Instance>,
    /// Whose turn it is.
    turn: Option<usize>,
    deaths: u8,
    ticks: u8,
}

#[derive(Clone, Default, Hash)]
struct Provider {
    /// The number in its newest refresh token.
    newest: u64,
    has_ended: bool,
    grace: bool,
    revoked: Option<u64>,
    in_flight: u8,
    most_in_flight: u8,
    requests: u8,
    /// True if an answer with tokens was lost with its instance.
    lost: bool,
}

#[derive(Clone)]
struct Instance {
    phase: Phase,
    /// All that it has seen.
    history: DefaultHasher,
    dice: u64,
    /// True if a tick passed it over.
    is_late: bool,
    /// True while the provider works for it.
    is_in_flight: bool,
    /// True if it has tokens that no other instance has.
    has_tokens: bool,
}

#[derive(Clone, Copy, PartialEq, Hash)]
enum Phase {
    /// Its thread is not there yet.
    Begins,
    Ready,
    Sleeps(u64),
    Done,
    Dead,
}

struct Stage {
    model: Mutex<Model>,
    changed: Condvar,
    settings: BTreeMap<String, String>,
    shared: [String; 2],
}

/// One instance's view of the stage. `None` for an observer outside of it.
struct Actor<'s> {
    stage: &'s Stage,
    number: Option<usize>,
    alone: Cell<u64>,
    hops: Cell<http_auth::Hops>,
    log: RefCell<Vec<String>>,
}

/// Milliseconds: the longest that a step may take, where the timing assumption is to hold.
const TICK: u64 = 99;

/// Milliseconds that the provider takes for its answer.
const THINKS: u64 = 300;

/// Thrown where an instance dies.
struct Death;

impl Stage {
    fn new(world: &World, search: Search) -> Self {
        let id = owners("forge");
        let lease = ["c", "owner", "forge", ""];
        let place = |kind, identity: &[&str]| RowId { kind, identity }.key();
        let instance = |number: usize| Instance {
            phase: Phase::Begins,
            history: DefaultHasher::new(),
            dice: number as u64 + 1,
            is_late: false,
            is_in_flight: false,
            has_tokens: false,
        };
        let model = Model {
            store: world.dump(),
            clock: world.clock.get(),
            provider: Provider { newest: 1, grace: search.grace, ..Provider::default() },
            instances: (0..search.instances.len()).map(instance).collect(),
            turn: None,
            deaths: search.deaths,
            ticks: search.ticks,
        };
        Self {
            model: Mutex::new(model),
            changed: Condvar::new(),
            settings: world.settings.borrow().clone(),
            shared: [place(RowKind::Connection, &id.identity()), place(RowKind::Lease, &lease)],
        }
    }

    fn actor(&self, number: Option<usize>) -> Actor<'_> {
        Actor { stage: self, number, alone: Cell::new(1000), hops: Cell::default(), log: RefCell::default() }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// One order of steps, by the choices made so far; adds the first of each further choice. `None` if it came to a state
    /// that is known.
    fn play(&self, search: Search, choices: &mut Vec<(usize, usize)>, known: &mut HashSet<u64>) -> Option<Vec<String>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..search.instances.len())
                .map(|number| scope.spawn(move || self.actor(Some(number)).act(search.instances[number])))
                .collect();
            let ended = self.direct(choices, known);
            let told = threads.into_iter().map(|thread| thread.join().unwrap());
            let told: Vec<_> = told.collect();
            ended.then_some(told)
        })
    }

    fn direct(&self, choices: &mut Vec<(usize, usize)>, known: &mut HashSet<u64>) -> bool {
        let (mut generation, mut seen) = (0, None);
        for step in 0.. {
            let busy = |model: &mut Model| {
                model.turn.is_some() || model.instances.iter().any(|one| one.phase == Phase::Begins)
            };
            let mut model = self.changed.wait_while(self.model(), busy).unwrap();
            let row = model.store.get(&self.shared[0]).cloned();
            if row != seen && row.is_some() {
                drop(model);
                seen = row;
                let now =
                    Broker::new(&self.actor(None)).connections().get(&owners("forge")).unwrap().unwrap().generation;
                assert!(now >= generation, "a newer generation is overwritten");
                generation = now;
                model = self.model();
            }
            model.wake();
            let mut moves = model.moves();
            while moves.is_empty() && model.instances.iter().any(|one| matches!(one.phase, Phase::Sleeps(_))) {
                model.pass_to_next();
                moves = model.moves();
            }
            if moves.is_empty() {
                return true;
            }
            if step == choices.len() {
                if !known.insert(model.digest()) {
                    model.instances.iter_mut().for_each(|one| one.phase = Phase::Dead);
                    model.turn = Some(usize::MAX);
                    self.changed.notify_all();
                    return false;
                }
                choices.push((0, moves.len()));
            }
            match moves[choices[step].0] {
                Move::Step(number) => {
                    model.instances[number].is_late = false;
                    model.turn = Some(number);
                }
                Move::Die(number) => {
                    model.deaths -= 1;
                    model.instances[number].phase = Phase::Dead;
                    let one = model.instances[number].clone();
                    model.provider.in_flight -= u8::from(one.is_in_flight);
                    model.provider.lost |= one.has_tokens;
                }
                Move::Tick => {
                    model.ticks -= 1;
                    model.clock += TICK;
                    for one in model.instances.iter_mut().filter(|one| one.phase == Phase::Ready) {
                        one.is_late = true;
                    }
                }
            }
            self.changed.notify_all();
        }
        true
    }
}

enum Move {
    Step(usize),
    Die(usize),
    Tick,
}

impl Model {
    fn wake(&mut self) {
        let now = self.clock;
        for one in &mut self.instances {
            if matches!(one.phase, Phase::Sleeps(end) if end <= now) {
                one.phase = Phase::Ready;
            }
        }
    }

    fn pass_to_next(&mut self) {
        let ends = self.instances.iter().filter_map(|one| match one.phase {
            Phase::Sleeps(end) => Some(end),
            _ => None,
        });
        self.clock = ends.min().unwrap();
        self.wake();
    }

    fn moves(&self) -> Vec<Move> {
        let ready = || (0..self.instances.len()).filter(|number| self.instances[*number].phase == Phase::Ready);
        let mut moves: Vec<Move> = ready().map(Move::Step).collect();
        if self.deaths > 0 {
            moves.extend(ready().map(Move::Die));
        }
        let is_in_time = ready().all(|number| !self.instances[number].is_late);
        if self.ticks > 0 && !moves.is_empty() && is_in_time {
            moves.push(Move::Tick);
        }
        moves
    }

    fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        (&self.store, self.clock, &self.provider, self.deaths, self.ticks).hash(&mut digest);
        for one in &self.instances {
            (one.phase, one.is_late, one.is_in_flight, one.has_tokens).hash(&mut digest);
            if !matches!(one.phase, Phase::Dead) {
                one.history.finish().hash(&mut digest);
            }
        }
        digest.finish()
    }
}

impl Provider {
    fn honours(&self, number: u64) -> bool {
        !self.has_ended && (number == self.newest || self.grace && number + 1 == self.newest)
    }

    fn refresh(&mut self, number: u64) -> Answer {
        self.has_ended |= !self.honours(number);
        let (status, body) = if self.has_ended {
            (400, serde_json::json!({ "error": "invalid_grant" }))
        } else {
            self.newest += 1;
            (200, grant(&format!("access-{}", self.newest), 3600, &format!("refresh-{}", self.newest)))
        };
        let response = Response::builder().status(status).header("content-type", "application/json");
        Ok(response.body(body.to_string().into_bytes()).unwrap())
    }
}

impl Actor<'_> {
    fn act(&self, does: Does) -> String {
        let told = catch_unwind(AssertUnwindSafe(|| {
            drop(self.stop());
            match does {
                Does::Asks => self.ask(),
                Does::Disconnects(delay) => {
                    run(self.sleep(Duration::from_millis(delay)));
                    format!("{:?}", run(Broker::new(self).connections().disconnect(&owners("forge"))).unwrap())
                }
            }
        }));
        let mut model = self.stage.model();
        let number = self.number.unwrap();
        if told.is_ok() {
            model.instances[number].phase = Phase::Done;
            model.turn = None;
            self.stage.changed.notify_all();
        }
        drop(model);
        match told {
            Ok(told) => told,
            Err(death) if death.is::<Death>() => "died".to_owned(),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn ask(&self) -> String {
        match run(Broker::new(self).connections().status(&owners("forge"), None, &[])).unwrap() {
            Status::Token(connection) => connection.access_token.reveal().to_owned(),
            Status::NeedsReconnect { .. } => "reconnect".to_owned(),
            Status::NotConnected => "not connected".to_owned(),
            Status::RetryAfter(_) => "later".to_owned(),
            Status::UnknownService => "unknown".to_owned(),
        }
    }

    /// Waits until it is this one's turn to take a step.
    fn stop(&self) -> MutexGuard<'_, Model> {
        self.stop_as(Phase::Ready)
    }

    fn stop_as(&self, phase: Phase) -> MutexGuard<'_, Model> {
        let mut model = self.stage.model();
        let Some(number) = self.number else {
            if let Phase::Sleeps(end) = phase {
                model.clock = end;
            }
            return model;
        };
        if model.instances[number].phase != Phase::Dead {
            model.instances[number].phase = phase;
        }
        if model.turn == Some(number) {
            model.turn = None;
        }
        self.stage.changed.notify_all();
        let waits =
            |model: &mut Model| model.turn != Some(number) && !matches!(model.instances[number].phase, Phase::Dead);
        let mut model = self.stage.changed.wait_while(model, waits).unwrap();
        if model.instances[number].phase == Phase::Dead {
            drop(model);
            resume_unwind(Box::new(Death));
        }
        self.saw(&mut model, "step");
        model
    }

    /// A look at the store: a step if others can change what is there.
    fn at(&self, key: &str) -> MutexGuard<'_, Model> {
        if self.stage.shared.iter().any(|shared| shared == key) || key.starts_with("b.q.") {
            return self.stop();
        }
        self.stage.model()
    }

    fn saw(&self, model: &mut Model, what: impl Hash) {
        if let Some(number) = self.number {
            what.hash(&mut model.instances[number].history);
        }
    }
}

impl Host for Actor<'_> {
    fn setting(&self, name: &str) -> Option<String> {
        self.stage.settings.get(name).cloned()
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        let mut model = self.at(key);
        let row = model.store.get(key).cloned();
        self.saw(&mut model, ("get", &row));
        // It has stored them, and looks whether somebody has erased them meanwhile.
        if let Some(number) = self.number.filter(|_| key.starts_with("b.q.") && row.is_none()) {
            model.instances[number].has_tokens = false;
        }
        Ok(row)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFault> {
        let mut model = self.at(key);
        self.saw(&mut model, "set");
        if let Some(number) = self.number.filter(|_| key.starts_with("b.q.")) {
            model.instances[number].has_tokens = false;
        }
        model.store.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreFault> {
        let mut model = self.at(key);
        self.saw(&mut model, "delete");
        model.store.remove(key);
        Ok(())
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(request.body()).into_owned().collect();
        let spent = form.get("refresh_token").or(form.get("token")).unwrap();
        let spent: u64 = spent.trim_start_matches("refresh-").parse().unwrap();
        let mut model = self.stop();
        let is_revocation = request.uri().path() == "/revoke";
        let provider = &mut model.provider;
        let answer = if is_revocation {
            provider.revoked = Some(spent);
            provider.has_ended |= spent == provider.newest;
            Ok(Response::new(b"{}".to_vec()))
        } else {
            provider.in_flight += 1;
            provider.most_in_flight = provider.most_in_flight.max(provider.in_flight);
            provider.requests += 1;
            provider.refresh(spent)
        };
        if let Some(number) = self.number {
            model.instances[number].is_in_flight = !is_revocation;
            model.instances[number].has_tokens =
                !is_revocation && answer.as_ref().is_ok_and(|said| said.status() == 200);
        }
        let end = model.clock + THINKS;
        drop(model);
        let mut model = self.stop_as(Phase::Sleeps(end));
        if !is_revocation {
            model.provider.in_flight -= 1;
        }
        if let Some(number) = self.number {
            model.instances[number].is_in_flight = false;
        }
        let body = answer.as_ref().map(|answer| answer.body().clone()).ok();
        self.saw(&mut model, ("answer", body));
        answer
    }

    fn hops(&self) -> &Cell<http_auth::Hops> {
        &self.hops
    }

    fn now(&self) -> u64 {
        self.ticks() / 1000
    }

    fn ticks(&self) -> u64 {
        let mut model = self.stage.model();
        let clock = model.clock;
        self.saw(&mut model, clock);
        clock
    }

    async fn sleep(&self, duration: Duration) {
        let end = self.ticks() + duration.as_millis() as u64;
        drop(self.stop_as(Phase::Sleeps(end)));
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut model = self.stage.model();
        for byte in bytes {
            let mut dice = self.alone.get();
            if let Some(number) = self.number {
                dice = model.instances[number].dice;
            }
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match self.number {
                Some(number) => model.instances[number].dice = dice,
                None => self.alone.set(dice),
            }
            *byte = (dice >> 56) as u8;
        }
    }

    fn log(&self, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }
}

/// The result of a whole search.
#[derive(Debug, Default)]
struct Found {
    orders: usize,
    most_in_flight: u8,
    has_lost_a_grant: bool,
}

/// Goes through all orders, and looks at the end of each.
fn search(search: Search, mut look: impl FnMut(&Stage, &[String])) -> Found {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    world.pass(3600);
    let (mut known, mut choices, mut found) = (HashSet::new(), Vec::new(), Found::default());
    loop {
        let stage = Stage::new(&world, search);
        if let Some(told) = stage.play(search, &mut choices, &mut known) {
            look(&stage, &told);
        }
        let provider = stage.model().provider.clone();
        found.orders += 1;
        found.most_in_flight = found.most_in_flight.max(provider.most_in_flight);
        found.has_lost_a_grant |= provider.has_ended;
        while choices.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            choices.pop();
        }
        let Some((choice, _)) = choices.last_mut() else { return found };
        *choice += 1;
    }
}

/// What the next caller is told a minute later, and the state of the connection then.
fn afterwards(stage: &Stage) -> (String, Option<State>) {
    stage.model().clock += 60_000;
    let somebody = stage.actor(None);
    let told = somebody.ask();
    let connection = Broker::new(&somebody).connections().get(&owners("forge")).unwrap();
    (told, connection.map(|connection| connection.state))
}

/// Returns true if the provider would take the stored refresh token.
fn is_honoured(stage: &Stage) -> bool {
    let connection = Broker::new(&stage.actor(None)).connections().get(&owners("forge")).unwrap().unwrap();
    let stored = connection.refresh_token.unwrap();
    stage.model().provider.honours(stored.reveal().trim_start_matches("refresh-").parse().unwrap())
}

fn asks_and_dies(search_for: Search) -> Found {
    search(search_for, |stage, told| {
        let honoured = is_honoured(stage);
        let before = stage.model().provider.clone();
        assert!(honoured || before.lost, "a grant is lost though nobody died with its tokens");
        assert!(before.lost || !told.contains(&"reconnect".to_owned()), "{told:?}");
        let (next, state) = afterwards(stage);
        if honoured {
            assert!(next.starts_with("access-"), "{next} after {told:?}");
            assert_eq!(state, Some(State::Active));
        } else {
            assert_eq!(next, "reconnect");
            assert_eq!(state, Some(State::NeedsReconnect { reason: "refresh_interrupted".to_owned() }));
            let requests = stage.model().provider.requests;
            assert_eq!(afterwards(stage).0, "reconnect");
            assert_eq!(stage.model().provider.requests, requests, "no loop");
        }
    })
}

/// Items 20, 21, 25 and 26: two instances; one may die at any step.
#[test]
fn no_order_of_two_instances_loses_a_grant_that_the_provider_still_honours() {
    for grace in [false, true] {
        let instances = &[Does::Asks, Does::Asks];
        let found = asks_and_dies(Search { instances, deaths: 1, ticks: 0, grace });
        assert_eq!((found.most_in_flight, found.has_lost_a_grant), (1, !grace));
        assert!(found.orders > 100, "{found:?}");
    }
}

/// Items 20 and 21: the same with steps that are as late as is assumed.
#[test]
fn no_order_of_steps_that_are_in_time_sends_a_token_twice() {
    asks_once(&[Does::Asks; 2], 1);
}

/// The same with more of them.
#[test]
#[ignore = "takes a minute"]
fn nor_does_any_of_more_steps_or_instances() {
    asks_once(&[Does::Asks; 2], 2);
    asks_once(&[Does::Asks; 3], 0);
}

fn asks_once(instances: &'static [Does], ticks: u8) {
    let found = search(Search { instances, deaths: 0, ticks, grace: false }, |stage, told| {
        assert!(told.iter().all(|told| told == "access-2"), "{told:?}");
        assert_eq!(stage.model().provider.requests, 1);
    });
    assert!(found.orders > 100, "{found:?}");
}

/// Item 37: a refresh and a disconnect in every order; one may die at any step. Once somebody has looked at the
/// list, the connection is either as it was or gone, and gone means revoked with its newest token.
#[test]
fn no_order_of_a_refresh_and_a_disconnect_leaves_tokens_behind() {
    // Before the refresh has the lease, when the provider is asked, and when its answer comes.
    ends_all(&[Does::Asks, Does::Disconnects(0)]);
    ends_all(&[Does::Asks, Does::Disconnects(200)]);
    ends_all(&[Does::Asks, Does::Disconnects(500)]);
}

fn ends_all(instances: &'static [Does]) {
    let found = search(Search { instances, deaths: 1, ticks: 0, grace: false }, |stage, told| {
        let somebody = stage.actor(None);
        for _ in 0..2 {
            stage.model().clock += 61_000;
            run(Broker::new(&somebody).connections().retry_revocations(&owners("forge").subject)).unwrap();
        }
        let next = somebody.ask();
        let model = stage.model();
        if next == "not connected" {
            let is_revoked = model.provider.revoked == Some(model.provider.newest);
            assert!(is_revoked || model.provider.lost, "{told:?}");
            assert!(!model.store.keys().any(|key| ["b.c.", "b.q.", "b.i."].iter().any(|kind| key.starts_with(kind))));
        } else {
            assert_eq!(told[1], "died", "served after it was disconnected: {told:?}");
            assert_eq!(model.provider.revoked, None);
        }
    });
    assert!(found.orders > 100, "{found:?}");
}
