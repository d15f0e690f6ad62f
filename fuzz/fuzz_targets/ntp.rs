//! Feeds arbitrary NTP packets at arbitrary times: no panic, no wrong time, no answer to a server.
#![no_main]

#[path = "../services.rs"]
mod services;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static SERVICES: services::Services = services::Services::new();
}

fuzz_target!(|input: &[u8]| {
    SERVICES.with(|services| services.ntp(input));
});
