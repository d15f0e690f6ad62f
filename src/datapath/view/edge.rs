//! Keeps what the internet gateways know: which public address stands for which private one, and which VPCs can be reached.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use ipnet::Ipv6Net;

use super::{SubnetIndex, VpcIndex};

/// The public side of all VPCs that have an internet gateway. It is made anew with each change, and published whole.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    by_public: HashMap<Ipv4Addr, (VpcIndex, Ipv4Addr), RandomState>,
    by_private: HashMap<(VpcIndex, Ipv4Addr), Ipv4Addr, RandomState>,
    ipv6: Vec<(Ipv6Net, VpcIndex)>,
    outside: Option<SubnetIndex>,
}

impl Edge {
    /// An edge without gateways; `outside` is the subnet of the hosts beyond it, if there are some.
    pub fn new(outside: Option<SubnetIndex>) -> Self {
        Self {
            outside,
            ..Self::default()
        }
    }

    /// Adds the IPv6 ranges of a VPC with an internet gateway. Where two VPCs have the same range, the first is reached.
    pub fn attach(&mut self, vpc: VpcIndex, ranges: impl IntoIterator<Item = Ipv6Net>) {
        self.ipv6.extend(ranges.into_iter().map(|range| (range, vpc)));
    }

    /// Adds the association of a public address with a private one of a VPC with an internet gateway.
    pub fn associate(&mut self, public: Ipv4Addr, vpc: VpcIndex, private: Ipv4Addr) {
        self.by_public.insert(public, (vpc, private));
        self.by_private.insert((vpc, private), public);
    }

    /// The VPC and the private address that a public address stands for.
    pub fn behind(&self, public: Ipv4Addr) -> Option<(VpcIndex, Ipv4Addr)> {
        self.by_public.get(&public).copied()
    }

    /// The public address of a private one.
    pub fn public(&self, vpc: VpcIndex, private: Ipv4Addr) -> Option<Ipv4Addr> {
        self.by_private.get(&(vpc, private)).copied()
    }

    /// The VPC with an internet gateway that an IPv6 address lies in.
    pub fn vpc_around(&self, address: Ipv6Addr) -> Option<VpcIndex> {
        let mut ranges = self.ipv6.iter();
        ranges.find(|(range, _)| range.contains(&address)).map(|(_, vpc)| *vpc)
    }

    /// The subnet of the hosts beyond the gateways.
    pub fn outside(&self) -> Option<SubnetIndex> {
        self.outside
    }
}
