//! Writing a batch of frames by one `io_uring_enter` instead of one `write` each. The switch itself does not use it: it is
//! here for the reference copier, which measures what an engine on io_uring would bring on the kernel at hand.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, opcode, types};
use nix::libc;

use super::PortDevice;

/// A ring that writes frames, to be used by one thread.
pub struct BatchWriter {
    ring: IoUring,
    /// The devices, in the kernel's own list: no write looks a descriptor up.
    devices: u32,
    /// The kernel refused to be entered: there are entries left whose bytes are not borrowed any more.
    broken: bool,
}

impl BatchWriter {
    /// A ring for batches of `most` frames to these devices, which stay open for as long as it is used.
    pub fn new(devices: &[&PortDevice], most: u32) -> std::io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = builder.build(most.next_power_of_two())?;
        let descriptors: Vec<i32> = devices.iter().map(|device| device.as_fd().as_raw_fd()).collect();
        ring.submitter().register_files(&descriptors)?;
        Ok(Self {
            ring,
            devices: devices.len() as u32,
            broken: false,
        })
    }

    /// Writes frames with their offload headers, in order, to the device at `place` of those that the ring was made with,
    /// and returns when the last is written. More frames than the ring has room for take several calls of the kernel.
    /// What a device does not take is lost.
    pub fn write<'a>(&mut self, place: u32, frames: impl Iterator<Item = &'a [u8]>) -> std::io::Result<()> {
        assert!(place < self.devices, "the ring was made with so many devices");
        if self.broken {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let mut frames = frames.peekable();
        while frames.peek().is_some() {
            let mut count = 0;
            while let Some(frame) = frames.peek() {
                // No frame has 4 GiB.
                let entry = opcode::Write::new(types::Fixed(place), frame.as_ptr(), frame.len() as u32).build();
                // SAFETY: the entry's bytes are borrowed until this function returns, and it does not return, not even with
                // an error, while the kernel has an entry of it: see below. Nothing between here and there can panic.
                if unsafe { self.ring.submission().push(&entry) }.is_err() {
                    break;
                }
                count += 1;
                frames.next();
            }
            let mut done = 0;
            while done < count {
                match self.ring.submit_and_wait(count - done) {
                    Ok(_) => {}
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {}
                    // It has taken none of them, and is not to take them later.
                    Err(error) if done == 0 => {
                        self.broken = true;
                        return Err(error);
                    }
                    Err(_) => {}
                }
                done += self.ring.completion().count();
            }
        }
        Ok(())
    }
}
