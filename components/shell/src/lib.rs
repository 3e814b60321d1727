//! The plumbing that all components share: WASI HTTP, the reading of bodies, and lines of the log.
//!
//! Requests and answers are the `http` crate's types, bodies are bytes or a stream, on the bare WASI 0.2.0 bindings. It
//! exists for two rules that a host like Spin, which leaves Nagle's algorithm on, makes expensive to forget:
//!
//! * a body that is known is written and finished *before* its head is handed over, so that both leave in one write
//!   (else a kept-alive connection waits for the peer's delayed ACK, about 40 ms);
//! * a stream sends its first bytes in the same turn as its head.
//!
//! and for the limits that such a host does not have: how long a request's body may take ([`body`]), and how long a client
//! may take to read its answer.
//!
//! It decides nothing: no routes, no retries, no text of the log.

pub mod body;
pub mod head;
pub mod log;

#[cfg(target_family = "wasm")]
mod inbound;
#[cfg(target_family = "wasm")]
mod outbound;
#[cfg(target_family = "wasm")]
mod turn;
#[cfg(target_family = "wasm")]
mod wasi_http;

pub use body::{Pieces, ReadError, Unread};
#[cfg(target_family = "wasm")]
pub use inbound::{Closed, RequestBody, ResponseWriter, read_head, respond, start};
#[cfg(target_family = "wasm")]
pub use outbound::{Body, SendError, Timeouts, send};
#[cfg(target_family = "wasm")]
pub use turn::{now, run, sleep, within};
