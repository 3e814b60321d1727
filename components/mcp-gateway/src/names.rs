//! Names the tools, prompts and resources of many servers that share one endpoint.
//!
//! Tools and prompts are `server__name`. The server's part never holds `__` and never ends with `_`, so the first `__` is
//! always the joint, and the way back needs no table: [`join`] and [`split`] are each other's inverse. The server's part
//! and the whole name fit `^[a-zA-Z0-9_-]{1,64}$`, which is what models' APIs take: SEP-986 also allows dots, and they do
//! not. The server's own name is left as it is, unless the whole is longer than that or has other characters.
//! Then it ends with `_x` and eight digits of a digest, and only the server's list knows the way back.
//!
//! Resources: `gatehouse://server/` and the URI as it is, where it has to be told apart.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The longest name that every client takes.
pub const LONGEST: usize = 64;
/// The longest part of it for the server.
const LONGEST_PREFIX: usize = 32;
const JOINT: &str = "__";
const MARK: &str = "_x";
const DIGITS: usize = 8;
const SCHEME: &str = "gatehouse://";

/// The part of a name that stands for the server called `server`, also its segment in `/mcp/{server}`.
pub fn prefix(server: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_short = server.len() <= LONGEST_PREFIX;
    if !server.is_empty() && is_short && server.chars().all(fits) && !server.contains(JOINT) && !server.ends_with('_') {
        return Cow::Borrowed(server);
    }
    let mut made = String::with_capacity(server.len());
    for c in server.chars() {
        match c {
            '_' if made.ends_with('_') => {}
            c if fits(c) => made.push(c),
            _ => made.push('-'),
        }
    }
    while made.ends_with('_') {
        made.pop();
    }
    if made.len() > LONGEST_PREFIX {
        made.truncate(LONGEST_PREFIX - DIGITS - 1);
        made = [&made, "-", &digest(server)].concat();
    }
    // Letters that are not ASCII would all become the same.
    if !server.is_ascii() {
        let letters = made.trim_matches('-');
        let room = LONGEST_PREFIX - DIGITS - 1;
        let start = if letters.is_empty() { "server" } else { cut(letters, room) };
        return Cow::Owned([start.trim_end_matches(['-', '_']), "-", &digest(server)].concat());
    }
    if made.is_empty() { Cow::Borrowed("server") } else { Cow::Owned(made) }
}

/// The name of what the server that `prefix` stands for calls `own`.
pub fn join(prefix: &str, own: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = [prefix, JOINT, own].concat();
    if name.len() <= LONGEST && name.chars().all(fits) {
        return name;
    }
    let shown: String = own.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let room = LONGEST - MARK.len() - DIGITS - prefix.len() - JOINT.len();
    [prefix, JOINT, cut(&shown, room), MARK, &digest(own)].concat()
}

/// The server's part of `name`, and the server's own name for it.
pub fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once(JOINT)
}

/// The name of a task of the server that `prefix` stands for. No model has to take it, so it is never shortened.
pub fn join_task(prefix: &str, task: &str) -> String {
    [prefix, JOINT, task].concat()
}

/// Returns true if `name` may be a short form, whose server has to be asked for the whole.
pub fn is_short(name: &str) -> bool {
    let end = name.len().checked_sub(MARK.len() + DIGITS).and_then(|at| name.get(at..));
    end.and_then(|end| end.strip_prefix(MARK)).is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// The name of a URI of the server that `prefix` stands for.
pub fn join_uri(prefix: &str, uri: &str) -> String {
    [SCHEME, prefix, "/", uri].concat()
}

/// The server's part of such a name, and the URI.
pub fn split_uri(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(SCHEME)?.split_once('/')
}

/// The start of `text`, of at most `length` bytes.
pub fn cut(text: &str, length: usize) -> &str {
    let end = (0..=length.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_way_back() {
        let pieces = ["a", "_", "__", "-", ".", "é", "A9", ""];
        for first in pieces {
            for second in pieces {
                for third in pieces {
                    let name = [first, second, third].concat();
                    let prefix = prefix(&name);
                    assert!(!prefix.contains("__") && !prefix.ends_with('_') && !prefix.is_empty(), "{prefix}");
                    assert_eq!(super::prefix(&prefix), prefix, "a prefix is its own prefix");
                    for tool in ["echo", "_x", "__x", "a__b", "get-sum", "_"] {
                        assert_eq!(split(&join(&prefix, tool)), Some((&*prefix, tool)));
                    }
                }
            }
        }
    }

    /// R23: `calendar.read` too; models' APIs take `^[a-zA-Z0-9_-]{1,64}$`.
    #[test]
    fn a_name_that_not_every_client_takes_is_shortened_to_one_that_is_its_own() {
        let long = "a".repeat(70);
        let server = "s".repeat(50);
        let prefix = prefix(&server);
        assert!(prefix.len() <= LONGEST_PREFIX, "{prefix}");
        let mut seen = std::collections::BTreeSet::new();
        for own in [&*long, &long[1..], "get/sum", "calendar.read", "get sum", "é", "https://x/y"] {
            let name = join(&prefix, own);
            assert!(name.len() <= LONGEST && is_short(&name) && seen.insert(name.clone()), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')), "{name}");
            assert_eq!(split(&name).map(|(server, _)| server), Some(&*prefix));
            assert_eq!(name, join(&prefix, own), "always the same");
        }
        assert!(!is_short("up__echo") && !is_short("_x1234567") && !is_short("a_x1234567g"));
    }

    #[test]
    fn a_uri_finds_its_way_back() {
        for uri in ["test://a/b", "", "a:b", "gatehouse://x/y", "/"] {
            assert_eq!(split_uri(&join_uri("up", uri)), Some(("up", uri)));
        }
        assert_eq!(split_uri("test://a/b"), None);
    }

    /// R30: letters that are not ASCII would all become the same.
    #[test]
    fn names_in_other_scripts_are_told_apart() {
        let names = ["天气", "地图", "天气1", "地图1", "café", "cafe", "Ж", "é"].map(|name| prefix(name).into_owned());
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names[0].starts_with("server-") && names[4].starts_with("caf-") && names[5] == "cafe", "{names:?}");
    }

    #[test]
    fn a_plain_name_stays_as_it_is() {
        assert!(matches!(prefix("my-github_2"), Cow::Borrowed("my-github_2")));
        assert_eq!(prefix("github.com/mcp server"), "github-com-mcp-server");
    }

    #[test]
    fn a_name_without_a_server_is_nobodys() {
        assert_eq!(split("gatehouse_connections"), None);
    }
}
