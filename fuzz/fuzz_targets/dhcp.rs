//! Feeds arbitrary messages to the DHCP servers of every profile, which must not panic and must answer the client only.
#![no_main]

#[path = "../network.rs"]
mod network;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static NETWORK: network::Network = network::Network::new();
}

fuzz_target!(|input: &[u8]| {
    NETWORK.with(|network| network.ask(input));
});
