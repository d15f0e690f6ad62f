//! Defines verdicts and drop reasons. Every dropped frame has one reason, whose name is counted and shown.

use std::net::{IpAddr, Ipv6Addr};

use super::state::Asking;
use super::translate::Translation;
use super::view::SubnetIndex;
use crate::mapping::PortId;
use crate::wire::{MacAddr, siit};

/// The verdict about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered to one destination, after the rewriting.
    Deliver {
        /// The destination.
        to: Destination,
        /// The rewriting.
        rewrite: Rewrite,
    },
    /// Answered: the frame in the reply buffer goes back to the sender's port.
    Reply(Answered),
    /// Flooded to every other port of the segment (learning switches only), with the router's answer, if there is one.
    Flood {
        /// The router's answer in the reply buffer.
        reply: Option<Answered>,
        /// The server at the router's address that gets the frame too, as with [`Verdict::Punt`].
        punt: Option<Service>,
    },
    /// Consumed by the router: a station advertised its address.
    Consumed,
    /// The router sends a request for an address to a subnet: the frame in the reply buffer goes to every port there,
    /// if [`Effects::commit`](super::Effects::commit) returns true.
    Ask {
        /// The subnet of the request.
        subnet: SubnetIndex,
        /// Where the packet goes meanwhile, by an older entry; `None` without one: it is dropped as
        /// [`DropReason::NeighborResolving`].
        deliver: Option<(PortId, Rewrite)>,
    },
    /// Passed to one of the VPC's own servers: to [`answer`](super::responder::answer), which may allocate, or to the
    /// services in a thread of their own.
    Punt(Service),
    /// Dropped.
    Drop(DropReason),
}

impl Verdict {
    /// The outcome for the packet that caused a request, once the request was handled.
    #[inline]
    pub fn after_asking(self, asked: Asking) -> Self {
        match self {
            Self::Ask {
                deliver: Some((port, rewrite)),
                ..
            } => Self::Deliver {
                to: Destination::Port(port),
                rewrite,
            },
            Self::Ask { deliver: None, .. } if asked == Asking::Full => Self::Drop(DropReason::NeighborTableFull),
            Self::Ask { deliver: None, .. } => Self::Drop(DropReason::NeighborResolving),
            other => other,
        }
    }
}

/// Where a delivered frame goes. What is no port of this switch (another host's tunnel) will be a variant here; a host of the
/// outside has a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a port.
    Port(PortId),
}

/// The rewriting of a delivered frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// None: within a subnet the frame arrives as it was sent.
    None,
    /// Routed: new MACs, and the hop count if the profile says so.
    Route {
        /// The interface's MAC.
        destination: MacAddr,
        /// The MAC of the receiving subnet's router.
        source: MacAddr,
        /// Whether the TTL or hop limit is decremented, and the IPv4 header checksum updated.
        decrement_ttl: bool,
    },
    /// A gateway passed it on: the same, and other IPv4 addresses.
    Translate {
        /// The interface's MAC.
        destination: MacAddr,
        /// The MAC of the receiving subnet's router.
        source: MacAddr,
        /// Whether the TTL goes down by one.
        decrement_ttl: bool,
        /// The addresses that it has from here on.
        translation: Translation,
        /// It goes on in fragments, of this many octets at the most.
        most: Option<u16>,
    },
    /// A NAT gateway passed it on in the other family (RFC 7915), with a hop less.
    ChangeFamily {
        /// The interface's MAC.
        destination: MacAddr,
        /// The MAC of the receiving subnet's router.
        source: MacAddr,
        /// The IPv4 addresses and ports that it has, with [`HOST`](crate::wire::siit::HOST) for those of the host behind the
        /// gateway.
        translation: Translation,
        /// The host that an IPv4 packet is for; `None` for an IPv6 packet, which becomes IPv4.
        host: Option<Ipv6Addr>,
        /// It goes on in fragments, of this many octets at the most.
        most: Option<u16>,
    },
}

impl Rewrite {
    /// The addresses and ports of both ends that a gateway gives the packet, if one does: of its sender, and of its receiver. A
    /// port of 0 is what it was.
    pub fn ends(&self) -> Option<[(IpAddr, u16); 2]> {
        let (new, host) = match self {
            Self::None | Self::Route { .. } => return None,
            Self::Translate { translation, .. } => (translation, None),
            Self::ChangeFamily { translation, host, .. } => (translation, *host),
        };
        let (source, destination) = match host {
            None => (new.source.into(), new.destination.into()),
            Some(host) => (siit::embedded(new.source).into(), host.into()),
        };
        Some([(source, new.source_port), (destination, new.destination_port)])
    }
}

/// Defines an enum without data whose variants have a name in the API and a description.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[doc = $text:literal])+ $variant:ident = $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[repr(u8)]
        pub enum $name { $($(#[doc = $text])+ #[serde(rename = $label)] $variant),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Their number: the size of an array of counters indexed by one.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in the API and in scenario files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// The description, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text),+)),+ }
            }

            /// The inverse of [`Self::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use named;

named! {
    /// What the fabric answered itself.
    Answered {
        /// An ARP request got a reply.
        Arp = "arp_reply",
        /// A Neighbor Solicitation got an advertisement.
        Neighbor = "neighbor_advertisement",
        /// A Router Solicitation got an advertisement.
        Router = "router_advertisement",
        /// An echo request to the router got a reply.
        Echo = "echo_reply",
        /// A link-local service sent a packet.
        Service = "service_packet",
        /// A packet that was too long for its path got ICMP Fragmentation Needed or Packet Too Big.
        TooBig = "packet_too_big",
        /// A packet without hops left got ICMP Time Exceeded from a NAT gateway.
        TimeExceeded = "time_exceeded",
        /// A TCP connection that a NAT gateway has forgotten was reset.
        NatReset = "nat_tcp_reset",
        /// A DHCPDISCOVER got an offer.
        Dhcpv4Offer = "dhcpv4_offer",
        /// A DHCPREQUEST or DHCPINFORM got an acknowledgement.
        Dhcpv4Ack = "dhcpv4_ack",
        /// A DHCPREQUEST for an address that the interface does not have was refused.
        Dhcpv4Nak = "dhcpv4_nak",
        /// A DHCPv6 Solicit got an Advertise.
        Dhcpv6Advertise = "dhcpv6_advertise",
        /// A DHCPv6 message got a Reply.
        Dhcpv6Reply = "dhcpv6_reply",
    }
}

named! {
    /// One of the VPC's own servers, which answers outside of the decision.
    Service {
        /// DHCP for IPv4 addresses.
        Dhcpv4 = "dhcpv4",
        /// DHCP for IPv6 addresses and prefixes.
        Dhcpv6 = "dhcpv6",
        /// Metadata, DNS and time at the link-local addresses.
        LinkLocal = "link_local",
    }
}

named! {
    /// Why a frame was dropped.
    DropReason {
        /// Shorter than an Ethernet header.
        Truncated = "truncated",
        /// The offload header contradicts the frame.
        InvalidOffload = "invalid_offload",
        /// The source MAC is not the interface's own.
        SourceMac = "source_mac",
        /// Addressed to the interface's own MAC.
        ToItself = "to_itself",
        /// Neither IPv4, IPv6 nor ARP.
        EtherType = "ether_type",
        /// A broadcast that the VPC does not consume.
        Broadcast = "broadcast",
        /// A multicast that the VPC does not consume.
        Multicast = "multicast",
        /// No interface of the VPC has the destination MAC.
        UnknownMac = "unknown_mac",
        /// The destination MAC belongs to an interface of another subnet.
        OtherSubnetMac = "other_subnet_mac",
        /// The destination interface is attached to no port.
        NotAttached = "not_attached",
        /// Longer than the destination's MTU.
        TooLong = "too_long",
        /// From a stream socket, with a length in front that is 0 or more than any frame has.
        StreamLength = "stream_frame_length",
        /// Not ARP for IPv4 over Ethernet, or cut short.
        ArpMalformed = "arp_malformed",
        /// An ARP reply from a host: it changes nothing and goes nowhere.
        ArpReply = "arp_reply_from_host",
        /// A gratuitous ARP: it changes nothing and goes nowhere.
        ArpGratuitous = "arp_gratuitous",
        /// ARP for an address of the asker itself.
        ArpOwn = "arp_own_address",
        /// ARP for an address that no interface of the subnet has.
        ArpUnknown = "arp_unknown_address",
        /// ARP for an address of another subnet.
        ArpOtherSubnet = "arp_other_subnet",
        /// ARP for a reserved address.
        ArpReserved = "arp_reserved_address",
        /// An ARP probe for another interface's address, where the profile is silent.
        ArpProbe = "arp_probe_for_another",
        /// ARP whose sender address the asker does not own, where the profile is silent.
        ArpForeignSender = "arp_foreign_sender",
        /// ARP whose sender MAC is not the interface's own.
        ArpSenderMac = "arp_sender_mac",
        /// A neighbor discovery message with a hop limit below 255.
        NeighborHopLimit = "neighbor_hop_limit",
        /// A neighbor discovery message with a wrong checksum.
        NeighborChecksum = "neighbor_checksum",
        /// A neighbor discovery message with a code other than 0.
        NeighborCode = "neighbor_code",
        /// A neighbor discovery message that is cut short.
        NeighborTruncated = "neighbor_truncated",
        /// A neighbor discovery option of length 0.
        NeighborOptionLength = "neighbor_option_length",
        /// A solicitation for a multicast address.
        NeighborTarget = "neighbor_target",
        /// A solicitation from the unspecified address that RFC 4861 forbids.
        NeighborUnspecified = "neighbor_unspecified_source",
        /// A neighbor discovery message in fragments.
        NeighborFragmented = "neighbor_fragmented",
        /// A solicitation for an address of the asker itself.
        NeighborOwn = "neighbor_own_address",
        /// A solicitation for an address that no interface of the subnet has.
        NeighborUnknown = "neighbor_unknown_address",
        /// A solicitation for a link-local address that no MAC can be computed from.
        NeighborHidden = "neighbor_not_eui64",
        /// A probe for another interface's address, where the profile is silent.
        NeighborProbe = "neighbor_probe_for_another",
        /// A Neighbor Advertisement from a host: it changes nothing and goes nowhere.
        NeighborAdvertisement = "neighbor_advertisement_from_host",
        /// A Router Advertisement from a host.
        RouterAdvertisement = "router_advertisement_from_host",
        /// A redirect from a host.
        Redirect = "redirect_from_host",
        /// A Router Solicitation in a subnet without IPv6.
        NoIpv6 = "no_ipv6_in_subnet",
        /// More requests than the profile lets a port have answered.
        RateLimited = "responder_rate_limited",
        /// A multicast listener message.
        MulticastListener = "multicast_listener",
        /// A DHCP datagram with a wrong checksum.
        DhcpChecksum = "dhcp_checksum",
        /// The answer to a DHCP message would be longer than the client or the interface takes.
        DhcpTooLong = "dhcp_answer_too_long",
        /// A DHCPv4 message that contradicts itself or RFC 2131, or that a server sent.
        Dhcpv4Malformed = "dhcpv4_malformed",
        /// A DHCPv4 message without type (BOOTP), or of a type that no client sends.
        Dhcpv4MessageType = "dhcpv4_message_type",
        /// A DHCPv4 message for another hardware address than the interface's.
        Dhcpv4ForeignClient = "dhcpv4_foreign_client",
        /// A DHCPv4 message that a relay agent passed on.
        Dhcpv4Relayed = "dhcpv4_relayed",
        /// A DHCPREQUEST that accepts another server's offer.
        Dhcpv4OtherServer = "dhcpv4_other_server",
        /// A DHCPv4 message of an interface without IPv4 address.
        Dhcpv4NoAddress = "dhcpv4_no_address",
        /// DHCPv4 for an address that is not the interface's, where the profile is silent.
        Dhcpv4ForeignAddress = "dhcpv4_foreign_address",
        /// A DHCPRELEASE: it needs no answer, and the address stays the interface's.
        Dhcpv4Release = "dhcpv4_release",
        /// A DHCPDECLINE: it needs no answer, and the address stays the interface's.
        Dhcpv4Decline = "dhcpv4_decline",
        /// A DHCPv6 message that contradicts itself, or lacks or has an option against RFC 8415 section 16.
        Dhcpv6Malformed = "dhcpv6_malformed",
        /// A DHCPv6 message of a type that no client sends.
        Dhcpv6MessageType = "dhcpv6_message_type",
        /// A DHCPv6 message from an address that is not link-local.
        Dhcpv6Source = "dhcpv6_source",
        /// A DHCPv6 message to the router's own address of a type that must go to the group.
        Dhcpv6Unicast = "dhcpv6_unicast",
        /// A DHCPv6 message to another server.
        Dhcpv6OtherServer = "dhcpv6_other_server",
        /// A Solicit with rapid commit, where the profile drops them.
        Dhcpv6RapidCommit = "dhcpv6_rapid_commit",
        /// A Confirm without addresses.
        Dhcpv6NothingToConfirm = "dhcpv6_nothing_to_confirm",
        /// An IPv4 header that contradicts itself or the frame.
        Ipv4Malformed = "ipv4_malformed",
        /// An IPv6 header or chain of extension headers that contradicts itself or the frame.
        Ipv6Malformed = "ipv6_malformed",
        /// A first fragment without the header of its upper layer (RFC 7112).
        Ipv6HeaderChain = "ipv6_header_chain_incomplete",
        /// ICMPv6 without type, code and checksum: it could be neighbor discovery.
        Icmpv6Truncated = "icmpv6_truncated",
        /// For the router or a service, with a wrong IPv4 header checksum.
        Ipv4Checksum = "ipv4_header_checksum",
        /// For the router or a service, from an address that no packet may come from.
        InvalidSource = "invalid_source_address",
        /// For the router or a service, to an address that no packet may go to.
        InvalidDestination = "invalid_destination_address",
        /// A source address that the interface does not own.
        SourceCheck = "source_check",
        /// A destination address that the receiving interface does not own.
        DestinationCheck = "destination_check",
        /// No outbound rule of the sender's security groups allows it.
        SecurityGroupEgress = "security_group_egress",
        /// No inbound rule of the receiver's security groups allows it.
        SecurityGroupIngress = "security_group_ingress",
        /// A fragment without ports, whose first fragment was not let through, and no rule about all ports allows it.
        SecurityGroupFragment = "security_group_fragment",
        /// An outbound entry of the network ACL of the sender's subnet denies it.
        NetworkAclEgress = "network_acl_egress",
        /// An inbound entry of the network ACL of the receiver's subnet denies it.
        NetworkAclIngress = "network_acl_ingress",
        /// It begins a connection, and the instance has as many tracked as it may.
        ConntrackAllowance = "conntrack_allowance_exceeded",
        /// No route to the destination.
        NoRoute = "no_route",
        /// The route's target is gone or detached.
        Blackhole = "blackhole",
        /// For an internet gateway, from a private IPv4 address that no public address is associated with.
        IgwNoPublicAddress = "igw_no_public_address",
        /// For an internet gateway, from an IPv6 address that no interface of the VPC has.
        IgwSource = "igw_source_not_assigned",
        /// Block public access: no gateway to the outside passes it.
        BlockPublicAccess = "block_public_access",
        /// No host of the outside and no interface behind an internet gateway has the public address.
        IgwUnmapped = "igw_unmapped",
        /// At a NAT gateway, neither TCP, UDP nor ICMP; or over IPv6, to an address outside of 64:ff9b::/96.
        NatProtocol = "nat_protocol",
        /// A fragment that a NAT gateway does not pass: of TCP or ICMP, or without its first fragment.
        NatFragment = "nat_fragment",
        /// No port of a NAT gateway is left for the destination.
        NatPortsExhausted = "nat_ports_exhausted",
        /// It belongs to no connection that a host behind the NAT gateway has begun.
        NatUnsolicited = "nat_unsolicited",
        /// From a private NAT gateway to the internet gateway.
        NatPrivateToIgw = "nat_private_to_igw",
        /// Beyond a NAT gateway, to a target that one NAT gateway does not lead to here.
        NatNextHop = "nat_next_hop",
        /// For a host that is reached by an egress-only internet gateway alone: of no connection that it has begun.
        EigwUnsolicited = "eigw_unsolicited",
        /// For a peering connection, to an address that is none of the peered VPC's own.
        PeeringNotTransitive = "peering_not_transitive",
        /// For a gateway endpoint, from an address that no interface of its VPC has.
        EndpointSource = "endpoint_source_not_in_vpc",
        /// For a gateway endpoint, and no host of the outside has the address of the service.
        EndpointNoService = "endpoint_no_service",
        /// From a service, of no connection that a host behind a gateway endpoint has begun.
        EndpointUnsolicited = "endpoint_unsolicited",
        /// The destination lies in the VPC, but no interface has the address.
        NoMapping = "no_mapping",
        /// The router does not know yet where the destination is, and asks.
        NeighborResolving = "neighbor_resolving",
        /// The router does not know where the destination is, and has no room to remember that it asked.
        NeighborTableFull = "neighbor_table_full",
        /// A link-local source or destination, which no router passes on to another link.
        LinkLocalRouted = "link_local_not_routed",
        /// No hop left.
        HopLimit = "hop_limit_exceeded",
        /// For the router itself, which does not answer.
        RouterSilent = "router_silent",
        /// For a link-local service that is not offered.
        NoService = "no_service",
        /// More packets to the link-local services than an interface may send.
        LinkLocalAllowance = "link_local_allowance",
        /// The link-local services had no room for more.
        ServiceBusy = "service_busy",
        /// The interface or its subnet was deleted while the frame was on its way.
        InterfaceGone = "interface_gone",
        /// The destination's device took no more.
        DeviceFull = "device_full",
        /// The destination's device failed.
        DeviceFailed = "device_failed",
        /// Fault: the interface, or the one that the frame is for, has no link.
        FaultLinkDown = "fault_link_down",
        /// Fault: the two interfaces are parted.
        FaultPartition = "fault_partition",
        /// Fault: one of the two interfaces is in a zone that is cut off.
        FaultZoneCut = "fault_zone_cut",
        /// Fault: lost.
        FaultLoss = "fault_loss",
        /// Fault: it would have waited too long for its turn.
        FaultRate = "fault_rate",
        /// Fault: held up, with no memory left to keep it in.
        FaultDelayOverflow = "fault_delay_overflow",
        /// The receiver's allowance of octets is used up (EC2: bw_in_allowance_exceeded).
        BandwidthIn = "bw_in_allowance_exceeded",
        /// The sender's allowance of octets is used up (EC2: bw_out_allowance_exceeded).
        BandwidthOut = "bw_out_allowance_exceeded",
        /// The sender's or the receiver's allowance of packets is used up (EC2: pps_allowance_exceeded).
        PacketRate = "pps_allowance_exceeded",
        /// Fault: the router does not advertise itself.
        FaultRouterAdvertisement = "fault_router_advertisement_withheld",
        /// Fault: DHCP does not answer.
        FaultDhcp = "fault_dhcp_silent",
    }
}

impl DropReason {
    /// Whether a security group, a network ACL or the tracking of connections is the reason.
    pub const fn is_of_firewall(self) -> bool {
        matches!(
            self,
            Self::SecurityGroupEgress
                | Self::SecurityGroupIngress
                | Self::SecurityGroupFragment
                | Self::NetworkAclEgress
                | Self::NetworkAclIngress
                | Self::ConntrackAllowance
        )
    }
}

impl From<crate::wire::neighbor::Invalid> for DropReason {
    fn from(invalid: crate::wire::neighbor::Invalid) -> Self {
        use crate::wire::neighbor::Invalid;
        match invalid {
            Invalid::HopLimit => Self::NeighborHopLimit,
            Invalid::Checksum => Self::NeighborChecksum,
            Invalid::Code => Self::NeighborCode,
            Invalid::Truncated => Self::NeighborTruncated,
            Invalid::OptionLength => Self::NeighborOptionLength,
            Invalid::Target => Self::NeighborTarget,
            Invalid::UnspecifiedSource => Self::NeighborUnspecified,
            Invalid::SolicitedToGroup => Self::NeighborAdvertisement,
            Invalid::Fragmented => Self::NeighborFragmented,
        }
    }
}

impl From<crate::wire::frame::Malformed> for DropReason {
    fn from(malformed: crate::wire::frame::Malformed) -> Self {
        use crate::wire::frame::Malformed;
        match malformed {
            Malformed::Ethernet => Self::Truncated,
            Malformed::Ipv4 => Self::Ipv4Malformed,
            Malformed::Ipv6 => Self::Ipv6Malformed,
            Malformed::Ipv6HeaderChain => Self::Ipv6HeaderChain,
        }
    }
}

impl From<crate::wire::validity::InvalidHeader> for DropReason {
    fn from(invalid: crate::wire::validity::InvalidHeader) -> Self {
        use crate::wire::validity::InvalidHeader;
        match invalid {
            InvalidHeader::Checksum => Self::Ipv4Checksum,
            InvalidHeader::Source => Self::InvalidSource,
            InvalidHeader::Destination => Self::InvalidDestination,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_reason_has_a_name_of_its_own_and_a_sentence() {
        let mut names: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            assert_eq!(DropReason::from_name(reason.name()), Some(*reason));
            assert!(reason.description().ends_with('.'), "{reason}");
        }
    }
}
