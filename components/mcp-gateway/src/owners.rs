//! Whose is a URI?
//!
//! In the aggregate a URI says nothing of its server. What decides, in this order, each time the first server in the
//! file's order: it is the only server with resources; it lists the URI; it has a template that the URI fits; it alone
//! lists others of the same scheme and authority; it alone lists others of the same scheme. A URI that none of this
//! finds is nobody's: to ask one server after the other would show each of them what is another's. It can always be
//! asked for as `gatehouse://server/…`.

use std::time::Duration;

use futures_util::future::{join, join_all};

use crate::config::{Server, glob};
use crate::host::{Host, within};
use crate::lists::{RESOURCES, TEMPLATES, of_server};
use crate::session::Capabilities;
use crate::upstream::{self, Link};
use crate::visitor::{Standing, Visitor};

const DEADLINE: Duration = Duration::from_secs(10);

pub async fn find<'s, H: Host>(
    host: &H,
    servers: &'s [Server<'s>],
    visitor: &Visitor,
    profile: Capabilities,
    uri: &str,
) -> Option<&'s Server<'s>> {
    let asked = servers.iter().map(async |server| {
        let Standing::Open(token) = visitor.standing(server) else { return None };
        let link = Link { server, token, caller: &visitor.caller, profile };
        let facts = within(host, DEADLINE, upstream::facts(host, link)).await?.ok()?;
        facts.has(RESOURCES.capability).then_some(link)
    });
    let links: Vec<Link<'_>> = join_all(asked).await.into_iter().flatten().collect();
    if let [only] = links.as_slice() {
        return servers.iter().find(|server| server.prefix == only.server.prefix);
    }
    let known = links.iter().map(async |link| {
        let ask = |kind| async move {
            let listed = within(host, DEADLINE, of_server(host, kind, *link)).await?.ok()??;
            Some(listed.keys(kind))
        };
        let (resources, templates) = join(ask(&RESOURCES), ask(&TEMPLATES)).await;
        (link.server.prefix, resources.unwrap_or_default(), templates.unwrap_or_default())
    });
    let known: Vec<(&str, Vec<String>, Vec<String>)> = join_all(known).await;
    let prefix = owner(uri, &known)?;
    servers.iter().find(|server| server.prefix == prefix)
}

/// The decision itself: `known` has for each server its URIs and its templates.
fn owner<'k>(uri: &str, known: &[(&'k str, Vec<String>, Vec<String>)]) -> Option<&'k str> {
    let first = |fits: &dyn Fn(&[String], &[String]) -> bool| {
        known.iter().find(|(_, uris, templates)| fits(uris, templates)).map(|(server, ..)| *server)
    };
    let alone = |start: &str| {
        let mut having = known.iter().filter(|(_, uris, templates)| {
            uris.iter().chain(templates).any(|known| !start.is_empty() && known.starts_with(start))
        });
        match (having.next(), having.next()) {
            (Some((server, ..)), None) => Some(*server),
            _ => None,
        }
    };
    first(&|uris, templates| uris.iter().chain(templates).any(|known| known == uri))
        .or_else(|| first(&|_, templates| templates.iter().any(|template| glob(&pattern(template), uri))))
        .or_else(|| alone(authority(uri)))
        .or_else(|| alone(scheme(uri)))
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

fn scheme(uri: &str) -> &str {
    uri.find(':').map_or("", |end| &uri[..=end])
}

/// Scheme and authority, with the slash after it; nothing where there is none.
fn authority(uri: &str) -> &str {
    let start = uri.find("://").map(|at| at + 3);
    start.and_then(|start| uri[start..].find('/').map(|end| &uri[..=start + end])).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_goes_before_what_fits_and_that_before_what_is_alike() {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let known = [
            ("a", of(&["test://one/x", "file:///shared", "git://a/1"]), of(&["test://{kind}/t/{id}"])),
            ("b", of(&["test://two/y", "file:///shared", "test://one/t/9", "git://b/1"]), of(&["note:{+rest}"])),
        ];
        for (uri, expected) in [
            ("test://one/x", Some("a")),
            ("test://two/y", Some("b")),
            ("file:///shared", Some("a")),
            ("test://one/t/9", Some("b")),
            ("test://one/t/8", Some("a")),
            ("test://{kind}/t/{id}", Some("a")),
            ("test://two/z", Some("b")),
            ("note:x/y", Some("b")),
            ("note", None),
            ("git://b/2", Some("b")),
            ("git://c/2", None),
            ("https://a.example/x", None),
            ("", None),
        ] {
            assert_eq!(owner(uri, &known), expected, "{uri}");
        }
    }
}
