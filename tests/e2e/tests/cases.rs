//! Holds that every case which was once found to fail has a test that names it.
//!
//! `docs/security.md` lists the attacks as A01 to A30. Rows with an R are reports of people who run such gateways. A test names
//! its row in its doc comment (`/// A01: …`) or, in JavaScript, in its title.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gatehouse_e2e::root;

const ATTACKS: u32 = 30;
const REPORTS: u32 = 58;

#[test]
fn every_case_has_a_test_that_names_it() {
    let mut named = BTreeSet::new();
    for folder in ["components", "tests"] {
        collect(&root().join(folder), &mut named);
    }
    let rows = rows('A', ATTACKS).chain(rows('R', REPORTS));
    let missing: Vec<String> = rows.filter(|row| !named.contains(row)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

#[test]
fn every_case_has_its_line_in_the_docs() {
    let security = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let missing: Vec<String> = rows('A', ATTACKS).filter(|row| !security.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/security.md does not mention {missing:?}");
}

fn rows(letter: char, most: u32) -> impl Iterator<Item = String> {
    (1..=most).map(move |number| format!("{letter}{number:02}"))
}

/// Adds the rows that the tests below `folder` name.
fn collect(folder: &Path, named: &mut BTreeSet<String>) {
    const NOT_OURS: [&str; 3] = ["node_modules", "target", ".venv"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !NOT_OURS.contains(&name) {
                collect(&path, named);
            }
        } else if name.ends_with(".rs") || name.ends_with(".mjs") {
            let Ok(source) = fs::read_to_string(&path) else { continue };
            source.lines().filter(|line| names_a_case(line)).for_each(|line| named.extend(words(line)));
        }
    }
}

/// Returns true for the doc comment or the title of a test.
fn names_a_case(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("/// ") || line.starts_with("test(") || line.contains("t.test(")
}

/// The words of a line that could be a row: a letter and two digits.
fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| is_row(word)).map(str::to_owned)
}

fn is_row(word: &str) -> bool {
    matches!(word.as_bytes(), [b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9'])
}
