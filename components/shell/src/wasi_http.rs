//! Converts header fields between WASI HTTP and the `http` types.

use http::{HeaderMap, HeaderName, HeaderValue};
use wasi::http::types::Fields;

use crate::head::is_short;

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

/// `None` if the head is longer than the limit, or has a field that the host does not take.
pub(crate) fn fields(headers: &HeaderMap) -> Option<Fields> {
    if !is_short(headers) {
        return None;
    }
    let entries: Vec<(String, Vec<u8>)> = headers
        .iter()
        .filter(|(name, _)| !HOST_OWNED.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&entries).ok()
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
