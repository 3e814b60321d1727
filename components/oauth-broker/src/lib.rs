//! The OAuth broker: connects people to services, keeps their tokens sealed and fresh, and hands access tokens to the
//! callers that may have them. A refresh token, a client secret and an encryption key never leave it.
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
//! Each file or folder here is a room. Rooms form layers: a room imports only rooms below it (`tests/e2e/tests/layers.rs`).
//! From the top:
//!
//! | room | does |
//! |---|---|
//! | `component` | runs the broker on Spin; the only room that knows Spin, all others ask a [`host`] |
//! | [`http`] | routes requests, checks who sends them, writes pages and JSON |
//! | [`broker`] | puts the rooms together for one request |
//! | [`connect`], [`handout`], [`maintenance`] | make a connection, hand out tokens within the policy, sweep the store |
//! | [`connections`] | stores, refreshes and revokes what was connected |
//! | [`services`] | says which services are offered |
//! | [`discovery`], [`people`] | find an MCP server's authorization server; find out who is calling |
//! | [`provider`], [`audit`], [`lease`] | speak OAuth; record what happened; let one instance at a time change a row |
//! | [`catalogue`], [`policy`], [`vault`], `outbound` | know services; parse `handout_policy`; seal rows; send requests |
//! | [`settings`] | reads the settings: one table |
//! | [`host`], [`names`], [`params`], [`text`], `maps` | what everything else is made of |
//!
//! May touch: the variables of [`settings`], the key-value store `broker` or `default`, and the providers' hosts.

pub mod audit;
pub mod broker;
pub mod catalogue;
pub mod connect;
pub mod connections;
pub mod discovery;
pub mod handout;
pub mod host;
pub mod http;
pub mod lease;
pub mod maintenance;
mod maps;
pub mod names;
mod outbound;
pub mod params;
pub mod people;
pub mod policy;
pub mod provider;
pub mod services;
pub mod settings;
pub mod text;
pub mod vault;

#[cfg(target_family = "wasm")]
mod component;

#[cfg(test)]
mod tests;

#[cfg(fuzzing)]
pub mod fuzz;
