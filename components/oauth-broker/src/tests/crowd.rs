//! Many requests at once, each as in an instance of its own: on one store whose writes are seen late, at one provider that
//! ends a grant whose refresh token comes twice.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};

use super::*;
use crate::host::{Host, StoreFault};

/// Time passes only in [`Crowd::run`], which polls in the order of its dice.
pub struct Crowd {
    pub world: World,
    /// The longest time until a write is seen, in milliseconds.
    pub lag: u64,
    /// The longest time that the provider takes, in milliseconds.
    pub thinks: u64,
    /// How long each of its answers takes, in milliseconds. `None` for the time of [`Crowd::thinks`].
    pub answers_after: Option<u64>,
    /// The number in the one refresh token that the provider takes: `refresh-{n}`. `None` if it has ended the grant.
    pub takes: Cell<Option<u64>>,
    /// What the provider says to each request, for a while, instead of looking at the token.
    pub says: Cell<Option<u16>>,
    /// The store does not answer for leases.
    pub leases_down: Cell<bool>,
    /// The store takes leases and nothing else.
    pub only_leases: Cell<bool>,
    /// By how many seconds the clocks are ahead by now.
    pub ahead: Cell<u64>,
    /// Writes on their way: when they are seen, the key, the value.
    late: RefCell<Vec<Late>>,
    dice: Cell<u64>,
}

type Late = (u64, String, Option<Vec<u8>>);
pub type Caller<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Crowd {
    /// The connection of `world` holds `refresh-1`.
    pub fn new(world: World, seed: u64) -> Self {
        Self {
            world,
            lag: 0,
            thinks: 300,
            answers_after: None,
            takes: Cell::new(Some(1)),
            says: Cell::new(None),
            leases_down: Cell::new(false),
            only_leases: Cell::new(false),
            ahead: Cell::new(0),
            late: RefCell::default(),
            dice: Cell::new(seed),
        }
    }

    /// Polls all to their ends.
    pub fn run<T>(&self, callers: Vec<Caller<'_, T>>) -> Vec<T> {
        let mut callers: Vec<_> = callers.into_iter().map(Some).collect();
        let mut told: Vec<Option<T>> = callers.iter().map(|_| None).collect();
        let end = self.ticks() + 120_000;
        while callers.iter().any(Option::is_some) {
            assert!(self.ticks() < end, "somebody waits for ever");
            let next = self.roll(callers.len() as u64) as usize;
            if let Some(caller) = &mut callers[next]
                && let Poll::Ready(value) = caller.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                told[next] = Some(value);
                callers[next] = None;
            }
            if self.roll(2) == 0 {
                self.world.clock.set(self.ticks() + self.roll(30));
            }
        }
        told.into_iter().flatten().collect()
    }

    /// Lets every write be seen.
    pub fn settle(&self) {
        self.world.clock.set(self.ticks() + self.lag);
        self.arrive();
    }

    /// Polls `caller` until there is a row more.
    pub fn until_it_writes<T>(&self, caller: &mut Caller<'_, T>) {
        let before = self.world.store.borrow().len();
        while self.world.store.borrow().len() == before {
            assert!(caller.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    }

    /// Polls `caller` until it has asked the provider.
    pub fn until_it_asks<T>(&self, caller: &mut Caller<'_, T>) {
        while self.world.sent.borrow().is_empty() {
            assert!(caller.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            self.world.clock.set(self.ticks() + 10);
        }
    }

    /// Polls `caller` until there is a row more, and then its instance is gone.
    pub fn dies<T>(&self, mut caller: Caller<'_, T>) {
        self.until_it_writes(&mut caller);
    }

    /// Below `limit`.
    fn roll(&self, limit: u64) -> u64 {
        let next = self.dice.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice.set(next);
        (next >> 33) % limit
    }

    fn write(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), StoreFault> {
        let down = if key.starts_with("b.r.") { &self.leases_down } else { &self.only_leases };
        if down.get() {
            return Err(StoreFault);
        }
        let seen = self.ticks() + self.roll(self.lag + 1);
        self.late.borrow_mut().push((seen, key.to_owned(), value));
        self.arrive();
        Ok(())
    }

    /// Lets the writes be seen whose time has come.
    fn arrive(&self) {
        let mut late = self.late.borrow_mut();
        late.sort_by_key(|(seen, ..)| *seen);
        let arrived = late.partition_point(|(seen, ..)| *seen <= self.ticks());
        for (_, key, value) in late.drain(..arrived) {
            match value {
                Some(value) => self.world.store.borrow_mut().insert(key, value),
                None => self.world.store.borrow_mut().remove(&key),
            };
        }
    }

    fn take(&self, refresh_token: &str) -> Answer {
        if let Some(status) = self.says.get() {
            return Ok(Response::builder().status(status).body(Vec::new()).unwrap());
        }
        let held = self.takes.get().filter(|held| refresh_token == format!("refresh-{held}"));
        self.takes.set(held.map(|held| held + 1));
        let (status, body) = match self.takes.get() {
            Some(next) => (200, grant(&format!("access-{next}"), 3600, &format!("refresh-{next}"))),
            None => (400, serde_json::json!({ "error": "invalid_grant" })),
        };
        let response = Response::builder().status(status).header("content-type", "application/json");
        Ok(response.body(body.to_string().into_bytes()).unwrap())
    }
}

impl Host for Crowd {
    fn setting(&self, name: &str) -> Option<String> {
        self.world.setting(name)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        if self.leases_down.get() && key.starts_with("b.r.") {
            return Err(StoreFault);
        }
        self.arrive();
        Host::get(&self.world, key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.write(key, Some(value.to_vec()))
    }

    fn delete(&self, key: &str) -> Result<(), StoreFault> {
        self.write(key, None)
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let is_revocation = request.uri().path() == "/revoke";
        let form: std::collections::BTreeMap<String, String> =
            url::form_urlencoded::parse(request.body()).into_owned().collect();
        self.world.sent.borrow_mut().push(request);
        let (before, after) = match self.answers_after {
            Some(all) => (all / 2, all - all / 2),
            None => (self.roll(self.thinks), self.roll(self.thinks)),
        };
        self.sleep(Duration::from_millis(before)).await;
        let answer = match is_revocation {
            true => Ok(Response::new(b"{}".to_vec())),
            false => self.take(&form["refresh_token"]),
        };
        self.sleep(Duration::from_millis(after)).await;
        answer
    }

    fn hops(&self) -> &Cell<http_auth::Hops> {
        self.world.hops()
    }

    fn now(&self) -> u64 {
        self.world.now() + self.ahead.get()
    }

    fn ticks(&self) -> u64 {
        self.world.ticks()
    }

    async fn sleep(&self, duration: Duration) {
        let end = self.ticks() + duration.as_millis() as u64;
        poll_fn(|_| if self.ticks() >= end { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn random(&self, bytes: &mut [u8]) {
        self.world.random(bytes);
    }

    fn log(&self, line: &str) {
        self.world.log(line);
    }
}
