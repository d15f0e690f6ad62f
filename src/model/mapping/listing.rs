//! Looks mappings up, and lists them page by page.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Mapping, MappingError, Owner};
use crate::model::address::AddressOrPrefix;
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceRef, SubnetId};
use crate::model::network::Network;

/// Selects mappings; every given field must match.
#[derive(Debug, Clone, Default)]
pub struct MappingFilter {
    /// Of this subnet.
    pub subnet: Option<ResourceRef<SubnetId>>,
    /// Of this interface, in the order of assignment.
    pub interface: Option<ResourceRef<InterfaceId>>,
    /// The mapping of this address, its own or that of a delegated prefix.
    pub address: Option<IpAddr>,
    /// Those inside this network, of any length.
    pub prefix: Option<IpNet>,
}

/// A page of mappings, and where the next one begins.
#[derive(Debug, Clone)]
pub struct MappingPage {
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// The cursor of the next page; `None` after the last.
    pub next: Option<PageCursor>,
}

/// A position in a list of mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageCursor {
    /// After this address of this subnet.
    After(SubnetId, AddressOrPrefix),
    /// After the assignment with this number.
    Sequence(u64),
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(subnet, address) => write!(f, "{subnet}_{address}"),
            Self::Sequence(sequence) => write!(f, "{sequence}"),
        }
    }
}

/// Text that is not a cursor of a former page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no cursor: pass the 'next_cursor' of the page before, unchanged")]
pub struct ParseCursorError(String);

impl FromStr for PageCursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseCursorError(text.to_owned());
        match text.split_once('_') {
            Some((subnet, address)) => Ok(Self::After(
                subnet.parse().map_err(|_| wrong())?,
                address.parse().map_err(|_| wrong())?,
            )),
            None => text.parse().map(Self::Sequence).map_err(|_| wrong()),
        }
    }
}

impl Network {
    /// The mapping of an address of a subnet, or of exactly this prefix.
    pub fn mapping(&self, subnet: &ResourceRef<SubnetId>, address: AddressOrPrefix) -> Result<Mapping, ModelError> {
        let id = self.subnet(subnet)?.id;
        let table = self.mappings_of(id);
        let found = match address.address() {
            Some(host) => table.covering(host),
            None => table.get(address).map(|owner| (address, owner)),
        };
        found
            .map(|(block, owner)| self.mapping_view(id, block, owner))
            .ok_or(ModelError::Mapping(MappingError::NoMapping { subnet: id, address }))
    }

    /// At most `limit` mappings that match the filter, after the cursor.
    pub fn mappings(
        &self,
        filter: &MappingFilter,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<MappingPage, ModelError> {
        let subnet = filter
            .subnet
            .as_ref()
            .map(|reference| self.subnet(reference).map(|s| s.id))
            .transpose()?;
        let interface = filter
            .interface
            .as_ref()
            .map(|reference| self.interface_id(reference))
            .transpose()?;
        let matches = |block: AddressOrPrefix| {
            filter.address.is_none_or(|address| block.net().contains(&address))
                && filter.prefix.is_none_or(|prefix| prefix.contains(&block.net()))
        };
        match interface {
            Some(id) => Ok(self.mappings_of_interface(id, subnet, matches, after, limit)),
            None => Ok(self.mappings_by_address(subnet, filter, matches, after, limit)),
        }
    }

    fn mappings_by_address(
        &self,
        subnet: Option<SubnetId>,
        filter: &MappingFilter,
        matches: impl Fn(AddressOrPrefix) -> bool,
        after: Option<PageCursor>,
        limit: usize,
    ) -> MappingPage {
        let after = match after {
            Some(PageCursor::After(subnet, block)) => Some((subnet, block)),
            _ => None,
        };
        let mut mappings = Vec::new();
        let first = subnet.or(after.map(|(subnet, _)| subnet)).unwrap_or(SubnetId::MIN);
        for (id, state) in self.subnets.range(first..) {
            if subnet.is_some_and(|wanted| wanted != *id) {
                break;
            }
            let after = after.filter(|(subnet, _)| subnet == id).map(|(_, block)| block);
            let table = &state.mappings;
            let found: Box<dyn Iterator<Item = _>> = match (filter.address, filter.prefix) {
                (Some(address), _) => {
                    let past = |(block, _): &(AddressOrPrefix, Owner)| after.is_none_or(|after| *block > after);
                    Box::new(table.covering(address).filter(past).into_iter())
                }
                (None, Some(prefix)) => table.within(prefix, after),
                (None, None) => Box::new(table.iter(after)),
            };
            for (block, owner) in found.filter(|(block, _)| matches(*block)) {
                if mappings.len() == limit {
                    let last: &Mapping = &mappings[limit - 1];
                    let next = Some(PageCursor::After(last.subnet_id, last.address));
                    return MappingPage { mappings, next };
                }
                mappings.push(self.mapping_view(*id, block, owner));
            }
        }
        MappingPage { mappings, next: None }
    }

    fn mappings_of_interface(
        &self,
        id: InterfaceId,
        subnet: Option<SubnetId>,
        matches: impl Fn(AddressOrPrefix) -> bool,
        after: Option<PageCursor>,
        limit: usize,
    ) -> MappingPage {
        let state = self.state(id);
        if subnet.is_some_and(|wanted| wanted != state.record.subnet_id) {
            return MappingPage {
                mappings: Vec::new(),
                next: None,
            };
        }
        let start = match after {
            Some(PageCursor::Sequence(sequence)) => sequence + 1,
            _ => 0,
        };
        // One more than requested shows whether there is a next page. Each kind alone could fill it.
        let wanted = limit + 1;
        let mut found: Vec<(u64, AddressOrPrefix)> = Vec::new();
        let block = |net: IpNet| AddressOrPrefix::new(net).ok().filter(|block| matches(*block));
        let ipv4 = state
            .ipv4
            .range(start..)
            .map(|(s, a)| (*s, IpNet::from(IpAddr::V4(*a))));
        let ipv6 = state
            .ipv6
            .range(start..)
            .map(|(s, a)| (*s, IpNet::from(IpAddr::V6(*a))));
        let prefixes = state.prefixes.range(start..).map(|(s, net)| (*s, *net));
        found.extend(ipv4.filter_map(|(s, net)| Some((s, block(net)?))).take(wanted));
        found.extend(ipv6.filter_map(|(s, net)| Some((s, block(net)?))).take(wanted));
        found.extend(prefixes.filter_map(|(s, net)| Some((s, block(net)?))).take(wanted));
        found.sort_unstable_by_key(|(sequence, _)| *sequence);
        let next = (found.len() > limit).then(|| PageCursor::Sequence(found[limit - 1].0));
        found.truncate(limit);
        let view = |(sequence, block)| {
            self.mapping_view(
                state.record.subnet_id,
                block,
                Owner {
                    interface: id,
                    sequence,
                },
            )
        };
        MappingPage {
            mappings: found.into_iter().map(view).collect(),
            next,
        }
    }

    fn mapping_view(&self, subnet_id: SubnetId, address: AddressOrPrefix, owner: Owner) -> Mapping {
        let state = self.state(owner.interface);
        Mapping {
            subnet_id,
            address,
            interface_id: state.record.id,
            mac_address: state.record.mac_address,
            primary: state.is_primary(address),
        }
    }
}
