//! Where a frame enters and leaves the switch: a TAP device, a unix datagram socket, or memory.
