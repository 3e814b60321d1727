//! Finds things by their names, however many there are.
//!
//! One kind of map for all that is found so: each kind costs this component some kilobytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The place of each name in a list.
#[derive(Debug, Default)]
pub struct Places<'a>(BTreeMap<Cow<'a, str>, usize>);

impl<'a> Places<'a> {
    /// Notes that `name` is at `place`, unless it has one. Returns its place.
    pub fn note(&mut self, name: Cow<'a, str>, place: usize) -> usize {
        *self.0.entry(name).or_insert(place)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }
}
