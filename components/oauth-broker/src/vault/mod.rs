//! Seals everything that is stored, so that the store alone tells nothing and proves nothing.
//!
//! **Values** are `version (1) | length of the key id | key id | nonce (24) | XChaCha20-Poly1305 ciphertext`. The row's
//! identity and the key id are the associated data. So a row that was moved to another place does not open, nor one whose
//! key id was changed. A value is opened with the key that it names and sealed with the first of `encryption_keys`, so
//! every write moves a row on to the newest key. Only get, set and delete are used of the store; a row that ends carries
//! its end inside. [`row`] is the table of all kinds of rows.
//!
//! The same seal makes the values that are given away and come back: connect tickets, sessions, the cookie of an owner's
//! browser and the cursor of a sweep. Their kind is in the associated data too, so that none passes for another or for a row.
//!
//! **One key, one use.** The 32 bytes of an encryption key are never given to a cipher: HMAC-SHA256 under it gives the key
//! of this vault (`gatehouse.vault.v1`) and each subject's sealing key for the gateway (`gatehouse.sealing-key.v1` and the
//! subject).
//!
//! **In memory.** Keys, opened rows, tokens, passphrases and the bodies that bring them are wiped when they are dropped.
//! Out of reach are the headers and the URL of a request, whose buffers are shared and cannot be written; the scratch
//! space of the JSON parser, through which a string with escapes passes; the parameters of a token request; and what has been
//! given to the host: every answer, every request to a provider and every value of the WIT interface. All of that lies in
//! a memory that is one request's own and goes with the instance when it ends.

pub mod keyring;
pub mod ledger;
pub mod row;
pub(crate) mod used_ids;

use std::cell::{Cell, OnceCell};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::host::{Host, StoreFault, random};
use crate::settings::{Setting, SettingError, Settings, once};
pub use keyring::{Keyring, OpenError};
pub use row::{RowId, RowKind};

/// Reads and writes sealed rows.
pub struct Vault<'b, H> {
    host: &'b H,
    settings: &'b Settings<'b, H>,
    cache: &'b VaultCache,
}

/// What one request knows of the vault so far.
#[derive(Default)]
pub struct VaultCache {
    keyring: OnceCell<Keyring>,
    /// True if this request has made sure that the ledger names the key in use.
    key_is_noted: Cell<bool>,
}

/// Why a row could not be read or written. The row is as it was.
#[derive(Debug, Error)]
pub enum RowError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It opened, so we sealed it; but not in a form that this version reads.
    #[error("a stored row is of a form that this version does not read")]
    Form,
}

impl RowError {
    /// What any caller may know: no id of a key, and of a setting only its name.
    pub fn public_text(&self) -> String {
        match self {
            Self::Setting(error) => format!("{}: {}", error.setting, error.public_problem()),
            Self::Open(_) => "a stored value does not open now (the log says more)".to_owned(),
            Self::Store(_) | Self::Form => self.to_string(),
        }
    }
}

impl<'b, H: Host> Vault<'b, H> {
    pub fn new(host: &'b H, settings: &'b Settings<'b, H>, cache: &'b VaultCache) -> Self {
        Self { host, settings, cache }
    }

    /// The keys of `encryption_keys`.
    pub fn keyring(&self) -> Result<&'b Keyring, SettingError> {
        once(&self.cache.keyring, || {
            Keyring::parse(self.settings.required(Setting::EncryptionKeys)?)
                .map_err(|problem| SettingError::new(Setting::EncryptionKeys, problem))
        })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, row: RowId) -> Result<Option<T>, RowError> {
        let plain = self.read_plain(row)?;
        plain.map(|plain| serde_json::from_slice(&plain).map_err(|_| RowError::Form)).transpose()
    }

    /// The same for a row that may be lost: `None` if it does not open, so that it does not stand in the way for ever when
    /// its key is gone.
    pub(crate) fn read_if_it_opens<T: DeserializeOwned>(&self, row: RowId) -> Result<Option<T>, RowError> {
        match self.read(row) {
            Err(RowError::Open(_) | RowError::Form) => Ok(None),
            read => read,
        }
    }

    /// The same for a row that is text and not JSON, without a secret. Empty if there is no such row.
    pub(crate) fn read_text_if_it_opens(&self, row: RowId) -> Result<String, RowError> {
        match self.read_plain(row) {
            Ok(Some(plain)) => Ok(String::from_utf8_lossy(&plain).into_owned()),
            Ok(None) | Err(RowError::Open(_)) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, row: RowId, value: &impl Serialize) -> Result<(), RowError> {
        self.write_plain(row, &sealing::to_json(value).map_err(|_| RowError::Form)?)
    }

    pub(crate) fn erase(&self, row: RowId) -> Result<(), RowError> {
        Ok(self.host.delete(&row.key())?)
    }

    pub(crate) fn seal(&self, row: RowId, value: &impl Serialize) -> Result<Vec<u8>, RowError> {
        Ok(self.seal_plain(row, &sealing::to_json(value).map_err(|_| RowError::Form)?)?)
    }

    // What does not depend on the type of a row is apart from what does: else it would be compiled for each of them.

    #[inline(never)]
    fn read_plain(&self, row: RowId) -> Result<Option<Zeroizing<Vec<u8>>>, RowError> {
        let keyring = self.keyring()?;
        let Some(sealed) = self.host.get(&row.key())? else { return Ok(None) };
        Ok(Some(keyring.open(row, &sealed)?))
    }

    #[inline(never)]
    pub(crate) fn write_plain(&self, row: RowId, plain: &[u8]) -> Result<(), RowError> {
        let sealed = self.seal_plain(row, plain)?;
        if row.kind.is_durable() {
            self.note_key(self.keyring()?);
        }
        Ok(self.host.set(&row.key(), &sealed)?)
    }

    #[inline(never)]
    pub(crate) fn seal_plain(&self, row: RowId, plain: &[u8]) -> Result<Vec<u8>, SettingError> {
        Ok(self.keyring()?.seal(row, plain, random(self.host)))
    }
}

#[cfg(test)]
mod tests;
