//! Holds that the rooms of a component form layers: no room imports itself by way of others.
//!
//! A room is a file or folder at the top of a component's `src`. Tests may import everything. `lib.rs` only lists the rooms:
//! nothing may be imported from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse_e2e::root;

/// The components whose rooms are checked.
const COMPONENTS: [&str; 1] = ["oauth-broker"];
/// What stands outside of the layers: the list of rooms, tests, and the entry of the fuzzer.
const OUTSIDE: [&str; 4] = ["lib.rs", "tests", "tests.rs", "fuzz.rs"];

/// The rooms that each room imports, and a file that does.
type Imports = BTreeMap<String, BTreeMap<String, PathBuf>>;

#[test]
fn no_room_imports_itself_by_way_of_others() {
    for component in COMPONENTS {
        let imports = imports(&root().join("components").join(component).join("src"));
        let edges: usize = imports.values().map(BTreeMap::len).sum();
        println!("{component}: {} rooms, {edges} edges", imports.len());
        if let Some(cycle) = cycle(&imports) {
            panic!("{component}: rooms import each other:\n{}", steps(&imports, &cycle));
        }
        for (number, layer) in layers(&imports).iter().enumerate() {
            println!("  {number}: {}", layer.join(", "));
        }
    }
}

#[test]
fn nothing_is_imported_from_the_list_of_rooms() {
    for component in COMPONENTS {
        let imports = imports(&root().join("components").join(component).join("src"));
        for (room, imported) in &imports {
            for (name, file) in imported {
                assert!(imports.contains_key(name), "{room} imports `{name}`, which is no room: {}", file.display());
            }
        }
    }
}

#[test]
fn a_cycle_is_found_and_named() {
    let source = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), PathBuf::from("x.rs"))).collect();
    let mut imports = Imports::from([
        ("a".to_owned(), source(&["b"])),
        ("b".to_owned(), source(&["c", "d"])),
        ("c".to_owned(), source(&["a"])),
        ("d".to_owned(), source(&[])),
    ]);
    assert_eq!(cycle(&imports), Some(["a", "b", "c", "a"].map(str::to_owned).to_vec()));
    imports.get_mut("c").unwrap().clear();
    assert_eq!(cycle(&imports), None);
    assert_eq!(layers(&imports).concat(), ["c", "d", "b", "a"]);
}

#[test]
fn imports_are_read_in_all_their_forms() {
    let source = "use crate::one::{self, Thing};\nuse crate::{two, three::four};\n//! crate::five\nfn f() { super::six::g(); \
                  crate::seven::h(); super::super::eight::i() }\nuse super::{nine, ten::x};\n#[cfg(test)]\nmod tests { use crate::eleven; }";
    let names = |depth| rooms_in(source, depth).into_iter().collect::<Vec<_>>();
    assert_eq!(names(1), ["nine", "one", "seven", "six", "ten", "three", "two"]);
    assert_eq!(names(2), ["eight", "one", "seven", "three", "two"]);
}

fn imports(src: &Path) -> Imports {
    let mut imports = Imports::new();
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if OUTSIDE.contains(&name) {
            continue;
        }
        let room = name.trim_end_matches(".rs").to_owned();
        let mut imported = BTreeMap::new();
        collect(&path, 1, &mut imported);
        imported.remove(&room);
        imports.insert(room, imported);
    }
    imports
}

/// Adds the rooms that a file imports, or a folder's files. `depth` is that of the module in the crate.
fn collect(path: &Path, depth: usize, imported: &mut BTreeMap<String, PathBuf>) {
    let name = path.file_name().unwrap().to_str().unwrap();
    if depth > 1 && OUTSIDE.contains(&name) {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let is_own = path.file_name().is_some_and(|name| name == "mod.rs");
            collect(&path, if is_own { depth } else { depth + 1 }, imported);
        }
    } else if name.ends_with(".rs") {
        for room in rooms_in(&fs::read_to_string(path).unwrap(), depth) {
            imported.entry(room).or_insert_with(|| path.to_owned());
        }
    }
}

/// The names after `crate::`, and after as many `super::` as lead to the top from a module of this depth.
fn rooms_in(source: &str, depth: usize) -> BTreeSet<String> {
    let code: String = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let top = "super::".repeat(depth);
    let mut rooms = BTreeSet::new();
    for start in ["crate::", &top] {
        for (place, _) in code.match_indices(start) {
            let before = code[..place].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter)) {
                continue;
            }
            rooms.extend(first_names(&code[place + start.len()..]));
        }
    }
    rooms.remove("super");
    rooms
}

/// The first name of a path, or those of a list of paths in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| {
        path.trim().split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap().to_owned()
    };
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = Vec::new();
    let (mut open, mut start) = (0, 0);
    for (place, letter) in list.char_indices() {
        match letter {
            '{' => open += 1,
            '}' if open > 0 => open -= 1,
            '}' => {
                names.push(name(&list[start..place]));
                break;
            }
            ',' if open == 0 => {
                names.push(name(&list[start..place]));
                start = place + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// A way from a room back to itself, if there is one.
fn cycle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|room| walk(imports, room, &mut Vec::new(), &mut done))
}

fn walk(imports: &Imports, room: &str, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|passed| passed == room) {
        let mut cycle = way[start..].to_vec();
        cycle.push(room.to_owned());
        return Some(cycle);
    }
    if done.contains(room) {
        return None;
    }
    way.push(room.to_owned());
    let found = imports.get(room).and_then(|next| next.keys().find_map(|next| walk(imports, next, way, done)));
    way.pop();
    done.insert(room.to_owned());
    found
}

/// The rooms in layers, lowest first: each imports rooms of lower layers only. For rooms without a cycle.
fn layers(imports: &Imports) -> Vec<Vec<String>> {
    let mut layers: Vec<Vec<String>> = Vec::new();
    let mut placed = BTreeSet::new();
    while placed.len() < imports.len() {
        let is_next = |(room, imported): &(&String, &BTreeMap<String, PathBuf>)| {
            !placed.contains(*room) && imported.keys().all(|name| placed.contains(name) || !imports.contains_key(name))
        };
        let layer: Vec<String> = imports.iter().filter(is_next).map(|(room, _)| room.clone()).collect();
        assert!(!layer.is_empty(), "the rooms have a cycle");
        placed.extend(layer.iter().cloned());
        layers.push(layer);
    }
    layers
}

/// Each step of a cycle with the file that takes it.
fn steps(imports: &Imports, cycle: &[String]) -> String {
    let pairs = cycle.iter().zip(cycle.iter().skip(1));
    let steps = pairs.map(|(from, to)| format!("  {from} -> {to} in {}\n", imports[from][to].display()));
    steps.collect()
}
