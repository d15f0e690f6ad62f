//! Collects the addresses that a request gives or asks for: by value, or by number.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::api::problem::Problem;
use crate::model::AddressOrPrefix;
use crate::model::interface::AddressRequest;

/// The most addresses of a kind that one request may have chosen: the network is locked while they are drawn.
const MOST_CHOSEN: u32 = 4_096;

/// What stands in a request, in the words in which the interface is shown.
pub(super) struct Given {
    pub(super) ipv4_addresses: Vec<Ipv4Addr>,
    pub(super) ipv6_addresses: Vec<Ipv6Addr>,
    pub(super) ipv4_prefixes: Vec<Ipv4Net>,
    pub(super) ipv6_prefixes: Vec<Ipv6Net>,
    /// `ipv4_address_count`, `ipv6_address_count`, `ipv4_prefix_count` and `ipv6_prefix_count`.
    pub(super) counts: [u32; 4],
}

impl Given {
    /// What is asked for by value, then what is asked for by number.
    pub(super) fn requests(self) -> Result<Vec<AddressRequest>, Problem> {
        let ipv4 = self
            .ipv4_addresses
            .into_iter()
            .map(|address| AddressOrPrefix::from(std::net::IpAddr::V4(address)));
        let ipv6 = self
            .ipv6_addresses
            .into_iter()
            .map(|address| AddressOrPrefix::from(std::net::IpAddr::V6(address)));
        let mut blocks: Vec<AddressOrPrefix> = ipv4.chain(ipv6).collect();
        for prefix in self.ipv4_prefixes {
            blocks.push(delegated("ipv4_prefixes", prefix.into())?);
        }
        for prefix in self.ipv6_prefixes {
            blocks.push(delegated("ipv6_prefixes", prefix.into())?);
        }
        let mut all: Vec<_> = blocks.into_iter().map(AddressRequest::Exactly).collect();
        let kinds = [
            ("ipv4_address_count", AddressRequest::AnyIpv4),
            ("ipv6_address_count", AddressRequest::AnyIpv6),
            ("ipv4_prefix_count", AddressRequest::AnyIpv4Prefix),
            ("ipv6_prefix_count", AddressRequest::AnyIpv6Prefix),
        ];
        for ((field, kind), count) in kinds.into_iter().zip(self.counts) {
            if count > MOST_CHOSEN {
                let problem = Problem::invalid(field, format!("{count} at once are too many"));
                return Err(problem.remedy(format!("Ask for at most {MOST_CHOSEN} in one request.")));
            }
            all.extend(std::iter::repeat_n(kind, count as usize));
        }
        Ok(all)
    }
}

fn delegated(field: &'static str, prefix: IpNet) -> Result<AddressOrPrefix, Problem> {
    let block = AddressOrPrefix::new(prefix).map_err(|error| Problem::invalid(field, error.to_string()))?;
    if block.is_prefix() {
        return Ok(block);
    }
    let detail = format!("'{prefix}' is an address");
    Err(Problem::invalid(field, detail)
        .remedy("Give addresses in ipv4_addresses and ipv6_addresses, without a length."))
}
