//! Serves many MCP servers behind one address.
//!
//! | route | does |
//! |---|---|
//! | `POST /mcp` | Streamable HTTP, all servers behind one endpoint, tools called `server__tool` |
//! | `POST /mcp/{server}` | the same for one server, names as they are |
//! | `POST /mcp/{endpoint}` | the same as `/mcp` for some of the servers, as the file says |
//! | `GET` on these | what servers say outside of any answer, for legacy clients |
//! | `/mcp/sse`, `/mcp/{server}/sse` | the same, for clients that were given an SSE URL; those of 2024-11-05 too |
//! | `GET` on all of these, by a person's browser | a page that says how to use the address ([`page`]) |
//! | `OPTIONS` on these | whether a page of another origin may call ([`cors`]) |
//! | `GET /mcp/servers` | the servers, their state and the caller's connections, as JSON |
//!
//! An endpoint may have three tools of the gateway's own in the place of all others ([`finding`]).
//!
//! A request enters at [`routes`]; [`eras`] reads what it wants, [`visitor`] who sent it; [`relay`], [`lists`],
//! [`finding`], [`pins`], [`describe`], [`listening`], [`words`] or [`connections`] does it, over [`upstream`]; what is
//! said to the client on the way, and the answer, goes out by a line of [`passage`]. Clients of the oldest transport come by
//! [`http_sse`]. A call in which a legacy server may ask a modern client is made by [`askable_call`]; [`unbridged`] refuses
//! clients of an era that their server is not bridged to.
//!
//! May touch: `servers.json`, its own store ([`memory`]), the broker by `gatehouse:broker/tokens`, and the servers that
//! the file names. It imports no `variables`: it could not read a secret if it wanted to. Everything but `shell.rs` is
//! free of WASI and Spin.

#![cfg_attr(
    not(target_family = "wasm"),
    expect(
        clippy::result_large_err,
        reason = "what is refused is answered at once: the error is the answer, moved twice"
    )
)]

pub mod askable_call;
pub mod asks;
pub mod attribution;
pub mod call_sessions;
pub mod concurrent;
pub mod config;
pub mod connections;
pub mod conversation;
pub mod cors;
pub mod decisive;
pub mod describe;
pub mod eras;
pub mod finding;
pub mod fit;
#[cfg(fuzzing)]
pub mod fuzz;
pub mod health;
pub mod held;
pub mod host;
pub mod http_sse;
pub mod jsonrpc;
pub mod kept;
pub mod kinds;
pub mod letterbox;
pub mod letters;
pub mod line;
pub mod listed;
pub mod listening;
pub mod lists;
pub mod memory;
pub mod mend;
pub mod names;
pub mod owners;
pub mod page;
pub mod passage;
pub mod pins;
pub mod places;
pub mod ranking;
pub mod relay;
pub mod resuming;
pub mod routes;
pub mod seats;
pub mod session;
pub mod sessions;
pub mod shelf;
pub mod skills;
pub mod sse;
pub mod structured;
pub mod subscriptions;
pub mod unbridged;
pub mod upstream;
pub mod visitor;
pub mod words;

#[cfg(target_family = "wasm")]
mod shell;
#[cfg(test)]
mod spec;
