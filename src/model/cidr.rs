//! Checks the address ranges of VPCs and subnets.
//!
//! Sources: VPC user guide, "VPC CIDR blocks" and "Subnet sizing". A block with host bits is silently canonicalised, as
//! by AWS: 100.68.0.18/18 becomes 100.68.0.0/18.

mod error;

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::error::ModelError;

pub use error::CidrError;

/// Sizes of an IPv4 block, for a VPC and for a subnet alike.
const IPV4_RULE: &str = "an IPv4 block is from /16 to /28";
/// Sizes of an IPv6 block of a VPC.
const IPV6_VPC_RULE: &str = "the IPv6 block of a VPC is from /44 to /60 in steps of 4";
/// Size of an IPv6 block of a subnet.
const IPV6_SUBNET_RULE: &str = "the IPv6 block of a subnet is a /64";

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// IPv4 ranges that no VPC can have.
const IPV4_UNUSABLE: [(Ipv4Net, &str); 5] = [
    (
        v4(169, 254, 0, 0, 16),
        "169.254.0.0/16 is link-local and serves the VPC itself",
    ),
    (v4(127, 0, 0, 0, 8), "127.0.0.0/8 is the loopback range"),
    (v4(0, 0, 0, 0, 8), "0.0.0.0/8 is not a unicast range"),
    (v4(224, 0, 0, 0, 4), "224.0.0.0/4 is the multicast range"),
    (v4(240, 0, 0, 0, 4), "240.0.0.0/4 is reserved"),
];

/// The three private ranges of RFC 1918: the blocks of one VPC come from one of them.
const RFC_1918: [Ipv4Net; 3] = [v4(10, 0, 0, 0, 8), v4(172, 16, 0, 0, 12), v4(192, 168, 0, 0, 16)];

/// AWS uses it internally; refused as a secondary block.
const AWS_INTERNAL: Ipv4Net = v4(198, 19, 0, 0, 16);

/// fd00:ec2::/32, the range of the VPC's own services.
const AWS_SERVICES: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0), 32);

/// True when the two have a common address.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => a.contains(&b) || b.contains(&a),
        (IpNet::V6(a), IpNet::V6(b)) => a.contains(&b) || b.contains(&a),
        _ => false,
    }
}

/// Checks the IPv4 blocks of a VPC, the first one being the primary, and returns them canonicalised.
pub fn check_vpc_ipv4(blocks: &[Ipv4Net]) -> Result<Vec<Ipv4Net>, ModelError> {
    const FIELD: &str = "cidr_blocks";
    let mut checked: Vec<Ipv4Net> = Vec::with_capacity(blocks.len());
    let range = |net: Ipv4Net, reason| {
        Err(ModelError::Cidr(CidrError::Range {
            net: IpNet::V4(net),
            reason,
            field: FIELD,
        }))
    };
    for block in blocks.iter().map(Ipv4Net::trunc) {
        let net = IpNet::V4(block);
        if !(16..=28).contains(&block.prefix_len()) {
            return Err(ModelError::Cidr(CidrError::Size {
                net,
                rule: IPV4_RULE,
                code: "InvalidVpc.Range",
                field: FIELD,
            }));
        }
        if let Some((_, reason)) = IPV4_UNUSABLE
            .iter()
            .find(|(unusable, _)| overlap(net, IpNet::V4(*unusable)))
        {
            return range(block, reason);
        }
        if let Some(primary) = checked.first() {
            let home = |net: &Ipv4Net| RFC_1918.iter().position(|private| private.contains(net));
            if AWS_INTERNAL.contains(&block) {
                return range(block, "198.19.0.0/16 is refused as a secondary block");
            }
            if let (Some(theirs), Some(ours)) = (home(primary), home(&block))
                && theirs != ours
            {
                return range(block, "the private blocks of one VPC come from one RFC 1918 range");
            }
        }
        if let Some(other) = checked.iter().find(|other| overlap(net, IpNet::V4(**other))) {
            let with = format!("{other}, another block of the VPC");
            return Err(ModelError::Cidr(CidrError::Conflict {
                net,
                with,
                code: "InvalidVpc.Conflict",
                field: FIELD,
            }));
        }
        checked.push(block);
    }
    if checked.is_empty() {
        Err(ModelError::Cidr(CidrError::VpcWithoutIpv4))
    } else {
        Ok(checked)
    }
}

/// Checks the IPv6 blocks of a VPC and returns them canonicalised.
pub fn check_vpc_ipv6(blocks: &[Ipv6Net]) -> Result<Vec<Ipv6Net>, ModelError> {
    const FIELD: &str = "ipv6_cidr_blocks";
    let mut checked: Vec<Ipv6Net> = Vec::with_capacity(blocks.len());
    for block in blocks.iter().map(Ipv6Net::trunc) {
        let net = IpNet::V6(block);
        if !matches!(block.prefix_len(), 44 | 48 | 52 | 56 | 60) {
            return Err(ModelError::Cidr(CidrError::Size {
                net,
                rule: IPV6_VPC_RULE,
                code: "InvalidVpc.Range",
                field: FIELD,
            }));
        }
        let first = block.addr().segments()[0];
        let unicast = (0x2000..0x4000).contains(&first) || first & 0xfe00 == 0xfc00;
        if !unicast {
            let reason = "it is neither global unicast (2000::/3) nor unique local (fc00::/7)";
            return Err(ModelError::Cidr(CidrError::Range {
                net,
                reason,
                field: FIELD,
            }));
        }
        if overlap(net, IpNet::V6(AWS_SERVICES)) {
            let reason = "fd00:ec2::/32 serves the VPC itself";
            return Err(ModelError::Cidr(CidrError::Range {
                net,
                reason,
                field: FIELD,
            }));
        }
        if let Some(other) = checked.iter().find(|other| overlap(net, IpNet::V6(**other))) {
            let with = format!("{other}, another block of the VPC");
            return Err(ModelError::Cidr(CidrError::Conflict {
                net,
                with,
                code: "InvalidVpc.Conflict",
                field: FIELD,
            }));
        }
        checked.push(block);
    }
    Ok(checked)
}

/// Checks the size of a subnet's IPv4 block and returns it canonicalised.
pub fn check_subnet_ipv4(block: Ipv4Net) -> Result<Ipv4Net, ModelError> {
    if !(16..=28).contains(&block.prefix_len()) {
        let net = IpNet::V4(block);
        return Err(ModelError::Cidr(CidrError::Size {
            net,
            rule: IPV4_RULE,
            code: "InvalidSubnet.Range",
            field: "cidr_block",
        }));
    }
    Ok(block.trunc())
}

/// Checks the size of a subnet's IPv6 block and returns it canonicalised.
pub fn check_subnet_ipv6(block: Ipv6Net) -> Result<Ipv6Net, ModelError> {
    if block.prefix_len() != 64 {
        let (net, rule) = (IpNet::V6(block), IPV6_SUBNET_RULE);
        return Err(ModelError::Cidr(CidrError::Size {
            net,
            rule,
            code: "InvalidSubnet.Range",
            field: "ipv6_cidr_block",
        }));
    }
    Ok(block.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4s(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn host_bits_are_dropped_silently() {
        assert_eq!(
            check_vpc_ipv4(&v4s(&["100.68.0.18/18"])).unwrap(),
            v4s(&["100.68.0.0/18"])
        );
    }

    #[test]
    fn a_vpc_block_must_have_a_size_and_a_range_that_aws_accepts() {
        for (blocks, said) in [
            (&["10.0.0.0/15"][..], "/16 to /28"),
            (&["10.0.0.0/29"], "/16 to /28"),
            (&["169.254.0.0/16"], "link-local"),
            (&["127.0.0.0/16"], "loopback"),
            (&["224.1.0.0/16"], "multicast"),
            (&["10.0.0.0/16", "10.0.128.0/17"], "conflicts with 10.0.0.0/16"),
            (&["10.0.0.0/16", "192.168.0.0/24"], "RFC 1918"),
            (&["10.0.0.0/16", "198.19.1.0/24"], "198.19.0.0/16"),
            (&[], "at least one"),
        ] {
            let error = check_vpc_ipv4(&v4s(blocks)).unwrap_err().to_string();
            assert!(error.contains(said), "{blocks:?}: {error}");
        }
        check_vpc_ipv4(&v4s(&["10.0.0.0/16", "10.1.0.0/28", "100.64.0.0/16"])).unwrap();
    }

    #[test]
    fn an_ipv6_block_of_a_vpc_comes_in_steps_of_four_and_from_unicast_space() {
        let check = |text: &str| check_vpc_ipv6(&[text.parse().unwrap()]);
        for good in ["2001:db8::/56", "2001:db8::/44", "2001:db8::/60", "fd12:3456::/48"] {
            check(good).unwrap();
        }
        for (wrong, said) in [
            ("2001:db8::/57", "steps of 4"),
            ("2001:db8::/64", "steps of 4"),
            ("fe80::/56", "neither"),
            ("ff02::/56", "neither"),
            ("fd00:ec2::/56", "serves the VPC itself"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
