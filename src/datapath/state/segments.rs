//! Keeps the stations and neighbors of each subnet on a learning switch. It is shared by all workers and not part of
//! the view.

use std::net::IpAddr;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::neighbors::{Asking, Belief, Known, Neighbors};
use super::stations::Stations;
use crate::datapath::SubnetIndex;
use crate::mapping::PortId;
use crate::wire::MacAddr;

/// The state of one subnet.
#[derive(Default)]
struct Segment {
    stations: Stations,
    neighbors: Neighbors,
}

/// The state of all subnets on learning switches. Other subnets have no entry.
#[derive(Default)]
pub struct Segments {
    by_subnet: DashMap<SubnetIndex, Segment, RandomState>,
}

impl Segments {
    /// The port on which a station was last heard, unless that was long ago.
    pub(in crate::datapath) fn station(&self, subnet: SubnetIndex, mac: MacAddr, now: Duration) -> Option<PortId> {
        self.by_subnet.get(&subnet)?.stations.port(mac, now)
    }

    /// The router's entry for an address.
    pub(in crate::datapath) fn neighbor(&self, subnet: SubnetIndex, address: IpAddr, now: Duration) -> Known {
        let segment = self.by_subnet.get(&subnet);
        segment.map_or(Known::NOTHING, |segment| segment.neighbors.look(address, now))
    }

    /// Records that a station was heard on a port.
    pub(super) fn hear(&self, subnet: SubnetIndex, mac: MacAddr, port: PortId, now: Duration) {
        self.segment(subnet, |segment| segment.stations.hear(mac, port, now));
    }

    /// Records an advertisement to the router.
    pub(super) fn tell(&self, subnet: SubnetIndex, address: IpAddr, mac: MacAddr, belief: Belief, now: Duration) {
        self.segment(subnet, |segment| segment.neighbors.tell(address, mac, belief, now));
    }

    /// Records a request for an address, if one is due.
    pub(super) fn ask(&self, subnet: SubnetIndex, address: IpAddr, now: Duration) -> Asking {
        self.segment(subnet, |segment| segment.neighbors.ask(address, now))
    }

    fn segment<T>(&self, subnet: SubnetIndex, then: impl FnOnce(&Segment) -> T) -> T {
        if let Some(segment) = self.by_subnet.get(&subnet) {
            return then(&segment);
        }
        then(&self.by_subnet.entry(subnet).or_default())
    }

    /// Removes the stations that were heard on a port that is gone.
    pub(in crate::datapath) fn forget_port(&self, subnet: SubnetIndex, port: PortId) {
        if let Some(segment) = self.by_subnet.get(&subnet) {
            segment.stations.forget(port);
        }
    }

    /// Removes a deleted subnet. Its number is not reused, so a worker in the middle of a batch does no harm.
    pub(in crate::datapath) fn remove(&self, subnet: SubnetIndex) {
        self.by_subnet.remove(&subnet);
    }
}
