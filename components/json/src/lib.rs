//! Reads JSON that was written by strangers, and changes it without touching what need not change.
//!
//! One level at a time: an object's members as slices of the text, each value unread. What is not asked for is never
//! decoded, so unknown members, the form of numbers, escapes, order and white space survive byte for byte, and the depth
//! of a value costs nothing (serde_json skips it without recursion). Changes are cuts in the text.
//!
//! Readers differ in what they take a text for: Go's `encoding/json` matches names without regard to case and takes the
//! last of them, JavaScript takes the last of two equal names, others the first. So a name that decides something must
//! stand in its object once, and no other name may be one that some reader takes for it ([`Ambiguous`]).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// An object whose values are still text.
pub struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

/// Readers could take different members for the one of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Ambiguous {
    #[error("\"{0}\" is there twice")]
    Twice(&'static str),
    #[error("a member's name differs from \"{0}\" only in a way that some readers do not see")]
    LookAlike(&'static str),
}

/// `bytes` without the byte order mark that some editors and servers put before JSON, which RFC 8259 section 8.1 lets a
/// reader pass over.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// `bytes` without a byte order mark, as a document from outside that is safe to read.
///
/// One function for all types that are then read, because each type that serde reads is code of its own.
///
/// Errors: it is not JSON in UTF-8, or an object in it, at any depth, has a name twice. The text names the member and
/// quotes no value.
pub fn check(bytes: &[u8]) -> Result<&[u8], serde_json::Error> {
    let text = without_bom(bytes);
    serde_json::from_slice::<Unambiguous>(text)?;
    Ok(text)
}

/// Returns true if some reader takes `name` for `wanted`, although it is another: by letters that fold together (Go's
/// `encoding/json` and others: also U+017F for s, U+212A for k, U+0130 and U+0131 for i), by a NUL that ends a name, or
/// by half of a pair of surrogates that is left out.
pub fn is_taken_for(name: &str, wanted: &str) -> bool {
    // Most names are plain letters, and differ in the first of them or the second.
    let mut letters = wanted.bytes();
    for letter in name.bytes() {
        if !letter.is_ascii() || matches!(letter, b'\\' | b'\0') {
            return is_folded_to(name, wanted);
        }
        if letters.next().is_none_or(|other| !letter.eq_ignore_ascii_case(&other)) {
            return false;
        }
    }
    letters.next().is_none()
}

/// The same by all letters of both, decoded and folded.
fn is_folded_to(name: &str, wanted: &str) -> bool {
    let name = without_halves(name);
    let name = name.split('\0').next().unwrap_or_default();
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(wanted.chars().map(fold))
}

/// Returns false if the first letter of `name` already shows that no reader takes it for `wanted`.
#[inline]
fn may_be(name: &str, wanted: &str) -> bool {
    let (first, other) = (name.as_bytes().first(), wanted.as_bytes().first());
    first.is_none_or(|first| {
        !first.is_ascii() || *first == b'\\' || other.is_some_and(|other| first.eq_ignore_ascii_case(other))
    })
}

/// `name`, if it is one that no string can hold (see [`name`]), decoded without its halves of pairs.
fn without_halves(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return Cow::Borrowed(name);
    }
    let mut kept = String::with_capacity(name.len() + 2);
    let mut rest = name;
    while let Some(at) = rest.find("\\u") {
        let (before, escape) = rest.split_at(at);
        let Some((escape, after)) = escape.split_at_checked(6) else { break };
        let is_half =
            matches!(escape.as_bytes().get(2..4), Some([b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']));
        kept.push_str(before);
        if !is_half {
            kept.push_str(escape);
        }
        rest = after;
    }
    let quoted = ["\"", &kept, rest, "\""].concat();
    string(&quoted).map_or(Cow::Borrowed(name), |text| Cow::Owned(text.into_owned()))
}

impl<'a> Object<'a> {
    /// Reads `text`, which has to be one JSON object and nothing else.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let members = serde_json::from_str::<Members<'a>>(text)?.0;
        Ok(Self { text, members })
    }

    /// The text of the value of `name`.
    pub fn get(&self, name: &'static str) -> Result<Option<&'a str>, Ambiguous> {
        let mut found = None;
        for (member, value) in &self.members {
            if !may_be(member, name) {
                continue;
            }
            if member == name {
                if found.is_some() {
                    return Err(Ambiguous::Twice(name));
                }
                found = Some(*value);
            } else if is_taken_for(member, name) {
                return Err(Ambiguous::LookAlike(name));
            }
        }
        Ok(found)
    }

    /// Checks that each of `names` stands here at most once, and that no reader takes another member for it.
    pub fn check(&self, names: &[&'static str]) -> Result<(), Ambiguous> {
        names.iter().try_for_each(|name| self.get(name).map(drop))
    }

    /// The object under `name`; `None` if it is absent or something else.
    pub fn object(&self, name: &'static str) -> Result<Option<Object<'a>>, Ambiguous> {
        Ok(self.get(name)?.and_then(|value| Object::parse(value).ok()))
    }

    /// The string under `name`; `None` if it is absent or something else.
    pub fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Ambiguous> {
        Ok(self.get(name)?.and_then(string))
    }

    /// The object as it stands.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// A name that stands here more than once.
    pub fn twice(&self) -> Option<&str> {
        let mut names = BTreeSet::new();
        self.members.iter().map(|(name, _)| &**name).find(|name| !names.insert(*name))
    }

    /// The text of the first value of `name`, where nothing is decided by it.
    pub fn find(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// The same where `null` says as much as an absent member.
    pub fn present(&self, name: &str) -> Option<&'a str> {
        self.find(name).filter(|value| *value != "null")
    }

    /// Names and the text of their values, as they stand.
    pub fn members(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a str)> {
        self.members.iter().map(|(name, value)| (name, *value))
    }
}

/// The name that `text` is, decoded. One that no string could hold (half of a pair of surrogates) is none that is asked
/// for, and no reason to refuse the rest.
fn name(text: &str) -> Cow<'_, str> {
    let inner = text.get(1..text.len() - 1).unwrap_or_default();
    // Names are short: looking at each byte costs less than a search that is made for long texts.
    let decoded = if inner.bytes().any(|byte| byte == b'\\') { string(text) } else { None };
    decoded.unwrap_or(Cow::Borrowed(inner))
}

/// The string that `text` is, decoded.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(inner) = inner.filter(|inner| inner.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'\\' | b'"'))) {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0)
}

/// The elements of the array that `text` is, unread.
pub fn array(text: &str) -> Option<Vec<&str>> {
    serde_json::from_str::<Vec<&RawValue>>(text).ok().map(|items| items.into_iter().map(RawValue::get).collect())
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    // Writing a string into memory cannot fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// Changes to a text, made at once at the end. Parts are given as the slices that reading it gave.
pub struct Edits<'a> {
    text: &'a str,
    cuts: Vec<(usize, usize, Cow<'a, str>)>,
}

impl<'a> Edits<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, cuts: Vec::new() }
    }

    /// Puts `with` in the place of `part`.
    pub fn replace(&mut self, part: &str, with: impl Into<Cow<'a, str>>) {
        let start = self.offset(part);
        self.cuts.push((start, start + part.len(), with.into()));
    }

    /// Takes the members that `remove` names out of `object`, and puts `insert` (members as text, without a comma at
    /// either end) before those that stay.
    pub fn rework(&mut self, object: &Object<'_>, remove: &[&str], insert: &str) {
        let open = self.offset(object.text) + 1;
        let gone = |name: &str| remove.contains(&name);
        if !insert.is_empty() {
            let stays = object.members.iter().any(|(name, _)| !gone(name));
            let insert = if stays { format!("{insert},") } else { insert.to_owned() };
            self.cuts.push((open, open, insert.into()));
        }
        let mut before = open;
        let mut kept_one = false;
        for (index, (name, value)) in object.members.iter().enumerate() {
            let end = self.offset(value) + value.len();
            if gone(name) && kept_one {
                self.cuts.push((before, end, Cow::Borrowed("")));
            } else if gone(name) {
                // Nothing stays before it, so the comma that goes is the one after it.
                let to = if index + 1 < object.members.len() { self.name_after(end) } else { end };
                self.cuts.push((self.name_after(before), to, Cow::Borrowed("")));
            }
            kept_one |= !gone(name);
            before = end;
        }
    }

    /// The text with all changes made.
    pub fn apply(mut self) -> Vec<u8> {
        self.cuts.sort_by_key(|(start, end, _)| (*start, *end));
        let mut made = Vec::with_capacity(self.text.len() + self.cuts.iter().map(|cut| cut.2.len()).sum::<usize>());
        let mut at = 0;
        for (start, end, with) in &self.cuts {
            made.extend_from_slice(self.text.as_bytes().get(at..*start).unwrap_or_default());
            made.extend_from_slice(with.as_bytes());
            at = *end;
        }
        made.extend_from_slice(self.text.as_bytes().get(at..).unwrap_or_default());
        made
    }

    /// Where the next member's name starts: past whitespace and the comma.
    fn name_after(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.find('"').unwrap_or(rest.len())
    }

    fn offset(&self, part: &str) -> usize {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        debug_assert!(offset <= self.text.len(), "a part of another text");
        offset
    }
}

/// Any document in which no object has a name twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            members.next_value::<Self>()?;
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("the member {name:?} is there twice")));
            }
            names.insert(name);
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(Cow<'de, str>, &'de str)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some(name) = map.next_key::<&RawValue>()? {
                    members.push((self::name(name.get()), map.next_value::<&RawValue>()?.get()));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reworked(text: &str, remove: &[&str], insert: &str) -> String {
        let object = Object::parse(text).unwrap();
        let mut edits = Edits::new(text);
        edits.rework(&object, remove, insert);
        let made = String::from_utf8(edits.apply()).unwrap();
        assert!(Object::parse(&made).is_ok(), "{made}");
        made
    }

    #[test]
    fn what_is_not_asked_for_survives_byte_for_byte() {
        let odd = r#"{ "b" : 1.0,"id":12345678901234567890123, "x":"\u00e9\ud83d\ude00\ud800","x":2 ,"n":1e400 }"#;
        let object = Object::parse(odd).unwrap();
        let mut edits = Edits::new(odd);
        edits.replace(object.get("id").unwrap().unwrap(), "7");
        let made = String::from_utf8(edits.apply()).unwrap();
        assert_eq!(made, odd.replace("12345678901234567890123", "7"));
    }

    #[test]
    fn members_go_and_come_at_any_place() {
        let text = r#"{ "a": 1 , "b": {"c":",\"a\""}, "d" : [2] }"#;
        assert_eq!(reworked(text, &["a"], ""), r#"{ "b": {"c":",\"a\""}, "d" : [2] }"#);
        assert_eq!(reworked(text, &["b"], ""), r#"{ "a": 1, "d" : [2] }"#);
        assert_eq!(reworked(text, &["d"], ""), r#"{ "a": 1 , "b": {"c":",\"a\""} }"#);
        assert_eq!(reworked(text, &["a", "b"], ""), r#"{ "d" : [2] }"#);
        assert_eq!(reworked(text, &["b", "d"], ""), r#"{ "a": 1 }"#);
        assert_eq!(reworked(text, &["a", "b", "d"], ""), "{  }");
        assert_eq!(reworked(text, &["a", "b", "d"], r#""n":0"#), r#"{"n":0  }"#);
        assert_eq!(reworked(text, &["a"], r#""n":0"#), r#"{"n":0, "b": {"c":",\"a\""}, "d" : [2] }"#);
        assert_eq!(reworked("{}", &[], r#""n":0"#), r#"{"n":0}"#);
    }

    #[test]
    fn a_name_that_decides_may_stand_only_once_however_it_is_spelt() {
        let object = Object::parse(r#"{"name":"allowed","n\u0061me":"denied"}"#).unwrap();
        assert_eq!(object.get("name"), Err(Ambiguous::Twice("name")));
    }

    /// A01: Go's `encoding/json` takes the last member whose name folds to the field's.
    #[test]
    fn a_name_that_some_reader_takes_for_a_deciding_one_is_refused() {
        for name in [
            "Name",
            "NAME",
            "n\\u0041me",
            "name\\u0000",
            "name\\u0000x",
            "n\\ud800ame",
            "Name\\uDFFF",
            "\\udc00n\\u0061me\\u0000",
        ] {
            let text = format!(r#"{{"name":"allowed","{name}":"denied"}}"#);
            assert_eq!(Object::parse(&text).unwrap().get("name"), Err(Ambiguous::LookAlike("name")), "{name}");
        }
        for (text, name) in [
            ("{\"param\u{17f}\":1}", "params"),
            ("{\"ta\u{17f}\u{212a}Id\":1}", "taskId"),
            (r#"{"ta\u017fkid":1}"#, "taskId"),
            ("{\"ur\u{131}\":1}", "uri"),
            ("{\"\u{130}D\":1}", "id"),
        ] {
            assert_eq!(Object::parse(text).unwrap().check(&["id", name]), Err(Ambiguous::LookAlike(name)), "{text}");
        }
        for other in [
            "nam",
            "names",
            "n ame",
            "name ",
            "n\u{e0}me",
            "\u{130}d",
            "n\\u0000ame",
            "",
            "\\ud800",
            "\\\\name",
            "\\\\u\u{e9}\u{e9}\u{e9}",
            "\\\\u1",
        ] {
            let text = format!(r#"{{"name":"allowed","{other}":1}}"#);
            assert_eq!(Object::parse(&text).unwrap().get("name"), Ok(Some("\"allowed\"")), "{other}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_two_equal_names_are_refused() {
        for good in [r#"{"a":{"a":1.5},"b":[null,true,-1,"x"],"A":{"a":2}}"#, "[1]", "7", "\"\"", " {} "] {
            assert_eq!(check(good.as_bytes()).unwrap(), good.as_bytes());
            assert_eq!(check(format!("\u{feff}{good}").as_bytes()).unwrap(), good.as_bytes());
        }
        for twice in [r#"{"a":1,"\u0061":2}"#, r#"[{"x":[{"a":"secret","b":{},"a":"secret"}]}]"#] {
            let error = check(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(r#"the member "a" is there twice"#) && !error.contains("secret"), "{error}");
        }
        let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
        for bad in ["\u{feff}\u{feff}{}", "{", "", "{} {}", &deep] {
            assert!(check(bad.as_bytes()).is_err());
        }
        assert!(check(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_string_is_decoded_and_nothing_else_is_one() {
        for (text, decoded) in [
            (r#""""#, Some("")),
            (r#""a b""#, Some("a b")),
            ("\"\u{e9}\"", Some("\u{e9}")),
            (r#" "a" "#, Some("a")),
            (r#""\u0061\n""#, Some("a\n")),
            (r#"""#, None),
            (r#""a"b""#, None),
            (r#""a\""#, None),
            ("\"a\nb\"", None),
            ("\"a\0b\"", None),
            (r#""\ud800""#, None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(string(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(Object::parse(&deep).unwrap().get("x").unwrap().is_some());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "1", "{\"a\":}", "{\"a\":1} x", "{\"a\":1,}", "{\"a\" 1}"] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
    }
}
