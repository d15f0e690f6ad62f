//! Derives the events of a list of changes.

use super::events::EventKind;
use crate::model::change::{Change, Delta, Record};
use crate::model::elastic_ip::ElasticIp;
use crate::model::endpoint::Endpoint;
use crate::model::interface::InterfaceRecord;
use crate::model::internet_gateway::InternetGateway;
use crate::model::nat_gateway::NatGateway;
use crate::model::route_table::RouteTarget;
use crate::model::{Attachment, Network, RouteTableId, SecurityGroup, SecurityGroupId};

/// The events of `changes`, in their order; `network` is the network after them.
pub(super) fn events_of(network: &Network, changes: &[Change]) -> Vec<EventKind> {
    let mut list = List {
        network,
        events: Vec::new(),
        tables: Vec::new(),
        new_groups: Vec::new(),
    };
    for change in changes {
        list.add(change);
    }
    list.events
}

struct List<'n> {
    network: &'n Network,
    events: Vec<EventKind>,
    /// Route tables that have an event already.
    tables: Vec<RouteTableId>,
    /// Security groups that these changes created.
    new_groups: Vec<SecurityGroupId>,
}

/// The event of a record that was created, changed or deleted.
fn lifecycle<T: Record>(
    delta: &Delta<T>,
    created: impl FnOnce(T::Id) -> EventKind,
    modified: impl FnOnce(T::Id) -> EventKind,
    deleted: impl FnOnce(T::Id) -> EventKind,
) -> Option<EventKind> {
    let id = delta.id()?;
    Some(match (delta.is_new(), delta.is_gone()) {
        (true, _) => created(id),
        (false, true) => deleted(id),
        (false, false) => modified(id),
    })
}

fn elastic_ip(delta: &Delta<ElasticIp>) -> Option<EventKind> {
    let address = delta.record()?;
    let (elastic_ip_id, public_ip) = (address.id, address.public_ip);
    let interface_id = address.association.map(|association| association.interface_id);
    let private_ip = address.association.map(|association| association.private_ip);
    Some(match (delta.is_new(), delta.is_gone()) {
        (true, _) => EventKind::ElasticIpCreated {
            elastic_ip_id,
            public_ip,
            interface_id,
            private_ip,
        },
        (false, true) => EventKind::ElasticIpDeleted {
            elastic_ip_id,
            public_ip,
        },
        (false, false) => EventKind::ElasticIpModified {
            elastic_ip_id,
            public_ip,
            interface_id,
            private_ip,
        },
    })
}

impl List<'_> {
    fn add(&mut self, change: &Change) {
        let event = match change {
            Change::Vpc(delta) => {
                let event = lifecycle(
                    delta,
                    |vpc_id| EventKind::VpcCreated { vpc_id },
                    |vpc_id| EventKind::VpcModified { vpc_id },
                    |vpc_id| EventKind::VpcDeleted { vpc_id },
                );
                self.events.extend(event);
                if let (Some(before), Some(after)) = (&delta.before, &delta.after)
                    && before.main_route_table_id != after.main_route_table_id
                {
                    self.table_modified(before.main_route_table_id);
                    self.table_modified(after.main_route_table_id);
                }
                return;
            }
            Change::Subnet(delta) => lifecycle(
                delta,
                |subnet_id| EventKind::SubnetCreated { subnet_id },
                |subnet_id| EventKind::SubnetModified { subnet_id },
                |subnet_id| EventKind::SubnetDeleted { subnet_id },
            ),
            Change::Interface(delta) => return self.interface(delta),
            Change::Instance(delta) => lifecycle(
                delta,
                |instance_id| EventKind::InstanceCreated { instance_id },
                |instance_id| EventKind::InstanceModified { instance_id },
                |instance_id| EventKind::InstanceDeleted { instance_id },
            ),
            Change::RouteTable(delta) => match (delta.id(), delta.is_new() || delta.is_gone()) {
                (Some(table), false) => return self.table_modified(table),
                _ => lifecycle(
                    delta,
                    |route_table_id| EventKind::RouteTableCreated { route_table_id },
                    |route_table_id| EventKind::RouteTableModified { route_table_id },
                    |route_table_id| EventKind::RouteTableDeleted { route_table_id },
                ),
            },
            Change::Route(change) => return self.table_modified(change.table),
            Change::Association(change) => {
                for table in [change.before, change.after].into_iter().flatten() {
                    self.table_modified(table);
                }
                return;
            }
            // A set never changes.
            Change::DhcpOptions(delta) => lifecycle(
                delta,
                |dhcp_options_id| EventKind::DhcpOptionsCreated { dhcp_options_id },
                |dhcp_options_id| EventKind::DhcpOptionsCreated { dhcp_options_id },
                |dhcp_options_id| EventKind::DhcpOptionsDeleted { dhcp_options_id },
            ),
            Change::SecurityGroup(delta) => self.group(delta),
            Change::NetworkAcl(delta) => lifecycle(
                delta,
                |network_acl_id| EventKind::NetworkAclCreated { network_acl_id },
                |network_acl_id| EventKind::NetworkAclModified { network_acl_id },
                |network_acl_id| EventKind::NetworkAclDeleted { network_acl_id },
            ),
            Change::AclAssociation(change) => match (change.before, change.after) {
                (Some(before), Some(after)) => {
                    for network_acl_id in [before.acl, after.acl] {
                        self.events.push(EventKind::NetworkAclModified { network_acl_id });
                    }
                    return;
                }
                // The subnet that is created or deleted has an event of its own.
                _ => return,
            },
            Change::PrefixList(delta) => lifecycle(
                delta,
                |prefix_list_id| EventKind::PrefixListCreated { prefix_list_id },
                |prefix_list_id| EventKind::PrefixListModified { prefix_list_id },
                |prefix_list_id| EventKind::PrefixListDeleted { prefix_list_id },
            ),
            Change::InternetGateway(delta) => {
                let vpc = |gateway: &Option<InternetGateway>| gateway.as_ref().and_then(|gateway| gateway.vpc_id);
                let moved = vpc(&delta.before) != vpc(&delta.after);
                if let Some(gateway) = delta.id().filter(|_| moved) {
                    self.targets_changed(RouteTarget::InternetGateway(gateway));
                }
                let table = |gateway: &Option<InternetGateway>| gateway.as_ref()?.route_table_id;
                let (before, after) = (table(&delta.before), table(&delta.after));
                if before != after {
                    [before, after]
                        .into_iter()
                        .flatten()
                        .for_each(|table| self.table_modified(table));
                }
                let vpc_id = vpc(&delta.after);
                lifecycle(
                    delta,
                    |internet_gateway_id| EventKind::InternetGatewayCreated {
                        internet_gateway_id,
                        vpc_id,
                    },
                    |internet_gateway_id| EventKind::InternetGatewayModified {
                        internet_gateway_id,
                        vpc_id,
                    },
                    |internet_gateway_id| EventKind::InternetGatewayDeleted { internet_gateway_id },
                )
            }
            Change::ElasticIp(delta) => elastic_ip(delta),
            // They are of the account, and no part of the network.
            Change::KeyPair(_) | Change::LaunchTemplate(_) => return,
            Change::FlowLog(delta) => lifecycle(
                delta,
                |flow_log_id| EventKind::FlowLogCreated { flow_log_id },
                |flow_log_id| EventKind::FlowLogModified { flow_log_id },
                |flow_log_id| EventKind::FlowLogDeleted { flow_log_id },
            ),
            Change::NatGateway(delta) => return self.nat_gateway(delta),
            Change::EgressOnlyGateway(delta) => {
                if let Some(id) = delta.id().filter(|_| delta.is_new() || delta.is_gone()) {
                    self.targets_changed(RouteTarget::EgressOnly(id));
                }
                lifecycle(
                    delta,
                    |egress_only_gateway_id| EventKind::EgressOnlyGatewayCreated { egress_only_gateway_id },
                    |egress_only_gateway_id| EventKind::EgressOnlyGatewayModified { egress_only_gateway_id },
                    |egress_only_gateway_id| EventKind::EgressOnlyGatewayDeleted { egress_only_gateway_id },
                )
            }
            Change::Endpoint(delta) => {
                let tables = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(|one| one.route_tables.clone());
                let (before, after) = (tables(&delta.before), tables(&delta.after));
                let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
                for table in before.symmetric_difference(&after) {
                    self.table_modified(*table);
                }
                lifecycle(
                    delta,
                    |endpoint_id| EventKind::EndpointCreated { endpoint_id },
                    |endpoint_id| EventKind::EndpointModified { endpoint_id },
                    |endpoint_id| EventKind::EndpointDeleted { endpoint_id },
                )
            }
            Change::BlockPublicAccess(delta) => {
                let mode = delta.after.as_ref().map(|block| block.mode).unwrap_or_default();
                Some(EventKind::BlockPublicAccessModified { mode })
            }
            Change::Peering(delta) => {
                let Some(record) = delta.record() else { return };
                let before = delta.before.as_ref().map(|before| before.state);
                if before != delta.after.as_ref().map(|after| after.state) {
                    self.targets_changed(RouteTarget::Peering(record.id));
                }
                let state = record.state;
                lifecycle(
                    delta,
                    |peering_id| EventKind::PeeringCreated { peering_id, state },
                    |peering_id| EventKind::PeeringModified { peering_id, state },
                    |peering_id| EventKind::PeeringDeleted { peering_id },
                )
            }
            Change::Mappings(changes) => Some(EventKind::mappings(changes)),
        };
        self.events.extend(event);
    }

    /// A new group is created first and gets its rules afterwards, because they may name it: together that is one
    /// event.
    fn group(&mut self, delta: &Delta<SecurityGroup>) -> Option<EventKind> {
        let id = delta.id()?;
        if delta.is_new() {
            self.new_groups.push(id);
        } else if !delta.is_gone() && self.new_groups.contains(&id) {
            return None;
        }
        lifecycle(
            delta,
            |security_group_id| EventKind::SecurityGroupCreated { security_group_id },
            |security_group_id| EventKind::SecurityGroupModified { security_group_id },
            |security_group_id| EventKind::SecurityGroupDeleted { security_group_id },
        )
    }

    /// The state of a route to a NAT gateway depends on the gateway's.
    fn nat_gateway(&mut self, delta: &Delta<NatGateway>) {
        let Some(record) = delta.record() else { return };
        let state = |gateway: &Option<NatGateway>| gateway.as_ref().map(|gateway| gateway.state);
        if state(&delta.before) != state(&delta.after) {
            self.targets_changed(RouteTarget::NatGateway(record.id));
        }
        let (vpc_id, state) = (record.vpc_id, record.state);
        let event = lifecycle(
            delta,
            |nat_gateway_id| EventKind::NatGatewayCreated {
                nat_gateway_id,
                vpc_id,
                state,
            },
            |nat_gateway_id| EventKind::NatGatewayModified {
                nat_gateway_id,
                vpc_id,
                state,
            },
            |nat_gateway_id| EventKind::NatGatewayDeleted { nat_gateway_id, vpc_id },
        );
        self.events.extend(event);
    }

    fn table_modified(&mut self, table: RouteTableId) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
            self.events
                .push(EventKind::RouteTableModified { route_table_id: table });
        }
    }

    /// The state of a route depends on that of its target, so the table of each such route changes.
    fn targets_changed(&mut self, target: RouteTarget) {
        for table in self.network.tables_towards(target) {
            self.table_modified(table);
        }
    }

    fn interface(&mut self, delta: &Delta<InterfaceRecord>) {
        let Some(record) = delta.record() else { return };
        let (interface_id, subnet_id) = (record.id, record.subnet_id);
        match (&delta.before, &delta.after) {
            (None, _) => self.events.push(EventKind::InterfaceCreated {
                interface_id,
                subnet_id,
            }),
            (Some(_), None) => {
                self.targets_changed(RouteTarget::Interface(interface_id));
                self.events.push(EventKind::InterfaceDeleted {
                    interface_id,
                    subnet_id,
                });
            }
            (Some(before), Some(after)) => {
                let attachment = before.attachment;
                let place = |record: &InterfaceRecord| record.attachment.map(Attachment::place);
                let moved = place(before) != place(after);
                if moved {
                    self.targets_changed(RouteTarget::Interface(interface_id));
                }
                // Attaching and detaching has an event of its own, that of the port.
                let otherwise = InterfaceRecord {
                    attachment: if moved { attachment } else { after.attachment },
                    ..after.clone()
                };
                if otherwise != *before {
                    self.events.push(EventKind::InterfaceModified {
                        interface_id,
                        subnet_id,
                        source_dest_check: after.source_dest_check,
                    });
                }
            }
        }
    }
}
