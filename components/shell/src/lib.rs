//! How does a component of Gatehouse speak WASI HTTP?
//!
//! The one piece of plumbing that all components share: requests and answers as the `http` crate's types, bodies as
//! bytes or as a stream, on the bare WASI 0.2.0 bindings. It exists for two rules that a host like Spin, which leaves
//! Nagle's algorithm on, makes expensive to forget:
//!
//! * a body that is known is written and finished *before* its head is handed over, so that both leave in one write
//!   (else a kept-alive connection waits for the peer's delayed ACK, about 40 ms);
//! * a stream sends its first bytes in the same turn as its head.
//!
//! It decides nothing: no routes, no retries, no logging.

#![cfg(target_family = "wasm")]

mod inbound;
mod outbound;
mod turn;

pub use inbound::{Closed, ReadError, ResponseWriter, read_request, respond, start};
pub use outbound::{Body, SendError, Timeouts, send};
pub use turn::{now, run, sleep};

use http::{HeaderMap, HeaderName, HeaderValue};
use wasi::http::types::Fields;

/// Bytes asked of a stream at once.
const CHUNK: u64 = 64 * 1024;

/// Header fields that the host owns: a guest that sets one of them is refused the whole field block.
/// `host` is here because WASI HTTP carries it as the authority.
const HOST_OWNED: [&str; 9] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

fn fields(headers: &HeaderMap) -> Fields {
    let entries: Vec<(String, Vec<u8>)> = headers
        .iter()
        .filter(|(name, _)| !HOST_OWNED.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    // Names and values come from `http`'s own types, so the host has nothing left to object to.
    Fields::from_list(&entries).unwrap_or_else(|_| Fields::new())
}

fn headers(fields: &Fields) -> HeaderMap {
    fields
        .entries()
        .into_iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?))
        })
        .collect()
}
