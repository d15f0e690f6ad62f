//! Defines the packets of a firewall rule: a protocol with its ports, or with its ICMP types and codes.
//!
//! Security groups and network ACLs share this, and so do their REST form and the EC2 API's (EC2 API, IpPermission): a
//! rule for all protocols, or for one other than TCP, UDP, ICMP and ICMPv6, covers all ports whatever range was given.
//! with.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The protocol number of ICMP.
pub const ICMP: u8 = 1;
/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of UDP.
pub const UDP: u8 = 17;
/// The protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Direction of packets, as seen from the interface or subnet that a rule protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

impl Direction {
    /// AWS's word for rules of this direction.
    pub const fn adjective(self) -> &'static str {
        match self {
            Self::Egress => "outbound",
            Self::Ingress => "inbound",
        }
    }

    /// The other one.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// An IP protocol, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// All of them.
    All,
    /// The one with this number.
    Number(u8),
}

impl Protocol {
    /// As the EC2 API spells it back in a security group: a name for four protocols, else the number; `-1` for all.
    pub fn ec2_name(self) -> String {
        match self {
            Self::All => "-1".to_owned(),
            Self::Number(_) => self.to_string(),
        }
    }

    /// As the EC2 API spells it in a network ACL: always a number.
    pub fn ec2_number(self) -> String {
        match self {
            Self::All => "-1".to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Number(ICMP) => f.write_str("icmp"),
            Self::Number(TCP) => f.write_str("tcp"),
            Self::Number(UDP) => f.write_str("udp"),
            Self::Number(ICMPV6) => f.write_str("icmpv6"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for Protocol {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Self, TrafficError> {
        match text.to_ascii_lowercase().as_str() {
            "all" | "-1" => Ok(Self::All),
            "icmp" => Ok(Self::Number(ICMP)),
            "tcp" => Ok(Self::Number(TCP)),
            "udp" => Ok(Self::Number(UDP)),
            "icmpv6" => Ok(Self::Number(ICMPV6)),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| TrafficError::Protocol { given: text.to_owned() }),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text, or a number where a file has one.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Number(i64),
    Text(String),
}

impl TextOrNumber {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = TextOrNumber::deserialize(deserializer)?.text();
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    from: u16,
    to: u16,
}

impl Ports {
    /// Every port.
    pub const ALL: Self = Self { from: 0, to: u16::MAX };

    /// The ports from one to another; none if the first is above the last.
    pub fn new(from: u16, to: u16) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// The first.
    pub fn from(self) -> u16 {
        self.from
    }

    /// The last.
    pub fn to(self) -> u16 {
        self.to
    }

    /// As a range.
    pub fn range(self) -> RangeInclusive<u16> {
        self.from..=self.to
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (0, u16::MAX) => f.write_str("all"),
            (from, to) if from == to => from.fmt(f),
            (from, to) => write!(f, "{from}-{to}"),
        }
    }
}

impl FromStr for Ports {
    type Err = TrafficError;

    fn from_str(text: &str) -> Result<Self, TrafficError> {
        let wrong = || TrafficError::Ports { given: text.to_owned() };
        if text == "all" {
            return Ok(Self::ALL);
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse().map_err(|_| wrong());
        Self::new(port(from)?, port(to)?).ok_or_else(wrong)
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = TextOrNumber::deserialize(deserializer)?.text();
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Messages of ICMP or ICMPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Messages {
    /// All of them.
    All,
    /// Those of one type, with all its codes.
    Type(u8),
    /// Those of one type and code.
    Code(u8, u8),
}

impl Messages {
    /// Those of a type and code, each of which may be left open; a code without a type means nothing.
    pub fn new(kind: Option<u8>, code: Option<u8>) -> Result<Self, TrafficError> {
        match (kind, code) {
            (None, None) => Ok(Self::All),
            (Some(kind), None) => Ok(Self::Type(kind)),
            (Some(kind), Some(code)) => Ok(Self::Code(kind, code)),
            (None, Some(_)) => Err(TrafficError::CodeWithoutType),
        }
    }

    /// The type; none if all are meant.
    pub fn kind(self) -> Option<u8> {
        match self {
            Self::All => None,
            Self::Type(kind) | Self::Code(kind, _) => Some(kind),
        }
    }

    /// The code; none if all are meant.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Code(_, code) => Some(code),
            Self::All | Self::Type(_) => None,
        }
    }
}

/// The packets that a rule is about, addresses aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// All.
    All,
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// These messages of ICMP.
    Icmp(Messages),
    /// These messages of ICMPv6.
    Icmpv6(Messages),
    /// Another protocol by its number; it has no ports that a rule knows of.
    Other(u8),
}

impl Traffic {
    /// The protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::All => Protocol::All,
            Self::Tcp(_) => Protocol::Number(TCP),
            Self::Udp(_) => Protocol::Number(UDP),
            Self::Icmp(_) => Protocol::Number(ICMP),
            Self::Icmpv6(_) => Protocol::Number(ICMPV6),
            Self::Other(number) => Protocol::Number(number),
        }
    }

    /// The destination ports, where the protocol has some.
    pub fn ports(self) -> Option<Ports> {
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => Some(ports),
            Self::All | Self::Icmp(_) | Self::Icmpv6(_) | Self::Other(_) => None,
        }
    }

    /// The messages, where the protocol has some.
    pub fn messages(self) -> Option<Messages> {
        match self {
            Self::Icmp(messages) | Self::Icmpv6(messages) => Some(messages),
            Self::All | Self::Tcp(_) | Self::Udp(_) | Self::Other(_) => None,
        }
    }

    /// Reads the fields of this API: what is left out means all.
    pub fn of_fields(
        protocol: Protocol,
        ports: Option<Ports>,
        kind: Option<u8>,
        code: Option<u8>,
    ) -> Result<Self, TrafficError> {
        let has_messages = kind.is_some() || code.is_some();
        match protocol {
            Protocol::Number(ICMP | ICMPV6) if ports.is_some() => Err(TrafficError::PortsOfIcmp),
            Protocol::Number(ICMP) => Ok(Self::Icmp(Messages::new(kind, code)?)),
            Protocol::Number(ICMPV6) => Ok(Self::Icmpv6(Messages::new(kind, code)?)),
            _ if has_messages => Err(TrafficError::TypeWithoutIcmp { protocol }),
            Protocol::Number(TCP) => Ok(Self::Tcp(ports.unwrap_or(Ports::ALL))),
            Protocol::Number(UDP) => Ok(Self::Udp(ports.unwrap_or(Ports::ALL))),
            Protocol::All | Protocol::Number(_) if ports.is_some_and(|ports| ports != Ports::ALL) => {
                Err(TrafficError::PortsOfOther { protocol })
            }
            Protocol::All => Ok(Self::All),
            Protocol::Number(number) => Ok(Self::Other(number)),
        }
    }

    /// Reads `IpProtocol`, `FromPort` and `ToPort` of the EC2 API: for ICMP the ports are a type and a code, and -1 is
    /// any of them.
    pub fn of_ec2(protocol: Protocol, from: Option<i64>, to: Option<i64>) -> Result<Self, TrafficError> {
        match protocol {
            Protocol::All => Ok(Self::All),
            Protocol::Number(TCP) => Ok(Self::Tcp(ec2_ports(protocol, from, to)?)),
            Protocol::Number(UDP) => Ok(Self::Udp(ec2_ports(protocol, from, to)?)),
            Protocol::Number(ICMP) => Ok(Self::Icmp(ec2_messages(
                from.ok_or(TrafficError::NoPorts { protocol })?,
                to.ok_or(TrafficError::NoPorts { protocol })?,
            )?)),
            // All types may be left out for ICMPv6, and for no other protocol.
            Protocol::Number(ICMPV6) => Ok(Self::Icmpv6(ec2_messages(from.unwrap_or(-1), to.unwrap_or(-1))?)),
            Protocol::Number(number) => Ok(Self::Other(number)),
        }
    }

    /// `FromPort` and `ToPort` of the EC2 API; none where it gives none.
    pub fn ec2_range(self) -> Option<(i32, i32)> {
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => Some((ports.from.into(), ports.to.into())),
            Self::Icmp(messages) | Self::Icmpv6(messages) => {
                let open = |number: Option<u8>| number.map_or(-1, i32::from);
                Some((open(messages.kind()), open(messages.code())))
            }
            Self::All | Self::Other(_) => None,
        }
    }
}

fn ec2_ports(protocol: Protocol, from: Option<i64>, to: Option<i64>) -> Result<Ports, TrafficError> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(TrafficError::NoPorts { protocol });
    };
    let port = |given: i64| u16::try_from(given).map_err(|_| TrafficError::PortRange { given });
    Ports::new(port(from)?, port(to)?).ok_or(TrafficError::PortOrder { from, to })
}

fn ec2_messages(kind: i64, code: i64) -> Result<Messages, TrafficError> {
    let number = |what, given: i64| match given {
        -1 => Ok(None),
        given => u8::try_from(given)
            .map(Some)
            .map_err(|_| TrafficError::MessageRange { what, given }),
    };
    Messages::new(number("type", kind)?, number("code", code)?)
}

/// `tcp 80-90`, `icmp type 8 code 0`, `protocol 112`, `all`.
impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "protocol {number}"),
            Self::Tcp(Ports::ALL) | Self::Udp(Ports::ALL) => self.protocol().fmt(f),
            Self::Tcp(ports) | Self::Udp(ports) => write!(f, "{} {ports}", self.protocol()),
            Self::Icmp(messages) | Self::Icmpv6(messages) => {
                self.protocol().fmt(f)?;
                if let Some(kind) = messages.kind() {
                    write!(f, " type {kind}")?;
                }
                match messages.code() {
                    Some(code) => write!(f, " code {code}"),
                    None => Ok(()),
                }
            }
            Self::All => f.write_str("all"),
        }
    }
}

/// Ports, messages or a protocol that cannot be, in EC2's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// No protocol of this name or number.
    #[error("Invalid value '{given}' for IP protocol. Unknown protocol.")]
    Protocol {
        /// As given.
        given: String,
    },
    /// Text that is no port and no range of ports.
    #[error("Invalid value '{given}' for ports")]
    Ports {
        /// As given.
        given: String,
    },
    /// A port that there is not.
    #[error("Invalid value '{given}' for portRange. TCP/UDP port ({given}) out of range")]
    PortRange {
        /// As given.
        given: i64,
    },
    /// A range that ends before it begins.
    #[error("Invalid TCP/UDP port range ({from}:{to})")]
    PortOrder {
        /// The first port.
        from: i64,
        /// The last.
        to: i64,
    },
    /// A protocol that needs ports, without them.
    #[error("The protocol {protocol} needs a range: FromPort and ToPort")]
    NoPorts {
        /// The protocol.
        protocol: Protocol,
    },
    /// An ICMP type or code that there is not.
    #[error("ICMP {what} ({given}) out of range")]
    MessageRange {
        /// `type` or `code`.
        what: &'static str,
        /// As given.
        given: i64,
    },
    /// A code where the type is open.
    #[error("An ICMP code needs a type: with type -1 the code is -1 as well")]
    CodeWithoutType,
    /// Ports of a protocol that has types.
    #[error("ICMP has no ports")]
    PortsOfIcmp,
    /// Types of a protocol that has none.
    #[error("Protocol '{protocol}' has no ICMP types")]
    TypeWithoutIcmp {
        /// The protocol.
        protocol: Protocol,
    },
    /// Ports of a protocol of which a rule covers all.
    #[error("A rule about protocol '{protocol}' covers all ports")]
    PortsOfOther {
        /// The protocol.
        protocol: Protocol,
    },
}

impl TrafficError {
    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoPorts { .. } => "MissingParameter",
            _ => "InvalidParameterValue",
        }
    }

    /// The field at fault, in this API's spelling.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Protocol { .. } => "protocol",
            Self::MessageRange { what, .. } if matches!(what.as_bytes(), b"code") => "icmp_code",
            Self::MessageRange { .. } | Self::CodeWithoutType | Self::TypeWithoutIcmp { .. } => "icmp_type",
            Self::Ports { .. }
            | Self::PortRange { .. }
            | Self::PortOrder { .. }
            | Self::NoPorts { .. }
            | Self::PortsOfIcmp
            | Self::PortsOfOther { .. } => "ports",
        }
    }

    /// What to do about it, as a sentence.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Protocol { .. } => {
                "Write tcp, udp, icmp, icmpv6, all, or a number from 0 to 255, as in 112 for VRRP."
            }
            Self::Ports { .. } | Self::PortRange { .. } | Self::PortOrder { .. } => {
                "Write a port from 0 to 65535, a range such as 8000-8080, or all."
            }
            Self::NoPorts { .. } => "Give both, as in 0 and 65535 for all ports, or -1 and -1 for all ICMP types.",
            Self::MessageRange { .. } => "Write a number from 0 to 255, or -1 for all.",
            Self::CodeWithoutType => "Give the type as well, or leave out the code.",
            Self::PortsOfIcmp => "Give icmp_type and icmp_code instead, or neither for all messages.",
            Self::TypeWithoutIcmp { .. } => "Leave out icmp_type and icmp_code, or make the protocol icmp or icmpv6.",
            Self::PortsOfOther { .. } => "Leave out the ports, or make the protocol tcp or udp.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(text: &str) -> Protocol {
        text.parse().unwrap()
    }

    #[test]
    fn ec2_spells_four_protocols_by_name_and_the_others_by_number() {
        for (given, name, number) in [
            ("tcp", "tcp", "6"),
            ("6", "tcp", "6"),
            ("UDP", "udp", "17"),
            ("1", "icmp", "1"),
            ("58", "icmpv6", "58"),
            ("112", "112", "112"),
            ("-1", "-1", "-1"),
            ("all", "-1", "-1"),
        ] {
            let read = protocol(given);
            assert_eq!((read.ec2_name().as_str(), read.ec2_number().as_str()), (name, number));
        }
        for wrong in ["vrrp", "256", "-2", ""] {
            assert!(wrong.parse::<Protocol>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_of_ec2_is_read_by_the_rules_of_its_protocol() {
        let read = |name: &str, from, to| Traffic::of_ec2(protocol(name), from, to);
        let ports = |from, to| Ports::new(from, to).unwrap();
        for (name, from, to, expected) in [
            ("tcp", Some(80), Some(90), Traffic::Tcp(ports(80, 90))),
            ("udp", Some(0), Some(65535), Traffic::Udp(Ports::ALL)),
            ("icmp", Some(8), Some(0), Traffic::Icmp(Messages::Code(8, 0))),
            ("icmp", Some(3), Some(-1), Traffic::Icmp(Messages::Type(3))),
            ("icmp", Some(-1), Some(-1), Traffic::Icmp(Messages::All)),
            ("icmpv6", None, None, Traffic::Icmpv6(Messages::All)),
            // Whatever range is given.
            ("-1", Some(80), Some(80), Traffic::All),
            ("112", Some(80), None, Traffic::Other(112)),
        ] {
            assert_eq!(read(name, from, to), Ok(expected), "{name} {from:?} {to:?}");
        }
        for (name, from, to, said) in [
            ("tcp", None, None, "FromPort"),
            ("tcp", Some(90), Some(80), "(90:80)"),
            ("tcp", Some(-1), Some(-1), "out of range"),
            ("udp", Some(1), Some(65536), "out of range"),
            ("icmp", None, None, "FromPort"),
            ("icmp", Some(-1), Some(0), "code needs a type"),
            ("icmp", Some(256), Some(0), "type (256)"),
            ("icmpv6", Some(1), Some(300), "code (300)"),
        ] {
            let error = read(name, from, to).unwrap_err().to_string();
            assert!(error.contains(said), "{name} {from:?} {to:?}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_of_the_own_fields_means_all() {
        let read = |name: &str, ports: Option<&str>, kind, code| {
            Traffic::of_fields(protocol(name), ports.map(|text| text.parse().unwrap()), kind, code)
        };
        assert_eq!(read("tcp", None, None, None), Ok(Traffic::Tcp(Ports::ALL)));
        assert_eq!(
            read("tcp", Some("80"), None, None).map(|t| t.to_string()),
            Ok("tcp 80".into())
        );
        assert_eq!(
            read("udp", Some("53-54"), None, None).map(|t| t.to_string()),
            Ok("udp 53-54".into())
        );
        assert_eq!(read("icmp", None, None, None), Ok(Traffic::Icmp(Messages::All)));
        assert_eq!(read("all", None, None, None), Ok(Traffic::All));
        for (name, ports, kind, code, field) in [
            ("icmp", Some("80"), None, None, "ports"),
            ("icmp", None, None, Some(1), "icmp_type"),
            ("tcp", None, Some(8), None, "icmp_type"),
            ("112", Some("80"), None, None, "ports"),
        ] {
            assert_eq!(read(name, ports, kind, code).unwrap_err().field(), field);
        }
    }

    #[test]
    fn a_range_that_was_written_is_read_back() {
        for (text, range) in [
            ("80", Some((80, 80))),
            ("1024-65535", Some((1024, 65535))),
            ("all", Some((0, 65535))),
            ("90-80", None),
            ("x", None),
            ("65536", None),
        ] {
            let read = text.parse::<Ports>().ok();
            assert_eq!(read.map(|ports| (ports.from(), ports.to())), range, "{text}");
            if let Some(ports) = read {
                assert_eq!(ports.to_string(), text);
            }
        }
    }
}
