//! Which resources does a legacy client watch at a modern upstream?
//!
//! Legacy: `resources/subscribe`, one URI in each request, and what is updated is said on the stream of GET. Modern: the
//! URIs are named where the stream is opened. So the gateway notes what was subscribed to, and the instance that streams
//! looks every now and then whether the note has changed (`listening`). A note belongs to a person, a profile and an
//! upstream, as a session at a legacy upstream does, and holds 64 URIs at most: the oldest go.

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::memory::Place;
use crate::upstream::Link;
use sealing::age::is_recent;

pub const MOST_URIS: usize = 64;
/// Clients do not always say goodbye.
const KEPT_SECONDS: u64 = 24 * 60 * 60;

#[derive(Serialize, Deserialize, Default)]
struct Note {
    /// When it was last changed.
    t: u64,
    uris: Vec<String>,
}

/// What is subscribed to at `link.server`.
pub fn noted<H: Host>(host: &H, link: Link<'_>) -> Vec<String> {
    let note = place(link).read(host, link.caller).and_then(|row| serde_json::from_slice::<Note>(&row).ok());
    note.filter(|note| is_recent(note.t, host.now(), KEPT_SECONDS)).unwrap_or_default().uris
}

/// Notes that `uri` is, or is no longer, subscribed to.
pub fn note<H: Host>(host: &H, link: Link<'_>, uri: &str, subscribed: bool) {
    let mut uris = noted(host, link);
    uris.retain(|known| known != uri);
    if subscribed {
        if uris.len() == MOST_URIS {
            uris.remove(0);
        }
        uris.push(uri.to_owned());
    }
    let row = serde_json::to_vec(&Note { t: host.now(), uris }).unwrap_or_default();
    place(link).write(host, link.caller, &row);
}

fn place(link: Link<'_>) -> Place {
    Place::of("s", link, &link.profile.name())
}
