//! A small Spin-compatible host on wasmtime, for the tests of this repository and for `cargo run`.
//!
//! It runs the same manifests as Spin, with Spin's own rules, and is faithful or worthless: where Spin refuses, it
//! refuses. Read `app` for how an app is loaded, `guest` for what a component can reach, `server` and `outbound` for
//! what happens to its requests. Only `gatehouse`, of the binary, does what Spin does not.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use gatehouse_host::{App, Folder, Options};
//! use std::{path::Path, time::Duration};
//!
//! let manifest = Path::new("spin.toml");
//! gatehouse_host::build_components(manifest)?;
//! let options = Options { state_dir: Folder::None, quiet: true, ..Options::default() };
//! let running = App::load(manifest, options)?.serve("127.0.0.1:0").await?;
//! println!("{}", running.url());
//! running.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! What it leaves out of Spin is refused by name: triggers other than HTTP, WASI 0.3 and older drafts, SQLite, AI,
//! sources and dependencies that need a network, inline components, build profiles, TLS on the listening side. A
//! dependency that does not inherit a right which it imports is not loaded (Spin would deny its calls). Sockets are
//! denied to every address. Nothing is exported to OpenTelemetry. What it adds is a wall clock that a test can set wrong.

mod allowed_hosts;
mod app;
mod building;
mod clock;
mod component;
mod compose;
mod connect;
mod engine;
mod files;
mod guest;
mod key_value;
mod logs;
mod manifest;
mod outbound;
mod routes;
mod runtime_config;
mod server;
mod variables;

pub use app::{App, Folder, Options};
pub use building::build_components;
pub use compose::{Interfaces, inspect};
pub use logs::Capture;
pub use server::Running;
pub use variables::from_argument as variables_from_argument;
