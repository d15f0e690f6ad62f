//! Tests delivery within a subnet: by destination MAC, and never flooded.

use super::lab::{
    Case, Expect::*, Host::*, Lab, NOBODY, ROUTER_B, case, ethernet, ipv6, patched, ping6, tables, udp, v6,
};
use crate::datapath::{DropReason::*, FrameMeta};
use crate::wire::MacAddr;

const BROADCAST: MacAddr = MacAddr::BROADCAST;

tables! {
    /// VPC guide: broadcast and multicast are not supported. Seen on EC2: only the host itself answers its all-nodes
    /// ping.
    fn nothing_is_delivered_to_a_group() {
        case("broadcast", A, udp(A, BROADCAST, "10.0.1.10", "10.0.1.255"), Drop(Broadcast)),
        case("DHCP discovery", A, udp(A, BROADCAST, "0.0.0.0", "255.255.255.255"), Drop(Broadcast)),
        case("IPv4 multicast", A, udp(A, MacAddr([1, 0, 0x5e, 0, 0, 0xfb]), "10.0.1.10", "224.0.0.251"), Drop(Multicast)),
        case("IPv6 multicast", A, udp(A, NOBODY, "2001:db8:1:1::a", "ff02::fb"), Drop(Multicast)),
        case("all nodes", A, ping6(A, NOBODY, "2001:db8:1:1::a", "ff02::1"), Drop(Multicast)),
        case("from a host whose check is off", A, udp(A, NOBODY, "2001:db8::1", "ff02::fb"), Drop(Multicast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        // A packet for a group is dropped also in a frame to a single host.
        case("IPv4 multicast to one MAC", A, udp(A, B.mac(), "10.0.1.10", "224.0.0.251"), Drop(Multicast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("IPv4 broadcast to one MAC", A, udp(A, B.mac(), "10.0.1.10", "255.255.255.255"), Drop(Broadcast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("IPv6 multicast to one MAC", A,
            ipv6(A.mac(), B.mac(), v6("2001:db8:1:1::a"), v6("ff02::1"), 17, 64, &[0, 9, 0, 9, 0, 8, 0, 0]), Drop(Multicast))
            .given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("one host's packet to the broadcast MAC", A, udp(A, BROADCAST, "10.0.1.10", "10.0.1.11"), Drop(Broadcast)),
    }

    /// VPC guide, "Route tables": within a subnet, data link layer routing.
    fn a_frame_within_a_subnet_goes_to_the_owner_of_its_mac_as_it_was_sent() {
        case("IPv4", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B)),
        case("IPv4, secondary address", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.12"), To(B)),
        case("IPv6", A, udp(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"), To(B)),
        case("between link-locals", A, udp(A, B.mac(), "fe80::8ca:5ff:fe9c:fc14", "fe80::60:cbff:fecf:193e"), To(B)),
        case("and back", B, udp(B, A.mac(), "10.0.1.12", "10.0.1.10"), To(A)),
        case("ping", A, ping6(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"), To(B)),
    }

    /// Stale neighbor entries, as after a failover on EC2: the frame's destination MAC decides.
    fn a_stale_neighbor_entry_sends_frames_into_the_void() {
        case("no interface has the MAC any more", A, udp(A, NOBODY, "10.0.1.10", "10.0.1.11"), Drop(UnknownMac)),
        case("its interface lost the address", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.12"), Drop(DestinationCheck))
            .given(|lab: &mut Lab| lab.map(lab.sa, "10.0.1.12/32", Some(A))),
        case("its interface was deleted", A, udp(A, E.mac(), "10.0.1.10", "10.0.1.14"), Drop(UnknownMac))
            .given(|lab: &mut Lab| {
                lab.map(lab.sa, "10.0.1.14/32", None);
                lab.map(lab.sa, "2001:db8:1:1::e/128", None);
                lab.writer.remove_interface(lab.interfaces[&E]);
            }),
        case("its interface is attached to no port", A, udp(A, E.mac(), "10.0.1.10", "10.0.1.14"), Drop(NotAttached)),
        // The addresses do not matter: the frame reaches the host with the MAC, which is not the packet's destination.
        case("another host has the MAC", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.14"), Drop(DestinationCheck)),
    }

    /// Seen on EC2: it does not arrive, in the same zone or not.
    fn a_frame_to_a_mac_of_another_subnet_is_dropped() {
        case("with the owner's address", A, udp(A, C.mac(), "10.0.1.10", "10.0.2.10"), Drop(OtherSubnetMac)),
        case("with IPv6", A, udp(A, C.mac(), "2001:db8:1:1::a", "2001:db8:1:2::c"), Drop(OtherSubnetMac)),
        case("with both checks off", A, udp(A, C.mac(), "2001:db8::", "2001:db8::1"), Drop(OtherSubnetMac))
            .given(|lab: &mut Lab| lab.unchecked(&[A, C])),
        case("to the other subnet's router", A, udp(A, ROUTER_B, "10.0.1.10", "10.0.2.10"), Drop(UnknownMac)),
        case("to a MAC of another VPC", A, udp(A, X.mac(), "10.0.1.10", "10.0.1.10"), Drop(UnknownMac)),
    }

    fn a_frame_to_the_sender_s_own_mac_goes_nowhere() {
        case("IPv4", A, udp(A, A.mac(), "10.0.1.10", "10.0.1.10"), Drop(ToItself)),
    }

    fn only_ipv4_ipv6_and_arp_are_carried() {
        case("VLAN tag", A, ethernet(B.mac(), A.mac(), 0x8100, &[0; 46]), Drop(EtherType)),
        case("LLDP", A, ethernet(MacAddr([1, 0x80, 0xc2, 0, 0, 0xe]), A.mac(), 0x88cc, &[0; 46]), Drop(EtherType)),
        case("802.3 length", A, ethernet(B.mac(), A.mac(), 46, &[0; 46]), Drop(EtherType)),
    }

    fn a_frame_that_contradicts_itself_is_dropped() {
        case("shorter than a header", A, vec![0; 13], Drop(Truncated)),
        case("empty", A, vec![], Drop(Truncated)),
        case("IPv4 cut short", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11")[..33].to_vec(), Drop(Ipv4Malformed)),
        case("IPv4 longer than its frame", A, patched(udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), &[(17, 200)]),
            Drop(Ipv4Malformed)),
        case("IPv4 header of 16 octets", A, patched(udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), &[(14, 0x44)]),
            Drop(Ipv4Malformed)),
        case("IPv6 in an IPv4 frame", A, patched(udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), &[(14, 0x65)]),
            Drop(Ipv4Malformed)),
        case("IPv6 longer than its frame", A,
            patched(udp(A, B.mac(), "2001:db8:1:1::a", "2001:db8:1:1::b"), &[(19, 200)]), Drop(Ipv6Malformed)),
        // RFC 2675: a jumbogram, which no Ethernet frame is.
        case("extension header after the end", A,
            patched(ipv6(A.mac(), B.mac(), v6("2001:db8:1:1::a"), v6("2001:db8:1:1::b"), 0, 64, &[17, 0, 1, 4, 0, 0, 0, 0]), &[(19, 0)]),
            Drop(Ipv6Malformed)),
        case("extension header over the end", A,
            ipv6(A.mac(), B.mac(), v6("2001:db8:1:1::a"), v6("2001:db8:1:1::b"), 0, 64, &[17, 9, 0, 0, 0, 0, 0, 0]),
            Drop(Ipv6Malformed)),
    }

    /// EC2 guide, "Network MTU": 9001 inside a VPC.
    fn a_packet_longer_than_the_mtu_does_not_arrive() {
        case("9001 octets", A, long(9001), To(B)),
        case("9002 octets", A, long(9002), Drop(TooLong)),
        case("64 KiB that will be cut into packets of 8961", A, segments(60_000), To(B))
            .meta(FrameMeta { checksum_pending: true, segment_size: 8961 }),
        case("64 KiB that will be cut into packets of 9002", A, segments(60_000), Drop(TooLong))
            .meta(FrameMeta { checksum_pending: true, segment_size: 8962 }),
        case("less than one segment is no longer than it is", A, segments(100), To(B))
            .meta(FrameMeta { checksum_pending: true, segment_size: 9000 }),
        case("an interface with a smaller MTU", A, long(1501), Drop(TooLong))
            .given(|lab: &mut Lab| lab.writer.set_mtu(lab.interfaces[&B], Some(1500))),
        case("an interface with a smaller MTU, short enough", A, long(1500), To(B))
            .given(|lab: &mut Lab| lab.writer.set_mtu(lab.interfaces[&B], Some(1500))),
    }
}

/// A UDP packet of this many octets from a to b.
fn long(octets: usize) -> Vec<u8> {
    let datagram = vec![0; octets - 20];
    super::lab::ipv4(A.mac(), B.mac(), A.ipv4(), B.ipv4(), 17, 64, &datagram)
}

/// A TCP packet with this many octets of payload from a to b.
fn segments(payload: usize) -> Vec<u8> {
    let mut tcp = vec![0; 20 + payload];
    tcp[12] = 5 << 4;
    super::lab::ipv4(A.mac(), B.mac(), A.ipv4(), B.ipv4(), 6, 64, &tcp)
}
