//! How does a typed row get into the store and out again?

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

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

impl<H: Host> Broker<'_, H> {
    pub(crate) fn read<T: DeserializeOwned>(&self, place: Place) -> Result<Option<T>, RowError> {
        let vault = self.settings.vault()?;
        let Some(sealed) = self.host.get(&place.key())? else { return Ok(None) };
        let plain = vault.open(place, &sealed)?;
        serde_json::from_slice(&plain).map(Some).map_err(|_| RowError::Form)
    }

    /// The same for a row that may be lost. One that does not open is as good as none: it must not stand in the way for
    /// ever when its key is gone.
    pub(crate) fn read_if_it_opens<T: DeserializeOwned>(&self, place: Place) -> Result<Option<T>, RowError> {
        match self.read(place) {
            Err(RowError::Open(_) | RowError::Form) => Ok(None),
            row => row,
        }
    }

    pub(crate) fn write(&self, place: Place, row: &impl Serialize) -> Result<(), RowError> {
        let sealed = self.seal(place, row)?;
        if place.kind.is_durable() {
            self.note_key(self.settings.vault()?);
        }
        Ok(self.host.set(&place.key(), &sealed)?)
    }

    pub(crate) fn erase(&self, place: Place) -> Result<(), RowError> {
        Ok(self.host.delete(&place.key())?)
    }

    pub(crate) fn seal(&self, place: Place, value: &impl Serialize) -> Result<Vec<u8>, RowError> {
        let vault = self.settings.vault()?;
        let plain = sealing::to_json(value).map_err(|_| RowError::Form)?;
        Ok(vault.seal(place, &plain, self.random()))
    }
}
