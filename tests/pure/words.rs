//! Counts words in comments that hide the subject of a sentence. The bound may only be lowered.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Such words per 1000 lines of comments. Lower it when the count is below it; never raise it.
const BOUND: usize = 5;

/// What to write instead: name the subject (the worker, the caller, no interface), say "next to" or "in addition to", "has",
/// "returns" or "reports", "is associated with" or "wins".
const WORDS: &str = r"(?i)\b(nobody|somebody|whoever|everybody|beside|bears?|is told|tells|leads?|led)\b";

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn comments_name_their_subject() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        rust_files(&root.join(folder), &mut files);
    }
    let words = Regex::new(WORDS).unwrap();
    let mut lines = 0;
    let mut found: Vec<(usize, String)> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
        let mut here = 0;
        for comment in comments {
            lines += 1;
            here += words.find_iter(comment).count();
        }
        if here > 0 {
            found.push((here, file.strip_prefix(root).unwrap().display().to_string()));
        }
    }
    let total: usize = found.iter().map(|(count, _)| count).sum();
    found.sort_by(|a, b| b.cmp(a));
    found.truncate(10);
    assert!(
        total * 1000 <= BOUND * lines,
        "{total} in {lines} lines of comments, more than {BOUND} in 1000; most of them in {found:#?}"
    );
}
