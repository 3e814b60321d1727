//! To which of the addresses that strangers name may the broker go? (server-side request forgery)
//!
//! What discovery reads was written by whoever runs the MCP server, or its authorization server, and each document names the
//! next address. So a stranger's address has to be `https`, of a host of the outside world: no other component of this
//! app, no literal address of a private, link-local or otherwise special network, no name that only an internal
//! network knows, no user name, no fragment. What the *operator* wrote (the server's own host, and `hosts`) is the
//! operator's to answer for: there a server on loopback may be, with plain http, or one in a private network.
//!
//! A name that *resolves* to a private address cannot be seen here: a component has no part in resolving. Against that
//! stand `allowed_outbound_hosts` and the host's `block_networks` (`deploy/`).

use http_auth::address::Place;
use thiserror::Error;
use url::{Host, Url};

use crate::catalogue::{Endpoint, EndpointError};

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
    #[error("it is an address of this machine or of a private network")]
    Private,
}

/// A stranger's URL that may be gone to. `named` are the hosts that the operator wrote.
pub(crate) fn outside(text: &str, named: &[String]) -> Result<Url, AddressError> {
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
        Place::Loopback | Place::Private if is_among(&url, named) => Ok(url),
        _ => Err(AddressError::Private),
    }
}

/// Whether the host of `url` is one of `hosts`, or a name under one of them.
pub(crate) fn is_among(url: &Url, hosts: &[String]) -> bool {
    let Some(host) = url.host_str() else { return false };
    let named = matches!(url.host(), Some(Host::Domain(_)));
    hosts.iter().any(|known| {
        host == known
            || named && host.strip_suffix(known.as_str()).is_some_and(|under| under.ends_with('.') && !known.is_empty())
    })
}

const LONGEST: usize = 2048;

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
            assert!(outside(good, &[]).is_ok(), "{good}");
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
            assert_eq!(outside(bad, &[]), Err(AddressError::Private), "{bad}");
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
            assert_eq!(outside(bad, &[]), Err(error), "{bad}");
        }
        let long = format!("https://a.example/{}", "x".repeat(LONGEST));
        assert_eq!(outside(&long, &[]), Err(AddressError::Long));
    }

    /// Item 63: what the operator wrote is the operator's to answer for; no further than that.
    #[test]
    fn a_host_that_the_operator_wrote_may_be_a_private_one() {
        let named = ["localhost".to_owned(), "10.0.0.5".to_owned(), "corp.internal".to_owned()];
        for good in ["http://localhost:9/", "https://10.0.0.5/", "https://auth.corp.internal/", "https://a.example/"] {
            assert!(outside(good, &named).is_ok(), "{good}");
        }
        for bad in ["http://127.0.0.1:9/", "https://10.0.0.6/", "https://xcorp.internal/", "https://1.10.0.0.5/"] {
            assert!(outside(bad, &named).is_err(), "{bad}");
        }
        assert!(outside("http://10.0.0.5/", &named).is_err());
        assert!(outside("https://x.spin.internal/", &["x.spin.internal".to_owned()]).is_err());
    }
}
