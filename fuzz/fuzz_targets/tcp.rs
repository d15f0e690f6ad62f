//! Arbitrary packets to the services, from several hosts and over any time, find no panic, no limit that does not hold and
//! nothing that is kept for ever.
#![no_main]

#[path = "../services.rs"]
mod services;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static SERVICES: services::Services = services::Services::new();
}

fuzz_target!(|input: &[u8]| {
    SERVICES.with(|services| services.packets(input));
});
