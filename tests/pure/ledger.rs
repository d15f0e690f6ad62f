//! Checks the fidelity ledger: every fact names existing tests and profile fields, or says that it is not built yet.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use localvpc::model::profile::Profile;
use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder of the project.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            rust_files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// The names of all functions in the sources, and of the scenarios.
fn shown() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let function = Regex::new(r"(?m)^\s*(?:async )?fn ([a-z0-9_]+)\s*[(<]").expect("a pattern");
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("the file can be read");
        names.extend(function.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let scenarios = fs::read_dir(root().join("scenarios")).expect("the folder is there");
    names.extend(scenarios.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()));
    names
}

/// The texts in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of all tables of facts: fact, source, confidence, profile field, shown by.
fn facts(ledger: &str) -> Vec<[&str; 5]> {
    let rows = ledger.lines().filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let facts = cells.filter_map(|cells| <[&str; 5]>::try_from(cells).ok());
    facts
        .filter(|[fact, ..]| *fact != "fact" && !fact.starts_with("---"))
        .collect()
}

fn ledger() -> String {
    fs::read_to_string(root().join("docs/fidelity.md")).expect("the ledger is there")
}

/// The files with an ending below a folder, and the functions of Python files there.
fn programs(folder: &str, ending: &str, found: &mut BTreeSet<String>) {
    let function = Regex::new(r"(?m)^def ([a-z0-9_]+)\(").expect("a pattern");
    for entry in fs::read_dir(root().join(folder)).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != ending) {
            continue;
        }
        found.insert(path.file_name().expect("a name").to_string_lossy().into_owned());
        if ending == "py" {
            let text = fs::read_to_string(&path).expect("the file can be read");
            found.extend(function.captures_iter(&text).map(|name| format!("{}.py", &name[1])));
        }
    }
}

/// What RELEASING.md asks of the changelog: what is not released stands first, and the version of Cargo.toml has a section
/// from its release on.
#[test]
fn the_changelog_is_by_version_and_says_which_one_comes_first() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("the changelog is there");
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let (first, released) = sections.split_first().expect("a section");
    assert_eq!(*first, "Unreleased");
    let release = Regex::new(r"^(\d+)\.(\d+)\.(\d+) \(\d{4}-\d{2}-\d{2}\)$").expect("a pattern");
    let mut versions = Vec::new();
    for section in released {
        let found = release
            .captures(section)
            .expect("a version and its date, as in 1.2.3 (2026-12-31)");
        let part = |at: usize| found[at].parse::<u32>().expect("digits");
        versions.push((part(1), part(2), part(3)));
    }
    assert!(
        versions.is_sorted_by(|a, b| a > b),
        "the newest version first: {sections:?}"
    );
    let version = env!("CARGO_PKG_VERSION");
    let is_there = released
        .iter()
        .any(|section| section.starts_with(&format!("{version} ")));
    let comes = text.contains(&format!("Nothing has been released yet: this becomes {version}."));
    assert!(is_there || (comes && released.is_empty()), "{version} has no section");
}

#[test]
fn every_finding_names_tests_that_exist() {
    let mut shown = shown();
    programs("tests/attack", "py", &mut shown);
    programs("fuzz/fuzz_targets", "rs", &mut shown);
    let page = fs::read_to_string(root().join("docs/findings.md")).expect("the page is there");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| no.") && !line.starts_with("| report"))
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let [number, finding, tests] = row[..] else {
            panic!("three cells, with a blank behind each bar: {row:?}");
        };
        let named = quoted(tests);
        // Reports name the syntax, too; a scenario is what plays it.
        let is_report = number.contains('#') || number == "the same";
        let plays = |name: &&str| !is_report || name.ends_with(".yaml");
        let names: Vec<&str> = named.into_iter().filter(plays).collect();
        if names.is_empty() {
            wrong.push(format!("no test: {finding}"));
        }
        wrong.extend(
            names
                .iter()
                .filter(|name| !shown.contains(**name))
                .map(|name| format!("there is no {name}: {finding}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Ten of attacks, 24 of use: each has a row.
    let count = |number: &str| rows.iter().filter(|row| row[0] == number).count();
    for number in 1..=24 {
        let least = if number <= 10 { 2 } else { 1 };
        assert!(count(&number.to_string()) >= least, "no row for {number}");
    }
}

#[test]
fn every_fact_names_tests_that_exist_or_says_that_it_is_not_built_yet() {
    let (ledger, shown) = (ledger(), shown());
    let facts = facts(&ledger);
    assert!(facts.len() > 50, "only {} facts were read", facts.len());
    let mut wrong = Vec::new();
    for [fact, _, _, _, by] in facts {
        let names = quoted(by);
        if names.is_empty() && by != "not built yet" {
            wrong.push(format!("no test: {fact}"));
        }
        wrong.extend(
            names
                .iter()
                .filter(|name| !shown.contains(**name))
                .map(|name| format!("there is no {name}: {fact}")),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_fact_has_a_source_and_a_confidence_that_the_ledger_explains() {
    for [fact, source, confidence, _, _] in facts(&ledger()) {
        assert!(!source.is_empty(), "no source: {fact}");
        let known = !confidence.is_empty()
            && confidence
                .split(' ')
                .all(|code| ["D", "O", "C", "R", "I", "U"].contains(&code));
        assert!(known, "confidence '{confidence}': {fact}");
    }
}

#[test]
fn every_profile_field_of_the_ledger_is_one() {
    let profile = serde_json::to_value(Profile::aws()).expect("a profile is data");
    for [fact, _, _, fields, _] in facts(&ledger()) {
        for field in quoted(fields) {
            let pointer = format!("/{}", field.replace('.', "/"));
            assert!(
                profile.pointer(&pointer).is_some(),
                "there is no profile field {field}: {fact}"
            );
        }
    }
}
