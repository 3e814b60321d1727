//! Bounds the streams that one person may hold open and that only listen.
//!
//! Such a stream (of `subscriptions/listen`, of a legacy GET, of HTTP+SSE) has no end of its own, and each is an instance
//! that stays. So each takes one of the subject's seats (`streams` of `servers.json`; [`SEATS`] if it does not say), which
//! are rows of the store.
//!
//! If all are taken, the newcomer waits for as long as a stream takes to notice that its client has gone: a client may leave
//! without a word, and its stream should end before one that is read. Then there are two cases:
//!
//! * Seats have changed hands meanwhile: too many streams come at once, and the newcomer is refused. Else newcomers would
//!   push out the streams that were there before, and there would be more instances than seats until each has seen that it
//!   lost its own.
//! * None has: the newcomer takes the seat that was taken first. The stream in it finds another one there and ends, and its
//!   client comes again.
//!
//! A seat that nobody gave back (its instance was killed) is free when no stream could still be there. The store has no
//! compare-and-set, so two at once may choose the same seat: the one that does not find itself there a moment later chooses
//! again.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::host::{Caller, Host};
use crate::jsonrpc;
use crate::memory::Place;
use sealing::age::is_recent;

/// The most seats of one subject.
pub const SEATS: u8 = 64;
/// The longest that a stream is open.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Longer than a write takes to be seen by others.
const SETTLES: Duration = Duration::from_millis(50);
/// Between two looks at whether the seat is taken.
const LOOK_SECONDS: u64 = 5;
const MOST_TRIES: usize = 4;
/// How long, and how often at most, a newcomer waits for a seat: longer in all than a stream takes to see that its client
/// has gone.
const WAIT: Duration = Duration::from_secs(1);
const MOST_WAITS: usize = 4;

#[derive(Serialize, Deserialize)]
struct Row {
    /// When it was taken.
    t: u64,
    /// By which stream.
    by: String,
}

pub struct Seat {
    caller: Caller,
    number: u8,
    by: String,
    looked: u64,
}

impl Seat {
    /// One of the first `seats`. `None` if too many streams come at once.
    pub async fn take<H: Host>(host: &H, caller: &Caller, seats: u8) -> Option<Self> {
        let mut random = [0; 16];
        host.random(&mut random);
        let by = Base64UrlUnpadded::encode_string(&random);
        let mut seat = Self { caller: caller.clone(), number: 0, by, looked: 0 };
        let arrived = host.now();
        let mut waits = 0;
        let mut tries = 0;
        while tries < MOST_TRIES {
            seat.number = match choose(host, caller, seats) {
                Choice::Free(number) => number,
                Choice::Full { .. } if waits < MOST_WAITS => {
                    waits += 1;
                    host.sleep(WAIT).await;
                    continue;
                }
                Choice::Full { newest, .. } if newest > arrived => return None,
                Choice::Full { oldest, .. } => oldest,
            };
            tries += 1;
            seat.looked = host.now();
            let row = Row { t: seat.looked, by: seat.by.clone() };
            place(caller, seat.number).write(host, caller, &serde_json::to_vec(&row).unwrap_or_default());
            host.sleep(SETTLES).await;
            if !seat.is_others(host) {
                break;
            }
        }
        Some(seat)
    }

    /// Returns true if another stream has it now. Looks only every now and then.
    pub fn is_lost<H: Host>(&mut self, host: &H) -> bool {
        let now = host.now();
        if now.abs_diff(self.looked) < LOOK_SECONDS {
            return false;
        }
        self.looked = now;
        self.is_others(host)
    }

    pub fn leave<H: Host>(self, host: &H) {
        if !self.is_others(host) {
            place(&self.caller, self.number).forget(host, &self.caller);
        }
    }

    /// What this stream is called, and where it sits.
    pub fn name(&self) -> (u8, &str) {
        (self.number, &self.by)
    }

    /// A row that is gone was lost, not taken.
    fn is_others<H: Host>(&self, host: &H) -> bool {
        read(host, &self.caller, self.number).is_some_and(|row| row.by != self.by)
    }
}

enum Choice {
    Free(u8),
    /// The seat that was taken first, and when the last one was taken.
    Full {
        oldest: u8,
        newest: u64,
    },
}

fn choose<H: Host>(host: &H, caller: &Caller, seats: u8) -> Choice {
    let (mut oldest, mut newest) = ((u64::MAX, 0), 0);
    for number in 0..seats {
        match read(host, caller, number) {
            Some(row) if is_recent(row.t, host.now(), LONGEST.as_secs()) => {
                oldest = oldest.min((row.t, number));
                newest = newest.max(row.t);
            }
            _ => return Choice::Free(number),
        }
    }
    Choice::Full { oldest: oldest.1, newest }
}

fn read<H: Host>(host: &H, caller: &Caller, number: u8) -> Option<Row> {
    serde_json::from_slice(&place(caller, number).read(host, caller)?).ok()
}

fn place(caller: &Caller, number: u8) -> Place {
    Place::new("o", &[&caller.subject, &number.to_string()])
}

/// The answer to a stream that gets no seat.
pub fn refusal() -> Response<Vec<u8>> {
    let message = "Too many streams of this person come at once; try again later";
    let mut response = jsonrpc::refuse(StatusCode::TOO_MANY_REQUESTS, None, message);
    response.headers_mut().insert(header::RETRY_AFTER, LOOK_SECONDS.into());
    response
}
