//! Stores audit lines in a ring of rows (kind `a`).
//!
//! The store can neither be appended to nor listed. So the lines of a subject lie in a ring of [`BLOCKS`] blocks of [`BLOCK`]
//! seconds: a week. Each block has [`SLOTS`] rows. A line goes to a random row of its block: the row is read, the line added
//! at its end, and the row written back. A row of an earlier week is replaced. From a full row older lines are removed, and
//! counted: first lines that a later line repeats, then lines whose event a later line has too, then the oldest
//! ([`surplus`]). So the newest lines are always there, and a flood of one sort of lines does not push out the others.
//!
//! **What can be lost.** If two requests write to the same row of the same subject at the same moment, one of the two lines
//! is lost. The same happens to lines that are removed from a full row, and at a fault of the store. The log has them all.
//!
//! **What it costs.** One read for each answer that holds a token, and one write of at most [`ROW`] bytes, which in SQLite is
//! a commit to the disk and costs twenty times the rest of the answer. So hand-outs that are [`Alike`](Lines::Alike) share one
//! stored line for [`SAME`] seconds, and go to the same row. For the first line of a row, the ledger of keys is checked
//! ([`crate::vault::ledger`]).
//!
//! Events without a subject, such as a sign-in that was refused, have a ring of their own.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Audit;
use crate::host::{Host, random};
use crate::names::Subject;
use crate::vault::{OpenError, RowError, RowId, RowKind};
use sealing::age::is_recent;

/// The lines of a time, oldest first.
#[derive(Default, Serialize)]
pub struct Record {
    pub lines: Vec<Box<RawValue>>,
    /// Lines that went from a full row.
    pub dropped: u64,
    /// Rows that do not open.
    pub unreadable: u32,
    /// True if older lines of that time have been left out, because there are more than an answer holds.
    pub cut: bool,
}

/// A row in clear: `block dropped`, and then the lines, each behind a line feed.
struct Row<'p> {
    block: u64,
    dropped: u64,
    lines: &'p str,
}

/// Which lines are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Each,
    /// One of those that differ by their time only, for a while.
    Alike,
}

impl<H: Host> Audit<'_, H> {
    pub(super) fn append(&self, subject: Option<&Subject>, line: &str, lines: Lines) -> Result<(), RowError> {
        let keyring = self.vault.keyring()?;
        let block = self.host.now() / BLOCK;
        let dice = match lines {
            Lines::Each => u8::from_le_bytes(random::<1>(self.host)),
            Lines::Alike => Sha256::digest(without_time(line)).first().copied().unwrap_or_default(),
        };
        let spot = Spot::new(block, u64::from(dice) % SLOTS);
        let identity = spot.identity(subject);
        let id = RowId { kind: RowKind::Audit, identity: &identity };
        let key = id.key();
        let old = self.host.get(&key)?;
        if !old.as_ref().is_some_and(|sealed| keyring.is_newest(sealed)) {
            self.vault.note_key(keyring);
        }
        // A row that does not open is replaced: it is of this block or a week old, and must not stand in the way.
        let old = old.and_then(|sealed| keyring.open(id, &sealed).ok());
        let row = old.as_ref().and_then(|plain| Row::parse(plain)).filter(|row| row.block == block);
        let Row { dropped, lines: stored, .. } = row.unwrap_or(Row { block, dropped: 0, lines: "" });
        let now = self.host.now();
        let recent = |old: &&str| time_of(old).is_some_and(|time| is_recent(time, now, SAME - 1));
        let alike = |old: &str| without_time(old) == without_time(line);
        if lines == Lines::Alike && stored.lines().rev().take_while(recent).any(alike) {
            return Ok(());
        }
        let mut lines: Vec<&str> = stored.lines().filter(|line| !line.is_empty()).chain([line]).collect();
        let excess = lines.iter().map(|line| line.len() + 1).sum::<usize>().saturating_sub(ROW);
        let gone = surplus(&lines, excess, |line| line.len() + 1);
        let mut kept = gone.iter().map(|gone| !gone);
        lines.retain(|_| kept.next().unwrap_or(true));
        let dropped = dropped + gone.iter().filter(|gone| **gone).count() as u64;
        let plain = Zeroizing::new(format!("{block} {dropped}\n{}", lines.join("\n")));
        Ok(self.host.set(&key, &keyring.seal(id, plain.as_bytes(), random(self.host)))?)
    }

    /// The lines of a subject, or those without a subject, from `from` to `until`.
    pub(crate) fn read(&self, subject: Option<&Subject>, from: u64, until: u64) -> Result<Record, RowError> {
        let keyring = self.vault.keyring()?;
        let mut record = Record::default();
        let mut found = Vec::new();
        let newest = until / BLOCK;
        for block in (from / BLOCK).max(newest.saturating_sub(BLOCKS - 1))..=newest {
            for slot in 0..SLOTS {
                let spot = Spot::new(block, slot);
                let identity = spot.identity(subject);
                let id = RowId { kind: RowKind::Audit, identity: &identity };
                let Some(sealed) = self.host.get(&id.key())? else { continue };
                let plain = match keyring.open(id, &sealed) {
                    Ok(plain) => plain,
                    Err(OpenError::UnknownKey(_) | OpenError::Broken) => {
                        record.unreadable += 1;
                        continue;
                    }
                };
                let Some(row) = Row::parse(&plain).filter(|row| row.block == block) else { continue };
                record.dropped += row.dropped;
                for line in row.lines.lines().filter(|line| !line.is_empty()) {
                    let Some(time) = time_of(line) else { continue };
                    if (from..=until).contains(&time)
                        && let Ok(line) = RawValue::from_string(line.to_owned())
                    {
                        found.push((time, line));
                    }
                }
            }
        }
        found.sort_by_key(|(time, _)| *time);
        record.cut = found.len() > MOST;
        let lines: Vec<&str> = found.iter().map(|(_, line)| line.get()).collect();
        let gone = surplus(&lines, found.len().saturating_sub(MOST), |_| 1);
        record.lines = found.into_iter().zip(gone).filter(|(_, gone)| !gone).map(|((_, line), _)| line).collect();
        Ok(record)
    }
}

impl<'p> Row<'p> {
    fn parse(plain: &'p [u8]) -> Option<Self> {
        let plain = std::str::from_utf8(plain).ok()?;
        let (head, lines) = plain.split_at(plain.find('\n').unwrap_or(plain.len()));
        let (block, dropped) = head.split_once(' ')?;
        Some(Self { block: block.parse().ok()?, dropped: dropped.parse().ok()?, lines })
    }
}

/// A row's place in the ring, as text.
pub(crate) struct Spot {
    place: String,
    slot: String,
}

impl Spot {
    fn new(block: u64, slot: u64) -> Self {
        Self { place: (block % BLOCKS).to_string(), slot: slot.to_string() }
    }

    /// All that a ring has.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..BLOCKS).flat_map(|block| (0..SLOTS).map(move |slot| Self::new(block, slot)))
    }

    pub(crate) fn identity<'a>(&'a self, subject: Option<&'a Subject>) -> [&'a str; 3] {
        [subject.map_or("", Subject::as_str), &self.place, &self.slot]
    }
}

/// The time of a line, which it begins with.
fn time_of(line: &str) -> Option<u64> {
    line.strip_prefix(r#"{"time":"#)?.split(',').next()?.parse().ok()
}

fn without_time(line: &str) -> &str {
    line.split_once(',').map_or(line, |(_, rest)| rest)
}

/// The event of a line and its actor.
fn event_of(line: &str) -> &str {
    let line = without_time(line);
    line.split_once(r#","subject""#).map_or(line, |(event, _)| event)
}

/// The lines to remove, oldest first, until their `weight` is at least `excess`. Never the last line.
fn surplus(lines: &[&str], mut excess: usize, weight: fn(&str) -> usize) -> Vec<bool> {
    let mut gone = vec![false; lines.len()];
    let sameness: [fn(&str) -> &str; 3] = [without_time, event_of, |_| ""];
    for same in sameness {
        if excess == 0 {
            break;
        }
        let mut later = BTreeSet::new();
        let left = lines.iter().enumerate().rev().filter(|(place, _)| !gone[*place]);
        let repeated: Vec<usize> = left.filter(|(_, line)| !later.insert(same(line))).map(|(place, _)| place).collect();
        for place in repeated.into_iter().rev() {
            if excess > 0 {
                gone[place] = true;
                excess = excess.saturating_sub(weight(lines[place]));
            }
        }
    }
    gone
}

/// Seconds for which hand-outs that are alike are one stored line.
const SAME: u64 = 10;
/// Seconds: four hours.
const BLOCK: u64 = 14_400;
/// A week.
pub(crate) const BLOCKS: u64 = 42;
const SLOTS: u64 = 8;
/// Bytes of lines in a row. Some backends take no value of more than 400 KB, and every line costs sealing its row again.
const ROW: usize = 32 * 1024;
/// Lines in an answer.
const MOST: usize = 5_000;
