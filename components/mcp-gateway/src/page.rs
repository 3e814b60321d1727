//! The page that a person sees who opens an MCP endpoint in a browser.
//!
//! It is the same page at every endpoint, whether a server of that name exists or not, and needs no login.
//! It needs no script, loads nothing, and no other page can frame it (RFC 9700 section 4.16).

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, header};

/// Returns true if a browser asks for a page: its `Accept` names HTML and no stream of events. A client that takes anything
/// (`*/*`) is no browser.
pub fn is_wanted(head: &Parts) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && names(&head.headers, "text/html")
        && !names(&head.headers, "text/event-stream")
}

/// Returns true if `Accept` has the media type `wanted` by its name, with a weight that is not 0 (RFC 9110 section 12.4.2).
fn names(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        is_named && !parts.any(|part| matches!(part, "q=0" | "q=0." | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The page. `broker` is where people connect their services.
pub fn page(broker: &str) -> Response<Vec<u8>> {
    let broker = broker.trim_end_matches('/').replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let mut response = Response::new([START, STYLE, BODY, &broker, END].concat().into_bytes());
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::VARY, "Accept"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const START: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
content=\"width=device-width\"><title>MCP endpoint · Gatehouse</title><style>";

const STYLE: &str = include_str!("page.css");

const BODY: &str = "</style></head><body><header>Gatehouse</header><main><h1>MCP endpoint</h1><p>This address is for MCP \
clients, such as Claude Code, VS Code or Cursor. It has no pages.</p><h2>Add it to a client</h2><p>Copy the address of this \
page. In your client, add a server of the type <strong>Streamable HTTP</strong> with that address. If the client asks for a \
login, sign in or enter your API key.</p><h2>Your services</h2><p>To connect your services, or to see what is connected, open \
<a href=\"";

const END: &str = "/\">your connections</a>.</p></main></body></html>";

/// The hash is that of `STYLE`; a test holds them together.
const POLICY: &str = "default-src 'none'; \
style-src 'sha256-LCkOUqQJotA6Mg8EhB4apxkUQt1JivITuT/K4PMP4mI='; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_our_style_and_no_other() {
        let hash = Base64::encode_string(&Sha256::digest(STYLE.as_bytes()));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
    }

    #[test]
    fn html_is_wanted_only_if_it_is_named() {
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            names(&headers, "text/html")
        };
        for named in ["text/html", "application/json, TEXT/HTML;q=0.1", "text/html;level=1"] {
            assert!(wanted(named), "{named}");
        }
        for other in ["*/*", "text/*", "application/json", "text/html;q=0", "text/html; q=0.0", "text/htmlx", ""] {
            assert!(!wanted(other), "{other}");
        }
    }
}
