//! Tests that an interface sends with its own MAC and addresses, and receives only packets for them.

use super::lab::{Case, Expect::*, Host::*, Lab, NOBODY, ROUTER_A, arp, case, ethernet, ping6, tables, udp};
use crate::datapath::DropReason::*;
use crate::datapath::RouteTarget;

const LLA_A: &str = "fe80::8ca:5ff:fe9c:fc14";

tables! {
    fn a_frame_has_the_mac_of_the_interface_that_sends_it() {
        case("another's MAC", A, udp(B, C.mac(), "10.0.1.11", "10.0.1.10"), Drop(SourceMac)),
        case("a MAC of no interface", A, ethernet(B.mac(), NOBODY, 0x0800, &[0; 46]), Drop(SourceMac)),
        case("in ARP", A, arp(1, B.mac(), "10.0.1.10", "10.0.1.11"), Drop(SourceMac)),
        case("even with the check off", A, udp(B, B.mac(), "10.0.1.10", "10.0.1.11"), Drop(SourceMac))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
    }

    /// EC2 guide, "Source/destination checking".
    fn a_packet_leaves_only_with_a_source_that_the_interface_owns() {
        case("another's address", A, udp(A, B.mac(), "10.0.1.14", "10.0.1.11"), Drop(SourceCheck)),
        case("an unassigned address", A, udp(A, B.mac(), "10.0.1.99", "10.0.1.11"), Drop(SourceCheck)),
        case("unspecified", A, udp(A, B.mac(), "0.0.0.0", "10.0.1.11"), Drop(SourceCheck)),
        case("another's IPv6 address", A, udp(A, B.mac(), "2001:db8:1:1::e", "2001:db8:1:1::b"), Drop(SourceCheck)),
        case("an unassigned IPv6 address", A, udp(A, B.mac(), "2001:db8::", "2001:db8:1:1::b"), Drop(SourceCheck)),
        case("another's link-local", A, udp(A, B.mac(), "fe80::ec6:ccff:fe30:78dd", "2001:db8:1:1::b"), Drop(SourceCheck)),
        // Hosts with RFC 7217 link-locals cannot use them.
        case("a link-local that is not EUI-64", A, udp(A, B.mac(), "fe80::5562:63fd:691b:3c92", "2001:db8:1:1::b"),
            Drop(SourceCheck)),
        case("the own link-local", A, udp(A, B.mac(), LLA_A, "2001:db8:1:1::b"), To(B)),
        case("on the way to the router as well", A, udp(A, ROUTER_A, "10.0.1.99", "10.0.2.10"), Drop(SourceCheck)),
        case("off", A, udp(A, B.mac(), "10.0.1.99", "10.0.1.11"), To(B)).given(|lab: &mut Lab| lab.unchecked(&[A])),
        case("the same address in another VPC is not the interface's", A, udp(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"),
            Drop(SourceCheck)).given(|lab: &mut Lab| lab.map(lab.sa, "2001:db8:1:1::a/128", None)),
    }

    /// Seen on EC2: dropped before the target's tcpdump, until the target's check was off too.
    fn a_packet_arrives_only_for_a_destination_that_the_interface_owns() {
        case("an unassigned address", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.99"), Drop(DestinationCheck)),
        case("an address of another", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.14"), Drop(DestinationCheck)),
        case("an address of another subnet", A, udp(A, B.mac(), "10.0.1.10", "10.0.2.10"), Drop(DestinationCheck)),
        case("an address of another by IPv6", A, udp(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::e"), Drop(DestinationCheck)),
        case("a made-up link-local", A, udp(A, B.mac(), LLA_A, "fe80::8ca:5ff:fe9c:fc02"), Drop(DestinationCheck)),
        case("off", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.99"), To(B)).given(|lab: &mut Lab| lab.unchecked(&[B])),
    }

    /// Seen on EC2: 2001:db8:: to 2001:db8::1 with static neighbor entries, once both checks were off.
    fn addresses_that_aws_never_heard_of_pass_when_both_checks_are_off() {
        case("both on", A, ping6(A, B.mac(), "2001:db8::", "2001:db8::1"), Drop(SourceCheck)),
        case("the receiver's on", A, ping6(A, B.mac(), "2001:db8::", "2001:db8::1"), Drop(DestinationCheck))
            .given(|lab: &mut Lab| lab.unchecked(&[A])),
        case("the sender's on", A, ping6(A, B.mac(), "2001:db8::", "2001:db8::1"), Drop(SourceCheck))
            .given(|lab: &mut Lab| lab.unchecked(&[B])),
        case("both off", A, ping6(A, B.mac(), "2001:db8::", "2001:db8::1"), To(B))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("both off, back", B, ping6(B, A.mac(), "2001:db8::1", "2001:db8::"), To(A))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("both off, but another subnet", A, ping6(A, C.mac(), "2001:db8::", "2001:db8::1"), Drop(OtherSubnetMac))
            .given(|lab: &mut Lab| lab.unchecked(&[A, C])),
        case("both off, by way of the router", A, ping6(A, ROUTER_A, "2001:db8::", "2001:db8::1"), Drop(NoRoute))
            .given(|lab: &mut Lab| lab.unchecked(&[A, C])),
    }

    /// VPC guide, "Subnet sizing": "We do not support broadcast in a VPC". With both checks off only this rule applies.
    fn the_first_and_last_address_of_a_subnet_are_groups() {
        case("the last, in a frame to a host", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.255"), Drop(Broadcast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("the first, a broadcast to old kernels", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.0"), Drop(Broadcast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("0.0.0.0", A, udp(A, B.mac(), "10.0.1.10", "0.0.0.0"), Drop(Broadcast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("to the router", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.1.255"), Drop(Broadcast)),
        case("of another subnet, by way of the router", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.255"), Drop(NoMapping)),
        case("of another subnet, which a route leads to a host", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.255"), Drop(Broadcast))
            .given(|lab: &mut Lab| {
                lab.unchecked(&[B]);
                super::routing::route(lab, "10.0.2.0/24", RouteTarget::Interface(lab.interfaces[&B]));
            }),
        case("the one before the last is a host's", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.254"), To(B))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("the last of a /28 inside is a host's", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.47"), To(B)),
    }

    /// EC2 guide, "Prefix delegation": prefixes are included in source/destination checks.
    fn delegated_prefixes_pass_the_checks() {
        case("from within a /28", B, udp(B, A.mac(), "10.0.1.47", "10.0.1.10"), To(A)),
        case("to within a /28", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.40"), To(B)),
        case("from within a /80", B, udp(B, A.mac(), "2001:db8:1:1:5:ffff:ffff:ffff", "2001:db8:1:1::a"), To(A)),
        case("to within a /80", A, udp(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1:5::1"), To(B)),
        case("past a /28", B, udp(B, A.mac(), "10.0.1.48", "10.0.1.10"), Drop(SourceCheck)),
        case("past a /80", B, udp(B, A.mac(), "2001:db8:1:1:6::", "2001:db8:1:1::a"), Drop(SourceCheck)),
        case("not another's", A, udp(A, B.mac(), "10.0.1.40", "10.0.1.11"), Drop(SourceCheck)),
        case("taken away again", B, udp(B, A.mac(), "2001:db8:1:1:5::1", "2001:db8:1:1::a"), Drop(SourceCheck))
            .given(|lab: &mut Lab| lab.map(lab.sa, "2001:db8:1:1:5::/80", None)),
    }
}
