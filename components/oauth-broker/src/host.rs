//! Defines what the broker needs of the machine that runs it.
//!
//! Two real implementations: Spin (`component`) and the one that the tests script.

use std::cell::Cell;
use std::time::Duration;

use http::{Request, Response};
use http_auth::Hops;
use thiserror::Error;

pub trait Host {
    /// The setting of that name. `None` if it is not set.
    fn setting(&self, name: &str) -> Option<String>;

    /// The row under `key`. The store offers no more than these three that holds on every host.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault>;
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFault>;
    fn delete(&self, key: &str) -> Result<(), StoreFault>;

    /// Calls a provider: for at most [`CALL_LIMIT`], with a cap of [`ANSWER_LIMIT`] on the answer, and without following
    /// redirects.
    fn send(&self, request: Request<Vec<u8>>) -> impl Future<Output = Result<Response<Vec<u8>>, SendFault>>;

    /// How many Gatehouses the request at hand has passed.
    fn hops(&self) -> &Cell<Hops>;

    /// Seconds since the Unix epoch.
    fn now(&self) -> u64;

    /// Milliseconds on a clock of the instance's own that only goes forward.
    fn ticks(&self) -> u64;

    /// Waits for at least `duration`, and lets others go on meanwhile.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Fills `bytes` from a cryptographically secure source.
    fn random(&self, bytes: &mut [u8]);

    /// Tells the operator. Never a secret; who and what only in lines of [`crate::audit`].
    fn log(&self, line: &str);
}

/// `N` random bytes of the host.
pub(crate) fn random<const N: usize>(host: &impl Host) -> [u8; N] {
    let mut bytes = [0; N];
    host.random(&mut bytes);
    bytes
}

/// The longest answer of a provider that is read.
pub const ANSWER_LIMIT: usize = 1024 * 1024;

/// The longest that a call of a provider lasts, the answer's last byte included.
pub const CALL_LIMIT: Duration = Duration::from_secs(20);

/// The store does not answer, or not now.
#[derive(Debug, Error)]
#[error("the store does not answer")]
pub struct StoreFault;

/// The reason why no answer of a provider came.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SendFault {
    #[error("the host does not allow this destination: see allowed_outbound_hosts")]
    Denied,
    #[error("it is an address of this Gatehouse itself")]
    Own,
    #[error("no answer in time")]
    Timeout,
    #[error("no connection")]
    Connection,
    #[error("the answer is too long")]
    TooLarge,
    #[error("the head of the request would be longer than 64 KiB")]
    Head,
    #[error("the answer is {0}-coded, although it was asked for without a coding")]
    Coded(&'static str),
}
