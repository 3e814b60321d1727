//! Converts header fields between WASI HTTP and the `http` types.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasi::http::types::Fields;

/// Bytes asked of a stream at once.
pub(crate) const CHUNK: u64 = 64 * 1024;

/// Header fields that the host owns: a guest that sets one of them is refused the whole field block.
/// `host` is here because WASI HTTP carries it as the authority.
const HOST_OWNED: [&str; 9] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn fields(headers: &HeaderMap) -> Fields {
    let entries: Vec<(String, Vec<u8>)> = headers
        .iter()
        .filter(|(name, _)| !HOST_OWNED.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    // Names and values come from `http`'s own types, so the host has nothing left to object to.
    Fields::from_list(&entries).unwrap_or_else(|_| Fields::new())
}

pub(crate) fn headers(fields: &Fields) -> HeaderMap {
    fields
        .entries()
        .into_iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&value).ok()?))
        })
        .collect()
}
