//! Reads arbitrary octets as a scenario and as a topology file: no panic, no endless work, and a refusal says where.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use localvpc::file::diagnostic::FileError;
use localvpc::scenario::format::{read, read_any_topology};

/// The most that one file may take. Inputs are small: what takes as long grows faster than the file does.
const MOST: Duration = Duration::from_secs(2);

fn refusal(error: &FileError) {
    assert!(!error.mistakes.is_empty(), "a refusal without a mistake");
    let shown = format!("{error}");
    assert!(shown.len() < 100_000, "{} octets of text about a file", shown.len());
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let began = Instant::now();
    if let Err(error) = read("fuzz", text) {
        refusal(&error);
    }
    if let Err(error) = read_any_topology("fuzz", text) {
        refusal(&error);
    }
    let taken = began.elapsed();
    assert!(taken < MOST, "{taken:?} for {} octets", text.len());
});
