//! Sweeps over everything that is stored, to move it to a new key and to find out which keys are still in use.
//!
//! A sweep goes over every row that is there for longer than minutes: the shards of the index of subjects, and for each
//! subject its index, its connections, its revocations that are due and its audit lines. A row that is not under the first key
//! is sealed again. Revocations that are due are tried on the way. A sweep goes in steps, each of some subjects and seconds; a
//! sealed cursor says how far it has come and what it has found.
//!
//! Rows are counted by the key under which they were *found*. So the first sweep after a new key moves rows, the second
//! one finds none under the old key, and only then the old one leaves the ledger ([`crate::vault::ledger`]). The second sweep
//! also finds the rows that an instance with the old settings still wrote in between.
//!
//! A connection or an index is sealed again under its [`lease`](crate::lease) only, after it was read once more: nothing that
//! a refresh brings is overwritten. A revocation and audit lines are read and written at once, without a lease: at worst a
//! revocation is tried once more, and an audit line of that moment is in the log alone.
//!
//! **What is not swept**, since it ends soon or is made again: flows, tickets, limits, waits, leases, what discovery found.
//! If such a row does not open it counts as absent.
//!
//! **When a key is lost.** Rows under it cannot be opened by anybody. A sweep that is told so deletes those that it meets,
//! so that their people can connect again. Nothing but the operator's request tells it.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::audit::ring::Spot;
use crate::connections::Connections;
use crate::connections::index::SHARDS;
use crate::host::{Host, random};
use crate::lease::Leases;
use crate::names::Subject;
use crate::people::keys::HashedKeys;
use crate::settings::{Setting, Settings};
use crate::vault::keyring::key_id;
use crate::vault::{OpenError, RowError, RowId, RowKind, Vault};
use sealing::age::is_recent;

/// The progress of a sweep, and its counts.
#[derive(Serialize, Deserialize)]
pub struct Sweep {
    /// The first key when it began.
    key: String,
    began: u64,
    shard: u8,
    /// The last subject of this shard that is done.
    after: Option<Subject>,
    /// Rows by the key under which they were.
    pub found: BTreeMap<String, u64>,
    /// Sealed again.
    pub moved: u64,
    /// Of a key that is not there, or damaged. They are as they were.
    pub unreadable: u64,
    /// Of a key that is lost.
    pub deleted: u64,
}

/// A [`RowId`] that owns its identity.
struct OwnedRowId {
    kind: RowKind,
    identity: Vec<String>,
}

impl Sweep {
    pub fn is_whole(&self) -> bool {
        self.shard > SHARDS
    }
}

/// Sweeps over what is stored.
pub(crate) struct Maintenance<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
    pub connections: Connections<'b, H>,
}

impl<H: Host> Maintenance<'_, H> {
    pub fn begin(&self) -> Result<Sweep, RowError> {
        Ok(Sweep {
            key: self.vault.keyring()?.first_id().to_owned(),
            began: self.host.now(),
            shard: 0,
            after: None,
            found: BTreeMap::new(),
            moved: 0,
            unreadable: 0,
            deleted: 0,
        })
    }

    /// The sweep that a cursor stands for. `None` if it did not begin in the last day, under the key that is first now.
    pub fn resume(&self, cursor: &[u8]) -> Result<Option<Sweep>, RowError> {
        let keyring = self.vault.keyring()?;
        let Ok(plain) = keyring.open(CURSOR, cursor) else { return Ok(None) };
        let sweep: Option<Sweep> = serde_json::from_slice(&plain).ok();
        let is_good = |sweep: &Sweep| sweep.key == keyring.first_id() && is_recent(sweep.began, self.host.now(), A_DAY);
        Ok(sweep.filter(is_good))
    }

    pub fn cursor(&self, sweep: &Sweep) -> Result<Vec<u8>, RowError> {
        self.vault.seal(CURSOR, sweep)
    }

    /// Goes on with a sweep, for a while. Rows under the key `lost` are deleted. Errors leave every row as it was, and the
    /// same step can be taken again.
    pub async fn advance(&self, sweep: &mut Sweep, lost: Option<&str>) -> Result<(), RowError> {
        let end = self.host.ticks().saturating_add(STEP);
        let mut subjects_left = SUBJECTS;
        while !sweep.is_whole() {
            let mut subjects = match sweep.shard {
                SHARDS => self.others()?,
                shard => {
                    let row = OwnedRowId::new(RowKind::SubjectIndex, [shard.to_string()]);
                    if sweep.after.is_none() {
                        self.sweep_rows(sweep, &[row], lost).await?;
                    }
                    readable(self.connections.index.subjects_of_shard(shard))?.unwrap_or_default()
                }
            };
            subjects.sort_unstable();
            for subject in subjects {
                if sweep.after.as_ref().is_some_and(|after| subject <= *after) {
                    continue;
                }
                if subjects_left == 0 || self.host.ticks() >= end {
                    return self.vault.update_keys_in_use(&sweep.found, false);
                }
                subjects_left -= 1;
                self.sweep_subject(sweep, &subject, lost).await?;
                sweep.after = Some(subject);
            }
            sweep.shard += 1;
            sweep.after = None;
        }
        self.sweep_rows(sweep, &ring(None), lost).await?;
        self.vault.update_keys_in_use(&sweep.found, true)
    }

    /// Those who have nothing connected and may have audit lines, or whose list does not open.
    fn others(&self) -> Result<Vec<Subject>, RowError> {
        let keys = HashedKeys::of_setting(self.settings, Setting::ApiKeys)?;
        let mut subjects: Vec<Subject> = keys.names().filter_map(|name| Subject::parse(name).ok()).collect();
        subjects.push(Subject::owner());
        subjects.sort_unstable();
        subjects.dedup();
        subjects.retain(|subject| {
            !self.connections.index.connections_of(subject).is_ok_and(|connections| !connections.is_empty())
        });
        Ok(subjects)
    }

    async fn sweep_subject(&self, sweep: &mut Sweep, subject: &Subject, lost: Option<&str>) -> Result<(), RowError> {
        let mut rows = vec![OwnedRowId::new(RowKind::ConnectionIndex, [subject.as_str()])];
        if let Some(ids) = readable(self.connections.index.connections_of(subject))? {
            rows.extend(ids.iter().map(|id| OwnedRowId::new(RowKind::Connection, id.identity())));
        }
        if let Some(grants) = readable(self.connections.index.revocations_of(subject))? {
            rows.extend(
                grants.iter().map(|grant| OwnedRowId::new(RowKind::Revocation, [subject.as_str(), grant.as_str()])),
            );
        }
        rows.extend(ring(Some(subject)));
        self.sweep_rows(sweep, &rows, lost).await?;
        if let Err(error) = self.connections.retry_revocations(subject).await {
            self.host
                .log(&format!("revocations that are due were not tried, and will be at the next request: {error}"));
        }
        Ok(())
    }

    async fn sweep_rows(&self, sweep: &mut Sweep, rows: &[OwnedRowId], lost: Option<&str>) -> Result<(), RowError> {
        let keyring = self.vault.keyring()?;
        let mut to_move = Vec::new();
        for row in rows {
            let identity = row.identity();
            let id = row.row_id(&identity);
            let Some(sealed) = self.host.get(&id.key())? else { continue };
            let Some((key, _)) = key_id(&sealed) else {
                sweep.unreadable += 1;
                continue;
            };
            if lost == Some(key) {
                self.vault.erase(id)?;
                sweep.deleted += 1;
                continue;
            }
            match keyring.open(id, &sealed) {
                // It does not open under any key, so no key is kept for it.
                Err(OpenError::Broken) => {
                    sweep.unreadable += 1;
                    continue;
                }
                Err(OpenError::UnknownKey(_)) => sweep.unreadable += 1,
                Ok(_) if keyring.is_newest(&sealed) => {}
                Ok(_) => to_move.push(row),
            }
            *sweep.found.entry(key.to_owned()).or_default() += 1;
        }
        for rows in to_move.chunks(AT_ONCE) {
            for moved in join_all(rows.iter().map(|row| self.move_row(row))).await {
                sweep.moved += u64::from(moved?);
            }
        }
        Ok(())
    }

    /// Seals a row under the first key. If another instance holds its lease, that one writes under the first key anyway.
    async fn move_row(&self, row: &OwnedRowId) -> Result<bool, RowError> {
        let identity = row.identity();
        let id = row.row_id(&identity);
        if !row.has_lease() {
            return self.seal_again(id);
        }
        self.leases.with(id, || self.seal_again(id)).await?.unwrap_or(Ok(false))
    }

    fn seal_again(&self, id: RowId) -> Result<bool, RowError> {
        let keyring = self.vault.keyring()?;
        let key = id.key();
        let Some(sealed) = self.host.get(&key)? else { return Ok(false) };
        let plain = match keyring.open(id, &sealed) {
            Ok(plain) if !keyring.is_newest(&sealed) => plain,
            _ => return Ok(false),
        };
        self.host.set(&key, &keyring.seal(id, &plain, random(self.host)))?;
        Ok(true)
    }
}

impl OwnedRowId {
    fn new(kind: RowKind, identity: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { kind, identity: identity.into_iter().map(Into::into).collect() }
    }

    fn identity(&self) -> Vec<&str> {
        self.identity.iter().map(String::as_str).collect()
    }

    fn row_id<'a>(&self, identity: &'a [&'a str]) -> RowId<'a> {
        RowId { kind: self.kind, identity }
    }

    fn has_lease(&self) -> bool {
        matches!(self.kind, RowKind::Connection | RowKind::ConnectionIndex | RowKind::SubjectIndex)
    }
}

/// The audit rows of a subject, or those without a subject.
fn ring(subject: Option<&Subject>) -> Vec<OwnedRowId> {
    Spot::all().map(|spot| OwnedRowId::new(RowKind::Audit, spot.identity(subject))).collect()
}

/// The content of an index. `None` if it does not open, which has been counted.
fn readable<T>(list: Result<T, RowError>) -> Result<Option<T>, RowError> {
    match list {
        Err(RowError::Open(_) | RowError::Form) => Ok(None),
        list => list.map(Some),
    }
}

const CURSOR: RowId = RowId { kind: RowKind::SweepCursor, identity: &[] };
/// Subjects of a step.
const SUBJECTS: usize = 64;
/// Milliseconds after which a step begins with no further subject.
const STEP: u64 = 5_000;
/// Leases that are waited for together.
const AT_ONCE: usize = 32;
const A_DAY: u64 = 86_400;
