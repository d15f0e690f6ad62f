//! Shows network interfaces, their public addresses and their devices.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::{Controller, OpenPort};
use crate::datapath::faults::Exceeded;
use crate::model::duration::Skew;
use crate::model::interface::{Allowances, TrackingTimeouts};
use crate::model::metadata::InstanceMetadata;
use crate::model::naming::Tags;
use crate::model::{
    AllocationId, InstanceId, InterfaceId, InterfaceStatus, NetworkInterface, SecurityGroupId, SubnetId, VpcId,
};
use crate::wire::MacAddr;

/// A network interface.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NetworkInterface)]
pub struct InterfaceView {
    /// Its identifier.
    pub id: InterfaceId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// Unique within the VPC.
    #[schema(value_type = String, example = "0a:ca:05:9c:fc:14")]
    pub mac_address: MacAddr,
    /// Whether packets must have an address of the interface as source or destination.
    pub source_dest_check: bool,
    /// Its security groups.
    #[serde(default)]
    pub group_ids: Vec<SecurityGroupId>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Whether a device is attached.
    pub status: InterfaceStatus,
    /// The device; absent while none is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentView>,
    /// IPv4 addresses in the order of their assignment; the first is the primary one.
    #[schema(value_type = Vec<String>, example = json!(["10.0.1.10"]))]
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses in the order of their assignment.
    #[schema(value_type = Vec<String>, example = json!(["2001:db8:1200:1::10"]))]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes.
    #[schema(value_type = Vec<String>)]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes.
    #[schema(value_type = Vec<String>)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// The public addresses of its private ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_addresses: Vec<PublicAddressView>,
    /// The longest IP packet that it takes; absent where that is the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The offset of its NTP time from the server's clock, such as `2s` or `-250ms`; positive is ahead.
    #[serde(default)]
    pub ntp_skew: Skew,
    /// How much it may send and receive; absent where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowances: Option<Allowances>,
    /// Seconds for which idle connections are tracked, where they differ from the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<TrackingTimeouts>,
    /// Packets that its allowances have cost since they were set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowances_exceeded: Option<Exceeded>,
    /// The instance that it belongs to; absent until it was attached once, or metadata were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The metadata of its instance.
    #[serde(default)]
    pub metadata: InstanceMetadata,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A public address of a private one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PublicAddress)]
pub struct PublicAddressView {
    /// The public address.
    #[schema(value_type = String, format = Ipv4, example = "203.0.113.10")]
    pub public_ip: Ipv4Addr,
    /// The private address.
    #[schema(value_type = String, format = Ipv4, example = "10.0.1.10")]
    pub private_ip: Ipv4Addr,
    /// The Elastic IP address; absent where the public address was given at launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip_id: Option<AllocationId>,
}

/// The device behind an interface.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Attachment)]
pub struct AttachmentView {
    /// The number of the port, as in `GET /v1/ports`.
    pub port: u32,
    /// The device.
    #[schema(example = "tap0")]
    pub device: String,
    /// The instance of the lab that has the device; absent for any other device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The device index in the instance; 0 is the primary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_index: Option<u32>,
}

impl InterfaceView {
    /// The declared interface and its port.
    pub(super) fn of(controller: &Controller, interface: NetworkInterface) -> Self {
        let port = controller.port_of(interface.id);
        let allowances_exceeded = controller.exceeded(interface.id);
        Self {
            allowances_exceeded,
            ..Self::new(interface, port)
        }
    }

    fn new(interface: NetworkInterface, port: Option<OpenPort>) -> Self {
        let attachment = port.map(|open| {
            let place = interface.attachment.filter(|_| open.in_host);
            AttachmentView {
                port: open.port.get(),
                device: open.device,
                instance_id: place.map(|place| place.instance_id),
                device_index: place.map(|place| place.device_index),
            }
        });
        let public_addresses = interface.public_addresses.iter().filter_map(|address| {
            Some(PublicAddressView {
                public_ip: address.public_ip,
                private_ip: address.association?.private_ip,
                elastic_ip_id: (!address.automatic).then_some(address.id),
            })
        });
        Self {
            public_addresses: public_addresses.collect(),
            id: interface.id,
            instance_id: interface.instance_id,
            name: interface.name,
            vpc_id: interface.vpc_id,
            subnet_id: interface.subnet_id,
            mac_address: interface.mac_address,
            source_dest_check: interface.source_dest_check,
            group_ids: interface.groups,
            description: interface.description,
            status: interface.status,
            attachment,
            ipv4_addresses: interface.ipv4_addresses,
            ipv6_addresses: interface.ipv6_addresses,
            ipv4_prefixes: interface.ipv4_prefixes,
            ipv6_prefixes: interface.ipv6_prefixes,
            mtu: interface.settings.mtu,
            ntp_skew: interface.settings.ntp_skew,
            allowances: interface.settings.allowances,
            allowances_exceeded: None,
            tracking: interface.settings.tracking,
            metadata: interface.metadata,
            tags: interface.tags,
        }
    }
}
