//! Checks the arrows between rooms: every `crate::` path of `src/` against the table in ARCHITECTURE.md.
//!
//! A room is a folder of `src/`. Its row lists the rooms that it may use, all of which are in rows above it, so an
//! arrow never points up and no cycle is possible.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms in the order of their rows, each with what it may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let row = Regex::new(r"(?m)^\| `src/([a-z_]+)/`.*\| ([^|]+) \|$").unwrap();
    let word = Regex::new(r"`([a-z_]+)`").unwrap();
    let mut rows: Vec<(String, BTreeSet<String>)> = Vec::new();
    for found in row.captures_iter(&page) {
        let uses = match &found[2] {
            "everything" | "all of the above" => rows.iter().map(|(room, _)| room.clone()).collect(),
            text => word.captures_iter(text).map(|word| word[1].to_owned()).collect(),
        };
        rows.push((found[1].to_owned(), uses));
    }
    rows
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names after each `crate::`, those of a group included.
fn used(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    for (at, prefix) in code.match_indices("crate::") {
        let path = &code[at + prefix.len()..];
        let Some(group) = path.strip_prefix('{') else {
            names.insert(first_name(path));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    names.insert(first_name(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

/// Every existing arrow, with its files: (from, to) to files relative to the crate.
fn arrows(rooms: &BTreeSet<String>) -> BTreeMap<(String, String), Vec<String>> {
    let mut arrows: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for room in rooms {
        let mut files = Vec::new();
        rust_files(&root().join("src").join(room), &mut files);
        files.sort();
        for file in files {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            for other in used(&fs::read_to_string(&file).unwrap()) {
                if other != *room && rooms.contains(&other) {
                    arrows.entry((room.clone(), other)).or_default().push(name.clone());
                }
            }
        }
    }
    arrows
}

#[test]
fn every_folder_of_the_source_is_a_room_of_the_table_and_every_room_a_folder() {
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            folders.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    let rooms: BTreeSet<String> = table().into_iter().map(|(room, _)| room).collect();
    assert_eq!(folders, rooms, "ARCHITECTURE.md, \"Rooms, from the ground up\"");
}

#[test]
fn a_room_may_use_only_rooms_of_rows_above_its_own() {
    let mut above = BTreeSet::new();
    for (room, uses) in table() {
        let wrong: Vec<_> = uses.difference(&above).collect();
        assert!(
            wrong.is_empty(),
            "ARCHITECTURE.md: `{room}` may use {wrong:?}, which no row above it describes"
        );
        above.insert(room);
    }
}

#[test]
fn no_room_uses_another_that_its_row_does_not_name() {
    let table = table();
    let rooms: BTreeSet<String> = table.iter().map(|(room, _)| room.clone()).collect();
    let allowed: BTreeMap<_, _> = table.into_iter().collect();
    let mut wrong = String::new();
    for ((from, to), files) in arrows(&rooms) {
        if !allowed[&from].contains(&to) {
            writeln!(
                wrong,
                "`{from}` uses `{to}`, which its row does not name: {}",
                files.join(", ")
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "arrows between rooms (ARCHITECTURE.md):\n{wrong}");
}

#[test]
fn the_names_behind_crate_are_found_in_groups_and_in_the_middle_of_code() {
    let text =
        "use crate::{wire::{MacAddr, frame}, model::Vpc,\n  datapath};\nlet a = crate::switch::Switch; // crate::cli";
    let names: Vec<_> = used(text).into_iter().collect();
    assert_eq!(names, ["datapath", "model", "switch", "wire"]);
}
