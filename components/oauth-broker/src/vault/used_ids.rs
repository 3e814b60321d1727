//! Records which sealed values must not be used any more: connect tickets (rows of kind `t`) and sessions (rows of kind `e`).
//!
//! A row lists an id until its value would have expired anyway. When there are more than [`MOST`] the oldest is removed, and
//! everything of this subject that was issued then or before counts as used too.

use std::fmt;

use super::{RowError, RowId, Vault};
use crate::host::Host;

/// In the row as text: `before`, and then a line for each id with when it was issued.
#[derive(Default)]
pub(crate) struct UsedIds {
    /// Everything that was issued in this second or before is used. Seconds since the Unix epoch.
    before: u64,
    /// When each was issued, and its id.
    ids: Vec<(u64, String)>,
}

impl UsedIds {
    /// Returns true if the value that was `issued` under this id is used.
    pub(crate) fn has(&self, issued: u64, id: &str) -> bool {
        issued <= self.before || self.ids.iter().any(|(_, known)| known == id)
    }

    pub(crate) fn add(&mut self, issued: u64, id: String, lifetime: u64, now: u64) {
        self.ids.retain(|(issued, _)| issued.saturating_add(lifetime) >= now);
        self.ids.push((issued, id));
        if self.ids.len() > MOST {
            let oldest = self.ids.iter().map(|(issued, _)| *issued).min();
            self.all_until(oldest.unwrap_or_default());
        }
    }

    /// Marks everything as used that was issued until then.
    pub(crate) fn all_until(&mut self, before: u64) {
        self.before = self.before.max(before);
        self.ids.retain(|(issued, _)| *issued > self.before);
    }
}

impl UsedIds {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let before = lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
        let id = |line: &str| line.split_once(' ').and_then(|(issued, id)| Some((issued.parse().ok()?, id.to_owned())));
        Self { before, ids: lines.filter_map(id).collect() }
    }
}

impl fmt::Display for UsedIds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.before)?;
        self.ids.iter().try_for_each(|(issued, id)| write!(out, "\n{issued} {id}"))
    }
}

impl<H: Host> Vault<'_, H> {
    /// The used ids of values that are valid for `lifetime` seconds.
    pub(crate) fn used_ids(&self, row: RowId, lifetime: u64) -> Result<UsedIds, RowError> {
        let mut used = UsedIds::parse(&self.read_text_if_it_opens(row)?);
        // A clock that was ahead must not mark as used what is issued until then.
        if used.before > self.host.now().saturating_add(lifetime) {
            used.before = 0;
        }
        Ok(used)
    }

    pub(crate) fn write_used_ids(&self, row: RowId, used: &UsedIds) -> Result<(), RowError> {
        self.write_plain(row, used.to_string().as_bytes())
    }
}

const MOST: usize = 32;
