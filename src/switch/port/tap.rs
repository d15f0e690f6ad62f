//! Opens a TAP, the network card of a host, with offload headers so that the host's stack may leave checksums and
//! segmentation undone; or plain, where the kernel refuses headers or the user asks for plain frames.
//!
//! A persistent TAP remembers the settings of its last holder. Reopened without offload headers it would still deliver
//! unfinished checksums, with no header to say so. Therefore every mode sets every property explicitly.

use std::any::Any;
use std::fs::OpenOptions;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use rustix::io::Errno;

use super::vnet::VnetHeader;
use super::{Capabilities, HEADER, PortError, ReceiveError, SendError, ioctl, without_header};

/// How to open a TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapOptions {
    /// Use offload headers. Off: plain frames through the `tun-tap` crate, with complete checksums and no frame above
    /// the MTU, which is easier to read in captures and costs most of the throughput.
    pub offload: bool,
    /// Whether the host sees a carrier.
    pub carrier: bool,
    /// The MTU in bytes of the host's interface; the switch sends nothing larger. The code that creates the host sets
    /// it on the interface.
    pub mtu: u16,
}

impl Default for TapOptions {
    /// Offloads, a carrier, and the jumbo frames of a VPC.
    fn default() -> Self {
        Self {
            offload: true,
            carrier: true,
            mtu: 9001,
        }
    }
}

/// An open TAP. Dropping it removes the device, unless it is persistent.
#[derive(Debug)]
pub struct TapPort {
    fd: OwnedFd,
    name: String,
    /// Frames have an offload header of [`HEADER`] bytes.
    header: bool,
    capabilities: Capabilities,
    mtu: u16,
    /// Dropped after the descriptor.
    kept: Option<Box<dyn Any + Send + Sync>>,
}

impl TapPort {
    /// Opens the TAP `name` in the network namespace of the *current thread*, and creates it if there is none. It does
    /// not find a persistent device of another namespace.
    pub fn open(name: &str, options: TapOptions) -> Result<Self, PortError> {
        check_name(name)?;
        if options.offload {
            match Self::open_with_headers(name, options) {
                // A kernel without IFF_VNET_HDR or TUNSETVNETHDRSZ: use plain frames.
                Err(PortError::Refused { operation: HEADERS, .. }) => {}
                outcome => return outcome,
            }
        }
        Self::open_plain(name, options)
    }

    /// Adopts a descriptor opened by a parent or a service manager, in whatever namespace its device is. The device
    /// must be a TAP without packet information; its offloads are set anew.
    pub fn from_fd(fd: OwnedFd, options: TapOptions) -> Result<Self, PortError> {
        let unusable = |reason| PortError::UnusableDescriptor { reason };
        let attached =
            ioctl::get_interface(fd.as_fd()).map_err(|_| unusable("it is not bound to a TUN or TAP device"))?;
        if attached.flags & ioctl::IFF_TAP == 0 {
            return Err(unusable(
                "it is a TUN device, which carries IP packets and no Ethernet frames",
            ));
        }
        if attached.flags & ioctl::IFF_NO_PI == 0 {
            return Err(unusable("it was opened without IFF_NO_PI"));
        }
        rustix::io::ioctl_fionbio(fd.as_fd(), true).map_err(refused(&attached.name, "FIONBIO"))?;
        Self::set_up(fd, attached.name, attached.flags & ioctl::IFF_VNET_HDR != 0, options)
    }

    fn open_with_headers(name: &str, options: TapOptions) -> Result<Self, PortError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|source| PortError::NoTun { source })?;
        let fd = OwnedFd::from(file);
        let carrier = if options.carrier { 0 } else { ioctl::IFF_NO_CARRIER };
        let flags = ioctl::IFF_TAP | ioctl::IFF_NO_PI | ioctl::IFF_VNET_HDR | carrier;
        let name = ioctl::set_interface(fd.as_fd(), name, flags).map_err(|error| open_error(name, error))?;
        Self::set_up(fd, name, true, options)
    }

    #[allow(unsafe_code)]
    fn open_plain(name: &str, options: TapOptions) -> Result<Self, PortError> {
        let device = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tap).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::ACCESS) | None => {
                    PortError::NoTun { source: error }
                }
                Some(errno) => open_error(name, errno),
            }
        })?;
        let name = device.name().to_owned();
        // SAFETY: into_raw_fd gives up the only owner of an open descriptor, and nothing else closes it.
        let fd = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
        rustix::io::ioctl_fionbio(fd.as_fd(), true).map_err(refused(&name, "FIONBIO"))?;
        Self::set_up(fd, name, false, options)
    }

    /// Sets every property that a device remembers.
    fn set_up(fd: OwnedFd, name: String, header: bool, options: TapOptions) -> Result<Self, PortError> {
        let capabilities = if header {
            ioctl::set_header_length(fd.as_fd(), HEADER).map_err(refused(&name, HEADERS))?;
            ioctl::set_little_endian(fd.as_fd()).map_err(refused(&name, HEADERS))?;
            let wanted = if options.offload { EVERYTHING } else { 0 };
            let granted = negotiate(fd.as_fd(), wanted).map_err(refused(&name, "TUNSETOFFLOAD"))?;
            Capabilities {
                // What may be *written* depends on the header, not on TUNSETOFFLOAD. Only UDP segmentation is newer
                // than the header; the bits that the kernel accepts show whether it is supported.
                checksum: true,
                tcp_segmentation: true,
                udp_segmentation: granted & USO == USO,
            }
        } else {
            ioctl::set_offload(fd.as_fd(), 0).map_err(refused(&name, "TUNSETOFFLOAD"))?;
            Capabilities::PLAIN
        };
        let port = Self {
            fd,
            name,
            header,
            capabilities,
            mtu: options.mtu,
            kept: None,
        };
        port.set_carrier(options.carrier)?;
        Ok(port)
    }

    /// Drops `kept` after the descriptor is closed. A keeper has a copy of it, which is the last then.
    #[must_use]
    pub fn kept_by(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept = Some(Box::new(kept));
        self
    }

    /// The interface's name in the namespace in which it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The supported offloads.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The largest IP packet in bytes that is sent here.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Sets the carrier. Without it the kernel silently discards what is written here.
    pub fn set_carrier(&self, up: bool) -> Result<(), PortError> {
        match ioctl::set_carrier(self.fd.as_fd(), up) {
            // Linux before 5.0 has no such request; there the carrier is always on.
            Err(Errno::INVAL | Errno::NOTTY) if up => Ok(()),
            outcome => outcome.map_err(refused(&self.name, "TUNSETCARRIER")),
        }
    }

    /// Sets whether the device, with its addresses and its MAC, outlives this process.
    pub fn set_persistent(&self, persistent: bool) -> Result<(), PortError> {
        ioctl::set_persistent(self.fd.as_fd(), persistent).map_err(refused(&self.name, "TUNSETPERSIST"))
    }

    /// See [`PortDevice::receive`](super::PortDevice::receive).
    #[inline]
    pub fn receive(&self, slot: &mut [u8]) -> Result<usize, ReceiveError> {
        let read = if self.header {
            rustix::io::read(&self.fd, &mut *slot).map(|length| length.saturating_sub(HEADER))
        } else {
            slot[..HEADER].copy_from_slice(&VnetHeader::PLAIN);
            rustix::io::read(&self.fd, &mut slot[HEADER..])
        };
        match read {
            Ok(0) => Err(ReceiveError::Failed(Errno::IO)),
            Ok(length) => Ok(length),
            Err(error) => Err(receive_error(error)),
        }
    }

    /// Whether frames have offload headers, so that a worker's slot is read and written as it is.
    #[inline]
    pub fn has_headers(&self) -> bool {
        self.header
    }

    /// See [`PortDevice::send`](super::PortDevice::send).
    #[inline]
    pub fn send(&self, slot: &[u8]) -> Result<(), SendError> {
        let bytes = if self.header { slot } else { &slot[HEADER..] };
        rustix::io::write(&self.fd, bytes).map(drop).map_err(send_error)
    }

    /// See [`PortDevice::send_pieces`](super::PortDevice::send_pieces).
    #[inline]
    pub fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        if self.header {
            return rustix::io::writev(&self.fd, pieces).map(drop).map_err(send_error);
        }
        rustix::io::writev(&self.fd, &without_header(pieces))
            .map(drop)
            .map_err(send_error)
    }
}

impl AsFd for TapPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TapPort {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// The operation that fails only on kernels without offload headers.
const HEADERS: &str = "TUNSETVNETHDRSZ";

/// Both bits together: the kernel takes neither alone.
const USO: u32 = ioctl::TUN_F_USO4 | ioctl::TUN_F_USO6;

/// All offloads that the switch passes through.
const EVERYTHING: u32 = ioctl::TUN_F_CSUM | ioctl::TUN_F_TSO4 | ioctl::TUN_F_TSO6 | ioctl::TUN_F_TSO_ECN | USO;

/// Sets as many bits of `wanted` as the kernel supports, and returns them. An older kernel refuses the whole request
/// for one unknown bit, so after a refusal the bits are tried one by one.
fn negotiate(fd: BorrowedFd<'_>, wanted: u32) -> Result<u32, Errno> {
    match ioctl::set_offload(fd, wanted) {
        Ok(()) => return Ok(wanted),
        Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let mut granted = 0;
    for bit in [
        ioctl::TUN_F_CSUM,
        ioctl::TUN_F_TSO4,
        ioctl::TUN_F_TSO6,
        ioctl::TUN_F_TSO_ECN,
        USO,
    ] {
        if wanted & bit == bit && ioctl::set_offload(fd, granted | bit).is_ok() {
            granted |= bit;
        }
    }
    // The last request may have been refused: set the result once more.
    ioctl::set_offload(fd, granted)?;
    Ok(granted)
}

/// The names that the kernel accepts (`dev_valid_name`), except those with `%`, which would be a pattern.
fn check_name(name: &str) -> Result<(), PortError> {
    let bad = |c: char| c == '/' || c == '%' || c == ':' || c == '\0' || c.is_whitespace();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name == "." || name == ".." || name.chars().any(bad) {
        return Err(PortError::InvalidName { name: name.to_owned() });
    }
    Ok(())
}

fn refused(name: &str, operation: &'static str) -> impl FnOnce(Errno) -> PortError {
    let name = name.to_owned();
    move |source| PortError::Refused {
        name,
        operation,
        source,
    }
}

/// TUNSETIFF returns EBUSY for a TAP in use, and EINVAL for another kind of device or a TAP with several queues.
fn open_error(name: &str, error: Errno) -> PortError {
    let name = name.to_owned();
    match error {
        Errno::BUSY => PortError::Busy { name },
        Errno::INVAL => PortError::NotATap { name },
        source => PortError::Refused {
            name,
            operation: "TUNSETIFF",
            source,
        },
    }
}

/// The result of a ring's write: octets, or a negative error.
#[inline]
pub(super) fn written(result: i32) -> Result<(), SendError> {
    if result < 0 {
        return Err(send_error(Errno::from_raw_os_error(-result)));
    }
    Ok(())
}

#[cold]
fn receive_error(error: Errno) -> ReceiveError {
    match error {
        Errno::AGAIN | Errno::INTR => ReceiveError::Empty,
        // EBADFD: the device was deleted with its namespace. EFAULT: it is being deleted (RCV_SHUTDOWN).
        Errno::BADFD | Errno::BADF | Errno::FAULT | Errno::NODEV => ReceiveError::Lost,
        other => ReceiveError::Failed(other),
    }
}

#[cold]
fn send_error(error: Errno) -> SendError {
    match error {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => SendError::Full,
        // The host's interface is not up yet, or was set down.
        Errno::IO | Errno::NETDOWN => SendError::Down,
        Errno::BADFD | Errno::BADF | Errno::NODEV => SendError::Lost,
        other => SendError::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_or_expand_are_refused_first() {
        for name in ["", ".", "..", "a/b", "tap%d", "with space", "a:b", "sixteen-bytes-xx"] {
            assert!(
                matches!(check_name(name), Err(PortError::InvalidName { .. })),
                "{name:?}"
            );
        }
        for name in ["eth0", "fifteen-bytes-x", "tap.1"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_descriptor_that_is_no_tap_is_refused() {
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").expect("/dev/null can always be read"));
        let error = TapPort::from_fd(fd, TapOptions::default()).expect_err("/dev/null is not a TAP");
        assert!(matches!(error, PortError::UnusableDescriptor { .. }), "{error}");
    }
}
