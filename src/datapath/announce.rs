//! What the fabric says unasked: that it is a router, every few seconds; and that an address has moved, where the profile
//! announces moves. Each goes to one port at a time, in a frame to that port's own MAC.

use std::net::IpAddr;

use super::Ingress;
use super::router::advertisement;
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
