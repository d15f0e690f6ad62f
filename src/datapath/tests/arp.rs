//! Tests ARP: answered from the mapping table, for the asker's subnet; announcements of hosts are ignored.

use super::lab::{Case, Expect::*, Host::*, Lab, ROUTER_A, arp, arp_to, case, ethernet, hex, patched, tables, who_has};
use crate::datapath::DropReason::*;
use crate::model::profile::Answer;
use crate::wire::MacAddr;

/// "10.0.1.11 is at 02:60:cb:cf:19:3e", to a.
const B_IS_AT: &str = "0aca059cfc14 0260cbcf193e 0806
    0001 0800 06 04 0002 0260cbcf193e 0a00010b 0aca059cfc14 0a00010a";

/// "`address` is at the router's MAC", to a.
fn router_is_at(address: &str) -> Vec<u8> {
    hex(&format!(
        "0aca059cfc14 02d00b1e7bbc 0806
         0001 0800 06 04 0002 02d00b1e7bbc {address} 0aca059cfc14 0a00010a"
    ))
}

tables! {
    /// Seen on EC2: the address of another interface is at that interface's own MAC.
    fn arp_for_an_assigned_address_is_answered_with_its_owner_s_mac() {
        case("primary address", A, who_has(A, "10.0.1.11"), Reply(hex(B_IS_AT))),
        case("secondary address", A, who_has(A, "10.0.1.12"), Reply(hex(
            "0aca059cfc14 0260cbcf193e 0806 0001080006040002 0260cbcf193e 0a00010c 0aca059cfc14 0a00010a",
        ))),
        case("first address of a delegated /28", A, who_has(A, "10.0.1.32"), Reply(hex(
            "0aca059cfc14 0260cbcf193e 0806 0001080006040002 0260cbcf193e 0a000120 0aca059cfc14 0a00010a",
        ))),
        case("last address of a delegated /28", A, who_has(A, "10.0.1.47"), Reply(hex(
            "0aca059cfc14 0260cbcf193e 0806 0001080006040002 0260cbcf193e 0a00012f 0aca059cfc14 0a00010a",
        ))),
        // The mapping service answers, not the host, which need not exist.
        case("interface attached to no port", A, who_has(A, "10.0.1.14"), Reply(hex(
            "0aca059cfc14 0ec6cc3078dd 0806 0001080006040002 0ec6cc3078dd 0a00010e 0aca059cfc14 0a00010a",
        ))),
        case("padded to 60 octets", A, [who_has(A, "10.0.1.11"), vec![0; 18]].concat(), Reply(hex(B_IS_AT))),
    }

    /// Seen on EC2: gateway, base + 2 and 169.254.169.254 are at one MAC, the subnet's router's.
    fn arp_for_gateway_resolver_and_services_is_answered_with_the_router_s_mac() {
        case("gateway", A, who_has(A, "10.0.1.1"), Reply(router_is_at("0a000101"))),
        case("resolver", A, who_has(A, "10.0.1.2"), Reply(router_is_at("0a000102"))),
        case("metadata", A, who_has(A, "169.254.169.254"), Reply(router_is_at("a9fea9fe"))),
        case("names", A, who_has(A, "169.254.169.253"), Reply(router_is_at("a9fea9fd"))),
        case("time", A, who_has(A, "169.254.169.123"), Reply(router_is_at("a9fea97b"))),
        case("the other subnet has another router", C, who_has(C, "10.0.2.1"), Reply(hex(
            "06dadfb6a7c6 02d00b1e7bbd 0806 0001080006040002 02d00b1e7bbd 0a000201 06dadfb6a7c6 0a00020a",
        ))),
        case("gateway, when the address is asked for in a probe", A, arp(1, A.mac(), "0.0.0.0", "10.0.1.1"), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 0806 0001080006040002 02d00b1e7bbc 0a000101 0aca059cfc14 00000000",
        ))),
    }

    /// Seen on EC2: the host shows INCOMPLETE.
    fn arp_for_an_unknown_address_meets_silence() {
        case("unassigned", A, who_has(A, "10.0.1.99"), Drop(ArpUnknown)),
        case("next to the delegated /28", A, who_has(A, "10.0.1.31"), Drop(ArpUnknown)),
        case("beyond the delegated /28", A, who_has(A, "10.0.1.48"), Drop(ArpUnknown)),
        case("outside of the VPC", A, who_has(A, "192.0.2.1"), Drop(ArpUnknown)),
        case("link-local that is no service", A, who_has(A, "169.254.169.250"), Drop(ArpUnknown)),
        case("link-local of a host", A, who_has(A, "169.254.1.1"), Drop(ArpUnknown)),
        case("taken away again", A, who_has(A, "10.0.1.12"), Drop(ArpUnknown))
            .given(|lab: &mut Lab| lab.map(lab.sa, "10.0.1.12/32", None)),
    }

    /// A keepalived user's capture: who-has does not resolve for an address of a separate subnet.
    fn arp_for_an_address_of_another_subnet_meets_silence() {
        case("assigned there", A, who_has(A, "10.0.2.10"), Drop(ArpOtherSubnet)),
        case("its gateway", A, who_has(A, "10.0.2.1"), Drop(ArpOtherSubnet)),
        case("not assigned there", A, who_has(A, "10.0.2.99"), Drop(ArpOtherSubnet)),
    }

    /// VPC guide, "Subnet sizing": no interface can have the first four addresses or the last.
    fn arp_for_a_reserved_address_meets_silence() {
        case("network", A, who_has(A, "10.0.1.0"), Drop(ArpReserved)),
        case("reserved for future use", A, who_has(A, "10.0.1.3"), Drop(ArpReserved)),
        case("broadcast", A, who_has(A, "10.0.1.255"), Drop(ArpReserved)),
    }

    /// RFC 5227: an answer would signal a conflict for the host's own address.
    fn arp_for_the_asker_s_own_address_meets_silence() {
        case("probe for the own primary address", A, arp(1, A.mac(), "0.0.0.0", "10.0.1.10"), Drop(ArpOwn)),
        case("probe for the own secondary address", B, arp(1, B.mac(), "0.0.0.0", "10.0.1.12"), Drop(ArpOwn)),
        case("probe within the own delegated /28", B, arp(1, B.mac(), "0.0.0.0", "10.0.1.40"), Drop(ArpOwn)),
        case("request from another own address", B, arp(1, B.mac(), "10.0.1.11", "10.0.1.12"), Drop(ArpOwn)),
        case("unless the profile answers", A, arp(1, A.mac(), "0.0.0.0", "10.0.1.10"), Reply(hex(
            "0aca059cfc14 0aca059cfc14 0806 0001080006040002 0aca059cfc14 0a00010a 0aca059cfc14 00000000",
        ))).with(|profile| profile.neighbor.own_address = Answer::Answer),
    }

    /// EC2's answer to a probe for another interface's address is not published; it is a field of the profile.
    fn an_arp_probe_for_another_s_address_is_answered_unless_the_profile_is_silent() {
        case("answered", A, arp(1, A.mac(), "0.0.0.0", "10.0.1.11"), Reply(hex(
            "0aca059cfc14 0260cbcf193e 0806 0001080006040002 0260cbcf193e 0a00010b 0aca059cfc14 00000000",
        ))),
        case("silent", A, arp(1, A.mac(), "0.0.0.0", "10.0.1.11"), Drop(ArpProbe))
            .with(|profile| profile.neighbor.probe_for_another = Answer::Silent),
        case("a request is no probe", A, who_has(A, "10.0.1.11"), Reply(hex(B_IS_AT)))
            .with(|profile| profile.neighbor.probe_for_another = Answer::Silent),
    }

    /// Unknown on EC2; a field of the profile.
    fn an_arp_request_from_a_foreign_address_is_answered_unless_the_profile_is_silent() {
        case("answered", A, arp(1, A.mac(), "10.0.1.77", "10.0.1.11"), Reply(hex(
            "0aca059cfc14 0260cbcf193e 0806 0001080006040002 0260cbcf193e 0a00010b 0aca059cfc14 0a00014d",
        ))),
        case("silent", A, arp(1, A.mac(), "10.0.1.77", "10.0.1.11"), Drop(ArpForeignSender))
            .with(|profile| profile.neighbor.foreign_sender = Answer::Silent),
        case("a secondary address is not foreign", B, arp(1, B.mac(), "10.0.1.12", "10.0.1.10"), Reply(hex(
            "0260cbcf193e 0aca059cfc14 0806 0001080006040002 0aca059cfc14 0a00010a 0260cbcf193e 0a00010c",
        ))).with(|profile| profile.neighbor.foreign_sender = Answer::Silent),
    }

    /// Linux sends a unicast request to a known MAC before it broadcasts; the fabric answers that too.
    fn a_unicast_arp_request_is_answered_by_the_fabric() {
        case("to the owner's MAC", A, arp_to(B.mac(), 1, A.mac(), "10.0.1.10", "10.0.1.11"), Reply(hex(B_IS_AT))),
        case("to a stale MAC", A, arp_to(E.mac(), 1, A.mac(), "10.0.1.10", "10.0.1.11"), Reply(hex(B_IS_AT))),
        case("to the router's MAC", A, arp_to(ROUTER_A, 1, A.mac(), "10.0.1.10", "10.0.1.1"),
            Reply(router_is_at("0a000101"))),
    }

    /// EC2's mappings change by the API only: announcements of a host change nothing and are dropped.
    fn arp_replies_and_gratuitous_arp_from_a_host_go_nowhere() {
        case("broadcast reply", A, arp(2, A.mac(), "10.0.1.10", "10.0.1.11"), Drop(ArpReply)),
        case("reply to one host", A, arp_to(B.mac(), 2, A.mac(), "10.0.1.10", "10.0.1.11"), Drop(ArpReply)),
        case("gratuitous request for the own address", A, arp(1, A.mac(), "10.0.1.10", "10.0.1.10"), Drop(ArpGratuitous)),
        case("gratuitous request for another's address", A, arp(1, A.mac(), "10.0.1.11", "10.0.1.11"), Drop(ArpGratuitous)),
        case("gratuitous reply", A, arp(2, A.mac(), "10.0.1.10", "10.0.1.10"), Drop(ArpReply)),
        case("request that names another sender MAC", A,
            patched(who_has(A, "10.0.1.11"), &[(27, 0x99)]), Drop(ArpSenderMac)),
    }

    fn malformed_arp_is_dropped_with_its_own_reason() {
        case("cut short", A, who_has(A, "10.0.1.11")[..41].to_vec(), Drop(ArpMalformed)),
        case("not for IPv4", A, patched(who_has(A, "10.0.1.11"), &[(16, 0x86), (17, 0xdd)]), Drop(ArpMalformed)),
        case("neither request nor reply", A, arp(3, A.mac(), "10.0.1.10", "10.0.1.11"), Drop(ArpMalformed)),
        case("empty", A, ethernet(MacAddr::BROADCAST, A.mac(), 0x0806, &[]), Drop(ArpMalformed)),
    }

    /// A field of the profile: answers per second and port.
    fn a_port_that_asks_too_much_is_not_answered() {
        case("the third in an instant", A, who_has(A, "10.0.1.11"), Drop(RateLimited))
            .with(|profile| profile.neighbor.answers_per_second = 2).times(3),
        case("the second", A, who_has(A, "10.0.1.11"), Reply(hex(B_IS_AT)))
            .with(|profile| profile.neighbor.answers_per_second = 2).times(2),
    }
}

#[test]
fn gratuitous_arp_changes_no_mapping() {
    let mut lab = Lab::new(crate::model::profile::Profile::aws());
    // c is in another subnet, so e claims b's address.
    let e = lab.interfaces[&E];
    lab.writer.set_port(e, Some(E.port()));
    lab.send(E, &arp(1, E.mac(), "10.0.1.11", "10.0.1.11"), Default::default());
    lab.send(
        E,
        &arp_to(A.mac(), 2, E.mac(), "10.0.1.11", "10.0.1.10"),
        Default::default(),
    );
    lab.send(A, &who_has(A, "10.0.1.11"), Default::default());
    assert_eq!(lab.reply.frame(), hex(B_IS_AT));
}
