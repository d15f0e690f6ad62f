//! A route table leads by the longest prefix that holds the destination; IPv4 and IPv6 lead independently (VPC guide,
//! "Route priority").

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::mapping::InterfaceIndex;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTarget {
    /// To the interface that the mapping service names, in any subnet of the VPC.
    Local,
    /// To one interface, whatever the packet's destination: a middlebox, or the holder of an address outside of the VPC.
    Interface(InterfaceIndex),
    /// Nowhere: the target is gone.
    Blackhole,
}

/// The routes of a subnet.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    ipv4: PrefixMap<Ipv4Net, RouteTarget>,
    ipv6: PrefixMap<Ipv6Net, RouteTarget>,
}

impl RouteTable {
    /// The table that every VPC begins with: its own ranges are local.
    pub fn local(ranges: &[IpNet]) -> Self {
        ranges.iter().map(|range| (*range, RouteTarget::Local)).collect()
    }

    /// Adds a route, or replaces the one with the same destination.
    pub fn insert(&mut self, destination: IpNet, target: RouteTarget) {
        match destination {
            IpNet::V4(net) => self.ipv4.insert(net.trunc(), target),
            IpNet::V6(net) => self.ipv6.insert(net.trunc(), target),
        };
    }

    /// The route that leads to `address`.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, RouteTarget)> {
        match address {
            IpAddr::V4(address) => self
                .ipv4
                .get_lpm(&Ipv4Net::from(address))
                .map(|(net, target)| (IpNet::V4(net), *target)),
            IpAddr::V6(address) => self
                .ipv6
                .get_lpm(&Ipv6Net::from(address))
                .map(|(net, target)| (IpNet::V6(net), *target)),
        }
    }
}

impl FromIterator<(IpNet, RouteTarget)> for RouteTable {
    fn from_iter<I: IntoIterator<Item = (IpNet, RouteTarget)>>(routes: I) -> Self {
        let mut table = Self::default();
        for (destination, target) in routes {
            table.insert(destination, target);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_leads_and_families_do_not_mix() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let mut table = RouteTable::local(&[net("10.0.0.0/16"), net("2001:db8:1::/56")]);
        table.insert(net("0.0.0.0/0"), RouteTarget::Blackhole);
        let cases = [
            ("10.0.3.4", Some(("10.0.0.0/16", RouteTarget::Local))),
            ("10.1.3.4", Some(("0.0.0.0/0", RouteTarget::Blackhole))),
            ("2001:db8:1:7::1", Some(("2001:db8:1::/56", RouteTarget::Local))),
            ("2001:db8:2::1", None),
        ];
        for (address, expected) in cases {
            let expected = expected.map(|(range, target)| (net(range), target));
            assert_eq!(table.lookup(address.parse().unwrap()), expected, "{address}");
        }
    }
}
