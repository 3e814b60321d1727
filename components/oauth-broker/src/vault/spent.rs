//! Remembers what was given out sealed and must not be used any more: connect tickets (rows of kind `t`) and sessions (rows
//! of kind `e`).
//!
//! A row names what was used up until it would have ended anyway. When more than [`MOST`] are there the oldest goes, and
//! everything of this subject that was issued then or before counts as used up too.

use std::fmt;

use super::Place;
use super::rows::RowError;
use crate::Broker;
use crate::host::Host;

/// In the row as text: `before`, and then a line for each id with when it was issued.
#[derive(Default)]
pub(crate) struct Spent {
    /// What was issued in this second or before is used up. Seconds since the Unix epoch.
    before: u64,
    /// When each was issued, and its id.
    ids: Vec<(u64, String)>,
}

impl Spent {
    /// Returns true if what was `issued` under this id is used up.
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

    /// Uses up everything that was issued until then.
    pub(crate) fn all_until(&mut self, before: u64) {
        self.before = self.before.max(before);
        self.ids.retain(|(issued, _)| *issued > self.before);
    }
}

impl Spent {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let before = lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
        let id = |line: &str| line.split_once(' ').and_then(|(issued, id)| Some((issued.parse().ok()?, id.to_owned())));
        Self { before, ids: lines.filter_map(id).collect() }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.before)?;
        self.ids.iter().try_for_each(|(issued, id)| write!(out, "\n{issued} {id}"))
    }
}

impl<H: Host> Broker<'_, H> {
    /// What is used up of things that last for `lifetime` seconds.
    pub(crate) fn spent(&self, place: Place, lifetime: u64) -> Result<Spent, RowError> {
        let mut spent = Spent::parse(&self.read_text_if_it_opens(place)?);
        // A clock that was ahead must not use up what is issued until then.
        if spent.before > self.host.now().saturating_add(lifetime) {
            spent.before = 0;
        }
        Ok(spent)
    }

    pub(crate) fn write_spent(&self, place: Place, spent: &Spent) -> Result<(), RowError> {
        self.write_plain(place, spent.to_string().as_bytes())
    }
}

const MOST: usize = 32;
