//! Keeps the stations and neighbors of each subnet on a learning switch, beside the view and shared by all workers.

use std::net::IpAddr;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::neighbors::{Asking, Belief, Known, Neighbors};
use super::stations::Stations;
use crate::datapath::SubnetIndex;
use crate::mapping::PortId;
use crate::wire::MacAddr;

/// What is remembered of one subnet.
#[derive(Default)]
struct Segment {
    stations: Stations,
    neighbors: Neighbors,
}

/// What is remembered of all subnets on learning switches. Other subnets have no entry.
#[derive(Default)]
pub struct Segments {
    by_subnet: DashMap<SubnetIndex, Segment, RandomState>,
}

impl Segments {
    /// The port on which a station was last heard, if that was lately.
    pub(in crate::datapath) fn station(&self, subnet: SubnetIndex, mac: MacAddr, now: Duration) -> Option<PortId> {
        self.by_subnet.get(&subnet)?.stations.port(mac, now)
    }

    /// What the router knows of an address.
    pub(in crate::datapath) fn neighbor(&self, subnet: SubnetIndex, address: IpAddr, now: Duration) -> Known {
        let segment = self.by_subnet.get(&subnet);
        segment.map_or(Known::NOTHING, |segment| segment.neighbors.look(address, now))
    }

    /// Remembers that a station was heard on a port.
    pub(super) fn hear(&self, subnet: SubnetIndex, mac: MacAddr, port: PortId, now: Duration) {
        self.segment(subnet, |segment| segment.stations.hear(mac, port, now));
    }

    /// Remembers what the router was told.
    pub(super) fn tell(&self, subnet: SubnetIndex, address: IpAddr, mac: MacAddr, belief: Belief, now: Duration) {
        self.segment(subnet, |segment| segment.neighbors.tell(address, mac, belief, now));
    }

    /// Remembers that an address is asked for now, if it is time to.
    pub(super) fn ask(&self, subnet: SubnetIndex, address: IpAddr, now: Duration) -> Asking {
        self.segment(subnet, |segment| segment.neighbors.ask(address, now))
    }

    fn segment<T>(&self, subnet: SubnetIndex, then: impl FnOnce(&Segment) -> T) -> T {
        if let Some(segment) = self.by_subnet.get(&subnet) {
            return then(&segment);
        }
        then(&self.by_subnet.entry(subnet).or_default())
    }

    /// Forgets the stations that were heard on a port that is gone.
    pub(in crate::datapath) fn forget_port(&self, subnet: SubnetIndex, port: PortId) {
        if let Some(segment) = self.by_subnet.get(&subnet) {
            segment.stations.forget(port);
        }
    }

    /// Forgets a subnet that is gone. Its number is not used again, so a worker in the middle of a batch does no harm.
    pub(in crate::datapath) fn remove(&self, subnet: SubnetIndex) {
        self.by_subnet.remove(&subnet);
    }
}
