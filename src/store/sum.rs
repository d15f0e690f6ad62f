//! Computes checksums that are the same on every machine and in every version.
//!
//! The state of a network is checked as a set: its sum is the wrapping sum of the checksums of its parts, so a commit
//! updates it by what it changes, and a part that is lost, doubled or altered is found. SipHash-1-3 with fixed keys:
//! this finds accidents, and does not protect against an author of forged files.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::model::ids::ResourceId;
use crate::model::mapping::Owner;
use crate::model::{AddressOrPrefix, SubnetId};

/// The checksum of several byte strings, each with its length.
pub(super) fn of_parts<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6c6f_6361_6c76_7063, 1);
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

/// The checksum of a record.
pub(super) fn of_record(path: &str, value: &str) -> u64 {
    of_parts([path.as_bytes(), value.as_bytes()])
}

/// The checksum of a mapping.
pub(super) fn of_mapping(subnet: SubnetId, address: AddressOrPrefix, owner: Owner) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6c6f_6361_6c76_7063, 2);
    hasher.write(&subnet.to_bits().to_le_bytes());
    match address.first() {
        IpAddr::V4(first) => hasher.write(&first.octets()),
        IpAddr::V6(first) => hasher.write(&first.octets()),
    }
    hasher.write(&[u8::from(address.is_prefix())]);
    hasher.write(&owner.interface.to_bits().to_le_bytes());
    hasher.write(&owner.sequence.to_le_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files contain sums with these keys: they must never change.
    #[test]
    fn checksums_are_those_of_the_files_that_are_out_there() {
        let owner = Owner {
            interface: crate::model::InterfaceId::from_bits(7),
            sequence: 3,
        };
        let sums = [
            of_parts([]),
            of_record("vpc-1", "{}"),
            of_mapping(SubnetId::from_bits(1), "10.0.1.5".parse().unwrap(), owner),
            of_mapping(SubnetId::from_bits(1), "2001:db8:0:0:5::/80".parse().unwrap(), owner),
        ];
        assert_eq!(sums, GOLDEN);
    }

    const GOLDEN: [u64; 4] = [
        5_745_548_394_343_526_660,
        7_263_108_861_769_877_867,
        3_027_669_242_505_262_530,
        14_356_422_788_978_528_303,
    ];
}
