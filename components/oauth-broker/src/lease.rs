//! Lets one instance at a time change a row, and records an interrupted refresh (rows of kind `r`).
//!
//! Requests run in instances that share nothing but a store with get, set and delete, and a provider with strict rotation
//! ends a grant whose refresh token comes twice. So there is one *lease* for each row that is changed by reading it
//! first. An instance that finds no lease writes its own nonce, waits for [`SETTLE`], and reads back. It goes on only if its
//! nonce is still there.
//!
//! **Why one only.** Say A's write is seen by all at most *d* after A looked and found no lease. Another instance that found
//! none looked before that moment, so its own write is seen at most another *d* later. By then the row is the last
//! writer's for good, and everyone reads back after that: for stores where 2 *d* is at most [`SETTLE`], exactly one nonce
//! is found again by its writer. A store that is local to the instances needs a few milliseconds. A slower one is
//! noticed: an instance that takes *t* for looking and writing waits for 4 *t* where that is more.
//!
//! **The mark.** The lease of a refresh names the grant and the generation that it spends, and is written before the
//! provider is asked: it is the write-ahead mark. If an instance is about to spend the same generation and finds a lease that
//! has ended but was not given back, it knows that a refresh was interrupted: the provider may have spent the refresh token,
//! and its answer is lost. The rotation is then *in doubt*. A holder whose own answer was lost (no answer in time, a broken
//! one, a server error) ends its lease but leaves it there, for the same reason. [`crate::connections::refresh`] decides what
//! follows from doubt.
//!
//! **How it ends.** The holder deletes it when its work is stored. The lease of a holder that dies ends [`LEASE`] seconds after
//! it was taken. A holder does not go on if less time is left than the longest call of a provider ([`CALL_LIMIT`]) and
//! [`MARGIN`], which is for the write that follows and for clocks that differ. So with clocks less than ten seconds apart, no
//! instance believes that a lease has ended while its holder still waits for an answer.
//!
//! **Where that does not hold** (a store whose writes are seen later than assumed; an instance that stands still, for
//! longer than a lease, between its last look at the clock and its request; clocks further apart), two instances may send
//! the same refresh token. Next in line are the look at the connection after the lease was taken, the one after
//! `invalid_grant`, and the check of the generation before a write (`refresh`). `docs/refresh.md` says what can still go wrong
//! then.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::host::{CALL_LIMIT, Host, random};
use crate::names::GrantId;
use crate::vault::{RowError, RowId, RowKind, Vault};
use sealing::age::left;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    holder: String,
    /// Seconds since the Unix epoch.
    until: u64,
    /// The generation whose refresh token the holder sends to the provider.
    spends: Option<GrantGeneration>,
    /// True if an earlier holder began to spend the same generation, and its result is not known.
    in_doubt: bool,
}

/// One state of one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantGeneration {
    pub grant: GrantId,
    pub generation: u64,
}

/// Takes leases of rows and gives them back.
pub(crate) struct Leases<'b, H> {
    pub host: &'b H,
    pub vault: Vault<'b, H>,
}

impl<H: Host> Leases<'_, H> {
    /// Takes the lease of the row `of`. `None` if another instance has it.
    pub(crate) async fn take(&self, of: RowId<'_>, spends: Option<GrantGeneration>) -> Result<Option<Lease>, RowError> {
        let started = self.host.ticks();
        let last = self.lease(of)?;
        if last.as_ref().is_some_and(|last| last.is_held(self.host.now())) {
            return Ok(None);
        }
        let ours = Lease {
            holder: Base64UrlUnpadded::encode_string(&random::<16>(self.host)),
            until: self.host.now() + LEASE,
            in_doubt: spends.is_some() && last.is_some_and(|last| last.spends == spends),
            spends,
        };
        self.write_lease(of, &ours)?;
        let took = Duration::from_millis(self.host.ticks().saturating_sub(started));
        self.host.sleep((took * 4).clamp(SETTLE, LONGEST_SETTLE)).await;
        if self.lease(of)?.is_none_or(|lease| lease != ours) {
            return Ok(None);
        }
        if !ours.is_long_enough(self.host.now()) {
            self.release(of, &ours);
            return Ok(None);
        }
        Ok(Some(ours))
    }

    /// The same, waiting for its holder for at most so many milliseconds.
    pub(crate) async fn wait(&self, of: RowId<'_>, patience: u64) -> Result<Option<Lease>, RowError> {
        let end = self.host.ticks().saturating_add(patience);
        loop {
            let lease = self.take(of, None).await?;
            if lease.is_some() || self.host.ticks() >= end {
                return Ok(lease);
            }
            self.host.sleep(POLL).await;
        }
    }

    /// Does `work` on the row `of` under its lease, and keeps a mark of doubt. `None` if another instance has the lease.
    pub(crate) async fn with<T>(&self, of: RowId<'_>, work: impl FnOnce() -> T) -> Result<Option<T>, RowError> {
        let mark = self.lease(of)?.and_then(|last| last.spends);
        let Some(lease) = self.take(of, mark).await? else { return Ok(None) };
        let done = work();
        if lease.is_in_doubt() {
            self.leave_in_doubt(of, &lease)
        } else {
            self.release(of, &lease)
        }
        Ok(Some(done))
    }

    /// Gives the lease back. One that has run out may be another's by the time it is deleted, and is left alone.
    pub(crate) fn release(&self, of: RowId, ours: &Lease) {
        self.end_lease(of, ours, || lease_at(of, |row| self.vault.erase(row)));
    }

    /// Gives the lease back and leaves the mark: what became of the refresh token is not known.
    pub(crate) fn leave_in_doubt(&self, of: RowId, ours: &Lease) {
        let left = Lease { until: self.host.now(), ..ours.clone() };
        self.end_lease(of, ours, || self.write_lease(of, &left));
    }

    fn end_lease(&self, of: RowId, ours: &Lease, end: impl FnOnce() -> Result<(), RowError>) {
        let ended = self.lease(of).and_then(|lease| match lease {
            Some(lease) if lease == *ours && ours.until > self.host.now() + 1 => end(),
            _ => Ok(()),
        });
        if let Err(error) = ended {
            self.host.log(&format!("a lease could not be given back: it ends within 40 seconds: {error}"));
        }
    }

    fn lease(&self, of: RowId) -> Result<Option<Lease>, RowError> {
        // What cannot be opened names no holder, and must not stand in the way for ever.
        lease_at(of, |row| self.vault.read_if_it_opens(row))
    }

    fn write_lease(&self, of: RowId, lease: &Lease) -> Result<(), RowError> {
        lease_at(of, |row| self.vault.write(row, lease))
    }
}

impl Lease {
    /// An end that no lease can have was written by a clock that was wrong, and is not waited for.
    fn is_held(&self, now: u64) -> bool {
        left(self.until, now, 2 * LEASE) > 0
    }

    /// Returns true if there is time for a call of a provider, and for the writes after it.
    pub(crate) fn is_long_enough(&self, now: u64) -> bool {
        left(self.until, now, 2 * LEASE) >= CALL_LIMIT.as_secs() + MARGIN
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }
}

/// The lease of the row `of` lies under that row's kind and identity.
fn lease_at<T>(of: RowId, then: impl FnOnce(RowId) -> T) -> T {
    let mut identity = Vec::with_capacity(1 + of.identity.len());
    identity.push(of.kind.letter());
    identity.extend_from_slice(of.identity);
    then(RowId { kind: RowKind::Lease, identity: &identity })
}

/// How long a nonce has to stand before its writer goes on: the timing assumption of this module. It is what a refresh
/// costs more than the call of the provider.
const SETTLE: Duration = Duration::from_millis(200);
const LONGEST_SETTLE: Duration = Duration::from_secs(5);
/// How often an instance that waits for the holder of a lease looks again.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// Seconds: the longest settling and what is read and written around it (ten), the longest call, the margin.
const LEASE: u64 = 40;
/// Seconds.
const MARGIN: u64 = 10;
