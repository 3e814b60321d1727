//! Remembers the names of the tools that a server has listed, if `servers.json` has rules for its tools.
//!
//! `allow`, `deny` and `pin` compare names letter by letter. A server may be less exact: it may take `Delete` or `delete `
//! for its `delete`. So a server with such rules is called for names alone that it has listed itself.
//!
//! What has been listed is known from the row of approved tools (`pins`) where there is one. Else a row has a digest of
//! each name, so that a warm call reads one short row and not the list. It is believed for an hour. A name that is not in
//! it is looked for in the list, as it is kept or as the server gives it now.

use sha2::{Digest, Sha256};
use std::pin::pin;

use crate::config::Pin;
use crate::host::{Host, within};
use crate::lists::{DEADLINE, TOOLS, of_server};
use crate::memory::Place;
use crate::pins;
use crate::upstream::{Failure, Link};
use sealing::age::is_recent;

const BELIEVED_SECONDS: u64 = 60 * 60;
const DIGEST: usize = 16;
/// A longer list is looked through for each call: some stores take no more than 400 KB.
const MOST: usize = 16 * 1024;

/// What the rules of `servers.json` say of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// The tool waits for an approval.
    Held,
    /// The server has not listed it.
    Unknown,
}

/// Returns true if the server's `tool` may be called.
///
/// Errors: the server's list is needed and could not be had.
pub async fn verdict<H: Host>(host: &H, link: Link<'_>, tool: &str) -> Result<Verdict, Failure> {
    if !link.server.limits_tools() {
        return Ok(Verdict::Allowed);
    }
    if let Some(is_held) = pins::holds(host, link, tool) {
        return Ok(if is_held { Verdict::Held } else { Verdict::Allowed });
    }
    if link.server.pin.is_none() && is_noted(host, link, tool) {
        return Ok(Verdict::Allowed);
    }
    let listed = match within(host, DEADLINE, pin!(of_server(host, &TOOLS, link))).await.unwrap_or(Err(Failure::Late)) {
        Ok(listed) => listed.unwrap_or_default(),
        // These have an answer of their own: another token.
        Err(failure @ (Failure::Refused | Failure::NeedsScopes(_))) => return Err(failure),
        Err(failure) => return Err(Failure::NoList(failure.to_string())),
    };
    let names = listed.keys(&TOOLS);
    if link.server.pin.is_none() {
        note(host, link, &names);
    }
    Ok(match names.iter().any(|name| name == tool) {
        false => Verdict::Unknown,
        true if link.server.pin != Some(Pin::Flag) && listed.is_changed(tool) => Verdict::Held,
        true => Verdict::Allowed,
    })
}

fn is_noted<H: Host>(host: &H, link: Link<'_>, tool: &str) -> bool {
    let Some(row) = place(link).read(host, link.caller) else { return false };
    let Some((noted, digests)) = row.split_first_chunk() else { return false };
    is_recent(u64::from_be_bytes(*noted), host.now(), BELIEVED_SECONDS)
        && digests.chunks_exact(DIGEST).any(|known| known == digest(tool))
}

fn note<H: Host>(host: &H, link: Link<'_>, names: &[String]) {
    if names.len() > MOST {
        return;
    }
    let mut row = host.now().to_be_bytes().to_vec();
    names.iter().for_each(|name| row.extend_from_slice(&digest(name)));
    place(link).write(host, link.caller, &row);
}

fn digest(name: &str) -> [u8; DIGEST] {
    let digest = Sha256::digest(name.as_bytes());
    digest.first_chunk().copied().unwrap_or_default()
}

fn place(link: Link<'_>) -> Place {
    Place::of("n", link, "")
}
