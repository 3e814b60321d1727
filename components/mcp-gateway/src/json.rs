//! How is JSON read and changed without touching what need not change?
//!
//! One level at a time: an object's members as slices of the text, each value unread. What is not asked for is never
//! decoded, so unknown fields, the form of numbers, escapes, order and whitespace survive byte for byte, and the depth
//! of a value costs nothing (serde_json skips it without recursion). Changes are cuts in the text.
//!
//! A name that decides something and stands twice is an error ([`Twice`]): two readers could take different ones, and
//! what is checked here would not be what the upstream does.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// An object whose values are still text.
pub struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

/// A name that decides something is there twice.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is there twice")]
pub struct Twice(pub &'static str);

impl<'a> Object<'a> {
    /// Reads `text`, which has to be one JSON object and nothing else.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let members = serde_json::from_str::<Members<'a>>(text)?.0;
        Ok(Self { text, members })
    }

    /// The text of the value of `name`.
    pub fn get(&self, name: &'static str) -> Result<Option<&'a str>, Twice> {
        let mut found = self.members.iter().filter(|(member, _)| member == name);
        match (found.next(), found.next()) {
            (value, None) => Ok(value.map(|(_, value)| *value)),
            _ => Err(Twice(name)),
        }
    }

    /// The object under `name`; none where it is absent or something else.
    pub fn object(&self, name: &'static str) -> Result<Option<Object<'a>>, Twice> {
        Ok(self.get(name)?.and_then(|value| Object::parse(value).ok()))
    }

    /// The string under `name`; none where it is absent or something else.
    pub fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Twice> {
        Ok(self.get(name)?.and_then(string))
    }

    /// The object as it stands.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The text of the first value of `name`, where nothing is decided by it.
    pub fn find(&self, name: &str) -> Option<&'a str> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
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
    let decoded = if inner.contains('\\') { string(text) } else { None };
    decoded.unwrap_or(Cow::Borrowed(inner))
}

/// The string that `text` is, decoded.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
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
        assert_eq!(object.get("name"), Err(Twice("name")));
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
