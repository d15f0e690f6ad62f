//! Counts what a NAT gateway passes, by the names of CloudWatch's metrics (VPC guide, "Monitor NAT gateways with Amazon
//! CloudWatch").

use std::sync::atomic::{AtomicU64, Ordering};

use crate::datapath::named;

named! {
    /// A counter of a NAT gateway.
    NatCounter {
        /// Connections that were attempted.
        ConnectionAttempt = "connection_attempt_count",
        /// Connections that the other end answered.
        ConnectionEstablished = "connection_established_count",
        /// Connections that got no port.
        ErrorPortAllocation = "error_port_allocation",
        /// Connections that were met again after they had been idle for too long.
        IdleTimeout = "idle_timeout_count",
        /// Packets that were dropped.
        PacketsDrop = "packets_drop_count",
        /// Packets from hosts behind the gateway.
        PacketsInFromSource = "packets_in_from_source",
        /// Packets to destinations.
        PacketsOutToDestination = "packets_out_to_destination",
        /// Packets from destinations.
        PacketsInFromDestination = "packets_in_from_destination",
        /// Packets to hosts behind the gateway.
        PacketsOutToSource = "packets_out_to_source",
        /// Octets from hosts behind the gateway.
        BytesInFromSource = "bytes_in_from_source",
        /// Octets to destinations.
        BytesOutToDestination = "bytes_out_to_destination",
        /// Octets from destinations.
        BytesInFromDestination = "bytes_in_from_destination",
        /// Octets to hosts behind the gateway.
        BytesOutToSource = "bytes_out_to_source",
    }
}

/// The counters of a gateway, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters([u64; NatCounter::COUNT]);

impl Counters {
    /// The value of a counter.
    pub fn get(&self, counter: NatCounter) -> u64 {
        self.0[counter as usize]
    }
}

/// The counters of a gateway, to which workers add.
#[derive(Default)]
pub(super) struct Counting([AtomicU64; NatCounter::COUNT]);

impl Counting {
    pub(super) fn add(&self, counter: NatCounter, by: u32) {
        self.0[counter as usize].fetch_add(by.into(), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counters {
        Counters(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }

    /// Another gateway begins at 0.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}
