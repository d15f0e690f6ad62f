//! Defines the router of a profile: its addresses, how it resolves stations, what it answers, and what it advertises.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::duration::{AdvertisementInterval, RouterLifetime, WireLifetime};
use crate::wire::MacAddr;

/// The implicit router of every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RouterPolicy {
    /// Its MAC: `generated` (one per subnet), `from-ipv4` (42:01 and the octets of its IPv4 address), or one MAC for
    /// all subnets. A subnet that is created with a MAC keeps that one.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "generated"))]
    pub mac: RouterMac,
    /// How it resolves an address that it delivers to.
    pub resolution: Resolution,
    /// Whether it has the link-local address computed from its MAC. Its source address is then that one; otherwise the
    /// fixed one.
    pub eui64_link_local: bool,
    /// Whether it answers echo requests sent to its addresses (and, where groups are delivered, to all-nodes and all-routers).
    pub answers_echo: bool,
    /// Whether the hop count of a routed packet is decremented.
    pub ttl: Ttl,
    /// The IPv4 gateway also answers for the resolver (base + 2) and the link-local services.
    pub service_addresses: bool,
    /// Packets to the resolver and the link-local services per second and port, above which they are dropped as
    /// `link_local_allowance` (VPC guide, "DNS attributes": 1024, not adjustable). 0: no limit.
    pub service_packets_per_second: u32,
    /// ICMP errors (fragmentation needed, packet too big) per second and port. 0: no limit.
    pub errors_per_second: u32,
    /// The gateway's IPv4 address in every subnet, inside the subnet's range or not; null for the first of the range.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "172.31.1.1"))]
    pub gateway: Option<Ipv4Addr>,
    /// The MTU of the path between subnets, where it is smaller than the interfaces' at its ends; null for that of the
    /// receiving interface.
    pub path_mtu: Option<u16>,
    /// Whether the sender of a packet that is too long for its path gets an error (fragmentation needed, packet too
    /// big). Without it, the path is a black hole for path MTU discovery.
    pub path_mtu_errors: bool,
    /// A further link-local address of every router, in addition to the EUI-64 one.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "fe80:ec2::1"))]
    pub fixed_link_local: Option<Ipv6Addr>,
    /// Router Advertisements.
    pub advertisement: AdvertisementPolicy,
}

/// The source of the MAC of a subnet's router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouterMac {
    /// Chosen for each subnet.
    Generated,
    /// 42:01 and the four octets of the subnet's IPv4 gateway; chosen where the subnet has no IPv4.
    FromIpv4,
    /// The same in every subnet.
    Fixed(MacAddr),
}

/// How a router resolves an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// By the mapping table.
    Mapping,
    /// By ARP and Neighbor Solicitations in the subnet, as a conventional router does. Only a learning switch delivers
    /// the requests, so `delivery` must be `learning`.
    Ask,
}

/// The hop count of a packet that the router forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ttl {
    /// Unchanged: the router does not show in a traceroute.
    Untouched,
    /// Decremented.
    Decrement,
}

/// The Router Advertisements of a subnet with IPv6; a subnet without has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdvertisementPolicy {
    /// Whether there are any, solicited or not.
    pub sent: bool,
    /// Time between two unsolicited ones, and from the attachment of a port to the first.
    pub interval: AdvertisementInterval,
    /// How long the router may be used as a default router.
    pub router_lifetime: RouterLifetime,
    /// Hop limit for hosts; 0 leaves it to them.
    pub hop_limit: u8,
    /// M: addresses come by DHCPv6.
    pub managed: bool,
    /// O: other settings come by DHCPv6.
    pub other: bool,
    /// L of the one prefix: the /64 is on-link.
    pub on_link: bool,
    /// A of the one prefix: hosts make an address of their own in it.
    pub autonomous: bool,
    /// Valid and preferred lifetime of the prefix.
    pub prefix_lifetime: WireLifetime,
    /// Whether the prefix information option is present.
    pub prefix_information: bool,
    /// Prefix length of a route information option (RFC 4191) that sends the subnet's prefix to the router; null for none.
    /// Its lifetime is `prefix_lifetime`.
    pub route_length: Option<u8>,
    /// Whether the source link-layer address option is present (it makes the message 56 bytes long).
    pub source_link_layer: bool,
    /// IPv6 destination of an answer to a Router Solicitation.
    pub solicited_destination: AdvertisementDestination,
    /// IPv6 destination of the unsolicited ones; the frame always goes to the port's own MAC.
    pub unsolicited_destination: AdvertisementDestination,
    /// Answers to Router Solicitations per second and port. 0: no limit.
    pub answers_per_second: u32,
}

/// The IPv6 destination of a Router Advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AdvertisementDestination {
    /// The first global address assigned to the interface, configured there or not; all-nodes while it has none.
    Assigned,
    /// The EUI-64 link-local address of the interface.
    LinkLocal,
    /// `ff02::1`.
    AllNodes,
}

impl RouterMac {
    /// The MAC for a subnet with this IPv4 gateway; `None` where one is to be chosen.
    pub fn of(self, gateway: Option<Ipv4Addr>) -> Option<MacAddr> {
        match self {
            Self::Generated => None,
            Self::FromIpv4 => gateway.map(|gateway| {
                let [a, b, c, d] = gateway.octets();
                MacAddr([0x42, 0x01, a, b, c, d])
            }),
            Self::Fixed(mac) => Some(mac),
        }
    }
}

impl From<RouterMac> for String {
    fn from(mac: RouterMac) -> Self {
        match mac {
            RouterMac::Generated => "generated".to_owned(),
            RouterMac::FromIpv4 => "from-ipv4".to_owned(),
            RouterMac::Fixed(mac) => mac.to_string(),
        }
    }
}

impl TryFrom<String> for RouterMac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "generated" => Ok(Self::Generated),
            "from-ipv4" => Ok(Self::FromIpv4),
            other => match other.parse() {
                Ok(mac) if mac != MacAddr::ZERO && !MacAddr::is_multicast(mac) => Ok(Self::Fixed(mac)),
                _ => Err(format!(
                    "'{other}' is no router's MAC: write generated, from-ipv4, or one host's MAC such as 12:34:56:78:9a:bc"
                )),
            },
        }
    }
}
