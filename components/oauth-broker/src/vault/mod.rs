//! How is anything kept so that the store alone tells nothing and proves nothing?
//!
//! **Keys.** A row lies under `b.` + the letter of its kind + `.` + base64url of SHA-256 over the kind and the row's
//! identity. Only get, set and delete are asked of the store; what ends carries its end inside.
//!
//! **Values** are `version (1) | length of the key id | key id | nonce (24) | XChaCha20-Poly1305 ciphertext`. The row's
//! identity and the key id are the associated data, so that a row moved to another place does not open, nor one whose
//! key id was changed. A value is opened with the key that it names and sealed with the first of `encryption_keys`, so
//! every write moves a row on to the newest key.
//!
//! | letter | kind | written when | identity | ends | kept by |
//! |---|---|---|---|---|---|
//! | `c` | connection | a flow ends well, a refresh | subject, service, account | when disconnected | [`crate::connections::row`] |
//! | `f` | flow | a flow starts | digest of its state | 10 minutes, or its callback | [`crate::connect::flow`] |
//! | `p` | pending flows | a flow starts | subject | replaced by the next | [`crate::connect::flow`] |
//! | `t` | used tickets | a flow starts | subject | replaced by the next | [`crate::connect::ticket`] |
//! | `w` | wait | a provider says when to come back, or refuses | subject, service | at that time or with the next generation, replaced by the next | [`crate::connections::refresh`] |
//! | `a` | audit lines | an event | subject, place in the week, slot | after a week, replaced | [`crate::audit::ring`] |
//! | `h` | refusal limit | a service gets nothing | name of the service key | a minute, replaced by the next | [`crate::audit`] |
//! | `r` | lease | a refresh or a change of a list begins | kind and identity of the row that it is for | when that ends, or after 40 seconds; a mark of doubt with the next refresh | [`crate::connections`] |
//! | `i` | list of connections | a connection is made or removed | subject | with the last of them | [`crate::connections::index`] |
//! | `u` | list of subjects | a subject's first connection, and its last | number of the shard | replaced by the next | [`crate::connections::index`] |
//! | `q` | revocation to come | a connection is removed | subject, grant | when it is done, or after 7 days | [`crate::connections::revocation`] |
//! | `d` | discovered | an MCP server's authorization is looked for | service | replaced by the next, after a day | [`crate::discovery`] |
//! | `n` | registration | a client is registered there | issuer, redirect URI | when it is forgotten there, or its secret ends | `crate::discovery::client` |
//! | `l` | sign-in limit | a passphrase is tried | none, or one of 64 letters | a minute, replaced by the next | [`crate::people::sign_in`] |
//! | `e` | ended sessions | somebody signs out | subject | 12 hours, replaced by the next | [`crate::people::session`] |
//!
//! The same seal makes what is given away and comes back: connect tickets (`k`), sessions (`s`), the cookie of an owner's
//! browser (`o`) and the cursor of a sweep (`z`). Their kind is in the associated data too, so that none passes for another or for a row.
//!
//! **One key, one use.** The 32 bytes of an encryption key never meet a cipher: HMAC-SHA256 under it gives the key of
//! this vault (`gatehouse.vault.v1`) and each subject's sealing key for the gateway (`gatehouse.sealing-key.v1` and the
//! subject).
//!
//! **In memory.** Keys, opened rows, tokens, passphrases and the bodies that bring them are wiped when they are dropped.
//! Out of reach are the headers and the URL of a request, whose buffers are shared and cannot be written; the scratch
//! space of the JSON parser, through which a string with escapes passes; the parameters of a token request; and what has been
//! given to the host, which is every answer, every request to a provider and every value of the WIT interface. All of
//! that lies in a memory that is one request's own and goes with the instance when it ends.

pub mod ledger;
pub mod rows;
pub(crate) mod spent;

use std::cell::OnceCell;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// The keys that seal and open.
pub struct Vault {
    /// Never empty; the first seals.
    keys: Vec<VaultKey>,
}

pub(crate) struct VaultKey {
    pub(crate) id: String,
    master: Zeroizing<[u8; 32]>,
    /// The key of the cipher, derived when it is first needed.
    sealing: OnceCell<Zeroizing<[u8; 32]>>,
}

/// Where a value belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub kind: Kind,
    /// The fields that tell it from others of its kind.
    pub identity: &'a [&'a str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connection,
    Flow,
    Pending,
    UsedTickets,
    Wait,
    Lease,
    Connections,
    Subjects,
    Revocation,
    Discovered,
    Registration,
    SignInLimit,
    Audit,
    RefusalLimit,
    Ticket,
    Session,
    EndedSessions,
    OwnersBrowser,
    SweepCursor,
}

/// Why a sealed value does not open. Never a reason to change or delete it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// `encryption_keys` has no key of this id: it was taken out too early, or the store is another installation's.
    #[error("encryption_keys has no key `{0}`, under which a stored value was sealed")]
    UnknownKey(String),
    /// Changed, moved from another place, or not ours.
    #[error("a sealed value is damaged or out of its place")]
    Broken,
}

impl Vault {
    /// Errors: what is wrong, without the value.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut keys: Vec<VaultKey> = Vec::new();
        for (place, entry) in list.split(',').enumerate() {
            let wrong = |what: &str| format!("entry {} {what}", place + 1);
            let (id, key) = entry.trim().split_once(':').ok_or_else(|| wrong("is not id:base64"))?;
            if !is_key_id(id) {
                return Err(wrong("has an id that is not 1 to 32 letters, digits, _ or -"));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(wrong("has the id of another"));
            }
            let mut master = Zeroizing::new([0; 32]);
            let read = Base64::decode(key, master.as_mut_slice()).map_err(|_| wrong("is not base64 of 32 bytes"))?;
            if read.len() != 32 {
                return Err(wrong("is not base64 of 32 bytes"));
            }
            keys.push(VaultKey { id: id.to_owned(), master, sealing: OnceCell::new() });
        }
        Ok(Self { keys })
    }

    /// Seals under the first key. `nonce` must be random.
    pub fn seal(&self, place: Place, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let key = self.first();
        let aad = place.associated_data(&key.id);
        let Ok(ciphertext) = key.cipher().encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad }) else {
            unreachable!("XChaCha20-Poly1305 takes 256 GiB, memory does not")
        };
        let mut sealed = Vec::with_capacity(2 + key.id.len() + nonce.len() + ciphertext.len());
        sealed.push(VERSION);
        sealed.push(key.id.len() as u8);
        sealed.extend_from_slice(key.id.as_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (id, rest) = key_id(sealed).ok_or(OpenError::Broken)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or(OpenError::Broken)?;
        let key = self.key(id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let aad = place.associated_data(id);
        let plain = key.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: &aad });
        plain.map(Zeroizing::new).map_err(|_| OpenError::Broken)
    }

    /// Whether a value is sealed under the first key, or says so.
    pub fn is_newest(&self, sealed: &[u8]) -> bool {
        key_id(sealed).is_some_and(|(id, _)| self.first().id == id)
    }

    pub fn has_key(&self, id: &str) -> bool {
        self.key(id).is_some()
    }

    pub(crate) fn first(&self) -> &VaultKey {
        let Some(key) = self.keys.first() else { unreachable!("parse makes no vault without a key") };
        key
    }

    fn key(&self, id: &str) -> Option<&VaultKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key under which a gateway seals what it keeps for this subject.
    pub fn sealing_key(&self, subject: &str) -> Zeroizing<[u8; 32]> {
        self.first().derive("gatehouse.sealing-key.v1", subject)
    }
}

impl VaultKey {
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.sealing.get_or_init(|| self.derive("gatehouse.vault.v1", ""))).into())
    }

    /// Tells this key from another of the same name.
    fn mark(&self) -> String {
        let derived = self.derive("gatehouse.key-mark.v1", "");
        Base64UrlUnpadded::encode_string(derived.first_chunk::<6>().map(<[u8; 6]>::as_slice).unwrap_or_default())
    }

    fn derive(&self, purpose: &str, of: &str) -> Zeroizing<[u8; 32]> {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(self.master.as_slice()) else {
            unreachable!("HMAC takes keys of any length")
        };
        mac.update(&fields([purpose, of]));
        let mut derived = mac.finalize().into_bytes();
        let key = Zeroizing::new(derived.into());
        derived.as_mut_slice().zeroize();
        key
    }
}

impl Place<'_> {
    /// The row's key in the store.
    pub fn key(&self) -> String {
        let digest = Sha256::digest(fields(["gatehouse.row.v1", self.kind.letter()].iter().chain(self.identity)));
        format!("b.{}.{}", self.kind.letter(), Base64UrlUnpadded::encode_string(&digest))
    }

    fn associated_data(&self, key_id: &str) -> Vec<u8> {
        fields(["gatehouse.seal.v1", key_id, self.kind.letter()].iter().chain(self.identity))
    }
}

impl Kind {
    /// Whether a row of this kind is there for longer than a flow, so that its key has to be.
    fn is_durable(self) -> bool {
        matches!(self, Self::Connection | Self::Connections | Self::Subjects | Self::Revocation)
    }

    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Connection => "c",
            Self::Flow => "f",
            Self::Pending => "p",
            Self::UsedTickets => "t",
            Self::Wait => "w",
            Self::Lease => "r",
            Self::Connections => "i",
            Self::Subjects => "u",
            Self::Revocation => "q",
            Self::Discovered => "d",
            Self::Registration => "n",
            Self::SignInLimit => "l",
            Self::Audit => "a",
            Self::RefusalLimit => "h",
            Self::Ticket => "k",
            Self::Session => "s",
            Self::EndedSessions => "e",
            Self::OwnersBrowser => "o",
            Self::SweepCursor => "z",
        }
    }
}

/// Each field behind its length, so that no two lists of fields are the same bytes.
fn fields<'a>(fields: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    for field in fields {
        let field = field.as_ref();
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

/// The id of the key under which a value is sealed, as it says, and what follows it. Only what can be an id: a damaged
/// value is not let into a log.
pub(crate) fn key_id(sealed: &[u8]) -> Option<(&str, &[u8])> {
    let [VERSION, length, rest @ ..] = sealed else { return None };
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    let id = std::str::from_utf8(id).ok()?;
    is_key_id(id).then_some((id, rest))
}

fn is_key_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
