//! What happened, numbered without gaps. The last events are kept, so that a listener whose connection broke goes on
//! where it stopped; one that was away for too long is told how much it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

use crate::model::fault::FaultSpec;
use crate::model::mapping::EditSummary;
use crate::model::{
    AddressOrPrefix, DhcpOptionsId, FaultId, InstanceId, InterfaceId, MappingChange, NetworkAclId, PrefixListId,
    RouteTableId, SecurityGroupId, SubnetId, VpcId,
};

/// Changes that one event spells out; beyond that it only counts them.
pub const LISTED_CHANGES: usize = 1000;

/// One thing that happened.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Event {
    /// Its number, counted from 1 since the server started.
    pub id: u64,
    /// When, in UTC.
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
    /// Who asked for it; absent for the server's own client, and for what happened by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// What.
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

/// Who edits the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A program in this instance of the lab.
    #[schema(value_type = String, example = "node-1")]
    Instance(Arc<str>),
}

/// What happened.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A VPC came to be.
    VpcCreated {
        /// Which.
        vpc_id: VpcId,
    },
    /// A VPC changed.
    VpcModified {
        /// Which.
        vpc_id: VpcId,
    },
    /// A VPC is gone.
    VpcDeleted {
        /// Which.
        vpc_id: VpcId,
    },
    /// A subnet came to be.
    SubnetCreated {
        /// Which.
        subnet_id: SubnetId,
    },
    /// A subnet changed.
    SubnetModified {
        /// Which.
        subnet_id: SubnetId,
    },
    /// A subnet is gone.
    SubnetDeleted {
        /// Which.
        subnet_id: SubnetId,
    },
    /// A network interface came to be.
    InterfaceCreated {
        /// Which.
        interface_id: InterfaceId,
        /// Where.
        subnet_id: SubnetId,
    },
    /// A network interface changed: its name, description, tags, settings or source/destination check.
    InterfaceModified {
        /// Which.
        interface_id: InterfaceId,
        /// Where.
        subnet_id: SubnetId,
        /// The source/destination check after the change.
        source_dest_check: bool,
    },
    /// A network interface is gone.
    InterfaceDeleted {
        /// Which.
        interface_id: InterfaceId,
        /// Where.
        subnet_id: SubnetId,
    },
    /// Addresses or prefixes have other owners, all of them from one command.
    MappingsChanged {
        /// What changed; the first 1000 of a longer list.
        changes: Vec<ChangedMapping>,
        /// True when there were more.
        truncated: bool,
        /// How many of each kind, all counted.
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
        /// Why, if nobody asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Edits of mappings that were accepted earlier have reached the data path.
    MappingsPropagated {
        /// What changed; the first 1000 of a longer list.
        changes: Vec<ChangedMapping>,
        /// True when there were more.
        truncated: bool,
    },
    /// Something goes wrong on purpose from now on.
    FaultBegan {
        /// Which.
        fault_id: FaultId,
        /// What goes wrong.
        #[serde(flatten)]
        spec: Box<FaultSpec>,
    },
    /// A fault is over.
    FaultEnded {
        /// Which.
        fault_id: FaultId,
        /// Why.
        reason: String,
    },
    /// A route table came to be.
    RouteTableCreated {
        /// Which.
        route_table_id: RouteTableId,
    },
    /// A route table changed: its routes, their states, its subnets, its name or tags.
    RouteTableModified {
        /// Which.
        route_table_id: RouteTableId,
    },
    /// A route table is gone.
    RouteTableDeleted {
        /// Which.
        route_table_id: RouteTableId,
    },
    /// An instance came to be.
    InstanceCreated {
        /// Which.
        instance_id: InstanceId,
    },
    /// An instance changed: its name, metadata or tags, or it was launched.
    InstanceModified {
        /// Which.
        instance_id: InstanceId,
    },
    /// An instance is gone.
    InstanceDeleted {
        /// Which.
        instance_id: InstanceId,
    },
    /// A DHCP option set came to be.
    DhcpOptionsCreated {
        /// Which.
        dhcp_options_id: DhcpOptionsId,
    },
    /// A DHCP option set is gone.
    DhcpOptionsDeleted {
        /// Which.
        dhcp_options_id: DhcpOptionsId,
    },
    /// A security group came to be.
    SecurityGroupCreated {
        /// Which.
        security_group_id: SecurityGroupId,
    },
    /// A security group changed: its rules, its name or tags.
    SecurityGroupModified {
        /// Which.
        security_group_id: SecurityGroupId,
    },
    /// A security group is gone.
    SecurityGroupDeleted {
        /// Which.
        security_group_id: SecurityGroupId,
    },
    /// A network ACL came to be.
    NetworkAclCreated {
        /// Which.
        network_acl_id: NetworkAclId,
    },
    /// A network ACL changed: its entries, its subnets, its name or tags.
    NetworkAclModified {
        /// Which.
        network_acl_id: NetworkAclId,
    },
    /// A network ACL is gone.
    NetworkAclDeleted {
        /// Which.
        network_acl_id: NetworkAclId,
    },
    /// A prefix list came to be.
    PrefixListCreated {
        /// Which.
        prefix_list_id: PrefixListId,
    },
    /// A prefix list changed: its entries, its size, its name or tags.
    PrefixListModified {
        /// Which.
        prefix_list_id: PrefixListId,
    },
    /// A prefix list is gone.
    PrefixListDeleted {
        /// Which.
        prefix_list_id: PrefixListId,
    },
    /// Frames were dropped; one event stands for `count` of them.
    FrameDropped {
        /// The interface that sent them.
        #[serde(skip_serializing_if = "Option::is_none")]
        interface_id: Option<InterfaceId>,
        /// The port that they came from.
        port: u32,
        /// Why, by the names of `GET /v1/ports`.
        reason: String,
        /// How many since the last such event of this port and reason.
        count: u64,
        /// The first bytes of one of them, in hexadecimal.
        #[serde(skip_serializing_if = "Option::is_none")]
        frame: Option<String>,
    },
}

impl EventKind {
    /// The names of all types, as in the field `type`.
    pub const TYPES: [&'static str; 33] = [
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
        };
        Self::TYPES[place]
    }

    /// True when the event is about this interface.
    pub fn concerns(&self, interface: InterfaceId) -> bool {
        match self {
            Self::InterfaceCreated { interface_id, .. }
            | Self::InterfaceModified { interface_id, .. }
            | Self::InterfaceDeleted { interface_id, .. }
            | Self::PortUp { interface_id, .. }
            | Self::PortDown { interface_id, .. } => *interface_id == interface,
            Self::FrameDropped { interface_id, .. } => *interface_id == Some(interface),
            // What a long list leaves out may be about anybody.
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

/// An address or prefix that has another owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ChangedMapping {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The address or prefix.
    pub address: AddressOrPrefix,
    /// The owner before; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<InterfaceId>,
    /// The owner now; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<InterfaceId>,
}

/// Events from a certain one on.
#[derive(Debug)]
pub struct Subscription {
    /// Kept events that the listener has not seen, oldest first.
    pub backlog: Vec<Arc<Event>>,
    /// How many it has not seen that are no longer kept.
    pub missed: u64,
    /// Those to come.
    pub receiver: broadcast::Receiver<Arc<Event>>,
}

#[derive(Debug)]
struct Kept {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// The numbered history of one Controller.
#[derive(Debug)]
pub(crate) struct EventLog {
    kept: Mutex<Kept>,
    capacity: usize,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventLog {
    pub(crate) fn new(capacity: usize) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let kept = Mutex::new(Kept {
            last: 0,
            events: VecDeque::new(),
        });
        Self { kept, capacity, sender }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing inside can leave the queue half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers an event, keeps it and tells everybody who listens.
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
        if kept.events.len() >= self.capacity {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // Under the lock, so that listeners hear events in the order of their numbers. No listener is no failure.
        drop(self.sender.send(event));
        kept.last
    }

    /// Events after number `after`, or only those to come.
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Subscription {
        let kept = self.lock();
        let receiver = self.sender.subscribe();
        let Some(after) = after.map(|after| after.min(kept.last)) else {
            return Subscription {
                backlog: Vec::new(),
                missed: 0,
                receiver,
            };
        };
        let backlog: Vec<_> = kept.events.iter().filter(|event| event.id > after).cloned().collect();
        let missed = kept.last - after - backlog.len() as u64;
        Subscription {
            backlog,
            missed,
            receiver,
        }
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ResourceId;

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
    fn an_event_is_written_with_its_type_beside_its_fields() {
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
