//! Tests Neighbor Discovery: the mapping service answers for assigned addresses and EUI-64 link-locals, and not for the
//! asker's own or unknown ones.

use smoltcp::wire::NdiscRepr;

use super::lab::{
    Case, Expect::*, Host::*, Lab, NOBODY, ROUTER_A, case, hex, icmpv6, ipv6, patched, solicitation, tables, v6,
};
use super::second_opinion::ndisc;
use crate::datapath::{DropReason::*, FrameMeta};
use crate::model::profile::{Answer, LinkLocals, Profile, UnicastRequest};

/// a's own link-local.
const LLA: &str = "fe80::8ca:5ff:fe9c:fc14";

/// "2001:db8:1:1::b is at 02:60:cb:cf:19:3e": solicited, override.
const B_IS_AT: &str = "0aca059cfc14 0260cbcf193e 86dd 6000000000203aff
    20010db800010001000000000000000b 20010db800010001000000000000000a
    8800a4e460000000 20010db800010001000000000000000b 0201 0260cbcf193e";

/// "fe80::8ca:5ff:fe9c:fc02 is at 0a:ca:05:9c:fc:02", which no interface has.
const MADE_UP_IS_AT: &str = "0aca059cfc14 0aca059cfc02 86dd 6000000000203aff
    fe8000000000000008ca05fffe9cfc02 fe8000000000000008ca05fffe9cfc14
    8800f16a60000000 fe8000000000000008ca05fffe9cfc02 0201 0aca059cfc02";

const A_GLOBAL: &str = "2001:db8:1:1::a";

tables! {
    /// Seen on EC2 ("IPv6, the Mapping Service and the lack of multicast"): answered with the owner's MAC.
    fn a_solicitation_for_an_assigned_address_gets_a_solicited_advertisement() {
        case("to the solicited-node group", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None), Reply(hex(B_IS_AT))),
        case("to the owner's MAC", A,
            solicitation(A, A_GLOBAL, "2001:db8:1:1::b", Some((B.mac(), "2001:db8:1:1::b"))), Reply(hex(B_IS_AT))),
        case("to a stale MAC", A,
            solicitation(A, A_GLOBAL, "2001:db8:1:1::b", Some((NOBODY, "2001:db8:1:1::b"))), Reply(hex(B_IS_AT))),
        case("with the checksum left to the hardware", A,
            patched(solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None), &[(56, 0x5a)]), Reply(hex(B_IS_AT)))
            .meta(FrameMeta { checksum_pending: true, segment_size: 0 }),
        case("behind a hop-by-hop header", A, {
            let plain = solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None);
            let rest = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &plain[54..]].concat();
            let group = crate::wire::MacAddr::from_slice(&plain).expect("six octets");
            ipv6(A.mac(), group, v6(A_GLOBAL), v6("ff02::1:ff00:b"), 0, 255, &rest)
        }, Reply(hex(B_IS_AT))),
    }

    /// Seen on EC2: made-up fe80::8ca:5ff:fe9c:fc02, 03 and 04 all resolved, and no interface had them.
    fn any_eui64_link_local_resolves_to_the_mac_that_it_was_made_from() {
        case("of no interface", A, solicitation(A, LLA, "fe80::8ca:5ff:fe9c:fc02", None), Reply(hex(MADE_UP_IS_AT))),
        case("b's", A, solicitation(A, LLA, "fe80::60:cbff:fecf:193e", None), Reply(hex(
            "0aca059cfc14 0260cbcf193e 86dd 6000000000203aff
             fe800000000000000060cbfffecf193e fe8000000000000008ca05fffe9cfc14
             8800605c60000000 fe800000000000000060cbfffecf193e 0201 0260cbcf193e",
        ))),
        case("of an interface in another subnet", A, solicitation(A, LLA, "fe80::4da:dfff:feb6:a7c6", None), Reply(hex(
            "0aca059cfc14 06dadfb6a7c6 86dd 6000000000203aff
             fe8000000000000004dadffffeb6a7c6 fe8000000000000008ca05fffe9cfc14
             88006b9f60000000 fe8000000000000004dadffffeb6a7c6 0201 06dadfb6a7c6",
        ))),
    }

    /// Seen on EC2: fe80::5562:63fd:691b:3c92 was never resolved.
    fn a_link_local_that_is_not_eui64_meets_silence() {
        case("stable privacy", A, solicitation(A, LLA, "fe80::5562:63fd:691b:3c92", None), Drop(NeighborHidden)),
        case("by hand", A, solicitation(A, LLA, "fe80::1", None), Drop(NeighborHidden)),
        case("bits set between fe80 and the identifier", A,
            solicitation(A, LLA, "fe80:0:0:1:8ca:5ff:fe9c:fc02", None), Drop(NeighborHidden)),
        // No station has a group address, so no station's link-local was computed from one.
        case("computed from a group address", A, solicitation(A, LLA, "fe80::300:ff:fe00:1", None), Drop(NeighborHidden)),
    }

    /// Seen on EC2: a solicitation for one's own address times out, so duplicate address detection always succeeds.
    fn a_solicitation_for_the_asker_s_own_address_meets_silence() {
        case("probe for the assigned address", A, solicitation(A, "::", A_GLOBAL, None), Drop(NeighborOwn)),
        case("probe for the link-local", A, solicitation(A, "::", LLA, None), Drop(NeighborOwn)),
        case("question for the own link-local", A, solicitation(A, A_GLOBAL, LLA, None), Drop(NeighborOwn)),
        case("within the own delegated /80", B, solicitation(B, "::", "2001:db8:1:1:5::77", None), Drop(NeighborOwn)),
    }

    /// Seen on EC2: two hosts hold the same unassigned address and neither notices.
    fn a_solicitation_for_an_unknown_address_meets_silence() {
        case("probe for an unassigned address", A, solicitation(A, "::", "2001:db8:1:1::99", None), Drop(NeighborUnknown)),
        case("unassigned", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::99", None), Drop(NeighborUnknown)),
        case("of another subnet", A, solicitation(A, A_GLOBAL, "2001:db8:1:2::c", None), Drop(NeighborUnknown)),
        case("of the other subnet's router", A, solicitation(A, A_GLOBAL, "2001:db8:1:2::1", None), Drop(NeighborUnknown)),
        case("that AWS never heard of", A, solicitation(A, "2001:db8::", "2001:db8::1", None), Drop(NeighborUnknown)),
        case("next to the delegated /80", A, solicitation(A, A_GLOBAL, "2001:db8:1:1:6::1", None), Drop(NeighborUnknown)),
        // The services are behind the router, not on-link.
        case("of a service", A, solicitation(A, A_GLOBAL, "fd00:ec2::254", None), Drop(NeighborUnknown)),
        case("link-locals, where the profile computes none", A,
            solicitation(A, LLA, "fe80::8ca:5ff:fe9c:fc02", None), Drop(NeighborUnknown))
            .with(|profile| profile.neighbor.link_locals = LinkLocals::None),
        case("link-local of no interface, where only assigned ones are known", A,
            solicitation(A, LLA, "fe80::8ca:5ff:fe9c:fc02", None), Drop(NeighborUnknown))
            .with(|profile| profile.neighbor.link_locals = LinkLocals::Assigned),
        case("link-local of another subnet's interface, where only assigned ones are known", A,
            solicitation(A, LLA, "fe80::4da:dfff:feb6:a7c6", None), Drop(NeighborUnknown))
            .with(|profile| profile.neighbor.link_locals = LinkLocals::Assigned),
    }

    /// VPC guide, "Subnet sizing"; seen on EC2: the router is its EUI-64 link-local, fe80:ec2::1 and ::1 of the subnet.
    fn the_router_answers_for_its_three_addresses() {
        case("::1 of the subnet", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::1", None), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000203aff
             20010db8000100010000000000000001 20010db800010001000000000000000a
             880082bbe0000000 20010db8000100010000000000000001 0201 02d00b1e7bbc",
        ))),
        case("fe80:ec2::1", A, solicitation(A, LLA, "fe80:ec2::1", None), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000203aff
             fe800ec2000000000000000000000001 fe8000000000000008ca05fffe9cfc14
             8800e974e0000000 fe800ec2000000000000000000000001 0201 02d00b1e7bbc",
        ))),
        case("its EUI-64 link-local", A, solicitation(A, LLA, "fe80::d0:bff:fe1e:7bbc", None), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000203aff
             fe8000000000000000d00bfffe1e7bbc fe8000000000000008ca05fffe9cfc14
             8800f9a5e0000000 fe8000000000000000d00bfffe1e7bbc 0201 02d00b1e7bbc",
        ))),
        case("when the host asks its MAC directly", A,
            solicitation(A, LLA, "fe80::d0:bff:fe1e:7bbc", Some((ROUTER_A, "fe80::d0:bff:fe1e:7bbc"))), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000203aff
             fe8000000000000000d00bfffe1e7bbc fe8000000000000008ca05fffe9cfc14
             8800f9a5e0000000 fe8000000000000000d00bfffe1e7bbc 0201 02d00b1e7bbc",
        ))),
        case("but not for a fixed link-local that the profile does not have", A,
            solicitation(A, LLA, "fe80:ec2::1", None), Drop(NeighborHidden))
            .with(|profile| profile.router.fixed_link_local = None),
    }

    /// EC2 guide, "Prefix delegation": every address inside is the interface's.
    fn every_address_of_a_delegated_prefix_resolves() {
        case("the first", A, solicitation(A, LLA, "2001:db8:1:1:5::", None), Reply(hex(
            "0aca059cfc14 0260cbcf193e 86dd 6000000000203aff
             20010db8000100010005000000000000 fe8000000000000008ca05fffe9cfc14
             8800cab960000000 20010db8000100010005000000000000 0201 0260cbcf193e",
        ))),
        case("the last", A, solicitation(A, LLA, "2001:db8:1:1:5:ffff:ffff:ffff", None), Reply(hex(
            "0aca059cfc14 0260cbcf193e 86dd 6000000000203aff
             20010db8000100010005ffffffffffff fe8000000000000008ca05fffe9cfc14
             8800cab960000000 20010db8000100010005ffffffffffff 0201 0260cbcf193e",
        ))),
    }

    /// RFC 4861 section 7.2.4: the answer to a probe goes to all nodes without the solicited flag. EC2's answer to a
    /// probe for another interface's address is not published; it is a field of the profile.
    fn a_probe_for_another_s_address_is_answered_to_all_nodes_unless_the_profile_is_silent() {
        case("answered, in a frame to the asker alone", A, solicitation(A, "::", "2001:db8:1:1::b", None), Reply(hex(
            "0aca059cfc14 0260cbcf193e 86dd 6000000000203aff
             20010db800010001000000000000000b ff020000000000000000000000000001
             880013a620000000 20010db800010001000000000000000b 0201 0260cbcf193e",
        ))),
        case("silent", A, solicitation(A, "::", "2001:db8:1:1::b", None), Drop(NeighborProbe))
            .with(|profile| profile.neighbor.probe_for_another = Answer::Silent),
    }

    /// RFC 4861 sections 4.6 and 7.1.1, RFC 6980.
    fn an_invalid_solicitation_is_dropped_with_the_reason_that_rfc_4861_names() {
        case("hop limit 254", A,
            patched(solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None), &[(21, 254)]), Drop(NeighborHopLimit)),
        case("checksum", A,
            patched(solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None), &[(56, 0x5a), (57, 0x5a)]), Drop(NeighborChecksum)),
        case("code", A, question(&[135, 1], "2001:db8:1:1::b", &[]), Drop(NeighborCode)),
        case("cut short", A, icmpv6(A.mac(), NOBODY, A_GLOBAL, "ff02::1:ff00:b", &[135; 23]), Drop(NeighborTruncated)),
        case("option that goes over the end", A, question(&[135, 0], "2001:db8:1:1::b", &[1, 2, 0, 0, 0, 0, 0, 0]),
            Drop(NeighborTruncated)),
        case("option of length 0", A, question(&[135, 0], "2001:db8:1:1::b", &[1, 0, 0, 0, 0, 0, 0, 0]),
            Drop(NeighborOptionLength)),
        case("multicast target", A, question(&[135, 0], "ff02::1", &[]), Drop(NeighborTarget)),
        case("from :: with a source link-layer address", A,
            icmpv6(A.mac(), NOBODY, "::", "ff02::1:ff00:b",
                &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &v6("2001:db8:1:1::b").octets(), &[1, 1], &A.mac().0].concat()),
            Drop(NeighborUnspecified)),
        case("from :: to one host", A, solicitation(A, "::", "2001:db8:1:1::b", Some((B.mac(), "2001:db8:1:1::b"))),
            Drop(NeighborUnspecified)),
        case("in fragments", A, ipv6(A.mac(), crate::wire::MacAddr([0x33, 0x33, 0xff, 0, 0, 0xb]), v6(A_GLOBAL),
            v6("ff02::1:ff00:b"), 44, 255, &[&[58, 0, 0, 1, 0, 0, 0, 7][..], &[135; 24]].concat()), Drop(NeighborFragmented)),
        case("Router Solicitation with hop limit 1", A,
            patched(super::lab::router_solicitation(A, LLA), &[(21, 1)]), Drop(NeighborHopLimit)),
        case("Router Solicitation from :: with a source link-layer address", A,
            icmpv6(A.mac(), NOBODY, "::", "ff02::2", &[&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &A.mac().0].concat()),
            Drop(NeighborUnspecified)),
    }

    /// The VPC consumes them, to whatever MAC they are sent and behind whatever extension header.
    fn what_a_host_advertises_goes_nowhere() {
        case("unsolicited Neighbor Advertisement", A, host_says(136, "ff02::1", NOBODY), Drop(NeighborAdvertisement)),
        case("Neighbor Advertisement to one host", A, host_says(136, "2001:db8:1:1::b", B.mac()), Drop(NeighborAdvertisement)),
        case("Router Advertisement", A, host_says(134, "ff02::1", NOBODY), Drop(RouterAdvertisement)),
        case("Router Advertisement to one host", A, host_says(134, "2001:db8:1:1::b", B.mac()), Drop(RouterAdvertisement)),
        case("Router Advertisement behind destination options", A,
            ipv6(A.mac(), B.mac(), v6(A_GLOBAL), v6("2001:db8:1:1::b"), 60, 255,
                &[&[58, 0, 1, 4, 0, 0, 0, 0][..], &[134; 16]].concat()), Drop(RouterAdvertisement)),
        case("redirect", A, host_says(137, "2001:db8:1:1::b", B.mac()), Drop(Redirect)),
        case("MLD query", A, host_says(130, "ff02::1", NOBODY), Drop(MulticastListener)),
        case("MLD report", A, host_says(131, "ff02::1:ff00:a", NOBODY), Drop(MulticastListener)),
        case("MLD done", A, host_says(132, "ff02::2", NOBODY), Drop(MulticastListener)),
        case("MLDv2 report", A, host_says(143, "ff02::16", NOBODY), Drop(MulticastListener)),
    }

    /// RFC 7112, RFC 6980: a message that could become neighbor discovery at the receiver passes in no form.
    fn icmpv6_that_hides_its_type_goes_nowhere() {
        case("protocol 58 and nothing behind it", A, to_b(58, &[]), Drop(Icmpv6Truncated)),
        case("three octets of an advertisement", A, to_b(58, &[134, 0, 0]), Drop(Icmpv6Truncated)),
        case("the same behind destination options", A, to_b(60, &[58, 0, 1, 4, 0, 0, 0, 0]), Drop(Icmpv6Truncated)),
        case("with the check off", A, to_b(58, &[]), Drop(Icmpv6Truncated)).given(|lab: &mut Lab| lab.unchecked(&[A, B])),
        case("to the router", A, ipv6(A.mac(), ROUTER_A, v6(A_GLOBAL), v6("2001:db8:1:2::c"), 58, 255, &[]), Drop(Icmpv6Truncated)),
        case("a first fragment that ends before ICMPv6", A, to_b(44, &[58, 0, 0, 1, 0, 0, 0, 7]), Drop(Ipv6HeaderChain)),
        case("a first fragment that ends behind destination options", A,
            to_b(44, &[60, 0, 0, 1, 0, 0, 0, 7, 58, 0, 1, 4, 0, 0, 0, 0]), Drop(Ipv6HeaderChain)),
        case("a first fragment that ends within destination options", A,
            to_b(44, &[60, 0, 0, 1, 0, 0, 0, 7, 58, 1, 1, 4, 0, 0, 0, 0]), Drop(Ipv6Malformed)),
        case("a first fragment of TCP without ports", A, to_b(44, &[6, 0, 0, 1, 0, 0, 0, 7, 0, 80]), Drop(Ipv6HeaderChain)),
        case("a redirect in a first fragment", A, to_b(44, &[58, 0, 0, 1, 0, 0, 0, 7, 137, 0, 0, 0]), Drop(Redirect)),
        case("an advertisement in a fragment that is the only one", A,
            to_b(44, &[58, 0, 0, 0, 0, 0, 0, 7, 134, 0, 0, 0]), Drop(RouterAdvertisement)),
        case("a fragment within a fragment", A,
            to_b(44, &[44, 0, 0, 1, 0, 0, 0, 7, 58, 0, 0, 1, 0, 0, 0, 8, 134, 0, 0, 0]), Drop(RouterAdvertisement)),
        case("behind an authentication header", A,
            to_b(51, &[58, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 134, 0, 0, 0]), Drop(RouterAdvertisement)),
        case("an echo request of four octets is what it says", A, to_b(58, &[128, 0, 0, 0]), To(B)),
        case("an echo request in a first fragment passes", A, to_b(44, &[58, 0, 0, 1, 0, 0, 0, 7, 128, 0, 0, 0, 0, 0, 0, 0]), To(B)),
        case("and so does what follows it", A, to_b(44, &[58, 0, 0, 8, 0, 0, 0, 7, 134, 0, 0, 0, 0, 0, 0, 0]), To(B)),
    }

    /// A field of the profile, for fabrics that leave unicast requests to the host.
    fn a_unicast_solicitation_is_left_to_the_host_where_the_profile_says_so() {
        case("solicitation", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::b", Some((B.mac(), "2001:db8:1:1::b"))), To(B))
            .with(|profile| profile.neighbor.unicast_request = UnicastRequest::Forward),
        case("and so is its answer", B, icmpv6(B.mac(), A.mac(), "2001:db8:1:1::b", A_GLOBAL,
            &[&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &v6("2001:db8:1:1::b").octets()].concat()), To(A))
            .with(|profile| profile.neighbor.unicast_request = UnicastRequest::Forward),
        case("an ARP request", A, super::lab::arp_to(B.mac(), 1, A.mac(), "10.0.1.10", "10.0.1.11"), To(B))
            .with(|profile| profile.neighbor.unicast_request = UnicastRequest::Forward),
        case("the group is still asked of the fabric", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None),
            Reply(hex(B_IS_AT))).with(|profile| profile.neighbor.unicast_request = UnicastRequest::Forward),
    }

    fn a_port_that_solicits_too_much_is_not_answered() {
        case("the third in an instant", A, solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None), Drop(RateLimited))
            .with(|profile| profile.neighbor.answers_per_second = 2).times(3),
    }
}

/// A Neighbor Solicitation of a with this type and code, target and options.
fn question(head: &[u8; 2], target: &str, options: &[u8]) -> Vec<u8> {
    let message = [&head[..], &[0; 6], &v6(target).octets(), options].concat();
    icmpv6(A.mac(), NOBODY, A_GLOBAL, "ff02::1:ff00:b", &message)
}

/// A packet from a to b: the octets after the fixed header, and its next header.
fn to_b(next: u8, rest: &[u8]) -> Vec<u8> {
    ipv6(A.mac(), B.mac(), v6(A_GLOBAL), v6("2001:db8:1:1::b"), next, 255, rest)
}

/// A message of this type from a, long enough for any of them.
fn host_says(kind: u8, to: &str, mac: crate::wire::MacAddr) -> Vec<u8> {
    icmpv6(A.mac(), mac, A_GLOBAL, to, &[&[kind, 0, 0, 0][..], &[0; 36]].concat())
}

#[test]
fn the_advertisement_says_what_smoltcp_reads_in_it() {
    let mut lab = Lab::new(Profile::aws());
    lab.send(
        A,
        &solicitation(A, LLA, "fe80::8ca:5ff:fe9c:fc02", None),
        FrameMeta::default(),
    );
    let seen = ndisc(lab.reply.frame(), |repr| {
        let NdiscRepr::NeighborAdvert {
            flags,
            target_addr,
            lladdr,
        } = repr
        else {
            panic!("{repr:?}");
        };
        (flags.bits(), *target_addr, lladdr.map(|mac| mac.as_bytes().to_vec()))
    });
    // Solicited and override, not router.
    let mac = vec![0x0a, 0xca, 0x05, 0x9c, 0xfc, 0x02];
    assert_eq!(seen, Some((0b0110_0000, v6("fe80::8ca:5ff:fe9c:fc02"), Some(mac))));
}

#[test]
fn an_unsolicited_advertisement_changes_no_mapping() {
    let mut lab = Lab::new(Profile::aws());
    let claim = [
        &[136, 0, 0, 0, 0x20, 0, 0, 0][..],
        &v6("2001:db8:1:1::b").octets(),
        &[2, 1],
        &A.mac().0,
    ]
    .concat();
    lab.send(
        A,
        &icmpv6(A.mac(), NOBODY, "2001:db8:1:1::b", "ff02::1", &claim),
        FrameMeta::default(),
    );
    lab.send(
        A,
        &solicitation(A, A_GLOBAL, "2001:db8:1:1::b", None),
        FrameMeta::default(),
    );
    assert_eq!(lab.reply.frame(), hex(B_IS_AT));
}
