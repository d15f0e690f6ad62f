//! Reads and writes whole Ethernet frames at a port: one system call per frame, or one for several that go to TAPs
//! ([`uring`]). A port never blocks.
//!
//! Every port has the same form of a frame: [`HEADER`] bytes of offload header ([`vnet`]) directly followed by the
//! frame. A port without such a header (a plain TAP, a unix socket) leaves those bytes zero on reading and skips
//! them on writing, so that a worker moves frames between different kinds of port without copying.
//!
//! `unsafe` is allowed in this folder only; each use states its invariant.

#![allow(unsafe_code)]

mod ioctl;
pub mod memory;
pub mod segment;
pub mod stream;
pub mod tap;
pub mod unix;
pub mod uring;
pub mod vnet;

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;

pub use memory::MemoryPort;
pub use stream::StreamPort;
pub use tap::{TapOptions, TapPort};
pub use unix::UnixPort;
pub use uring::Ring;
pub use vnet::{Offload, VnetHeader};

/// Bytes of offload header before each frame in a worker's buffers.
pub const HEADER: usize = vnet::VnetHeader::LENGTH;

/// Bytes of an Ethernet header without a tag.
pub const ETHERNET: usize = 14;

/// The largest frame that a port delivers: an IP packet of 65,535 bytes behind an Ethernet header with one tag.
pub const LARGEST_FRAME: usize = 65_535 + ETHERNET + 4;

/// The offloads that a port supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Accepts frames whose transport checksum is still to be computed.
    pub checksum: bool,
    /// Accepts TCP frames larger than the MTU, to be segmented by the receiver (both IP versions).
    pub tcp_segmentation: bool,
    /// The same for UDP (`UDP_SEGMENT`).
    pub udp_segmentation: bool,
}

impl Capabilities {
    /// No offloads.
    pub const PLAIN: Self = Self {
        checksum: false,
        tcp_segmentation: false,
        udp_segmentation: false,
    };

    /// Whether a frame with this offload can be written unchanged.
    #[inline]
    pub fn accepts(self, offload: &Offload) -> bool {
        match offload {
            Offload::None => true,
            Offload::Checksum { .. } => self.checksum,
            Offload::Segment(segments) if segments.kind.is_tcp() => self.tcp_segmentation,
            Offload::Segment(_) => self.udp_segmentation,
        }
    }
}

/// Why a port could not be opened, adopted or changed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A Linux interface name has 1 to 15 bytes and neither `/` nor white space.
    #[error("`{name}` is not an interface name: 1 to 15 bytes, without `/`, `%` and white space")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// `/dev/net/tun` is missing or closed to this process.
    #[error("cannot open /dev/net/tun: {source}; load the `tun` module and run with CAP_NET_ADMIN")]
    NoTun {
        /// The kernel's error.
        source: std::io::Error,
    },
    /// Another process holds the TAP.
    #[error("TAP `{name}` is held by another process; end it, or give the TAP another name")]
    Busy {
        /// The TAP.
        name: String,
    },
    /// The device exists and is not a TAP, or has several queues.
    #[error("`{name}` exists and is not a TAP with one queue")]
    NotATap {
        /// The device.
        name: String,
    },
    /// The descriptor is not a usable TAP.
    #[error("the descriptor is no usable TAP: {reason}")]
    UnusableDescriptor {
        /// The reason.
        reason: &'static str,
    },
    /// The descriptor is not a usable socket.
    #[error("the descriptor is no usable socket: {reason}")]
    UnusableSocket {
        /// The reason.
        reason: &'static str,
    },
    /// Any other error of the kernel.
    #[error("{operation} on `{name}`: {source}")]
    Refused {
        /// The TAP.
        name: String,
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's error.
        source: Errno,
    },
    /// A unix socket could not be created.
    #[error("{operation} on {path}: {source}")]
    Socket {
        /// The socket's path.
        path: PathBuf,
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's error.
        source: Errno,
    },
}

/// Why a read returned no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// Nothing is queued.
    Empty,
    /// The length in front of a frame is one that no frame has.
    Length,
    /// The device is gone for good: close the port.
    Lost,
    /// This read failed; a later one may succeed.
    Failed(Errno),
}

/// Why a frame was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The receiver's queue is full, or there is no memory for it.
    Full,
    /// The host's interface is down.
    Down,
    /// The peer's socket does not exist.
    NoPeer,
    /// The device refuses this frame (too large, or an unsupported offload header).
    Refused(Errno),
    /// The device is gone for good: close the port.
    Lost,
}

/// A port of any kind, as an enum: the worker's match costs a predictable branch, not an indirect call.
#[derive(Debug)]
pub enum PortDevice {
    /// A TAP device.
    Tap(TapPort),
    /// A unix datagram socket.
    Unix(UnixPort),
    /// A unix stream socket.
    Stream(StreamPort),
    /// A cable in memory, for the stepped switch: it has no descriptor.
    Memory(MemoryPort),
}

impl PortDevice {
    /// Reads one frame into `slot` behind [`HEADER`] bytes of offload header, and returns the frame's length in bytes
    /// without the header. The kernel would silently truncate a frame longer than the slot, so a slot holds [`HEADER`]
    /// + [`LARGEST_FRAME`] bytes.
    #[inline]
    pub fn receive(&self, slot: &mut [u8]) -> Result<usize, ReceiveError> {
        match self {
            Self::Tap(tap) => tap.receive(slot),
            Self::Unix(unix) => unix.receive(slot),
            Self::Stream(stream) => stream.receive(slot),
            Self::Memory(cable) => cable.receive_into(slot),
        }
    }

    /// Writes one frame. `slot` is [`HEADER`] bytes of offload header followed by the frame; the header must not need
    /// more than [`Self::capabilities`].
    #[inline]
    pub fn send(&self, slot: &[u8]) -> Result<(), SendError> {
        match self {
            Self::Tap(tap) => tap.send(slot),
            Self::Unix(unix) => unix.send(slot),
            Self::Stream(stream) => stream.send(slot),
            Self::Memory(cable) => cable.send(slot.get(HEADER..).unwrap_or_default()),
        }
    }

    /// Writes one frame that is in several slices. The first begins with the offload header, as in [`Self::send`].
    #[inline]
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        match self {
            Self::Tap(tap) => tap.send_pieces(pieces),
            Self::Unix(unix) => unix.send_pieces(pieces),
            Self::Stream(stream) => stream.send_pieces(pieces),
            Self::Memory(cable) => {
                let frame: Vec<u8> = without_header(pieces).iter().flat_map(|piece| piece.to_vec()).collect();
                cable.send(&frame)
            }
        }
    }

    /// The device for a [`Ring`]; `None` where frames can be written one by one only.
    #[inline]
    pub fn in_batches(&self) -> Option<&TapPort> {
        match self {
            Self::Tap(tap) if tap.has_headers() => Some(tap),
            _ => None,
        }
    }

    /// The supported offloads.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Tap(tap) => tap.capabilities(),
            Self::Unix(_) | Self::Stream(_) | Self::Memory(_) => Capabilities::PLAIN,
        }
    }

    /// The largest IP packet in bytes that the host behind the port accepts.
    pub fn mtu(&self) -> u16 {
        match self {
            Self::Tap(tap) => tap.mtu(),
            Self::Unix(unix) => unix.mtu(),
            Self::Stream(stream) => stream.mtu(),
            Self::Memory(cable) => cable.mtu(),
        }
    }

    /// Sets the carrier that the host sees. Ports without a carrier ignore it.
    pub fn set_carrier(&self, up: bool) -> Result<(), PortError> {
        match self {
            Self::Tap(tap) => tap.set_carrier(up),
            Self::Unix(_) | Self::Stream(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// The descriptor to wait for; `None` for a cable in memory.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tap(tap) => Some(tap.as_fd()),
            Self::Unix(unix) => Some(unix.as_fd()),
            Self::Stream(stream) => Some(stream.as_fd()),
            Self::Memory(_) => None,
        }
    }

    /// A display name: the TAP's name, or the socket's path.
    pub fn name(&self) -> String {
        match self {
            Self::Tap(tap) => tap.name().to_owned(),
            Self::Unix(unix) => unix.path().display().to_string(),
            Self::Stream(stream) => stream.path().display().to_string(),
            Self::Memory(_) => "a cable in memory".to_owned(),
        }
    }
}

impl From<TapPort> for PortDevice {
    fn from(tap: TapPort) -> Self {
        Self::Tap(tap)
    }
}

impl From<StreamPort> for PortDevice {
    fn from(stream: StreamPort) -> Self {
        Self::Stream(stream)
    }
}

impl From<UnixPort> for PortDevice {
    fn from(unix: UnixPort) -> Self {
        Self::Unix(unix)
    }
}

/// The slices of a frame without its offload header. It may allocate, because frames in slices usually go to ports with
/// offload headers.
fn without_header<'a>(pieces: &[IoSlice<'a>]) -> Vec<IoSlice<'a>> {
    let mut pieces = pieces.to_vec();
    let mut rest = pieces.as_mut_slice();
    IoSlice::advance_slices(&mut rest, HEADER);
    rest.to_vec()
}
