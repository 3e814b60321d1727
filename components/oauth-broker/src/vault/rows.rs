//! How does a typed row get into the store and out again?

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{OpenError, Place};
use crate::Broker;
use crate::host::{Host, StoreFault};
use crate::settings::SettingError;

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
    /// What anybody may know of it: no id of a key, and of a setting its name.
    pub fn for_anybody(&self) -> String {
        match self {
            Self::Setting(error) => format!("{}: {}", error.setting, error.word()),
            Self::Open(_) => "a stored value does not open now (the log says more)".to_owned(),
            Self::Store(_) | Self::Form => self.to_string(),
        }
    }
}

impl<H: Host> Broker<'_, H> {
    pub(crate) fn read<T: DeserializeOwned>(&self, place: Place) -> Result<Option<T>, RowError> {
        let plain = self.read_plain(place)?;
        plain.map(|plain| serde_json::from_slice(&plain).map_err(|_| RowError::Form)).transpose()
    }

    /// The same for a row that may be lost. One that does not open is as good as none: it must not stand in the way for
    /// ever when its key is gone.
    pub(crate) fn read_if_it_opens<T: DeserializeOwned>(&self, place: Place) -> Result<Option<T>, RowError> {
        match self.read(place) {
            Err(RowError::Open(_) | RowError::Form) => Ok(None),
            row => row,
        }
    }

    /// The same for a row that is text and not JSON, without a secret. Empty if there is none.
    pub(crate) fn read_text_if_it_opens(&self, place: Place) -> Result<String, RowError> {
        match self.read_plain(place) {
            Ok(Some(plain)) => Ok(String::from_utf8_lossy(&plain).into_owned()),
            Ok(None) | Err(RowError::Open(_)) => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, place: Place, row: &impl Serialize) -> Result<(), RowError> {
        self.write_plain(place, &sealing::to_json(row).map_err(|_| RowError::Form)?)
    }

    pub(crate) fn erase(&self, place: Place) -> Result<(), RowError> {
        Ok(self.host.delete(&place.key())?)
    }

    pub(crate) fn seal(&self, place: Place, value: &impl Serialize) -> Result<Vec<u8>, RowError> {
        Ok(self.seal_plain(place, &sealing::to_json(value).map_err(|_| RowError::Form)?)?)
    }

    // What does not depend on the type of a row is apart from what does: else it would be compiled for each of them.

    #[inline(never)]
    fn read_plain(&self, place: Place) -> Result<Option<Zeroizing<Vec<u8>>>, RowError> {
        let vault = self.settings.vault()?;
        let Some(sealed) = self.host.get(&place.key())? else { return Ok(None) };
        Ok(Some(vault.open(place, &sealed)?))
    }

    #[inline(never)]
    pub(crate) fn write_plain(&self, place: Place, plain: &[u8]) -> Result<(), RowError> {
        let sealed = self.seal_plain(place, plain)?;
        if place.kind.is_durable() {
            self.note_key(self.settings.vault()?);
        }
        Ok(self.host.set(&place.key(), &sealed)?)
    }

    #[inline(never)]
    pub(crate) fn seal_plain(&self, place: Place, plain: &[u8]) -> Result<Vec<u8>, SettingError> {
        Ok(self.settings.vault()?.seal(place, plain, self.random()))
    }
}
