//! Tests profile `lan`: the same hosts on a learning switch, where the router is one of the stations.

use std::time::Duration;

use super::lab::{
    Case, Expect::*, Host::*, Lab, NOBODY, ROUTER_A, ROUTER_B, arp, case, ethernet, hex, patched, ping4, ping6,
    resummed, router_solicitation, solicitation, tables, udp, who_has,
};
use crate::datapath::DropReason::*;
use crate::model::profile::Profile;
use crate::wire::MacAddr;

const LLA: &str = "fe80::8ca:5ff:fe9c:fc14";
const GATEWAY_IS_AT: &str =
    "0aca059cfc14 02d00b1e7bbc 0806 0001080006040002 02d00b1e7bbc 0a000101 0aca059cfc14 0a00010a";

/// A case on the learning switch.
fn on_lan(says: &'static str, from: super::lab::Host, frame: Vec<u8>, expect: super::lab::Expect) -> Case {
    case(says, from, frame, expect).on(Profile::lan())
}

/// b sends a frame, so that the switch learns its port.
fn b_was_heard(lab: &mut Lab) {
    lab.send(B, &who_has(B, "10.0.1.1"), Default::default());
}

/// c resolves its gateway, so that the router has an entry for it.
fn c_asked_for_the_router(lab: &mut Lab) {
    lab.send(C, &arp(1, C.mac(), "10.0.2.10", "10.0.2.1"), Default::default());
}

tables! {
    fn a_learning_switch_floods_groups_and_stations_that_it_has_not_heard() {
        on_lan("ARP request for a host", A, who_has(A, "10.0.1.11"), Flood(None)),
        on_lan("gratuitous ARP", A, arp(1, A.mac(), "10.0.1.10", "10.0.1.10"), Flood(None)),
        on_lan("broadcast", A, udp(A, MacAddr::BROADCAST, "10.0.1.10", "10.0.1.255"), Flood(None)),
        on_lan("IPv6 multicast", A, udp(A, NOBODY, "2001:db8:1:1::a", "ff02::fb"), Flood(None)),
        on_lan("Neighbor Solicitation for a host", A, solicitation(A, LLA, "2001:db8:1:1::b", None), Flood(None)),
        on_lan("probe for a duplicate", A, solicitation(A, "::", "2001:db8:1:1::b", None), Flood(None)),
        on_lan("unknown station", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), Flood(None)),
        on_lan("another protocol", A, ethernet(MacAddr([1, 0x80, 0xc2, 0, 0, 0xe]), A.mac(), 0x88cc, &[0; 46]), Flood(None)),
    }

    fn a_learning_switch_sends_to_the_port_that_a_station_was_heard_on() {
        on_lan("IPv4", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B)).given(b_was_heard),
        on_lan("whatever the addresses", A, udp(A, B.mac(), "203.0.113.1", "203.0.113.2"), To(B)).given(b_was_heard),
        on_lan("whatever it carries", A, ethernet(B.mac(), A.mac(), 0x8100, &[0; 46]), To(B)).given(b_was_heard),
        on_lan("a station behind a bridge", B, udp(B, NOBODY, "10.0.1.11", "10.0.1.99"), To(A))
            .given(|lab: &mut Lab| { lab.send(A, &arp(1, NOBODY, "10.0.1.99", "10.0.1.1"), Default::default()); }),
        on_lan("not back to the port that it came from", A, udp(A, NOBODY, "10.0.1.10", "10.0.1.99"), Drop(ToItself))
            .given(|lab: &mut Lab| { lab.send(A, &arp(1, NOBODY, "10.0.1.99", "10.0.1.1"), Default::default()); }),
        on_lan("after 299 seconds of silence", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), To(B))
            .given(|lab: &mut Lab| { b_was_heard(lab); lab.now += Duration::from_secs(299); }),
        on_lan("after 300 seconds it is forgotten", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), Flood(None))
            .given(|lab: &mut Lab| { b_was_heard(lab); lab.now += Duration::from_secs(300); }),
        on_lan("and when its port is gone", A, udp(A, B.mac(), "10.0.1.10", "10.0.1.11"), Flood(None))
            .given(|lab: &mut Lab| { b_was_heard(lab); lab.writer.set_port(lab.interfaces[&B], None); }),
    }

    fn the_router_of_a_learning_switch_is_one_more_station() {
        on_lan("ARP for the gateway", A, who_has(A, "10.0.1.1"), Flood(Some(hex(GATEWAY_IS_AT)))),
        on_lan("no ARP for services", A, who_has(A, "169.254.169.254"), Flood(None)),
        on_lan("Router Solicitation", A, router_solicitation(A, LLA), Flood(Some(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000383aff
             fe8000000000000000d00bfffe1e7bbc ff020000000000000000000000000001
             8600b22a 40 00 0708 00000000 00000000
             03 04 40 c0 ffffffff ffffffff 00000000 20010db8000100010000000000000000 01 01 02d00b1e7bbc",
        )))),
        on_lan("Router Solicitation of a station behind a bridge", A,
            patched(router_solicitation(A, LLA), &[(11, 0x99)]), Flood(Some(hex(
            "0aca059cfc99 02d00b1e7bbc 86dd 6000000000383aff
             fe8000000000000000d00bfffe1e7bbc ff020000000000000000000000000001
             8600b22a 40 00 0708 00000000 00000000
             03 04 40 c0 ffffffff ffffffff 00000000 20010db8000100010000000000000000 01 01 02d00b1e7bbc",
        )))),
        on_lan("all nodes answer, the router too", A, ping6(A, NOBODY, LLA, "ff02::1"), Flood(Some(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000103a40
             fe8000000000000000d00bfffe1e7bbc fe8000000000000008ca05fffe9cfc14 8100cf44 12340001 0102030405060708",
        )))),
        on_lan("a probe for its address", A, solicitation(A, "::", "2001:db8:1:1::1", None), Flood(Some(hex(
            "0aca059cfc14 02d00b1e7bbc 86dd 6000000000203aff
             20010db8000100010000000000000001 ff020000000000000000000000000001
             8800f17ca0000000 20010db8000100010000000000000001 0201 02d00b1e7bbc",
        )))),
        on_lan("ping to the gateway", A, ping4(A, ROUTER_A, "10.0.1.10", "10.0.1.1"), Reply(hex(
            "0aca059cfc14 02d00b1e7bbc 0800 4500 0024 0000 0000 40 01 64cf 0a000101 0a00010a
             0000ddb6 12340001 0102030405060708",
        ))),
        on_lan("routing takes a hop", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Routed(C, ROUTER_B, true)).given(c_asked_for_the_router),
        on_lan("it asks for whom it does not know", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Ask(hex(
            "ffffffffffff 02d00b1e7bbd 0806 0001080006040001 02d00b1e7bbd 0a000201 000000000000 0a00020a",
        ))),
        on_lan("by either family", A, udp(A, ROUTER_A, "2001:db8:1:1::a", "2001:db8:1:2::a"), Ask(hex(
            "3333ff00000a 02d00b1e7bbd 86dd 6000000000203aff
             fe8000000000000000d00bfffe1e7bbd ff0200000000000000000001ff00000a
             87003cf700000000 20010db800010002000000000000000a 0101 02d00b1e7bbd",
        ))),
        on_lan("once a second", A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Drop(NeighborResolving)).times(2),
        on_lan("and the last hop ends there", A, resummed(udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), &[(22, 1)]), Drop(HopLimit)),
        on_lan("what it cannot read ends there", A, ethernet(ROUTER_A, A.mac(), 0x8100, &[0; 46]), Drop(RouterSilent)),
    }
}
