//! Feeds sequences of packets at arbitrary times to hosts whose groups track connections, through a gateway that translates.
#![no_main]

#[path = "../tracking.rs"]
mod tracking;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // What is tracked is what this input has sent: a finding can be played again.
    tracking::Tracking::new().play(input);
});
