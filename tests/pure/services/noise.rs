//! Feeds mutated valid messages to the link-local services: DNS, NTP, HTTP and the stack below must not panic or break
//! a promise.
//!
//! It uses the judges of the fuzz targets with a fixed seed and the fuzzer's initial corpus.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../fuzz/services.rs"]
mod services;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use services::Services;

/// The seeds of a fuzz target, name and octets.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut seeds: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    seeds
}

/// Judges each seed, which must be answered, and `rounds` mutated ones.
fn bend(target: &str, rounds: usize, judge: impl Fn(&[u8]) -> bool) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        assert!(judge(seed), "{name} is not answered");
    }
    let mut random = ChaCha8Rng::seed_from_u64(0x10ca_19c0);
    for round in 0..rounds {
        let mut input = seeds[round % seeds.len()].1.clone();
        for _ in 0..random.random_range(0..6) {
            let at = random.random_range(0..input.len());
            match random.random_range(0..5) {
                0 => input[at] = random.random(),
                1 => input[at] ^= 1 << random.random_range(0..8),
                2 => input[at] = [0, 1, 2, 4, 10, 13, 32, 63, 64, 127, 128, 192, 255][random.random_range(0..13)],
                3 => drop(input.splice(at..at, (0..random.random_range(1..9)).map(|_| 0xc0))),
                _ => {
                    let end = random.random_range(at..=input.len().min(at + 64));
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
            }
        }
        if random.random_range(0..8) == 0 {
            input.truncate(random.random_range(1..=input.len()));
        }
        judge(&input);
    }
}

#[test]
fn bent_names_are_answered_in_bounds_or_not_at_all() {
    let services = Services::new();
    bend("dns", 20_000, |input| services.dns(input));
}

#[test]
fn bent_requests_for_the_time_are_answered_as_a_client_s_or_not_at_all() {
    let services = Services::new();
    bend("ntp", 50_000, |input| services.ntp(input));
}

#[test]
fn bent_requests_for_metadata_learn_nothing_that_is_another_s_and_hold_no_memory() {
    let services = Services::new();
    bend("http", 4000, |input| services.http(input) > 0);
}

#[test]
fn packets_in_any_order_meet_the_limits_and_are_forgotten() {
    let services = Services::new();
    bend("tcp", 1000, |input| services.packets(input) > 0);
}
