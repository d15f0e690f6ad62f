//! Reserves parts of a subnet: what is drawn for an interface keeps out of them (VPC guide, "Subnet CIDR
//! reservations").
//!
//! An address or prefix that a request names may lie in any of them, and what was assigned before stays.

use std::ops::Range;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Subnet;
use crate::model::cidr::overlap;
use crate::model::command::{Command, Edit};
use crate::model::error::{ModelError, RefusalKind};
use crate::model::ids::{ReservationId, ResourceRef, SubnetId};
use crate::model::naming::Tags;
use crate::model::network::{Network, fresh_id};

/// A reserved part of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its identifier.
    pub id: ReservationId,
    /// The part, without bits below its length.
    pub cidr: IpNet,
    /// What it is for.
    pub kind: ReservationKind,
    /// For the reader.
    pub description: String,
    /// Tags.
    pub tags: Tags,
}

/// What a reserved part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKind {
    /// Prefixes for interfaces are drawn from it first.
    Prefix,
    /// Nothing is drawn from it.
    Explicit,
}

impl ReservationKind {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Explicit => "explicit",
        }
    }

    /// The inverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Prefix, Self::Explicit]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Reservation {
    /// Its addresses, as numbers.
    pub(in crate::model) fn range(&self) -> Range<u128> {
        match self.cidr {
            IpNet::V4(net) => u128::from(net.network().to_bits())..u128::from(net.broadcast().to_bits()) + 1,
            IpNet::V6(net) => net.network().to_bits()..net.broadcast().to_bits().saturating_add(1),
        }
    }

    fn is_ipv6(&self) -> bool {
        matches!(self.cidr, IpNet::V6(_))
    }
}

impl Subnet {
    /// Its reserved parts of one family.
    pub(in crate::model) fn reserved(&self, ipv6: bool) -> impl Iterator<Item = &Reservation> {
        self.reservations.iter().filter(move |one| one.is_ipv6() == ipv6)
    }
}

/// Why a part of a subnet is not reserved. `Display` is EC2's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// It is no part of the subnet.
    #[error("Reservation CIDR should be within subnet CIDR block ({block})")]
    Outside {
        /// The block of the subnet.
        block: IpNet,
    },
    /// The subnet has no block of the family.
    #[error("Subnet {subnet} has no block of the family of the reservation CIDR {cidr}")]
    NoFamily {
        /// The subnet.
        subnet: SubnetId,
        /// As given.
        cidr: IpNet,
    },
    /// A part of it is reserved.
    #[error("Reservation CIDR {cidr} has overlap with existing reserved CIDR block")]
    Overlap {
        /// As given.
        cidr: IpNet,
        /// What is there.
        existing: ReservationId,
    },
}

impl ReservationError {
    /// The error code of EC2 for this case.
    pub const fn code(&self) -> &'static str {
        "InvalidParameterValue"
    }

    /// The wrong field of the request, in the API's spelling.
    pub const fn field(&self) -> &'static str {
        "cidr"
    }

    /// The remedy, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Outside { .. } | Self::NoFamily { .. } => "Reserve a part of a block that the subnet has.".into(),
            Self::Overlap { existing, .. } => format!("Delete {existing} first, or reserve another part."),
        }
    }

    /// What sort of refusal it is.
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::Outside { .. } | Self::NoFamily { .. } => RefusalKind::Invalid,
            Self::Overlap { .. } => RefusalKind::Conflict,
        }
    }
}

/// Reserves a part of a subnet. Outcome: the reservation.
#[derive(Debug, Clone)]
pub struct ReserveCidr {
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
    /// The part.
    pub cidr: IpNet,
    /// What it is for.
    pub kind: ReservationKind,
    /// For the reader.
    pub description: String,
    /// Tags.
    pub tags: Tags,
}

/// Ends a reservation. Outcome: its subnet, and the reservation as it was.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseCidr(pub ReservationId);

/// Replaces the tags of a reservation.
#[derive(Debug, Clone)]
pub struct TagReservation {
    /// The reservation.
    pub reservation: ReservationId,
    /// All tags.
    pub tags: Tags,
}

impl Command for ReserveCidr {
    type Outcome = Reservation;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Reservation, ModelError> {
        let before = edit.subnet(&self.subnet)?.clone();
        let cidr = self.cidr.trunc();
        let is_ipv6 = matches!(cidr, IpNet::V6(_));
        let Some(block) = before.blocks().find(|block| matches!(block, IpNet::V6(_)) == is_ipv6) else {
            let subnet = before.id;
            return Err(ReservationError::NoFamily { subnet, cidr }.into());
        };
        if !block.contains(&cidr) {
            return Err(ReservationError::Outside { block }.into());
        }
        if let Some(other) = before.reservations.iter().find(|other| overlap(other.cidr, cidr)) {
            let existing = other.id;
            return Err(ReservationError::Overlap { cidr, existing }.into());
        }
        let network = &*edit.network;
        let made = Reservation {
            id: fresh_id(edit.rng, |id| network.reservation(id).is_ok()),
            cidr,
            kind: self.kind,
            description: self.description,
            tags: self.tags,
        };
        let mut after = before.clone();
        after.reservations.push(made.clone());
        edit.replace(before, after);
        Ok(made)
    }
}

impl Command for ReleaseCidr {
    type Outcome = (SubnetId, Reservation);
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Self::Outcome, ModelError> {
        let (subnet, released) = edit.reservation(self.0)?;
        let (before, released) = (subnet.clone(), released.clone());
        let mut after = before.clone();
        after.reservations.retain(|one| one.id != self.0);
        let id = before.id;
        edit.replace(before, after);
        Ok((id, released))
    }
}

impl Command for TagReservation {
    type Outcome = ();
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<(), ModelError> {
        let before = edit.reservation(self.reservation)?.0.clone();
        let mut after = before.clone();
        for one in after.reservations.iter_mut().filter(|one| one.id == self.reservation) {
            one.tags.clone_from(&self.tags);
        }
        edit.replace(before, after);
        Ok(())
    }
}

impl Network {
    /// A reservation, and its subnet.
    pub fn reservation(&self, id: ReservationId) -> Result<(&Subnet, &Reservation), ModelError> {
        let mut all = self
            .subnets()
            .flat_map(|subnet| subnet.reservations.iter().map(move |one| (subnet, one)));
        let found = all.find(|(_, one)| one.id == id);
        found.ok_or_else(|| ModelError::not_found::<ReservationId>(&id.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::interface::AddressRequest;
    use crate::model::mapping::AssignAddresses;
    use crate::model::network::tests::World;

    fn reserve(subnet: SubnetId, cidr: &str, kind: ReservationKind) -> ReserveCidr {
        ReserveCidr {
            subnet: subnet.into(),
            cidr: cidr.parse().unwrap(),
            kind,
            description: String::new(),
            tags: Tags::new(),
        }
    }

    #[test]
    fn a_reserved_part_is_in_the_subnet_and_overlaps_no_other() {
        let mut world = World::new();
        let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
        let subnet = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
        let first = world
            .execute(reserve(subnet, "10.0.1.17/28", ReservationKind::Prefix))
            .unwrap();
        assert_eq!(first.cidr.to_string(), "10.0.1.16/28");
        for (cidr, kind) in [
            ("10.0.2.0/28", RefusalKind::Invalid),
            ("10.0.0.0/16", RefusalKind::Invalid),
            ("2001:db8::/80", RefusalKind::Invalid),
            ("10.0.1.16/32", RefusalKind::Conflict),
            ("10.0.1.0/24", RefusalKind::Conflict),
        ] {
            let error = world
                .execute(reserve(subnet, cidr, ReservationKind::Explicit))
                .unwrap_err();
            let ModelError::Reservation(error) = error else {
                panic!("{cidr}: {error}")
            };
            assert_eq!((error.kind(), error.code()), (kind, "InvalidParameterValue"), "{cidr}");
        }
        world.execute(ReleaseCidr(first.id)).unwrap();
        world
            .execute(reserve(subnet, "10.0.1.0/24", ReservationKind::Explicit))
            .unwrap();
    }

    #[test]
    fn what_is_drawn_keeps_out_of_reserved_parts_and_prefixes_come_from_theirs_first() {
        let mut world = World::new();
        let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
        // 16 to 31 for prefixes and 32 to 47 for nothing that is drawn: 4 to 15 and 48 to 62 are left.
        let subnet = world.subnet(vpc, Some("10.0.1.0/26"), None).unwrap();
        let interface = world.interface(subnet, &["10.0.1.4"]).unwrap();
        world
            .execute(reserve(subnet, "10.0.1.16/28", ReservationKind::Prefix))
            .unwrap();
        let explicit = world
            .execute(reserve(subnet, "10.0.1.32/28", ReservationKind::Explicit))
            .unwrap();
        let draw = |request: AddressRequest, number: usize| AssignAddresses {
            interface: interface.into(),
            addresses: vec![request; number],
            move_allowed: false,
        };
        let prefix = world.execute(draw(AddressRequest::AnyIpv4Prefix, 1)).unwrap();
        assert_eq!(prefix.addresses[0].to_string(), "10.0.1.16/28");
        // The second one finds its part full, and the rest of the subnet has no room that begins at a multiple of 16.
        let full = world.execute(draw(AddressRequest::AnyIpv4Prefix, 1)).unwrap_err();
        assert_eq!(full.code(), "InsufficientCidrBlocks");
        let drawn = world.execute(draw(AddressRequest::AnyIpv4, 26)).unwrap().addresses;
        assert!(
            drawn.iter().all(|address| !explicit.cidr.contains(&address.first())),
            "{drawn:?}"
        );
        let full = world.execute(draw(AddressRequest::AnyIpv4, 1)).unwrap_err();
        assert_eq!(full.code(), "InsufficientFreeAddressesInSubnet");
        let named = AddressRequest::Exactly("10.0.1.40".parse().unwrap());
        world.execute(draw(named, 1)).unwrap();
        world.execute(ReleaseCidr(explicit.id)).unwrap();
        world.execute(draw(AddressRequest::AnyIpv4, 15)).unwrap();
    }
}
