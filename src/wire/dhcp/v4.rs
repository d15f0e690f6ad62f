//! DHCPv4 messages (RFC 2131, RFC 2132).

use std::net::Ipv4Addr;

use dhcproto::v4::DhcpOption;
pub use dhcproto::v4::{MessageType, OptionCode};
use dhcproto::{Encodable, Encoder};

use super::{Malformed, TooLong, once};
use crate::wire::MacAddr;

/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;

/// Octets before the options, magic cookie included.
const HEADER: usize = 240;
/// RFC 2131 section 3: the magic cookie before the options.
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The shortest BOOTP message (RFC 1542 section 2.1); some clients drop shorter ones.
const SHORTEST: usize = 300;
/// RFC 2131 section 2: the IP packet, headers included, that every client must accept.
const SMALLEST_MAXIMUM: u16 = 576;
const IP_AND_UDP: usize = 28;
/// The broadcast bit of the flags (RFC 2131 figure 2).
const BROADCAST: u16 = 0x8000;

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: [u8; 2] = [1, 6];

/// A client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Option 53; `None` is BOOTP.
    pub kind: Option<MessageType>,
    /// Transaction.
    pub xid: u32,
    /// The client asks for answers by broadcast.
    pub broadcast: bool,
    /// `ciaddr`: the address that the client already uses, 0.0.0.0 for none.
    pub client_address: Ipv4Addr,
    /// `giaddr`: the relay agent, 0.0.0.0 for none.
    pub relay: Ipv4Addr,
    /// `chaddr`.
    pub hardware: MacAddr,
    /// Option 50: the address that the client requests.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that the client selected.
    pub server: Option<Ipv4Addr>,
    /// Option 55: codes of the options that the client requests; `None` without a list.
    pub parameters: Option<Vec<u8>>,
    /// Option 57: the longest IP packet that the client accepts.
    pub longest: Option<u16>,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 52: which header fields contain options too.
    overload: Option<u8>,
}

impl Request {
    /// Parses a client's message over Ethernet. A server's message is malformed here.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed)?;
        if header[0] != BOOT_REQUEST || header[1..3] != ETHERNET || header[236..] != MAGIC {
            return Err(Malformed);
        }
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let mut request = Self {
            kind: None,
            xid: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            broadcast: u16::from_be_bytes([header[10], header[11]]) & BROADCAST != 0,
            client_address: address(12),
            relay: address(24),
            hardware: MacAddr::from_slice(&header[28..]).ok_or(Malformed)?,
            requested: None,
            server: None,
            parameters: None,
            longest: None,
            client_id: None,
            overload: None,
        };
        request.read(&bytes[HEADER..])?;
        // RFC 2131 section 4.1: the fields named by option 52 are read after the options field, `file` first.
        let overload = request.overload.unwrap_or(0);
        if overload & 1 != 0 {
            request.read(&header[108..236])?;
        }
        if overload & 2 != 0 {
            request.read(&header[44..108])?;
        }
        Ok(request)
    }

    /// Reads options up to the end marker or the end of the field.
    fn read(&mut self, mut rest: &[u8]) -> Result<(), Malformed> {
        while let Some((&code, after)) = rest.split_first() {
            rest = match code {
                0 => after,
                255 => return Ok(()),
                _ => {
                    let (&length, after) = after.split_first().ok_or(Malformed)?;
                    let (value, after) = after.split_at_checked(usize::from(length)).ok_or(Malformed)?;
                    self.option(code, value)?;
                    after
                }
            };
        }
        Ok(())
    }

    fn option(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed> {
        match code {
            50 => once(&mut self.requested, four(value)?.into()),
            52 => once(&mut self.overload, one(value)?),
            53 => once(&mut self.kind, MessageType::from(one(value)?)),
            54 => once(&mut self.server, four(value)?.into()),
            57 => once(
                &mut self.longest,
                u16::from_be_bytes(value.try_into().map_err(|_| Malformed)?),
            ),
            // RFC 3396: the pieces of a long option are concatenated.
            55 => {
                self.parameters.get_or_insert_default().extend_from_slice(value);
                Ok(())
            }
            61 => {
                self.client_id.get_or_insert_default().extend_from_slice(value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the client requests an option. Without a list it gets all.
    pub fn wants(&self, code: OptionCode) -> bool {
        self.parameters
            .as_ref()
            .is_none_or(|list| list.contains(&u8::from(code)))
    }
}

fn one(value: &[u8]) -> Result<u8, Malformed> {
    match value {
        [value] => Ok(*value),
        _ => Err(Malformed),
    }
}

fn four(value: &[u8]) -> Result<[u8; 4], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

/// A server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// OFFER, ACK or NAK.
    pub kind: MessageType,
    /// `ciaddr`.
    pub client_address: Ipv4Addr,
    /// `yiaddr`.
    pub your_address: Ipv4Addr,
    /// The options that must be sent, in addition to the message type.
    pub options: Vec<DhcpOption>,
    /// Options that are left out, last first, when the message would be longer than the client accepts.
    pub extras: Vec<DhcpOption>,
}

impl Answer {
    /// Writes the message as an answer to `request`.
    pub fn write(&self, request: &Request) -> Result<Vec<u8>, TooLong> {
        // RFC 2131 section 4.1: never less than the minimum, whatever option 57 contains.
        let longest = usize::from(request.longest.unwrap_or(0).max(SMALLEST_MAXIMUM)) - IP_AND_UDP;
        let mut bytes = vec![0; HEADER];
        bytes[0] = BOOT_REPLY;
        bytes[1..3].copy_from_slice(&ETHERNET);
        bytes[4..8].copy_from_slice(&request.xid.to_be_bytes());
        let flags = if request.broadcast { BROADCAST } else { 0 };
        bytes[10..12].copy_from_slice(&flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.client_address.octets());
        bytes[16..20].copy_from_slice(&self.your_address.octets());
        bytes[28..34].copy_from_slice(&request.hardware.0);
        bytes[236..].copy_from_slice(&MAGIC);
        append(&mut bytes, &DhcpOption::MessageType(self.kind))?;
        for option in &self.options {
            append(&mut bytes, option)?;
        }
        if bytes.len() + 1 > longest {
            return Err(TooLong);
        }
        for extra in &self.extras {
            let before = bytes.len();
            append(&mut bytes, extra)?;
            if bytes.len() + 1 > longest {
                bytes.truncate(before);
                break;
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        Ok(bytes)
    }
}

fn append(bytes: &mut Vec<u8>, option: &DhcpOption) -> Result<(), TooLong> {
    let mut encoded = Vec::new();
    option.encode(&mut Encoder::new(&mut encoded)).map_err(|_| TooLong)?;
    bytes.extend_from_slice(&encoded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: MacAddr = MacAddr([0x0a, 0xca, 5, 0x9c, 0xfc, 0x14]);

    /// A REQUEST as `dhclient` sends it in the SELECTING state, written by hand.
    fn request() -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0x80, 0];
        bytes.extend([0; 16]);
        bytes.extend(HOST.0);
        bytes.extend([0; 10 + 64 + 128]);
        bytes.extend(MAGIC);
        bytes.extend([53, 1, 3, 54, 4, 10, 0, 1, 1, 50, 4, 10, 0, 1, 10]);
        bytes.extend([12, 4, 0xff, 0xfe, b'h', b'i']); // a host name that is not UTF-8 is the client's own affair
        bytes.extend([57, 2, 5, 220, 61, 3, 1, 2, 3, 55, 2, 1, 28, 0, 0, 55, 2, 3, 26, 255, 99]);
        bytes
    }

    #[test]
    fn a_request_is_read_field_by_field() {
        let expected = Request {
            kind: Some(MessageType::Request),
            xid: 0xdead_beef,
            broadcast: true,
            client_address: Ipv4Addr::UNSPECIFIED,
            relay: Ipv4Addr::UNSPECIFIED,
            hardware: HOST,
            requested: Some(Ipv4Addr::new(10, 0, 1, 10)),
            server: Some(Ipv4Addr::new(10, 0, 1, 1)),
            parameters: Some(vec![1, 28, 3, 26]),
            longest: Some(1500),
            client_id: Some(vec![1, 2, 3]),
            overload: None,
        };
        let read = Request::parse(&request()).unwrap();
        assert_eq!(read, expected);
        assert!(read.wants(OptionCode::InterfaceMtu));
        assert!(!read.wants(OptionCode::Hostname));
    }

    #[test]
    fn options_in_the_file_and_server_name_fields_count() {
        let mut bytes = request();
        bytes.truncate(HEADER);
        bytes.extend([52, 1, 3, 255]);
        bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
        bytes[44..51].copy_from_slice(&[50, 4, 10, 0, 1, 7, 255]);
        let read = Request::parse(&bytes).unwrap();
        assert_eq!(read.kind, Some(MessageType::Discover));
        assert_eq!(read.requested, Some(Ipv4Addr::new(10, 0, 1, 7)));
        assert!(read.wants(OptionCode::Hostname), "no list: everything");
    }

    #[test]
    fn what_lies_about_itself_is_malformed() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(&str, Change); 9] = [
            ("a reply", |b| b[0] = 2),
            ("not Ethernet", |b| b[1] = 6),
            ("hardware address of 255 octets", |b| b[2] = 255),
            ("no cookie", |b| b[236] = 0),
            ("cut header", |b| b.truncate(239)),
            ("cut option", |b| b.truncate(HEADER + 14)),
            ("code without length", |b| b.truncate(HEADER + 10)),
            ("address of three octets", |b| b[HEADER + 4] = 3),
            ("two kinds", |b| {
                b[HEADER + 3] = 53;
                b[HEADER + 4] = 1;
                b.truncate(HEADER + 6);
            }),
        ];
        for (what, change) in cases {
            let mut bytes = request();
            change(&mut bytes);
            assert_eq!(Request::parse(&bytes), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn an_answer_that_is_too_long_loses_its_extras_from_the_end() {
        let mut request = Request::parse(&request()).unwrap();
        let answer = Answer {
            kind: MessageType::Ack,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::new(10, 0, 1, 10),
            options: vec![DhcpOption::AddressLeaseTime(3600)],
            extras: vec![
                DhcpOption::Hostname("h".repeat(200)),
                DhcpOption::DomainName("d".repeat(200)),
            ],
        };
        let length = |request: &Request| answer.write(request).unwrap().len();
        let all = HEADER + 3 + 6 + 202 + 202 + 1;
        assert_eq!(length(&request), all);
        request.longest = Some(all as u16 + 28);
        assert_eq!(length(&request), all);
        request.longest = Some(all as u16 + 27);
        assert_eq!(length(&request), all - 202);
        request.longest = Some(20);
        assert_eq!(length(&request), all - 202, "every client takes 548 octets");
    }
}
