//! Feeds arbitrary packets of several hosts over any time to the services: no panic, every limit holds, no state is
//! kept for ever.
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
