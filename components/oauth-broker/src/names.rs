//! What do we call people and services?

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A service's id, as in a path: `github`, `my_gitlab`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceId(String);

/// An account of this Gatehouse: stable, opaque, never an e-mail address of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(String);

/// The name is not of the permitted form.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    #[error("a service id is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit")]
    Service,
    #[error("a subject is 1 to 128 of A-Z, a-z, 0-9, ., _, @ and -")]
    Subject,
}

impl ServiceId {
    pub fn parse(id: &str) -> Result<Self, NameError> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = id.len() <= 64
            && id.bytes().next().is_some_and(word)
            && id.bytes().all(|byte| word(byte) || byte == b'_' || byte == b'-');
        if valid { Ok(Self(id.to_owned())) } else { Err(NameError::Service) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// Whom local mode and the owner's passphrase stand for.
    pub fn owner() -> Self {
        Self("owner".to_owned())
    }

    pub fn parse(name: &str) -> Result<Self, NameError> {
        let valid = (1..=128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte));
        if valid { Ok(Self(name.to_owned())) } else { Err(NameError::Subject) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceId {
    type Error = NameError;
    fn try_from(id: String) -> Result<Self, NameError> {
        Self::parse(&id)
    }
}

impl TryFrom<String> for Subject {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::parse(&name)
    }
}

impl From<ServiceId> for String {
    fn from(id: ServiceId) -> Self {
        id.0
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_id_cannot_leave_its_path_segment() {
        assert!(ServiceId::parse("github").is_ok());
        assert!(ServiceId::parse("my_gitlab-2").is_ok());
        for bad in ["", "a/b", "..", "A", "a%2f", "_a", "é", &"a".repeat(65)] {
            assert_eq!(ServiceId::parse(bad), Err(NameError::Service), "{bad}");
        }
    }

    #[test]
    fn a_subject_is_plain_text() {
        assert!(Subject::parse("ann.b@example").is_ok());
        for bad in ["", "a b", "<b>", "a:b", "a\n", &"a".repeat(129)] {
            assert_eq!(Subject::parse(bad), Err(NameError::Subject), "{bad}");
        }
    }
}
