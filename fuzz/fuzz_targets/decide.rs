//! Feeds arbitrary bytes from an arbitrary port to the decision, which must not panic or break a promise.
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
