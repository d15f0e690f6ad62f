//! Feeds arbitrary octets to the metadata service at any speed: no panic, no growing queue, no secret in an answer.
#![no_main]

#[path = "../services.rs"]
mod services;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static SERVICES: services::Services = services::Services::new();
}

fuzz_target!(|input: &[u8]| {
    SERVICES.with(|services| services.http(input));
});
