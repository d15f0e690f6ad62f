//! Writes unsolicited frames of the fabric: Router Advertisements, and announcements of a moved address, where the
//! profile sends them. Each goes to one port, in a frame to that port's own MAC.

use std::net::IpAddr;

use super::router::advertisement;
use crate::datapath::{Ingress, SubnetIndex, SubnetView, View};
use crate::mapping::Interface;
use crate::wire::MacAddr;
use crate::wire::reply::{ALL_NODES, AdvertisementFlags, ReplyBuffer};

/// Writes the unsolicited Router Advertisement for a port; false in a subnet without IPv6.
pub fn unsolicited_advertisement(ingress: &Ingress<'_>, reply: &mut ReplyBuffer) -> bool {
    let policy = &ingress.subnet.profile().router.advertisement;
    let Some(advertisement) = advertisement(ingress, policy.unsolicited_destination) else {
        return false;
    };
    reply.router_advertisement(&advertisement);
    true
}

/// A moved address to be announced. It does not contain the owner, which is looked up when the announcement is written,
/// so that a later move is not contradicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moved {
    /// The subnet of the address.
    pub subnet: SubnetIndex,
    /// The address.
    pub address: IpAddr,
}

impl Moved {
    /// The subnet and the address's owner there, if it still has one.
    pub fn owner<'a>(&self, view: &'a View) -> Option<(&'a SubnetView, Interface)> {
        let subnet = view.subnet(self.subnet)?;
        let owner = view.interface(view.owner(subnet, self.address)?)?;
        Some((subnet, owner))
    }
}

/// Writes the announcement, for one port, that `address` is now at `mac`: a gratuitous ARP (RFC 5227 section 3), or an
/// unsolicited Neighbor Advertisement with the override flag (RFC 4861 section 7.2.6).
pub fn announcement(address: IpAddr, mac: MacAddr, to: MacAddr, reply: &mut ReplyBuffer) {
    match address {
        IpAddr::V4(address) => reply.gratuitous_arp(mac, address, to),
        IpAddr::V6(address) => {
            let flags = AdvertisementFlags {
                router: false,
                solicited: false,
                override_cached: true,
            };
            reply.neighbor_advertisement(address, mac, address, (to, ALL_NODES), flags);
        }
    }
}
