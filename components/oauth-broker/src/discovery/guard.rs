//! Guards against addresses that strangers name (server-side request forgery).
//!
//! The documents of discovery were written by the operator of the MCP server or of its authorization server, and each document
//! names the next address. So a stranger's address has to be `https`, of a host of the outside world: no other component of
//! this app, no literal address of a private, link-local or otherwise special network, no name that only an internal
//! network knows, no user name, no fragment. A host and port that the *operator* wrote (the server's own, `hosts`, and the
//! setting `internal_hosts`) may be on loopback, with plain http, or in a private network: that port of that very host.
//!
//! A name that *resolves* to a private address cannot be seen here: a component has no part in resolving. Against that
//! stand `allowed_outbound_hosts` and the host's `block_networks` (`deploy/`).

use http_auth::address::Place;
use thiserror::Error;
use url::{Host, Url};

use crate::catalogue::{Endpoint, EndpointError};
use crate::host;
use crate::settings::{Setting, SettingError, Settings};

#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    #[error(transparent)]
    Form(#[from] EndpointError),
    #[error("it has braces")]
    Braces,
    #[error("it has a query")]
    Query,
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    #[error(
        "it is an address of this machine or of a private network, and neither `hosts` nor `internal_hosts` names it with its port"
    )]
    Private,
}

/// A host that the operator has written, with its port: another port may be another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    host: String,
    port: u16,
}

impl Named {
    /// Reads `auth.example.com`, whose port is 443, or `auth.example.com:8443`, as a URL has it. `None` if `text` is anything
    /// else, or a host that nobody may name.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("https://{text}")).ok()?;
        let is_bare = url.authority() == text.strip_suffix(":443").unwrap_or(text) && url.username().is_empty();
        Self::of(&url).filter(|named| is_bare && !matches!(Place::of(&named.host), Place::Forbidden | Place::Invalid))
    }

    pub fn of(url: &Url) -> Option<Self> {
        Some(Self { host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// Returns true if `url` is at this host and port.
    pub fn is(&self, url: &Url) -> bool {
        Self::of(url).as_ref() == Some(self)
    }

    /// Returns true if `url` is at this host or at a name under it, and at this port.
    pub fn covers(&self, url: &Url) -> bool {
        let is_name = matches!(url.host(), Some(Host::Domain(_)));
        let is_under = |host: &str| {
            host.strip_suffix(self.host.as_str())
                .is_some_and(|before| before.is_empty() || is_name && before.ends_with('.'))
        };
        url.port_or_known_default() == Some(self.port) && url.host_str().is_some_and(is_under)
    }
}

/// The setting `internal_hosts`: hosts of private networks to which discovery may go, for every caller.
pub(crate) fn internal_hosts<H: host::Host>(settings: &Settings<'_, H>) -> Result<Vec<Named>, SettingError> {
    let parse = |(position, entry): (usize, &str)| {
        Named::parse(entry).ok_or_else(|| {
            let problem = format!("entry {position} is not host:port, such as login.corp.internal:8443");
            SettingError::new(Setting::InternalHosts, problem)
        })
    };
    settings.entries(Setting::InternalHosts).map(parse).collect()
}

/// A stranger's URL that may be gone to. `is_named` tells whether the operator has written its host and port.
pub(crate) fn outside(text: &str, is_named: impl Fn(&Url) -> bool) -> Result<Url, AddressError> {
    if text.len() > LONGEST {
        return Err(AddressError::Long);
    }
    // A row's URL is a template; a stranger's must not be one.
    if text.contains(['{', '}']) {
        return Err(AddressError::Braces);
    }
    let url = Endpoint::parse(text)?.url().clone();
    match url.host_str().map_or(Place::Invalid, Place::of) {
        Place::Public => Ok(url),
        Place::Loopback | Place::Private if is_named(&url) => Ok(url),
        _ => Err(AddressError::Private),
    }
}

/// The longest URL of a stranger, in bytes.
pub(crate) const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// Item 63.
    #[test]
    fn a_strangers_address_is_one_of_the_outside_world() {
        for good in [
            "https://mcp.example.com/x?y=z",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://100.128.0.1/",
            "https://172.32.0.1/",
            "https://host.testing/",
        ] {
            assert!(outside(good, |_| false).is_ok(), "{good}");
        }
        for bad in [
            "https://127.0.0.1/",
            "https://127.9.9.9/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0.0.0.0/",
            "https://10.1.2.3/",
            "https://100.64.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://192.0.0.8/",
            "https://198.18.0.1/",
            "https://203.0.113.9/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:8.8.8.8]/",
            "https://[64:ff9b::a00:1]/",
            "https://[fc00::1]/",
            "https://[fd12::1]/",
            "https://[ff02::1]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[2002:a00:1::]/",
            "https://localhost/",
            "http://localhost:9/",
            "http://127.0.0.1:9/",
            "http://[::1]:9/",
            "https://metadata/",
            "https://printer.local./",
            "https://a.localhost/",
            "https://router.home.arpa/",
        ] {
            assert_eq!(outside(bad, |_| false), Err(AddressError::Private), "{bad}");
        }
        for (bad, error) in [
            ("http://mcp.example.com/", AddressError::Form(EndpointError::Scheme)),
            ("file:///etc/passwd", AddressError::Form(EndpointError::Url)),
            ("/relative", AddressError::Form(EndpointError::Url)),
            ("//a.example/", AddressError::Form(EndpointError::Url)),
            ("", AddressError::Form(EndpointError::Url)),
            ("https://oauth-broker.spin.internal/", AddressError::Form(EndpointError::Internal)),
            ("https://self.alt/auth/evil", AddressError::Form(EndpointError::Internal)),
            ("https://169.254.169.254/latest/meta-data", AddressError::Form(EndpointError::Internal)),
            ("https://[fe80::1]/", AddressError::Form(EndpointError::Internal)),
            ("https://metadata.google.internal/", AddressError::Form(EndpointError::Internal)),
            ("https://u:p@a.example/", AddressError::Form(EndpointError::Parts)),
            ("https://a.example/#f", AddressError::Form(EndpointError::Parts)),
            ("https://a.example/?x={client_id}", AddressError::Braces),
        ] {
            assert_eq!(outside(bad, |_| false), Err(error), "{bad}");
        }
        let long = format!("https://a.example/{}", "x".repeat(LONGEST));
        assert_eq!(outside(&long, |_| false), Err(AddressError::Long));
    }

    fn named(texts: &[&str]) -> Vec<Named> {
        texts.iter().map(|text| Named::parse(text).unwrap_or_else(|| panic!("{text}"))).collect()
    }

    /// A05, item 63: what the operator wrote is the operator's to answer for, and that is a host with its port.
    #[test]
    fn a_host_that_the_operator_wrote_may_be_a_private_one_at_its_port() {
        let named = named(&["localhost:9000", "10.0.0.5", "corp.internal:8443", "[fd12::1]:443", "a.example"]);
        let outside = |url: &str| outside(url, |url| named.iter().any(|named| named.is(url)));
        for good in [
            "http://localhost:9000/x",
            "https://localhost:9000/",
            "https://10.0.0.5/",
            "https://10.0.0.5:443/",
            "https://corp.internal:8443/",
            "https://[fd12::1]/",
            "https://a.example:8443/",
        ] {
            assert!(outside(good).is_ok(), "{good}");
        }
        for bad in [
            "http://localhost:9001/",
            "http://localhost/",
            "http://127.0.0.1:9000/",
            "https://10.0.0.5:8443/",
            "https://10.0.0.6/",
            "https://corp.internal/",
            "https://auth.corp.internal:8443/",
            "https://xcorp.internal:8443/",
            "https://[fd12::1]:8443/",
        ] {
            assert_eq!(outside(bad), Err(AddressError::Private), "{bad}");
        }
        assert_eq!(outside("http://10.0.0.5/"), Err(AddressError::Form(EndpointError::Scheme)));
    }

    /// A05.
    #[test]
    fn a_named_host_is_written_as_it_is_used() {
        for bad in [
            "",
            ":443",
            "a.example/",
            "a.example?x",
            "a.example#x",
            "https://a.example",
            "u@a.example",
            "u:p@a.example",
            "A.example",
            "a.example:",
            "a.example:0443",
            "a.example:65536",
            "*.example",
            "a b",
            "fd12::1",
            "127.1",
            "x.spin.internal",
            "self.alt",
            "169.254.169.254:80",
        ] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
        assert_eq!(Named::parse("a.example"), Named::parse("a.example:443"));
    }

    /// Item 8: what belongs to a host is at it or under it, at the same port.
    #[test]
    fn a_host_covers_the_names_under_it_and_no_other_port() {
        let url = |text: &str| Url::parse(text).unwrap();
        let [host, address] = &named(&["a.example", "8.8.8.8:8443"])[..] else { panic!("two") };
        for good in ["https://a.example/x", "https://b.a.example/"] {
            assert!(host.covers(&url(good)), "{good}");
        }
        for bad in ["https://ba.example/", "https://a.example:8443/", "https://b.a.example:8443/", "https://example/"] {
            assert!(!host.covers(&url(bad)), "{bad}");
        }
        assert!(address.covers(&url("https://8.8.8.8:8443/")) && !address.covers(&url("https://8.8.8.8/")));
        let under = Named { host: "8.8.8".to_owned(), port: 443 };
        assert!(!under.covers(&url("https://1.8.8.8/")));
    }
}
