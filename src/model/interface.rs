//! A network interface (ENI): a MAC address, addresses in the order of their assignment, and the source/destination
//! check. Its first IPv4 address is the primary one and lasts as long as the interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address::AddressOrPrefix;
use super::ids::{InterfaceId, ResourceRef, SubnetId, VpcId};
use super::naming::Tags;
use crate::wire::MacAddr;

/// A network interface as declared.
#[derive(Debug, Clone)]
pub struct NetworkInterface {
    /// Its identifier.
    pub id: InterfaceId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// The subnet that it is in, for life.
    pub subnet_id: SubnetId,
    /// Unique within the VPC.
    pub mac_address: MacAddr,
    /// Whether packets must have the interface's own addresses as source or destination; on by default.
    pub source_dest_check: bool,
    /// Free text.
    pub description: String,
    /// Whether a device is attached.
    pub status: InterfaceStatus,
    /// The device, while one is attached.
    pub attachment: Option<Attachment>,
    /// IPv4 addresses in the order of their assignment; the first is the primary one.
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses in the order of their assignment.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl NetworkInterface {
    /// The primary IPv4 address; none in a subnet without IPv4.
    pub fn primary_ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4_addresses.first().copied()
    }
}

/// The states of an interface that have a meaning here (`associated`, `attaching` and `detaching` pass too quickly).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceStatus {
    /// Nothing is attached.
    Available,
    /// A device is attached.
    InUse,
}

/// The device behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The number of the port in the switch.
    pub port: u32,
    /// What is attached, for the reader: the name of the TAP, or where the descriptor came from.
    pub device: String,
}

/// An address that is wanted for an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRequest {
    /// This one.
    Exactly(AddressOrPrefix),
    /// Any free IPv4 address of the subnet.
    AnyIpv4,
    /// Any free IPv6 address of the subnet.
    AnyIpv6,
    /// Any free /28 of the subnet.
    AnyIpv4Prefix,
    /// Any free /80 of the subnet.
    AnyIpv6Prefix,
}

/// What a new interface is made from.
#[derive(Debug, Clone)]
pub struct CreateInterface {
    /// A name that no other interface has.
    pub name: Option<String>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
    /// Unique within the VPC; made up if left out, locally administered as EC2's are.
    pub mac_address: Option<MacAddr>,
    /// On unless said otherwise.
    pub source_dest_check: bool,
    /// Free text.
    pub description: String,
    /// Addresses and prefixes in order. The first IPv4 address becomes the primary one; where none is given in a subnet
    /// with IPv4 one is chosen, and likewise an IPv6 address in a subnet that has nothing else.
    pub addresses: Vec<AddressRequest>,
    /// Tags other than the name.
    pub tags: Tags,
}

impl CreateInterface {
    /// An interface in `subnet` with everything else left to the defaults.
    pub fn new(subnet: impl Into<ResourceRef<SubnetId>>) -> Self {
        Self {
            name: None,
            subnet: subnet.into(),
            mac_address: None,
            source_dest_check: true,
            description: String::new(),
            addresses: Vec::new(),
            tags: Tags::new(),
        }
    }
}

/// What changes about an interface; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ModifyInterface {
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// Switches the source/destination check.
    pub source_dest_check: Option<bool>,
    /// New free text.
    pub description: Option<String>,
    /// All tags.
    pub tags: Option<Tags>,
}

/// An interface as the network keeps it: addresses by a sequence number, so that order survives and removing one of a
/// million costs no more than removing one of two.
#[derive(Debug, Clone)]
pub(crate) struct InterfaceState {
    pub(crate) id: InterfaceId,
    pub(crate) name: Option<String>,
    pub(crate) vpc: VpcId,
    pub(crate) subnet: SubnetId,
    pub(crate) mac: MacAddr,
    pub(crate) source_dest_check: bool,
    pub(crate) description: String,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) ipv4: BTreeMap<u64, Ipv4Addr>,
    pub(crate) ipv6: BTreeMap<u64, Ipv6Addr>,
    pub(crate) prefixes: BTreeMap<u64, IpNet>,
    pub(crate) tags: Tags,
}

impl InterfaceState {
    /// The addresses that speak for the interface: its first IPv4 and its first IPv6.
    pub(crate) fn primaries(&self) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
        (self.ipv4.values().next().copied(), self.ipv6.values().next().copied())
    }

    /// The delegated IPv6 prefix that was assigned first.
    pub(crate) fn delegated_prefix(&self) -> Option<Ipv6Net> {
        self.prefixes.values().find_map(|net| match net {
            IpNet::V6(net) => Some(*net),
            IpNet::V4(_) => None,
        })
    }

    /// True for the primary IPv4 address.
    pub(crate) fn is_primary(&self, block: AddressOrPrefix) -> bool {
        match block.address() {
            Some(IpAddr::V4(address)) => self.primaries().0 == Some(address),
            _ => false,
        }
    }

    pub(crate) fn insert(&mut self, sequence: u64, block: AddressOrPrefix) {
        match block.address() {
            Some(IpAddr::V4(address)) => drop(self.ipv4.insert(sequence, address)),
            Some(IpAddr::V6(address)) => drop(self.ipv6.insert(sequence, address)),
            None => drop(self.prefixes.insert(sequence, block.net())),
        }
    }

    pub(crate) fn remove(&mut self, sequence: u64, block: AddressOrPrefix) {
        match block.address() {
            Some(IpAddr::V4(_)) => drop(self.ipv4.remove(&sequence)),
            Some(IpAddr::V6(_)) => drop(self.ipv6.remove(&sequence)),
            None => drop(self.prefixes.remove(&sequence)),
        }
    }

    /// How many addresses and prefixes of the family it has; a prefix counts as one.
    pub(crate) fn count(&self, ipv6: bool) -> usize {
        let addresses = if ipv6 { self.ipv6.len() } else { self.ipv4.len() };
        addresses
            + self
                .prefixes
                .values()
                .filter(|net| matches!(net, IpNet::V6(_)) == ipv6)
                .count()
    }

    /// The declared form.
    pub(crate) fn view(&self) -> NetworkInterface {
        let (mut ipv4_prefixes, mut ipv6_prefixes) = (Vec::new(), Vec::new());
        for prefix in self.prefixes.values() {
            match prefix {
                IpNet::V4(net) => ipv4_prefixes.push(*net),
                IpNet::V6(net) => ipv6_prefixes.push(*net),
            }
        }
        NetworkInterface {
            id: self.id,
            name: self.name.clone(),
            vpc_id: self.vpc,
            subnet_id: self.subnet,
            mac_address: self.mac,
            source_dest_check: self.source_dest_check,
            description: self.description.clone(),
            status: if self.attachment.is_some() {
                InterfaceStatus::InUse
            } else {
                InterfaceStatus::Available
            },
            attachment: self.attachment.clone(),
            ipv4_addresses: self.ipv4.values().copied().collect(),
            ipv6_addresses: self.ipv6.values().copied().collect(),
            ipv4_prefixes,
            ipv6_prefixes,
            tags: self.tags.clone(),
        }
    }
}
