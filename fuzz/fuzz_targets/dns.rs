//! Feeds arbitrary DNS messages by datagram, by TCP and from the external resolver: no panic, no answer that is too
//! long, no answer to an answer.
#![no_main]

#[path = "../services.rs"]
mod services;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static SERVICES: services::Services = services::Services::new();
}

fuzz_target!(|input: &[u8]| {
    SERVICES.with(|services| services.dns(input));
});
