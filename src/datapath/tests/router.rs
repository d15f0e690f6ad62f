//! Tests the subnet's router: it advertises itself in unicast frames, and answers little else.

use smoltcp::wire::NdiscRepr;

use super::lab::{
    Case, Expect::*, Host::*, Lab, NOBODY, ROUTER_A, ROUTER_B, case, hex, icmpv6, ping4, ping6, router_solicitation,
    tables, v6,
};
use super::second_opinion::{agrees, ndisc};
use crate::datapath::{DropReason::*, Service::LinkLocal, unsolicited_advertisement};
use crate::model::profile::{AdvertisementDestination, Profile};

const LLA: &str = "fe80::8ca:5ff:fe9c:fc14";

/// 56 octets of ICMPv6 from the router's link-local: M, 1800 s, one prefix with L and without A for ever, the router's MAC.
const TO_ASSIGNED: &str = "0aca059cfc14 02d00b1e7bbc 86dd 6000000000383aff
    fe8000000000000000d00bfffe1e7bbc 20010db800010001000000000000000a
    8600c329 00 80 0708 00000000 00000000
    03 04 40 80 ffffffff ffffffff 00000000 20010db8000100010000000000000000
    01 01 02d00b1e7bbc";

/// The same to all nodes, still in a frame to a's own MAC.
const TO_ALL_NODES: &str = "0aca059cfc14 02d00b1e7bbc 86dd 6000000000383aff
    fe8000000000000000d00bfffe1e7bbc ff020000000000000000000000000001
    8600f1ea 00 80 0708 00000000 00000000
    03 04 40 80 ffffffff ffffffff 00000000 20010db8000100010000000000000000
    01 01 02d00b1e7bbc";

tables! {
    /// Seen on EC2: `fe80::8a1:79ff:fedb:2106 > 2a05:…: ICMP6, router advertisement, length 56`, to an address that the
    /// host had not configured.
    fn a_router_solicitation_is_answered_to_the_assigned_address() {
        case("from the link-local", A, router_solicitation(A, LLA), Reply(hex(TO_ASSIGNED))),
        case("from ::", A, router_solicitation(A, "::"), Reply(hex(TO_ASSIGNED))),
        case("whatever link-local the host made for itself", A,
            router_solicitation(A, "fe80::5562:63fd:691b:3c92"), Reply(hex(TO_ASSIGNED))),
        case("to all nodes while it has no IPv6 address", A, router_solicitation(A, LLA), Reply(hex(TO_ALL_NODES)))
            .given(|lab: &mut Lab| lab.writer.set_primary(lab.interfaces[&A], Some(A.ipv4()), None)),
        case("to the link-local, where the profile says so", A, router_solicitation(A, LLA), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000383aff
             fe8000000000000000d00bfffe1e7bbc fe8000000000000008ca05fffe9cfc14
             8600e8f2 00 80 0708 00000000 00000000
             03 04 40 80 ffffffff ffffffff 00000000 20010db8000100010000000000000000 01 01 02d00b1e7bbc",
        ))).with(|p| p.router.advertisement.solicited_destination = AdvertisementDestination::LinkLocal),
        case("to all nodes, where the profile says so", A, router_solicitation(A, LLA), Reply(hex(TO_ALL_NODES)))
            .with(|p| p.router.advertisement.solicited_destination = AdvertisementDestination::AllNodes),
        case("48 octets without the router's MAC, where the profile says so", A, router_solicitation(A, LLA), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000303aff
             fe8000000000000000d00bfffe1e7bbc 20010db800010001000000000000000a
             86004ddd 00 80 0708 00000000 00000000
             03 04 40 80 ffffffff ffffffff 00000000 20010db8000100010000000000000000",
        ))).with(|p| p.router.advertisement.source_link_layer = false),
    }

    /// A bottlerocket user's log: the client waits for an advertisement that never comes.
    fn a_subnet_without_ipv6_has_no_router_advertisement() {
        case("solicited", D, router_solicitation(D, "::"), Drop(NoIpv6)),
    }

    fn a_port_that_solicits_routers_too_much_is_not_answered() {
        case("the eleventh in an instant", A, router_solicitation(A, LLA), Drop(RateLimited)).times(11),
        case("the tenth", A, router_solicitation(A, LLA), Reply(hex(TO_ASSIGNED))).times(10),
    }

    /// Seen on EC2: the router consumes Router Solicitations to ff02::2 and nothing else that is sent there.
    fn the_router_answers_no_ping_to_a_group() {
        case("all routers", A, ping6(A, ROUTER_A, LLA, "ff02::2"), Drop(Multicast)),
        case("all nodes", A, ping6(A, ROUTER_A, LLA, "ff02::1"), Drop(Multicast)),
        case("all routers, in a frame to the router", A,
            super::lab::patched(ping6(A, ROUTER_A, LLA, "ff02::2"), &mac_patch()), Drop(Multicast)),
    }

    /// Not published; a field of the profile.
    fn the_router_answers_pings_to_its_addresses_only_where_the_profile_says_so() {
        case("gateway", A, ping4(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Drop(RouterSilent)),
        case("::1 of the subnet", A, ping6(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:1::1"), Drop(RouterSilent)),
        case("link-local", A, ping6(A, ROUTER_A, LLA, "fe80::d0:bff:fe1e:7bbc"), Drop(RouterSilent)),
        case("gateway, answered", A, ping4(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 0800 4500 0024 0000 0000 40 01 64cf 0a000101 0a00010a
             0000ddb6 12340001 0102030405060708",
        ))).with(|p| p.router.answers_echo = true),
        case("::1 of the subnet, answered", A,
            ping6(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:1::1"), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000103a40
             20010db8000100010000000000000001 20010db800010001000000000000000a 810000eb 12340001 0102030405060708",
        ))).with(|p| p.router.answers_echo = true),
        case("another protocol", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Drop(RouterSilent))
            .with(|p| p.router.answers_echo = true),
        case("an echo reply", A, icmpv6(A.mac(), ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:1::1", &[129, 0, 0, 0, 0, 0, 0, 0]),
            Drop(RouterSilent)).with(|p| p.router.answers_echo = true),
        case("more than it may answer", A, ping4(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Drop(RateLimited))
            .with(|p| (p.router.answers_echo, p.neighbor.answers_per_second) = (true, 1)).times(2),
    }

    /// Complete UDP and TCP packets go to the services, whatever their port: the services know their ports.
    fn packets_for_the_services_are_left_to_them() {
        case("resolver", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), LeftTo(LinkLocal)),
        case("resolver, from another subnet", C, super::lab::udp(C, ROUTER_B, "10.0.2.10", "10.0.0.2"), LeftTo(LinkLocal)),
        case("metadata", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), LeftTo(LinkLocal)),
        case("time", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "169.254.169.123"), LeftTo(LinkLocal)),
        case("names by IPv6", A, super::lab::udp(A, ROUTER_A, "2001:db8:1:1::a", "fd00:ec2::253"), LeftTo(LinkLocal)),
        case("base + 2 of a subnet, where no router answers", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.1.2"), Drop(NoService)),
        case("base + 2 of another subnet", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.2.2"), Drop(NoMapping)),
        case("a ping", A, ping4(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), Drop(NoService)),
        case("a fragment", A, super::lab::resummed(super::lab::udp(A, ROUTER_A, "10.0.1.10", "169.254.169.254"), &[(20, 0x20)]), Drop(NoService)),
        case("a foreign source", A, super::lab::udp(A, ROUTER_A, "172.17.0.2", "169.254.169.254"), Drop(SourceCheck)),
        case("a foreign source, with the check off", A, super::lab::udp(A, ROUTER_A, "172.17.0.2", "169.254.169.254"), LeftTo(LinkLocal))
            .given(|lab: &mut Lab| lab.writer.set_source_dest_check(lab.interfaces[&A], false)),
        case("where the profile has no services", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), Drop(NoMapping))
            .with(|p| p.router.service_addresses = false),
    }

    /// 1024 packets a second for each interface, over all services (VPC guide, "DNS attributes").
    fn an_interface_has_an_allowance_of_packets_to_the_services() {
        case("the last of a second", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), LeftTo(LinkLocal)).times(1024),
        case("one more", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), Drop(LinkLocalAllowance)).times(1025),
        case("without a limit", A, super::lab::udp(A, ROUTER_A, "10.0.1.10", "10.0.0.2"), LeftTo(LinkLocal))
            .with(|p| p.router.service_packets_per_second = 0).times(1025),
    }
}

/// Patches the destination MAC of a frame to the router's.
fn mac_patch() -> Vec<(usize, u8)> {
    ROUTER_A.0.into_iter().enumerate().collect()
}

#[test]
fn an_unsolicited_advertisement_goes_to_all_nodes_in_a_frame_to_the_port_s_own_mac() {
    let mut lab = Lab::new(Profile::aws());
    let advertise = |lab: &mut Lab, host: super::lab::Host| {
        let view = lab.writer.view().clone();
        let ingress = view.ingress(lab.interfaces[&host], host.port()).expect("attached");
        unsolicited_advertisement(&ingress, &mut lab.reply)
    };
    assert!(advertise(&mut lab, A));
    assert_eq!(lab.reply.frame(), hex(TO_ALL_NODES));
    agrees(lab.reply.frame());
    assert!(advertise(&mut lab, B));
    assert_eq!(lab.reply.frame()[..6], B.mac().0);
    // A subnet without IPv6 has none.
    assert!(!advertise(&mut lab, D));

    let mut profile = Profile::aws();
    profile.router.advertisement.unsolicited_destination = AdvertisementDestination::Assigned;
    let mut lab = Lab::new(profile);
    assert!(advertise(&mut lab, A));
    assert_eq!(lab.reply.frame(), hex(TO_ASSIGNED));
}

#[test]
fn smoltcp_reads_m_and_an_on_link_prefix_without_autoconfiguration() {
    let mut lab = Lab::new(Profile::aws());
    lab.send(A, &router_solicitation(A, LLA), Default::default());
    let read = ndisc(lab.reply.frame(), |repr| {
        let NdiscRepr::RouterAdvert {
            hop_limit,
            flags,
            router_lifetime,
            lladdr,
            mtu,
            prefix_info,
            ..
        } = repr
        else {
            panic!("{repr:?}");
        };
        let prefix = prefix_info.expect("one prefix");
        assert_eq!((*hop_limit, flags.bits()), (0, 0x80));
        assert_eq!(router_lifetime.secs(), 1800);
        assert_eq!(lladdr.expect("source link-layer address").as_bytes(), ROUTER_A.0);
        assert_eq!(*mtu, None);
        assert_eq!((prefix.prefix, prefix.prefix_len), (v6("2001:db8:1:1::"), 64));
        assert_eq!(prefix.flags.bits(), 0x80);
        assert_eq!(prefix.valid_lifetime.secs(), u64::from(u32::MAX));
    });
    assert!(read.is_some());
    assert_eq!(lab.reply.frame().len() - 14 - 40, 56);
    assert_ne!(lab.reply.frame()[..6], NOBODY.0);
}
