//! Names people, services and connections, and says who is calling.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A service's id, as in a path: `github`, `my_gitlab`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceId(String);

/// An account of this Gatehouse: stable, opaque, never an e-mail address of a provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(String);

/// One of a person's accounts at a service: `work`, `home`. A name of the person's own choice, as accounts at a provider
/// may have anything for a name. The account that is meant when none is named has the empty name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// A connection: the account of a subject at a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionId {
    pub subject: Subject,
    pub service: ServiceId,
    #[serde(default)]
    pub account: AccountName,
}

/// Names one consent of a person. Each time a person connects, there is a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(String);

/// Who calls, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: Subject,
    pub by: CalledBy,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalledBy {
    /// The person, by an API key, or the owner in local mode.
    Person,
    /// A service, by the name that its key has in `service_keys`.
    Service(String),
}

/// The name is not of the permitted form.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    #[error("a service id is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit")]
    Service,
    #[error("a subject is 1 to 128 of A-Z, a-z, 0-9, ., _, @ and -")]
    Subject,
    #[error("an account's name is at most 32 of a-z, 0-9, _ and -, and begins with a letter or digit")]
    Account,
}

impl ServiceId {
    pub fn parse(id: &str) -> Result<Self, NameError> {
        if is_word(id, 64) { Ok(Self(id.to_owned())) } else { Err(NameError::Service) }
    }

    /// An id that no service can have. What a caller may not have is answered as this unknown service is.
    pub(crate) fn unknown() -> Self {
        Self("-".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// The owner: the person in local mode, and the holder of the owner's passphrase.
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

impl AccountName {
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if name.is_empty() || is_word(name, 32) { Ok(Self(name.to_owned())) } else { Err(NameError::Account) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true for the account that is meant when none is named.
    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }
}

impl GrantId {
    pub fn from_random(bytes: [u8; 12]) -> Self {
        Self(Base64UrlUnpadded::encode_string(&bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConnectionId {
    /// The account that is meant when none is named.
    pub fn new(subject: Subject, service: ServiceId) -> Self {
        Self { subject, service, account: AccountName::default() }
    }

    /// The fields that tell it from others in the store.
    pub fn identity(&self) -> [&str; 3] {
        [self.subject.as_str(), self.service.as_str(), self.account.as_str()]
    }
}

fn is_word(name: &str, longest: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= longest
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|byte| word(byte) || byte == b'_' || byte == b'-')
}

impl TryFrom<String> for AccountName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::parse(&name)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
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
    fn an_account_has_a_short_name_or_none() {
        assert!(AccountName::parse("").unwrap().is_default());
        assert!(!AccountName::parse("work-2").unwrap().is_default());
        for bad in ["A", "a b", "-a", "a@b", "a/b", &"a".repeat(33)] {
            assert_eq!(AccountName::parse(bad), Err(NameError::Account), "{bad}");
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
