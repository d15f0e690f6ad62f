//! Compares the decision with a naive model of the network's law: on a random network, edited at random, with random
//! frames, no frame reaches a port that the law does not allow, each frame that the law delivers is delivered, and the
//! fabric's answers are the law's.
//!
//! The model (`law`) follows the sentences of the specification, with lists and `contains` instead of tables, and
//! parses frames with etherparse instead of the crate's own parser.

mod law;
mod world;

use std::time::Duration;

use localvpc::datapath::{Destination, FrameMeta, Output, PortState, Received, Unobserved, Verdict, decide};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use law::{Fate, fate};
use world::{Edit, Question, World, question};

/// A step: an edit of the network, or a frame from a host.
#[derive(Debug, Clone)]
enum Happens {
    Edit(Edit),
    Frame(Question),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        1 => world::edit().prop_map(Happens::Edit),
        6 => question().prop_map(Happens::Frame),
    ]
}

/// The fabric's result in the model's terms.
fn decided(world: &World, from: usize, bytes: &[u8]) -> Fate {
    let fabric = world.writer.fabric();
    let view = fabric.view();
    let host = &world.hosts[from];
    let ingress = view
        .ingress(host.index, host.port)
        .expect("an interface that is attached");
    let mut output = Output::default();
    let received = Received {
        bytes,
        meta: FrameMeta::default(),
    };
    let (state, now) = (PortState::default(), Duration::from_secs(1));
    let memory = fabric.memory(&state);
    match decide(received, &ingress, &view, memory, now, &mut output, &mut Unobserved) {
        Verdict::Deliver {
            to: Destination::Port(port),
            ..
        } => {
            let to = world.hosts.iter().position(|host| host.port == port && host.attached);
            Fate::Delivered(to.expect("a port with an interface"))
        }
        Verdict::Reply(_) => Fate::Answered(law::said(output.reply.frame())),
        Verdict::Flood { .. } | Verdict::Consumed | Verdict::Ask { .. } => {
            panic!("nothing is flooded or asked for in these profiles")
        }
        // The decision does not include a service's answer.
        Verdict::Punt(_) | Verdict::Drop(_) => Fate::Nothing,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_decision_and_the_naive_model_agree(
        mut world in world::world(),
        happened in prop::collection::vec(happens(), 60..120),
    ) {
        for what in happened {
            match what {
                Happens::Edit(edit) => world.edit(&edit),
                Happens::Frame(question) => {
                    let Some((from, bytes)) = world.frame(&question) else { continue };
                    let expected = fate(&world, from, &bytes);
                    let got = decided(&world, from, &bytes);
                    prop_assert_eq!(got, expected, "from host {} of {:#?}\n{:?}", from, world, question);
                }
            }
        }
    }
}

/// The generator must not spend its time on frames with the same result.
#[test]
fn the_random_frames_meet_every_fate() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut delivered, mut routed, mut answered, mut nothing) = (0, 0, 0, 0);
    for _ in 0..60 {
        let world = world::world().new_tree(&mut runner).expect("a world").current();
        for _ in 0..60 {
            let question = question().new_tree(&mut runner).expect("a question").current();
            let Some((from, bytes)) = world.frame(&question) else {
                continue;
            };
            match fate(&world, from, &bytes) {
                Fate::Delivered(to) if world.hosts[to].subnet == world.hosts[from].subnet => delivered += 1,
                Fate::Delivered(_) => routed += 1,
                Fate::Answered(_) => answered += 1,
                Fate::Nothing => nothing += 1,
            }
        }
    }
    let all = delivered + routed + answered + nothing;
    let met = format!("delivered {delivered}, routed {routed}, answered {answered}, nothing {nothing}");
    assert!(
        all > 2000 && delivered * 20 > all && routed * 100 > all && answered * 10 > all && nothing * 10 > all,
        "{met}"
    );
}
