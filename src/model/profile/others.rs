//! Defines the profiles of networks other than AWS by their differences from it. An unpublished fact keeps AWS's value,
//! and `docs/profiles.md` lists it as unknown; letters in comments are that page's confidence codes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{
    AdvertisementDestination, Answer, Delivery, Dhcpv6Names, LeasedRoute, LinkLocals, NeighborScope, Profile,
    Resolution, ResolvedMac, RouterMac, Ttl, UnicastRequest,
};
use crate::model::duration::{AdvertisementInterval, RouterLifetime, WireLifetime};
use crate::wire::MacAddr;

impl Profile {
    /// A conventional network for comparison: a learning switch that floods, and a router that is one more station.
    pub fn lan() -> Self {
        let mut profile = Self::aws();
        profile.name = "lan".to_owned();
        profile.firewall.enforced = false;
        profile.delivery = Delivery::Learning;
        profile.source_mac_check = false;
        profile.source_dest_check = false;
        profile.mtu = 1500;
        profile.neighbor.link_locals = LinkLocals::None;
        profile.neighbor.unicast_request = UnicastRequest::Forward;
        profile.neighbor.announce_on_move = false;
        profile.router.resolution = Resolution::Ask;
        profile.router.answers_echo = true;
        profile.router.ttl = Ttl::Decrement;
        profile.router.service_addresses = false;
        profile.router.fixed_link_local = None;
        profile.router.advertisement.hop_limit = 64;
        profile.router.advertisement.managed = false;
        profile.router.advertisement.autonomous = true;
        profile.router.advertisement.solicited_destination = AdvertisementDestination::AllNodes;
        // A day, as on a usual small router; hosts make their own IPv6 addresses.
        profile.dhcp.v4.lease_time = WireLifetime::new(86_400);
        profile.dhcp.v4.interface_mtu = 0;
        profile.dhcp.v4.ipv6_only_lease = false;
        profile.dhcp.v6.unasked_prefix = false;
        profile.dhcp.v6.enabled = false;
        profile.dhcp.v6.names = Dhcpv6Names::Everywhere;
        profile
    }

    /// A hosting provider's /64, on-link: its router sends Neighbor Solicitations for every address that it delivers
    /// to, so a host must answer for each one, its containers' included ("IPv6 allocations to downwards machine with
    /// just one /64"; otacon22.com 2016). A delegated prefix is routed to its interface without a request.
    pub fn onlink_64() -> Self {
        let mut profile = Self::lan();
        profile.name = "onlink-64".to_owned();
        // O: stanislas.blog 2019, "fix-ipv6-hetzner-cloud".
        profile.router.fixed_link_local = Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        profile.router.eui64_link_local = false;
        // Hosts there have static addresses. Whether the router advertises itself differs between providers; here it
        // does, so that an unconfigured host finds its gateway.
        profile.router.advertisement.autonomous = false;
        profile
    }

    /// A VPC network of Google Cloud.
    pub fn gcp() -> Self {
        let mut profile = Self::aws();
        profile.name = "gcp".to_owned();
        profile.firewall.enforced = false;
        // M: 1460 unless the network is created with more, up to 8896.
        profile.mtu = 1460;
        profile.dhcp.v4.interface_mtu = 1460;
        // M: /32 by DHCP and a route to the gateway; GoogleCloudPlatform/guest-agent#160 shows the IPv6 side (O).
        profile.host_prefix_length = Some(32);
        // O: monogon#89, buildrump.sh#80, 9legacy#12: a route to the gateway on the link and the default route by it; server,
        // name server and time server are 169.254.169.254; a lease lasts a day.
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        profile.dhcp.v4.classless_routes = vec![LeasedRoute::Gateway, LeasedRoute::Default];
        profile.dhcp.v4.server = Some(metadata);
        profile.dhcp.v4.name_server = Some(metadata);
        profile.dhcp.v4.ntp_server = Some(metadata);
        profile.dhcp.v4.lease_time = WireLifetime::new(86_400);
        // Observed on EC2 only.
        profile.dhcp.v4.ipv6_only_lease = false;
        profile.dhcp.v6.unasked_prefix = false;
        // O: "completely ignored", ClusterLabs/resource-agents#1120 with Google's guide to floating IP addresses; and no
        // host has an entry for a neighbor that a move could be announced to.
        profile.neighbor.announce_on_move = false;
        // O: 10.128.0.1 is at 42:01:0a:80:00:01; fe80::4001:aff:fe03:1 is the EUI-64 link-local of 42:01:0a:03:00:01.
        profile.router.mac = RouterMac::FromIpv4;
        profile.router.fixed_link_local = None;
        let advertisement = &mut profile.router.advertisement;
        // O: `2600:…::/65 via fe80::4001:… proto ra expires 66sec` next to the default route, and no on-link prefix.
        advertisement.prefix_information = false;
        advertisement.on_link = false;
        advertisement.route_length = Some(65);
        // 66 seconds were left in an observation, so the life is no less than that. The rest is a guess.
        advertisement.prefix_lifetime = WireLifetime::new(90);
        advertisement.router_lifetime = RouterLifetime::new(90);
        advertisement.interval = const { AdvertisementInterval::constant(Duration::from_secs(30)) };
        profile
    }

    /// A virtual network of Azure: one MAC for everyone, so that every frame goes to the router.
    pub fn azure() -> Self {
        let mut profile = Self::aws();
        profile.name = "azure".to_owned();
        profile.firewall.enforced = false;
        // M.
        profile.mtu = 1500;
        profile.dhcp.v4.interface_mtu = 1500;
        // O: cloud-init#5146 shows the routes of a lease; D: the wire server is DHCP and name server; C: cloud-init reads
        // option 245. M: a lease does not end.
        let wire_server = Ipv4Addr::new(168, 63, 129, 16);
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        profile.dhcp.v4.classless_routes = vec![
            LeasedRoute::Default,
            LeasedRoute::Host(wire_server),
            LeasedRoute::Host(metadata),
        ];
        profile.dhcp.v4.server = Some(wire_server);
        profile.dhcp.v4.name_server = Some(wire_server);
        profile.dhcp.v4.option_245 = Some(wire_server);
        profile.dhcp.v4.lease_time = WireLifetime::new(u32::MAX);
        profile.dhcp.v4.ipv6_only_lease = false;
        profile.dhcp.v6.unasked_prefix = false;
        // O: every ARP request is answered with 12:34:56:78:9a:bc (untangled.eu, July 2017); C: the same constant is
        // `defaultHostGwMac` in Azure/azure-container-networking.
        profile.neighbor.scope = NeighborScope::Any;
        profile.neighbor.resolved_mac = ResolvedMac::Router;
        // A computed MAC would not be that one MAC; Azure's answer for link-locals is unknown.
        profile.neighbor.link_locals = LinkLocals::None;
        profile.neighbor.own_address = Answer::Silent;
        // I: with one MAC for everyone there is nothing to announce.
        profile.neighbor.announce_on_move = false;
        profile.router.mac = RouterMac::Fixed(MacAddr([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc]));
        // O: fe80::1234:5678:9abc on every interface; it is not the EUI-64 address of that MAC.
        profile.router.fixed_link_local = Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x1234, 0x5678, 0x9abc));
        profile.router.eui64_link_local = false;
        profile
    }
}
