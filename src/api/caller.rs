//! Finds out the user at the other end of a connection.
//!
//! A unix socket carries its peer's user (`SO_PEERCRED`, unix(7)). A TCP socket does not, but on loopback the peer's
//! socket belongs to this machine, and the kernel reports its user by `sock_diag(7)`. So the server can serve root and
//! its own user over TCP without a token, and require one of every other user of the machine.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use rustix::process::{Uid, geteuid};

/// The user at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Root, or the user that the server runs as.
    Owner,
    /// Another user of this machine.
    User(u32),
    /// A process of another machine, or one whose user cannot be found out.
    Unknown,
}

impl Caller {
    /// The caller for a user number.
    pub fn of_user(user: u32) -> Self {
        let uid = Uid::from_raw(user);
        if uid.is_root() || uid == geteuid() {
            Self::Owner
        } else {
            Self::User(user)
        }
    }

    /// Whether the caller may do all that the server may, so that nothing needs to be hidden from it.
    pub fn is_owner(self) -> bool {
        self == Self::Owner
    }
}

/// Looks up the user of a loopback TCP socket.
///
/// The netlink socket is opened once: a server without a free descriptor still recognizes its owner.
#[derive(Debug)]
pub struct SocketOwners {
    socket: Mutex<Option<Conversation>>,
}

#[derive(Debug)]
struct Conversation {
    socket: Socket,
    sequence: u32,
}

/// Large enough for one socket's answer with its optional attributes.
const ANSWER: usize = 4096;

impl SocketOwners {
    /// Opens the netlink socket. If that fails, no caller is known, and each needs the token.
    pub fn new() -> Self {
        let socket = Conversation::open().inspect_err(|error| {
            tracing::warn!(%error, "sock_diag is unavailable: over TCP every caller needs the token");
        });
        Self {
            socket: Mutex::new(socket.ok()),
        }
    }

    /// The user of the socket with the address `peer`, which is connected to `local` of this machine.
    pub fn caller(&self, peer: SocketAddr, local: SocketAddr) -> Caller {
        if !super::guard::is_loopback(peer.ip()) {
            return Caller::Unknown;
        }
        // A query interrupted by a panic leaves an answer in the socket, which its sequence number identifies.
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let found = socket.as_mut().map(|conversation| conversation.user(peer, local));
        match found {
            Some(Ok(Some(user))) => Caller::of_user(user),
            Some(Ok(None)) | None => Caller::Unknown,
            Some(Err(error)) => {
                tracing::debug!(%error, %peer, "whose socket it is cannot be found out");
                Caller::Unknown
            }
        }
    }
}

impl Default for SocketOwners {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    fn open() -> std::io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        // The kernel answers within the system call of the query.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The user of one socket; `None` for a socket that no process has open.
    fn user(&mut self, peer: SocketAddr, local: SocketAddr) -> std::io::Result<Option<u32>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&question(self.sequence, peer, local), 0)?;
        loop {
            let mut answer = vec![0; ANSWER];
            let length = self.socket.recv(&mut &mut answer[..], 0)?;
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(&answer[..length.min(ANSWER)])
                .map_err(std::io::Error::other)?;
            // An answer to an earlier query, which was interrupted.
            if message.header.sequence_number != self.sequence {
                continue;
            }
            return match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                    // A socket that its process has closed has no inode, and the kernel gives 0 for its user (inet_diag.c,
                    // `inet_twsk_diag_fill`; `sock_i_uid`): a client that sends and closes at once is not root.
                    Ok((found.header.inode != 0).then_some(found.header.uid))
                }
                NetlinkPayload::Error(error) => match error.to_io() {
                    gone if gone.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    error => Err(error),
                },
                _ => Ok(None),
            };
        }
    }
}

/// Queries the one socket whose own address is `peer`: the connection as its other end sees it.
fn question(sequence: u32, peer: SocketAddr, local: SocketAddr) -> Vec<u8> {
    // An IPv6 socket with mapped addresses is found by IPv4, as its packets are.
    let (source, destination) = (peer.ip().to_canonical(), local.ip().to_canonical());
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let request = InetRequest {
        family: if source.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: peer.port(),
            destination_port: local.port(),
            source_address: source,
            destination_address: destination,
            interface_id: 0,
            cookie: [0xff; 8],
        },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connected(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn the_user_of_a_loopback_socket_is_found() {
        let owners = SocketOwners::new();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = connected(address);
            let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
            assert_eq!(owners.caller(peer, local), Caller::Owner, "{address}");
            drop(client);
        }
    }

    #[test]
    fn a_client_that_has_closed_its_socket_has_no_user() {
        let owners = SocketOwners::new();
        let (client, server) = connected("127.0.0.1:0");
        let (peer, local) = (server.peer_addr().unwrap(), server.local_addr().unwrap());
        drop(client);
        assert_eq!(owners.caller(peer, local), Caller::Unknown);
        drop(server);
        assert_eq!(owners.caller(peer, local), Caller::Unknown);
    }

    #[test]
    fn an_address_of_another_machine_is_not_looked_up() {
        let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
        assert_eq!(SocketOwners::new().caller(peer, local), Caller::Unknown);
    }

    #[test]
    fn root_and_the_servers_own_user_are_owners() {
        assert_eq!(Caller::of_user(0), Caller::Owner);
        assert_eq!(Caller::of_user(geteuid().as_raw()), Caller::Owner);
        let other = geteuid().as_raw().wrapping_add(4711).max(1);
        assert_eq!(Caller::of_user(other), Caller::User(other));
    }
}
