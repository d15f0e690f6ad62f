//! Feeds random sequences of packets at random times to hosts whose groups track connections, through a gateway that
//! translates. It uses the judge of the fuzz target with a fixed seed, in every test run.

#[path = "../../fuzz/tracking.rs"]
mod tracking;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[test]
fn tracking_and_translation_break_no_promise_whatever_is_sent_and_when() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..300 {
        let mut network = tracking::Tracking::new();
        let mut input = vec![0_u8; tracking::STEP * 200];
        for step in input.as_chunks_mut::<{ tracking::STEP }>().0 {
            random.fill(&mut step[..]);
            // Most packets follow within seconds, of few ports, untouched: so that there are answers.
            step[3] &= 1;
            step[4] &= 1;
            step[6] = if step[6] < 250 { 0 } else { step[6] };
            step[7] %= 20;
            step[8] &= if step[8] < 200 { 0 } else { 0xff };
        }
        network.play(&input);
    }
}
