//! The trait through which the gateway reaches everything outside of it: HTTP, the broker, the store, the clock.
//!
//! Two implementations: Spin (`shell.rs`) and the tests' scripted one. The core reads no clock, no randomness and no
//! setting by any other way.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Request, Response};
use http_auth::Hops;
pub use sealing::Secret;
use thiserror::Error;

use crate::memory::Met;

/// Everything that the gateway may touch.
pub trait Host {
    /// The body of an upstream's answer, while it arrives.
    type Body: Source;
    /// The client's side of a request.
    type Outlet: Outlet<Self::Body>;

    /// The text of `servers.json`.
    fn servers(&self) -> Result<Vec<u8>, String>;
    /// Where this installation is reached from outside.
    fn public_urls(&self) -> Result<Origins, ResolveError>;
    /// Who is calling, and the token for each wanted service.
    fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ResolveError>;

    /// What was kept under `key`. A store that fails has nothing: all that is kept can be lost.
    fn load(&self, key: &str) -> Option<Vec<u8>>;
    /// Keeps `value` under `key`, as far as the store can.
    fn save(&self, key: &str, value: &[u8]);
    /// Takes away what was kept under `key`, if anything was.
    fn forget(&self, key: &str);

    /// Sends a request whose body is known, and returns when the head of the answer is there, within `patience` of
    /// the connection. Follows no redirect.
    fn send(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> impl Future<Output = Result<Response<Self::Body>, SendError>>;

    /// Seconds since the Unix epoch.
    fn now(&self) -> u64;
    fn random(&self, bytes: &mut [u8]);
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
    /// One line for the operator; never a secret.
    fn log(&self, line: &str);
}

/// The value of `future`. `None` if `limit` passes first.
pub async fn within<T>(host: &impl Host, limit: Duration, future: impl Future<Output = T> + Unpin) -> Option<T> {
    // The timer is looked at only when the future has to wait.
    match select(future, pin!(host.sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// A body that arrives.
pub trait Source {
    /// The next piece; `None` at the end. May be dropped while it waits.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, SendError>>;
}

/// Where the answer to a client's request goes: whole, or as a stream that is started, written and finished. A stream
/// that is dropped unfinished is cut off, which the client can tell.
pub trait Outlet<B> {
    /// The whole answer.
    fn respond(&mut self, response: Response<Vec<u8>>) -> impl Future<Output = ()>;
    /// The head of a stream, and its first bytes with it.
    fn start(&mut self, head: Response<()>, first: &[u8]) -> impl Future<Output = Result<(), Gone>>;
    fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Gone>>;
    /// Writes the rest of `source` as it is. Returns false if it broke before its end.
    fn pipe(&mut self, source: &mut B) -> impl Future<Output = Result<bool, Gone>>;
    fn finish(&mut self);
    /// Returns true if the client of a stream that was started has gone, as far as that is known without writing to it.
    fn is_gone(&self) -> bool;
}

/// The client has closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why no whole answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    #[error("the manifest does not allow this destination")]
    Denied,
    #[error("it took too long to answer")]
    Timeout,
    #[error("the connection to it failed")]
    Connection,
    #[error("the headers that it needs are longer than 64 KiB")]
    Head,
}

/// `origins` of `wit/tokens.wit`.
pub struct Origins {
    pub gateway: String,
    pub broker: String,
}

/// `resolve-request` of `wit/tokens.wit`.
pub struct ResolveRequest {
    pub bearer: Option<Secret>,
    pub resource: String,
    pub services: Vec<WantedService>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedService {
    pub service: String,
    /// Which of the person's accounts there.
    pub account: Option<String>,
    /// The fingerprint of a token that the upstream has just refused.
    pub refused: Option<String>,
    /// The scopes that the upstream has just called for.
    pub scopes: Vec<String>,
}

/// `resolution` of `wit/tokens.wit`.
pub struct Resolution {
    pub caller: Caller,
    /// One for each wanted service, in the order of the request.
    pub outcomes: Vec<Outcome>,
}

/// `caller` of `wit/tokens.wit`, as far as the gateway needs it.
#[derive(Clone)]
pub struct Caller {
    pub subject: String,
    pub expires_at: Option<u64>,
    pub sealing_key: Vec<u8>,
    /// How many Gatehouses this request of theirs has passed.
    pub hops: Hops,
    /// The upstreams that were met for this caller, kept beside what the broker said (`kept`).
    pub met: Met,
}

/// `outcome` of `wit/tokens.wit`.
#[derive(Debug, Clone)]
pub enum Outcome {
    Token(AccessToken),
    NotConnected(String),
    NeedsReconnect { url: String, missing_scopes: Vec<String> },
    TemporarilyUnavailable(u32),
    UnknownService,
}

/// `access-token` of `wit/tokens.wit`, as far as the gateway needs it.
#[derive(Debug, Clone)]
pub struct AccessToken {
    pub value: Secret,
    pub token_type: String,
    /// Seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    pub fingerprint: String,
}

/// `error` of `wit/tokens.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError {
    InvalidToken,
    WrongAudience,
    Unavailable(u32),
    Misconfigured(String),
}
