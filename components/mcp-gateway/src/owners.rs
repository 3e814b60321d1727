//! Finds the server that a URI belongs to, if many servers share one endpoint.
//!
//! In the aggregate a URI says nothing of its server, and may hold a secret. So no server gets a URI that may be another's.
//! A server *claims* a URI by listing it, as a resource or as a skill, or by a template that the URI fits; a template
//! counts only if its literal start has the scheme and the colon. One claim decides. If several servers claim the URI, the
//! client has to name the server: `gatehouse://server/…`. A template that leaves the host open is weaker: other servers
//! with resources on that host count as well. If nobody claims the URI, it goes to the only server that lists others of its
//! scheme and host, else of its scheme. If only one server has resources at all, every URI is for it.
//!
//! A server that does not answer, or is not connected, counts with what it last listed: an outage gives its URIs to
//! nobody else. URIs are compared in one form (RFC 3986 section 6.2.2): the case of scheme and host and unneeded escapes
//! tell no two URIs apart.

use crate::config::{Server, glob};
use crate::describe;
use crate::host::Host;
use crate::lists::{self, Found, Kind, RESOURCES, SKILLS, TEMPLATES};
use crate::memory::{self, Facts};
use crate::places::Places;
use crate::session::Profile;
use crate::upstream::Link;
use crate::visitor::Visitor;

/// The most templates of one server that URIs are compared with.
const MOST_TEMPLATES: usize = 100;

/// The server that a URI is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner<S> {
    One(S),
    /// The client has to say which of these it means.
    Several(Vec<S>),
    Nobody,
}

/// What the servers of one endpoint list.
#[derive(Default)]
pub struct Claims {
    /// Places of those servers that have resources.
    having: Vec<usize>,
    /// What is listed, by its one form.
    listed: Places<'static>,
    /// Schemes with their hosts, and schemes alone, of what is listed.
    around: Places<'static>,
    /// Who lists it.
    by: Vec<Vec<usize>>,
    templates: Vec<Template>,
}

struct Template {
    server: usize,
    pattern: String,
    place: String,
}

/// What `servers` list. `known` is what they were found to list of one kind a moment ago.
pub async fn gather<H: Host>(
    host: &H,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    profile: Profile,
    known: Option<(&'static Kind, &[Option<Found>])>,
) -> Claims {
    let facts = describe::facts(host, servers, visitor, profile).await;
    let known_facts = |(at, facts): (usize, Option<Facts>)| {
        let facts = facts.or_else(|| memory::last_facts(host, link(servers.get(at)?, visitor, profile)))?;
        facts.has(RESOURCES.capability).then_some((at, facts))
    };
    let having: Vec<(usize, Facts)> = facts.into_iter().enumerate().filter_map(known_facts).collect();
    let mut claims = Claims { having: having.iter().map(|(at, _)| *at).collect(), ..Claims::default() };
    // Of one server there is nothing to tell apart.
    if claims.having.len() < 2 {
        return claims;
    }
    for kind in [&RESOURCES, &TEMPLATES, &SKILLS] {
        let places: Vec<usize> =
            having.iter().filter(|(_, facts)| facts.has(kind.capability)).map(|(at, _)| *at).collect();
        let asked: Vec<&Server<'_>> = places.iter().filter_map(|at| servers.get(*at)).collect();
        let (now, given) = match known.filter(|(known, _)| known.method == kind.method) {
            Some((_, found)) => (Vec::new(), Some(found)),
            None => (lists::all(host, kind, &asked, visitor, profile).await, None),
        };
        for (place, server) in asked.into_iter().enumerate() {
            let Some(at) = places.get(place).copied() else { continue };
            let keys = match given.map_or(now.get(place), |found| found.get(at)) {
                Some(Some(Ok(found))) => found.as_ref().map(|listed| listed.keys(kind)).unwrap_or_default(),
                _ => lists::last_keys(host, kind, link(server, visitor, profile)),
            };
            claims.add(at, &keys, kind.method == TEMPLATES.method);
        }
    }
    claims
}

/// A server as what is remembered of it is found, whether it can be called or not.
fn link<'a>(server: &'a Server<'a>, visitor: &'a Visitor, profile: Profile) -> Link<'a> {
    Link { server, token: None, caller: &visitor.caller, profile }
}

impl Claims {
    fn add(&mut self, server: usize, keys: &[String], are_templates: bool) {
        let Self { listed, around, by, .. } = self;
        let mut note = |places: &mut Places<'static>, name: &str| {
            let place = places.note(name.to_owned().into(), by.len());
            if place == by.len() {
                by.push(Vec::new());
            }
            // The same server comes at once, or with its templates.
            if let Some(all) = by.get_mut(place).filter(|all| all.last() != Some(&server)) {
                all.push(server);
            }
        };
        let mut patterns = Vec::new();
        for (number, text) in keys.iter().enumerate() {
            let text = normal(text);
            note(listed, &text);
            if scheme(&text).is_empty() {
                continue;
            }
            note(around, place(&text));
            note(around, scheme(&text));
            if are_templates && number < MOST_TEMPLATES {
                patterns.push(Template { server, pattern: pattern(&text), place: place(&text).to_owned() });
            }
        }
        self.templates.append(&mut patterns);
    }

    /// The server that `uri` is for, as its place among those that were asked.
    pub fn owner(&self, uri: &str) -> Owner<usize> {
        if let [only] = self.having.as_slice() {
            return Owner::One(*only);
        }
        let uri = normal(uri);
        let here = place(&uri);
        let of = |places: &Places<'static>, name: &str| -> &[usize] {
            places.find(name).and_then(|place| self.by.get(place)).map_or(&[], Vec::as_slice)
        };
        let mut claims = of(&self.listed, &uri).to_vec();
        let mut is_close = !claims.is_empty();
        for template in &self.templates {
            if glob(&template.pattern, &uri) {
                claims.push(template.server);
                is_close |= template.place == here;
            }
        }
        if !is_close {
            claims.extend_from_slice(of(&self.around, here));
        }
        if claims.is_empty() {
            claims.extend_from_slice(of(&self.around, scheme(&uri)));
        }
        let mut all = self.having.iter().copied().filter(|server| claims.contains(server));
        match (all.next(), all.next()) {
            (None, _) => Owner::Nobody,
            (Some(one), None) => Owner::One(one),
            (Some(one), Some(other)) => Owner::Several([one, other].into_iter().chain(all).collect()),
        }
    }
}

/// `uri` in the form in which URIs are compared. What has no scheme stays as it is.
fn normal(uri: &str) -> String {
    let start = scheme(uri);
    let mut made = start.to_ascii_lowercase();
    let mut pieces = uri[start.len()..].split('%');
    made += pieces.next().unwrap_or_default();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => made.push(char::from(byte)),
            Some(_) => made.extend(["%", &piece[..2].to_ascii_uppercase()]),
            None => made.push('%'),
        }
        made += if byte.is_some() { &piece[2..] } else { piece };
    }
    let host = place(&made).len();
    made[..host].make_ascii_lowercase();
    made
}

/// The scheme of a URI or of a template's literal start, with its colon; nothing if it has none (RFC 3986 section 3.1).
fn scheme(uri: &str) -> &str {
    let is_of_scheme = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
    match uri.bytes().position(|c| !is_of_scheme(c)) {
        Some(end) if uri.as_bytes()[end] == b':' && uri.starts_with(|c: char| c.is_ascii_alphabetic()) => &uri[..=end],
        _ => "",
    }
}

/// Scheme and host of a URI or a template; the scheme if it has no host.
fn place(uri: &str) -> &str {
    let scheme = scheme(uri);
    let Some(rest) = uri[scheme.len()..].strip_prefix("//").filter(|_| !scheme.is_empty()) else { return scheme };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // RFC 6570 section 3.2.4: such an expression begins with its delimiter.
    let host = rest[..end].strip_suffix('{').unwrap_or(&rest[..end]);
    &uri[..scheme.len() + 2 + host.len()]
}

/// A template of RFC 6570 as a pattern: what stands in braces may be anything.
fn pattern(template: &str) -> String {
    let mut pattern = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        pattern.push_str(literal);
        pattern.push('*');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    pattern + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(known: &[(&[&str], &[&str])]) -> Claims {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut claims = Claims { having: (0..known.len()).collect(), ..Claims::default() };
        for (server, (uris, templates)) in known.iter().enumerate() {
            claims.add(server, &of(uris), false);
            claims.add(server, &of(templates), true);
        }
        claims
    }

    #[test]
    fn one_claim_decides_before_what_is_alike_and_several_claims_decide_nothing() {
        let claims = claims(&[
            (&["test://one/x", "file:///shared", "git://a/1"], &["test://{kind}/t/{id}", "db://a{/path}"]),
            (&["test://two/y", "file:///shared", "test://one/t/9", "git://b/1"], &["note:{+rest}", "mail://b/{id}"]),
        ]);
        let both = || Owner::Several(vec![0, 1]);
        for (uri, expected) in [
            ("test://one/x", Owner::One(0)),
            ("test://two/y", Owner::One(1)),
            ("file:///shared", both()),
            // One lists it, the other's template fits it.
            ("test://one/t/9", both()),
            // The template leaves the host open, and the other server has that host too.
            ("test://one/t/8", both()),
            ("test://three/t/8", Owner::One(0)),
            ("test://{kind}/t/{id}", Owner::One(0)),
            ("db://a/x?y", Owner::One(0)),
            ("mail://b/7", Owner::One(1)),
            ("test://two/z", Owner::One(1)),
            ("note:x/y", Owner::One(1)),
            ("note", Owner::Nobody),
            ("git://b/2", Owner::One(1)),
            ("git://c/2", both()),
            ("https://a.example/x", Owner::Nobody),
            ("", Owner::Nobody),
        ] {
            assert_eq!(claims.owner(uri), expected, "{uri}");
        }
    }

    /// A08: a template without a scheme of its own fits nothing, and a broad one takes nobody's host away.
    #[test]
    fn a_template_that_fits_everything_captures_nothing() {
        for greedy in ["{+any}", "{scheme}:{+rest}", "{s}://{+rest}", "go{+any}", "", "{", "*", "1good:{+x}"] {
            let claims = claims(&[(&[], &[greedy]), (&["good://public/a"], &[])]);
            assert_eq!(claims.owner("good://private/x?token=1"), Owner::One(1), "{greedy}");
            assert_eq!(claims.owner("other:x"), Owner::Nobody, "{greedy}");
        }
        for broad in ["good://{+any}", "GOOD://{+any}", "good:{+any}", "good://private{+any}", "good://priv{x}/{y}"] {
            let claims = claims(&[(&[], &[broad]), (&["good://private/a"], &[])]);
            assert_eq!(claims.owner("good://private/x?token=1"), Owner::Several(vec![0, 1]), "{broad}");
        }
    }

    /// A08: another spelling of a URI is the same URI.
    #[test]
    fn the_case_of_scheme_and_host_and_unneeded_escapes_tell_no_uris_apart() {
        let claims = claims(&[
            (&["GOOD://Private/%61%2fb"], &["good://PRIV%61te/t/{id}"]),
            (&["good://private/a%2Fb"], &["good://private/t/{id}"]),
        ]);
        for uri in [
            "good://private/a%2fb",
            "Good://PRIVATE/%61%2Fb",
            "good://priv%61te/a%2fb",
            "good://private/t/1",
            "good://priv%61TE/%74/1",
        ] {
            assert_eq!(claims.owner(uri), Owner::Several(vec![0, 1]), "{uri}");
        }
        for (uri, expected) in [
            ("A+b-C.1:X%7e%zz%e9%", "a+b-c.1:X~%zz%E9%"),
            ("X://A.b?C", "x://a.b?C"),
            ("x:%41", "x:A"),
            ("é:%41", "é:A"),
            ("%", "%"),
            ("%é", "%é"),
        ] {
            assert_eq!(normal(uri), expected);
            assert_eq!(normal(expected), expected, "the form is its own");
        }
    }

    /// A15: the work for n URIs and templates does not grow with their product.
    #[test]
    fn more_templates_than_a_server_needs_fit_nothing() {
        let many: Vec<String> = (0..200).map(|n| format!("t{n}:{{x}}")).collect();
        let mut claims = Claims { having: vec![0, 1], ..Claims::default() };
        claims.add(0, &many, true);
        assert_eq!(claims.templates.len(), MOST_TEMPLATES);
        assert_eq!(claims.owner("t199:{x}"), Owner::One(0), "what is listed counts all the same");
    }
}
