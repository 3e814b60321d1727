//! Builds ordered maps.

use std::collections::BTreeMap;

/// Returns a map of `pairs`; the last pair of a name counts. `collect` sorts the pairs first, which costs 4 KB of code for
/// each type.
pub(crate) fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}
