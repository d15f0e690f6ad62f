//! Writes many frames with one system call (`io_uring_enter`). Frames are written in the given order, and all are
//! written when the call returns: nothing is in flight between two calls.
//!
//! This depends on `RWF_NOWAIT`: a write to a TAP then runs the receiver's stack and completes, whatever the result.
//! The kernel thus completes each entry when it takes it, in order.
//!
//! Frames are not read by io_uring: that took no less time than a `read` each, because the number of queued frames is
//! unknown and each needs room for the largest.

use std::io::{Error, ErrorKind, IoSlice};
use std::os::fd::AsRawFd;

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use nix::libc;

use super::{SendError, TapPort, tap};

/// The most frames per system call.
pub const MOST: usize = 64;

/// Each entry carries it, because io_uring ignores `O_NONBLOCK` on a TAP and would wait.
const AT_ONCE: i32 = libc::RWF_NOWAIT;

/// A ring, to be used by the thread that made it.
pub struct Ring {
    ring: IoUring,
    /// The result of each entry of the last call: octets, or a negative error.
    results: [i32; MOST],
    /// It has failed: entries may be left whose buffers are no longer borrowed.
    broken: bool,
}

impl Ring {
    /// Linux before 6.1 has no such ring, and a container or an administrator may forbid it
    /// (`kernel.io_uring_disabled`).
    pub fn new() -> std::io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        Ok(Self {
            ring: builder.build(MOST as u32)?,
            results: [0; MOST],
            broken: false,
        })
    }

    /// Whether it has failed and must not be used again.
    #[inline]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Writes frames in order, at most [`MOST`], each in slices of which the first begins with the offload header. On
    /// an error none was written, and this ring must not be used again.
    pub fn write<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a TapPort, &'a [IoSlice<'a>])>,
    ) -> std::io::Result<impl Iterator<Item = Result<(), SendError>>> {
        let entries = frames.map(|(tap, pieces)| {
            let device = types::Fd(tap.as_raw_fd());
            match pieces {
                // A frame is smaller than 4 GiB.
                [whole] => opcode::Write::new(device, whole.as_ptr(), whole.len() as u32)
                    .rw_flags(AT_ONCE)
                    .build(),
                // An `IoSlice` has the layout of an `iovec`, as its documentation promises.
                _ => opcode::Writev::new(device, pieces.as_ptr().cast(), pieces.len() as u32)
                    .rw_flags(AT_ONCE)
                    .build(),
            }
        });
        // SAFETY: the octets and the lists of pieces that the entries name are borrowed for `'a`, which outlives this call,
        // and `run` keeps nothing beyond its return.
        let count = unsafe { self.run(entries) }?;
        let outcomes = self.results[..count].iter();
        Ok(outcomes.map(|&result| tap::written(result)))
    }

    /// Submits entries, waits for all of them, and returns their number.
    ///
    /// # Safety
    /// What the entries point to must stay borrowed until this function returns.
    unsafe fn run(&mut self, entries: impl Iterator<Item = Entry>) -> std::io::Result<usize> {
        // Until the end: an iterator that panics would leave entries behind.
        if std::mem::replace(&mut self.broken, true) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut count = 0;
        let mut submission = self.ring.submission();
        for entry in entries.take(MOST) {
            // SAFETY: the caller's promise, and the loop below: this function does not return, not even with an error, while
            // the kernel has one of the entries.
            if unsafe { submission.push(&entry.user_data(count as u64)) }.is_err() {
                break;
            }
            count += 1;
        }
        drop(submission);
        let (mut taken, mut done) = (0, 0);
        while done < count {
            match self.ring.submit_and_wait(count - done) {
                Ok(more) => taken += more,
                Err(error) if passing(&error) => {}
                // It has taken none of them, and must not take them later.
                Err(error) if taken == 0 => return Err(error),
                Err(_) => {}
            }
            for entry in self.ring.completion() {
                if let Some(result) = self.results.get_mut(entry.user_data() as usize) {
                    *result = entry.result();
                }
                done += 1;
            }
        }
        // A kernel without `RWF_NOWAIT` for TAPs; it fails before it writes anything.
        if count > 0 && self.results[..count].iter().all(|&result| result == -libc::EOPNOTSUPP) {
            return Err(ErrorKind::Unsupported.into());
        }
        self.broken = false;
        Ok(count)
    }
}

/// Whether the call may be repeated.
fn passing(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
