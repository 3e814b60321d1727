//! What does the broker need of the machine that runs it?
//!
//! Two real implementations: Spin (`component`) and the one that the tests script.

use std::cell::Cell;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_auth::{HOP, Hops, Origin};
use thiserror::Error;

pub trait Host {
    /// The setting of that name; none when it is not set.
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

/// Sends a request to a provider or an MCP server, which says how many Gatehouses it has passed. Never to this Gatehouse
/// itself, whoever named the address: it would be its own provider, and wait for itself. No longer answer than
/// [`ANSWER_LIMIT`] is taken, whatever the host lets through.
pub(crate) fn send<H: Host>(
    host: &H,
    mut request: Request<Vec<u8>>,
) -> Result<impl Future<Output = Result<Response<Vec<u8>>, SendFault>>, SendFault> {
    if is_own(host, request.uri()) {
        return Err(SendFault::Own);
    }
    request.headers_mut().insert(HOP, host.hops().get().next());
    let answer = host.send(request);
    Ok(async {
        let answer = answer.await?;
        if answer.body().len() > ANSWER_LIMIT { Err(SendFault::TooLarge) } else { Ok(answer) }
    })
}

/// Returns true if `url` is at an address of this Gatehouse: the broker's or the gateway's.
pub(crate) fn is_own<H: Host>(host: &H, url: &Uri) -> bool {
    let Some(authority) = url.authority() else { return false };
    let own = |setting| Origin::parse(host.setting(setting)?.trim());
    ["public_url", "gateway_url"].into_iter().filter_map(own).any(|own| own.is_authority(authority))
}

/// The longest answer of a provider that is read.
pub const ANSWER_LIMIT: usize = 1024 * 1024;

/// The longest that a call of a provider lasts, the answer's last byte included.
pub const CALL_LIMIT: Duration = Duration::from_secs(20);

/// The store does not answer, or not now.
#[derive(Debug, Error)]
#[error("the store does not answer")]
pub struct StoreFault;

/// Why no answer of a provider came.
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
    #[error("the answer is {0}-coded, although it was asked for without a coding")]
    Coded(&'static str),
}
