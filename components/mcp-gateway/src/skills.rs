//! Agent Skills of many servers behind one endpoint: the extension `io.modelcontextprotocol/skills` (SEP-2640).
//!
//! A skill is a folder of resources that begins with a `SKILL.md`. `skills/list` gives an entry for each, with the digest of
//! every file, and `skills/get` gives one entry by the URI of its `SKILL.md`. `resources/directory/read`, which a server
//! declares with `directoryRead`, lists a folder. The extension is for 2026-07-28 and later, so clients and servers of the
//! older era have no part in it here.
//!
//! A skill keeps its name: clients compare it with the file and with the end of the URI. So its URI says whose it is,
//! always: `gatehouse://server/…`, for the skill and for its files. A URI that were bare as long as no other server has it
//! would be another skill's after a server was added or taken away, and clients keep by the URI what their person has
//! approved.

use std::borrow::Cow;
use std::collections::BTreeSet;

use json::{Ambiguous, Edits, Object};

use crate::attribution;
use crate::host::Host;
use crate::memory::Facts;
use crate::upstream::{self, Failure, Link};

pub const EXTENSION: &str = "io.modelcontextprotocol/skills";
pub const GET: &str = "skills/get";
pub const READ_DIRECTORY: &str = "resources/directory/read";

const MANIFEST: &str = "/SKILL.md";
/// Limits of the Agent Skills specification, in characters.
const LONGEST_NAME: usize = 64;
const LONGEST_DESCRIPTION: usize = 1024;
const LONGEST_COMPATIBILITY: usize = 500;

/// The settings under which an endpoint declares the extension; `None` if no server behind it does.
pub fn settings<'f>(mut servers: impl Iterator<Item = &'f Facts>) -> Option<&'static str> {
    let mut has = false;
    let reads = servers.any(|facts| {
        has |= facts.has(EXTENSION);
        reads_directories(facts)
    });
    has.then_some(if reads { r#"{"directoryRead":true}"# } else { "{}" })
}

/// Returns true if `method` is for one server that has skills.
pub fn is_method(method: &str) -> bool {
    matches!(method, GET | READ_DIRECTORY)
}

/// Returns true if the server has declared that it takes `method`, which is one of those.
pub async fn are_at<H: Host>(host: &H, link: Link<'_>, method: &str) -> Result<bool, Failure> {
    let facts = upstream::facts(host, link).await?;
    Ok(if method == READ_DIRECTORY { reads_directories(&facts) } else { facts.has(EXTENSION) })
}

fn reads_directories(facts: &Facts) -> bool {
    let settings = facts.extension(EXTENSION).and_then(|text| Object::parse(text).ok());
    settings.is_some_and(|settings| settings.find("directoryRead") == Some("true"))
}

/// Has the URIs of `entry` say that the skill is one of the server that `prefix` stands for.
pub fn name_entry(edits: &mut Edits<'_>, prefix: &str, entry: &Object<'_>) -> Result<(), Ambiguous> {
    attribution::name_uri(edits, prefix, entry)?;
    attribution::name_uris(edits, prefix, entry, "resources")
}

/// Returns an error that says why strict clients refuse `entry`, and with it the list that it is in.
pub fn check(entry: &Object<'_>) -> Result<(), &'static str> {
    let uri = text(entry, "uri").ok_or("its uri is not one string")?;
    let folder = folder_of(&uri).ok_or("its uri does not end with a folder and /SKILL.md")?;
    let frontmatter = entry.object("frontmatter").ok().flatten().ok_or("its frontmatter is not one object")?;
    let name = text(&frontmatter, "name").ok_or("its name is not one string")?;
    if !is_name(&name) {
        return Err("its name is not 1 to 64 lower-case letters, digits and single hyphens");
    }
    if folder.rsplit('/').next() != Some(&name) {
        return Err("its name is not that of its folder");
    }
    if !has_length(&frontmatter, "description", LONGEST_DESCRIPTION) {
        return Err("its description is not 1 to 1024 characters");
    }
    if frontmatter.find("compatibility").is_some() && !has_length(&frontmatter, "compatibility", LONGEST_COMPATIBILITY)
    {
        return Err("its compatibility is not 1 to 500 characters");
    }
    if let Some(metadata) = frontmatter.find("metadata") {
        let metadata = Object::parse(metadata).ok();
        if !metadata.is_some_and(|metadata| metadata.members().all(|(_, value)| value.starts_with('"'))) {
            return Err("its metadata is no object of strings");
        }
    }
    match entry.get("resources") {
        Ok(Some("\"dynamic\"")) => Ok(()),
        Ok(Some(list)) => check_files(list, &uri, folder),
        _ => Err("its resources are not there once"),
    }
}

/// Checks the files of the skill at `uri`: each has a digest and a size, stands once, and is in the skill's folder.
fn check_files(list: &str, uri: &str, folder: &str) -> Result<(), &'static str> {
    let mut known = BTreeSet::new();
    for file in json::array(list).ok_or("its resources are neither a list nor \"dynamic\"")? {
        let file = Object::parse(file).map_err(|_| "one of its resources is no object")?;
        let (Some(name), Some(digest), Ok(Some(size))) = (text(&file, "uri"), text(&file, "digest"), file.get("size"))
        else {
            return Err("one of its resources lacks a uri, a digest or a size");
        };
        let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if !digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_hex)) {
            return Err("a digest is not sha256: and 64 lower-case digits");
        }
        if size.parse::<u64>().is_err() {
            return Err("a size is not a whole number");
        }
        let path = name.strip_prefix(folder).and_then(|path| path.strip_prefix('/'));
        if !path.is_some_and(is_path) {
            return Err("one of its resources is not in its folder");
        }
        if !known.insert(name) {
            return Err("one of its resources is there twice");
        }
    }
    if known.contains(uri) { Ok(()) } else { Err("its resources lack its SKILL.md") }
}

/// The string under `name`, if there is one and no reader takes another for it.
fn text<'e>(of: &Object<'e>, name: &'static str) -> Option<Cow<'e, str>> {
    of.string(name).ok().flatten()
}

/// The folder of a skill: `scheme:…/name` of `scheme:…/name/SKILL.md`.
fn folder_of(uri: &str) -> Option<&str> {
    let folder = uri.strip_suffix(MANIFEST).filter(|folder| !folder.contains(['?', '#']))?;
    let (scheme, rest) = folder.split_once(':')?;
    let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter));
    (is_scheme && !rest.is_empty()).then_some(folder)
}

/// Returns true if `path` leads to a file below a folder, however its letters are written.
fn is_path(path: &str) -> bool {
    !path.contains(['?', '#'])
        && path.split('/').all(|segment| {
            let segment = segment.to_ascii_lowercase().replace("%2e", ".");
            !matches!(segment.as_str(), "" | "." | "..") && !segment.contains("%2f") && !segment.contains("%00")
        })
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        })
}

/// Returns true if the string under `name` has 1 to `most` characters.
fn has_length(of: &Object<'_>, name: &'static str, most: usize) -> bool {
    text(of, name).is_some_and(|text| !text.is_empty() && text.chars().take(most + 1).count() <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn entry(uri: &str, frontmatter: &str, resources: &str) -> String {
        format!(r#"{{"uri":"{uri}","frontmatter":{{{frontmatter}}},"resources":{resources}}}"#)
    }

    fn files(uris: &[&str]) -> String {
        let file = |uri: &&str| format!(r#"{{"uri":"{uri}","digest":"{DIGEST}","size":7}}"#);
        format!("[{}]", uris.iter().map(file).collect::<Vec<_>>().join(","))
    }

    fn problem(entry: &str) -> Option<&'static str> {
        check(&Object::parse(entry).unwrap()).err()
    }

    /// R36: the examples of the specification.
    #[test]
    fn valid_entries_stay() {
        for (uri, name, files) in [
            ("skill://git-workflow/SKILL.md", "git-workflow", files(&["skill://git-workflow/SKILL.md"])),
            (
                "skill://acme/billing/refunds/SKILL.md",
                "refunds",
                files(&["skill://acme/billing/refunds/a/b.md", "skill://acme/billing/refunds/SKILL.md"]),
            ),
            ("github://owner/repo/skills/refunds/SKILL.md", "refunds", r#""dynamic""#.to_owned()),
            ("gatehouse://up/skill://a1/SKILL.md", "a1", files(&["gatehouse://up/skill://a1/SKILL.md"])),
        ] {
            for more in ["", r#","license":"MIT","metadata":{"version":"1"},"compatibility":"all","x":[1]"#] {
                let text = entry(uri, &format!(r#""name":"{name}","description":"d"{more}"#), &files);
                assert_eq!(problem(&text), None, "{text}");
            }
        }
    }

    /// R36: one such entry would have a strict client refuse the list of all servers.
    #[test]
    fn what_a_strict_client_refuses_is_named() {
        let good = r#""name":"a","description":"d""#;
        let own = "skill://a/SKILL.md";
        let with = |more: &str| entry(own, &format!("{good},{more}"), &files(&[own]));
        let long = "x".repeat(1025);
        for (text, why) in [
            (r#"{"frontmatter":{},"resources":[]}"#.to_owned(), "uri is not one string"),
            (entry("skill://a/skill.md", good, "[]"), "SKILL.md"),
            (entry("a/SKILL.md", good, "[]"), "SKILL.md"),
            (entry("skill://a?b/SKILL.md", good, "[]"), "SKILL.md"),
            (entry(own, r#""description":"d""#, "[]"), "name is not one string"),
            (entry(own, r#""name":"A","description":"d""#, "[]"), "lower-case"),
            (entry(own, r#""name":"a--b","description":"d""#, "[]"), "lower-case"),
            (entry(own, r#""name":"b","description":"d""#, "[]"), "that of its folder"),
            (entry(own, r#""name":"a","name":"a","description":"d""#, "[]"), "name is not one string"),
            (entry(own, r#""name":"a","description":"""#, "[]"), "description"),
            (entry(own, &format!(r#""name":"a","description":"{long}""#), "[]"), "description"),
            (with(r#""compatibility":7"#), "compatibility"),
            (with(r#""metadata":{"a":1}"#), "metadata"),
            (format!(r#"{{"uri":"{own}","frontmatter":{{{good}}}}}"#), "not there once"),
            (entry(own, good, "null"), "neither a list"),
            (entry(own, good, "[7]"), "no object"),
            (entry(own, good, r#"[{"uri":"skill://a/SKILL.md"}]"#), "lacks"),
            (entry(own, good, &files(&[own]).replace("0123", "ABCD")), "digest"),
            (entry(own, good, &files(&[own]).replace(":7", ":-7")), "size"),
            (entry(own, good, &files(&[own, own])), "twice"),
            (entry(own, good, "[]"), "lack its SKILL.md"),
            (entry(own, good, &files(&[own, "skill://b/x.md"])), "not in its folder"),
            (entry(own, good, &files(&[own, "skill://ab/x.md"])), "not in its folder"),
            (entry(own, good, &files(&[own, "skill://a/../b/x.md"])), "not in its folder"),
            (entry(own, good, &files(&[own, "skill://a/%2E./x.md"])), "not in its folder"),
            (entry(own, good, &files(&[own, "skill://a/x%2Fy"])), "not in its folder"),
            (entry(own, good, &files(&[own, "skill://a/x?y"])), "not in its folder"),
        ] {
            let said = problem(&text);
            assert!(said.is_some_and(|said| said.contains(why)), "{text}: {said:?}");
        }
    }
}
