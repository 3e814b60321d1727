//! Shares between both components what concerns HTTP authentication and hosts: challenges, bearers, scopes, loops, addresses and the
//! guard of local mode; and of content codings.
//!
//! Pure functions over the `http` crate's types. Nothing here reads a setting or a store.

pub mod address;
pub mod bearer;
pub mod challenge;
pub mod coding;
pub mod hop;
pub mod local;
pub mod origin;
pub mod scope;

pub use bearer::{BearerError, bearer};
pub use hop::{HOP, Hops, LoopError};
pub use origin::Origin;
