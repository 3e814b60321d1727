//! Who may send a refresh token now? (rows of kind `r`)
//!
//! Requests run in instances that share nothing but a store with get, set and delete, and a provider with strict rotation
//! ends a grant whose refresh token comes twice. So there is one *lease* per connection: whoever finds none writes its
//! own nonce, waits for [`SETTLE`], and reads back; only the nonce that is still there goes on.
//!
//! **Why one only.** Say A's write is seen by all at most *d* after A looked and found no lease. Whoever else found
//! none looked before that moment, so its own write is seen at most another *d* later. By then the row is the last
//! writer's for good, and everyone reads back after that: for stores where 2 *d* is at most [`SETTLE`], exactly one nonce
//! is found again by its writer. A store that is local to the instances needs a few milliseconds. A slower one is
//! noticed: who takes *t* for looking and writing waits for 4 *t* where that is more.
//!
//! **Where that does not hold** (an instance stands still between looking and writing for longer than another one's
//! settling; a store that is replicated across regions), two instances may send the same refresh token. Next in line are the
//! look at the connection after the lease was taken, the one after `invalid_grant`, and the check of the generation
//! before a write (`refresh`).
//!
//! **How it ends.** The holder deletes it when the result is stored. A holder that dies leaves it to its end, [`LEASE`]
//! seconds after it was taken. No call of a provider outlasts it: a call ends after
//! [`CALL_LIMIT`](crate::host::CALL_LIMIT), and nobody goes on who has less than that left. Clocks of instances
//! may differ by what remains, about ten seconds.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::Broker;
use crate::host::{CALL_LIMIT, Host};
use crate::names::ConnectionId;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    holder: String,
    /// Seconds since the Unix epoch.
    until: u64,
}

impl<H: Host> Broker<'_, H> {
    /// Takes the lease of this connection; none when it is somebody else's.
    pub(super) async fn take_lease(&self, id: &ConnectionId) -> Result<Option<Lease>, RowError> {
        let started = self.host.ticks();
        if self.lease(id)?.is_some_and(|lease| lease.is_held(self.host.now())) {
            return Ok(None);
        }
        let ours =
            Lease { holder: Base64UrlUnpadded::encode_string(&self.random::<16>()), until: self.host.now() + LEASE };
        self.write(place(&id.identity()), &ours)?;
        let took = Duration::from_millis(self.host.ticks().saturating_sub(started));
        self.host.sleep((took * 4).clamp(SETTLE, LONGEST_SETTLE)).await;
        let stands = self.lease(id)?.is_some_and(|lease| lease == ours);
        Ok((stands && self.host.now() + CALL_LIMIT.as_secs() < ours.until).then_some(ours))
    }

    /// Gives the lease back. One that has run out may be another's by the time it is deleted, and is left alone.
    pub(super) fn release(&self, id: &ConnectionId, ours: &Lease) {
        let released = self.lease(id).and_then(|lease| match lease {
            Some(lease) if lease == *ours && ours.until > self.host.now() + 1 => self.erase(place(&id.identity())),
            _ => Ok(()),
        });
        if let Err(error) = released {
            self.host.log(&format!("{}: a lease could not be given back, and runs out: {error}", id.service));
        }
    }

    fn lease(&self, id: &ConnectionId) -> Result<Option<Lease>, RowError> {
        match self.read(place(&id.identity())) {
            // What cannot be opened names no holder, and must not stand in the way for ever.
            Err(RowError::Open(_) | RowError::Form) => Ok(None),
            lease => lease,
        }
    }
}

impl Lease {
    /// An end that no lease can have was written by a clock that was wrong, and is not waited for.
    fn is_held(&self, now: u64) -> bool {
        (now + 1..=now + 2 * LEASE).contains(&self.until)
    }
}

fn place<'a>(identity: &'a [&'a str]) -> Place<'a> {
    Place { kind: Kind::Lease, identity }
}

/// How long a nonce has to stand before its writer goes on: the timing assumption of this module. It is what a refresh
/// costs more than the call of the provider.
const SETTLE: Duration = Duration::from_millis(200);
const LONGEST_SETTLE: Duration = Duration::from_secs(5);
/// Seconds: the longest settling, the longest call, what is read and written around them, and ten for clocks.
const LEASE: u64 = 40;
