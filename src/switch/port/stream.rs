//! Implements a port on a unix stream socket: in front of each frame is its length, four octets, most significant first.
//! QEMU uses it with `-netdev stream,addr.type=unix,addr.path=PATH`, as a client of this side or, with `server=on`, as
//! its server; and with `-netdev socket,fd=N` on one end of a pair of sockets (QEMU, `net/stream.c` and `net/net.c`).
//!
//! Unlike datagrams ([`unix`](super::unix)) the frames that wait for the guest are limited in octets and not in number, and
//! both sides notice when the other has gone. A port that listens then waits for the next guest; one that was connected is
//! lost. There is one guest at a time: a second one waits in the listener's queue until the first has gone.
//!
//! The worker waits for one descriptor, an epoll set of the port's own. It holds the listener or the connection.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, sockopt,
};

use super::unix::{bind, failed, send_error};
use super::vnet::VnetHeader;
use super::{HEADER, LARGEST_FRAME, PortError, ReceiveError, SendError, without_header};

/// Octets of the length in front of a frame.
const LENGTH: usize = 4;

/// Guests that may wait until the present one has gone, in addition to one more (listen(2)).
const BACKLOG: i32 = 1;

/// A socket that listens, or a connection.
#[derive(Debug)]
pub struct StreamPort {
    /// An epoll set, readable when the listener has a guest or the connection has data.
    ready: OwnedFd,
    listener: Option<OwnedFd>,
    path: PathBuf,
    mtu: u16,
    connection: ArcSwapOption<Connection>,
}

impl StreamPort {
    /// Listens at `path`. A socket file without a listener is replaced; one in use, or a file of another kind, is an error.
    pub fn listen(path: &Path, mtu: u16) -> Result<Self, PortError> {
        let fd = bind(path, SocketType::STREAM)?;
        // From here on the port removes the file.
        let port = Self::new(Some(fd), path, mtu)?;
        if let Some(listener) = &port.listener {
            rustix::net::listen(listener, BACKLOG).map_err(failed(path, "listening"))?;
            watch(&port.ready, listener.as_fd()).map_err(failed(path, "watching"))?;
        }
        Ok(port)
    }

    /// Connects to a guest that listens at `path`.
    pub fn connect(path: &Path, mtu: u16) -> Result<Self, PortError> {
        let address = SocketAddrUnix::new(path).map_err(failed(path, "reading the path"))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(failed(path, "making a socket"))?;
        rustix::net::connect(&fd, &address).map_err(failed(path, "connecting"))?;
        Self::connected(fd, path, mtu)
    }

    /// Uses one end of a connection, such as a pair of sockets.
    pub fn from_fd(fd: OwnedFd, mtu: u16) -> Result<Self, PortError> {
        let unusable = |reason| PortError::UnusableSocket { reason };
        let is_unix = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX);
        if !is_unix || sockopt::socket_type(&fd) != Ok(SocketType::STREAM) {
            return Err(unusable("it is no unix stream socket"));
        }
        if rustix::net::getpeername(&fd).is_err() {
            return Err(unusable("it is not connected"));
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|_| unusable("it cannot be read without waiting"))?;
        Self::connected(fd, Path::new("a stream socket"), mtu)
    }

    fn connected(fd: OwnedFd, path: &Path, mtu: u16) -> Result<Self, PortError> {
        let port = Self::new(None, path, mtu)?;
        watch(&port.ready, fd.as_fd()).map_err(failed(path, "watching"))?;
        port.connection.store(Some(Arc::new(Connection::new(fd))));
        Ok(port)
    }

    fn new(listener: Option<OwnedFd>, path: &Path, mtu: u16) -> Result<Self, PortError> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed(path, "making an epoll set"))?;
        Ok(Self {
            ready,
            listener,
            path: path.to_owned(),
            mtu,
            connection: ArcSwapOption::empty(),
        })
    }

    /// The path of the socket that listens, here or at the guest.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest IP packet in bytes that is sent here.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// See [`PortDevice::receive`](super::PortDevice::receive).
    pub fn receive(&self, slot: &mut [u8]) -> Result<usize, ReceiveError> {
        let Some(connection) = self.connection.load_full().or_else(|| self.accept()) else {
            return Err(if self.listener.is_some() {
                ReceiveError::Empty
            } else {
                ReceiveError::Lost
            });
        };
        if connection.unsent.load(Ordering::Relaxed) {
            // What fails here fails again where a frame is sent, and is reported there.
            let _ = connection.outgoing().flush(&self.ready, &connection);
        }
        slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
        let outcome = connection.incoming().receive(&connection.fd, &mut slot[HEADER..]);
        match outcome {
            Ok(length) => Ok(length),
            Err(Unread::Nothing) => Err(ReceiveError::Empty),
            Err(Unread::NoFrame) => Err(ReceiveError::Length),
            // Where the next frame begins cannot be known.
            Err(Unread::TooLong) => {
                self.close(&connection);
                Err(ReceiveError::Length)
            }
            Err(Unread::Gone) => {
                self.close(&connection);
                Err(if self.listener.is_some() {
                    ReceiveError::Empty
                } else {
                    ReceiveError::Lost
                })
            }
        }
    }

    /// See [`PortDevice::send`](super::PortDevice::send).
    pub fn send(&self, slot: &[u8]) -> Result<(), SendError> {
        let frame = &slot[HEADER..];
        self.write(&[IoSlice::new(&length_of(frame.len())), IoSlice::new(frame)])
    }

    /// See [`PortDevice::send_pieces`](super::PortDevice::send_pieces).
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        let mut pieces = without_header(pieces);
        let length = length_of(pieces.iter().map(|piece| piece.len()).sum());
        pieces.insert(0, IoSlice::new(&length));
        self.write(&pieces)
    }

    /// Writes a frame behind its length, all of it or nothing: what the kernel does not take is sent before the next frame.
    fn write(&self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        let connection = self.connection.load();
        let connection = connection.as_ref().ok_or(SendError::NoPeer)?;
        let mut outgoing = connection.outgoing();
        outgoing.flush(&self.ready, connection)?;
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::net::sendmsg(&connection.fd, pieces, &mut SendAncillaryBuffer::default(), flags)
            .map_err(send_error)?;
        if sent < pieces.iter().map(|piece| piece.len()).sum() {
            outgoing.keep(pieces, sent);
            connection.unsent.store(true, Ordering::Relaxed);
            let more = EventFlags::IN | EventFlags::OUT;
            // It fails only when the connection was closed in the meantime.
            let _ = epoll::modify(&self.ready, &connection.fd, EventData::new_u64(0), more);
        }
        Ok(())
    }

    /// Takes the next guest.
    #[cold]
    fn accept(&self) -> Option<Arc<Connection>> {
        let listener = self.listener.as_ref()?;
        // An error other than "none there" is the guest's: it has gone already.
        let fd = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        watch(&self.ready, fd.as_fd()).ok()?;
        // Further guests wait, and would wake the worker all the time.
        let _ = epoll::delete(&self.ready, listener);
        let connection = Arc::new(Connection::new(fd));
        self.connection.store(Some(Arc::clone(&connection)));
        Some(connection)
    }

    /// Gives a connection up. Called where it is read, by one thread.
    #[cold]
    fn close(&self, connection: &Connection) {
        self.connection.store(None);
        // A thread that is sending may hold the socket for a moment longer, so it does not leave the set by itself.
        let _ = epoll::delete(&self.ready, &connection.fd);
        let _ = rustix::net::shutdown(&connection.fd, rustix::net::Shutdown::Both);
        if let Some(listener) = &self.listener {
            // It fails only where the kernel has no memory left for it.
            let _ = watch(&self.ready, listener.as_fd());
        }
    }
}

impl AsFd for StreamPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

impl Drop for StreamPort {
    fn drop(&mut self) {
        if self.listener.is_some() {
            // The file is only a name for the socket; it may have been removed already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn watch(set: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    epoll::add(set, fd, EventData::new_u64(0), EventFlags::IN)
}

fn length_of(frame: usize) -> [u8; LENGTH] {
    // No frame is longer than LARGEST_FRAME.
    (frame as u32).to_be_bytes()
}

/// A guest.
#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// Whether a part of a frame waits to be sent.
    unsent: AtomicBool,
}

impl Connection {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            incoming: Mutex::new(Incoming {
                length: [0; LENGTH],
                lengths: 0,
                frame: vec![0; LARGEST_FRAME].into(),
                octets: 0,
            }),
            outgoing: Mutex::new(Outgoing {
                rest: vec![0; LENGTH + LARGEST_FRAME].into(),
                from: 0,
                to: 0,
            }),
            unsent: AtomicBool::new(false),
        }
    }

    /// Used by the worker that reads the port.
    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Used by all workers: frames of a stream are written one after the other.
    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why no frame was read.
#[derive(Debug)]
enum Unread {
    /// It is not there yet, or not all of it.
    Nothing,
    /// A length of 0.
    NoFrame,
    /// A length that no frame has.
    TooLong,
    /// The guest has closed the connection.
    Gone,
}

/// What was read of the next frame.
#[derive(Debug)]
struct Incoming {
    length: [u8; LENGTH],
    /// Octets of the length that were read.
    lengths: usize,
    /// The beginning of a frame that was not there as a whole.
    frame: Box<[u8]>,
    octets: usize,
}

impl Incoming {
    /// Reads a frame to `room`. One call of the kernel reads it and the length of the next one.
    fn receive(&mut self, fd: &OwnedFd, room: &mut [u8]) -> Result<usize, Unread> {
        while self.lengths < LENGTH {
            self.lengths += read(fd, &mut [IoSliceMut::new(&mut self.length[self.lengths..])])?;
        }
        let length = u32::from_be_bytes(self.length) as usize;
        if length == 0 {
            self.lengths = 0;
            return Err(Unread::NoFrame);
        }
        let room = room
            .get_mut(..length)
            .filter(|_| length <= LARGEST_FRAME)
            .ok_or(Unread::TooLong)?;
        loop {
            let mut next = [0; LENGTH];
            let start = self.octets;
            // A frame that is there as a whole needs no copy.
            let target = if start == 0 {
                &mut *room
            } else {
                &mut self.frame[start..length]
            };
            let octets = read(fd, &mut [IoSliceMut::new(target), IoSliceMut::new(&mut next)])?;
            if start + octets < length {
                if start == 0 {
                    self.frame[..octets].copy_from_slice(&room[..octets]);
                }
                self.octets += octets;
                continue;
            }
            if start > 0 {
                room.copy_from_slice(&self.frame[..length]);
            }
            (self.octets, self.length, self.lengths) = (0, next, start + octets - length);
            return Ok(length);
        }
    }
}

fn read(fd: &OwnedFd, pieces: &mut [IoSliceMut<'_>]) -> Result<usize, Unread> {
    match rustix::io::readv(fd, pieces) {
        Ok(0) => Err(Unread::Gone),
        Ok(octets) => Ok(octets),
        Err(Errno::AGAIN | Errno::INTR) => Err(Unread::Nothing),
        Err(_) => Err(Unread::Gone),
    }
}

/// The rest of a frame of which the kernel has taken a part.
#[derive(Debug)]
struct Outgoing {
    rest: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Outgoing {
    /// Keeps what is behind the first `sent` octets.
    #[cold]
    fn keep(&mut self, pieces: &[IoSlice<'_>], sent: usize) {
        let mut skip = sent;
        (self.from, self.to) = (0, 0);
        for piece in pieces {
            let rest = &piece[skip.min(piece.len())..];
            skip -= piece.len() - rest.len();
            let to = self.to + rest.len();
            self.rest[self.to..to].copy_from_slice(rest);
            self.to = to;
        }
    }

    /// Sends what was kept. An error if a part of it is still there.
    #[inline]
    fn flush(&mut self, ready: &OwnedFd, connection: &Connection) -> Result<(), SendError> {
        if self.from == self.to {
            return Ok(());
        }
        self.send_rest(ready, connection)
    }

    #[cold]
    fn send_rest(&mut self, ready: &OwnedFd, connection: &Connection) -> Result<(), SendError> {
        while self.from < self.to {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            self.from +=
                rustix::net::send(&connection.fd, &self.rest[self.from..self.to], flags).map_err(send_error)?;
        }
        connection.unsent.store(false, Ordering::Relaxed);
        // It fails only when the connection was closed in the meantime.
        let _ = epoll::modify(ready, &connection.fd, EventData::new_u64(0), EventFlags::IN);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
