//! Compares what is tracked here with what Linux tracks: the same rules as security groups of an interface and as nftables
//! rules with connection tracking, and the same packets at both.
//!
//! Conversations begin with their first packet or in their middle, and may break off anywhere. Sequences that Linux calls
//! invalid by TCP's state machine, which AWS documents nothing about, are listed in `docs/fidelity.md` and not sent.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use localvpc::switch::port::{HEADER, LARGEST_FRAME, TapOptions, TapPort};
use localvpc::wire::MacAddr;
use nix::sched::{CloneFlags, unshare};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::conversations::{Conversation, Rules, Sent, Vpc, conversation};
use crate::support::tools::needs;

/// Linux, forwarding between two TAPs.
struct Linux {
    taps: [TapPort; 2],
    macs: [[u8; 6]; 2],
}

fn ran(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {arguments:?}: {input}");
}

impl Linux {
    fn new() -> Self {
        let options = TapOptions {
            offload: false,
            carrier: true,
            mtu: 1500,
        };
        let table = "add table inet f\nadd chain inet f c { type filter hook forward priority 0; policy drop; }\n";
        ran("nft", &["-f", "-"], table);
        // The files of connection tracking are there once a rule asks for it.
        ran("nft", &["-f", "-"], &Rules::default().nft());
        let taps = ["in", "out"].map(|name| TapPort::open(name, options).unwrap());
        for file in [
            "ipv4/ip_forward",
            "ipv6/conf/all/disable_ipv6",
            "netfilter/nf_conntrack_tcp_be_liberal",
        ] {
            // Sequence numbers of these packets do not add up.
            std::fs::write(format!("/proc/sys/net/{file}"), "1").unwrap_or_else(|error| panic!("{file}: {error}"));
        }
        let mut macs = [[0; 6]; 2];
        for (number, name) in ["in", "out"].into_iter().enumerate() {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
            let net = number + 1;
            for line in [
                format!("address add 10.{net}.0.1/24 dev {name}"),
                format!("link set {name} up"),
                format!("neighbor add 10.{net}.0.2 lladdr 02:00:00:00:00:02 dev {name} nud permanent"),
            ] {
                ran("ip", &line.split(' ').collect::<Vec<_>>(), "");
            }
            let shown = Command::new("ip").args(["-br", "link", "show", name]).output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            let mac: MacAddr = shown.split_whitespace().nth(2).unwrap().parse().unwrap();
            macs[number] = mac.0;
        }
        Self { taps, macs }
    }

    fn set(&self, rules: &Rules) {
        ran("nft", &["-f", "-"], &rules.nft());
    }

    /// Whether a packet is forwarded.
    fn passes(&self, packet: &Sent, number: u16) -> bool {
        let (from, to) = if packet.out { (0, 1) } else { (1, 0) };
        let mut slot = vec![0; HEADER];
        slot.extend(packet.frame(self.macs[from], number));
        self.taps[from].send(&slot).unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut room = vec![0; HEADER + LARGEST_FRAME];
        loop {
            match self.taps[to].receive(&mut room) {
                Ok(length) if length > 20 && room[HEADER + 18..HEADER + 20] == number.to_be_bytes() => return true,
                Ok(_) => {}
                Err(_) if Instant::now() > deadline => return false,
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

fn compare() {
    needs("nft", "nftables");
    let (linux, mut vpc) = (Linux::new(), Vpc::new());
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let start = Instant::now();
    let (mut number, mut passed, mut dropped) = (0_u16, 0, 0);
    let mut port = 10_000;
    for round in 0..60 {
        let rules = Rules::random(&mut random);
        linux.set(&rules);
        vpc.set(&rules);
        let mut conversations: Vec<Conversation> = Vec::new();
        for _ in 0..6 {
            port += 1;
            let next = conversation(&mut random, port);
            // Protocols without ports have one connection for all rounds.
            if next.left.iter().all(|packet| packet.protocol != 112) {
                conversations.push(next);
            }
        }
        // In the middle of it all, other rules: what is tracked goes on.
        let mut left = random.random_range(3..12);
        while !conversations.is_empty() {
            let chosen = random.random_range(0..conversations.len());
            let Some(packet) = conversations[chosen].left.pop_front() else {
                conversations.swap_remove(chosen);
                continue;
            };
            number += 1;
            let expected = linux.passes(&packet, number);
            let found = vpc.passes(&packet, number, Duration::from_secs(1000) + start.elapsed());
            assert_eq!(found, expected, "round {round}, {rules:?}: {packet:?}");
            if found {
                passed += 1;
                let one = &mut conversations[chosen];
                one.went |= packet.out;
                one.came |= !packet.out;
            } else {
                // Its answers would not come.
                dropped += 1;
                conversations.swap_remove(chosen);
            }
            left -= 1;
            if left == 0 {
                // Until it is answered, a connection still needs its rule on Linux; here it is tracked from its first packet on.
                conversations.retain(|one| one.went == one.came);
                let none = Rules::default();
                linux.set(&none);
                vpc.set(&none);
            }
        }
    }
    assert!(passed > 200 && dropped > 50, "{passed} passed, {dropped} dropped");
}

#[test]
#[ignore = "needs root"]
fn connections_are_tracked_as_by_linux_wherever_both_are_documented() {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        compare();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
