//! Lets a component wait for several things at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use spin_executor::CancelOnDropToken;
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::io::poll::Pollable;

/// Runs one request to its end. The only place that blocks the instance.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    spin_executor::run(future)
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    wall_clock::now().seconds
}

/// Waits for at least `duration`. The clock decides, not the timer: a new timer may say that it is not ready although its
/// time is over.
pub async fn sleep(duration: Duration) {
    let end = monotonic_clock::now().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    while monotonic_clock::now() < end {
        turn(monotonic_clock::subscribe_instant(end)).await;
    }
}

/// The result of `future`; `None` when `limit` passes first, and the future is dropped.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    // The timer is looked at only when the future has to wait.
    match select(pin!(future), pin!(sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// Waits until what `subscribe` watches is ready.
pub(crate) async fn ready(subscribe: impl Fn() -> Pollable) {
    loop {
        let pollable = subscribe();
        if pollable.ready() {
            return;
        }
        turn(pollable).await;
    }
}

/// Waits until this is woken: by `pollable`, or for another's sake, so the waiting code looks again.
///
/// Safe to drop at any time: the registration, and with it the pollable, goes before the resource that it watches,
/// which the component model would otherwise punish with a trap.
async fn turn(pollable: Pollable) {
    let mut pollable = Some(pollable);
    let mut registration: Option<CancelOnDropToken> = None;
    poll_fn(|context| match pollable.take() {
        Some(pollable) => {
            let token = spin_executor::push_waker_and_get_token(pollable, context.waker().clone());
            registration = Some(token.into());
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
    drop(registration);
}
