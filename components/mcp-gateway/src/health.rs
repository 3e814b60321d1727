//! Remembers how each server last fared. `GET /mcp/servers` shows it, and no caller waits twice for a silent server.
//!
//! The row (`g.d.`) is written when a server is met, when a list of it is asked for, and when a call of it fails: never by a
//! call that succeeds.

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::lists::Kind;
use crate::memory::Place;
use crate::upstream::{Failure, Link};

/// How long a server that took too long is not asked again for lists and descriptions, in seconds.
const REST: u64 = 30;
/// The most entries that are named.
const MOST_LEFT_OUT: usize = 16;
/// The longest reason, in bytes.
const LONGEST: usize = 200;

/// What is known of a server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Health {
    /// When it last did what it was asked, in seconds since the Unix epoch; 0: never.
    #[serde(default)]
    pub succeeded: u64,
    /// When it last did not, and why.
    #[serde(default)]
    pub failed: u64,
    #[serde(default)]
    pub why: String,
    /// True if the failure was that it took too long.
    #[serde(default)]
    is_slow: bool,
    /// The entries of its lists that are not shown, and why, by the list.
    #[serde(default)]
    left_out: Vec<(String, String)>,
}

impl Health {
    pub fn is_failing(&self) -> bool {
        self.failed > 0 && self.failed >= self.succeeded
    }

    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(|(_, what)| &**what)
    }

    /// Why the server is not asked now. `None`: it is.
    pub fn rests(&self, now: u64) -> Option<Failure> {
        let since = now.checked_sub(self.failed)?;
        (self.is_slow && self.is_failing() && since < REST).then_some(Failure::Rests(since))
    }
}

/// What is remembered of `link.server`.
pub fn recall<H: Host>(host: &H, link: Link<'_>) -> Option<Health> {
    let health: Health = serde_json::from_slice(&place(link).read(host, link.caller)?).ok()?;
    // A clock that was ahead proves nothing.
    (health.succeeded.max(health.failed) <= host.now()).then_some(health)
}

/// The request succeeded. If it asked for a list, `list` names that list and what was left out of it.
pub fn succeeded<H: Host>(host: &H, link: Link<'_>, list: Option<(&Kind, Vec<String>)>) {
    let before = recall(host, link);
    let mut health = before.clone().unwrap_or_default();
    health.succeeded = host.now();
    if let Some((kind, left_out)) = list {
        health.left_out.retain(|(member, _)| member != kind.member);
        health.left_out.extend(left_out.into_iter().map(|what| (kind.member.to_owned(), what)));
        health.left_out.truncate(MOST_LEFT_OUT);
    }
    keep(host, link, &health);
}

pub fn failed<H: Host>(host: &H, link: Link<'_>, failure: &Failure) {
    // That it rests is no news, and what the client is or did is no fault of the server.
    if matches!(
        failure,
        Failure::Rests(_) | Failure::AsksTooMuch | Failure::NoAnswer | Failure::Crowded | Failure::NotBridged { .. }
    ) {
        return;
    }
    let mut health = recall(host, link).unwrap_or_default();
    health.failed = host.now();
    health.is_slow = failure.is_slow();
    health.why = crate::names::cut(&failure.to_string(), LONGEST).to_owned();
    keep(host, link, &health);
}

fn keep<H: Host>(host: &H, link: Link<'_>, health: &Health) {
    place(link).write(host, link.caller, &serde_json::to_vec(health).unwrap_or_default());
}

fn place(link: Link<'_>) -> Place {
    Place::of("d", link, "")
}
