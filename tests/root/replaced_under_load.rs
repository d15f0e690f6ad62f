//! Replaces the switch under a keepalived pair, a download through a NAT gateway, a ping flood and a silent listener behind an
//! egress-only gateway: in order, and by SIGKILL. Measures what each of them saw.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::replaced::{Serving, State, answers, until};
use crate::support::cli::{code, stdout};

const NETWORK: &str = r#"
vpcs:
  v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ["2001:db8:100::/56"] }
subnets:
  public: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: "2001:db8:100:1::/64" }
  private: { vpc: v, cidr_block: 10.0.2.0/24, ipv6_cidr_block: "2001:db8:100:2::/64" }
internet_gateways:
  igw: { vpc: v }
egress_only_gateways:
  eigw: { vpc: v }
elastic_ips:
  egress: { public: 203.0.113.5 }
nat_gateways:
  nat: { subnet: public, elastic_ips: [egress] }
route_tables:
  public: { vpc: v, subnets: [public], routes: [{ to: 0.0.0.0/0, via: igw }] }
  private: { vpc: v, subnets: [private], routes: [{ to: 0.0.0.0/0, via: nat }, { to: "::/0", via: eigw }] }
instances:
  a: { subnet: private, ipv4: [10.0.2.10] }
  b: { subnet: private, ipv4: [10.0.2.11] }
  client: { subnet: private, ipv4: [10.0.2.12], ipv6: ["2001:db8:100:2::12"], dad: false }
outside:
  server: { ipv4: [198.51.100.7], ipv6: ["3fff:198::7"], dad: false }
"#;

/// Octets of the download, and how many of them curl takes in a second: some 20 seconds.
const DOWNLOAD: usize = 60 << 20;
const RATE: &str = "3M";

/// Pings of the flood in a second.
const PINGS: f64 = 200.0;

/// Sends a datagram each 10 ms to the address that has said hello, which then only listens.
const NEWS: &str = "
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 7000))
_, to = s.recvfrom(100)
count = 0
while True:
    s.sendto(b'%d' % count, to)
    count += 1
    time.sleep(0.01)
";

/// Says hello once, listens until a file is there, and writes how many datagrams came and were missed, and the longest silence.
const LISTENER: &str = "
import os, socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(20)
s.sendto(b'hello', ('3fff:198::7', 7000))
first, last, count, longest, before = None, 0, 0, 0.0, time.monotonic()
while not os.path.exists(sys.argv[1]):
    number = int(s.recv(100))
    now = time.monotonic()
    if first is None:
        first = number
        print('hears', flush=True)
    else:
        longest = max(longest, now - before)
    before, last, count = now, number, count + 1
print(count, last - first + 1 - count, longest * 1000, flush=True)
";

fn keepalived(name: &str, own: &str, peer: &str, priority: u8, folder: &Path) -> String {
    format!(
        "vrrp_instance service {{\n interface eth0\n state BACKUP\n virtual_router_id 51\n priority {priority}\n advert_int 1\n \
         unicast_src_ip {own}\n unicast_peer {{ {peer} }}\n virtual_ipaddress {{ 10.0.2.50/24 }}\n \
         notify_master \"{}/master {name}\"\n}}\n",
        folder.display()
    )
}

/// What runs in the network.
struct Load<'s> {
    state: &'s State,
}

impl<'s> Load<'s> {
    fn start(state: &'s State) -> Self {
        let load = Self { state };
        let folder = state.path("");
        let write = |name: &str, text: &str| std::fs::write(state.path(name), text).unwrap();
        let content: Vec<u8> = (0..DOWNLOAD / 8)
            .flat_map(|number| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        std::fs::create_dir(state.path("www")).unwrap();
        std::fs::write(state.path("www/file"), content).unwrap();
        write("news.py", NEWS);
        write("listener.py", LISTENER);
        write(
            "master",
            &format!(
                "#!/bin/sh\necho $1 >> {0}/masters\nuntil localvpc mappings move 10.0.2.50 --to $1 || localvpc mappings assign \
                 10.0.2.50 --to $1; do sleep 0.2; done >> {0}/moves 2>&1\n",
                folder.display()
            ),
        );
        let made = Command::new("chmod")
            .arg("+x")
            .arg(state.path("master"))
            .status()
            .unwrap();
        assert!(made.success());
        load.background(
            "server",
            &format!(
                "python3 -m http.server 80 --bind 198.51.100.7 --directory {}",
                state.path("www").display()
            ),
        );
        load.background("server", &format!("python3 {}", state.path("news.py").display()));
        for (name, own, peer, priority) in [
            ("a", "10.0.2.10", "10.0.2.11", 200),
            ("b", "10.0.2.11", "10.0.2.10", 100),
        ] {
            let file = format!("{name}.conf");
            write(&file, &keepalived(name, own, peer, priority, &folder));
            let path = state.path(name);
            let line = format!(
                "keepalived -n -l -i {name} -f {0}.conf -p {0}.pid -r {0}.vrrp.pid",
                path.display()
            );
            load.background(name, &line);
        }
        until(
            || load.masters().contains("a\n"),
            "keepalived does not take the address",
        );
        let served = || code(&state.ask(&["exec", "client", "ping", "-c", "1", "-W", "1", "10.0.2.50"])) == 0;
        until(served, "the address of the service does not answer");
        load.background_to("client", "ping -n -D -i 0.005 10.0.2.50", "ping.log");
        let listener = format!(
            "python3 {} {}",
            state.path("listener.py").display(),
            state.path("end").display()
        );
        load.background_to("client", &listener, "listener.log");
        let fetch = format!(
            "curl -sS --retry 5 --retry-connrefused --limit-rate {RATE} -o {} http://198.51.100.7/file; echo ended with $?",
            state.path("fetched").display()
        );
        load.background_to("client", &format!("sh -c '{fetch}'"), "curl.log");
        until(|| load.fetched() > 1 << 20, "the download does not begin");
        until(
            || load.read("listener.log").contains("hears"),
            "the listener hears nothing",
        );
        load
    }

    fn background(&self, host: &str, line: &str) {
        self.background_to(host, line, &format!("{host}.out"));
    }

    fn background_to(&self, host: &str, line: &str, log: &str) {
        let log = self.state.path(log);
        self.state
            .exec(host, &format!("setsid {line} >> {} 2>&1 < /dev/null &", log.display()));
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.state.path(name)).unwrap_or_default()
    }

    fn masters(&self) -> String {
        self.read("masters")
    }

    fn fetched(&self) -> u64 {
        std::fs::metadata(self.state.path("fetched")).map_or(0, |found| found.len())
    }

    /// Answered pings: their number, and the time of the answer in seconds.
    fn pings(&self) -> Vec<(u64, f64)> {
        let text = self.read("ping.log");
        let times = text.lines().filter_map(|line| {
            let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
            rest.contains("bytes from").then(|| time.parse::<f64>().ok())?
        });
        answers(&self.state.path("ping.log")).into_iter().zip(times).collect()
    }

    /// Pings after a number that were not answered, and the longest time between two answers in milliseconds. The last ones are
    /// still on their way.
    fn seen(&self, after: u64) -> (Vec<u64>, f64) {
        let pings: Vec<_> = self
            .pings()
            .into_iter()
            .filter(|(number, _)| *number >= after)
            .collect();
        let answered: std::collections::BTreeSet<u64> = pings.iter().map(|(number, _)| *number).collect();
        let last = answered.last().copied().unwrap_or(after);
        let lost = (after..last.saturating_sub(40)).filter(|number| !answered.contains(number));
        let gaps = pings.windows(2).map(|pair| (pair[1].1 - pair[0].1) * 1000.0);
        (lost.collect(), gaps.fold(0.0, f64::max))
    }

    /// Waits for further answers, and returns the number of the last one.
    fn answered(&self, more: usize) -> u64 {
        let before = self.pings().len();
        until(|| self.pings().len() >= before + more, "pings are not answered");
        self.pings().last().unwrap().0
    }

    fn listened(&self) -> (u64, u64, f64) {
        std::fs::write(self.state.path("end"), "").unwrap();
        until(
            || self.read("listener.log").lines().count() > 1,
            "the listener does not end",
        );
        let text = self.read("listener.log");
        let words: Vec<f64> = text
            .lines()
            .last()
            .unwrap()
            .split(' ')
            .map(|word| word.parse().unwrap_or_else(|_| panic!("{text}")))
            .collect();
        (words[0] as u64, words[1] as u64, words[2])
    }
}

fn up(state: &State, more: &[&str]) -> Serving {
    let file = state.path("network.yaml");
    std::fs::write(&file, NETWORK).unwrap();
    state.serve(&["up", file.to_str().unwrap()], more)
}

/// In order, no ping and no news is lost. By a kill, pings are lost for a moment. Either way the download is whole, and
/// keepalived sees nothing: its peer is back before three advertisements are missing.
#[test]
#[ignore = "needs root: make test"]
fn a_pair_a_download_and_a_flood_go_on_while_the_switch_is_replaced_and_killed() {
    for program in ["keepalived", "curl", "ping", "python3"] {
        let known = Command::new("which").arg(program).output().unwrap();
        assert!(known.status.success(), "{program} is missing: make test-tools");
    }
    let state = State::new();
    let mut server = up(&state, &[]);
    let load = Load::start(&state);

    for round in 1..=2 {
        let before = load.answered(100);
        let former = server.0.id();
        let next = up(&state, &["--replace"]);
        until(
            || server.0.try_wait().unwrap().is_some(),
            "the replaced server does not end",
        );
        server = next;
        let said = state.said();
        assert!(said.contains(&format!("took over from process {former}")), "{said}");
        load.answered(100);
        let (lost, gap) = load.seen(before);
        let waited = said.split("waited ").nth(1).and_then(|rest| rest.split(" ms").next());
        eprintln!(
            "replaced, round {round}: frames waited {} ms; {} of {} pings lost, longest time between answers {gap:.0} ms",
            waited.unwrap_or("?"),
            lost.len(),
            load.pings().last().unwrap().0 - before
        );
        assert!(lost.is_empty(), "{lost:?}");
    }
    assert!(
        load.fetched() < DOWNLOAD as u64,
        "the download was over before the kill"
    );

    // The keeper gets connections and bindings each second.
    std::thread::sleep(Duration::from_millis(1500));
    let before = load.answered(20);
    server.kill();
    let began = Instant::now();
    let server = up(&state, &[]);
    let started = began.elapsed();
    load.answered(100);
    let (lost, gap) = load.seen(before);
    eprintln!(
        "killed: ready again after {:.0} ms; {} pings lost, longest time between answers {gap:.0} ms",
        started.as_secs_f64() * 1000.0,
        lost.len()
    );
    assert!(
        (lost.len() as f64) < gap / 1000.0 * PINGS * 1.2 + 40.0,
        "{} lost in {gap} ms",
        lost.len()
    );
    assert!(
        load.fetched() < DOWNLOAD as u64,
        "the download was over before the next server was there"
    );

    let deadline = Instant::now() + Duration::from_secs(90);
    while !load.read("curl.log").contains("ended with") {
        assert!(
            Instant::now() < deadline,
            "the download hangs at {} octets",
            load.fetched()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // It tries again until the server listens.
    assert!(
        load.read("curl.log").ends_with("ended with 0\n"),
        "{}",
        load.read("curl.log")
    );
    let [wanted, got] = ["www/file", "fetched"].map(|name| std::fs::read(state.path(name)).unwrap());
    assert!(wanted == got, "the download is not what was sent: {} octets", got.len());
    let (heard, missed, silence) = load.listened();
    eprintln!(
        "download whole: {} octets; news: {heard} heard, {missed} missed, longest silence {silence:.0} ms",
        got.len()
    );
    assert!(heard > 500, "{heard}");
    // Frames of the outside wait in the queue of its TAP, too; those that the killed switch had read are lost.
    assert!((missed as f64) < gap / 10.0 * 1.5 + 40.0, "{missed} missed in {gap} ms");
    if gap < 2500.0 {
        assert_eq!(load.masters(), "a\n", "the pair has changed its master");
    }
    let masters = load.masters();
    eprintln!("masters: {masters:?}; {}", stdout(&state.ask(&["mappings"])));
    server.stop();
}
