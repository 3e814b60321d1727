//! The OAuth broker: connects people to services, keeps their tokens sealed and fresh, and hands an access token to
//! those that may have it. A refresh token, a client secret and an encryption key never leave it.
//!
//! | route | who | does |
//! |---|---|---|
//! | `GET /auth/{service}` | the signed-in person | shows what will be connected, with or without a one-time ticket |
//! | `POST /auth/{service}` | the button of that page | starts the connect flow |
//! | `GET /callback/{service}` | the browser that started it | finishes it |
//! | `POST /callback/{service}` | the same, from a provider that posts its answer | keeps the answer for it |
//! | `POST /token/{service}` | a service key, an API key | hands out a fresh access token |
//! | `DELETE /token/{service}` | a service key, an API key | revokes at the provider and forgets |
//! | `POST /resolve` | a service key | who is calling, and a token for each of several services |
//! | `POST /tickets` | a service key, an API key, a session | makes a one-time link to connect |
//! | `GET /client/{service}` | anyone | says which client that service's authorization server has before it |
//! | `GET /connections` | an API key, a session | what this subject has connected, as JSON |
//! | `GET /`, `POST /disconnect/{service}` | a session | the same as a page |
//! | `POST /sign-in`, `POST /sign-out` | anyone | begins and ends a session |
//! | `GET /admin/audit` | an admin key | who got which token, and what changed |
//! | `POST /admin/sweep` | an admin key | moves what is stored to the first key, and tells which keys are in use |
//! | `GET /health` | anyone | settings and store, without secrets |
//!
//! Where the operator has set `local_owner` there is one owner and no login: *local mode* (see [`people`]).
//!
//! The rooms, in the order in which a request passes them: [`http`] (routes, who may enter, the form of answers),
//! [`people`] (who is calling), [`connect`] (the way to a grant), [`connections`] (what was granted, kept fresh),
//! [`policy`] (what a service may have of it), [`provider`] (how each service speaks OAuth), [`catalogue`] (which services
//! there are), [`discovery`] (how those are found of which only an MCP server's URL is known), [`vault`] (how anything is
//! kept), [`audit`] (what is noted of it), [`settings`]. Everything but the last, small piece (`component`, which is built
//! for WebAssembly only) knows nothing of Spin: it asks a [`Host`].
//!
//! May touch: the variables of [`settings`], the key-value store `broker` or `default`, and the providers' hosts.

pub mod audit;
pub mod catalogue;
pub mod connect;
pub mod connections;
pub mod discovery;
pub mod host;
pub mod http;
pub mod maintenance;
pub mod names;
pub mod people;
pub mod policy;
pub mod provider;
pub mod settings;
pub mod text;
pub mod vault;

#[cfg(target_family = "wasm")]
mod component;

#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub mod fuzz;

pub use self::http::resolve::{ResolveError, resolve};
pub use self::http::{handle, unreadable};
pub use host::{Host, SendFault, StoreFault};

use std::cell::Cell;
use std::collections::BTreeMap;

use settings::Settings;

/// A map of `pairs`, whose last of a name counts. `collect` sorts them first, which costs 4 KB of code for each type.
pub(crate) fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// One request's view of the broker: the host that runs it, and the settings that it has needed so far.
pub struct Broker<'h, H> {
    pub host: &'h H,
    pub settings: Settings<'h, H>,
    /// Whether this request has seen to it that the key in use is noted.
    key_is_noted: Cell<bool>,
}

impl<'h, H: Host> Broker<'h, H> {
    pub fn new(host: &'h H) -> Self {
        Self { host, settings: Settings::new(host), key_is_noted: Cell::new(false) }
    }

    /// `N` random bytes.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.host.random(&mut bytes);
        bytes
    }
}
