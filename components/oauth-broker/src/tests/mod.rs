//! Tests of the broker as a whole, one behaviour each, against a store in memory and a scripted provider. Numbers are
//! those of the project's security checklist (`docs/`).

mod accounts;
mod answers;
mod arriving;
mod auditing;
mod borrowing;
mod callers;
mod catalogue;
mod clocks;
mod connecting;
mod consenting;
mod crowd;
mod discovering;
mod ending;
mod guessing;
mod handing_out;
mod leaks;
mod leasing;
mod listing;
mod local_mode;
mod pages;
mod posting;
mod providers;
mod reaching;
mod real_servers;
mod refreshing;
mod registering;
mod rotating;
mod schedules;
mod scopes;
mod sessions;
mod sweeping;
mod tickets;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

pub use world::*;

/// The first 37 items of the checklist are those of a broker.
#[test]
fn every_item_of_the_checklist_has_a_test_that_names_it() {
    let mut named = BTreeSet::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                named.extend(items(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    let missing: Vec<u32> = (1..=37).filter(|item| !named.contains(item)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The numbers behind `Item` or `Items` in the comments of tests.
fn items(source: &str) -> Vec<u32> {
    let comments = source.lines().filter_map(|line| line.trim_start().strip_prefix("/// Item"));
    let listed = comments.map(|comment| comment.split([':', ';']).next().unwrap_or_default());
    listed.flat_map(|listed| listed.split(|c: char| !c.is_ascii_digit())).filter_map(|item| item.parse().ok()).collect()
}
