//! Arbitrary bytes from an arbitrary port find no panic and no broken promise in the decision.
#![no_main]

#[path = "../network.rs"]
mod network;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static NETWORK: network::Network = network::Network::new();
}

fuzz_target!(|input: &[u8]| {
    NETWORK.with(|network| network.judge(input));
});
