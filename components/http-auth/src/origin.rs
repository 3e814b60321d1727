//! Web origins (RFC 6454), and whether a request names ours.

use http::Uri;
use http::uri::Authority;

use crate::address::is_loopback;

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_https: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    is_loopback: bool,
}

impl Origin {
    /// Reads `https://mcp.example.com`, `http://127.0.0.1:3000` or the same with a `/` behind it. `None` if `text` is
    /// anything else, such as `null`.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
        is_bare.then(|| Self {
            is_https,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            is_loopback: is_loopback(authority.host()),
        })
    }

    /// Returns true if this names an address of this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The host without its port; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if `other` is this origin. All names of this machine ([`is_own_name`]) are one.
    pub fn is(&self, other: &Self) -> bool {
        let is_host = self.host == other.host || is_own_name(&self.host) && is_own_name(&other.host);
        is_host && self.is_https == other.is_https && self.port == other.port
    }

    /// This origin as `authority`, the `Host` of a request, names it; `None` if that names another host or port. All names of
    /// this machine ([`is_own_name`]) are one, and at such an origin so are all ports.
    pub fn named(&self, authority: &Authority) -> Option<Self> {
        if is_own_name(&self.host) && is_own_name(authority.host()) {
            let port = authority.port_u16().unwrap_or(self.default_port());
            return Some(Self { host: authority.host().to_ascii_lowercase(), port, ..*self });
        }
        self.is_authority(authority).then(|| self.clone())
    }

    /// Returns true if `authority`, the `Host` of a request, names this origin's host and port. All names of this machine
    /// ([`is_own_name`]) are one.
    pub fn is_authority(&self, authority: &Authority) -> bool {
        let named = authority.host();
        let is_host = self.host.eq_ignore_ascii_case(named) || is_own_name(&self.host) && is_own_name(named);
        is_host && authority.port_u16().unwrap_or(self.default_port()) == self.port
    }

    fn default_port(&self) -> u16 {
        if self.is_https { 443 } else { 80 }
    }
}

/// Returns true if `host` is a name under which a machine serves itself: `localhost`, `127.0.0.1` or `[::1]`. No resolver
/// can point one of them elsewhere, so a page at one of them is a page of this machine.
pub fn is_own_name(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = Origin::parse("https://mcp.example.com").unwrap();
        for text in ["https://MCP.example.com/", "https://mcp.example.com:443"] {
            assert_eq!(Origin::parse(text), Some(same.clone()), "{text}");
        }
        for text in ["http://mcp.example.com", "https://mcp.example.com:444", "https://mcp.example.com.evil"] {
            assert_ne!(Origin::parse(text).unwrap(), same, "{text}");
        }
        for text in ["null", "", "file://", "ftp://a", "https://a/x", "https://a?x", "https://u@a", "https://a#x", "a"]
        {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_authority_is_ours_by_host_and_port() {
        let is =
            |origin: &str, authority: &str| Origin::parse(origin).unwrap().is_authority(&authority.parse().unwrap());
        assert!(is("https://mcp.example.com", "mcp.example.com"));
        assert!(is("https://mcp.example.com", "MCP.example.com:443"));
        assert!(!is("https://mcp.example.com", "mcp.example.com:80"));
        assert!(!is("https://mcp.example.com", "localhost"));
        for name in ["127.0.0.1:3000", "localhost:3000", "[::1]:3000"] {
            assert!(is("http://127.0.0.1:3000", name), "{name}");
        }
        for name in ["127.0.0.1:3001", "127.0.0.1", "127.0.0.2:3000", "a.localhost:3000", "evil.example:3000"] {
            assert!(!is("http://127.0.0.1:3000", name), "{name}");
        }
    }

    /// R37: at an origin of this machine any port is our own.
    #[test]
    fn an_origin_of_this_machine_has_every_port() {
        let named = |origin: &str, authority: &str| Origin::parse(origin).unwrap().named(&authority.parse().unwrap());
        for origin in ["http://127.0.0.1:3000", "http://localhost:3000", "http://[::1]:3000"] {
            for (authority, text) in [
                ("127.0.0.1:3011", "http://127.0.0.1:3011"),
                ("LOCALHOST:3000", "http://localhost:3000"),
                ("[::1]", "http://[::1]:80"),
            ] {
                assert_eq!(named(origin, authority), Origin::parse(text), "{origin} {authority}");
            }
            for foreign in ["127.0.0.2:3000", "a.localhost:3000", "localhost.evil.example:3000", "evil.example:3000"] {
                assert_eq!(named(origin, foreign), None, "{origin} {foreign}");
            }
        }
        assert_eq!(named("https://mcp.example.com", "mcp.example.com"), Origin::parse("https://mcp.example.com"));
        for foreign in ["mcp.example.com:444", "localhost:3000", "127.0.0.1"] {
            assert_eq!(named("https://mcp.example.com", foreign), None, "{foreign}");
        }
        assert_eq!(named("http://127.0.0.2:3000", "127.0.0.2:3011"), None);
    }
}
