//! Tests of the broker as a whole, one behaviour each, against a store in memory and a scripted provider. Numbers are
//! those of the project's security checklist (`docs/`).

mod audit;
mod catalogue;
mod clocks;
mod connect;
mod connections;
mod crowd;
mod discovery;
mod handout;
mod http_bodies;
mod http_listing;
mod http_pages;
mod lease;
mod maintenance;
mod people;
mod provider;
mod secrets;
mod vault;
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
