//! Feeds mutated plausible frames from every port to the decision, which must not panic or break a promise.
//!
//! It uses the judge of the fuzz target with a fixed seed, in every test run.

#[path = "../../fuzz/network.rs"]
mod network;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Frames in a run.
const FRAMES: usize = 300_000;

/// Usual frames of hosts, as hexadecimal digits after the MACs: mutations start from valid input.
const USUAL: [&str; 11] = [
    // ARP request for 10.0.1.11, and a probe
    "0806 0001080006040001 0aca0500010a 0a00010a 000000000000 0a00010b",
    "0806 0001080006040001 0aca0500010a 00000000 000000000000 0a000101",
    // UDP 10.0.1.10 to 10.0.1.11, and to 10.0.2.10
    "0800 4500001d123440004011000000 0a00010a 0a00010b 0009000900090000 ff",
    "0800 4500001d123440004011000000 0a00010a 0a00020a 0009000900090000 ff",
    // echo request to the gateway
    "0800 45000024123440004001000000 0a00010a 0a000101 0800ddb612340001 0102030405060708",
    // TCP with a header of 20 octets to 10.0.1.11
    "0800 45000028123440004006000000 0a00010a 0a00010b 0009000900000000000000005010ffff00000000",
    // Neighbor Solicitation for 2001:db8:1:1::b, and a probe for a link-local
    "86dd 6000000000203aff 20010db800010001000000000000000a ff0200000000000000000001ff00000b
     8700000000000000 20010db800010001000000000000000b 0101 0aca0500010a",
    "86dd 6000000000183aff 00000000000000000000000000000000 ff0200000000000000000001ff9cfc02
     8700000000000000 fe8000000000000008ca05fffe9cfc02",
    // Router Solicitation
    "86dd 6000000000103aff fe8000000000000008ca05fffe00010a ff020000000000000000000000000002
     8500000000000000 0101 0aca0500010a",
    // echo request behind hop-by-hop and fragment headers
    "86dd 6000000000200040 20010db800010001000000000000000a 20010db8000100010000000000000001
     2c00010400000000 3a00000000000007 8000000012340001 0102030405060708",
    // UDP to a delegated prefix
    "86dd 6000000000091140 20010db800010001000000000000000a 20010db800010001000b000000000001 0009000900090000 ff",
];

/// Mutates a frame: some octets are changed, removed or added.
fn bend(frame: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..frame.len());
        frame[at] = match random.random_range(0..3) {
            0 => random.random(),
            1 => frame[at] ^ 1 << random.random_range(0..8),
            _ => [0, 1, 2, 10, 58, 133, 134, 135, 254, 255][random.random_range(0..10)],
        };
    }
    match random.random_range(0..12) {
        0 => frame.truncate(random.random_range(1..=frame.len())),
        1 => frame.resize(random.random_range(60..9100), 0),
        _ => {}
    }
}

#[test]
fn noise_from_every_port_breaks_no_promise() {
    let network = network::Network::new();
    let usual: Vec<Vec<u8>> = USUAL
        .iter()
        .map(|text| {
            let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            let rest = data_encoding::HEXLOWER.decode(&digits).expect("hexadecimal digits");
            [vec![0; 12], rest].concat()
        })
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(0x10ca_19c0);
    for round in 0..FRAMES {
        let mut frame = usual[round % usual.len()].clone();
        bend(&mut frame, &mut random);
        let mut input: Vec<u8> = (0..network::HEADER).map(|_| random.random()).collect();
        // Mostly with valid MACs and without segments; sometimes repeated.
        if random.random_range(0..8) != 0 {
            input[1] = input[1] & 0xe9 | 6;
            input[3..5].fill(0);
        } else if random.random_range(0..8) != 0 {
            input[1] &= 0xef;
        }
        input.extend(frame);
        network.judge(&input);
    }
}

#[test]
fn pure_noise_breaks_no_promise() {
    let network = network::Network::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..FRAMES / 3 {
        let length = random.random_range(0..120);
        let mut input: Vec<u8> = (0..length).map(|_| random.random()).collect();
        if let Some(flags) = input.get_mut(1) {
            *flags &= 0xef;
        }
        network.judge(&input);
    }
}

/// Requests to the DHCP servers, as hexadecimal digits: DISCOVER, REQUEST, INFORM; SOLICIT, REQUEST, RENEW, CONFIRM.
const QUESTIONS: [(u8, &str); 7] = [
    (0, "350101 3707011c02030f061a ff"),
    (0, "350103 36040a000101 32040a00010a 370101 ff"),
    (0, "350108 340103 ff"),
    (
        1,
        "01010203 0001000a00030001020304050607 000e0000 0003000c000000070000000000000000 00060004 00170018",
    ),
    (
        1,
        "03010203 0001000a00030001020304050607 0002000a0003000102d00b0001bc 0003000c000000070000000000000000",
    ),
    (
        1,
        "05010203 0001000a00030001020304050607 0002000a0003000102d00b0001bc
         0003002800000007000000000000000000050018 20010db800010001000000000000000a 0000000000000000
         0019002900000008000000000000000000 1a0019 000000000000000050 20010db800010001000a000000000000",
    ),
    (
        1,
        "04010203 0001000a00030001020304050607
         0003002800000007000000000000000000050018 20010db800010001000000000000000a 0000000000000000",
    ),
];

#[test]
fn noise_to_the_dhcp_servers_breaks_no_promise() {
    let network = network::Network::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let questions: Vec<Vec<u8>> = QUESTIONS
        .iter()
        .map(|(version, digits)| {
            let digits: String = digits.split_whitespace().collect();
            let options = data_encoding::HEXLOWER
                .decode(digits.as_bytes())
                .expect("hexadecimal digits");
            let mut message = vec![*version; network::QUESTION_HEADER];
            if *version == 0 {
                // The fixed part: a request over Ethernet, and the cookie.
                message.extend([1, 1, 6, 0]);
                message.resize(network::QUESTION_HEADER + 236, 0);
                message.extend([99, 130, 83, 99]);
            }
            message.extend(options);
            message
        })
        .collect();
    for round in 0..60_000 {
        let mut question = questions[round % questions.len()].clone();
        let version = question[1];
        if round >= questions.len() {
            bend(&mut question, &mut random);
        }
        question[0] = random.random();
        // Mostly as it was, now and then for the other server or another address of this one.
        if let Some(place) = question.get_mut(1) {
            *place = if random.random_range(0..8) == 0 {
                random.random()
            } else {
                version
            };
        }
        network.ask(&question);
    }
}
