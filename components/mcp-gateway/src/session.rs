//! What does a legacy session id of ours say?
//!
//! All that the session is: the negotiated version, what the client said it can do, and 128 random bits. So every
//! instance serves every id of ours, after every restart, and nothing has to be stored or cleaned up. It proves
//! nothing and opens nothing: who calls is told by the bearer alone.
//!
//! `gh1` + base64url of: version (1 byte), capabilities (1 byte), 16 random bytes.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::eras::legacy::Version;
use json::{Ambiguous, Object};

const MARK: &str = "gh1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub version: Version,
    pub client: Capabilities,
    pub nonce: [u8; 16],
}

/// What a client declared that it can be asked for, one bit each. Towards an upstream it is the profile under which
/// the gateway speaks: each has its own session there, so that no upstream asks a client for what it cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    pub const NONE: Self = Self(0);
    pub const SAMPLING: Self = Self(1);
    pub const ROOTS: Self = Self(2);
    /// Forms: `elicitation: {}`, or with `form` in it.
    pub const ELICITATION: Self = Self(4);
    /// Links (2025-11-25): `elicitation: {url: {}}`.
    pub const ELICITATION_URL: Self = Self(8);
    pub const SAMPLING_TOOLS: Self = Self(16);
    pub const SAMPLING_CONTEXT: Self = Self(32);
    pub const ROOTS_CHANGE: Self = Self(64);
    /// The extension `io.modelcontextprotocol/tasks` (2026-07-28), which a client declares for itself.
    pub const TASKS: Self = Self(128);

    /// Reads `params.capabilities` of `initialize`, or what a modern request says in its place.
    ///
    /// Errors: a server could read something else in it.
    pub fn read(capabilities: &Object<'_>) -> Result<Self, Ambiguous> {
        let has = |object: &Option<Object<'_>>, name| match object {
            Some(object) => object.get(name).map(|value| value.is_some()),
            None => Ok(false),
        };
        let sampling = capabilities.object("sampling")?;
        let roots = capabilities.object("roots")?;
        let elicitation = capabilities.object("elicitation")?;
        let extensions = capabilities.object("extensions")?;
        let url = has(&elicitation, "url")?;
        let form = has(&elicitation, "form")?;
        let declared = [
            (sampling.is_some(), Self::SAMPLING),
            (has(&sampling, "tools")?, Self::SAMPLING_TOOLS),
            (has(&sampling, "context")?, Self::SAMPLING_CONTEXT),
            (roots.is_some(), Self::ROOTS),
            (has(&roots, "listChanged")?, Self::ROOTS_CHANGE),
            (elicitation.is_some() && (!url || form), Self::ELICITATION),
            (url, Self::ELICITATION_URL),
            (has(&extensions, "io.modelcontextprotocol/tasks")?, Self::TASKS),
        ];
        let bits = declared.into_iter().filter(|(declared, _)| *declared);
        Ok(bits.fold(Self::NONE, |all, (_, bit)| Self(all.0 | bit.0)))
    }

    /// The same, as it is declared to an upstream.
    pub fn write(self) -> String {
        let inner = |bit, text: &'static str| if self.has(bit) { text } else { "" };
        let joined = |parts: [&str; 2]| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        if self.has(Self::SAMPLING) {
            let inner =
                joined([inner(Self::SAMPLING_TOOLS, "\"tools\":{}"), inner(Self::SAMPLING_CONTEXT, "\"context\":{}")]);
            members.push(["\"sampling\":{", &inner, "}"].concat());
        }
        if self.has(Self::ROOTS) {
            members.push(["\"roots\":{", inner(Self::ROOTS_CHANGE, "\"listChanged\":true"), "}"].concat());
        }
        let modes = joined([inner(Self::ELICITATION, "\"form\":{}"), inner(Self::ELICITATION_URL, "\"url\":{}")]);
        if !modes.is_empty() {
            members.push(["\"elicitation\":{", &modes, "}"].concat());
        }
        ["{", &members.join(","), "}"].concat()
    }

    /// What a legacy upstream can be told of them. Modern clients do not say that their roots have changed.
    pub fn in_legacy(self) -> Self {
        Self(self.0 & !(Self::TASKS.0 | Self::ROOTS_CHANGE.0))
    }

    pub fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    /// Whether a client that declared this may be asked this.
    pub fn allow(self, method: &str, params: Option<&Object<'_>>) -> bool {
        match method {
            "sampling/createMessage" => self.has(Self::SAMPLING),
            "roots/list" => self.has(Self::ROOTS),
            "elicitation/create" => {
                let url = params.is_some_and(|params| matches!(params.string("mode"), Ok(Some(mode)) if mode == "url"));
                self.has(if url { Self::ELICITATION_URL } else { Self::ELICITATION })
            }
            _ => false,
        }
    }

    /// As a part of a row's name.
    pub fn name(self) -> String {
        self.0.to_string()
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
            let client = Capabilities::read(&Object::parse(declared).unwrap()).unwrap();
            let session = Session { version, client, nonce: [7; 16] };
            assert_eq!(Session::read(&session.id()), Some(session));
            assert_eq!(client.0, 1 | 8, "links alone are not forms");
            assert!(session.id().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn what_a_client_declares_is_what_an_upstream_is_told() {
        for (declared, told) in [
            ("{}", "{}"),
            (r#"{"elicitation":{}}"#, r#"{"elicitation":{"form":{}}}"#),
            (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
            (
                r#"{"x":1,"roots":{"listChanged":true},"sampling":{}}"#,
                r#"{"sampling":{},"roots":{"listChanged":true}}"#,
            ),
            (
                r#"{"elicitation":{"url":{},"form":{}},"sampling":{"tools":{},"context":{}}}"#,
                r#"{"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#,
            ),
        ] {
            let read = Capabilities::read(&Object::parse(declared).unwrap()).unwrap();
            assert_eq!(read.write(), told);
            assert_eq!(Capabilities::read(&Object::parse(told).unwrap()), Ok(read));
        }
    }

    #[test]
    fn a_legacy_upstream_is_not_told_of_what_its_era_does_not_have_or_no_modern_client_does() {
        let declared =
            r#"{"roots":{"listChanged":true},"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        let read = Capabilities::read(&Object::parse(declared).unwrap()).unwrap().in_legacy();
        assert_eq!(read.write(), r#"{"roots":{},"elicitation":{"form":{}}}"#);
        assert_eq!(read.name(), (2 | 4).to_string(), "nor has it a session for that");
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
