//! Holds the documentation to the sources: links, cited tests and files, settings, items of the checklist, and words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse_e2e::root;

/// Words that a reader has to read twice.
const UNCLEAR: [&str; 16] = [
    "anew",
    "by itself",
    "costs no grant",
    "door",
    "doors",
    "homeward",
    "knock",
    "nobody looks",
    "none where",
    "of which",
    "puts off what",
    "rotation in doubt",
    "what came of",
    "whatever",
    "whoever",
    "whosever",
];
/// Folders whose paths are cited from the root of the repository.
const FOLDERS: [&str; 9] =
    [".cargo/", ".ci/", ".github/", "components/", "config/", "deploy/", "docs/", "tests/", "wit/"];

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut broken = Vec::new();
    for (path, text) in &pages {
        for target in links(text) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let linked = if file.is_empty() { path.clone() } else { normal(&path.parent().unwrap().join(file)) };
            let leads = match pages.get(&linked) {
                _ if !root().join(&linked).exists() => false,
                Some(page) if !anchor.is_empty() => anchors(page).contains(anchor),
                _ => true,
            };
            if !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn every_test_that_a_page_cites_exists() {
    let sources = Sources::read();
    let mut unknown = Vec::new();
    for (path, text) in pages() {
        let by_form = code_spans(&text).into_iter().filter_map(|span| cited_test(&span).map(str::to_owned));
        let by_column = code_spans(&columns_of_tests(&text)).into_iter().filter(|span| span.contains('_'));
        for name in by_form.chain(by_column.filter(|span| first_word(span) == span)) {
            if !sources.functions.contains(&name) && !sources.modules.contains(&name) {
                unknown.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "cited, but not in the sources: {unknown:#?}");
}

#[test]
fn every_file_that_a_page_cites_exists() {
    let sources = Sources::read();
    let mut unknown = Vec::new();
    for (path, text) in pages() {
        for span in code_spans(&text).iter().filter(|span| is_path(span)) {
            let ends = format!("/{span}");
            if !root().join(span).exists() && !sources.files.iter().any(|file| file.ends_with(&ends)) {
                unknown.push(format!("{}: {span}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "cited, but not in the repository: {unknown:#?}");
}

#[test]
fn every_setting_of_the_manifests_is_described() {
    let page = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    for manifest in ["spin.toml", "deploy/broker.toml", "deploy/gateway.toml", "deploy/consolidated.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let variables = text.split("[variables]").nth(1).unwrap().split("\n[").next().unwrap();
        for name in variables.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
            assert!(page.contains(&format!("| `{name}` |")), "docs/settings.md lacks {name} of {manifest}");
        }
    }
}

#[test]
fn everything_has_the_version_of_the_workspace() {
    let version = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");
    for manifest in ["spin.toml", "broker.toml", "gateway.toml", "consolidated.toml", "demo.toml"] {
        let path = if manifest == "spin.toml" { manifest.to_owned() } else { format!("deploy/{manifest}") };
        let text = fs::read_to_string(root().join(&path)).unwrap();
        assert!(text.contains(&format!("\nversion = {version}\n")), "{path} has another version than {version}");
    }
    let tag = concat!("gatehouse:", env!("CARGO_PKG_VERSION"));
    for path in ["deploy/spinkube/gatehouse.yaml", "docs/deploy.md"] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        assert!(text.contains(tag), "{path} has another tag than {tag}");
    }
}

#[test]
fn every_item_that_a_test_names_is_in_the_checklist() {
    let page = fs::read_to_string(root().join("docs/security-checklist.md")).unwrap();
    let mut missing = BTreeSet::new();
    for (_, text) in Sources::read().rust {
        for line in text.lines().map(str::trim_start).filter(|line| line.starts_with("//")) {
            let Some(at) = line.find("Item ").or_else(|| line.find("Items ")) else { continue };
            let named = line[at..].split([':', '.', ')']).next().unwrap_or_default();
            let numbers = named.split(|letter: char| !letter.is_ascii_digit()).filter(|number| !number.is_empty());
            missing.extend(numbers.filter(|number| !page.contains(&format!("\n| {number} |"))).map(str::to_owned));
        }
    }
    assert!(missing.is_empty(), "docs/security-checklist.md has no row for {missing:?}");
}

#[test]
fn pages_are_written_in_plain_words() {
    let mut unclear = Vec::new();
    for (path, text) in pages() {
        for (number, line) in prose(&text).iter().enumerate() {
            unclear.extend(unclear_words(line).map(|word| format!("{}:{}: {word}", path.display(), number + 1)));
        }
    }
    assert!(unclear.is_empty(), "say it plainly: {unclear:#?}");
}

#[test]
fn comments_of_the_components_are_written_in_plain_words() {
    let mut unclear = Vec::new();
    for (path, text) in Sources::read().rust.iter().filter(|(path, _)| path.starts_with("components/")) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
            unclear.extend(unclear_words(line).map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    assert!(unclear.is_empty(), "say it plainly: {unclear:#?}");
}

/// The words of [`UNCLEAR`] in `line`.
fn unclear_words(line: &str) -> impl Iterator<Item = &'static str> {
    let line = format!(" {} ", line.to_lowercase().replace(|letter: char| !letter.is_alphanumeric(), " "));
    UNCLEAR.into_iter().filter(move |word| line.contains(&format!(" {word} ")))
}

#[test]
fn no_module_doc_begins_with_a_question() {
    let rust = Sources::read().rust;
    let asking: Vec<_> = rust.iter().filter(|(_, text)| begins_with_a_question(text)).map(|(path, _)| path).collect();
    assert!(asking.is_empty(), "say what the module does: {asking:#?}");
}

/// Returns true if the first sentence of the module's doc ends with a question mark.
fn begins_with_a_question(text: &str) -> bool {
    let doc: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
    let first = doc.split(|line| *line == "//!").next().unwrap_or_default().join(" ");
    first.find('?').is_some_and(|at| !first[..at].contains(". "))
}

/// What the sources have that a page can cite.
struct Sources {
    /// Paths from the root of the repository, and texts.
    rust: Vec<(String, String)>,
    /// Paths of all files.
    files: BTreeSet<String>,
    functions: BTreeSet<String>,
    modules: BTreeSet<String>,
}

impl Sources {
    fn read() -> Self {
        let mut files = BTreeSet::new();
        collect(&root(), &mut |path| {
            files.insert(from_root(path).display().to_string());
        });
        let is_rust = |path: &&String| path.ends_with(".rs");
        let text = |path: &String| (path.clone(), fs::read_to_string(root().join(path)).unwrap_or_default());
        let rust: Vec<_> = files.iter().filter(is_rust).map(text).collect();
        let functions = rust.iter().flat_map(|(_, text)| text.split("fn ").skip(1).map(first_word));
        let names = files.iter().filter(is_rust).filter_map(|path| Path::new(path).file_stem()?.to_str());
        Self {
            functions: functions.map(str::to_owned).collect(),
            modules: names.map(str::to_owned).collect(),
            files,
            rust,
        }
    }
}

/// The pages, by their paths from the root of the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    collect(&root(), &mut |path| {
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.insert(from_root(path), fs::read_to_string(path).unwrap());
        }
    });
    assert!(pages.len() > 10, "{:?}", pages.keys());
    pages
}

fn collect(folder: &Path, found: &mut impl FnMut(&Path)) {
    const NOT_OURS: [&str; 6] = ["node_modules", "target", ".venv", ".git", ".spin", "mutants.out"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !path.is_dir() {
            found(&path);
        } else if !NOT_OURS.contains(&name) {
            collect(&path, found);
        }
    }
}

fn from_root(path: &Path) -> PathBuf {
    path.strip_prefix(root()).unwrap().to_owned()
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

/// The lines without blocks of code and without code spans.
fn prose(text: &str) -> Vec<String> {
    let mut is_code = false;
    let line = |line: &str| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence { String::new() } else { line.split('`').step_by(2).collect::<Vec<_>>().join(" x ") }
    };
    text.lines().map(line).collect()
}

/// The texts between backticks outside of blocks of code.
fn code_spans(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

/// The targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<String> {
    let target = |rest: &str| rest.split(')').next().unwrap_or_default().to_owned();
    prose(text).iter().flat_map(|line| line.split("](").skip(1).map(target).collect::<Vec<_>>()).collect()
}

/// The anchors that a page's headings have.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let again = (1..).map(|number| format!("{anchor}-{number}")).find(|name| !anchors.contains(name)).unwrap();
        let name = if anchors.contains(&anchor) { again } else { anchor };
        anchors.insert(name);
    }
    anchors
}

/// The name of a test, or of a module of tests, if a code span is one: a sentence of five words or more, or a path.
fn cited_test(span: &str) -> Option<&str> {
    let is_name = |part: &str| !part.is_empty() && part == first_word(part) && part == part.to_lowercase();
    let last = span.rsplit("::").next().filter(|_| span.split("::").all(is_name))?;
    let words = last.split('_').count();
    (span.contains("::") || words >= 5).then_some(last)
}

/// The last cells of the tables whose last column is of tests.
fn columns_of_tests(text: &str) -> String {
    let mut is_of_tests = false;
    let mut cells = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let last = line.trim_end().trim_end_matches('|').rsplit(" | ").next().unwrap_or_default().trim();
        if lines.peek().is_some_and(|next| next.starts_with("|--")) {
            is_of_tests = matches!(last, "test" | "tests");
        } else if !line.starts_with('|') {
            is_of_tests = false;
        } else if is_of_tests {
            cells += last;
            cells.push('\n');
        }
    }
    cells
}

fn is_path(span: &str) -> bool {
    let is_plain = !span.contains([' ', '*', '{', '<', '…', '$', '@']);
    is_plain && (span.ends_with(".rs") || span.ends_with(".mjs") || FOLDERS.iter().any(|name| span.starts_with(name)))
}

fn first_word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}
