//! The names that Spin accepts for components, stores and variables.

use serde::Deserialize;
use serde::de::Error as _;

/// `some-name`, as Spin demands of component ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KebabId(pub String);

/// `some_name`, as Spin demands of variables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnakeId(pub String);

impl<'de> Deserialize<'de> for KebabId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        if is_id(&id, '-') { Ok(Self(id)) } else { Err(D::Error::custom(format!("{id:?} is not a kebab-case id"))) }
    }
}

impl<'de> Deserialize<'de> for SnakeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let lower = !id.contains(|c: char| c.is_ascii_uppercase());
        if lower && is_id(&id, '_') {
            Ok(Self(id))
        } else {
            Err(D::Error::custom(format!("{id:?} is not a lower snake_case id")))
        }
    }
}

/// Words that start with a letter, joined by `separator`, each wholly lower or wholly upper case.
pub fn is_id(id: &str, separator: char) -> bool {
    id.split(separator).all(|word| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && (word == word.to_ascii_lowercase() || word == word.to_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_spins_rules() {
        assert!(is_id("oauth-broker", '-') && is_id("V2", '-') && is_id("a1_b2", '_'));
        for id in ["", "a--b", "a_b", "-a", "a-1", "aB"] {
            assert!(!is_id(id, '-'), "{id:?}");
        }
    }
}
