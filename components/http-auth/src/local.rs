//! Guards what a request may do by where it comes from: local mode, DNS rebinding, and pages of other sites.
//!
//! On a loopback address a port protects nothing: any page in the person's browser can send requests to it. What tells
//! those apart is what a page cannot forge:
//!
//! * **The peer's address** is loopback: the listening address may have been opened to a network without thought.
//! * **No proxy** has passed the request on: behind one, every stranger arrives from loopback.
//! * **Host.** A name of the attacker's that was made to point at 127.0.0.1 (DNS rebinding) is not our name. At a loopback
//!   address any loopback name and any port is ours, because the settings do not have to know where the host listens.
//! * **Origin**, if the browser sends one, is the one that `Host` names or one that the caller of the guard lets in. So a page
//!   of another port of this machine is not ours.
//! * **Sec-Fetch-Site**, if there is no Origin, is `same-origin` or `none`.

use std::net::SocketAddr;

use http::uri::Authority;
use http::{HeaderMap, Method, Uri, header};
use thiserror::Error;

use crate::origin::Origin;

/// The reason why a request is refused. The text is for the person, and tells nothing that the request does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Foreign {
    #[error("this address is not the one that `public_url` names: use that one")]
    Host,
    #[error("without a public `public_url` this Gatehouse serves its own machine only")]
    Address,
    #[error(
        "a proxy has passed this on (`{0}`), and without a public `public_url` this Gatehouse serves its own machine only: \
         set `public_url` to the address that people open"
    )]
    Proxy(String),
    #[error("another site sent this")]
    Origin,
    #[error("another site sent this, and not as a link that was followed")]
    Site,
    #[error("a browser gets no token here")]
    Browser,
}

/// The origin at which the request reached us: `own`, by the name and the port that the request gives it.
///
/// Errors: the request names another host.
pub fn reached(uri: &Uri, headers: &HeaderMap, own: &Origin) -> Result<Origin, Foreign> {
    named(uri, headers).and_then(|named| own.named(&named)).ok_or(Foreign::Host)
}

/// The host and port that the request names: by its URI, or else by its only `Host`.
pub fn named(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    match uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => one(headers, header::HOST.as_str())?.parse().ok(),
    }
}

/// Returns an error unless the request comes from this machine, and from its sender directly.
///
/// Spin appends the peer's address to what the client sent under that name, so all of them have to be loopback. None at all
/// is no word of the host's.
pub fn check_peer(headers: &HeaderMap) -> Result<(), Foreign> {
    if let Some(name) = headers.keys().map(http::HeaderName::as_str).find(|name| is_of_a_proxy(name)) {
        return Err(Foreign::Proxy(name.to_owned()));
    }
    let mut peers = headers.get_all(PEER).iter().peekable();
    let is_here = peers.peek().is_some()
        && peers.all(|address| {
            let address: Option<SocketAddr> = address.to_str().ok().and_then(|address| address.parse().ok());
            address.is_some_and(|address| address.ip().to_canonical().is_loopback())
        });
    if is_here { Ok(()) } else { Err(Foreign::Address) }
}

/// Returns an error if a page of another origin sent the request, unless `is_let_in` returns true for it.
///
/// Without an `Origin`, a page of another site is told by `Sec-Fetch-Site`: a browser sends no `Origin` with a simple GET.
pub fn check_origin(headers: &HeaderMap, own: &Origin, is_let_in: impl Fn(&Origin) -> bool) -> Result<(), Foreign> {
    let origins = headers.get_all(header::ORIGIN);
    let mut named = origins.iter().map(|origin| origin.to_str().ok().and_then(Origin::parse));
    match (named.next(), named.next()) {
        (None, _) if is_of_another_site(headers) => Err(Foreign::Site),
        (None, _) => Ok(()),
        (Some(Some(origin)), None) if own.is(&origin) || is_let_in(&origin) => Ok(()),
        _ => Err(Foreign::Origin),
    }
}

/// Returns true if a person came here by themselves: a top-level navigation by GET, such as a link or a provider's redirect.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && one(headers, "sec-fetch-dest") == Some("document")
        && !headers.contains_key(header::ORIGIN)
}

/// Returns an error if a browser sent the request, from any page.
pub fn check_no_browser(headers: &HeaderMap) -> Result<(), Foreign> {
    let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key(SITE);
    if is_browser { Err(Foreign::Browser) } else { Ok(()) }
}

fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get_all(SITE).iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// Header fields in which proxies and content networks name their client.
fn is_of_a_proxy(name: &str) -> bool {
    // Most names of a request begin with another letter.
    name.starts_with(['c', 'f', 't', 'v', 'x'])
        && (PROXY_FIELDS.contains(&name) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Added by Spin: the peer's address and port.
const PEER: &str = "spin-client-addr";
const SITE: &str = "sec-fetch-site";
const PROXY_FIELDS: [&str; 9] = [
    "cdn-loop",
    "client-ip",
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    "x-scheme",
];
const PROXY_PREFIXES: [&str; 14] = [
    "cf-",
    "fastly-",
    "fly-",
    "tailscale-",
    "x-amzn-",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded",
    "x-nf-",
    "x-original-",
    "x-remote-",
    "x-vercel-",
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue, Request};

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn own() -> Origin {
        Origin::parse("http://127.0.0.1:3000").unwrap()
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_not_ours() {
        for (uri, host, answer) in [
            ("http://127.0.0.1:3000/", None, Ok(())),
            ("http://localhost:3000/", None, Ok(())),
            ("/", Some("127.0.0.1:3000"), Ok(())),
            ("http://evil.example:3000/", Some("127.0.0.1:3000"), Err(Foreign::Host)),
            ("http://localhost:3011/", None, Ok(())),
            ("http://127.0.0.2:3000/", None, Err(Foreign::Host)),
            ("http://oauth-broker.spin.internal/", None, Err(Foreign::Host)),
            ("/", None, Err(Foreign::Host)),
        ] {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(reached(&head.uri, &head.headers, &own()).map(drop), answer, "{uri}");
        }
    }

    #[test]
    fn another_machine_is_refused_under_any_host_name() {
        for real in ["127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            assert_eq!(check_peer(&headers(&[(PEER, real)])), Ok(()), "{real}");
        }
        for real in ["192.168.1.7:5000", "[2001:db8::1]:5000", "0.0.0.0:0", "", "127.0.0.1"] {
            let forged = headers(&[(PEER, "127.0.0.1:5000"), (PEER, real)]);
            assert_eq!(check_peer(&forged), Err(Foreign::Address), "{real}");
        }
    }

    /// A20: a host that says nothing of the peer is not believed.
    #[test]
    fn a_request_without_a_peer_address_is_not_from_loopback() {
        assert_eq!(check_peer(&headers(&[])), Err(Foreign::Address));
    }

    /// A25: behind a proxy every stranger arrives from loopback.
    #[test]
    fn a_request_through_a_proxy_is_not_from_this_machine() {
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
            "via",
            "cf-connecting-ip",
            "cf-ray",
            "true-client-ip",
            "x-original-host",
            "cdn-loop",
            "fastly-client-ip",
            "tailscale-user-login",
            "x-arr-log-id",
            "x-azure-clientip",
            "x-nf-client-connection-ip",
            "x-remote-addr",
            "x-vercel-id",
        ] {
            let passed_on = headers(&[(PEER, "127.0.0.1:5000"), (name, "x")]);
            assert_eq!(check_peer(&passed_on), Err(Foreign::Proxy(name.to_owned())));
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let inspector = [Origin::parse("http://localhost:6274").unwrap()];
        let check =
            |fields: &[(&str, &str)]| check_origin(&headers(fields), &own(), |origin| inspector.contains(origin));
        assert_eq!(check(&[]), Ok(()));
        for origin in ["http://127.0.0.1:3000", "http://localhost:3000", "http://localhost:6274"] {
            assert_eq!(check(&[("origin", origin), ("sec-fetch-site", "cross-site")]), Ok(()), "{origin}");
        }
        for origin in ["null", "", "http://127.0.0.1:3001", "https://127.0.0.1:3000", "http://localhost:3001", "\u{e9}"]
        {
            assert_eq!(check(&[("origin", origin)]), Err(Foreign::Origin), "{origin}");
        }
    }

    /// A21: every Origin is looked at, not the first one alone.
    #[test]
    fn a_second_origin_is_refused() {
        for second in ["null", "http://evil.example", "http://127.0.0.1:3000"] {
            let two = headers(&[("origin", "http://127.0.0.1:3000"), ("origin", second)]);
            assert_eq!(check_origin(&two, &own(), |_| false), Err(Foreign::Origin), "{second}");
        }
    }

    /// A06: a page sends no Origin with `fetch(…, {mode: "no-cors"})`.
    #[test]
    fn without_an_origin_only_our_own_site_is_let_in() {
        let check = |sites: &[(&str, &str)]| check_origin(&headers(sites), &own(), |_| false);
        for site in ["same-origin", "none"] {
            assert_eq!(check(&[("sec-fetch-site", site)]), Ok(()), "{site}");
        }
        for site in ["cross-site", "same-site", "", "None"] {
            assert_eq!(check(&[("sec-fetch-site", site)]), Err(Foreign::Site), "{site}");
        }
        assert_eq!(check(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]), Err(Foreign::Site));
    }

    /// Item 36: a browser says which site it asks for, or which origin; a program says neither.
    #[test]
    fn a_browser_is_told_from_a_program_by_either_field() {
        for browser in [
            &[("origin", "https://mcp.example")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://mcp.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(check_no_browser(&headers(browser)), Err(Foreign::Browser), "{browser:?}");
        }
        assert_eq!(check_no_browser(&headers(&[("user-agent", "Mozilla/5.0"), ("cookie", "a=b")])), Ok(()));
    }

    #[test]
    fn only_a_link_that_is_followed_is_a_navigation() {
        let is = |method: Method, fields: &[(&str, &str)]| is_navigation(&method, &headers(fields));
        assert!(is(Method::GET, &[("sec-fetch-dest", "document")]));
        assert!(!is(Method::POST, &[("sec-fetch-dest", "document")]));
        assert!(!is(Method::GET, &[("sec-fetch-dest", "document"), ("origin", "null")]));
        for dest in ["image", "iframe", "empty", "script"] {
            assert!(!is(Method::GET, &[("sec-fetch-dest", dest)]), "{dest}");
        }
    }
}
