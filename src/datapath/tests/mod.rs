//! Tests the decision with sentences: a frame in, the verdict and the answer out.

mod arp;
mod basis;
mod firewall;
mod firewall_model;
mod forwarding;
mod guards;
mod internet;
mod lab;
mod lan;
mod links;
mod moves;
mod nat;
mod nat64;
mod neighbor;
mod router;
mod routing;
mod second_opinion;
mod trace;

use std::collections::BTreeSet;

use super::DropReason;
use lab::{Case, Expect};

/// The reasons that only the switch gives.
const GIVEN_BY_THE_SWITCH: [DropReason; 7] = [
    DropReason::NeighborTableFull,
    DropReason::InvalidOffload,
    DropReason::StreamLength,
    DropReason::InterfaceGone,
    DropReason::DeviceFull,
    DropReason::ServiceBusy,
    DropReason::DeviceFailed,
];

/// The cases of all files.
fn cases() -> Vec<Case> {
    let files: [fn() -> Vec<Case>; 9] = [
        arp::cases,
        neighbor::cases,
        router::cases,
        forwarding::cases,
        guards::cases,
        internet::cases,
        routing::cases,
        lan::cases,
        firewall::cases,
    ];
    files.iter().flat_map(|cases| cases()).collect()
}

#[test]
fn every_reason_to_drop_a_frame_is_met_by_a_case() {
    let cases = cases().into_iter();
    let mut met: BTreeSet<DropReason> = GIVEN_BY_THE_SWITCH.into();
    met.extend(cases.filter_map(|case| match case.expect {
        Expect::Drop(reason) => Some(reason),
        _ => None,
    }));
    // Those of the DHCP servers, which their own tests cover.
    met.extend(
        DropReason::ALL
            .iter()
            .filter(|reason| reason.name().starts_with("dhcp")),
    );
    // Those of faults, which the tests of faults cover.
    met.extend(
        DropReason::ALL
            .iter()
            .filter(|reason| reason.name().starts_with("fault_")),
    );
    // Those of allowances, which their own tests meet.
    met.extend(
        DropReason::ALL
            .iter()
            .filter(|reason| reason.name().ends_with("_allowance_exceeded")),
    );
    // Those of gateways and peerings, which need several packets: a test of these files expects each by name.
    let files = [include_str!("nat.rs"), include_str!("links.rs")];
    let is_named = |reason: &&DropReason| {
        files
            .iter()
            .any(|file| file.contains(&format!("DropReason::{reason:?})")))
    };
    met.extend(DropReason::ALL.iter().filter(is_named));
    let missing: Vec<_> = DropReason::ALL.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}
