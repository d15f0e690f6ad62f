//! Compares two workers that decide at the same time with one that decides alone: each conversation ends up the same, though
//! both ends of it write to one table.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::conversations::{Rules, Sent, Vpc, Worker, conversation};

/// Conversations at a time.
const MANY: usize = 400;

const NOW: Duration = Duration::from_secs(1000);

/// A conversation with what the worker that was alone did with each packet.
struct Judged {
    packets: Vec<(Sent, bool)>,
    next: usize,
}

/// Decides the packets of its host, and hands a conversation on when the other host is next. The last one ends both.
fn work(
    mut worker: Worker,
    own: bool,
    inbox: &Receiver<Option<Judged>>,
    other: &Sender<Option<Judged>>,
    done: &Sender<Result<(), String>>,
) -> Worker {
    while let Ok(Some(mut judged)) = inbox.recv() {
        let outcome = loop {
            let Some((packet, expected)) = judged.packets.get(judged.next) else {
                break Some(Ok(()));
            };
            if packet.out != own {
                break None;
            }
            let found = worker.passes(packet, judged.next as u16, NOW);
            if found != *expected {
                break Some(Err(format!("{packet:?}: alone {expected}, together {found}")));
            }
            judged.next += 1;
        };
        let sent = match outcome {
            Some(outcome) => done.send(outcome).is_ok(),
            None => other.send(Some(judged)).is_ok(),
        };
        if !sent {
            break;
        }
    }
    worker
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn two_workers_decide_as_one_does(seed in any::<u64>()) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rules = Rules::random(&mut random);
        let mut alone = Vpc::new();
        alone.set(&rules);
        let mut all = Vec::new();
        for port in 0..MANY as u16 {
            let sent: Vec<Sent> = conversation(&mut random, 10_000 + port).left.into();
            // Protocols without ports have one connection between two hosts: their order would matter.
            let own = sent.into_iter().filter(|packet| packet.protocol != 112);
            let packets = own.map(|packet| (packet, alone.passes(&packet, 1, NOW))).collect();
            all.push(Judged { packets, next: 0 });
        }
        let mut together = Vpc::new();
        together.set(&rules);
        let [inside, outside] = together.workers;
        let (to_inside, inside_box) = channel();
        let (to_outside, outside_box) = channel();
        let (done, outcomes) = channel();
        for judged in all {
            let first = if random.random() { &to_inside } else { &to_outside };
            first.send(Some(judged)).unwrap();
        }
        let wrong = std::thread::scope(|scope| {
            let (to_inside, to_outside, done) = (&to_inside, &to_outside, &done);
            scope.spawn(move || work(inside, true, &inside_box, to_outside, done));
            scope.spawn(move || work(outside, false, &outside_box, to_inside, done));
            let wrong: Vec<String> = (0..MANY).filter_map(|_| outcomes.recv().unwrap().err()).collect();
            let _ = (to_inside.send(None), to_outside.send(None));
            wrong
        });
        prop_assert!(wrong.is_empty(), "{rules:?}: {}", wrong.join("; "));
    }
}
