//! Tests a moving address: the mapping service knows at once, and peers with an announcement.

use super::lab::{Expect::*, Host::*, Lab, case, hex, solicitation, udp, who_has};
use super::second_opinion::agrees;
use crate::datapath::{Destination, DropReason, FrameMeta, Verdict, announcement};
use crate::model::profile::Profile;
use crate::wire::reply::ReplyBuffer;

/// 10.0.1.12 moves from b to a.
fn moved() -> Lab {
    let mut lab = Lab::new(Profile::aws());
    lab.map(lab.sa, "10.0.1.12/32", Some(A));
    lab
}

#[test]
fn a_moved_address_is_answered_with_its_new_owner_s_mac_at_once() {
    let mut lab = moved();
    lab.send(B, &who_has(B, "10.0.1.12"), FrameMeta::default());
    let expected = "0260cbcf193e 0aca059cfc14 0806 0001080006040002 0aca059cfc14 0a00010c 0260cbcf193e 0a00010b";
    assert_eq!(lab.reply.frame(), hex(expected));
    lab.map(lab.sa, "2001:db8:1:1::b/128", Some(A));
    lab.send(
        B,
        &solicitation(B, "fe80::60:cbff:fecf:193e", "2001:db8:1:1::b", None),
        FrameMeta::default(),
    );
    assert_eq!(lab.reply.frame()[80..], A.mac().0);
}

/// A peer with the old MAC reaches only the old owner's port, whose interface no longer owns the address.
#[test]
fn a_peer_with_the_old_mac_does_not_reach_the_moved_address() {
    case(
        "old MAC",
        C,
        udp(C, super::lab::ROUTER_B, "10.0.2.10", "10.0.1.12"),
        Routed(A, super::lab::ROUTER_A, false),
    )
    .given(|lab| lab.map(lab.sa, "10.0.1.12/32", Some(A)))
    .run();
    let mut lab = moved();
    lab.writer.set_port(lab.interfaces[&E], Some(E.port()));
    let stale = lab.send(E, &udp(E, B.mac(), "10.0.1.14", "10.0.1.12"), FrameMeta::default());
    assert_eq!(stale, Verdict::Drop(DropReason::DestinationCheck));
    // Where the old owner's check is off, it still gets the frames.
    lab.unchecked(&[B]);
    let stale = lab.send(E, &udp(E, B.mac(), "10.0.1.14", "10.0.1.12"), FrameMeta::default());
    assert!(matches!(stale, Verdict::Deliver { to: Destination::Port(port), .. } if port == B.port()));
}

/// Reported of today's EC2 (repost.aws, "Nitro generates GARP on behalf of the instance").
#[test]
fn a_move_is_announced_by_gratuitous_arp_or_an_overriding_advertisement_in_a_frame_to_each_port_s_own_mac() {
    let mut reply = ReplyBuffer::new();
    announcement("10.0.1.12".parse().expect("an address"), A.mac(), B.mac(), &mut reply);
    let gratuitous = "0260cbcf193e 0aca059cfc14 0806 0001080006040001 0aca059cfc14 0a00010c 000000000000 0a00010c";
    assert_eq!(reply.frame(), hex(gratuitous));
    agrees(reply.frame());
    announcement(
        "2001:db8:1:1::b".parse().expect("an address"),
        A.mac(),
        B.mac(),
        &mut reply,
    );
    let unsolicited = "0260cbcf193e 0aca059cfc14 86dd 6000000000203aff
        20010db800010001000000000000000b ff020000000000000000000000000001
        8800ee9820000000 20010db800010001000000000000000b 0201 0aca059cfc14";
    assert_eq!(reply.frame(), hex(unsolicited));
    agrees(reply.frame());
}

/// The stale-entry incidents of 2014 to 2018 need a fabric without announcements.
#[test]
fn profile_aws_announces_moves_and_aws_xen_and_lan_do_not() {
    let announces = |name| Profile::named(name).expect("built in").neighbor.announce_on_move;
    assert_eq!(["aws", "aws-xen", "lan"].map(announces), [true, false, false]);
}

#[test]
fn the_members_of_a_subnet_are_its_attached_ports() {
    let mut lab = Lab::new(Profile::aws());
    let members = |lab: &Lab| {
        let view = lab.writer.view();
        let subnet = view.subnet(lab.sa).expect("there");
        subnet.members().iter().map(|(port, _)| port.get()).collect::<Vec<_>>()
    };
    assert_eq!(members(&lab), [A.port().get(), B.port().get()]);
    lab.writer.set_port(lab.interfaces[&A], None);
    assert_eq!(members(&lab), [B.port().get()]);
    lab.writer.remove_interface(lab.interfaces[&B]);
    assert!(members(&lab).is_empty());
}

/// Never both and never neither: one thread moves the address, another looks it up.
#[test]
fn at_no_instant_of_a_move_have_both_or_neither_the_address() {
    let mut lab = Lab::new(Profile::aws());
    let (fabric, sa) = (lab.writer.fabric(), lab.sa);
    let owners = [lab.interfaces[&A], lab.interfaces[&B]];
    lab.map(sa, "2001:db8:1:1::7/128", Some(A));
    lab.map(sa, "10.0.1.7/32", Some(A));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let view = fabric.view();
                let subnet = view.subnet(sa).expect("there");
                for address in ["2001:db8:1:1::7", "10.0.1.7"] {
                    let owner = view.owner(subnet, address.parse().expect("an address"));
                    assert!(owners.contains(&owner.expect("an owner at every instant")));
                    seen += 1;
                }
            }
            seen
        });
        for round in 0..100_000 {
            lab.map(sa, "2001:db8:1:1::7/128", Some([A, B][round % 2]));
            lab.map(sa, "10.0.1.7/32", Some([B, A][round % 2]));
            // Others are added and removed, so that the table is replaced under the reader.
            lab.map(sa, &format!("2001:db8:1:1:0:1:{:x}:1/128", round % 65536), Some(A));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().expect("the reader saw no hole") > 0);
    });
}
