//! Decides whether a component may call a URL.
//!
//! `allowed_outbound_hosts` in Spin's syntax: `scheme://host[:port]`, where the scheme may be `*`, the host `*`,
//! `*.domain`, a network in CIDR form or `self`, and the port `*` or `from..to`. `https://*:*` matches every host,
//! so `*.spin.internal` and relative requests too: that is Spin's rule, and the reason why the gateway checks again.

use crate::manifest::Manifest;
use crate::variables::{Template, Variables};
use anyhow::{Context, Result, bail, ensure};
use ip_network::IpNetwork;
use std::ops::Range;
use url::{Host, Url};

pub const CHAINING_SUFFIX: &str = ".spin.internal";

pub struct AllowedHosts(Vec<Allowed>);

impl AllowedHosts {
    /// Entries with variables in them are expanded first; one that becomes empty is an endpoint left out.
    pub fn resolve(entries: &[String], variables: &Variables, manifest: &Manifest) -> Result<Self> {
        let mut allowed = Vec::new();
        for entry in entries {
            let template = Template::parse(entry)?;
            let expanded = variables.expand(&template)?;
            let left_out = !template.is_literal() && matches!(expanded.as_str(), "" | "http://" | "https://");
            if left_out {
                continue;
            }
            let entry = Allowed::parse(&expanded).with_context(|| format!("allowed_outbound_hosts entry {entry:?}"))?;
            if entry.host == HostRule::Subdomains(CHAINING_SUFFIX.to_owned()) {
                // Of this domain, only components of the app are there to be called.
                allowed.extend(manifest.components.keys().map(|id| Allowed {
                    host: HostRule::Exactly(Host::Domain(format!("{}{CHAINING_SUFFIX}", id.0))),
                    ..entry.clone()
                }));
            } else {
                allowed.push(entry);
            }
        }
        Ok(Self(allowed))
    }

    pub fn allows(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return false };
        let Some(Ok(host)) = url.host_str().map(Host::parse) else { return false };
        let port = url.port().or_else(|| well_known_port(url.scheme()));
        self.0.iter().any(|allowed| {
            allowed.allows_scheme(url.scheme()) && allowed.host.allows(&host) && allowed.port.allows(port)
        })
    }

    /// A request without a host, or to `self.alt`, goes to this app itself.
    pub fn allows_self(&self) -> bool {
        self.0.iter().any(|allowed| {
            (allowed.allows_scheme("http") || allowed.allows_scheme("https"))
                && matches!(allowed.host, HostRule::Any | HostRule::ToSelf)
        })
    }
}

/// The component that a chaining URL's host names.
pub fn chaining_target(host: &str) -> Option<&str> {
    let (host, _) = host.rsplit_once(':').unwrap_or((host, ""));
    host.split_once('.').filter(|(_, domain)| *domain == &CHAINING_SUFFIX[1..]).map(|(id, _)| id)
}

#[derive(Debug, Clone, PartialEq)]
struct Allowed {
    /// `None` is `*`.
    scheme: Option<String>,
    host: HostRule,
    port: PortRule,
}

#[derive(Debug, Clone, PartialEq)]
enum HostRule {
    Any,
    ToSelf,
    /// The suffix with its leading dot.
    Subdomains(String),
    Network(IpNetwork),
    Exactly(Host),
}

#[derive(Debug, Clone, PartialEq)]
enum PortRule {
    Any,
    Exactly(u16),
    Within(Range<u16>),
}

impl Allowed {
    fn parse(entry: &str) -> Result<Self> {
        let (scheme, rest) = entry.trim().split_once("://").context("it must be <scheme>://<host>[:<port>]")?;
        ensure!(
            scheme == "*" || !scheme.is_empty() && scheme.chars().all(char::is_alphabetic),
            "the scheme {scheme:?} may have letters only"
        );
        let (host, port) = match rest.rsplit_once(':') {
            // The last colon of an IPv6 address is no port's.
            Some((_, port)) if !port.is_empty() && HostRule::parse(rest).is_ok() => (rest, ""),
            Some((host, port)) => (host, port),
            None => (rest, ""),
        };
        let port = match port.split_once('/') {
            Some((port, "")) => port,
            Some(_) => bail!("it must not have a path"),
            None => port,
        };
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host: HostRule::parse(host)?,
            port: PortRule::parse(port, scheme)?,
        })
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.scheme.as_deref().is_none_or(|allowed| allowed == scheme)
    }
}

impl HostRule {
    fn parse(host: &str) -> Result<Self> {
        let host = host.trim();
        match host {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::ToSelf),
            _ => {}
        }
        if let Ok(network) = IpNetwork::from_str_truncate(host) {
            return Ok(Self::Network(network));
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        ensure!(!host.contains('/'), "it must not have a path");
        ensure!(!host.starts_with('{'), "host lists are not supported");
        let domain = host.strip_prefix("*.");
        ensure!(!domain.unwrap_or(host).contains('*'), "a wildcard may only stand for subdomains");
        match domain {
            Some(domain) => match Host::parse(domain)? {
                Host::Domain(domain) => Ok(Self::Subdomains(format!(".{domain}"))),
                _ => bail!("a wildcard's suffix must be a domain"),
            },
            None => Ok(Self::Exactly(Host::parse(host).with_context(|| format!("invalid host {host:?}"))?)),
        }
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Subdomains(suffix), Host::Domain(domain)) => domain.ends_with(suffix),
            (Self::Exactly(exactly), host) => exactly == host,
            (Self::Network(network), Host::Ipv4(ip)) => network.contains(*ip),
            (Self::Network(network), Host::Ipv6(ip)) => network.contains(*ip),
            _ => false,
        }
    }
}

impl PortRule {
    fn parse(port: &str, scheme: &str) -> Result<Self> {
        let number = |port: &str| port.parse().with_context(|| format!("the port {port:?} is not a number"));
        match port {
            "" => well_known_port(scheme)
                .map(Self::Exactly)
                .with_context(|| format!("the scheme {scheme:?} has no known port, so one must be written")),
            "*" => Ok(Self::Any),
            _ => match port.split_once("..") {
                Some((from, to)) => Ok(Self::Within(number(from)?..number(to)?)),
                None => Ok(Self::Exactly(number(port)?)),
            },
        }
    }

    fn allows(&self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Any, _) => true,
            (Self::Exactly(exactly), Some(port)) => *exactly == port,
            (Self::Within(range), Some(port)) => range.contains(&port),
            (_, None) => false,
        }
    }
}

fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" => Some(6379),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "mqtt" => Some(1883),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Provider;

    fn allowed(entries: &[&str]) -> Result<AllowedHosts> {
        let manifest = Manifest::parse(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[variables]\nhost = { default = \"\" }\n\
             [[trigger.http]]\nroute = \"/\"\ncomponent = \"inner\"\n[component.inner]\nsource = \"c.wasm\"",
        )?;
        let providers = [Provider::Static([("host".to_owned(), "api.example.com".to_owned())].into())];
        let variables = Variables::resolve(&manifest, &providers)?;
        let entries: Vec<_> = entries.iter().map(|&e| e.to_owned()).collect();
        AllowedHosts::resolve(&entries, &variables, &manifest)
    }

    #[test]
    fn scheme_host_and_port_must_match() {
        let allowed = allowed(&["https://example.com", "http://127.0.0.1:*", "https://ports.test:8000..8010"]).unwrap();
        for url in
            ["https://example.com/x", "https://example.com:443/", "http://127.0.0.1:9/", "https://ports.test:8009/"]
        {
            assert!(allowed.allows(url), "{url}");
        }
        for url in [
            "http://example.com/",
            "https://example.com:8443/",
            "https://sub.example.com/",
            "https://127.0.0.1:9/",
            "https://ports.test:8010/",
            "https://example.com.evil.test/",
            "https://example.com@evil.test/",
        ] {
            assert!(!allowed.allows(url), "{url}");
        }
    }

    #[test]
    fn a_subdomain_wildcard_does_not_match_the_domain_itself() {
        let allowed = allowed(&["https://*.example.com"]).unwrap();
        assert!(allowed.allows("https://a.b.example.com/"));
        assert!(!allowed.allows("https://example.com/"));
        assert!(!allowed.allows("https://badexample.com/"));
    }

    #[test]
    fn a_network_matches_addresses_however_they_are_written() {
        let allowed = allowed(&["http://10.0.0.0/8:80"]).unwrap();
        assert!(allowed.allows("http://10.1.2.3/"));
        assert!(allowed.allows("http://0x0a010203/"));
        assert!(!allowed.allows("http://11.1.2.3/"));
        assert!(!allowed.allows("http://ten.test/"));
    }

    #[test]
    fn the_wildcard_matches_components_and_self_as_in_spin() {
        let all = allowed(&["https://*:*"]).unwrap();
        assert!(all.allows("https://inner.spin.internal/"));
        assert!(all.allows_self());
        assert!(!all.allows("http://inner.spin.internal/"));
        assert!(allowed(&["http://self"]).unwrap().allows_self());
        assert!(!allowed(&["https://example.com"]).unwrap().allows_self());
        assert!(allowed(&["self"]).is_err(), "Spin does not load the bare word");
    }

    #[test]
    fn the_chaining_wildcard_means_the_components_of_the_app() {
        let allowed = allowed(&["http://*.spin.internal"]).unwrap();
        assert!(allowed.allows("http://inner.spin.internal/"));
        assert!(!allowed.allows("http://other.spin.internal/"));
    }

    #[test]
    fn templates_are_expanded_and_empty_ones_left_out() {
        assert!(allowed(&["https://{{ host }}"]).unwrap().allows("https://api.example.com/"));
        assert!(!allowed(&["https://"]).is_ok_and(|allowed| allowed.allows("https://api.example.com/")));
    }

    #[test]
    fn malformed_entries_are_refused() {
        for entry in
            ["*", "example.com", "https://example.com/path", "https://a.*.com", "x1://h", "ftp://h", "http://h:p"]
        {
            assert!(allowed(&[entry]).is_err(), "{entry}");
        }
    }

    #[test]
    fn a_chaining_target_is_one_label_of_the_domain() {
        assert_eq!(chaining_target("inner.spin.internal"), Some("inner"));
        assert_eq!(chaining_target("inner.spin.internal:80"), Some("inner"));
        assert_eq!(chaining_target("a.inner.spin.internal"), None);
        assert_eq!(chaining_target("spin.internal"), None);
    }
}
