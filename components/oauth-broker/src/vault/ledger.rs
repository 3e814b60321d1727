//! Records which keys of `encryption_keys` are still needed (the row `b.keys`).
//!
//! If a key is taken out of `encryption_keys` while rows are sealed under it, those rows are lost, and that shows only when a
//! row is read. So this row lists the keys under which durable rows may be sealed: the first of `encryption_keys` from the
//! first write under it on, and every key that a [sweep](crate::maintenance) found in use. A key is removed when a whole sweep
//! has found nothing under it.
//!
//! If a key of this row is missing from `encryption_keys`, or is another one under the same name, `/health` fails, and nobody
//! can begin to connect: a new grant must not overwrite one that the right key would open. Rows that open are handed out as
//! before.
//!
//! The row is in clear, because it has to be read without the keys. It has names and, for each, a few bytes that were
//! derived from the key: they tell one key from another and reveal nothing of it. An attacker who can write to the store can
//! delete the row. Then it is begun again, and this warning is lost, but no secret.
//!
//! It is read when something durable is written, at `/health` and when a connection is begun, and never for a token that is
//! fresh.

use std::collections::BTreeMap;

use super::keyring::{Key, Keyring};
use super::{RowError, Vault};
use crate::host::Host;
use crate::settings::{Setting, SettingError};

/// Key ids, and the mark of each key.
type Ledger = BTreeMap<String, String>;

impl<H: Host> Vault<'_, H> {
    /// Errors when a key is missing under which rows are sealed.
    pub(crate) fn check_keys(&self) -> Result<(), RowError> {
        let keyring = self.keyring()?;
        Ok(compare(keyring, &self.ledger()?.unwrap_or_default())?)
    }

    /// Notes that a durable row is sealed under the first key. A fault here keeps no row from being written: that one may
    /// hold the only copy of a token.
    pub(crate) fn note_key(&self, keyring: &Keyring) {
        if self.cache.key_is_noted.replace(true) {
            return;
        }
        let noted = self.ledger().and_then(|ledger| {
            let is_new = ledger.is_none();
            let mut ledger = ledger.unwrap_or_default();
            // Who has no such row yet may have rows under any of the keys.
            let keys = if is_new { keyring.keys.as_slice() } else { std::slice::from_ref(keyring.first()) };
            let before = ledger.len();
            for key in keys {
                ledger.entry(key.id.clone()).or_insert_with(|| key.mark());
            }
            if ledger.len() == before { Ok(()) } else { self.write_ledger(&ledger) }
        });
        if let Err(error) = noted {
            self.host.log(&format!("the keys in use could not be noted: {error}"));
        }
    }

    /// The ids of the keys that are in use, as far as is known.
    pub(crate) fn keys_in_use(&self) -> Result<Vec<String>, RowError> {
        Ok(self.ledger()?.unwrap_or_default().into_keys().collect())
    }

    /// Puts in the keys that a sweep has found in use. After a whole one, those go that it has not found; not the first, nor
    /// one that is another key now, because under that one nothing can be found.
    pub(crate) fn update_keys_in_use(&self, found: &BTreeMap<String, u64>, whole: bool) -> Result<(), RowError> {
        let keyring = self.keyring()?;
        self.note_key(keyring);
        let before = self.ledger()?.unwrap_or_default();
        let mut ledger = before.clone();
        let first = &keyring.first().id;
        if whole {
            ledger.retain(|id, mark| {
                id == first || found.contains_key(id) || keyring.key(id).is_some_and(|key| *mark != key.mark())
            });
        }
        for id in found.keys() {
            let mark = || keyring.key(id).map(Key::mark).unwrap_or_default();
            ledger.entry(id.clone()).or_insert_with(mark);
        }
        if ledger == before { Ok(()) } else { self.write_ledger(&ledger) }
    }

    /// `None` if there is no such row, or it cannot be read: then a new one is begun.
    fn ledger(&self) -> Result<Option<Ledger>, RowError> {
        Ok(self.host.get(KEY)?.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    fn write_ledger(&self, ledger: &Ledger) -> Result<(), RowError> {
        let row = sealing::to_json(ledger).map_err(|_| RowError::Form)?;
        Ok(self.host.set(KEY, &row)?)
    }
}

fn compare(keyring: &Keyring, ledger: &Ledger) -> Result<(), SettingError> {
    let wrong = |problem: String| Err(SettingError::new(Setting::EncryptionKeys, problem));
    for (id, mark) in ledger {
        match keyring.key(id) {
            None => {
                return wrong(format!(
                    "there is no key `{id}`, under which rows are still sealed: put it back, last, and sweep before it is taken out"
                ));
            }
            Some(key) if !mark.is_empty() && *mark != key.mark() => {
                return wrong(format!(
                    "`{id}` is not the key of that name under which rows are sealed: give this one another name"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

const KEY: &str = "b.keys";
