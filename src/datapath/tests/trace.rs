//! Tests the trace: it lists each stage of a frame and the entry that decided.

use super::lab::{Host::*, Lab, ROUTER_A, solicitation, udp};
use crate::datapath::Stage;
use crate::model::profile::Profile;

/// The stages of the last decision with their texts.
fn told(lab: &Lab) -> Vec<(Stage, String)> {
    lab.steps
        .steps
        .iter()
        .map(|(stage, fact)| (*stage, fact.to_string()))
        .collect()
}

#[test]
fn a_routed_packet_s_trace_names_the_check_the_route_the_mapping_and_the_other_check() {
    let mut lab = Lab::new(Profile::aws());
    lab.send(A, &udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"), Default::default());
    let c = lab.interfaces[&C].get();
    let expected = [
        (
            Stage::Guard,
            "source MAC 0a:ca:05:9c:fc:14 is the interface's own".to_owned(),
        ),
        (Stage::SourceCheck, "10.0.1.10 belongs to the interface".to_owned()),
        (Stage::Route, "10.0.2.10 is in 10.0.0.0/16: local route".to_owned()),
        (Stage::Route, format!("10.0.2.10 is mapped to interface #{c}")),
        (Stage::DestinationCheck, "10.0.2.10 belongs to the interface".to_owned()),
    ];
    assert_eq!(told(&lab), expected);
}

#[test]
fn the_trace_of_a_solicitation_tells_that_the_mac_was_computed() {
    let mut lab = Lab::new(Profile::aws());
    let frame = solicitation(A, "fe80::8ca:5ff:fe9c:fc14", "fe80::8ca:5ff:fe9c:fc02", None);
    lab.send(A, &frame, Default::default());
    let expected = [
        (Stage::Guard, "source MAC 0a:ca:05:9c:fc:14 is the interface's own"),
        (Stage::Neighbor, "asks who has fe80::8ca:5ff:fe9c:fc02"),
        (
            Stage::Neighbor,
            "fe80::8ca:5ff:fe9c:fc02 is an EUI-64 link-local: 0a:ca:05:9c:fc:02 is computed from it",
        ),
    ];
    assert_eq!(told(&lab), expected.map(|(stage, text)| (stage, text.to_owned())));
}
