//! Defines a network interface (ENI): a MAC address, addresses in the order of their assignment, and the
//! source/destination check. Its first IPv4 address is the primary one and lasts as long as the interface.

mod allowances;
mod error;
mod rules;
mod tracking;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use allowances::Allowances;
pub use error::InterfaceError;
pub use tracking::TrackingTimeouts;

use crate::model::address::AddressOrPrefix;
use crate::model::duration::Skew;
use crate::model::elastic_ip::ElasticIp;
use crate::model::error::ModelError;
use crate::model::ids::{InstanceId, InterfaceId, NatGatewayId, ResourceRef, SecurityGroupId, SubnetId, VpcId};
use crate::model::instance::Instance;
use crate::model::instance::metadata::{InstanceMetadata, MetadataChange};
use crate::model::naming::Tags;
use crate::wire::MacAddr;

/// A declared network interface.
#[derive(Debug, Clone)]
pub struct NetworkInterface {
    /// Its identifier.
    pub id: InterfaceId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// Its subnet, which cannot change.
    pub subnet_id: SubnetId,
    /// Unique within the VPC.
    pub mac_address: MacAddr,
    /// Whether packets must have the interface's own addresses as source or destination; on by default.
    pub source_dest_check: bool,
    /// Its security groups, at least one, in the order in which they were given.
    pub groups: Vec<SecurityGroupId>,
    /// Free text.
    pub description: String,
    /// Whether it is attached to an instance.
    pub status: InterfaceStatus,
    /// Its attachment, if it is attached.
    pub attachment: Option<Attachment>,
    /// The instance that it belongs to: the one that it is attached to, or else the one whose primary interface it is.
    pub instance_id: Option<InstanceId>,
    /// IPv4 addresses in the order of their assignment; the first is the primary one.
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses in the order of their assignment.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// The public addresses that are associated with its private ones.
    pub public_addresses: Vec<ElasticIp>,
    /// The NAT gateway that manages it, and that it goes with.
    pub managed_by: Option<NatGatewayId>,
    /// How it is set up beyond its addresses.
    pub settings: InterfaceSettings,
    /// The metadata of the instance whose primary interface it is; the default ones without an instance.
    pub metadata: InstanceMetadata,
    /// Tags other than the name.
    pub tags: Tags,
}

/// The allowed MTUs of an interface: from what every IPv4 host accepts (RFC 791) to EC2's jumbo frames.
pub const MTU: std::ops::RangeInclusive<u16> = 576..=9001;

/// The least MTU of a link with IPv6 (RFC 8200 section 5).
pub const IPV6_MTU: u16 = 1280;

/// Settings of an interface other than addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSettings {
    /// The MTU; the profile's if left out.
    pub mtu: Option<u16>,
    /// The offset of its NTP time from the host's clock; positive is ahead.
    pub ntp_skew: Skew,
    /// How much it may send and receive; without limit if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowances: Option<Allowances>,
    /// How long its connections are tracked while they are idle; as long as the profile says if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<TrackingTimeouts>,
    /// Whether it has a public address as the only interface of an instance; as its subnet says if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<bool>,
}

/// A change of the settings; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
    /// Another MTU, or the profile's.
    pub mtu: Option<Option<u16>>,
    /// Another skew.
    pub ntp_skew: Option<Skew>,
    /// Other allowances, or none.
    pub allowances: Option<Option<Allowances>>,
    /// Other times for idle connections, or the profile's.
    pub tracking: Option<Option<TrackingTimeouts>>,
    /// Whether it has a public address, or as its subnet says.
    pub public_address: Option<Option<bool>>,
    /// The change of the metadata of the instance whose primary interface it is; the instance is created if there is
    /// none.
    pub metadata: Option<MetadataChange>,
}

impl SettingsChange {
    /// Whether any setting is given.
    pub(crate) fn changes_something(&self) -> bool {
        self.mtu.is_some() || self.ntp_skew.is_some() || self.allowances.is_some() || self.metadata.is_some()
    }

    /// The settings after the change, or why they are refused; the metadata are not part of them. `ipv6` says whether
    /// the interface's subnet has IPv6.
    pub(crate) fn applied_to(&self, settings: &InterfaceSettings, ipv6: bool) -> Result<InterfaceSettings, ModelError> {
        let mut settings = settings.clone();
        if let Some(mtu) = self.mtu {
            if let Some(given) = mtu.filter(|mtu| ipv6 && MTU.contains(mtu) && *mtu < IPV6_MTU) {
                return Err(ModelError::OutOfRange {
                    field: "mtu",
                    given: given.to_string(),
                    remedy: "The subnet has IPv6, which needs 1280 octets (RFC 8200). Give 1280 to 9001, or null for the \
                             profile's.",
                });
            }
            if let Some(given) = mtu.filter(|mtu| !MTU.contains(mtu)) {
                return Err(ModelError::OutOfRange {
                    field: "mtu",
                    given: given.to_string(),
                    remedy: "Give 576 to 9001, or null for the profile's.",
                });
            }
            settings.mtu = mtu;
        }
        if let Some(skew) = self.ntp_skew {
            settings.ntp_skew = skew;
        }
        if let Some(allowances) = self.allowances {
            settings.allowances = allowances.map(Allowances::check).transpose()?;
        }
        if let Some(tracking) = self.tracking {
            settings.tracking = tracking.map(TrackingTimeouts::check).transpose()?;
        }
        if let Some(public) = self.public_address {
            settings.public_address = public;
        }
        Ok(settings)
    }
}

impl NetworkInterface {
    /// The primary IPv4 address; none in a subnet without IPv4.
    pub fn primary_ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4_addresses.first().copied()
    }
}

/// The states of an interface. `associated`, which EC2 has as well, has no meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceStatus {
    /// It is not attached.
    Available,
    /// It is being attached: its device is not there yet.
    Attaching,
    /// It is attached to an instance.
    InUse,
    /// It is being detached: its device is there still.
    Detaching,
}

/// The place of an interface in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The instance.
    pub instance_id: InstanceId,
    /// 0 for the primary interface.
    pub device_index: u32,
    /// How far it is.
    #[serde(default)]
    pub state: AttachmentState,
    /// Whether the interface is deleted when the instance is terminated.
    #[serde(default)]
    pub delete_on_termination: bool,
    /// Since when it is attached.
    #[serde(default)]
    pub attached_at: Option<SystemTime>,
}

impl Attachment {
    /// An attachment that has come about.
    pub const fn new(instance_id: InstanceId, device_index: u32) -> Self {
        Self {
            instance_id,
            device_index,
            state: AttachmentState::Attached,
            delete_on_termination: false,
            attached_at: None,
        }
    }

    /// Where it is, without how far it is.
    pub const fn place(self) -> (InstanceId, u32) {
        (self.instance_id, self.device_index)
    }
}

/// How far an attachment is (EC2 API, NetworkInterfaceAttachment).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentState {
    /// It was asked for.
    Attaching,
    /// The device is there.
    #[default]
    Attached,
    /// Its end was asked for.
    Detaching,
}

impl AttachmentState {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
        }
    }
}

/// A requested address.
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

/// Creates a network interface with its addresses. Outcome: the interface.
#[derive(Debug, Clone)]
pub struct CreateInterface {
    /// A name that no other interface has.
    pub name: Option<String>,
    /// The subnet.
    pub subnet: ResourceRef<SubnetId>,
    /// Unique within the VPC; chosen if left out, locally administered like EC2's.
    pub mac_address: Option<MacAddr>,
    /// On by default.
    pub source_dest_check: bool,
    /// Its security groups; the VPC's default group if none is named.
    pub groups: Vec<ResourceRef<SecurityGroupId>>,
    /// Free text.
    pub description: String,
    /// Addresses and prefixes in order. The first IPv4 address becomes the primary one; without one in a subnet with
    /// IPv4 one is chosen, and likewise an IPv6 address in a subnet with IPv6 only.
    pub addresses: Vec<AddressRequest>,
    /// Differences from the default settings.
    pub settings: SettingsChange,
    /// Tags other than the name.
    pub tags: Tags,
}

impl CreateInterface {
    /// An interface in `subnet` with defaults otherwise.
    pub fn new(subnet: impl Into<ResourceRef<SubnetId>>) -> Self {
        Self {
            name: None,
            subnet: subnet.into(),
            mac_address: None,
            source_dest_check: true,
            groups: Vec::new(),
            description: String::new(),
            addresses: Vec::new(),
            settings: SettingsChange::default(),
            tags: Tags::new(),
        }
    }
}

/// Changes an interface; `None` leaves a field unchanged. Outcome: the changed interface.
#[derive(Debug, Clone)]
pub struct ModifyInterface {
    /// The interface.
    pub interface: ResourceRef<InterfaceId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// Switches the source/destination check.
    pub source_dest_check: Option<bool>,
    /// All its security groups, at least one.
    pub groups: Option<Vec<ResourceRef<SecurityGroupId>>>,
    /// New free text.
    pub description: Option<String>,
    /// The change of the settings.
    pub settings: SettingsChange,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyInterface {
    /// A command without changes.
    pub fn new(interface: impl Into<ResourceRef<InterfaceId>>) -> Self {
        Self {
            interface: interface.into(),
            name: None,
            source_dest_check: None,
            groups: None,
            description: None,
            settings: SettingsChange::default(),
            tags: None,
        }
    }
}

/// Deletes a detached interface; its addresses become free, and the instance whose primary interface it is is deleted
/// with it. Outcome: the former interface.
#[derive(Debug, Clone)]
pub struct DeleteInterface(pub ResourceRef<InterfaceId>);

/// Attaches a detached interface to an instance. Outcome: the changed interface.
#[derive(Debug, Clone)]
pub struct AttachInterface {
    /// The interface.
    pub interface: ResourceRef<InterfaceId>,
    /// The place; if left out, device index 0 of the instance whose primary interface it is, which is created if there
    /// is none.
    pub place: Option<Attachment>,
    /// The present time, which becomes the launch time of an instance without one.
    pub at: SystemTime,
}

/// Changes the attachment of an interface, which stays where it is. Outcome: the interface as it is now.
#[derive(Debug, Clone)]
pub struct ModifyAttachment {
    /// The interface.
    pub interface: ResourceRef<InterfaceId>,
    /// How far it is.
    pub state: Option<AttachmentState>,
    /// Whether the interface is deleted when the instance is terminated.
    pub delete_on_termination: Option<bool>,
}

/// Detaches an interface. Outcome: the changed interface.
#[derive(Debug, Clone)]
pub struct DetachInterface(pub ResourceRef<InterfaceId>);

/// An interface as stored, without its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRecord {
    /// Its identifier.
    pub id: InterfaceId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// Its subnet, which cannot change.
    pub subnet_id: SubnetId,
    /// Unique within the VPC.
    pub mac_address: MacAddr,
    /// Whether packets must have the interface's own addresses as source or destination.
    pub source_dest_check: bool,
    /// Its security groups, at least one.
    pub groups: Vec<SecurityGroupId>,
    /// Free text.
    pub description: String,
    /// Its attachment, if it is attached.
    pub attachment: Option<Attachment>,
    /// Its settings other than addresses.
    pub settings: InterfaceSettings,
    /// The NAT gateway that manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<NatGatewayId>,
    /// Tags other than the name.
    pub tags: Tags,
}

/// An interface as the network keeps it: addresses by sequence number, so that their order is kept and removing one of
/// a million costs no more than removing one of two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InterfaceState {
    pub(crate) record: InterfaceRecord,
    pub(crate) ipv4: BTreeMap<u64, Ipv4Addr>,
    pub(crate) ipv6: BTreeMap<u64, Ipv6Addr>,
    pub(crate) prefixes: BTreeMap<u64, IpNet>,
}

impl InterfaceState {
    /// The first IPv4 and the first IPv6 address of the interface.
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

    /// Adds many addresses and prefixes, by the numbers of their assignments.
    pub(crate) fn add_all(&mut self, blocks: impl Iterator<Item = (u64, AddressOrPrefix)>) {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (sequence, block) in blocks {
            match block.address() {
                Some(IpAddr::V4(address)) => ipv4.push((sequence, address)),
                Some(IpAddr::V6(address)) => ipv6.push((sequence, address)),
                None => drop(self.prefixes.insert(sequence, block.net())),
            }
        }
        self.ipv4.append(&mut ipv4.into_iter().collect());
        self.ipv6.append(&mut ipv6.into_iter().collect());
    }

    pub(crate) fn remove(&mut self, sequence: u64, block: AddressOrPrefix) {
        match block.address() {
            Some(IpAddr::V4(_)) => drop(self.ipv4.remove(&sequence)),
            Some(IpAddr::V6(_)) => drop(self.ipv6.remove(&sequence)),
            None => drop(self.prefixes.remove(&sequence)),
        }
    }

    /// Number of its addresses and prefixes of the family; a prefix counts as one.
    pub(crate) fn count(&self, ipv6: bool) -> usize {
        let addresses = if ipv6 { self.ipv6.len() } else { self.ipv4.len() };
        addresses
            + self
                .prefixes
                .values()
                .filter(|net| matches!(net, IpNet::V6(_)) == ipv6)
                .count()
    }

    /// Everything that it owns, with sequence numbers: addresses first.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (u64, AddressOrPrefix)> + '_ {
        let ipv4 = self.ipv4.iter().map(|(s, a)| (*s, IpAddr::V4(*a).into()));
        let ipv6 = self.ipv6.iter().map(|(s, a)| (*s, IpAddr::V6(*a).into()));
        let prefixes = self.prefixes.iter();
        let prefixes = prefixes.filter_map(|(s, net)| Some((*s, AddressOrPrefix::new(*net).ok()?)));
        ipv4.chain(ipv6).chain(prefixes)
    }

    /// The declared form, given the instance whose primary interface it is.
    pub(crate) fn view(&self, own_instance: Option<&Instance>) -> NetworkInterface {
        let (mut ipv4_prefixes, mut ipv6_prefixes) = (Vec::new(), Vec::new());
        for prefix in self.prefixes.values() {
            match prefix {
                IpNet::V4(net) => ipv4_prefixes.push(*net),
                IpNet::V6(net) => ipv6_prefixes.push(*net),
            }
        }
        let record = self.record.clone();
        let attached = record.attachment.map(|attachment| attachment.instance_id);
        NetworkInterface {
            id: record.id,
            name: record.name,
            vpc_id: record.vpc_id,
            subnet_id: record.subnet_id,
            mac_address: record.mac_address,
            source_dest_check: record.source_dest_check,
            groups: record.groups,
            description: record.description,
            status: match record.attachment.map(|place| place.state) {
                Some(AttachmentState::Attaching) => InterfaceStatus::Attaching,
                Some(AttachmentState::Attached) => InterfaceStatus::InUse,
                Some(AttachmentState::Detaching) => InterfaceStatus::Detaching,
                None if record.managed_by.is_some() => InterfaceStatus::InUse,
                None => InterfaceStatus::Available,
            },
            attachment: record.attachment,
            instance_id: attached.or(own_instance.map(|instance| instance.id)),
            ipv4_addresses: self.ipv4.values().copied().collect(),
            ipv6_addresses: self.ipv6.values().copied().collect(),
            ipv4_prefixes,
            ipv6_prefixes,
            public_addresses: Vec::new(),
            managed_by: record.managed_by,
            settings: record.settings,
            metadata: own_instance
                .map(|instance| instance.metadata.clone())
                .unwrap_or_default(),
            tags: record.tags,
        }
    }
}
