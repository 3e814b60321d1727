//! Writes and reads the ids of legacy sessions.
//!
//! An id is all that the session is: the negotiated version, what the client said it can do, and 128 random bits. So every
//! instance serves every id of ours, after every restart, and nothing has to be stored or cleaned up. It proves
//! nothing and opens nothing: who calls is told by the bearer alone. But each profile of a client has a session and rows of
//! its own at each upstream, so nobody may make up an id: it ends with a MAC under the key of the person that it was given
//! to.
//!
//! `gh2` + base64url of: version (1 byte), capabilities (1 byte), 16 random bytes, MAC (16 bytes).

use base64ct::{Base64UrlUnpadded, Encoding};

use sha2::{Digest, Sha256};

use crate::eras::legacy::Version;
use crate::host::Caller;
use json::{Ambiguous, Object};

/// How many sessions of a person can be open. Each has a place, which its nonce tells, and rows of its own there.
pub const PLACES: u8 = 64;

/// The place of the session with this nonce.
pub fn place_of(nonce: &[u8; 16]) -> u8 {
    nonce[0] % PLACES
}

const MARK: &str = "gh2";
const SAID: usize = 18;
const MAC: usize = 16;

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
    /// Modern: the extension `io.modelcontextprotocol/tasks`, which a client declares for itself. Legacy: `tasks`
    /// (2025-11-25), by which a server may ask for what takes a while and look again.
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
            (
                has(&extensions, "io.modelcontextprotocol/tasks")? || capabilities.object("tasks")?.is_some(),
                Self::TASKS,
            ),
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

    /// What counts in a legacy session.
    pub fn in_session(self) -> Self {
        let without = |all: u8, bit: Self, parts: u8| if all & bit.0 == 0 { all & !parts } else { all };
        let all = without(self.0, Self::SAMPLING, Self::SAMPLING_TOOLS.0 | Self::SAMPLING_CONTEXT.0);
        Self(without(all, Self::ROOTS, Self::ROOTS_CHANGE.0))
    }

    /// Returns true if a server may ask for something.
    pub fn can_be_asked(self) -> bool {
        [Self::SAMPLING, Self::ROOTS, Self::ELICITATION, Self::ELICITATION_URL].into_iter().any(|bit| self.has(bit))
    }

    /// As a row keeps them.
    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    /// Returns true if a client that declared this may be asked this.
    pub fn allow(self, method: &str, params: Option<&Object<'_>>) -> bool {
        match method {
            "sampling/createMessage" => self.has(Self::SAMPLING),
            "roots/list" => self.has(Self::ROOTS),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/list" => self.has(Self::TASKS),
            "elicitation/create" => {
                let url = params.is_some_and(|params| matches!(params.string("mode"), Ok(Some(mode)) if mode == "url"));
                self.has(if url { Self::ELICITATION_URL } else { Self::ELICITATION })
            }
            _ => false,
        }
    }
}

/// For whom the gateway speaks to an upstream. What is remembered of an upstream is remembered for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// What the upstream may ask of the client.
    pub can: Capabilities,
    pub client: ClientEra,
}

/// Whose sessions at legacy upstreams those are that a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEra {
    /// Those that all modern clients of a person share who can be asked for the same: their era has none.
    Modern,
    /// Those that one call of such a client has alone while it is made, by their slot (`call_sessions`).
    ModernCall(u8),
    /// Its own: a legacy client meets no other one there, as if it were connected directly. `None`: it calls without a
    /// session, and shares with others of that sort.
    Legacy(Option<[u8; 16]>),
}

impl Profile {
    /// For what is asked on nobody's behalf.
    pub const NONE: Self = Self { can: Capabilities::NONE, client: ClientEra::Modern };

    pub fn is_modern(self) -> bool {
        !matches!(self.client, ClientEra::Legacy(_))
    }

    /// A part of the name of a row that belongs to these clients alone.
    pub fn name(self) -> String {
        match self.client {
            ClientEra::Legacy(Some(nonce)) => ["s", &Base64UrlUnpadded::encode_string(&nonce)].concat(),
            ClientEra::ModernCall(slot) => format!("c{slot}.{}", self.can.0),
            ClientEra::Modern | ClientEra::Legacy(None) => self.era_name(),
        }
    }

    /// The same for the place that the row of a legacy client's session has in turn. `None`: the row has its own place.
    pub fn place(self) -> Option<String> {
        let ClientEra::Legacy(Some(nonce)) = self.client else { return None };
        Some(format!("p{}", place_of(&nonce)))
    }

    /// A part of the name of a row that holds for all clients of their era that can be asked for the same.
    pub fn era_name(self) -> String {
        let era = if self.is_modern() { "m" } else { "l" };
        [era, &self.can.0.to_string()].concat()
    }

    /// A part of the name of a row that holds for all clients of their era.
    pub fn era(self) -> &'static str {
        if self.is_modern() { "m" } else { "l" }
    }
}

impl Session {
    /// The same session at another place.
    pub fn at(mut self, place: u8) -> Self {
        self.nonce[0] = self.nonce[0] - place_of(&self.nonce) + place;
        self
    }

    /// Its id for `caller`.
    pub fn id(&self, caller: &Caller) -> String {
        let said = self.said();
        let mut bytes = [0; SAID + MAC];
        bytes[..SAID].copy_from_slice(&said);
        bytes[SAID..].copy_from_slice(&mac(caller, &said));
        [MARK, &Base64UrlUnpadded::encode_string(&bytes)].concat()
    }

    /// The session that `id` names; `None` if it is not one of ours. Whose it is has to be checked by
    /// [`Session::is_of`] before anything is done.
    pub fn read(id: &str) -> Option<Self> {
        let (said, _) = parts(id)?;
        let [version, client, nonce @ ..] = said;
        let client = Capabilities(client);
        Some(Self {
            version: Version::ALL.into_iter().find(|known| *known as u8 == version)?,
            client: (client == client.in_session()).then_some(client)?,
            nonce,
        })
    }

    /// Returns true if `id` was given to `caller`.
    pub fn is_of(id: &str, caller: &Caller) -> bool {
        let Some((said, given)) = parts(id) else { return false };
        // However many bytes are right, it takes as long.
        mac(caller, &said).iter().zip(&given).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
    }

    fn said(&self) -> [u8; SAID] {
        let mut said = [0; SAID];
        said[0] = self.version as u8;
        said[1] = self.client.0;
        said[2..].copy_from_slice(&self.nonce);
        said
    }
}

fn parts(id: &str) -> Option<([u8; SAID], [u8; MAC])> {
    let mut bytes = [0; SAID + MAC];
    let read = Base64UrlUnpadded::decode(id.strip_prefix(MARK)?, &mut bytes).ok()?;
    let (said, mac) = read.split_first_chunk()?;
    Some((*said, mac.try_into().ok()?))
}

/// Half of a digest, so that nothing can be put behind what it is over.
fn mac(caller: &Caller, said: &[u8; SAID]) -> [u8; MAC] {
    let mut digest = Sha256::new();
    for field in [b"gatehouse.session.v2".as_slice(), &caller.sealing_key, caller.subject.as_bytes()] {
        digest.update((field.len() as u64).to_be_bytes());
        digest.update(field);
    }
    let digest = digest.chain_update(said).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(subject: &str, key: u8) -> Caller {
        Caller {
            subject: subject.into(),
            expires_at: None,
            sealing_key: vec![key; 32],
            hops: Default::default(),
            met: Default::default(),
        }
    }

    #[test]
    fn an_id_says_all_that_the_session_is() {
        let declared = r#"{"sampling":{},"elicitation":{"url":{}},"x":1}"#;
        for version in Version::ALL {
            let client = Capabilities::read(&Object::parse(declared).unwrap()).unwrap();
            let session = Session { version, client, nonce: [7; 16] };
            let id = session.id(&caller("alice", 7));
            assert_eq!(Session::read(&id), Some(session));
            assert_eq!(client.0, 1 | 8, "links alone are not forms");
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
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
        assert_eq!(read.0, 2 | 4, "nor has it a session for that");
    }

    #[test]
    fn an_id_that_is_not_ours_is_none() {
        let session = Session { version: Version::V20251125, client: Capabilities::default(), nonce: [0; 16] };
        let ours = session.id(&caller("alice", 7));
        for id in
            ["", "gh2", "gh2AAAA", &ours[..ours.len() - 1], &(ours.clone() + "A"), &ours.replace("gh2", "gh1"), "é"]
        {
            assert_eq!(Session::read(id), None, "{id}");
            assert!(!Session::is_of(id, &caller("alice", 7)), "{id}");
        }
        assert_eq!(Session::read(&ours.replacen("gh2Aw", "gh2_w", 1)), None, "an unknown version");
    }

    /// A10: an id is good for whom it was given to, as it was given.
    #[test]
    fn nobody_can_make_an_id_of_another_profile_or_another_person() {
        let alice = caller("alice", 7);
        let session = Session { version: Version::V20251125, client: Capabilities::SAMPLING, nonce: [9; 16] };
        let id = session.id(&alice);
        assert!(Session::is_of(&id, &alice));
        assert!(!Session::is_of(&id, &caller("bob", 7)) && !Session::is_of(&id, &caller("alice", 8)));
        let bytes = Base64UrlUnpadded::decode_vec(&id[3..]).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let forged = [MARK, &Base64UrlUnpadded::encode_string(&bytes)].concat();
                assert!(!Session::is_of(&forged, &alice), "byte {at}, bit {bit}");
            }
        }
    }

    /// A10: bits that mean nothing make no profile.
    #[test]
    fn there_are_so_many_profiles_of_legacy_clients() {
        let all: std::collections::BTreeSet<u8> = (0..=255).map(|bits| Capabilities(bits).in_session().0).collect();
        assert_eq!(all.len(), 120, "5 of sampling, 3 of roots, 4 of elicitation, 2 of tasks");
        for bits in 0..=255 {
            let session = Session { version: Version::V20251125, client: Capabilities(bits), nonce: [0; 16] };
            assert_eq!(Session::read(&session.id(&caller("a", 1))).is_some(), all.contains(&bits), "{bits}");
            // What a client can declare is one of them.
            let declared = Capabilities(bits).write();
            let read = Capabilities::read(&Object::parse(&declared).unwrap()).unwrap();
            assert!(all.contains(&read.0) && all.contains(&read.in_legacy().0), "{declared}");
        }
    }
}
