//! Arbitrary octets to the metadata service, however slowly they come, find no panic, no queue that grows and nothing that the
//! asker must not be told.
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
