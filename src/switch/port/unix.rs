//! Implements a port on a unix datagram socket: one datagram is one frame. QEMU uses it with `-netdev
//! dgram,local.type=unix,local.path=B,remote.type=unix,remote.path=A`, where A is this side's path; or with `-netdev
//! dgram,local.type=fd,local.str=N` on one end of a pair of sockets.
//!
//! The kernel limits the frames that wait for the guest (`net.unix.max_dgram_qlen`, 10 by default): a guest that reads
//! slowly loses frames, which are counted.
//!
//! There is no connection to lose. While a peer is absent or restarts, the frames sent to it are lost and counted, and
//! nothing else is.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use super::vnet::VnetHeader;
use super::{HEADER, PortError, ReceiveError, SendError, without_header};

/// `SO_SNDBUF`: bytes of datagrams on their way to the peer; the kernel caps it at `net.core.wmem_max`.
const SEND_BUFFER: usize = 4 << 20;

/// A bound socket and the path of its peer, or one end of a pair.
#[derive(Debug)]
pub struct UnixPort {
    fd: OwnedFd,
    path: PathBuf,
    /// None for an end of a pair, which has its peer.
    peer: Option<SocketAddrUnix>,
    mtu: u16,
}

impl UnixPort {
    /// Binds `path` and sends to `peer`, which need not exist yet. A socket file without a listener is replaced; one in
    /// use, or a file of another kind, is an error.
    pub fn bind(path: &Path, peer: &Path, mtu: u16) -> Result<Self, PortError> {
        let remote = SocketAddrUnix::new(peer).map_err(failed(peer, "reading the path"))?;
        let fd = bind(path, SocketType::DGRAM)?;
        // A smaller buffer is no error: it drops sooner.
        sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER).map_err(failed(path, "sizing the buffer"))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            peer: Some(remote),
            mtu,
        })
    }

    /// Uses one end of a pair of sockets.
    pub fn from_fd(fd: OwnedFd, mtu: u16) -> Result<Self, PortError> {
        let unusable = |reason| PortError::UnusableSocket { reason };
        let is_unix = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
        if !is_unix || sockopt::socket_type(&fd) != Ok(SocketType::DGRAM) {
            return Err(unusable("it is no unix datagram socket"));
        }
        if rustix::net::getpeername(&fd).is_err() {
            return Err(unusable("it is not connected"));
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|_| unusable("it cannot be read without waiting"))?;
        let path = PathBuf::from("a datagram socket");
        sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER).map_err(failed(&path, "sizing the buffer"))?;
        Ok(Self {
            fd,
            path,
            peer: None,
            mtu,
        })
    }

    /// The path of this side.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest IP packet in bytes that is sent here.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// See [`PortDevice::receive`](super::PortDevice::receive).
    pub fn receive(&self, slot: &mut [u8]) -> Result<usize, ReceiveError> {
        slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
        match rustix::net::recv(&self.fd, &mut slot[HEADER..], RecvFlags::empty()) {
            // An empty datagram is no frame and no end of file.
            Ok((_, 0)) => Err(ReceiveError::Failed(Errno::MSGSIZE)),
            Ok((_, length)) => Ok(length),
            Err(Errno::AGAIN | Errno::INTR) => Err(ReceiveError::Empty),
            Err(error) => Err(ReceiveError::Failed(error)),
        }
    }

    /// See [`PortDevice::send`](super::PortDevice::send).
    pub fn send(&self, slot: &[u8]) -> Result<(), SendError> {
        let (frame, flags) = (&slot[HEADER..], SendFlags::NOSIGNAL);
        let outcome = match &self.peer {
            // By path every time: the peer may be another process by now.
            Some(peer) => rustix::net::sendto(&self.fd, frame, flags, peer),
            None => rustix::net::send(&self.fd, frame, flags),
        };
        outcome.map(drop).map_err(send_error)
    }

    /// See [`PortDevice::send_pieces`](super::PortDevice::send_pieces).
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        let bare = without_header(pieces);
        let mut ancillary = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL;
        let outcome = match &self.peer {
            Some(peer) => rustix::net::sendmsg_addr(&self.fd, peer, &bare, &mut ancillary, flags),
            None => rustix::net::sendmsg(&self.fd, &bare, &mut ancillary, flags),
        };
        outcome.map(drop).map_err(send_error)
    }
}

impl AsFd for UnixPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for UnixPort {
    fn drop(&mut self) {
        if self.peer.is_some() {
            // The file is only a name for the socket; it may have been removed already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An error of an operation on the socket at a path.
pub(super) fn failed(path: &Path, operation: &'static str) -> impl FnOnce(Errno) -> PortError + use<> {
    let path = path.to_owned();
    move |source| PortError::Socket {
        path,
        operation,
        source,
    }
}

/// A new socket that is bound to `path`, in place of a socket file that no process has open.
pub(super) fn bind(path: &Path, kind: SocketType) -> Result<OwnedFd, PortError> {
    let local = SocketAddrUnix::new(path).map_err(failed(path, "reading the path"))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd =
        rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).map_err(failed(path, "making a socket"))?;
    match rustix::net::bind(&fd, &local) {
        Err(Errno::ADDRINUSE) if is_stale(path, &local, kind) => {
            std::fs::remove_file(path).map_err(|error| PortError::Socket {
                path: path.to_owned(),
                operation: "removing a stale socket",
                source: error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error),
            })?;
            rustix::net::bind(&fd, &local).map_err(failed(path, "binding"))?;
        }
        outcome => outcome.map_err(failed(path, "binding"))?,
    }
    Ok(fd)
}

/// True when `path` is a socket file without a listener.
fn is_stale(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    // A listener whose queue is full would be waited for.
    let Ok(probe) = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK, None) else {
        return false;
    };
    is_socket && rustix::net::connect(&probe, address) == Err(Errno::CONNREFUSED)
}

#[cold]
pub(super) fn send_error(error: Errno) -> SendError {
    match error {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => SendError::Full,
        Errno::NOENT | Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET | Errno::PIPE => SendError::NoPeer,
        other => SendError::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn slot(frame: &[u8]) -> Vec<u8> {
        let mut slot = vec![0; HEADER];
        slot.extend_from_slice(frame);
        slot
    }

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (ours, theirs) = (directory.path().join("switch"), directory.path().join("guest"));
        (directory, ours, theirs)
    }

    #[test]
    fn one_end_of_a_pair_sends_to_the_other_and_counts_what_is_lost_when_that_has_gone() {
        let (ours, guest) = UnixDatagram::pair().expect("sockets can be made");
        let port = UnixPort::from_fd(ours.into(), 9001).expect("it is connected");
        guest.send(&[7; 60]).expect("the port is there");
        let mut buffer = vec![0xa5; HEADER + 9_100];
        assert_eq!(port.receive(&mut buffer), Ok(60));
        assert_eq!(&buffer[..HEADER], &VnetHeader::PLAIN);
        assert_eq!(port.receive(&mut buffer), Err(ReceiveError::Empty));
        port.send(&slot(&[9; 42])).expect("the guest is there");
        let pieces = slot(&[1, 2]);
        port.send_pieces(&[IoSlice::new(&pieces), IoSlice::new(&[3, 4])])
            .expect("the guest is there");
        let mut got = [0; 100];
        assert_eq!(guest.recv(&mut got).expect("a frame is queued"), 42);
        assert_eq!(guest.recv(&mut got).expect("a frame is queued"), 4);
        assert_eq!(got[..4], [1, 2, 3, 4]);
        drop(guest);
        for _ in 0..2 {
            assert_eq!(port.send(&slot(&[9; 42])), Err(SendError::NoPeer));
        }
    }

    #[test]
    fn a_descriptor_that_is_no_end_of_a_pair_of_datagram_sockets_is_refused() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("sockets can be made");
        let alone = UnixDatagram::unbound().expect("a socket can be made");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        for fd in [stream.into(), OwnedFd::from(alone), udp.into()] {
            let error = UnixPort::from_fd(fd, 1500).expect_err("it is no end of a pair");
            assert!(matches!(error, PortError::UnusableSocket { .. }), "{error}");
        }
    }

    #[test]
    fn one_datagram_is_one_frame_in_both_directions() {
        let (_directory, ours, theirs) = place();
        let port = UnixPort::bind(&ours, &theirs, 9001).expect("the path is free");
        let guest = UnixDatagram::bind(&theirs).expect("the path is free");

        guest.send_to(&[7; 60], &ours).expect("the port is bound");
        guest.send_to(&[8; 9015], &ours).expect("the port is bound");
        let mut buffer = vec![0xa5; HEADER + 9_100];
        assert_eq!(port.receive(&mut buffer), Ok(60));
        assert_eq!(&buffer[..HEADER], &VnetHeader::PLAIN);
        assert_eq!(&buffer[HEADER..HEADER + 60], &[7; 60]);
        assert_eq!(port.receive(&mut buffer), Ok(9015));
        assert_eq!(port.receive(&mut buffer), Err(ReceiveError::Empty));

        port.send(&slot(&[9; 42])).expect("the guest is there");
        let pieces = slot(&[1, 2]);
        port.send_pieces(&[IoSlice::new(&pieces), IoSlice::new(&[3, 4])])
            .expect("the guest is there");
        let mut got = [0; 100];
        assert_eq!(guest.recv(&mut got).expect("a frame is queued"), 42);
        assert_eq!(guest.recv(&mut got).expect("a frame is queued"), 4);
        assert_eq!(got[..4], [1, 2, 3, 4]);
    }

    #[test]
    fn a_missing_guest_costs_frames_only_and_may_come_and_go() {
        let (_directory, ours, theirs) = place();
        let port = UnixPort::bind(&ours, &theirs, 1500).expect("the path is free");
        assert_eq!(port.send(&slot(&[1; 60])), Err(SendError::NoPeer));
        let guest = UnixDatagram::bind(&theirs).expect("the path is free");
        assert_eq!(port.send(&slot(&[1; 60])), Ok(()));
        drop(guest);
        assert_eq!(
            port.send(&slot(&[1; 60])),
            Err(SendError::NoPeer),
            "the file is left, the guest is not"
        );
        std::fs::remove_file(&theirs).expect("the file is there");
        let _again = UnixDatagram::bind(&theirs).expect("the path is free");
        assert_eq!(port.send(&slot(&[1; 60])), Ok(()));
    }

    #[test]
    fn a_full_guest_is_reported_and_not_waited_for() {
        let (_directory, ours, theirs) = place();
        let port = UnixPort::bind(&ours, &theirs, 1500).expect("the path is free");
        let _guest = UnixDatagram::bind(&theirs).expect("the path is free");
        let frame = slot(&[0; 1514]);
        let full = (0..100_000).find_map(|_| port.send(&frame).err());
        assert_eq!(full, Some(SendError::Full));
    }

    #[test]
    fn a_stale_socket_file_is_taken_over_and_a_live_one_is_not() {
        let (_directory, ours, theirs) = place();
        drop(UnixDatagram::bind(&ours).expect("the path is free"));
        let port = UnixPort::bind(&ours, &theirs, 1500).expect("no process listens at the file");
        assert!(
            UnixPort::bind(&ours, &theirs, 1500).is_err(),
            "the first port is still there"
        );
        drop(port);
        assert!(!ours.exists(), "the file goes with the port");
        std::fs::write(&ours, "not a socket").expect("the directory can be written");
        assert!(
            UnixPort::bind(&ours, &theirs, 1500).is_err(),
            "a file is not overwritten"
        );
    }
}
