//! Prefetches hash-table slots for a batch. Where the table of IPv6 addresses is larger than the CPU's caches, a
//! look-up waits for memory, and the branches of a decision depend on its result, so look-ups of consecutive decisions
//! would wait one after another. The prefetch loads the slots of a whole batch in parallel, because the loads are
//! independent.

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};

use super::{Ingress, View};
use crate::wire::frame::{ETHERTYPE_IPV6, Frame};

/// Octets of a table that stay in a core's own cache.
const CACHED: usize = 1 << 19;

/// Offset of a packet's destination in its frame.
const DESTINATION: usize = 38;

/// Prefetches the look-ups of the decisions about a batch. It decides nothing: it accepts any bytes, and without it the
/// verdicts are the same.
///
/// IPv4 does not need it: a subnet's addresses are an array that fits the cache, and for many subnets a batch waits
/// less than the pass would cost.
/// waits for is less than what a pass over it costs.
#[inline]
pub fn warm<'a>(frames: impl Iterator<Item = &'a [u8]>, ingress: &Ingress<'_>, view: &View) {
    if view.ipv6.size() <= CACHED {
        return;
    }
    let touched = frames.filter_map(|frame| touch(frame, ingress, view));
    black_box(touched.fold(0, |seen, owner| seen ^ owner));
}

/// Loads the first slot of the look-up of a frame's destination, and returns its owner, 0 for none.
#[inline(always)]
fn touch(bytes: &[u8], ingress: &Ingress<'_>, view: &View) -> Option<u32> {
    let frame = Frame::parse(bytes).ok()?;
    if frame.ethertype != ETHERTYPE_IPV6 {
        return None;
    }
    let address = Ipv6Addr::from_bits(u128::from_be_bytes(*bytes.get(DESTINATION..)?.first_chunk()?));
    let subnet = if frame.destination == ingress.subnet.router_mac {
        ingress.vpc.ranges.around(IpAddr::V6(address))?
    } else {
        ingress.subnet.index
    };
    Some(view.ipv6.touch(subnet.0, address.to_bits() as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::datapath::{FabricWriter, InterfaceSpec, SubnetSpec, VpcSpec};
    use crate::mapping::PortId;
    use crate::model::profile::Profile;
    use crate::wire::MacAddr;

    #[test]
    fn what_is_touched_is_the_slot_of_the_destination_and_nothing_for_other_frames() {
        let mut fabric = FabricWriter::new();
        let vpc = fabric.add_vpc(VpcSpec {
            profile: Arc::new(Profile::aws()),
            cidrs: vec!["2001:db8::/56".parse().expect("a range")],
            dhcp_options: Arc::default(),
        });
        let router_mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let subnet = fabric.add_subnet(SubnetSpec {
            vpc,
            ipv4: None,
            ipv6: Some("2001:db8::/64".parse().expect("a range")),
            router_mac,
        });
        let owner = fabric.add_interface(InterfaceSpec {
            subnet,
            mac: MacAddr([2, 0, 0, 0, 0, 10]),
            source_dest_check: true,
        });
        // The only address in the table: it is in the first slot of its search.
        fabric.map(subnet, "2001:db8::7/128".parse().expect("an address"), Some(owner));
        let view = fabric.fabric().view_full();
        let port = PortId::new(1).expect("counted from 1");
        let ingress = view.ingress(owner, port).expect("the interface is known");
        let mut frame = vec![0; 54];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[38..54].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(touch(&frame, &ingress, &view), Some(owner.get()));
        for length in 0..54 {
            assert_eq!(touch(&frame[..length], &ingress, &view), None, "cut to {length}");
        }
        frame[..6].copy_from_slice(&router_mac.0);
        assert_eq!(touch(&frame, &ingress, &view), Some(owner.get()), "by the router");
        frame[45] = 1;
        assert_eq!(touch(&frame, &ingress, &view), None, "by the router, to no subnet");
        frame[45] = 0;
        frame[..6].fill(0);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(touch(&frame, &ingress, &view), None, "IPv4");
    }
}
