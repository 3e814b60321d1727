//! Keeps clients of one era away from a server of the other, if `servers.json` says `"bridge": false` of it.

use super::{Failure, Link, Peer};
use crate::host::Host;
use crate::memory;

/// Errors: the server at `link`, which is `peer`, does not speak the client's era and is not bridged.
pub fn check(link: Link<'_>, peer: &Peer) -> Result<(), Failure> {
    of_era(link, matches!(peer, Peer::Modern(_)))
}

/// The same for a server that is of the newer era or not.
pub fn of_era(link: Link<'_>, is_modern: bool) -> Result<(), Failure> {
    if link.server.bridge || link.profile.is_modern() == is_modern {
        return Ok(());
    }
    Err(Failure::NotBridged { is_modern })
}

/// The same as far as it is remembered, however long ago the server said it. `None`: it is not remembered.
pub fn remembered<H: Host>(host: &H, link: Link<'_>) -> Option<Result<(), Failure>> {
    memory::last_facts(host, link).map(|facts| of_era(link, facts.modern))
}
