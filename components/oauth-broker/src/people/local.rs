//! Who may be the owner without a login?
//!
//! In local mode an address protects nothing: any page in the owner's browser can send requests to it. What tells those
//! apart is what a page cannot forge:
//!
//! * **The peer's address** is loopback: the listening address may have been opened to a network without thought.
//! * **Host.** A name of the attacker's that was made to point at 127.0.0.1 (DNS rebinding) is not our name.
//! * **Origin**, where the browser sends one, is our own.
//! * **Sec-Fetch-Site**: from another site, and that is another port too, only a person's own step here is let in: a
//!   top-level navigation by GET, such as a link or the provider's redirect back.
//!
//! Where a token would leave, no browser is let in at all: our pages never ask for one.

use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, header};

use crate::settings::PublicUrl;

/// Lets in the owner's own tools, and their browser on our own pages.
pub fn check(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = authority.or_else(|| text(request.headers(), header::HOST.as_str()));
    if !authority.is_some_and(|authority| public_url.is_authority(authority)) {
        return Err(Foreign::Host);
    }
    if !is_from_here(request.headers()) {
        return Err(Foreign::Address);
    }
    check_origin(request, public_url)
}

/// Lets in what our own pages send, and what no browser sends.
pub fn check_origin(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    let headers = request.headers();
    if headers.get_all(header::ORIGIN).iter().any(|origin| origin.as_bytes() != public_url.as_str().as_bytes()) {
        return Err(Foreign::Origin);
    }
    match text(headers, "sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if request.method() == Method::GET && text(headers, "sec-fetch-dest") == Some("document") => Ok(()),
        Some(_) => Err(Foreign::Site),
    }
}

/// Lets in the owner's own tools only.
pub fn check_no_browser(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Refused> {
    if !public_url.is_loopback() {
        return Err(Refused::NotLocal);
    }
    check(request, public_url).map_err(Refused::Foreign)?;
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(Refused::Foreign(Foreign::Browser));
    }
    Ok(())
}

/// Why a request is not the owner's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Foreign {
    #[error("this address is not the one that `public_url` names: use that one")]
    Host,
    #[error("without a public `public_url` this Gatehouse serves its own machine only")]
    Address,
    #[error("another site sent this")]
    Origin,
    #[error("another site sent this, and not as a link that was followed")]
    Site,
    #[error("a browser gets no token here")]
    Browser,
}

pub enum Refused {
    NotLocal,
    Foreign(Foreign),
}

/// Spin appends the peer's address to what the client sent under that name, so all of them have to be loopback.
fn is_from_here(headers: &HeaderMap) -> bool {
    headers.get_all("spin-client-addr").iter().all(|address| {
        let address: Option<SocketAddr> = address.to_str().ok().and_then(|address| address.parse().ok());
        address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    })
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Broker;
    use crate::tests::World;

    fn asked(method: Method, headers: &[(&str, &str)]) -> Result<(), Foreign> {
        let world = World::local();
        let broker = Broker::new(&world);
        let mut request = Request::builder().method(method).uri("http://127.0.0.1:3000/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(Vec::new()).unwrap(), broker.settings.public_url().unwrap())
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_not_ours() {
        let world = World::local();
        let broker = Broker::new(&world);
        let public_url = broker.settings.public_url().unwrap();
        for (uri, answer) in [
            ("http://127.0.0.1:3000/", Ok(())),
            ("http://evil.example:3000/", Err(Foreign::Host)),
            ("http://127.0.0.1:3001/", Err(Foreign::Host)),
            ("http://localhost:3000/", Err(Foreign::Host)),
            ("http://oauth-broker.spin.internal/", Err(Foreign::Host)),
            ("/", Err(Foreign::Host)),
        ] {
            let request = Request::get(uri).body(Vec::new()).unwrap();
            assert_eq!(check(&request, public_url), answer, "{uri}");
        }
    }

    #[test]
    fn another_machine_is_refused_whatever_it_says_of_itself() {
        assert_eq!(asked(Method::GET, &[("spin-client-addr", "127.0.0.1:5000")]), Ok(()));
        assert_eq!(asked(Method::GET, &[("spin-client-addr", "[::ffff:127.0.0.1]:5000")]), Ok(()));
        for real in ["192.168.1.7:5000", "[2001:db8::1]:5000", "0.0.0.0:0", ""] {
            let forged = [("spin-client-addr", "127.0.0.1:5000"), ("spin-client-addr", real)];
            assert_eq!(asked(Method::GET, &forged), Err(Foreign::Address), "{real}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        assert_eq!(asked(Method::POST, &[("origin", "http://127.0.0.1:3000")]), Ok(()));
        for origin in ["null", "http://127.0.0.1:3001", "https://127.0.0.1:3000", "http://evil.example"] {
            assert_eq!(asked(Method::POST, &[("origin", origin)]), Err(Foreign::Origin), "{origin}");
        }
        let two = [("origin", "http://127.0.0.1:3000"), ("origin", "null")];
        assert_eq!(asked(Method::POST, &two), Err(Foreign::Origin));
    }

    #[test]
    fn from_another_site_only_a_link_that_is_followed_comes_in() {
        for site in ["cross-site", "same-site"] {
            assert_eq!(asked(Method::GET, &[("sec-fetch-site", site), ("sec-fetch-dest", "document")]), Ok(()));
            assert_eq!(
                asked(Method::POST, &[("sec-fetch-site", site), ("sec-fetch-dest", "document")]),
                Err(Foreign::Site)
            );
            for dest in ["image", "iframe", "empty", "script"] {
                assert_eq!(
                    asked(Method::GET, &[("sec-fetch-site", site), ("sec-fetch-dest", dest)]),
                    Err(Foreign::Site)
                );
            }
        }
        assert_eq!(asked(Method::POST, &[("sec-fetch-site", "same-origin")]), Ok(()));
    }
}
