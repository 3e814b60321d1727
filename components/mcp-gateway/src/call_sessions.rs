//! Gives a call during which a legacy server may ask a session of its own there.
//!
//! What a legacy server asks on its GET stream names a session and no call. So it belongs to a call only if that call is
//! alone in the session. A person has [`SLOTS`] such sessions at a server. A slot is a row of the store: the call that has
//! it, and when that call last said so. The session itself is remembered like every other (`memory`).
//!
//! * A slot is free when its call has ended. Its session is used again, by clients that can be asked for the same.
//! * A call says every [`RENEWED`] that it has its slot. One that has not said so for [`LEASE`] seconds was killed. Its
//!   server may still work on it, and ask. So the session is ended before another call uses the slot, and also when a call
//!   ends without its answer.
//! * The store has no compare-and-set. If two calls take one slot at once, the later row stays. Each call reads the row
//!   again when its stream is open, before the call is sent, and again when something is asked.

use std::pin::pin;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::host::{Host, within};
use crate::memory::{self, Place};
use crate::session::{Capabilities, ClientEra, Profile};
use crate::upstream::{Link, NOTICE, Peer, legacy};
use sealing::age::is_recent;

pub const SLOTS: u8 = 4;
/// Seconds after which a slot is free whose call has said nothing.
const LEASE: u64 = 60;
/// Time after which a call says again that it has its slot.
pub const RENEWED: Duration = Duration::from_secs(20);

struct Row {
    /// When this was written.
    t: u64,
    /// The capabilities of the clients of its session.
    can: u8,
    /// The name of the call that has it. Empty if none has.
    by: String,
}

impl Row {
    fn write(&self) -> String {
        format!("{} {} {}", self.t, self.can, self.by)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let t = words.next()?.parse().ok()?;
        let can = words.next()?.parse().ok()?;
        Some(Self { t, can, by: words.next()?.to_owned() })
    }
}

/// A slot that a call has.
pub struct Slot {
    number: u8,
    by: String,
    renewed: u64,
    /// The capabilities of the clients of the session that was last in the slot, if that session has to be ended.
    before: Option<Capabilities>,
}

impl Slot {
    /// `None` if all slots are in use. The slot can be used after [`Slot::prepare`].
    pub fn take<H: Host>(host: &H, link: Link<'_>) -> Option<Self> {
        let mut name = [0; 12];
        host.random(&mut name);
        let by = Base64UrlUnpadded::encode_string(&name);
        let slot = |number, before| Self { number, by, renewed: host.now(), before };
        let can = link.profile.can.bits();
        let (mut unused, mut others) = (None, None);
        for number in 0..SLOTS {
            match read(host, link, number) {
                None => unused = unused.or(Some((number, can))),
                Some(row) if row.by.is_empty() && row.can == can => {
                    let slot = slot(number, None);
                    slot.write(host, link, &slot.by);
                    return Some(slot);
                }
                Some(row) if row.by.is_empty() || !is_recent(row.t, host.now(), LEASE) => {
                    others = others.or(Some((number, row.can)));
                }
                Some(_) => {}
            }
        }
        let (number, before) = unused.or(others)?;
        let slot = slot(number, Some(Capabilities::from_bits(before)));
        slot.write(host, link, &slot.by);
        Some(slot)
    }

    /// Ends the session that was in the slot, if it is not used again.
    pub async fn prepare<H: Host>(&self, host: &H, link: Link<'_>) {
        if let Some(before) = self.before {
            close(host, link, self.number, before).await;
        }
    }

    /// The server as the slot's session reaches it.
    pub fn link<'a>(&self, link: Link<'a>) -> Link<'a> {
        Link { profile: of_slot(link.profile, self.number), ..link }
    }

    /// Returns true if this call has the slot, and no other.
    pub fn is_kept<H: Host>(&self, host: &H, link: Link<'_>) -> bool {
        // A row that is gone was lost, not taken.
        read(host, link, self.number).is_none_or(|row| row.by == self.by)
    }

    /// Says that this call still has the slot, if it said so more than [`RENEWED`] ago.
    pub fn renew<H: Host>(&mut self, host: &H, link: Link<'_>) {
        if host.now().abs_diff(self.renewed) >= RENEWED.as_secs() {
            self.renewed = host.now();
            if self.is_kept(host, link) {
                self.write(host, link, &self.by);
            }
        }
    }

    /// Gives the slot back, with its session: the call has its answer.
    pub fn release<H: Host>(self, host: &H, link: Link<'_>) {
        if self.is_kept(host, link) {
            self.write(host, link, "");
        }
    }

    /// Gives the slot back without its session, in which the server may still work on the call.
    pub async fn abandon<H: Host>(self, host: &H, link: Link<'_>) {
        if self.is_kept(host, link) {
            close(host, link, self.number, link.profile.can).await;
            place(link, self.number).forget(host, link.caller);
        }
    }

    fn write<H: Host>(&self, host: &H, link: Link<'_>, by: &str) {
        let row = Row { t: host.now(), can: link.profile.can.bits(), by: by.to_owned() };
        place(link, self.number).write(host, link.caller, row.write().as_bytes());
    }
}

/// Ends the session of a slot whose clients could be asked for `can`, if there is one.
async fn close<H: Host>(host: &H, link: Link<'_>, number: u8, can: Capabilities) {
    let link = Link { profile: of_slot(Profile { can, ..link.profile }, number), ..link };
    let Some(peer) = memory::recall_anew(host, link) else { return };
    memory::forget(host, link);
    if let Peer::Legacy(session) = peer {
        within(host, NOTICE, pin!(legacy::end(host, link, &session))).await;
    }
}

fn of_slot(profile: Profile, number: u8) -> Profile {
    Profile { client: ClientEra::ModernCall(number), ..profile }
}

fn read<H: Host>(host: &H, link: Link<'_>, number: u8) -> Option<Row> {
    Row::read(std::str::from_utf8(&place(link, number).read(host, link.caller)?).ok()?)
}

fn place(link: Link<'_>, number: u8) -> Place {
    Place::of("c", link, &number.to_string())
}
