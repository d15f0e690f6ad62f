//! Numbers events without gaps and keeps the last ones, so that a listener that reconnects continues where it stopped.
//! One that was away for too long learns how many events it missed.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

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

/// Changes that one event lists; beyond that it only counts them.
pub const LISTED_CHANGES: usize = 1000;

/// Octets of memory that kept events may take, about; the oldest go.
pub const HISTORY_OCTETS: usize = 64 << 20;

/// Memory of kept events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryUsage {
    /// Octets, about.
    pub octets: usize,
    /// Events that are kept.
    pub kept: usize,
    /// Events that were given up: for their number, or their size.
    pub given_up: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Its number, counted from 1 since the server started; 0 for one of an edit before the listener came.
    pub id: u64,
    /// The time, in UTC.
    #[serde(serialize_with = "crate::model::duration::rfc3339::serialize")]
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
    pub at: SystemTime,
    /// The revision of the network that it belongs to; absent for what is no edit of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether it is the last event of its revision.
    #[serde(skip)]
    #[schema(ignore)]
    pub last_of_revision: bool,
    /// The author of the change; absent for the server's own client, and for what no request caused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// The type and its fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The commit that an event belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartOf {
    pub(super) revision: u64,
    /// Whether it is the commit's last event.
    pub(super) last: bool,
}

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A program in this instance of the lab.
    #[schema(value_type = String, example = "node-1")]
    Instance(Arc<str>),
}

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

/// The events from a number on.
#[derive(Debug)]
pub struct Subscription {
    /// Kept events that the listener has not received, oldest first.
    pub backlog: Vec<Arc<Event>>,
    /// The number of events it has not received that are no longer kept.
    pub missed: u64,
    /// Future events.
    pub receiver: broadcast::Receiver<Arc<Event>>,
}

#[derive(Debug)]
struct Kept {
    last: u64,
    /// The last revision whose events listeners may have. Later events wait, in order.
    shown: u64,
    waiting: VecDeque<Arc<Event>>,
    events: VecDeque<Arc<Event>>,
    usage: HistoryUsage,
}

impl Kept {
    fn last_shown(&self) -> u64 {
        self.last - self.waiting.len() as u64
    }

    fn give_up_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.usage.octets -= event.octets();
            self.usage.given_up += 1;
        }
    }
}

impl Event {
    /// The memory that it takes, about.
    fn octets(&self) -> usize {
        let own = size_of::<Self>();
        match &self.kind {
            EventKind::MappingsChanged { changes, .. } | EventKind::MappingsPropagated { changes, .. } => {
                own + size_of_val(changes.as_slice())
            }
            EventKind::FaultBegan { spec, .. } => own + size_of_val(&**spec),
            EventKind::FrameDropped { frame, .. } => own + frame.as_ref().map_or(0, String::len),
            EventKind::PanicContained { message, .. } => own + message.len(),
            _ => own,
        }
    }
}

/// The numbered history of one Controller.
#[derive(Debug)]
pub(crate) struct EventLog {
    kept: Mutex<Kept>,
    capacity: usize,
    octets: usize,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventLog {
    pub(crate) fn new(capacity: usize) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let kept = Mutex::new(Kept {
            last: 0,
            shown: u64::MAX,
            waiting: VecDeque::new(),
            events: VecDeque::new(),
            usage: HistoryUsage::default(),
        });
        Self {
            kept,
            capacity,
            octets: HISTORY_OCTETS,
            sender,
        }
    }

    /// The memory of kept events.
    pub(crate) fn usage(&self) -> HistoryUsage {
        let kept = self.lock();
        HistoryUsage {
            kept: kept.events.len(),
            ..kept.usage
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No panic can leave the queue half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers an event, keeps it and sends it to all listeners.
    pub(super) fn publish(&self, kind: EventKind, author: Option<Author>, part: Option<PartOf>) -> u64 {
        let mut kept = self.lock();
        kept.last += 1;
        let event = Arc::new(Event {
            id: kept.last,
            at: SystemTime::now(),
            revision: part.map(|part| part.revision),
            last_of_revision: part.is_some_and(|part| part.last),
            author,
            kind,
        });
        let last = kept.last;
        if !kept.waiting.is_empty() || event.revision.is_some_and(|revision| revision > kept.shown) {
            kept.waiting.push_back(event);
        } else {
            self.show(&mut kept, event);
        }
        last
    }

    /// Keeps the events of revisions after this one from listeners until [`Self::release`].
    pub(super) fn hold_after(&self, revision: u64) {
        self.lock().shown = revision;
    }

    /// Lets listeners have the events of revisions up to this one, and what happened before those of the next.
    pub(super) fn release(&self, revision: u64) {
        let mut kept = self.lock();
        kept.shown = kept.shown.max(revision);
        let shown = kept.shown;
        let may_go = |event: &Arc<Event>| event.revision.is_none_or(|revision| revision <= shown);
        while kept.waiting.front().is_some_and(may_go) {
            let Some(event) = kept.waiting.pop_front() else { break };
            self.show(&mut kept, event);
        }
    }

    /// Keeps an event and sends it to all listeners.
    fn show(&self, kept: &mut Kept, event: Arc<Event>) {
        if kept.events.len() >= self.capacity {
            kept.give_up_oldest();
        }
        kept.usage.octets += event.octets();
        while kept.usage.octets > self.octets && !kept.events.is_empty() {
            kept.give_up_oldest();
        }
        kept.events.push_back(Arc::clone(&event));
        // Under the lock, so that listeners receive events in the order of their numbers. It is no error if there is no
        // listener.
        drop(self.sender.send(event));
    }

    /// Events after number `after` and future ones, or only future ones.
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Subscription {
        let kept = self.lock();
        let receiver = self.sender.subscribe();
        let last = kept.last_shown();
        let Some(after) = after.map(|after| after.min(last)) else {
            return Subscription {
                backlog: Vec::new(),
                missed: 0,
                receiver,
            };
        };
        let backlog: Vec<_> = kept.events.iter().filter(|event| event.id > after).cloned().collect();
        let missed = last - after - backlog.len() as u64;
        Subscription {
            backlog,
            missed,
            receiver,
        }
    }

    /// The number of the last event that listeners may have.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last_shown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ResourceId;

    /// Events of an edit are not seen before it is on the disk, and those after it wait too, in order.
    #[test]
    fn events_of_edits_that_are_not_on_the_disk_wait_and_keep_their_order() {
        let log = EventLog::new(100);
        log.hold_after(1);
        let publish = |number: u64, revision: Option<u64>| {
            let part = revision.map(|revision| PartOf { revision, last: true });
            let vpc_id = VpcId::from_bits(number);
            assert_eq!(log.publish(EventKind::VpcCreated { vpc_id }, None, part), number);
        };
        let seen = || {
            let events = log.subscribe(Some(0));
            assert_eq!((events.missed, log.last()), (0, events.backlog.len() as u64));
            events.backlog.iter().map(|event| event.id).collect::<Vec<_>>()
        };
        let mut listener = log.subscribe(None).receiver;
        publish(1, Some(1));
        publish(2, Some(2));
        publish(3, None);
        publish(4, Some(3));
        publish(5, None);
        assert_eq!(seen(), [1]);
        log.release(2);
        assert_eq!(seen(), [1, 2, 3]);
        // Of an earlier edit that is answered later.
        log.release(1);
        assert_eq!(seen(), [1, 2, 3]);
        log.release(u64::MAX);
        publish(6, Some(4));
        assert_eq!(seen(), [1, 2, 3, 4, 5, 6]);
        let received: Vec<u64> = std::iter::from_fn(|| listener.try_recv().ok())
            .map(|event| event.id)
            .collect();
        assert_eq!(received, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_listener_that_comes_back_hears_what_it_missed_and_how_much_is_forgotten() {
        let log = EventLog::new(3);
        for n in 1..=5 {
            log.publish(
                EventKind::VpcCreated {
                    vpc_id: VpcId::from_bits(n),
                },
                None,
                None,
            );
        }
        let ids = |subscription: &Subscription| subscription.backlog.iter().map(|e| e.id).collect::<Vec<_>>();
        let subscription = log.subscribe(Some(3));
        assert_eq!((ids(&subscription), subscription.missed), (vec![4, 5], 0));
        let subscription = log.subscribe(Some(0));
        assert_eq!((ids(&subscription), subscription.missed), (vec![3, 4, 5], 2));
        let mut subscription = log.subscribe(None);
        assert_eq!((ids(&subscription), subscription.missed), (vec![], 0));
        log.publish(
            EventKind::VpcDeleted {
                vpc_id: VpcId::from_bits(1),
            },
            None,
            None,
        );
        assert_eq!(subscription.receiver.try_recv().unwrap().id, 6);
    }

    #[test]
    fn large_events_are_given_up_by_their_octets_and_counted_as_missed() {
        let mut log = EventLog::new(1000);
        log.octets = 3 * LISTED_CHANGES * size_of::<ChangedMapping>() + 4096;
        let change = ChangedMapping {
            subnet_id: SubnetId::from_bits(1),
            address: "10.0.0.1".parse().unwrap(),
            from: None,
            to: None,
        };
        for _ in 0..10 {
            let kind = EventKind::MappingsChanged {
                changes: vec![change; LISTED_CHANGES],
                truncated: false,
                summary: EditSummary::default(),
            };
            log.publish(kind, None, None);
        }
        let usage = log.usage();
        assert_eq!((usage.kept, usage.given_up), (3, 7));
        assert!(usage.octets <= log.octets);
        assert_eq!(log.subscribe(Some(0)).missed, 7);
    }

    #[test]
    fn an_event_is_written_with_its_type_among_its_fields() {
        let event = Event {
            id: 7,
            at: SystemTime::UNIX_EPOCH,
            revision: None,
            last_of_revision: false,
            author: Some(Author::Instance("node-1".into())),
            kind: EventKind::PortUp {
                interface_id: InterfaceId::from_bits(1),
                port: 3,
                device: "tap0".into(),
            },
        };
        let value = serde_json::to_value(&event).unwrap();
        let expected = serde_json::json!({
            "id": 7, "at": "1970-01-01T00:00:00.000Z", "author": { "instance": "node-1" }, "type": "port_up",
            "interface_id": "eni-00000000000000001", "port": 3, "device": "tap0",
        });
        assert_eq!(value, expected);
        assert_eq!(value["type"], event.kind.name());
    }
}
