//! Tests routing: a frame to the router's MAC leaves the subnet by the route table, with its hop count unchanged.

use std::sync::Arc;

use super::lab::{
    Case, Expect::*, Host::*, Lab, ROUTER_A, ROUTER_B, ROUTER_D, case, ipv4, ipv6, patched, resummed, tables, udp, v6,
};
use super::second_opinion::agrees;
use crate::datapath::{Answered, DropReason::*, FrameMeta, RouteTable, RouteTarget, Verdict};
use crate::model::profile::{Profile, Ttl};

fn unchecked(lab: &mut Lab) {
    lab.unchecked(&[A]);
}

const LLA_A: &str = "fe80::8ca:5ff:fe9c:fc14";

/// Gives `sa` the local route and one more.
pub(super) fn route(lab: &mut Lab, destination: &str, target: RouteTarget) {
    let net = |text: &str| text.parse().expect("a range");
    let mut table = RouteTable::local(&[net("10.0.0.0/16"), net("2001:db8:1::/56")]);
    table.extend([(net(destination), target)]);
    lab.writer.set_routes(lab.sa, Arc::new(table));
}

tables! {
    /// VPC guide, "Route tables": every table has a local route for the VPC's ranges.
    fn the_local_route_reaches_every_subnet_of_the_vpc() {
        case("IPv4", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, false)),
        case("IPv6", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::c"), Routed(C, ROUTER_B, false)),
        case("to a subnet without IPv6", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.4.10"), Routed(D, ROUTER_D, false)),
        case("and back", C, udp(C, ROUTER_B, "10.0.2.10", "10.0.1.10"), Routed(A, ROUTER_A, false)),
        case("to a delegated /28", C, udp(C, ROUTER_B, "10.0.2.10", "10.0.1.40"), Routed(B, ROUTER_A, false)),
        case("to a delegated /80", C, udp(C, ROUTER_B, "2001:db8:1:2::c", "2001:db8:1:1:5::9"), Routed(B, ROUTER_A, false)),
        case("within the subnet, for a host that sends everything to its router", A,
            udp(A, ROUTER_A, "10.0.1.10", "10.0.1.11"), Routed(B, ROUTER_A, false)),
        case("with the last hop, for the router takes none", A,
            resummed(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(22, 1)]), Routed(C, ROUTER_B, false)),
    }

    /// A traceroute on EC2 does not show the VPC's router; the profile may let it.
    fn a_routed_packet_loses_a_hop_only_where_the_profile_says_so() {
        case("IPv4", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, true))
            .with(|p| p.router.ttl = Ttl::Decrement),
        case("IPv4 with the last hop", A, resummed(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(22, 1)]), Drop(HopLimit))
            .with(|p| p.router.ttl = Ttl::Decrement),
        case("IPv6 with the last hop", A,
            patched(udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::c"), &[(21, 1)]), Drop(HopLimit))
            .with(|p| p.router.ttl = Ttl::Decrement),
    }

    /// A field of the profile: ibm-cloud-docs/vpc#190 and similar reports.
    fn a_way_may_be_narrower_than_its_ends_and_say_nothing() {
        case("what fits", A, long4(1500), Routed(C, ROUTER_B, false)).with(narrow_path),
        case("what does not, where no error is sent", A, long4(1501), Drop(TooLong)).with(narrow_path),
        case("the same for IPv6", A, ipv6(A.mac(), ROUTER_A, v6("2001:db8:1:1::a"), v6("2001:db8:1:2::c"), 17, 64, &[0; 1461]),
            Drop(TooLong)).with(narrow_path),
        case("within the subnet the way is as wide as its ends", A,
            ipv6(A.mac(), B.mac(), v6("2001:db8:1:1::a"), v6("2001:db8:1:1::b"), 17, 64, &[0; 1461]), To(B)).with(narrow_path),
    }

    /// RFC 1812 sections 4.2.2.9 and 5.2.2, RFC 1122 section 3.2.1, RFC 8200 section 3, RFC 4291 section 2.
    fn a_router_takes_only_packets_with_a_valid_header() {
        case("TTL 1, where the router takes no hop", A, resummed(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(22, 1)]),
            Routed(C, ROUTER_B, false)),
        case("TTL 0", A, resummed(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(22, 0)]), Drop(HopLimit)),
        case("hop limit 0", A, patched(udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::c"), &[(21, 0)]), Drop(HopLimit)),
        case("a wrong header checksum", A, patched(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(24, 0), (25, 0)]),
            Drop(Ipv4Checksum)),
        case("the same to a service", A, patched(udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), &[(24, 0), (25, 0)]),
            Drop(Ipv4Checksum)),
        case("TTL 0 to a service, which is no hop", A, resummed(udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), &[(22, 0)]),
            LeftTo(crate::datapath::Service::LinkLocal)),
        case("the same within the subnet, which is the host's to judge", A,
            patched(udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), &[(22, 0), (24, 0), (25, 0)]), To(B)),
        case("from loopback", A, udp(A, ROUTER_A, "127.0.0.1", "10.0.2.10"), Drop(InvalidSource)).given(unchecked),
        case("from a group", A, udp(A, ROUTER_A, "224.0.0.18", "10.0.2.10"), Drop(InvalidSource)).given(unchecked),
        case("from the broadcast address", A, udp(A, ROUTER_A, "255.255.255.255", "10.0.2.10"), Drop(InvalidSource)).given(unchecked),
        case("from no address", A, udp(A, ROUTER_A, "0.0.0.0", "10.0.2.10"), Drop(InvalidSource)).given(unchecked),
        case("from no address to a service", A, udp(A, ROUTER_A, "0.0.0.0", "169.254.169.254"), Drop(InvalidSource))
            .given(unchecked),
        case("from ::", A, udp(A, ROUTER_A, "::", "2001:db8:1:2::c"), Drop(InvalidSource)).given(unchecked),
        case("from ::1", A, udp(A, ROUTER_A, "::1", "2001:db8:1:2::c"), Drop(InvalidSource)).given(unchecked),
        case("from an IPv6 group", A, udp(A, ROUTER_A, "ff02::1", "2001:db8:1:2::c"), Drop(InvalidSource)).given(unchecked),
        case("to loopback", A, udp(A, ROUTER_A, "10.0.1.10", "127.0.0.1"), Drop(InvalidDestination)),
        case("to ::1", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "::1"), Drop(InvalidDestination)),
    }

    fn beyond_the_vpc_no_route_leads() {
        case("IPv4", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Drop(NoRoute)),
        case("IPv6", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:ffff::1"), Drop(NoRoute)),
        case("unless a route is a black hole", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Drop(Blackhole))
            .given(|lab: &mut Lab| route(lab, "0.0.0.0/0", RouteTarget::Blackhole)),
        case("or its target is detached", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Drop(Blackhole))
            .given(|lab: &mut Lab| route(lab, "0.0.0.0/0", RouteTarget::Interface(lab.interfaces[&E]))),
    }

    /// VPC guide, "Middlebox routing": the target's check must be off.
    fn a_route_to_an_interface_leads_there_whatever_the_destination() {
        case("check on", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Drop(DestinationCheck))
            .given(|lab: &mut Lab| route(lab, "0.0.0.0/0", RouteTarget::Interface(lab.interfaces[&C]))),
        case("check off", A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"), Routed(C, ROUTER_B, false))
            .given(|lab: &mut Lab| {
                lab.unchecked(&[C]);
                route(lab, "0.0.0.0/0", RouteTarget::Interface(lab.interfaces[&C]));
            }),
    }

    /// VPC guide, "Route priority": of two routes the more specific one wins, within the VPC's ranges too.
    fn a_route_within_the_vpc_leads_its_own_subnet_and_no_other() {
        case("IPv4", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(Blackhole))
            .given(|lab: &mut Lab| route(lab, "10.0.2.0/24", RouteTarget::Blackhole)),
        case("IPv6", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::c"), Drop(Blackhole))
            .given(|lab: &mut Lab| route(lab, "2001:db8:1:2::/64", RouteTarget::Blackhole)),
        case("to another subnet", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.4.10"), Routed(D, ROUTER_D, false))
            .given(|lab: &mut Lab| route(lab, "10.0.2.0/24", RouteTarget::Blackhole)),
        case("from a subnet with another table", C, udp(C, ROUTER_B, "10.0.2.10", "10.0.4.10"), Routed(D, ROUTER_D, false))
            .given(|lab: &mut Lab| route(lab, "10.0.4.0/24", RouteTarget::Blackhole)),
        case("instead of the local one", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(Blackhole))
            .given(|lab: &mut Lab| route(lab, "10.0.0.0/16", RouteTarget::Blackhole)),
    }

    fn within_the_vpc_an_unassigned_address_is_not_reached() {
        case("in a subnet", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.99"), Drop(NoMapping)),
        case("in no subnet", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.9.1"), Drop(NoMapping)),
        case("IPv6 in a subnet", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::99"), Drop(NoMapping)),
        case("IPv6 in no subnet", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:9::1"), Drop(NoMapping)),
        case("the other subnet's gateway", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.1"), Drop(NoMapping)),
        case("in another VPC with the same ranges", X, udp(X, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(NoMapping)),
        case("on an interface that is attached to no port", C, udp(C, ROUTER_B, "10.0.2.10", "10.0.1.14"), Drop(NotAttached)),
    }

    /// RFC 4291 section 2.5.6 and RFC 3927 section 2.7: no router forwards link-local packets to another link.
    fn link_local_packets_stay_on_their_link() {
        case("destination", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "fe80::4da:dfff:feb6:a7c6"), Drop(LinkLocalRouted)),
        case("IPv4 destination", A, udp(A, ROUTER_A, "10.0.1.10", "169.254.1.1"), Drop(LinkLocalRouted)),
        case("source", A, udp(A, ROUTER_A, LLA_A, "2001:db8:1:2::c"), Drop(LinkLocalRouted)),
        case("IPv4 source", A, udp(A, ROUTER_A, "169.254.1.1", "10.0.2.10"), Drop(LinkLocalRouted))
            .given(|lab: &mut Lab| lab.unchecked(&[A])),
        case("source, to the same link", A, udp(A, ROUTER_A, LLA_A, "2001:db8:1:1::b"), Routed(B, ROUTER_A, false)),
    }

    /// RFC 792: only a packet with DF set is answered.
    fn a_packet_too_long_for_the_way_is_dropped_where_no_error_may_be_sent() {
        case("may be fragmented", A, resummed(long4(1501), &[(20, 0)]), Drop(TooLong)).given(narrow),
        case("more than the gateway may send", A, long4(1501), Drop(TooLong)).given(narrow)
            .with(|p| p.router.errors_per_second = 1).times(2),
        case("from the unspecified address", A, ipv6(A.mac(), ROUTER_A, v6("::"), v6("2001:db8:1:2::c"), 17, 64, &[0; 1461]), Drop(InvalidSource))
            .given(|lab: &mut Lab| { narrow(lab); lab.unchecked(&[A]); }),
        case("an ICMP error", A, resummed(long4(1501), &[(23, 1), (34, 3)]), Drop(TooLong)).given(narrow),
        case("an ICMPv6 error", A, ipv6(A.mac(), ROUTER_A, v6("2001:db8:1:1::a"), v6("2001:db8:1:2::c"), 58, 64, &[1; 1461]), Drop(TooLong))
            .given(narrow),
        case("short enough", A, long4(1500), Routed(C, ROUTER_B, false)).given(narrow),
    }
}

/// c takes 1500 octets. A path of 1500 octets between subnets, without ICMP errors.
fn narrow_path(profile: &mut Profile) {
    (profile.router.path_mtu, profile.router.path_mtu_errors) = (Some(1500), false);
}

fn narrow(lab: &mut Lab) {
    lab.writer.set_mtu(lab.interfaces[&C], Some(1500));
}

/// A UDP packet of this many octets from a to c, with DF set.
fn long4(octets: usize) -> Vec<u8> {
    ipv4(A.mac(), ROUTER_A, A.ipv4(), C.ipv4(), 17, 64, &vec![7; octets - 20])
}

/// EC2 guide, "Network MTU": tracepath shows `pmtu` from the gateway's address.
#[test]
fn the_gateway_tells_the_sender_of_a_packet_that_is_too_long_for_the_way() {
    let mut lab = Lab::new(Profile::aws());
    narrow(&mut lab);
    let sent = long4(1501);
    let verdict = lab.send(A, &sent, FrameMeta::default());
    assert_eq!(verdict, Verdict::Reply(Answered::TooBig));
    let frame = lab.reply.frame();
    agrees(frame);
    // To a from the router; 576 octets from 10.0.1.1; Destination Unreachable, Fragmentation Needed, 1500; the packet.
    assert_eq!(frame[..14], super::lab::hex("0aca059cfc14 02d00b1e7bbc 0800"));
    assert_eq!((frame.len() - 14, &frame[16..18]), (576, &[2, 64][..]));
    assert_eq!(frame[26..34], [10, 0, 1, 1, 10, 0, 1, 10]);
    assert_eq!(
        (frame[34..36].to_vec(), frame[38..42].to_vec()),
        (vec![3, 4], vec![0, 0, 0x05, 0xdc])
    );
    assert_eq!(frame[42..], sent[14..14 + 548]);

    let datagram = vec![7; 1461];
    let sent = ipv6(
        A.mac(),
        ROUTER_A,
        v6("2001:db8:1:1::a"),
        v6("2001:db8:1:2::c"),
        17,
        64,
        &datagram,
    );
    let verdict = lab.send(A, &sent, FrameMeta::default());
    assert_eq!(verdict, Verdict::Reply(Answered::TooBig));
    let frame = lab.reply.frame();
    agrees(frame);
    // 1280 octets from ::1 of the subnet; Packet Too Big, 1500; the packet.
    assert_eq!(frame.len() - 14, 1280);
    assert_eq!(frame[22..38], v6("2001:db8:1:1::1").octets());
    assert_eq!(
        (frame[54..56].to_vec(), frame[58..62].to_vec()),
        (vec![2, 0], vec![0, 0, 0x05, 0xdc])
    );
    assert_eq!(frame[62..], sent[14..14 + 1232]);
}
