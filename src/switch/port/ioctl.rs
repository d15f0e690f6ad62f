//! The requests of `/dev/net/tun` (linux/if_tun.h), each behind a safe function.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc::{self, c_int, c_short, c_uint};
use rustix::io::Errno;

/// TAP, not TUN.
pub(super) const IFF_TAP: u16 = 0x0002;
/// No four bytes of packet information before each frame.
pub(super) const IFF_NO_PI: u16 = 0x1000;
/// A virtio_net_hdr before each frame.
pub(super) const IFF_VNET_HDR: u16 = 0x4000;
/// Created without a carrier.
pub(super) const IFF_NO_CARRIER: u16 = 0x0040;

/// The reader takes frames with a partial checksum.
pub(super) const TUN_F_CSUM: u32 = 0x01;
/// The reader takes unsegmented TCP over IPv4.
pub(super) const TUN_F_TSO4: u32 = 0x02;
/// The reader takes unsegmented TCP over IPv6.
pub(super) const TUN_F_TSO6: u32 = 0x04;
/// The reader takes unsegmented TCP with CWR set.
pub(super) const TUN_F_TSO_ECN: u32 = 0x08;
/// The reader takes unsegmented UDP over IPv4.
pub(super) const TUN_F_USO4: u32 = 0x20;
/// The reader takes unsegmented UDP over IPv6.
pub(super) const TUN_F_USO6: u32 = 0x40;

/// The result of TUNGETIFF.
pub(super) struct Attached {
    /// The interface's name in the namespace in which it is.
    pub(super) name: String,
    /// `IFF_*` of the device.
    pub(super) flags: u16,
}

mod raw {
    use super::{c_int, c_uint, libc};

    nix::ioctl_write_ptr_bad!(
        tunsetiff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        libc::ifreq
    );
    nix::ioctl_write_int_bad!(tunsetpersist, nix::request_code_write!(b'T', 203, size_of::<c_int>()));
    nix::ioctl_write_int_bad!(tunsetoffload, nix::request_code_write!(b'T', 208, size_of::<c_uint>()));
    nix::ioctl_read_bad!(
        tungetiff,
        nix::request_code_read!(b'T', 210, size_of::<c_uint>()),
        libc::ifreq
    );
    nix::ioctl_write_ptr!(tunsetvnethdrsz, b'T', 216, c_int);
    nix::ioctl_write_ptr!(tunsetvnetle, b'T', 220, c_int);
    nix::ioctl_write_ptr!(tunsetcarrier, b'T', 226, c_int);
}

fn result(outcome: nix::Result<c_int>) -> Result<(), Errno> {
    outcome
        .map(drop)
        .map_err(|error| Errno::from_raw_os_error(error as i32))
}

/// Binds an open `/dev/net/tun` to the TAP `name`, created if there is none, and returns its actual name.
pub(super) fn set_interface(fd: BorrowedFd<'_>, name: &str, flags: u16) -> Result<String, Errno> {
    // SAFETY: ifreq is plain old data; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte is left for the terminating zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags.cast_signed() as c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetiff(fd.as_raw_fd(), &raw const request) })?;
    Ok(interface_name(&request))
}

/// The device of a descriptor. Fails with `EBADFD` when it is bound to none, and with `ENOTTY` when it is no TUN
/// descriptor.
pub(super) fn get_interface(fd: BorrowedFd<'_>) -> Result<Attached, Errno> {
    // SAFETY: ifreq is plain old data; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes one ifreq, which lives until the call returns; `fd` is open for its lifetime.
    result(unsafe { raw::tungetiff(fd.as_raw_fd(), &raw mut request) })?;
    // SAFETY: the kernel filled the flags in, and every bit pattern of the union's bytes is a c_short.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(Attached {
        name: interface_name(&request),
        flags: flags.cast_unsigned(),
    })
}

fn interface_name(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> = request
        .ifr_name
        .iter()
        .map(|&c| c as u8)
        .take_while(|&c| c != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sets which frames the reader accepts unfinished (`TUN_F_*`); `EINVAL` when the kernel does not know one of the bits.
pub(super) fn set_offload(fd: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetoffload(fd.as_raw_fd(), bits.cast_signed()) })
}

/// Sets the length in bytes of the offload header.
pub(super) fn set_header_length(fd: BorrowedFd<'_>, length: usize) -> Result<(), Errno> {
    let length = length as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives until the call returns; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetvnethdrsz(fd.as_raw_fd(), &raw const length) })
}

/// Makes the fields of the offload header little-endian on every machine.
pub(super) fn set_little_endian(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let on: c_int = 1;
    // SAFETY: TUNSETVNETLE reads one int, which lives until the call returns; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetvnetle(fd.as_raw_fd(), &raw const on) })
}

/// Sets the carrier, as the host sees it.
pub(super) fn set_carrier(fd: BorrowedFd<'_>, up: bool) -> Result<(), Errno> {
    let up = c_int::from(up);
    // SAFETY: TUNSETCARRIER reads one int, which lives until the call returns; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetcarrier(fd.as_raw_fd(), &raw const up) })
}

/// Sets whether the device outlives its last descriptor.
pub(super) fn set_persistent(fd: BorrowedFd<'_>, persistent: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETPERSIST takes its argument by value; `fd` is open for its lifetime.
    result(unsafe { raw::tunsetpersist(fd.as_raw_fd(), c_int::from(persistent)) })
}
