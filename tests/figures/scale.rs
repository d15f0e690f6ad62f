//! Measures a thousand hosts on one switch, ten thousand subnets, a hundred thousand interfaces, and the times to
//! create and remove them. Each test prints its figures (`make bench-scale`); the bounds are far above those of an idle
//! machine. Hosts need root.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic, and says what it measured"
)]

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use localvpc::control::{Controller, ControllerConfig};
use localvpc::model::interface::{AddressRequest, CreateInterface};
use localvpc::model::profile::Profile;
use localvpc::model::subnet::CreateSubnet;
use localvpc::model::vpc::CreateVpc;
use localvpc::model::{AddressOrPrefix, ResourceRef, SubnetId, VpcId};
use localvpc::runtime::{HostSpec, Runtime, RuntimeConfig};

const BINARY: &str = env!("CARGO_BIN_EXE_localvpc");

fn create_vpc(controller: &Controller, block: &str) -> VpcId {
    let command = CreateVpc::new(block.parse().unwrap());
    controller.execute(command).unwrap().id
}

fn create_subnet(controller: &Controller, vpc: VpcId, block: Ipv4Net) -> SubnetId {
    let command = CreateSubnet {
        cidr_block: Some(block),
        ..CreateSubnet::new(vpc)
    };
    controller.execute(command).unwrap().id
}

fn create_interface(controller: &Controller, subnet: SubnetId, name: Option<String>, address: Ipv4Addr) {
    let address = AddressOrPrefix::new(IpNet::from(std::net::IpAddr::V4(address))).unwrap();
    let spec = CreateInterface {
        name,
        addresses: vec![AddressRequest::Exactly(address)],
        ..CreateInterface::new(subnet)
    };
    controller.execute(spec).unwrap();
}

#[test]
fn ten_thousand_subnets_and_a_hundred_thousand_interfaces_are_declared_while_one_waits() {
    let controller = Controller::new(ControllerConfig::default());
    let start = Instant::now();
    let mut subnets = Vec::new();
    // A /16 has 4096 blocks of /28.
    for (number, vpc) in ["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"].into_iter().enumerate() {
        let id = create_vpc(&controller, vpc);
        let blocks = vpc.parse::<Ipv4Net>().unwrap().subnets(28).unwrap();
        for block in blocks.take(10_000 - number * 4096) {
            subnets.push((create_subnet(&controller, id, block), block));
        }
    }
    let declared = start.elapsed();
    assert_eq!(subnets.len(), 10_000);
    let start = Instant::now();
    for (subnet, block) in &subnets {
        for host in 4..14 {
            let address = Ipv4Addr::from_bits(block.network().to_bits() + host);
            create_interface(&controller, *subnet, None, address);
        }
    }
    let filled = start.elapsed();
    eprintln!("10 000 subnets: {declared:.2?}; 100 000 interfaces with an address each: {filled:.2?}");
    assert_eq!(controller.registry().len(), 100_000);
    assert!(declared + filled < Duration::from_secs(120), "{declared:?} {filled:?}");
}

/// CPU time of all threads of this process.
fn process_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let time = |task: std::fs::DirEntry| {
        let account = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        account.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(time).sum())
}

/// A network with this many hosts, without the traffic that IPv6 makes on its own.
fn hosts(count: u32) -> (Runtime, Duration) {
    let runtime = Runtime::start(RuntimeConfig {
        init_program: Some(BINARY.into()),
        ..RuntimeConfig::default()
    })
    .unwrap();
    let start = Instant::now();
    let vpc = create_vpc(runtime.controller(), "10.0.0.0/16");
    let subnet = create_subnet(runtime.controller(), vpc, "10.0.0.0/16".parse().unwrap());
    let mut specs = Vec::new();
    for number in 0..count {
        let name = format!("h{number}");
        let address = Ipv4Addr::from_bits(0x0a00_0010 + number);
        create_interface(runtime.controller(), subnet, Some(name.clone()), address);
        specs.push(HostSpec {
            dad: false,
            ..HostSpec::new(name.clone(), ResourceRef::new(&name))
        });
    }
    runtime.create_hosts(&specs).unwrap();
    let made = start.elapsed();
    (runtime, made)
}

#[test]
#[ignore = "needs root: make test"]
fn a_thousand_hosts_that_say_nothing_cost_no_cpu() {
    let (runtime, made) = hosts(1000);
    assert_eq!(runtime.switch().ports().len(), 1000);
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    // Multicast Listener reports and router solicitations go on for some seconds after an interface came up.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (mut worker, mut process) = (Duration::MAX, Duration::MAX);
    while worker > Duration::from_millis(2) && Instant::now() < deadline {
        let (before, all) = (runtime.switch().cpu_time()[0], process_time());
        std::thread::sleep(Duration::from_secs(1));
        (worker, process) = (runtime.switch().cpu_time()[0] - before, process_time() - all);
    }
    let start = Instant::now();
    drop(runtime);
    let gone = start.elapsed();
    eprintln!(
        "1000 hosts made in {made:.2?}, {threads} threads; idle, a second costs the worker {worker:.2?}, everything in \
         this process {process:.2?}; taken away in {gone:.2?}"
    );
    assert!(worker < Duration::from_millis(20), "an idle second costs {worker:?}");
    assert!(threads < 50, "no thread is one port's alone: {threads}");
    assert!(
        made < Duration::from_secs(60) && gone < Duration::from_secs(60),
        "{made:?} {gone:?}"
    );
}

/// Starts `localvpc lab`, pings from the first host to the second as soon as it is ready, and ends it. Returns the
/// times from the command to the first answer, and from Ctrl-C to the end.
fn lab(count: u32) -> (Duration, Duration) {
    let start = Instant::now();
    let mut server = Process::new(BINARY)
        .args(["lab", "--hosts", &count.to_string(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(server.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
    {
        let last = line.starts_with("Ctrl-C");
        said.push(line);
        if last {
            break;
        }
    }
    let told = start.elapsed();
    // A host is a line with its name, MAC and addresses, and one that says how to enter it.
    let enter = said[1].split_once("enter: ").unwrap().1.to_owned();
    let address = said[2].split_whitespace().nth(2).unwrap().to_owned();
    let ping = format!("{enter} ping -c 1 -W 1 {address}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !Process::new("sh")
        .args(["-c", &ping])
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success()
    {
        assert!(Instant::now() < deadline, "no answer: {ping}");
    }
    let answered = start.elapsed();
    let end = Instant::now();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(server.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(server.wait().unwrap().success());
    let gone = end.elapsed();
    eprintln!(
        "lab of {count}: told after {told:.2?}, first ping answered after {answered:.2?}, gone within {gone:.2?}"
    );
    (answered, gone)
}

#[test]
#[ignore = "needs root: make test"]
fn a_lab_answers_its_first_ping_while_one_waits_and_goes_as_fast() {
    for (hosts, patience) in [(3, 10), (100, 20), (1000, 60)] {
        let (answered, gone) = lab(hosts);
        assert!(answered < Duration::from_secs(patience), "{hosts} hosts: {answered:?}");
        assert!(gone < Duration::from_secs(patience), "{hosts} hosts: {gone:?}");
    }
}
