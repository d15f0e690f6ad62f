//! Looks up routes by the longest prefix that contains the destination, for IPv4 and IPv6 independently (VPC guide,
//! "Route priority").

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::VpcIndex;
use super::ranges::last_at_or_before;
use crate::mapping::InterfaceIndex;
use crate::model::endpoint::GatewayService;

/// The target of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTarget {
    /// The interface that the mapping service names, in any subnet of the VPC.
    Local,
    /// One interface, whatever the packet's destination: a middlebox, or the owner of an address outside the VPC.
    Interface(InterfaceIndex),
    /// To the outside, by the VPC's internet gateway.
    Internet,
    /// To the NAT gateway with this interface.
    NatGateway(InterfaceIndex),
    /// To the outside by IPv6, by the VPC's egress-only internet gateway.
    EgressOnly,
    /// To the addresses of a peered VPC.
    Peering(VpcIndex),
    /// To a service, by a gateway endpoint of the VPC.
    Endpoint(GatewayService),
    /// Nowhere: the target is gone.
    Blackhole,
}

/// The routes of a subnet.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    ipv4: PrefixMap<Ipv4Net, RouteTarget>,
    ipv6: PrefixMap<Ipv6Net, RouteTarget>,
    ipv4_spans: Spans<u32, (Ipv4Net, RouteTarget)>,
    ipv6_spans: Spans<u128, (Ipv6Net, RouteTarget)>,
}

/// The routes prepared for look-ups: spans of addresses with the same route, by first address. The route of an address
/// is that of the last span that begins at or before it.
#[derive(Debug, Clone)]
struct Spans<A, R> {
    first: Vec<A>,
    route: Vec<Option<R>>,
}

impl<A, R> Default for Spans<A, R> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            route: Vec::new(),
        }
    }
}

impl<A: Ord + Copy, R: Copy> Spans<A, R> {
    /// Spans between the addresses at which another route may begin.
    fn new(mut starts: Vec<A>, lookup: impl Fn(A) -> Option<R>) -> Self {
        starts.sort_unstable();
        starts.dedup();
        Self {
            route: starts.iter().map(|first| lookup(*first)).collect(),
            first: starts,
        }
    }

    #[inline]
    fn lookup(&self, address: A) -> Option<R> {
        *self.route.get(last_at_or_before(&self.first, address)?)?
    }

    /// Whether `holds` is true for the routes of all addresses from `from` to `to`.
    fn all(&self, from: A, to: A, holds: impl Fn(&R) -> bool) -> bool {
        let spans = self.first.iter().zip(&self.route);
        let mut within = spans.skip(last_at_or_before(&self.first, from).unwrap_or(0)).peekable();
        // Before the first span there is no route.
        within.peek().is_some_and(|(first, _)| **first <= from)
            && within
                .take_while(|(first, _)| **first <= to)
                .all(|(_, route)| route.as_ref().is_some_and(&holds))
    }
}

impl RouteTable {
    /// The initial table of a VPC: its own ranges are local.
    pub fn local(ranges: &[IpNet]) -> Self {
        ranges.iter().map(|range| (*range, RouteTarget::Local)).collect()
    }

    /// Recomputes the spans.
    fn span(&mut self) {
        // A route ends at its last address, behind which a shorter one may apply.
        let starts = self.ipv4.iter().flat_map(|(net, _)| {
            let after = net.broadcast().to_bits().checked_add(1);
            std::iter::once(net.network().to_bits()).chain(after)
        });
        self.ipv4_spans = Spans::new(starts.collect(), |address| {
            let address = Ipv4Net::from(Ipv4Addr::from_bits(address));
            self.ipv4.get_lpm(&address).map(|(net, target)| (net, *target))
        });
        let starts = self.ipv6.iter().flat_map(|(net, _)| {
            let after = net.broadcast().to_bits().checked_add(1);
            std::iter::once(net.network().to_bits()).chain(after)
        });
        self.ipv6_spans = Spans::new(starts.collect(), |address| {
            let address = Ipv6Net::from(Ipv6Addr::from_bits(address));
            self.ipv6.get_lpm(&address).map(|(net, target)| (net, *target))
        });
    }

    /// Whether every address of these ranges has a local route.
    pub fn all_local(&self, ranges: &[IpNet]) -> bool {
        ranges.iter().all(|range| match range {
            IpNet::V4(net) => {
                let (from, to) = (net.network().to_bits(), net.broadcast().to_bits());
                self.ipv4_spans
                    .all(from, to, |(_, target)| *target == RouteTarget::Local)
            }
            IpNet::V6(net) => {
                let (from, to) = (net.network().to_bits(), net.broadcast().to_bits());
                self.ipv6_spans
                    .all(from, to, |(_, target)| *target == RouteTarget::Local)
            }
        })
    }

    /// The route to `address`.
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, RouteTarget)> {
        match address {
            IpAddr::V4(address) => {
                let (net, target) = self.ipv4_spans.lookup(address.to_bits())?;
                Some((IpNet::V4(net), target))
            }
            IpAddr::V6(address) => {
                let (net, target) = self.ipv6_spans.lookup(address.to_bits())?;
                Some((IpNet::V6(net), target))
            }
        }
    }
}

/// Of routes with the same destination the last one counts.
impl Extend<(IpNet, RouteTarget)> for RouteTable {
    fn extend<I: IntoIterator<Item = (IpNet, RouteTarget)>>(&mut self, routes: I) {
        for (destination, target) in routes {
            match destination {
                IpNet::V4(net) => self.ipv4.insert(net.trunc(), target),
                IpNet::V6(net) => self.ipv6.insert(net.trunc(), target),
            };
        }
        self.span();
    }
}

impl FromIterator<(IpNet, RouteTarget)> for RouteTable {
    fn from_iter<I: IntoIterator<Item = (IpNet, RouteTarget)>>(routes: I) -> Self {
        let mut table = Self::default();
        table.extend(routes);
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
        table.extend([(net("0.0.0.0/0"), RouteTarget::Blackhole)]);
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

    #[test]
    fn a_range_is_local_as_a_whole_where_no_other_route_leads_a_part_of_it() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let ranges = [net("10.0.0.0/16"), net("2001:db8:1::/56")];
        let with = |routes: &[&str]| {
            let mut table = RouteTable::local(&ranges);
            table.extend(routes.iter().map(|route| (net(route), RouteTarget::Blackhole)));
            table
        };
        let cases: [(&[&str], bool); 9] = [
            (&[], true),
            (&["0.0.0.0/0", "::/0"], true),
            (
                &["10.1.0.0/16", "9.0.0.0/8", "10.0.0.0/15", "2001:db8:1:100::/56"],
                true,
            ),
            (&["10.0.3.0/24"], false),
            (&["10.0.0.0/24"], false),
            (&["10.0.255.0/24"], false),
            (&["10.0.0.0/16"], false),
            (&["2001:db8:1:ff::/64"], false),
            (&["2001:db8:1::/56"], false),
        ];
        for (routes, expected) in cases {
            assert_eq!(with(routes).all_local(&ranges), expected, "{routes:?}");
        }
        for missing in ["9.0.0.0/16", "11.0.0.0/16", "10.0.0.0/15", "::/0", "2001:db8:2::/56"] {
            assert!(!with(&[]).all_local(&[net(missing)]), "{missing}");
        }
        assert!(!RouteTable::default().all_local(&ranges));
    }
}
