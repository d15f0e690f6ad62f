//! What a benchmark run needs in addition to the switches: traffic, and the project's own switch without its API around it.
//!
//! * `bench-tools switch NAMESPACE NAMESPACE [MAPPINGS [SPIN [calls]]]`: the switch with one subnet of two interfaces, 10.9.0.10
//!   and 10.9.0.11, and as many further mappings as asked for; its worker spins for SPIN microseconds, and with `calls` it does
//!   without io_uring. It prints `ready` and the MACs, and works until it is killed.
//! * `bench-tools edge KIND NAMESPACE NAMESPACE`: the same between two hosts that are in a security group (KIND `groups`), or between
//!   one with an Elastic IP address (`elastic-ip`) or behind a NAT gateway (`nat`) and one beyond the internet gateway.
//! * `bench-tools udp-send FROM TO SECONDS RATE FLOWS`: 64-byte datagrams; rate 0 is as fast as can be.
//! * `bench-tools udp-receive AT SECONDS`: counts them.
//! * `bench-tools echo TO SECONDS`: ICMP echo, the next as soon as the answer is there.
//! * `bench-tools respond AT` and `bench-tools request TO SECONDS`: one byte there and back over TCP.
//!
//! Results are one JSON object on a line.
#![allow(missing_docs, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use localvpc::datapath::{FabricWriter, InterfaceSpec, SubnetSpec, VpcSpec};
use localvpc::model::profile::Profile;
use localvpc::switch::port::{TapOptions, TapPort};
use localvpc::switch::{AttachOptions, Switch, SwitchConfig};
use localvpc::wire::MacAddr;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage};
use serde_json::json;

mod edges;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Bytes of a datagram's payload.
const PAYLOAD: usize = 64;

/// Datagrams per system call, sending and receiving.
const BURST: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["switch", a, b, rest @ ..] if rest.len() <= 3 => switch(a, b, rest),
        ["edge", kind, a, b] => edges::run(kind, [a, b]),
        ["udp-send", from, to, seconds, rate, flows] => udp_send(from, to, seconds, rate, flows),
        ["udp-receive", at, seconds] => udp_receive(at, seconds),
        ["echo", to, seconds] => echo(to, seconds),
        ["respond", at] => respond(at),
        ["request", to, seconds] => request(to, seconds),
        _ => Err("unknown arguments; the file's head lists the commands".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tools: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, Box<dyn std::error::Error>> {
    text.parse().map_err(|_| format!("`{text}` is not a number").into())
}

fn seconds(text: &str) -> Result<Duration, Box<dyn std::error::Error>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

// The switch

fn switch(a: &str, b: &str, rest: &[&str]) -> Outcome {
    let mappings = number(rest.first().unwrap_or(&"0"))?;
    let config = SwitchConfig {
        spin: Duration::from_micros(number(rest.get(1).unwrap_or(&"0"))?),
        ring: match rest.get(2) {
            None => true,
            Some(&"calls") => false,
            Some(other) => return Err(format!("`{other}` is not `calls`").into()),
        },
        ..SwitchConfig::default()
    };
    let mut fabric = FabricWriter::new();
    let profile = Arc::new(Profile::aws());
    let vpc = fabric.add_vpc(VpcSpec {
        profile,
        cidrs: vec!["10.0.0.0/8".parse()?],
        dhcp_options: Arc::default(),
    });
    let subnet = fabric.add_subnet(SubnetSpec {
        vpc,
        ipv4: Some("10.9.0.0/24".parse()?),
        ipv6: Some("2001:db8:9::/64".parse()?),
        router_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    });
    let (switch, _events) = Switch::start(fabric.fabric(), config)?;
    let mut macs = Vec::new();
    for (namespace, host) in [(a, 10), (b, 11)] {
        let tap = open(namespace, TapOptions::default())?;
        let mac = MacAddr([2, 0, 0, 0, 9, host]);
        macs.push(mac.to_string());
        let interface = fabric.add_interface(InterfaceSpec {
            subnet,
            mac,
            source_dest_check: true,
        });
        let address = Ipv4Addr::new(10, 9, 0, host);
        fabric.map(subnet, IpAddr::V4(address).into(), Some(interface));
        fabric.set_primary(interface, Some(address), None);
        switch.attach(interface, tap, AttachOptions::default(), |port| {
            fabric.set_port(interface, Some(port));
        })?;
    }
    fill(&mut fabric, vpc, mappings)?;
    println!("ready {}", macs.join(" "));
    loop {
        std::thread::park();
    }
}

/// Mappings of other interfaces in other subnets, so that the tables are as large as in a real VPC.
fn fill(fabric: &mut FabricWriter, vpc: localvpc::datapath::VpcIndex, mappings: u64) -> Outcome {
    let mut left = mappings;
    for second in 16..=255 {
        if left == 0 {
            return Ok(());
        }
        let subnet = fabric.add_subnet(SubnetSpec {
            vpc,
            ipv4: Some(format!("10.{second}.0.0/16").parse()?),
            ipv6: Some(format!("2001:db8:{second:x}00::/64").parse()?),
            router_mac: MacAddr([2, 0, 0, 0, second, 1]),
        });
        for host in 4..65_535_u32.min(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(4)) {
            let [_, _, high, low] = host.to_be_bytes();
            let mac = MacAddr([6, 0, 0, second, high, low]);
            let interface = fabric.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check: true,
            });
            let address = Ipv4Addr::new(10, second, high, low);
            fabric.map(subnet, IpAddr::V4(address).into(), Some(interface));
            left -= 1;
        }
    }
    if left > 0 {
        Err("at most 15 million mappings".into())
    } else {
        Ok(())
    }
}

fn open(namespace: &str, options: TapOptions) -> Result<TapPort, Box<dyn std::error::Error>> {
    let here = std::fs::File::open("/proc/thread-self/ns/net")?;
    let there = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    nix::sched::setns(there, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let port = TapPort::open("eth0", options);
    nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET)?;
    Ok(port?)
}

// UDP

fn udp_send(from: &str, to: &str, duration: &str, rate: &str, flows: &str) -> Outcome {
    let (to, duration, rate, flows) = (
        to.parse::<SocketAddr>()?,
        seconds(duration)?,
        number(rate)?,
        number(flows)?,
    );
    let from: IpAddr = from.parse()?;
    let mut sockets = Vec::new();
    for _ in 0..flows.max(1) {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to)?;
        sockets.push(socket);
    }
    let payload = [0x5a; PAYLOAD];
    let pieces = [[std::io::IoSlice::new(&payload)]; BURST];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BURST, None);
    let addresses = [None::<SockaddrStorage>; BURST];
    let start = Instant::now();
    let (mut sent, mut next) = (0_u64, 0);
    while start.elapsed() < duration {
        // With a rate, each datagram is sent alone when it is due; without one, in bursts.
        let due = if rate == 0 {
            BURST as u64
        } else {
            ((start.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64).saturating_sub(sent)
        };
        if rate == 0 && sockets.len() == 1 {
            let fd = sockets[0].as_raw_fd();
            // A full interface queue is the switch's limit, and shows in the number of received datagrams.
            let count = nix::sys::socket::sendmmsg(fd, &mut headers, &pieces, addresses, [], MsgFlags::empty());
            sent += count.map_or(0, |results| results.count() as u64);
            continue;
        }
        for _ in 0..due {
            let socket = &sockets[next];
            next = (next + 1) % sockets.len();
            sent += u64::from(socket.send(&payload).is_ok());
        }
    }
    println!("{}", json!({"sent": sent, "seconds": start.elapsed().as_secs_f64()}));
    Ok(())
}

fn udp_receive(at: &str, duration: &str) -> Outcome {
    let (at, duration) = (at.parse::<SocketAddr>()?, seconds(duration)?);
    let socket = UdpSocket::bind(at)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(32 << 20))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    println!("ready");
    let mut buffers = [[0; 128]; BURST];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BURST, None);
    let start = Instant::now();
    let (mut received, mut first, mut last) = (0_u64, None, start);
    while start.elapsed() < duration {
        let mut pieces = buffers.each_mut().map(|buffer| [std::io::IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let results = nix::sys::socket::recvmmsg(socket.as_raw_fd(), &mut headers, &mut pieces, flags, None);
        if let Ok(results) = results {
            received += results.count() as u64;
            last = Instant::now();
            first.get_or_insert(last);
        }
    }
    let span = first.map_or(0.0, |first| last.duration_since(first).as_secs_f64());
    println!("{}", json!({"received": received, "seconds": span}));
    Ok(())
}

// Round trips

fn echo(to: &str, duration: &str) -> Outcome {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
    let (to, duration) = (to.parse::<Ipv4Addr>()?, seconds(duration)?);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))?;
    rustix::net::connect(&socket, &SocketAddr::from((to, 0)))?;
    let timeout = Some(Duration::from_secs(1));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, timeout)?;
    let identifier = (std::process::id() as u16).to_be_bytes();
    let mut trips = Vec::new();
    let mut buffer = [0; 2048];
    let (start, mut lost) = (Instant::now(), 0);
    for sequence in 0_u32.. {
        if start.elapsed() >= duration {
            break;
        }
        let [_, _, high, low] = sequence.to_be_bytes();
        let mut request = [0; 64];
        request[..8].copy_from_slice(&[8, 0, 0, 0, identifier[0], identifier[1], high, low]);
        let sum = localvpc::wire::checksum::Sum::new().bytes(&request).complement();
        request[2..4].copy_from_slice(&sum.to_be_bytes());
        let begun = Instant::now();
        rustix::net::send(&socket, &request, SendFlags::empty())?;
        loop {
            let Ok((_, length)) = rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()) else {
                lost += 1;
                break;
            };
            // Behind an IPv4 header without options: type, code, checksum, identifier, sequence number.
            let answer = &buffer[20.min(length)..length];
            if answer.starts_with(&[0]) && answer.get(4..8) == Some(&request[4..8]) {
                trips.push(begun.elapsed());
                break;
            }
        }
    }
    trips.sort_unstable();
    let at = |share: f64| {
        let index = (trips.len() as f64 * share) as usize;
        trips
            .get(index.min(trips.len().saturating_sub(1)))
            .map_or(0.0, |trip| trip.as_secs_f64() * 1e6)
    };
    println!(
        "{}",
        json!({"count": trips.len(), "lost": lost, "p50_us": at(0.5), "p99_us": at(0.99)})
    );
    Ok(())
}

fn respond(at: &str) -> Outcome {
    let listener = TcpListener::bind(at.parse::<SocketAddr>()?)?;
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    }
    Ok(())
}

fn request(to: &str, duration: &str) -> Outcome {
    let (to, duration) = (to.parse::<SocketAddr>()?, seconds(duration)?);
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    let (start, mut count, mut byte) = (Instant::now(), 0_u64, [1]);
    while start.elapsed() < duration {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        count += 1;
    }
    println!(
        "{}",
        json!({"transactions": count, "seconds": start.elapsed().as_secs_f64()})
    );
    Ok(())
}
