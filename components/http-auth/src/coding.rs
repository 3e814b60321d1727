//! Content codings (RFC 9110 section 8.4.1). Gatehouse decodes none, so every request says so, and what is coded all the
//! same can be named.

use http::{HeaderMap, HeaderValue, header};

/// The value of `Accept-Encoding`. Without the field a server may choose any coding (RFC 9110 section 12.5.3).
pub const NONE: HeaderValue = HeaderValue::from_static("identity");

/// The coding of a message's content; `None` if it has none.
pub fn of(headers: &HeaderMap) -> Option<&'static str> {
    let codings =
        headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let mut codings = codings.map(<[u8]>::trim_ascii);
    let coding = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))?;
    let known = KNOWN.into_iter().find(|known| coding.eq_ignore_ascii_case(known.as_bytes()));
    Some(known.unwrap_or("otherwise"))
}

/// Names of codings that may be shown. Another one is a stranger's text.
const KNOWN: [&str; 7] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"];

#[cfg(test)]
mod tests {
    use super::*;

    /// R08: a coding is seen in any letters, in any of several fields, and a stranger's name is not repeated.
    #[test]
    fn a_coding_is_named() {
        for (fields, coding) in [
            (&[][..], None),
            (&["identity"], None),
            (&[""], None),
            (&["Identity, identity"], None),
            (&["gzip"], Some("gzip")),
            (&["GZIP"], Some("gzip")),
            (&["identity, br"], Some("br")),
            (&["identity", "zstd"], Some("zstd")),
            (&["<b>"], Some("otherwise")),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(field));
            }
            assert_eq!(of(&headers), coding, "{fields:?}");
        }
    }
}
