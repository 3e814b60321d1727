//! Leaves short messages in the store for another instance that waits for them.
//!
//! No two requests share a memory. So a message goes through the store, where the other instance looks for it at intervals.
//! There are three of them: a legacy client's answer to a request of the gateway's own, its `notifications/cancelled`, and
//! that another stream takes a stream's place. A letter lies in one of 256 places of its subject, by a digest of its
//! addressee, so letters that are never fetched do not add up. A letter is lost if another one of the same person is written
//! to the same place before it is read. It is sealed like every row: only the same subject's requests can write or read it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{Caller, Host};
use crate::memory::Place;
use sealing::age::is_recent;

/// The addressee of an older letter does not wait any more.
const KEPT_SECONDS: u64 = 10 * 60;

#[derive(Serialize, Deserialize)]
struct Letter {
    t: u64,
    to: String,
    word: String,
}

/// Leaves `word` for the instance that waits as `to`.
pub fn post<H: Host>(host: &H, caller: &Caller, to: &str, word: &str) {
    let letter = Letter { t: host.now(), to: to.to_owned(), word: word.to_owned() };
    place(caller, to).write(host, caller, &serde_json::to_vec(&letter).unwrap_or_default());
}

/// Fetches what was left for `to`.
pub fn fetch<H: Host>(host: &H, caller: &Caller, to: &str) -> Option<String> {
    let place = place(caller, to);
    let letter: Letter = serde_json::from_slice(&place.read(host, caller)?).ok()?;
    if letter.to != to || !is_recent(letter.t, host.now(), KEPT_SECONDS) {
        return None;
    }
    place.forget(host, caller);
    Some(letter.word)
}

fn place(caller: &Caller, to: &str) -> Place {
    let slot = Sha256::digest(to.as_bytes())[0];
    Place::new("w", &[&caller.subject, &slot.to_string()])
}
