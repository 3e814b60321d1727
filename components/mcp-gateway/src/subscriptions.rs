//! Remembers the resources that a legacy client watches at a modern upstream.
//!
//! Legacy: `resources/subscribe`, one URI in each request, and what is updated is said on the stream of GET. Modern: the
//! URIs are named where the stream is opened. So the gateway notes what was subscribed to, and the instance that streams
//! looks every now and then whether the note has changed (`listening`). A note belongs to a person, a profile and an
//! upstream, as a session at a legacy upstream does, and holds 64 URIs at most: the oldest go.
//!
//! If many servers share the endpoint, what a legacy upstream is asked to watch is noted too: what it then says was updated
//! is passed on by the name that the client watches it by. Anything else that a server says was updated is passed on as
//! `gatehouse://server/…`, because it may be another server's.

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::memory::Place;
use crate::names;
use crate::upstream::Link;
use json::{Edits, Object, quoted};
use sealing::age::is_recent;

pub const MOST_URIS: usize = 64;
pub const UPDATED: &str = "notifications/resources/updated";
/// Clients do not always say goodbye.
const KEPT_SECONDS: u64 = 24 * 60 * 60;

#[derive(Serialize, Deserialize, Default)]
struct Note {
    /// When it was last changed.
    t: u64,
    uris: Vec<Watched>,
}

/// A URI as the server calls it, and as the client does.
pub type Watched = (String, String);

/// What is subscribed to at `link.server`.
pub fn noted<H: Host>(host: &H, link: Link<'_>) -> Vec<Watched> {
    let note = place(link).read(host, link.caller).and_then(|row| serde_json::from_slice::<Note>(&row).ok());
    note.filter(|note| is_recent(note.t, host.now(), KEPT_SECONDS)).unwrap_or_default().uris
}

/// Notes that `uri`, which the client calls `name`, is, or is no longer, subscribed to.
pub fn note<H: Host>(host: &H, link: Link<'_>, uri: &str, name: &str, subscribed: bool) {
    let mut uris = noted(host, link);
    uris.retain(|(_, known)| known != name);
    if subscribed {
        if uris.len() == MOST_URIS {
            uris.remove(0);
        }
        uris.push((uri.to_owned(), name.to_owned()));
    }
    let row = serde_json::to_vec(&Note { t: host.now(), uris }).unwrap_or_default();
    place(link).write(host, link.caller, &row);
}

/// The name by which a client watches what its server calls `uri`, if it does: of a resource, or of one that `uri` is
/// inside of, which servers may say instead (S/2025-11-25/schema, `ResourceUpdatedNotification`).
pub fn name_of(watched: &[Watched], uri: &str) -> Option<String> {
    watched.iter().find_map(|(own, name)| {
        let rest = uri.strip_prefix(own.as_str())?;
        let is_inside = rest.is_empty() || own.ends_with('/') || rest.starts_with(['/', '?', '#']);
        is_inside.then(|| [name, rest].concat())
    })
}

/// The message that a resource of one of many servers was updated, as a legacy client gets it.
pub fn renamed<H: Host>(host: &H, link: Link<'_>, text: String) -> Option<String> {
    let message = Object::parse(&text).ok()?;
    let uri = message.object("params").ok()??.get("uri").ok()??;
    let own = json::string(uri)?;
    let name = name_of(&noted(host, link), &own).unwrap_or_else(|| names::join_uri(link.server.prefix, &own));
    let mut edits = Edits::new(&text);
    edits.replace(uri, quoted(&name));
    String::from_utf8(edits.apply()).ok()
}

/// Forgets what is subscribed to.
pub fn forget<H: Host>(host: &H, link: Link<'_>) {
    place(link).forget(host, link.caller);
}

fn place(link: Link<'_>) -> Place {
    Place::of_clients("s", link)
}
