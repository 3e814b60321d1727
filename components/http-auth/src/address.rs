//! Tells to which part of the network a host belongs, by its name or address alone.
//!
//! A name that *resolves* to a private address cannot be seen here: a component has no part in resolving. Against that
//! stand `allowed_outbound_hosts` and the host's `block_networks`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of a host ([`Place::of`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This machine: `localhost`, an address of 127.0.0.0/8, or ::1.
    Loopback,
    /// A private or otherwise special address, or a name that no public zone has. Only an operator may name it.
    Private,
    /// Always refused: the app itself and its components (`self.alt`, `*.spin.internal`), or a link-local address,
    /// where clouds keep their instance metadata.
    Forbidden,
    /// The outside world.
    Public,
    /// Not a host that every reader takes for the same one, such as `0x7f.1` or `127.1`.
    Invalid,
}

impl Place {
    /// `host` is the host of a URL, without its port; an IPv6 address may have brackets.
    pub fn of(host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(address) = bare.or(host.contains(':').then_some(&*host)) {
            return address.parse().map_or(Self::Invalid, |address| Self::of_address(IpAddr::V6(address)));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Self::of_address(address.into());
        }
        if !is_name(&host) {
            return Self::Invalid;
        }
        let is_in = |zone: &&str| host.strip_suffix(*zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if host == "localhost" {
            Self::Loopback
        } else if FORBIDDEN.iter().any(is_in) {
            Self::Forbidden
        } else if !host.contains('.') || INTERNAL_ZONES.iter().any(is_in) {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// The same of an address.
    pub fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

/// Returns true if `host`, as a URL has it, is this machine by its name or address alone. No resolver is asked.
pub fn is_loopback(host: &str) -> bool {
    Place::of(host) == Place::Loopback
}

/// The host that Spin takes for the app itself, the zone of its components, and the name of Google's instance metadata.
const FORBIDDEN: [&str; 3] = ["self.alt", "spin.internal", "metadata.google.internal"];

/// Zones that no public name is in: RFC 6761, 6762, 7686, 8375, 9476, ICANN's `internal`, and what private networks use.
const INTERNAL_ZONES: [&str; 13] = [
    "alt",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "svc",
    "test",
];

/// A name whose last label is no number: what ends in a number is an IPv4 address to browsers and resolvers, in forms
/// that [`Ipv4Addr`] does not read (WHATWG URL, "ends in a number checker").
fn is_name(host: &str) -> bool {
    let letters = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    host.len() <= 253 && host.split('.').all(letters) && !is_number
}

/// IANA's registry of special addresses (RFC 6890), multicast and class E.
fn of_v4(address: Ipv4Addr) -> Place {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, _, _) => Place::Loopback,
        (169, 254, _) => Place::Forbidden,
        (0 | 10 | 224..=255, _, _)
        | (100, 64..=127, _)
        | (172, 16..=31, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 168, _)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Place::Private,
        _ => Place::Public,
    }
}

/// Global unicast, without the special blocks in it. Addresses that carry an IPv4 address (mapped, 6to4, NAT64) are never
/// public: the IPv4 form of a public one can be written instead.
fn of_v6(address: Ipv6Addr) -> Place {
    if address.is_loopback() {
        return Place::Loopback;
    }
    let carried = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        match of_v4(Ipv4Addr::new(a, b, c, d)) {
            Place::Forbidden => Place::Forbidden,
            _ => Place::Private,
        }
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, _, _, _, _, high, low] => carried(high, low),
        [0x2002, high, low, ..] => carried(high, low),
        [0xfe80..=0xfebf, ..] => Place::Forbidden,
        // The instance metadata of AWS.
        [0xfd00, 0x0ec2, ..] => Place::Forbidden,
        [0x2001, second, ..] if second < 0x0200 || second == 0x0db8 => Place::Private,
        [0x3fff, second, ..] if second < 0x1000 => Place::Private,
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_where_its_name_or_address_says() {
        for (place, hosts) in [
            (Place::Loopback, ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "[::1]", "::1"].as_slice()),
            (
                Place::Public,
                &[
                    "mcp.example.com",
                    "host.testing",
                    "8.8.8.8",
                    "100.128.0.1",
                    "172.32.0.1",
                    "[2606:4700::1111]",
                    "xn--e1afmkfd.xn--p1ai",
                    "a_b.example.org",
                ],
            ),
            (
                Place::Private,
                &[
                    "0.0.0.0",
                    "10.1.2.3",
                    "100.64.0.1",
                    "172.16.0.1",
                    "192.168.1.1",
                    "192.0.0.8",
                    "198.18.0.1",
                    "203.0.113.9",
                    "224.0.0.1",
                    "255.255.255.255",
                    "[::]",
                    "[::ffff:10.0.0.1]",
                    "[::ffff:127.0.0.1]",
                    "[::ffff:8.8.8.8]",
                    "[64:ff9b::a00:1]",
                    "[fc00::1]",
                    "[fd12::1]",
                    "[ff02::1]",
                    "[2001::1]",
                    "[2001:db8::1]",
                    "[2002:a00:1::]",
                    "metadata",
                    "printer.local",
                    "a.localhost",
                    "router.home.arpa",
                ],
            ),
            (
                Place::Forbidden,
                &[
                    "169.254.169.254",
                    "[fe80::1]",
                    "[::ffff:169.254.169.254]",
                    "[64:ff9b::a9fe:a9fe]",
                    "[2002:a9fe:a9fe::1]",
                    "[fd00:ec2::254]",
                    "oauth-broker.spin.internal",
                    "SPIN.internal.",
                    "self.alt",
                    "Self.Alt.",
                    "x.self.alt",
                    "metadata.google.internal",
                ],
            ),
            (
                Place::Invalid,
                &[
                    "",
                    ".",
                    "a..b",
                    "127.1",
                    "0x7f.1",
                    "2130706433",
                    "0x7f000001",
                    "1.2.3.4.5",
                    "[::1",
                    "a b",
                    "a/b",
                    "é",
                ],
            ),
        ] {
            for host in hosts {
                assert_eq!(Place::of(host), place, "{host}");
            }
        }
    }

    /// A05: zones that only a private network has.
    #[test]
    fn names_of_private_zones_are_private() {
        for zone in ["alt", "svc", "lan", "corp", "home", "intranet", "localdomain", "onion", "test"] {
            assert_eq!(Place::of(&format!("mcp.{zone}")), Place::Private, "{zone}");
            assert_eq!(Place::of(&format!("{zone}.example.com")), Place::Public, "{zone}");
        }
        assert_eq!(Place::of("mcp.tools.svc.cluster.local"), Place::Private);
    }
}
