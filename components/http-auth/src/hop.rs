//! Ends loops: a request that comes back to the Gatehouse that sent it, directly or over others.
//!
//! Each request to a server or a provider says in `Gatehouse-Hop` how many Gatehouses it has passed, the sender included.
//! It is a count and not a list of names, so that it tells no server which Gatehouses stand before it. A client sends none.
//! A request that has passed more than [`MOST`] is refused, so a circle ends after as many requests. The gateway's
//! question to its own broker is no such request and has no such header.

use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// The header field.
pub const HOP: HeaderName = HeaderName::from_static("gatehouse-hop");

/// The most Gatehouses that a request may have passed: two before this one make a chain of three.
pub const MOST: usize = 2;

/// The number of Gatehouses that a request has passed: at most [`MOST`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Hops(usize);

/// The request has passed too many Gatehouses. The answer's status is 508.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this request has passed more than {MOST} Gatehouses (Gatehouse-Hop): the URL of a server or of a provider leads back to here"
)]
pub struct LoopError;

impl Hops {
    /// Reads the header of a request that comes in. A field that no Gatehouse writes counts as too many.
    pub fn of(headers: &HeaderMap) -> Result<Self, LoopError> {
        let mut fields = headers.get_all(HOP).iter();
        let Some(value) = fields.next() else { return Ok(Self(0)) };
        let passed = COUNTS.iter().take(MOST).position(|count| value.as_bytes() == count.as_bytes());
        passed.filter(|_| fields.next().is_none()).map(|passed| Self(passed + 1)).ok_or(LoopError)
    }

    /// The header's value on requests that are sent for this one.
    pub fn next(self) -> HeaderValue {
        HeaderValue::from_static(COUNTS.get(self.0).copied().unwrap_or("3"))
    }
}

const COUNTS: [&str; MOST + 1] = ["1", "2", "3"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Hops, LoopError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HOP, HeaderValue::from_str(value).unwrap());
        }
        Hops::of(&headers)
    }

    /// A05, A16: a request passes three Gatehouses and no fourth.
    #[test]
    fn a_chain_has_an_end() {
        let mut passed = read(&[]).unwrap();
        for count in ["1", "2"] {
            assert_eq!(passed.next(), count);
            passed = read(&[count]).unwrap();
        }
        assert_eq!(passed.next(), "3");
        assert_eq!(read(&["3"]), Err(LoopError));
    }

    #[test]
    fn a_hop_count_that_no_gatehouse_writes_is_refused() {
        for values in [&["0"][..], &["4"], &["-1"], &["1, 1"], &[""], &["x"], &["1", "1"], &["01"]] {
            assert_eq!(read(values), Err(LoopError), "{values:?}");
        }
    }
}
