//! Tests that a decision lists everything that it depends on: an edit of anything else changes no verdict.

use super::lab::{Host, Host::*, Lab};
use crate::datapath::{Destination, Entry, RouteTable, RouteTarget, Verdict};
use crate::model::profile::Profile;
use ipnet::IpNet;
use std::sync::Arc;

/// An edit of the network, and whether an entry is the edited one.
type Edit = (String, Box<dyn Fn(&mut Lab)>, Box<dyn Fn(&Lab, &Entry) -> bool>);

/// Edits of one entry each.
fn edits() -> Vec<Edit> {
    let mut all: Vec<Edit> = Vec::new();
    let addresses = [
        ("10.0.1.10/32", false),
        ("10.0.1.11/32", false),
        ("10.0.1.12/32", false),
        ("10.0.1.32/28", false),
        ("2001:db8:1:1::a/128", false),
        ("2001:db8:1:1::b/128", false),
        ("2001:db8:1:1:5::/80", false),
        ("10.0.2.10/32", true),
        ("2001:db8:1:2::c/128", true),
    ];
    for (net, in_b) in addresses {
        // An address belongs to an interface of its own subnet.
        for to in if in_b { vec![None] } else { vec![None, Some(E), Some(A)] } {
            let parsed: IpNet = net.parse().expect("a range");
            let subnet = move |lab: &Lab| if in_b { lab.sb } else { lab.sa };
            all.push((
                format!("{net} to {to:?}"),
                Box::new(move |lab| lab.map(subnet(lab), net, to)),
                Box::new(move |lab, entry| {
                    matches!(entry, Entry::Mapping { subnet: at, address }
                        if *at == subnet(lab) && parsed.contains(address))
                }),
            ));
        }
    }
    for host in [A, B, C, D, E] {
        let of = move |lab: &Lab, entry: &Entry| *entry == Entry::Interface(lab.interfaces[&host]);
        all.push((
            format!("check of {host:?} off"),
            Box::new(move |lab| lab.unchecked(&[host])),
            Box::new(of),
        ));
        all.push((
            format!("{host:?} detached"),
            Box::new(move |lab| lab.writer.set_port(lab.interfaces[&host], None)),
            // A learning switch removes the stations of the port.
            Box::new(move |lab, entry| of(lab, entry) || matches!(entry, Entry::Station { .. })),
        ));
        all.push((
            format!("{host:?} with a small MTU"),
            Box::new(move |lab| lab.writer.set_mtu(lab.interfaces[&host], Some(68))),
            Box::new(of),
        ));
    }
    let nowhere: IpNet = "10.0.0.0/8".parse().expect("a range");
    all.push((
        "another route table".to_owned(),
        Box::new(move |lab| {
            let routes = [(nowhere, RouteTarget::Blackhole)].into_iter().collect::<RouteTable>();
            lab.writer.set_routes(lab.sa, Arc::new(routes));
        }),
        Box::new(|lab, entry| matches!(entry, Entry::Route { subnet, .. } if *subnet == lab.sa)),
    ));
    all
}

#[test]
fn an_edit_of_what_a_decision_does_not_name_changes_no_verdict() {
    let (edits, mut changed) = (edits(), 0);
    for (number, case) in super::cases().iter().enumerate() {
        let Some((lab, before)) = case.decision() else { continue };
        // Each case is tested with a third of the edits, and each edit with a third of the cases.
        let met = edits.iter().skip(number % 3).step_by(3);
        for (what, edit, is_edited) in met {
            let (mut lab_after, _) = case.decision().expect("as before");
            edit(&mut lab_after);
            // The sender itself is detached: its frames are no longer decided.
            let Some(after) = case.decide_in(&mut lab_after) else {
                continue;
            };
            if (after.verdict, &after.reply) != (before.verdict, &before.reply) {
                changed += 1;
                assert!(
                    before.basis.iter().any(|entry| is_edited(&lab, entry)),
                    "{}: {what} changes {:?} to {:?}, and the decision names only {:?}",
                    case.says(),
                    before.verdict,
                    after.verdict,
                    before.basis
                );
            }
        }
    }
    assert!(changed > 100, "{changed} edits changed a verdict");
}

#[test]
fn a_verdict_names_the_entry_that_decided() {
    use super::lab::{ROUTER_A, udp, who_has};
    let by = |from: Host, frame: Vec<u8>| {
        let mut lab = Lab::new(Profile::aws());
        let decision = lab.decision(from, &frame, Default::default());
        let decision = decision.expect("the host is attached");
        (decision.verdict, decision.decided_by(), lab)
    };
    let (verdict, entry, lab) = by(A, udp(A, ROUTER_A, "10.0.1.10", "10.0.2.10"));
    assert!(matches!(verdict, Verdict::Deliver { to: Destination::Port(port), .. } if port == C.port()));
    assert_eq!(entry, Some(Entry::Interface(lab.interfaces[&C])));
    let (_, entry, lab) = by(A, udp(A, ROUTER_A, "10.0.1.10", "192.0.2.1"));
    let route = Entry::Route {
        subnet: lab.sa,
        destination: None,
    };
    assert_eq!(entry, Some(route));
    let (_, entry, lab) = by(A, who_has(A, "10.0.1.99"));
    let unknown = Entry::Mapping {
        subnet: lab.sa,
        address: "10.0.1.99".parse().expect("an address"),
    };
    assert_eq!(entry, Some(unknown));
}
