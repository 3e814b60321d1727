//! What does a legacy session id of ours say?
//!
//! All that the session is: the negotiated version, what the client said it can do, and 128 random bits. So every
//! instance serves every id of ours, after every restart, and nothing has to be stored or cleaned up. It proves
//! nothing and opens nothing: who calls is told by the bearer alone.
//!
//! `gh1` + base64url of: version (1 byte), capabilities (1 byte), 16 random bytes.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::eras::legacy::Version;
use crate::json::Object;

const MARK: &str = "gh1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub version: Version,
    pub client: Capabilities,
    pub nonce: [u8; 16],
}

/// What a legacy client declared, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    pub const SAMPLING: Self = Self(1);
    pub const ROOTS: Self = Self(2);
    pub const ELICITATION: Self = Self(4);
    /// 2025-11-25: `elicitation: {url: {}}`.
    pub const ELICITATION_URL: Self = Self(8);

    /// Reads `params.capabilities` of `initialize`.
    pub fn read(capabilities: &Object<'_>) -> Self {
        let has = |name| matches!(capabilities.get(name), Ok(Some(_)));
        let url = match capabilities.object("elicitation") {
            Ok(Some(elicitation)) => matches!(elicitation.get("url"), Ok(Some(_))),
            _ => false,
        };
        [
            (has("sampling"), Self::SAMPLING),
            (has("roots"), Self::ROOTS),
            (has("elicitation"), Self::ELICITATION),
            (url, Self::ELICITATION_URL),
        ]
        .into_iter()
        .filter(|(declared, _)| *declared)
        .fold(Self::default(), |all, (_, bit)| Self(all.0 | bit.0))
    }
}

impl Session {
    pub fn id(&self) -> String {
        let mut bytes = [0; 18];
        bytes[0] = self.version as u8;
        bytes[1] = self.client.0;
        bytes[2..].copy_from_slice(&self.nonce);
        [MARK, &Base64UrlUnpadded::encode_string(&bytes)].concat()
    }

    /// The session that `id` names; none when it is not one of ours.
    pub fn read(id: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        let read = Base64UrlUnpadded::decode(id.strip_prefix(MARK)?, &mut bytes).ok()?;
        let [version, client, nonce @ ..] = read else { return None };
        Some(Self {
            version: Version::ALL.into_iter().find(|known| *known as u8 == *version)?,
            client: Capabilities(*client),
            nonce: nonce.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_all_that_the_session_is() {
        let declared = r#"{"sampling":{},"elicitation":{"url":{}},"x":1}"#;
        for version in Version::ALL {
            let client = Capabilities::read(&Object::parse(declared).unwrap());
            let session = Session { version, client, nonce: [7; 16] };
            assert_eq!(Session::read(&session.id()), Some(session));
            assert_eq!(client.0, 1 | 4 | 8);
            assert!(session.id().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn an_id_that_is_not_ours_is_none() {
        let ours = Session { version: Version::V20251125, client: Capabilities::default(), nonce: [0; 16] }.id();
        for id in
            ["", "gh1", "gh1AAAA", &ours[..ours.len() - 1], &(ours.clone() + "A"), &ours.replace("gh1", "gh2"), "é"]
        {
            assert_eq!(Session::read(id), None, "{id}");
        }
        assert_eq!(Session::read(&ours.replacen("gh1Aw", "gh1_w", 1)), None, "an unknown version");
    }
}
