//! Reads the body of a request within a limit of bytes and a limit of time.
//!
//! Neither Spin nor this project's test host has a deadline of its own, and each request that waits for its body holds an
//! instance. So a reader decides by the head first whether the body is wanted at all.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use thiserror::Error;

/// The time that a body may take. It does not start again with each byte.
pub const BODY_DEADLINE: Duration = Duration::from_secs(12);
/// So many bytes that have come give the rest one more second: a long body over a slow line is no attack.
const BYTES_PER_SECOND: usize = 64 * 1024;

/// The reason why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is longer than the limit.
    #[error("the request body is longer than {0} bytes")]
    TooLarge(usize),
    /// It did not come within [`BODY_DEADLINE`].
    #[error("the request body did not come in time")]
    TimedOut,
    /// The client went away, or sent something that is not HTTP.
    #[error("the request could not be read")]
    Broken,
}

/// Bytes that arrive piece by piece.
pub trait Pieces {
    /// The next piece; `None` at the end. May be dropped while it waits.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, ReadError>>;
}

/// A body that was not asked for yet. If it is dropped, it is never read.
pub struct Unread<P> {
    source: P,
    announced: Option<u64>,
    bytes: Vec<u8>,
}

impl<P: Pieces> Unread<P> {
    /// The body that comes from `source`, of `announced` bytes if the head says so.
    pub fn new(source: P, announced: Option<u64>) -> Self {
        Self { source, announced, bytes: Vec::new() }
    }

    /// Returns true if the head says that it is longer than `limit`.
    pub fn is_announced_over(&self, limit: usize) -> bool {
        self.announced.is_some_and(|length| length > limit as u64)
    }

    /// Reads to the end. What is longer than `limit` can be read on with a higher limit, and is not read at all if the head
    /// says that it is. Memory is taken for what comes, not for what is announced.
    pub async fn read<T: Future<Output = ()>>(
        &mut self,
        limit: usize,
        sleep: impl Fn(Duration) -> T,
    ) -> Result<Vec<u8>, ReadError> {
        if self.is_announced_over(limit) {
            return Err(ReadError::TooLarge(limit));
        }
        let before = self.bytes.len();
        let (mut patience, mut granted) = (BODY_DEADLINE, 0);
        loop {
            // The timer is looked at only when the body has to be waited for.
            let read = match select(pin!(self.collect(limit)), pin!(sleep(patience))).await {
                Either::Left((read, _)) => Some(read),
                Either::Right(_) => None,
            };
            if let Some(read) = read {
                return read.map(|()| std::mem::take(&mut self.bytes));
            }
            let earned = (self.bytes.len() - before) / BYTES_PER_SECOND;
            if earned == granted {
                return Err(ReadError::TimedOut);
            }
            patience = Duration::from_secs((earned - granted) as u64);
            granted = earned;
        }
    }

    async fn collect(&mut self, limit: usize) -> Result<(), ReadError> {
        while self.bytes.len() <= limit {
            match self.source.piece().await? {
                None => return Ok(()),
                Some(piece) if self.bytes.is_empty() => self.bytes = piece,
                Some(piece) => self.bytes.extend_from_slice(&piece),
            }
        }
        Err(ReadError::TooLarge(limit))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LIMIT: usize = 4 * 1024 * 1024;

    /// A clock that goes on only when everything waits.
    #[derive(Default)]
    struct Clock {
        now: Cell<Duration>,
        next: Cell<Option<Duration>>,
    }

    impl Clock {
        async fn sleep(&self, duration: Duration) {
            let end = self.now.get() + duration;
            poll_fn(|_| {
                if self.now.get() >= end {
                    return Poll::Ready(());
                }
                self.next.set(Some(self.next.get().map_or(end, |next| next.min(end))));
                Poll::Pending
            })
            .await;
        }

        fn run<T>(&self, future: impl Future<Output = T>) -> T {
            let mut future = pin!(future);
            loop {
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    return value;
                }
                self.now.set(self.next.take().expect("everything waits and nothing would wake it"));
            }
        }
    }

    /// So many pieces of so many bytes, each after a pause, and then the end, or silence.
    struct Client {
        clock: Rc<Clock>,
        pieces: usize,
        length: usize,
        pause: Duration,
        ends: bool,
        due: Option<Duration>,
        asked: Rc<Cell<usize>>,
    }

    impl Client {
        fn new(pieces: usize, length: usize, pause: Duration, ends: bool) -> Self {
            Self { clock: Rc::default(), pieces, length, pause, ends, due: None, asked: Rc::default() }
        }

        /// The result of reading its body, and the time that took.
        fn send(self, announced: Option<u64>) -> (Result<usize, ReadError>, Duration) {
            let clock = self.clock.clone();
            let mut unread = Unread::new(self, announced);
            let read = clock.run(unread.read(LIMIT, |duration| clock.sleep(duration)));
            (read.map(|bytes| bytes.len()), clock.now.get())
        }
    }

    impl Pieces for Client {
        async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
            self.asked.set(self.asked.get() + 1);
            if self.pieces == 0 {
                return if self.ends { Ok(None) } else { std::future::pending().await };
            }
            // From when it was first asked for, however often the reader gives up waiting.
            let due = *self.due.get_or_insert(self.clock.now.get() + self.pause);
            self.clock.sleep(due.saturating_sub(self.clock.now.get())).await;
            self.due = None;
            self.pieces -= 1;
            Ok(Some(vec![b'x'; self.length]))
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// A02: silence after one byte, and after none.
    #[test]
    fn a_body_that_does_not_come_is_given_up() {
        for pieces in [0, 1] {
            let (read, took) = Client::new(pieces, 1, Duration::ZERO, false).send(Some(10));
            assert_eq!((read, took), (Err(ReadError::TimedOut), BODY_DEADLINE));
        }
    }

    /// A02: the deadline is that of the whole body, and pieces in between do not move it.
    #[test]
    fn a_byte_every_nine_seconds_prolongs_nothing() {
        for (length, pause) in [(1, 9 * SECOND), (1, SECOND), (5000, SECOND)] {
            let (read, took) = Client::new(usize::MAX, length, pause, false).send(None);
            assert_eq!(read, Err(ReadError::TimedOut), "{length} bytes every {pause:?}");
            assert!(took < 15 * SECOND, "{length} bytes every {pause:?}: {took:?}");
        }
    }

    #[test]
    fn a_long_body_over_a_slow_line_is_read() {
        let (read, took) = Client::new(40, 100 * 1024, SECOND, true).send(None);
        assert_eq!((read, took), (Ok(40 * 100 * 1024), 40 * SECOND));
        // It may stop nowhere on the way for longer than what it has earned.
        let (read, took) = Client::new(20, 100 * 1024, Duration::ZERO, false).send(None);
        assert_eq!((read, took), (Err(ReadError::TimedOut), BODY_DEADLINE + 31 * SECOND));
    }

    /// A02: without end, or longer than it says.
    #[test]
    fn a_body_over_the_limit_is_not_read_on() {
        let client = Client::new(usize::MAX, 1024, Duration::ZERO, false);
        let asked = client.asked.clone();
        assert_eq!(client.send(None).0, Err(ReadError::TooLarge(LIMIT)));
        assert_eq!(asked.get(), LIMIT / 1024 + 1);

        let client = Client::new(1, 1, Duration::ZERO, true);
        let asked = client.asked.clone();
        assert_eq!(client.send(Some(LIMIT as u64 + 1)).0, Err(ReadError::TooLarge(LIMIT)));
        assert_eq!(asked.get(), 0);
        assert_eq!(Client::new(LIMIT / 1024, 1024, Duration::ZERO, true).send(None).0, Ok(LIMIT));
    }

    #[test]
    fn what_is_over_one_limit_is_read_on_with_a_higher_one() {
        let client = Client::new(100, 1000, Duration::ZERO, true);
        let clock = client.clock.clone();
        let mut unread = Unread::new(client, None);
        let sleep = |duration| clock.sleep(duration);
        assert_eq!(clock.run(unread.read(64 * 1024, sleep)), Err(ReadError::TooLarge(64 * 1024)));
        assert_eq!(clock.run(unread.read(LIMIT, sleep)).map(|bytes| bytes.len()), Ok(100_000));
    }
}
