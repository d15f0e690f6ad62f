//! Draws free addresses and prefixes for interfaces at random, as EC2 does, outside of the reserved parts of a subnet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::Rng;

use crate::model::MappingError;
use crate::model::address::{AddressOrPrefix, IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use crate::model::error::ModelError;
use crate::model::ids::InterfaceId;
use crate::model::interface::AddressRequest;
use crate::model::network::{Network, SubnetState};
use crate::model::subnet::plan::assignable;
use crate::model::subnet::reservation::{Reservation, ReservationKind};

/// Random draws of a free address before a linear search. A nearly full subnet has long runs of assigned addresses: a
/// search for each address of a request for thousands took 20 s, and every other request waited.
const MOST_DRAWS: usize = 256;

impl Network {
    /// A free address or prefix of the requested kind. Prefixes come from the parts that are reserved for them first,
    /// and from the rest of the subnet when those are full.
    pub(super) fn choose_free(
        &self,
        id: InterfaceId,
        kind: AddressRequest,
        rng: &mut dyn Rng,
    ) -> Result<AddressOrPrefix, ModelError> {
        let subnet = self.state(id).record.subnet_id;
        let state = self.subnet_state(subnet);
        let ipv6 = matches!(kind, AddressRequest::AnyIpv6 | AddressRequest::AnyIpv6Prefix);
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let Some(block) = state.block(ipv6) else {
            return Err(ModelError::Mapping(MappingError::NoFamily { subnet, family }));
        };
        let is_prefix = matches!(kind, AddressRequest::AnyIpv4Prefix | AddressRequest::AnyIpv6Prefix);
        let length = match (ipv6, is_prefix) {
            (false, false) => 32,
            (false, true) => IPV4_PREFIX_LEN,
            (true, false) => 128,
            (true, true) => IPV6_PREFIX_LEN,
        };
        let search = Search { state, ipv6, length };
        // The first four addresses and the last are reserved, and with them the prefixes that contain them.
        let all = assignable(block);
        if is_prefix {
            let parts = state
                .subnet
                .reserved(ipv6)
                .filter(|part| part.kind == ReservationKind::Prefix);
            for part in parts.map(Reservation::range) {
                let within = part.start.max(all.start)..part.end.min(all.end);
                if let Some(found) = search.within(within, &[], rng) {
                    return Ok(found);
                }
            }
        }
        let avoided: Vec<Range<u128>> = state.subnet.reserved(ipv6).map(Reservation::range).collect();
        search
            .within(all, &avoided, rng)
            .ok_or(ModelError::Mapping(if is_prefix {
                MappingError::NoFreePrefix { subnet }
            } else {
                MappingError::SubnetFull { subnet }
            }))
    }
}

/// A search for a free block of one size.
struct Search<'a> {
    state: &'a SubnetState,
    ipv6: bool,
    length: u8,
}

impl Search<'_> {
    /// The number of addresses of the block, of which its first one is a multiple.
    fn step(&self) -> u128 {
        1 << (if self.ipv6 { 128 } else { 32 } - self.length)
    }

    fn candidate(&self, first: u128) -> AddressOrPrefix {
        let net = if self.ipv6 {
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(first), self.length))
        } else {
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(first as u32), self.length))
        };
        AddressOrPrefix::new(net).expect("the candidate is a multiple of its own size")
    }

    /// The first address after what is in the way of a block.
    fn obstacle(&self, block: AddressOrPrefix, avoided: &[Range<u128>]) -> Option<u128> {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let first = bits(block.first());
        let reserved = avoided
            .iter()
            .find(|part| part.start < first + self.step() && first < part.end);
        reserved.map(|part| part.end).or_else(|| {
            let (taken, _) = self.state.mappings.overlapping(block)?;
            Some(bits(taken.net().broadcast()) + 1)
        })
    }

    /// A free block in a range, outside of other ranges.
    fn within(&self, range: Range<u128>, avoided: &[Range<u128>], rng: &mut dyn Rng) -> Option<AddressOrPrefix> {
        let step = self.step();
        let low = range.start.next_multiple_of(step);
        if low + step > range.end {
            return None;
        }
        let count = (range.end - low) / step;
        let mut draw = || low + (u128::from(rng.next_u64()) % count) * step;
        let mut start = draw();
        for _ in 0..MOST_DRAWS {
            let block = self.candidate(start);
            if self.obstacle(block, avoided).is_none() {
                return Some(block);
            }
            start = draw();
        }
        let (mut first, mut wrapped) = (start, false);
        loop {
            let block = self.candidate(first);
            let Some(after) = self.obstacle(block, avoided) else {
                return Some(block);
            };
            first = after.next_multiple_of(step);
            if first + step > range.end {
                if wrapped {
                    return None;
                }
                (first, wrapped) = (low, true);
            }
            if wrapped && first >= start && start != low {
                return None;
            }
        }
    }
}
