//! Seals and opens values with the keys of `encryption_keys`.

use std::cell::OnceCell;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::row::RowId;

/// The keys of `encryption_keys`, which seal and open.
pub struct Keyring {
    /// Never empty; the first seals.
    pub(super) keys: Vec<Key>,
}

pub struct Key {
    pub(super) id: String,
    master: Zeroizing<[u8; 32]>,
    /// The key of the cipher, derived when it is first needed.
    sealing: OnceCell<Zeroizing<[u8; 32]>>,
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

impl Keyring {
    /// Errors: what is wrong, without the value.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
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
            keys.push(Key { id: id.to_owned(), master, sealing: OnceCell::new() });
        }
        Ok(Self { keys })
    }

    /// Seals under the first key. `nonce` must be random.
    pub fn seal(&self, row: RowId, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let key = self.first();
        let aad = row.associated_data(&key.id);
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

    pub fn open(&self, row: RowId, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (id, rest) = key_id(sealed).ok_or(OpenError::Broken)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<24>().ok_or(OpenError::Broken)?;
        let key = self.key(id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let aad = row.associated_data(id);
        let plain = key.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad: &aad });
        plain.map(Zeroizing::new).map_err(|_| OpenError::Broken)
    }

    /// Returns true if a value says that it is sealed under the first key.
    pub fn is_newest(&self, sealed: &[u8]) -> bool {
        key_id(sealed).is_some_and(|(id, _)| self.first().id == id)
    }

    /// The id of the key that seals.
    pub fn first_id(&self) -> &str {
        &self.first().id
    }

    pub fn has_key(&self, id: &str) -> bool {
        self.key(id).is_some()
    }

    pub(super) fn first(&self) -> &Key {
        let Some(key) = self.keys.first() else { unreachable!("parse makes no keyring without a key") };
        key
    }

    pub(super) fn key(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key under which a gateway seals what it keeps for this subject.
    pub fn sealing_key(&self, subject: &str) -> Zeroizing<[u8; 32]> {
        self.first().derive("gatehouse.sealing-key.v1", subject)
    }
}

impl Key {
    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&**self.sealing.get_or_init(|| self.derive("gatehouse.vault.v1", ""))).into())
    }

    /// Tells this key from another of the same name.
    pub(super) fn mark(&self) -> String {
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

/// Each field behind its length, so that no two lists of fields are the same bytes.
pub(super) fn fields<'a>(fields: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Vec<u8> {
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
