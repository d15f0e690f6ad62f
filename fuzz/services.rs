//! Runs the link-local services with fixed data, and checks the promises about each answer, whatever a host or a
//! resolver sends.
//!
//! The fuzz targets `dns`, `ntp`, `http` and `tcp` and the test `services_noise` of the crate share this file.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::RData;
use localvpc::datapath::{FabricWriter, InterfaceSpec, SERVICES_IPV4, SubnetSpec, VpcSpec};
use localvpc::mapping::{InterfaceIndex, PortId};
use localvpc::model::profile::Profile;
use localvpc::services::clock::{Clock, ManualClock, SeededEntropy};
use localvpc::services::dns::forward::{Forwarder, Ticket};
use localvpc::services::dns::stream::{Reader, framed};
use localvpc::services::dns::{Holder, HostAddresses, MAX_DATAGRAM, Outcome, Zone, answer};
use localvpc::services::fixed::{Facts, FixedSource, sample_instance};
use localvpc::services::http::{Ended, HttpConnection};
use localvpc::services::imds::{self, Asker};
use localvpc::services::unanswered::Unanswered;
use localvpc::services::{Limits, Server, ntp};
use localvpc::wire::MacAddr;
use localvpc::wire::checksum::Sum;

/// A secret that no answer may contain: the secret key of a role.
const SECRET: &str = "fuzz/SecretKeyOfARole";
/// The most user data in an answer; the rest of an answer is shorter than a kilobyte or two.
const USER_DATA: usize = 2048;
/// Octets that wait between HTTP and TCP at most.
const QUEUE: usize = 4096;
/// Octets of the longest answer: user data and its head, or a listing.
const LONGEST: usize = USER_DATA + 2048;
/// Addresses of the hosts' MACs and of their router's.
const ROUTER: MacAddr = MacAddr([0x0e, 0, 0, 0, 0, 1]);
/// Sequence number of each connection's SYN.
const FIRST: u32 = 1000;

/// The limits of [`Services::packets`]: low, so that they are reached.
const LIMITS: Limits = Limits {
    interfaces: 2,
    per_interface: 6,
    connections: 8,
    reserved: 2,
    handshake: Duration::from_secs(5),
    idle: Duration::from_secs(10),
    closing: Duration::from_secs(5),
    unused: Duration::from_secs(60),
};

/// Three interfaces of one VPC with an instance each; the second one's wants tokens.
pub(crate) struct Services {
    source: Arc<FixedSource>,
    interfaces: Vec<InterfaceIndex>,
    /// Makes a connection to the metadata service.
    connect: Box<dyn Fn(Asker) -> HttpConnection>,
    _writer: FabricWriter,
}

fn host(number: usize) -> (Ipv4Addr, MacAddr) {
    let last = 10 + number as u8;
    (Ipv4Addr::new(10, 0, 1, last), MacAddr([0x0a, 0, 0, 0, 0, last]))
}

#[allow(dead_code)] // each target asks in its own way
impl Services {
    /// Always the same.
    pub(crate) fn new() -> Self {
        let mut writer = FabricWriter::new();
        let cidrs = vec![
            "10.0.0.0/16".parse().expect("a range"),
            "2001:db8::/56".parse().expect("a range"),
        ];
        let vpc = writer.add_vpc(VpcSpec {
            profile: Arc::new(Profile::aws()),
            cidrs: cidrs.clone(),
            dhcp_options: Arc::default(),
        });
        let subnet = writer.add_subnet(SubnetSpec {
            vpc,
            ipv4: Some("10.0.1.0/24".parse().expect("a range")),
            ipv6: Some("2001:db8::/64".parse().expect("a range")),
            router_mac: ROUTER,
        });
        let mut facts = Facts::default();
        let mut interfaces = Vec::new();
        for number in 0..3 {
            let (address, mac) = host(number);
            let source_dest_check = true;
            let interface = writer.add_interface(InterfaceSpec {
                subnet,
                mac,
                source_dest_check,
            });
            let mut instance = sample_instance(address, mac);
            instance.user_data = Some(vec![b'u'; USER_DATA]);
            if number == 1 {
                instance.options.tokens_required = true;
                instance.role = Some(imds::document::Role {
                    name: "fuzz".to_owned(),
                    instance_profile_arn: "arn:aws:iam::123456789012:instance-profile/fuzz".to_owned(),
                    instance_profile_id: "AIPAFUZZ".to_owned(),
                    access_key_id: "ASIAFUZZ".to_owned(),
                    secret_access_key: SECRET.to_owned(),
                    token: "fuzz".to_owned(),
                    last_updated: UNIX_EPOCH,
                    expiration: UNIX_EPOCH,
                });
            }
            let id = instance.instance_id.clone();
            let addresses = HostAddresses {
                ipv4: vec![address],
                ipv6: vec!["2001:db8::a".parse().expect("an address")],
            };
            facts.resource_names.insert(id.clone(), addresses);
            facts.holders.insert(address.into(), Holder { instance_id: Some(id) });
            let domain = "eu-central-1.compute.internal".to_owned();
            facts.zones.insert(
                interface,
                Zone {
                    enabled: true,
                    domain,
                    cidrs: cidrs.clone(),
                    dns64: false,
                },
            );
            facts.instances.insert(interface, Arc::new(instance));
            interfaces.push(interface);
        }
        let source = Arc::new(FixedSource::new(facts));
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
        let router = imds::router(source.clone(), clock, Arc::new(SeededEntropy::new(1)));
        let connect = Box::new(move |asker| HttpConnection::new(&router, asker));
        Self {
            source,
            interfaces,
            connect,
            _writer: writer,
        }
    }

    /// Processes a DNS message by datagram, by TCP in pieces, or from the external resolver. Returns whether it was
    /// answered.
    ///
    /// Octets before the message: how it arrives (bits: 1 by TCP, 2 forwarding is on, 4 from the external resolver),
    /// and the length of the pieces.
    pub(crate) fn dns(&self, input: &[u8]) -> bool {
        let Some((&[how, piece], message)) = input.split_first_chunk() else {
            return false;
        };
        let (datagram, forwards) = (how & 1 == 0, how & 2 != 0);
        if how & 4 != 0 {
            return self.heard_outside(message, datagram);
        }
        if datagram {
            // Longer messages are not read (`packet.rs`).
            return self.query(&message[..message.len().min(2048)], true, forwards);
        }
        let (mut reader, mut answered) = (Reader::default(), false);
        for bytes in message.chunks(usize::from(piece) + 1) {
            let mut left = bytes;
            while !left.is_empty() {
                let length = left.len().min(reader.room());
                assert!(length > 0, "a reader that is full of what it has not understood");
                reader.push(&left[..length]);
                left = &left[length..];
                loop {
                    match reader.message() {
                        Ok(Some(query)) => answered |= self.query(&query, false, forwards),
                        Ok(None) => break,
                        Err(_) => return answered,
                    }
                }
            }
        }
        answered
    }

    fn query(&self, query: &[u8], datagram: bool, forwards: bool) -> bool {
        let asker = self.interfaces[0];
        let outcome = answer(query, datagram, asker, &*self.source, forwards);
        assert_eq!(outcome, answer(query, datagram, asker, &*self.source, forwards));
        let understood = Message::from_vec(query).ok();
        match outcome {
            Outcome::Reply(bytes) => {
                assert_eq!(bytes[..2], query[..2], "another question's number");
                assert_eq!((query[2] & 0x80, bytes[2] & 0x80), (0, 0x80), "an answer to an answer");
                let said = Message::from_vec(&bytes).expect("an answer can be read");
                if datagram {
                    let offered = understood.as_ref().and_then(|query| query.edns.as_ref());
                    let limit = offered.map_or(512, |edns| usize::from(edns.max_payload()).clamp(512, MAX_DATAGRAM));
                    assert!(
                        bytes.len() <= limit,
                        "{} octets where {limit} were asked for",
                        bytes.len()
                    );
                }
                assert!(framed(&bytes).is_some());
                for record in &said.answers {
                    let inside = match &record.data {
                        RData::A(a) => a.0.octets()[..2] == [10, 0] || a.0 == SERVICES_IPV4[0],
                        RData::AAAA(a) => [0x2001, 0xfd00].contains(&a.0.segments()[0]),
                        RData::PTR(name) => name.0.to_ascii().ends_with(".eu-central-1.compute.internal."),
                        _ => false,
                    };
                    assert!(inside, "{record} is none of the VPC's names");
                }
                // An answer sent back as a query gets no answer.
                let again = answer(&bytes, datagram, asker, &*self.source, forwards);
                assert_eq!(again, Outcome::Ignore(Unanswered::DnsResponse));
                said.answers.len() + said.authorities.len() > 0
            }
            Outcome::Forward { dns64 } => {
                assert!(!dns64, "no subnet has it");
                assert!(forwards, "passed on to nobody");
                let queries = understood.expect("passed on without being understood").queries;
                assert_eq!(queries.len(), 1, "only one question is passed on");
                true
            }
            Outcome::Ignore(_) => {
                assert!(query.len() < 12 || query[2] & 0x80 != 0, "a question without an answer");
                false
            }
        }
    }

    /// A resolver's answer to a forwarded query. Returns whether it went to the client.
    fn heard_outside(&self, said: &[u8], datagram: bool) -> bool {
        // example.org, A, number 0x1234, no EDNS.
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
        let mut forwarder = Forwarder::new(Box::new(|_| {}));
        let ticket = Ticket {
            interface: self.interfaces[0],
            datagram,
            to: 7,
        };
        let asked = forwarder.ask(query.to_vec(), ticket, false, Duration::ZERO, || 0x4321);
        asked.expect("nobody else waits");
        let passed = forwarder.answered(said.to_vec(), || 0x4322);
        if let Some((to, bytes)) = &passed {
            assert_eq!(*to, ticket, "an answer to somebody who did not ask");
            assert_eq!(said[..2], [0x43, 0x21], "an answer that bears another number");
            assert_eq!(bytes[..2], query[..2], "not the asker's number");
            assert!(
                !datagram || bytes.len() <= 512,
                "{} octets where 512 were asked for",
                bytes.len()
            );
            let heard = Message::from_vec(bytes).expect("an answer can be read");
            assert_eq!(heard.metadata.message_type, MessageType::Response);
            let asked = Message::from_vec(query).expect("a query").queries;
            assert_eq!(heard.queries, asked, "an answer to another question");
            assert!(forwarder.answered(said.to_vec(), || 0x4322).is_none(), "answered twice");
        }
        // A client without an answer gets SERVFAIL in the end, and no query stays pending.
        let failed = forwarder.expire(Duration::from_secs(60));
        assert_eq!(failed.len(), usize::from(passed.is_none()));
        assert!(
            failed.iter().all(|(to, bytes)| *to == ticket && bytes[3] & 15 == 2),
            "no SERVFAIL"
        );
        assert_eq!(forwarder.next(), None);
        passed.is_some()
    }

    /// An NTP packet at a time of day with a skew. Returns whether it was answered.
    ///
    /// Octets before the packet: nanoseconds of skew (8, signed), seconds since 1970 (8).
    pub(crate) fn ntp(&self, input: &[u8]) -> bool {
        let Some((head, request)) = input.split_first_chunk::<16>() else {
            return false;
        };
        let (skew, seconds) = head.split_at(8);
        let skew = i64::from_be_bytes(skew.try_into().expect("eight octets"));
        let seconds = u64::from_be_bytes(seconds.try_into().expect("eight octets"));
        let time = UNIX_EPOCH + Duration::from_secs(seconds >> 2);
        let now = ntp::shifted(time, skew);
        let answered = ntp::answer(request, now);
        assert_eq!(answered, ntp::answer(request, now));
        let Ok(packet) = answered else {
            let served = request.len() >= 48 && request[0] & 7 == 3 && (1..=4).contains(&(request[0] >> 3 & 7));
            assert!(!served, "a client without an answer");
            return false;
        };
        assert!(request.len() >= packet.len(), "an answer longer than its question");
        assert_eq!(packet[0] & 7, 4, "not a server's answer");
        assert_eq!(packet[0] >> 3, request[0] >> 3 & 7, "another version than the client's");
        assert_eq!(packet[24..32], request[40..48], "not the timestamp of the client");
        assert_eq!(packet[32..40], packet[40..48], "time passed within an answer");
        let told = u32::from_be_bytes(packet[40..44].try_into().expect("four octets"));
        let unix = now.duration_since(UNIX_EPOCH).map_or_else(
            |before| -(before.duration().as_nanos() as i128),
            |after| after.as_nanos() as i128,
        );
        let since_1900 = unix.div_euclid(1_000_000_000) + 2_208_988_800;
        assert_eq!(told, since_1900 as u32, "not the time that it is");
        // Servers do not answer each other.
        assert_eq!(ntp::answer(&packet, now), Err(Unanswered::NtpMode));
        true
    }

    /// The octets of one HTTP connection to the metadata service. Returns how many requests were answered with 200.
    ///
    /// Octets before them: the host, octets per arrival, octets per read of the peer.
    pub(crate) fn http(&self, input: &[u8]) -> usize {
        let Some((&[who, arrive, leave], bytes)) = input.split_first_chunk() else {
            return 0;
        };
        let who = usize::from(who) % 2;
        let asker = Asker {
            interface: self.interfaces[who],
            to: SERVICES_IPV4[0].into(),
        };
        let mut http = (self.connect)(asker);
        let (mut said, mut silent) = (Vec::new(), 0);
        let mut left = bytes;
        let mut taken = |http: &mut HttpConnection| {
            let sent = http.drain(|waiting| {
                assert!(
                    waiting.len() <= QUEUE,
                    "{} octets wait for a peer that does not read",
                    waiting.len()
                );
                let length = waiting.len().min(usize::from(leave) + 1);
                said.extend_from_slice(&waiting[..length]);
                length
            });
            assert!(
                said.len() <= (http.answered() as usize + 1) * LONGEST,
                "answers without end"
            );
            sent
        };
        // Ends after some rounds without progress since the peer's last octet.
        while silent < 3 {
            let room = http.room();
            assert!(room <= QUEUE);
            let length = left.len().min(usize::from(arrive) + 1).min(room);
            http.push(&left[..length]);
            left = &left[length..];
            if left.is_empty() {
                http.end_input();
            }
            http.run();
            let sent = taken(&mut http);
            silent = if length + sent == 0 { silent + 1 } else { 0 };
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(http.answered() as usize <= lines, "more answers than requests");
        assert!(http.is_drained(), "octets that nobody may take");
        if left.is_empty() {
            assert!(
                http.ended().is_some(),
                "a peer that said all it had to say is waited for"
            );
        }
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1."),
            "an answer that is no HTTP"
        );
        assert!(http.ended() != Some(Ended::Malformed) || http.answered() as usize <= lines);
        let text = String::from_utf8_lossy(&said);
        if http.hop_limit().is_some() {
            assert!(
                bytes.windows(3).any(|word| word == b"PUT"),
                "the TTL of a token without a token"
            );
        }
        assert!(!text.contains(SECRET), "a secret without a token");
        let other = self.source.facts().instances[&self.interfaces[1 - who]]
            .instance_id
            .clone();
        assert!(!text.contains(&other), "the metadata of another instance");
        text.matches("HTTP/1.1 200 ").count() + text.matches("HTTP/1.0 200 ").count()
    }

    /// Packets of three hosts, in any order, over any time. Returns the number of frames that came back.
    ///
    /// The input is a list of steps, each begun by its kind (the octet modulo 8) and its host (the same octet divided
    /// by 8): 0 advances time (one octet, times 20 ms); 1 sends a frame unchanged (length, octets); 2 to 6 send a
    /// segment of a connection (which one, flags, length, octets) at its place in the stream; 7 the same at another
    /// place (two octets before).
    pub(crate) fn packets(&self, input: &[u8]) -> usize {
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
        type Sent = Arc<Mutex<Vec<(PortId, Vec<u8>)>>>;
        let injected = Sent::default();
        let sink = Arc::clone(&injected);
        let inject = move |port, frame: &[u8]| sink.lock().expect("nobody panics").push((port, frame.to_vec()));
        let entropy = Arc::new(SeededEntropy::new(1));
        let (source, inject) = (self.source.clone(), Arc::new(inject));
        let mut server = Server::new(source, clock.clone(), entropy, LIMITS, inject, Some(Box::new(|_| {})));
        let mut streams: HashMap<(usize, u8), Stream> = HashMap::new();
        let (mut input, mut came) = (Bytes(input), 0);
        while let Some(kind) = input.next() {
            let who = usize::from(kind >> 3) % self.interfaces.len();
            let port = PortId::new(who as u32 + 1).expect("counted from 1");
            let frame = match kind % 8 {
                0 => {
                    clock.advance(Duration::from_millis(20) * u32::from(input.next().unwrap_or(0)));
                    None
                }
                1 => {
                    let length = usize::from(input.next().unwrap_or(0)) * 8;
                    let mut frame = [&ROUTER.0[..], &host(who).1.0].concat();
                    frame.extend_from_slice(input.take(length));
                    Some(frame)
                }
                kind => {
                    let which = input.next().unwrap_or(0) % 32;
                    let flags = input.next().unwrap_or(0);
                    let astray = if kind == 7 {
                        i16::from_be_bytes([input.next().unwrap_or(0), input.next().unwrap_or(0)])
                    } else {
                        0
                    };
                    let length = usize::from(input.next().unwrap_or(0));
                    let stream = streams.entry((who, which)).or_default();
                    Some(stream.segment(who, which, flags, astray, input.take(length)))
                }
            };
            if let Some(frame) = frame {
                // The upper checksum is right or pending; otherwise the packet would be dropped.
                server.receive(self.interfaces[who], port, &frame, true);
            }
            server.advance();
            let shared = server.shared();
            assert!(
                shared.connections() <= LIMITS.connections + LIMITS.reserved * LIMITS.interfaces,
                "more connections than may be"
            );
            assert!(shared.interfaces() <= LIMITS.interfaces, "more stacks than may be");
            let frames = std::mem::take(&mut *injected.lock().expect("nobody panics"));
            // A window of 8 KiB, or a retransmission of each connection.
            assert!(frames.len() <= 64, "{} frames at once", frames.len());
            came += frames.len();
            for (to, frame) in frames {
                assert!((34..=1514).contains(&frame.len()));
                let to = to.get() as usize - 1;
                assert_eq!(frame[..6], host(to).1.0, "an answer to somebody who did not ask");
                if frame.get(12..14) == Some(&[8, 0]) && frame[23] == 6 {
                    let which = frame[37] % 32;
                    let next = u32::from_be_bytes(frame[38..42].try_into().expect("four octets"));
                    let payload =
                        frame.len() as u32 - 34 - u32::from(frame[46] >> 4) * 4 + u32::from(frame[47] & 3 != 0);
                    streams.entry((to, which)).or_default().heard = next.wrapping_add(payload);
                }
            }
        }
        // Without input, the services drop all state, and never request a wake-up without work.
        for rounds in 0.. {
            let Some(at) = server.next() else { break };
            assert!(rounds < 20_000, "the services never come to rest");
            clock.advance(at.saturating_sub(clock.monotonic()));
            server.advance();
        }
        assert_eq!(
            (server.shared().connections(), server.shared().interfaces()),
            (0, 0),
            "something is kept for ever"
        );
        came
    }
}

/// The octets of an input, one after the other.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A host's state of a connection.
struct Stream {
    /// The sequence number of its next octet.
    next: u32,
    /// Its acknowledgment number.
    heard: u32,
}

impl Default for Stream {
    fn default() -> Self {
        Self { next: FIRST, heard: 0 }
    }
}

impl Stream {
    /// A TCP segment over IPv4 in a frame; a SYN begins anew.
    fn segment(&mut self, who: usize, which: u8, flags: u8, astray: i16, payload: &[u8]) -> Vec<u8> {
        if flags & 2 != 0 {
            *self = Self::default();
        }
        let (source, mac) = host(who);
        let (to, port) = match which % 4 {
            0 | 1 => (SERVICES_IPV4[0], 80_u16),
            2 => (SERVICES_IPV4[1], 53),
            _ => (SERVICES_IPV4[2], 123),
        };
        let number = self.next.wrapping_add_signed(i32::from(astray));
        self.next = self.next.wrapping_add(payload.len() as u32 + u32::from(flags & 3 != 0));
        let mut segment = [
            &[0x40, which][..],
            &port.to_be_bytes(),
            &number.to_be_bytes(),
            &self.heard.to_be_bytes(),
        ]
        .concat();
        segment.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        segment.extend_from_slice(payload);
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
        header[2..4].copy_from_slice(&(segment.len() as u16 + 20).to_be_bytes());
        header.extend(source.octets());
        header.extend(to.octets());
        let sum = Sum::new().bytes(&header).complement();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&ROUTER.0[..], &mac.0, &[8, 0], &header, &segment].concat()
    }
}
