//! Derives the addresses of a subnet that no interface can have, and what its hosts configure: gateway and on-link range.
//!
//! VPC user guide, "Subnet sizing": of each block the first four addresses and the last are reserved, for the network, the
//! router, the resolver, future use and broadcast. A profile can give hosts another gateway or a longer prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::Profile;

/// The router's address, counted from the start of a block of either family.
pub const ROUTER: u32 = 1;
/// The resolver's address, counted from the start of the VPC's first IPv4 block.
pub const RESOLVER: u32 = 2;
/// The number of reserved addresses at the start of a block.
const RESERVED: u32 = 4;

/// The router's own address in an IPv4 block.
pub fn router_ipv4(block: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(block.network().to_bits() + ROUTER)
}

/// The router's address in an IPv6 block.
pub fn router_ipv6(block: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from_bits(block.network().to_bits() + u128::from(ROUTER))
}

/// The resolver of a VPC with this first IPv4 block.
pub fn resolver(block: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(block.network().to_bits() + RESOLVER)
}

/// The default gateway of hosts in a block: the profile's, inside the block or not, or the router's own address.
pub fn gateway(block: Ipv4Net, profile: &Profile) -> Ipv4Addr {
    profile.router.gateway.unwrap_or_else(|| router_ipv4(block))
}

/// An address of a host in a block with the prefix length that the host configures. Every address in this range is on-link.
pub fn on_link(address: Ipv4Addr, block: Ipv4Net, profile: &Profile) -> Ipv4Net {
    let length = profile.host_prefix_length.unwrap_or(block.prefix_len());
    // Profiles are checked to have at most 32.
    Ipv4Net::new(address, length).unwrap_or(Ipv4Net::from(address))
}

/// The addresses of a block that interfaces can have, as numbers.
pub fn assignable(block: IpNet) -> Range<u128> {
    match block {
        IpNet::V4(net) => u128::from(net.network().to_bits() + RESERVED)..u128::from(net.broadcast().to_bits()),
        IpNet::V6(net) => net.network().to_bits() + u128::from(RESERVED)..net.broadcast().to_bits(),
    }
}

/// Whether an address of a block is reserved.
pub fn is_reserved(block: IpNet, address: IpAddr) -> bool {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    block.contains(&address) && !assignable(block).contains(&bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn five_addresses_of_every_subnet_are_reserved_in_both_families() {
        for (block, address, expected) in [
            ("10.0.1.0/24", "10.0.1.0", true),
            ("10.0.1.0/24", "10.0.1.1", true),
            ("10.0.1.0/24", "10.0.1.2", true),
            ("10.0.1.0/24", "10.0.1.3", true),
            ("10.0.1.0/24", "10.0.1.4", false),
            ("10.0.1.0/24", "10.0.1.254", false),
            ("10.0.1.0/24", "10.0.1.255", true),
            // Another subnet's address is not this one's to reserve, nor one of the other family.
            ("10.0.1.0/24", "10.0.0.255", false),
            ("10.0.1.0/24", "2001:db8::1", false),
            ("10.0.1.16/28", "10.0.1.19", true),
            ("10.0.1.16/28", "10.0.1.20", false),
            ("10.0.1.16/28", "10.0.1.31", true),
            ("2001:db8::/64", "2001:db8::", true),
            ("2001:db8::/64", "2001:db8::3", true),
            ("2001:db8::/64", "2001:db8::4", false),
            ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:fffe", false),
            ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", true),
        ] {
            assert_eq!(
                is_reserved(block.parse().unwrap(), ip(address)),
                expected,
                "{address} of {block}"
            );
        }
    }

    #[test]
    fn router_and_resolver_are_the_second_and_third_address_of_a_block_that_need_not_start_at_zero() {
        let block = "10.0.1.16/28".parse().unwrap();
        assert_eq!(IpAddr::from(router_ipv4(block)), ip("10.0.1.17"));
        assert_eq!(IpAddr::from(resolver(block)), ip("10.0.1.18"));
        assert_eq!(
            IpAddr::from(router_ipv6("2001:db8:0:7::/64".parse().unwrap())),
            ip("2001:db8:0:7::1")
        );
    }

    #[test]
    fn a_profile_sets_the_gateway_and_the_prefix_of_hosts() {
        let block: Ipv4Net = "10.0.1.0/24".parse().unwrap();
        let address = Ipv4Addr::new(10, 0, 1, 10);
        let mut profile = Profile::aws();
        assert_eq!(gateway(block, &profile), Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(on_link(address, block, &profile), "10.0.1.10/24".parse().unwrap());
        profile.router.gateway = Some(Ipv4Addr::new(172, 31, 1, 1));
        profile.host_prefix_length = Some(32);
        assert_eq!(gateway(block, &profile), Ipv4Addr::new(172, 31, 1, 1));
        assert_eq!(on_link(address, block, &profile), "10.0.1.10/32".parse().unwrap());
    }
}
