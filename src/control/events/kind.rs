//! Lists the types of events, each with its fields.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::LISTED_CHANGES;
use crate::model::block_public_access::BlockMode;
use crate::model::fault::FaultSpec;
use crate::model::mapping::EditSummary;
use crate::model::nat_gateway::NatState;
use crate::model::peering::PeeringState;
use crate::model::{
    AddressOrPrefix, AllocationId, DhcpOptionsId, EgressOnlyGatewayId, EndpointId, FaultId, FlowLogId, InstanceId,
    InterfaceId, InternetGatewayId, MappingChange, NatGatewayId, NetworkAclId, PeeringId, PrefixListId, RouteTableId,
    SecurityGroupId, SubnetId, VpcId,
};

/// The type of an event, with its fields.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A VPC was created.
    VpcCreated {
        /// The route table.
        vpc_id: VpcId,
    },
    /// A VPC changed.
    VpcModified {
        /// The VPC.
        vpc_id: VpcId,
    },
    /// A VPC was deleted.
    VpcDeleted {
        /// The VPC.
        vpc_id: VpcId,
    },
    /// A subnet was created.
    SubnetCreated {
        /// The VPC.
        subnet_id: SubnetId,
    },
    /// A subnet changed.
    SubnetModified {
        /// The subnet.
        subnet_id: SubnetId,
    },
    /// A subnet was deleted.
    SubnetDeleted {
        /// The subnet.
        subnet_id: SubnetId,
    },
    /// A network interface was created.
    InterfaceCreated {
        /// The interface.
        interface_id: InterfaceId,
        /// Its subnet.
        subnet_id: SubnetId,
    },
    /// A network interface changed: its name, description, tags, settings or source/destination check.
    InterfaceModified {
        /// The interface.
        interface_id: InterfaceId,
        /// Its subnet.
        subnet_id: SubnetId,
        /// The source/destination check after the change.
        source_dest_check: bool,
    },
    /// A network interface was deleted.
    InterfaceDeleted {
        /// The interface.
        interface_id: InterfaceId,
        /// Its subnet.
        subnet_id: SubnetId,
    },
    /// An internet gateway came to be.
    InternetGatewayCreated {
        /// Which.
        internet_gateway_id: InternetGatewayId,
        /// The VPC that it is attached to.
        #[serde(skip_serializing_if = "Option::is_none")]
        vpc_id: Option<VpcId>,
    },
    /// An internet gateway was attached, detached or changed otherwise.
    InternetGatewayModified {
        /// Which.
        internet_gateway_id: InternetGatewayId,
        /// The VPC that it is attached to now.
        #[serde(skip_serializing_if = "Option::is_none")]
        vpc_id: Option<VpcId>,
    },
    /// An internet gateway is gone.
    InternetGatewayDeleted {
        /// Which.
        internet_gateway_id: InternetGatewayId,
    },
    /// A public address was allocated.
    ElasticIpCreated {
        /// Which.
        elastic_ip_id: AllocationId,
        /// The address.
        #[schema(value_type = String, format = Ipv4)]
        public_ip: Ipv4Addr,
        /// The interface that it is associated with.
        #[serde(skip_serializing_if = "Option::is_none")]
        interface_id: Option<InterfaceId>,
        /// The private address that it is associated with.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>, format = Ipv4)]
        private_ip: Option<Ipv4Addr>,
    },
    /// A public address was associated, disassociated or changed otherwise.
    ElasticIpModified {
        /// Which.
        elastic_ip_id: AllocationId,
        /// The address.
        #[schema(value_type = String, format = Ipv4)]
        public_ip: Ipv4Addr,
        /// The interface that it is associated with now.
        #[serde(skip_serializing_if = "Option::is_none")]
        interface_id: Option<InterfaceId>,
        /// The private address that it is associated with now.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<String>, format = Ipv4)]
        private_ip: Option<Ipv4Addr>,
    },
    /// A public address was released.
    ElasticIpDeleted {
        /// Which.
        elastic_ip_id: AllocationId,
        /// The address.
        #[schema(value_type = String, format = Ipv4)]
        public_ip: Ipv4Addr,
    },
    /// A flow log was created.
    FlowLogCreated {
        /// Which.
        flow_log_id: FlowLogId,
    },
    /// The name or the tags of a flow log changed.
    FlowLogModified {
        /// Which.
        flow_log_id: FlowLogId,
    },
    /// A flow log was deleted, by itself or with its resource.
    FlowLogDeleted {
        /// Which.
        flow_log_id: FlowLogId,
    },
    /// A NAT gateway came to be.
    NatGatewayCreated {
        /// Which.
        nat_gateway_id: NatGatewayId,
        /// Its VPC.
        vpc_id: VpcId,
        /// Its state.
        state: NatState,
    },
    /// A NAT gateway has another state or other addresses, or was changed otherwise.
    NatGatewayModified {
        /// Which.
        nat_gateway_id: NatGatewayId,
        /// Its VPC.
        vpc_id: VpcId,
        /// Its state.
        state: NatState,
    },
    /// A NAT gateway is listed no longer.
    NatGatewayDeleted {
        /// Which.
        nat_gateway_id: NatGatewayId,
        /// Its VPC.
        vpc_id: VpcId,
    },
    /// An egress-only internet gateway came to be.
    EgressOnlyGatewayCreated {
        /// Which.
        egress_only_gateway_id: EgressOnlyGatewayId,
    },
    /// An egress-only internet gateway was changed.
    EgressOnlyGatewayModified {
        /// Which.
        egress_only_gateway_id: EgressOnlyGatewayId,
    },
    /// An egress-only internet gateway is gone.
    EgressOnlyGatewayDeleted {
        /// Which.
        egress_only_gateway_id: EgressOnlyGatewayId,
    },
    /// A gateway endpoint came to be.
    EndpointCreated {
        /// Which.
        endpoint_id: EndpointId,
    },
    /// A gateway endpoint was changed.
    EndpointModified {
        /// Which.
        endpoint_id: EndpointId,
    },
    /// A gateway endpoint is gone.
    EndpointDeleted {
        /// Which.
        endpoint_id: EndpointId,
    },
    /// A peering connection was asked for.
    PeeringCreated {
        /// Which.
        peering_id: PeeringId,
        /// Its state.
        state: PeeringState,
    },
    /// A peering connection has another state, or was changed otherwise.
    PeeringModified {
        /// Which.
        peering_id: PeeringId,
        /// Its state.
        state: PeeringState,
    },
    /// A peering connection is listed no longer.
    PeeringDeleted {
        /// Which.
        peering_id: PeeringId,
    },
    /// Another mode of block public access, or other exclusions from it.
    BlockPublicAccessModified {
        /// The mode.
        mode: BlockMode,
    },
    /// Addresses or prefixes have other owners, all of them from one command.
    MappingsChanged {
        /// The changes; the first 1000 of a longer list.
        changes: Vec<ChangedMapping>,
        /// True when there were more.
        truncated: bool,
        /// The number of changes of each kind, including those not listed.
        summary: EditSummary,
    },
    /// A device was attached.
    PortUp {
        /// The interface.
        interface_id: InterfaceId,
        /// The port's number.
        port: u32,
        /// The device.
        device: String,
    },
    /// A device was detached, or vanished.
    PortDown {
        /// The interface.
        interface_id: InterfaceId,
        /// The port's number.
        port: u32,
        /// The reason, if it was not a request.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Edits of mappings that were accepted earlier have reached the data path.
    MappingsPropagated {
        /// The changes; the first 1000 of a longer list.
        changes: Vec<ChangedMapping>,
        /// True when there were more.
        truncated: bool,
    },
    /// A fault started.
    FaultBegan {
        /// The fault.
        fault_id: FaultId,
        /// What it does.
        #[serde(flatten)]
        spec: Box<FaultSpec>,
    },
    /// A fault ended.
    FaultEnded {
        /// The prefix list.
        fault_id: FaultId,
        /// The reason.
        reason: String,
    },
    /// A route table was created.
    RouteTableCreated {
        /// The fault.
        route_table_id: RouteTableId,
    },
    /// A route table changed: its routes, their states, its subnets, its name or tags.
    RouteTableModified {
        /// The route table.
        route_table_id: RouteTableId,
    },
    /// A route table was deleted.
    RouteTableDeleted {
        /// The route table.
        route_table_id: RouteTableId,
    },
    /// An instance was created.
    InstanceCreated {
        /// The route table.
        instance_id: InstanceId,
    },
    /// An instance changed: its name, metadata or tags, or it was launched.
    InstanceModified {
        /// The instance.
        instance_id: InstanceId,
    },
    /// An instance was deleted.
    InstanceDeleted {
        /// The instance.
        instance_id: InstanceId,
    },
    /// A DHCP option set was created.
    DhcpOptionsCreated {
        /// The instance.
        dhcp_options_id: DhcpOptionsId,
    },
    /// A DHCP option set was deleted.
    DhcpOptionsDeleted {
        /// The set.
        dhcp_options_id: DhcpOptionsId,
    },
    /// A security group was created.
    SecurityGroupCreated {
        /// The set.
        security_group_id: SecurityGroupId,
    },
    /// A security group changed: its rules, its name or tags.
    SecurityGroupModified {
        /// The group.
        security_group_id: SecurityGroupId,
    },
    /// A security group was deleted.
    SecurityGroupDeleted {
        /// The group.
        security_group_id: SecurityGroupId,
    },
    /// A network ACL was created.
    NetworkAclCreated {
        /// The group.
        network_acl_id: NetworkAclId,
    },
    /// A network ACL changed: its entries, its subnets, its name or tags.
    NetworkAclModified {
        /// The ACL.
        network_acl_id: NetworkAclId,
    },
    /// A network ACL was deleted.
    NetworkAclDeleted {
        /// The ACL.
        network_acl_id: NetworkAclId,
    },
    /// A prefix list was created.
    PrefixListCreated {
        /// The ACL.
        prefix_list_id: PrefixListId,
    },
    /// A prefix list changed: its entries, its size, its name or tags.
    PrefixListModified {
        /// The prefix list.
        prefix_list_id: PrefixListId,
    },
    /// A prefix list was deleted.
    PrefixListDeleted {
        /// The prefix list.
        prefix_list_id: PrefixListId,
    },
    /// Frames were dropped; one event stands for `count` of them.
    FrameDropped {
        /// The interface that sent them.
        #[serde(skip_serializing_if = "Option::is_none")]
        interface_id: Option<InterfaceId>,
        /// The port on which they arrived.
        port: u32,
        /// The drop reason, as in `GET /v1/ports`.
        reason: String,
        /// The number of frames since the last such event of this port and reason.
        count: u64,
        /// The rules and entries of the firewall that it met, the last of which denied it; empty for other reasons.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        rules: Vec<String>,
        /// The first bytes of one of them, in hexadecimal.
        #[serde(skip_serializing_if = "Option::is_none")]
        frame: Option<String>,
    },
    /// A thread of the server panicked, which is a defect of the server. One unit of work was lost, and the thread goes on.
    PanicContained {
        /// The kind of thread.
        thread: String,
        /// The message of the panic.
        message: String,
    },
}

impl EventKind {
    /// The names of all types, as in the field `type`.
    pub const TYPES: [&'static str; 56] = [
        "vpc_created",
        "vpc_modified",
        "vpc_deleted",
        "subnet_created",
        "subnet_modified",
        "subnet_deleted",
        "interface_created",
        "interface_modified",
        "interface_deleted",
        "mappings_changed",
        "port_up",
        "port_down",
        "frame_dropped",
        "mappings_propagated",
        "fault_began",
        "fault_ended",
        "route_table_created",
        "route_table_modified",
        "route_table_deleted",
        "dhcp_options_created",
        "dhcp_options_deleted",
        "instance_created",
        "instance_modified",
        "instance_deleted",
        "security_group_created",
        "security_group_modified",
        "security_group_deleted",
        "network_acl_created",
        "network_acl_modified",
        "network_acl_deleted",
        "prefix_list_created",
        "prefix_list_modified",
        "prefix_list_deleted",
        "internet_gateway_created",
        "internet_gateway_modified",
        "internet_gateway_deleted",
        "elastic_ip_created",
        "elastic_ip_modified",
        "elastic_ip_deleted",
        "flow_log_created",
        "flow_log_modified",
        "flow_log_deleted",
        "panic_contained",
        "nat_gateway_created",
        "nat_gateway_modified",
        "nat_gateway_deleted",
        "egress_only_gateway_created",
        "egress_only_gateway_modified",
        "egress_only_gateway_deleted",
        "peering_created",
        "peering_modified",
        "peering_deleted",
        "block_public_access_modified",
        "endpoint_created",
        "endpoint_modified",
        "endpoint_deleted",
    ];

    /// The name of the type.
    pub fn name(&self) -> &'static str {
        let place = match self {
            Self::VpcCreated { .. } => 0,
            Self::VpcModified { .. } => 1,
            Self::VpcDeleted { .. } => 2,
            Self::SubnetCreated { .. } => 3,
            Self::SubnetModified { .. } => 4,
            Self::SubnetDeleted { .. } => 5,
            Self::InterfaceCreated { .. } => 6,
            Self::InterfaceModified { .. } => 7,
            Self::InterfaceDeleted { .. } => 8,
            Self::MappingsChanged { .. } => 9,
            Self::PortUp { .. } => 10,
            Self::PortDown { .. } => 11,
            Self::FrameDropped { .. } => 12,
            Self::MappingsPropagated { .. } => 13,
            Self::FaultBegan { .. } => 14,
            Self::FaultEnded { .. } => 15,
            Self::RouteTableCreated { .. } => 16,
            Self::RouteTableModified { .. } => 17,
            Self::RouteTableDeleted { .. } => 18,
            Self::DhcpOptionsCreated { .. } => 19,
            Self::DhcpOptionsDeleted { .. } => 20,
            Self::InstanceCreated { .. } => 21,
            Self::InstanceModified { .. } => 22,
            Self::InstanceDeleted { .. } => 23,
            Self::SecurityGroupCreated { .. } => 24,
            Self::SecurityGroupModified { .. } => 25,
            Self::SecurityGroupDeleted { .. } => 26,
            Self::NetworkAclCreated { .. } => 27,
            Self::NetworkAclModified { .. } => 28,
            Self::NetworkAclDeleted { .. } => 29,
            Self::PrefixListCreated { .. } => 30,
            Self::PrefixListModified { .. } => 31,
            Self::PrefixListDeleted { .. } => 32,
            Self::InternetGatewayCreated { .. } => 33,
            Self::InternetGatewayModified { .. } => 34,
            Self::InternetGatewayDeleted { .. } => 35,
            Self::ElasticIpCreated { .. } => 36,
            Self::ElasticIpModified { .. } => 37,
            Self::ElasticIpDeleted { .. } => 38,
            Self::FlowLogCreated { .. } => 39,
            Self::FlowLogModified { .. } => 40,
            Self::FlowLogDeleted { .. } => 41,
            Self::PanicContained { .. } => 42,
            Self::NatGatewayCreated { .. } => 43,
            Self::NatGatewayModified { .. } => 44,
            Self::NatGatewayDeleted { .. } => 45,
            Self::EgressOnlyGatewayCreated { .. } => 46,
            Self::EgressOnlyGatewayModified { .. } => 47,
            Self::EgressOnlyGatewayDeleted { .. } => 48,
            Self::PeeringCreated { .. } => 49,
            Self::PeeringModified { .. } => 50,
            Self::PeeringDeleted { .. } => 51,
            Self::BlockPublicAccessModified { .. } => 52,
            Self::EndpointCreated { .. } => 53,
            Self::EndpointModified { .. } => 54,
            Self::EndpointDeleted { .. } => 55,
        };
        Self::TYPES[place]
    }

    /// True when the event concerns this interface.
    pub fn concerns(&self, interface: InterfaceId) -> bool {
        match self {
            Self::InterfaceCreated { interface_id, .. }
            | Self::InterfaceModified { interface_id, .. }
            | Self::InterfaceDeleted { interface_id, .. }
            | Self::PortUp { interface_id, .. }
            | Self::PortDown { interface_id, .. } => *interface_id == interface,
            Self::FrameDropped { interface_id, .. } => *interface_id == Some(interface),
            // The changes that a truncated list leaves out may concern any interface.
            Self::MappingsChanged { changes, truncated, .. } | Self::MappingsPropagated { changes, truncated } => {
                *truncated
                    || changes
                        .iter()
                        .any(|c| c.from == Some(interface) || c.to == Some(interface))
            }
            _ => false,
        }
    }

    pub(crate) fn propagated(changes: &[MappingChange]) -> Self {
        match Self::mappings(changes) {
            Self::MappingsChanged { changes, truncated, .. } => Self::MappingsPropagated { changes, truncated },
            other => other,
        }
    }

    pub(crate) fn mappings(changes: &[MappingChange]) -> Self {
        let view = |change: &MappingChange| ChangedMapping {
            subnet_id: change.subnet,
            address: change.address,
            from: change.from(),
            to: change.to(),
        };
        Self::MappingsChanged {
            changes: changes.iter().take(LISTED_CHANGES).map(view).collect(),
            truncated: changes.len() > LISTED_CHANGES,
            summary: EditSummary::of(changes),
        }
    }
}

/// An address or prefix whose owner changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ChangedMapping {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The address or prefix.
    pub address: AddressOrPrefix,
    /// The owner before; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<InterfaceId>,
    /// The owner now; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<InterfaceId>,
}
