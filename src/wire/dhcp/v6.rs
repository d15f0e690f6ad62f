//! DHCPv6 messages (RFC 8415).

use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, UnknownOption};
pub use dhcproto::v6::{MessageType, OptionCode};
use dhcproto::{Encodable, Encoder};
use ipnet::Ipv6Net;

use super::{Malformed, TooLong, once};
use crate::wire::MacAddr;

/// The server's port.
pub const SERVER_PORT: u16 = 547;
/// The client's port.
pub const CLIENT_PORT: u16 = 546;
/// `ff02::1:2`, All_DHCP_Relay_Agents_and_Servers (RFC 8415 section 7.1).
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// The number of identity associations in a message, and of addresses and prefixes in all of them: enough for a host,
/// and few enough for a short answer.
const MOST_ASSOCIATIONS: usize = 16;
const MOST_LEASES: usize = 32;

/// Octets of a DUID: a type of two and at most 128 more (RFC 8415 section 11.1).
const DUID: std::ops::RangeInclusive<usize> = 3..=130;

/// The kind of an identity association (RFC 8415 sections 21.4, 21.5, 21.21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Association {
    /// IA_NA.
    Addresses,
    /// IA_TA.
    TemporaryAddresses,
    /// IA_PD.
    Prefixes,
}

/// An identity association of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAssociation {
    /// Its kind.
    pub kind: Association,
    /// IAID, chosen by the client.
    pub id: u32,
    /// The addresses that the client has or requests.
    pub addresses: Vec<Ipv6Addr>,
    /// The prefixes that the client has or requests.
    pub prefixes: Vec<Ipv6Net>,
}

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its type. Nothing else is read of a relay agent's message.
    pub kind: MessageType,
    /// Transaction.
    pub xid: [u8; 3],
    /// The client's DUID.
    pub client: Option<&'a [u8]>,
    /// DUID of the server that the client selected.
    pub server: Option<&'a [u8]>,
    /// Whether the client accepts a Reply to its Solicit.
    pub rapid_commit: bool,
    /// The identity associations in their order.
    pub associations: Vec<IdentityAssociation>,
    /// The codes of the Option Request option, two octets each.
    wanted: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads a message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&[kind, a, b, c], options) = bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        let mut request = Self {
            kind: kind.into(),
            xid: [a, b, c],
            client: None,
            server: None,
            rapid_commit: false,
            associations: Vec::new(),
            wanted: None,
        };
        if matches!(request.kind, MessageType::RelayForw | MessageType::RelayRepl) {
            return Ok(request);
        }
        each_option(options, |code, value| request.option(code, value))?;
        let leases: usize = request
            .associations
            .iter()
            .map(|one| one.addresses.len() + one.prefixes.len())
            .sum();
        if request.associations.len() > MOST_ASSOCIATIONS || leases > MOST_LEASES {
            return Err(Malformed);
        }
        Ok(request)
    }

    fn option(&mut self, code: OptionCode, value: &'a [u8]) -> Result<(), Malformed> {
        match code {
            OptionCode::ClientId | OptionCode::ServerId if !DUID.contains(&value.len()) => Err(Malformed),
            OptionCode::ClientId => once(&mut self.client, value),
            OptionCode::ServerId => once(&mut self.server, value),
            OptionCode::ORO if !value.len().is_multiple_of(2) => Err(Malformed),
            OptionCode::ORO => once(&mut self.wanted, value),
            OptionCode::RapidCommit if !value.is_empty() => Err(Malformed),
            OptionCode::RapidCommit => {
                self.rapid_commit = true;
                Ok(())
            }
            OptionCode::IANA => self.association(Association::Addresses, 12, value),
            OptionCode::IATA => self.association(Association::TemporaryAddresses, 4, value),
            OptionCode::IAPD => self.association(Association::Prefixes, 12, value),
            _ => Ok(()),
        }
    }

    /// Reads an identity association whose options begin after `fixed` octets. Servers read one level of options only.
    fn association(&mut self, kind: Association, fixed: usize, value: &[u8]) -> Result<(), Malformed> {
        let (head, options) = value.split_at_checked(fixed).ok_or(Malformed)?;
        let &[a, b, c, d, ..] = head else { return Err(Malformed) };
        let mut association = IdentityAssociation {
            kind,
            id: u32::from_be_bytes([a, b, c, d]),
            addresses: Vec::new(),
            prefixes: Vec::new(),
        };
        each_option(options, |code, value| {
            match (code, kind) {
                (OptionCode::IAAddr, Association::Addresses | Association::TemporaryAddresses) => {
                    let (&address, rest) = value.split_first_chunk::<16>().ok_or(Malformed)?;
                    // The client's lifetimes are hints, which are ignored.
                    rest.first_chunk::<8>().ok_or(Malformed)?;
                    association.addresses.push(address.into());
                }
                (OptionCode::IAPrefix, Association::Prefixes) => {
                    let (&[.., length], rest) = value.split_first_chunk::<9>().ok_or(Malformed)?;
                    let &prefix = rest.first_chunk::<16>().ok_or(Malformed)?;
                    association
                        .prefixes
                        .push(Ipv6Net::new(prefix.into(), length).map_err(|_| Malformed)?);
                }
                _ => {}
            }
            Ok(())
        })?;
        self.associations.push(association);
        Ok(())
    }

    /// Whether the client requests an option.
    pub fn wants(&self, code: OptionCode) -> bool {
        let code = u16::from(code).to_be_bytes();
        self.wanted
            .is_some_and(|list| list.chunks_exact(2).any(|wanted| wanted == code))
    }
}

/// Calls `read` for each option of a field. One that runs past the end makes the field malformed.
fn each_option<'a>(
    mut rest: &'a [u8],
    mut read: impl FnMut(OptionCode, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let (&[a, b, c, d], after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let (value, after) = after.split_at_checked(length).ok_or(Malformed)?;
        read(u16::from_be_bytes([a, b]).into(), value)?;
        rest = after;
    }
    Ok(())
}

/// The DUID-LL of a server with this MAC (RFC 8415 section 11.4).
pub fn link_layer_duid(mac: MacAddr) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac.0;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// A domain as an option that holds a list of names: labels without compression (RFC 8415 section 10).
pub fn domain_list<'a>(code: OptionCode, domains: impl Iterator<Item = &'a str>) -> DhcpOption {
    let mut data = Vec::new();
    for domain in domains {
        for label in domain.split('.').filter(|label| !label.is_empty()) {
            // A label has at most 63 octets. Domains are validated before; a longer label would be cut.
            let label = &label.as_bytes()[..label.len().min(63)];
            data.push(label.len() as u8);
            data.extend_from_slice(label);
        }
        data.push(0);
    }
    DhcpOption::Unknown(UnknownOption::new(code, data))
}

/// Writes a server's message with its options in the given order.
pub fn write(kind: MessageType, xid: [u8; 3], options: &[DhcpOption]) -> Result<Vec<u8>, TooLong> {
    let mut bytes = vec![u8::from(kind), xid[0], xid[1], xid[2]];
    for option in options {
        let mut encoded = Vec::new();
        option.encode(&mut Encoder::new(&mut encoded)).map_err(|_| TooLong)?;
        bytes.extend_from_slice(&encoded);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SOLICIT as `systemd-networkd` sends it: rapid commit, an address and a prefix.
    fn solicit() -> Vec<u8> {
        let mut bytes = vec![1, 0x12, 0x34, 0x56];
        bytes.extend([0, 14, 0, 0]);
        bytes.extend([0, 3, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0, 25, 0, 41, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0, 26, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 80]);
        bytes.extend("2001:db8:0:1:2::".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([0, 6, 0, 4, 0, 23, 0, 24]);
        bytes.extend([0, 1, 0, 10, 0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
        bytes.extend([0, 8, 0, 2, 0, 0]);
        bytes
    }

    #[test]
    fn a_solicit_is_read_option_by_option() {
        let bytes = solicit();
        let read = Request::parse(&bytes).unwrap();
        assert_eq!((read.kind, read.xid), (MessageType::Solicit, [0x12, 0x34, 0x56]));
        assert_eq!(read.client, Some(&[0, 3, 0, 1, 1, 2, 3, 4, 5, 6][..]));
        assert_eq!(read.server, None);
        assert!(read.rapid_commit);
        assert!(read.wants(OptionCode::DomainNameServers) && read.wants(OptionCode::DomainSearchList));
        assert!(!read.wants(OptionCode::NtpServer));
        let [addresses, prefixes] = &read.associations[..] else {
            panic!("{read:?}")
        };
        assert_eq!((addresses.kind, addresses.id), (Association::Addresses, 7));
        assert_eq!((prefixes.kind, prefixes.id), (Association::Prefixes, 8));
        assert_eq!(prefixes.prefixes, ["2001:db8:0:1:2::/80".parse().unwrap()]);
    }

    #[test]
    fn what_lies_about_itself_is_malformed() {
        let option = |code: u8, value: &[u8]| [&[0, code, 0, value.len() as u8][..], value].concat();
        let cases: [(&str, Vec<u8>); 11] = [
            ("cut header", vec![1, 2, 3]),
            ("cut option header", [solicit(), vec![0, 8, 0]].concat()),
            ("option over the end", [solicit(), vec![0, 8, 0, 9, 1]].concat()),
            ("two client identifiers", [solicit(), option(1, &[0; 10])].concat()),
            (
                "client identifier of two octets",
                [vec![1, 0, 0, 0], option(1, &[0, 3])].concat(),
            ),
            (
                "client identifier of 131 octets",
                [vec![1, 0, 0, 0], option(1, &[0; 131])].concat(),
            ),
            ("association without number", [solicit(), option(3, &[0; 11])].concat()),
            ("address without lifetimes", {
                let address = option(5, &[0; 16]);
                [solicit(), option(3, &[&[0; 12][..], &address].concat())].concat()
            }),
            ("prefix of 129 bits", {
                let prefix = option(26, &[&[0; 8][..], &[129], &[0; 16]].concat());
                [solicit(), option(25, &[&[0; 12][..], &prefix].concat())].concat()
            }),
            (
                "odd option request",
                [solicit()[..20].to_vec(), option(6, &[0, 23, 0])].concat(),
            ),
            (
                "seventeen associations",
                [vec![1, 0, 0, 0], option(3, &[0; 12]).repeat(17)].concat(),
            ),
        ];
        for (what, bytes) in cases {
            assert_eq!(Request::parse(&bytes), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn options_that_nest_without_end_are_not_followed() {
        let mut nested = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        while nested.len() < 60_000 {
            let length = (nested.len() as u16).to_be_bytes();
            let mut outer = vec![0; 12];
            outer.extend([0, 3, length[0], length[1]]);
            outer.extend(&nested);
            nested = outer;
        }
        let length = (nested.len() as u16).to_be_bytes();
        let message = [vec![1, 0, 0, 0, 0, 3, length[0], length[1]], nested].concat();
        assert_eq!(Request::parse(&message).unwrap().associations.len(), 1);
    }

    #[test]
    fn names_are_written_without_compression() {
        let option = domain_list(
            OptionCode::DomainSearchList,
            ["ec2.internal", "a.ec2.internal"].into_iter(),
        );
        let bytes = write(MessageType::Reply, [1, 2, 3], &[option]).unwrap();
        let expected = b"\x07\x01\x02\x03\0\x18\0\x1e\x03ec2\x08internal\0\x01a\x03ec2\x08internal\0";
        assert_eq!(bytes, expected);
    }
}
