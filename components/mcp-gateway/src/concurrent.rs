//! Waits for many futures at once.
//!
//! The futures of one request are few and wait for the network, so all of them are polled whenever one is woken. The part
//! that does so is compiled once for all types of futures. That of `futures-util` is compiled for each type, 12 KB each.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

type Unit<'f> = Pin<Box<dyn Future<Output = ()> + 'f>>;

/// What each of `futures` gives, in their order.
pub async fn join_all<T, F: Future<Output = T>>(futures: impl IntoIterator<Item = F>) -> Vec<T> {
    let futures: Vec<F> = futures.into_iter().collect();
    let values: Vec<Cell<Option<T>>> = futures.iter().map(|_| Cell::new(None)).collect();
    let mut units: Vec<Option<Unit<'_>>> = futures
        .into_iter()
        .zip(&values)
        .map(|(future, value)| {
            let unit: Unit<'_> = Box::pin(async move { value.set(Some(future.await)) });
            Some(unit)
        })
        .collect();
    poll_fn(|context| poll_all(&mut units, context)).await;
    drop(units);
    values.into_iter().filter_map(Cell::into_inner).collect()
}

fn poll_all(units: &mut [Option<Unit<'_>>], context: &mut Context<'_>) -> Poll<()> {
    let mut is_ready = true;
    for slot in units {
        let Some(unit) = slot else { continue };
        match unit.as_mut().poll(context) {
            Poll::Ready(()) => *slot = None,
            Poll::Pending => is_ready = false,
        }
    }
    if is_ready { Poll::Ready(()) } else { Poll::Pending }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Waker;

    #[test]
    fn all_are_waited_for_at_once_and_stand_in_their_order() {
        let turns = Cell::new(0);
        let after = |wanted: u32| {
            let turns = &turns;
            async move {
                poll_fn(|_| if turns.get() >= wanted { Poll::Ready(()) } else { Poll::Pending }).await;
                wanted
            }
        };
        let mut all = pin!(join_all([2, 0, 1].map(after)));
        let mut context = Context::from_waker(Waker::noop());
        for turn in 0..2 {
            turns.set(turn);
            assert!(all.as_mut().poll(&mut context).is_pending());
        }
        turns.set(2);
        assert_eq!(all.as_mut().poll(&mut context), Poll::Ready(vec![2, 0, 1]));
    }

    #[test]
    fn none_are_ready_at_once() {
        let mut none = pin!(join_all(Vec::<std::future::Ready<u8>>::new()));
        assert_eq!(none.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(vec![]));
    }
}
