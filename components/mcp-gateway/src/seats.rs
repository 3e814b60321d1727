//! How many streams may one person hold open that only listen?
//!
//! Such a stream (of `subscriptions/listen`, of a legacy GET, of HTTP+SSE) has no end of its own, and each is an instance
//! that stays. So each takes one of the subject's seats (`streams` of `servers.json`; [`SEATS`] where it does not say), which are rows of the store. Where all are taken, the newcomer takes the one that was taken first, because clients do
//! not always say goodbye, and whoever sat there finds somebody else and ends: its client comes again. A seat that nobody
//! gave back (its instance was killed) is free when no stream could still be there. The store has no compare-and-set, so
//! two at once may choose the same seat: who does not find itself there a moment later chooses again.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::host::{Caller, Host};
use crate::memory::Place;
use sealing::age::is_recent;

/// The most seats of one subject.
pub const SEATS: u8 = 64;
/// The longest that a stream is open.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Longer than a write takes to be seen by others.
const SETTLES: Duration = Duration::from_millis(50);
/// Between two looks at whether the seat is taken.
const LOOK_SECONDS: u64 = 15;
const MOST_TRIES: usize = 4;

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
    /// One of the first `seats`.
    pub async fn take<H: Host>(host: &H, caller: &Caller, seats: u8) -> Self {
        let mut random = [0; 16];
        host.random(&mut random);
        let by = Base64UrlUnpadded::encode_string(&random);
        let mut seat = Self { caller: caller.clone(), number: 0, by, looked: 0 };
        for _ in 0..MOST_TRIES {
            seat.number = choose(host, caller, seats);
            seat.looked = host.now();
            let row = Row { t: seat.looked, by: seat.by.clone() };
            place(caller, seat.number).write(host, caller, &serde_json::to_vec(&row).unwrap_or_default());
            host.sleep(SETTLES).await;
            if !seat.is_others(host) {
                break;
            }
        }
        seat
    }

    /// Whether another stream has it now. Looks only every now and then.
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

/// The first seat that is free, or else the one that was taken first.
fn choose<H: Host>(host: &H, caller: &Caller, seats: u8) -> u8 {
    let mut oldest = (u64::MAX, 0);
    for number in 0..seats {
        match read(host, caller, number) {
            Some(row) if is_recent(row.t, host.now(), LONGEST.as_secs()) => oldest = oldest.min((row.t, number)),
            _ => return number,
        }
    }
    oldest.1
}

fn read<H: Host>(host: &H, caller: &Caller, number: u8) -> Option<Row> {
    serde_json::from_slice(&place(caller, number).read(host, caller)?).ok()
}

fn place(caller: &Caller, number: u8) -> Place {
    Place::new("o", &[&caller.subject, &number.to_string()])
}
