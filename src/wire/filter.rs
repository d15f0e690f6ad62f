//! Parses and applies capture filters: `arp`, `icmp or icmp6`, `udp port 53 and host 10.0.1.10`, `not (tcp dst port 22)`.
//! The language is a subset of pcap-filter(7).
//!
//! As in pcap-filter(7), `not` binds tightest, `and` and `or` have the same precedence and group from the left, and
//! `host` and `net` also match ARP. A later fragment has no ports and matches no `port`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::MacAddr;
use super::frame::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, Ipv4Packet, Ipv6Packet, PROTOCOL_ICMP, PROTOCOL_ICMPV6,
    PROTOCOL_TCP, PROTOCOL_UDP,
};

/// The depth to which parentheses and `not` may nest, so that no text can exhaust the stack.
const DEEPEST: usize = 64;

/// A compiled filter. The empty text matches every frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    text: String,
    root: Option<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    EtherType(u16),
    Protocol(u8),
    Net(Side, IpNet),
    Port(Side, u16, u16),
    Mac(Side, MacAddr),
}

/// Which side's address or port is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

impl Side {
    fn any<T>(self, source: T, destination: T, matches: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => matches(source),
            Self::Destination => matches(destination),
            Self::Either => matches(source) || matches(destination),
        }
    }
}

/// Text that is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the filter {problem}; write it from arp, ip, ip6, icmp, icmp6, tcp, udp, host A, net N, port P, portrange P-Q, ether host M, src, dst, and, or, not and parentheses"
)]
pub struct FilterError {
    problem: String,
}

/// The fields that a filter compares, found once for each frame.
struct Fields {
    source_mac: MacAddr,
    destination_mac: MacAddr,
    ethertype: u16,
    addresses: Option<(IpAddr, IpAddr)>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
}

impl Fields {
    fn of(bytes: &[u8]) -> Option<Self> {
        let frame = Frame::parse(bytes).ok()?;
        let mut fields = Self {
            source_mac: frame.source,
            destination_mac: frame.destination,
            ethertype: frame.ethertype,
            addresses: None,
            protocol: None,
            ports: None,
        };
        let upper = match frame.ethertype {
            ETHERTYPE_IPV4 => {
                let packet = Ipv4Packet::parse(frame.payload()).ok();
                packet.map(|packet| {
                    fields.addresses = Some((packet.source.into(), packet.destination.into()));
                    fields.protocol = Some(packet.protocol);
                    (packet.payload(), packet.fragment_offset != 0)
                })
            }
            ETHERTYPE_IPV6 => {
                let packet = Ipv6Packet::parse(frame.payload()).ok();
                packet.map(|packet| {
                    fields.addresses = Some((packet.source.into(), packet.destination.into()));
                    fields.protocol = Some(packet.protocol);
                    (packet.payload(), packet.later_fragment)
                })
            }
            ETHERTYPE_ARP => {
                if let Some(arp) = frame.payload().first_chunk::<28>() {
                    let address = |at: usize| IpAddr::from([arp[at], arp[at + 1], arp[at + 2], arp[at + 3]]);
                    fields.addresses = Some((address(14), address(24)));
                }
                None
            }
            _ => None,
        };
        if let Some((payload, false)) = upper
            && matches!(fields.protocol, Some(PROTOCOL_TCP | PROTOCOL_UDP))
            && let Some([a, b, c, d]) = payload.first_chunk::<4>()
        {
            fields.ports = Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        }
        Some(fields)
    }
}

impl Node {
    fn matches(&self, fields: &Fields) -> bool {
        match self {
            Self::Not(node) => !node.matches(fields),
            Self::And(left, right) => left.matches(fields) && right.matches(fields),
            Self::Or(left, right) => left.matches(fields) || right.matches(fields),
            Self::EtherType(ethertype) => fields.ethertype == *ethertype,
            Self::Protocol(protocol) => fields.protocol == Some(*protocol),
            Self::Net(side, net) => fields
                .addresses
                .is_some_and(|(source, destination)| side.any(source, destination, |a| net.contains(&a))),
            Self::Port(side, first, last) => fields
                .ports
                .is_some_and(|(source, destination)| side.any(source, destination, |p| (*first..=*last).contains(&p))),
            Self::Mac(side, mac) => side.any(fields.source_mac, fields.destination_mac, |m| m == *mac),
        }
    }
}

impl Filter {
    /// Whether the frame matches. Bytes that are no Ethernet frame match the empty filter only.
    pub fn matches(&self, frame: &[u8]) -> bool {
        match &self.root {
            None => true,
            Some(root) => Fields::of(frame).is_some_and(|fields| root.matches(&fields)),
        }
    }

    /// True for the filter that matches everything.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser {
            words: words(text),
            at: 0,
            depth: 0,
        };
        let root = if parser.words.is_empty() {
            None
        } else {
            let root = parser.expression()?;
            if let Some(word) = parser.peek() {
                return Err(wrong(format!("has '{word}' where 'and' or 'or' should stand")));
            }
            Some(root)
        };
        Ok(Self {
            text: text.trim().to_owned(),
            root,
        })
    }
}

/// Words, parentheses and operators.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '(' | ')' => {
                words.push(c.into());
                open = false;
            }
            '!' => {
                words.push("not".into());
                open = false;
            }
            '&' | '|' if characters.peek() == Some(&c) => {
                characters.next();
                words.push(if c == '&' { "and" } else { "or" }.into());
                open = false;
            }
            c if c.is_whitespace() => open = false,
            c => match words.last_mut().filter(|_| open) {
                Some(word) => word.push(c),
                None => {
                    words.push(c.into());
                    open = true;
                }
            },
        }
    }
    words
}

fn wrong(problem: String) -> FilterError {
    FilterError { problem }
}

struct Parser {
    words: Vec<String>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self, wanted: &str) -> Result<String, FilterError> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word.ok_or_else(|| wrong(format!("ends where {wanted} should stand")))
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn expression(&mut self) -> Result<Node, FilterError> {
        let mut left = self.term()?;
        loop {
            if self.take("and") {
                left = Node::And(Box::new(left), Box::new(self.term()?));
            } else if self.take("or") {
                left = Node::Or(Box::new(left), Box::new(self.term()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn term(&mut self) -> Result<Node, FilterError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(wrong(format!("is nested more than {DEEPEST} deep")));
        }
        let node = if self.take("not") {
            Node::Not(Box::new(self.term()?))
        } else if self.take("(") {
            let inner = self.expression()?;
            if !self.take(")") {
                return Err(wrong("lacks a ')'".into()));
            }
            inner
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(node)
    }

    /// A protocol, an address or a port with its qualifiers: `tcp`, `udp dst port 53`, `src net 10.0.0.0/8`.
    fn primitive(&mut self) -> Result<Node, FilterError> {
        let protocol = match self.peek() {
            Some("ether") => {
                self.at += 1;
                return self.ether();
            }
            Some("arp") => Some(Node::EtherType(ETHERTYPE_ARP)),
            Some("ip") => Some(Node::EtherType(ETHERTYPE_IPV4)),
            Some("ip6") => Some(Node::EtherType(ETHERTYPE_IPV6)),
            Some("icmp") => Some(Node::Protocol(PROTOCOL_ICMP)),
            Some("icmp6") => Some(Node::Protocol(PROTOCOL_ICMPV6)),
            Some("tcp") => Some(Node::Protocol(PROTOCOL_TCP)),
            Some("udp") => Some(Node::Protocol(PROTOCOL_UDP)),
            _ => None,
        };
        let Some(mut protocol) = protocol else {
            return self.qualified();
        };
        self.at += 1;
        // `icmp` of IPv6 is `icmp6`; IPv4's number in an IPv6 packet is not ICMP.
        if protocol == Node::Protocol(PROTOCOL_ICMP) {
            protocol = Node::And(Box::new(Node::EtherType(ETHERTYPE_IPV4)), Box::new(protocol));
        }
        if matches!(self.peek(), Some("src" | "dst" | "host" | "net" | "port" | "portrange")) {
            return Ok(Node::And(Box::new(protocol), Box::new(self.qualified()?)));
        }
        Ok(protocol)
    }

    fn side(&mut self) -> Side {
        if self.take("src") {
            Side::Source
        } else if self.take("dst") {
            Side::Destination
        } else {
            Side::Either
        }
    }

    fn ether(&mut self) -> Result<Node, FilterError> {
        let side = self.side();
        let explicit = self.take("host");
        if side == Side::Either && !explicit {
            return Err(wrong("has 'ether' without 'host', 'src' or 'dst'".into()));
        }
        let word = self.next("a MAC address")?;
        let mac = word
            .parse()
            .map_err(|_| wrong(format!("has '{word}' where a MAC address should stand")))?;
        Ok(Node::Mac(side, mac))
    }

    fn qualified(&mut self) -> Result<Node, FilterError> {
        let side = self.side();
        let word = self.next("a primitive")?;
        match word.as_str() {
            "host" => {
                let word = self.next("an address")?;
                address(&word).map(|net| Node::Net(side, net))
            }
            "net" => {
                let word = self.next("a network")?;
                network(&word).map(|net| Node::Net(side, net))
            }
            "port" => {
                let word = self.next("a port")?;
                port(&word).map(|port| Node::Port(side, port, port))
            }
            "portrange" => {
                let word = self.next("a range of ports")?;
                let (first, last) = word.split_once('-').unwrap_or((&word, &word));
                Ok(Node::Port(side, port(first)?, port(last)?))
            }
            // `src 10.0.0.1` means `src host 10.0.0.1`.
            other if side != Side::Either => address(other).map(|net| Node::Net(side, net)),
            other => Err(wrong(format!("has '{other}', which it does not know"))),
        }
    }
}

fn address(word: &str) -> Result<IpNet, FilterError> {
    let address: Result<IpAddr, _> = word.parse();
    address
        .map(IpNet::from)
        .map_err(|_| wrong(format!("has '{word}' where an IP address should stand")))
}

/// `10.0.0.0/16`, an address, or the first octets of one: `10.0`.
fn network(word: &str) -> Result<IpNet, FilterError> {
    let bad = || wrong(format!("has '{word}' where a network such as 10.0.0.0/16 should stand"));
    if let Ok(net) = word.parse::<IpNet>() {
        if net.addr() != net.network() {
            return Err(wrong(format!(
                "has a network '{word}' with bits behind its prefix length"
            )));
        }
        return Ok(net);
    }
    if let Ok(net) = address(word) {
        return Ok(net);
    }
    let octets: Result<Vec<u8>, _> = word.split('.').map(str::parse).collect();
    let octets = octets.map_err(|_| bad())?;
    if octets.is_empty() || octets.len() > 3 {
        return Err(bad());
    }
    let mut whole = [0; 4];
    whole[..octets.len()].copy_from_slice(&octets);
    let length = octets.len() as u8 * 8;
    Ipv4Net::new(whole.into(), length).map(IpNet::V4).map_err(|_| bad())
}

fn port(word: &str) -> Result<u16, FilterError> {
    word.parse()
        .map_err(|_| wrong(format!("has '{word}' where a port (0 to 65535) should stand")))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(from: u16, to: u16) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 1, 10], [10, 0, 2, 20], 64)
            .udp(from, to);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"hello").expect("memory takes it");
        bytes
    }

    fn tcp6() -> Vec<u8> {
        let a: std::net::Ipv6Addr = "2001:db8::a".parse().expect("an address");
        let b: std::net::Ipv6Addr = "2001:db8::b".parse().expect("an address");
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv6(a.octets(), b.octets(), 64)
            .tcp(40000, 80, 1, 1000);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"").expect("memory takes it");
        bytes
    }

    fn ping6() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv6([0xfe; 16], [0xfd; 16], 64)
            .icmpv6_echo_request(1, 2);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"").expect("memory takes it");
        bytes
    }

    fn arp() -> Vec<u8> {
        let mut bytes = vec![0xff; 6];
        bytes.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend([2, 0, 0, 0, 0, 1, 10, 0, 1, 10, 0, 0, 0, 0, 0, 0, 10, 0, 1, 11]);
        bytes
    }

    #[test]
    fn a_filter_means_what_tcpdump_means_by_it() {
        let frames = [udp(5000, 53), tcp6(), ping6(), arp()];
        // udp tcp6 ping6 arp
        let cases = [
            ("", [true; 4]),
            ("arp", [false, false, false, true]),
            ("ip", [true, false, false, false]),
            ("ip6", [false, true, true, false]),
            ("udp", [true, false, false, false]),
            ("tcp", [false, true, false, false]),
            ("icmp", [false; 4]),
            ("icmp6", [false, false, true, false]),
            ("host 10.0.1.10", [true, false, false, true]),
            ("src host 10.0.1.10", [true, false, false, true]),
            ("dst host 10.0.1.10", [false; 4]),
            ("dst 10.0.1.11", [false, false, false, true]),
            ("net 10.0.0.0/16", [true, false, false, true]),
            ("net 10.0", [true, false, false, true]),
            ("net 2001:db8::/64", [false, true, false, false]),
            ("port 53", [true, false, false, false]),
            ("src port 53", [false; 4]),
            ("udp port 53", [true, false, false, false]),
            ("tcp port 53", [false; 4]),
            ("tcp dst port 80", [false, true, false, false]),
            ("portrange 50-90", [true, true, false, false]),
            ("not arp", [true, true, true, false]),
            ("!arp", [true, true, true, false]),
            ("not not arp", [false, false, false, true]),
            ("arp or icmp6", [false, false, true, true]),
            ("arp||icmp6", [false, false, true, true]),
            ("not (arp or icmp6)", [true, true, false, false]),
            ("not arp or icmp6", [true, true, true, false]),
            // The same precedence for both, from the left: (arp or ip6) and tcp.
            ("arp or ip6 and tcp", [false, true, false, false]),
            ("arp or (ip6 and tcp)", [false, true, false, true]),
            ("ether host 02:00:00:00:00:02", [true, true, true, false]),
            ("ether dst ff:ff:ff:ff:ff:ff", [false, false, false, true]),
        ];
        for (text, expected) in cases {
            let filter: Filter = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let found = frames.each_ref().map(|frame| filter.matches(frame));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut frame = udp(5000, 53);
        frame[20..22].copy_from_slice(&185_u16.to_be_bytes());
        assert!(!"port 53".parse::<Filter>().expect("a filter").matches(&frame));
        assert!("udp".parse::<Filter>().expect("a filter").matches(&frame));
    }

    #[test]
    fn what_is_no_filter_is_refused_in_words() {
        let deep = format!("{}arp{}", "(".repeat(100), ")".repeat(100));
        let cases = [
            ("foo", "'foo'"),
            ("host", "ends"),
            ("host 10.0.0", "'10.0.0'"),
            ("net 10.0.0.1/16", "bits behind"),
            ("net 10.0.0.0.0", "'10.0.0.0.0'"),
            ("port 65536", "'65536'"),
            ("udp and", "ends"),
            ("(udp", "')'"),
            ("udp)", "')'"),
            ("udp tcp", "'tcp'"),
            ("and udp", "'and'"),
            ("ether 02:00:00:00:00:02", "ether"),
            (&deep, "nested"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Filter>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
