//! How other programs read a message: what they see has to be what the gateway saw.
//!
//! Written without the gateway's own reader, so that a mistake there is not made here again.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A way to read an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The first of two equal names counts.
    First,
    /// The last one counts, as in `JSON.parse`.
    Last,
    /// As in Go's `encoding/json`: case does not matter, the last one counts, and half a pair of surrogates is U+FFFD. A
    /// NUL ends a name, as in one SDK.
    Folds,
    /// Case does not matter, the last one counts, and half a pair of surrogates is left out.
    Drops,
}

const READERS: [Reader; 4] = [Reader::First, Reader::Last, Reader::Folds, Reader::Drops];

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// What decides in a message: whose it is, what it asks for, and of what.
const MESSAGE: [&[&str]; 29] = [
    &["jsonrpc"],
    &["method"],
    &["id"],
    &["params", "name"],
    &["params", "uri"],
    &["params", "taskId"],
    &["params", "arguments"],
    &["params", "cursor"],
    &["params", "level"],
    &["params", "requestId"],
    &["params", "progressToken"],
    &["params", "protocolVersion"],
    &["params", "capabilities"],
    &["params", "requestState"],
    &["params", "inputResponses"],
    &["params", "mode"],
    &["params", "elicitationId"],
    &["params", "_meta", VERSION],
    &["params", "_meta", CAPABILITIES],
    &["params", "_meta", CAPABILITIES, "sampling"],
    &["params", "_meta", CAPABILITIES, "roots"],
    &["params", "_meta", CAPABILITIES, "elicitation"],
    &["params", "_meta", CAPABILITIES, "extensions"],
    &["params", "_meta", "io.modelcontextprotocol/clientInfo"],
    &["params", "_meta", "io.modelcontextprotocol/logLevel"],
    &["params", "_meta", "io.modelcontextprotocol/subscriptionId"],
    &["params", "_meta", "progressToken"],
    &["result"],
    &["error"],
];
const REFERENCE: [&[&str]; 3] = [&["params", "ref", "type"], &["params", "ref", "name"], &["params", "ref", "uri"]];
const FILTER: [&[&str]; 4] = [
    &["params", "notifications", "toolsListChanged"],
    &["params", "notifications", "promptsListChanged"],
    &["params", "notifications", "resourcesListChanged"],
    &["params", "notifications", "resourceSubscriptions"],
];
/// What decides by the text that it is, not by how that is written.
const DECODED: [&str; 5] = ["method", "name", "uri", "taskId", "type"];
/// What decides in an entry of a list.
const ENTRY: [&[&str]; 8] = [
    &["name"],
    &["title"],
    &["description"],
    &["uri"],
    &["uriTemplate"],
    &["inputSchema"],
    &["outputSchema"],
    &["annotations"],
];

/// What two readers see differently in `message`.
pub fn differ(message: &str) -> Option<String> {
    let method = Reader::First.at(message, &["method"], true).unwrap_or_default();
    let more: &[&[&str]] = match method.trim_matches('"') {
        "completion/complete" => &REFERENCE,
        "subscriptions/listen" | "notifications/subscriptions/acknowledged" => &FILTER,
        _ => &[],
    };
    // Of other methods the gateway does not know what a name is.
    let is_known = ["tools/", "prompts/", "resources/", "tasks/", "completion/", "skills/"];
    let is_known = is_known.iter().any(|start| method.trim_start_matches('"').starts_with(start));
    // Params belong to a method alone.
    let decides = |path: &&&[&str]| !method.is_empty() || path.first() != Some(&"params");
    first_difference(message, MESSAGE.iter().chain(more).filter(decides), is_known)
}

/// What two readers see differently in `entry`, one of a list.
pub fn differ_about_entry(entry: &str) -> Option<String> {
    first_difference(entry, ENTRY.iter(), true)
}

fn first_difference<'p>(
    text: &str,
    mut paths: impl Iterator<Item = &'p &'p [&'p str]>,
    decodes: bool,
) -> Option<String> {
    paths.find_map(|path| {
        let seen = READERS.map(|reader| reader.at(text, path, decodes || *path == ["method"]));
        seen.iter().any(|other| *other != seen[0]).then(|| format!("{path:?}: {seen:?}"))
    })
}

impl Reader {
    /// The value at `path`, as it stands; if `decodes`, one that decides by its text in one form.
    fn at(self, text: &str, path: &[&str], decodes: bool) -> Option<String> {
        let [name, rest @ ..] = path else { return Some(text.trim().to_owned()) };
        let members = serde_json::from_str::<Members>(text).ok()?.0;
        let mut fitting = members.iter().filter(|(other, _)| self.is(other, name));
        let (_, value) = if self == Self::First { fitting.next()? } else { fitting.next_back()? };
        match rest {
            [] if decodes && DECODED.contains(name) && value.starts_with('"') => {
                Some(format!("{:?}", String::from_utf16_lossy(&self.decoded(value))))
            }
            rest => self.at(value, rest, decodes),
        }
    }

    /// Returns true if the name that is written as `written` is `wanted` to this reader.
    fn is(self, written: &str, wanted: &str) -> bool {
        let units = self.decoded(written);
        match self {
            Self::First | Self::Last => units.iter().copied().eq(wanted.encode_utf16()),
            Self::Folds | Self::Drops => {
                let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
                folded(&String::from_utf16_lossy(&units[..end])) == folded(wanted)
            }
        }
    }

    /// What is between the quotes of `written`, in UTF-16.
    fn decoded(self, written: &str) -> Vec<u16> {
        let mut units = Vec::new();
        let mut rest = written[1..written.len() - 1].chars();
        while let Some(letter) = rest.next() {
            if letter != '\\' {
                units.extend(letter.encode_utf16(&mut [0; 2]).iter());
                continue;
            }
            units.push(match rest.next().unwrap() {
                'b' => 8,
                't' => 9,
                'n' => 10,
                'f' => 12,
                'r' => 13,
                'u' => u16::from_str_radix(&rest.by_ref().take(4).collect::<String>(), 16).unwrap(),
                other => other as u16,
            });
        }
        match self {
            Self::First | Self::Last => units,
            Self::Folds => String::from_utf16_lossy(&units).encode_utf16().collect(),
            Self::Drops => {
                char::decode_utf16(units).flatten().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()).collect()
            }
        }
    }
}

fn folded(name: &str) -> String {
    let fold = |letter| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter,
    };
    name.chars().flat_map(char::to_lowercase).map(fold).collect()
}

/// The names of an object as they are written, and the text of their values.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(String, String)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((name.get().to_owned(), value.get().to_owned()));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(All).map(Members)
    }
}
