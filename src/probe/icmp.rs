//! Sends ICMP and ICMPv6 echo requests (RFC 792, RFC 4443 section 4) over a raw socket.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use tokio::net::UdpSocket;

use super::stream::{number, payload};
use crate::wire::checksum::Sum;

/// A socket that sends echo requests to one address.
pub(super) struct Echo {
    /// A raw socket in std's type for datagrams: a connected socket of any kind sends and receives in the same way.
    socket: UdpSocket,
    v6: bool,
    identifier: u16,
}

impl Echo {
    pub(super) fn open(target: IpAddr) -> io::Result<Self> {
        let v6 = target.is_ipv6();
        let (family, protocol) = if v6 {
            (AddressFamily::INET6, ipproto::ICMPV6)
        } else {
            (AddressFamily::INET, ipproto::ICMP)
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
        connect(&socket, &SocketAddr::new(target, 0))?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            v6,
            identifier: rand::random(),
        })
    }

    pub(super) async fn send(&self, sequence: u64) -> io::Result<()> {
        let message = request(self.v6, self.identifier, sequence);
        self.socket.send(&message).await.map(drop)
    }

    /// The number of the request that an answer belongs to.
    pub(super) async fn receive(&self) -> io::Result<Option<(u64, Option<String>)>> {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).await?;
        Ok(answer(self.v6, self.identifier, &buffer[..length]).map(|number| (number, None)))
    }
}

fn request(v6: bool, identifier: u16, sequence: u64) -> Vec<u8> {
    let kind = if v6 { 128 } else { 8 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    // The full number is in the payload.
    message.extend((sequence as u16).to_be_bytes());
    message.extend(payload(sequence));
    if !v6 {
        // The kernel computes it for ICMPv6 (RFC 3542 section 3.1).
        let sum = Sum::new().bytes(&message).complement();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The number in an echo reply; a raw IPv4 socket returns the IP header too.
fn answer(v6: bool, identifier: u16, bytes: &[u8]) -> Option<u64> {
    let message = if v6 {
        bytes
    } else {
        bytes.get(usize::from(bytes.first()? & 0x0f) * 4..)?
    };
    let (header, rest) = message.split_first_chunk::<8>()?;
    let reply = if v6 { 129 } else { 0 };
    let same = u16::from_be_bytes([header[4], header[5]]) == identifier;
    if header[0] != reply || !same {
        return None;
    }
    number(rest).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_by_its_identifier_and_number() {
        for v6 in [false, true] {
            let mut reply = request(v6, 0x1234, 70_000);
            reply[0] = if v6 { 129 } else { 0 };
            if !v6 {
                assert_eq!(
                    Sum::new().bytes(&request(v6, 1, 2)).complement(),
                    0,
                    "the checksum is right"
                );
                reply = [vec![0x45; 1], vec![0; 19], reply].concat();
            }
            assert_eq!(answer(v6, 0x1234, &reply), Some(70_000));
            assert_eq!(answer(v6, 0x1235, &reply), None, "another probe's");
            assert_eq!(answer(v6, 0x1234, &reply[..reply.len() - 1]), None, "cut short");
        }
        assert_eq!(answer(false, 1, &[]), None);
    }
}
