//! What is a tool of a server called where many servers share one endpoint?
//!
//! `server__tool`. The server's part never holds `__` and never ends with `_`, so the first `__` of a name is always
//! the joint, and the way back needs no table: [`join`] and [`split`] are each other's inverse for every tool name.
//! Only the server's part is made to fit SEP-986 (`[A-Za-z0-9_-]`, no dots: some models' APIs refuse them); the tool's
//! own name is left as the server gave it.

use std::borrow::Cow;

/// The longest name that SEP-986 allows.
pub const LONGEST: usize = 128;
const JOINT: &str = "__";

/// The part of a name that stands for the server called `server`, also its segment in `/mcp/{server}`.
pub fn prefix(server: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !server.is_empty() && server.chars().all(fits) && !server.contains(JOINT) && !server.ends_with('_') {
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
    if made.is_empty() { Cow::Borrowed("server") } else { Cow::Owned(made) }
}

/// The name of `tool` of the server that `prefix` stands for.
pub fn join(prefix: &str, tool: &str) -> String {
    format!("{prefix}{JOINT}{tool}")
}

/// The server's part of `name`, and the tool's own name.
pub fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once(JOINT)
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
                    for tool in ["echo", "_x", "__x", "a__b", "get-sum", "a.b/c", "_"] {
                        assert_eq!(split(&join(&prefix, tool)), Some((&*prefix, tool)));
                    }
                }
            }
        }
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
