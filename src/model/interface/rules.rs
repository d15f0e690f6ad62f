//! Creates, changes, attaches, detaches and deletes network interfaces.

use super::{
    AddressRequest, AttachInterface, Attachment, CreateInterface, DeleteInterface, DetachInterface, InterfaceRecord,
    InterfaceSettings, InterfaceState, ModifyAttachment, ModifyInterface, NetworkInterface,
};
use crate::model::change::{Change, Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::flow_log::FlowLogResource;
use crate::model::ids::{InterfaceId, SecurityGroupId};
use crate::model::instance::Instance;
use crate::model::instance::life::InstanceState;
use crate::model::limits::MOST_INTERFACES;
use crate::model::mapping::{MappingChange, Owner};
use crate::model::naming::{Names, Tags};
use crate::model::nat_gateway::NatGatewayError;
use crate::model::network::{Network, fresh_id};
use crate::model::security_group::SecurityGroupError;
use crate::model::{InstanceError, InterfaceError, MappingError};

impl Record for InterfaceRecord {
    type Id = InterfaceId;

    fn id(&self) -> InterfaceId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for InterfaceRecord {
    fn names(network: &mut Network) -> &mut Names<InterfaceId> {
        &mut network.interface_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        let groups = |record: Option<&Self>| record.map(|record| record.groups.clone()).unwrap_or_default();
        if groups(before) != groups(after) {
            let id = after.or(before).map(|record| record.id);
            network.change_members(id, &groups(before), &groups(after));
        }
        if let Some(place) = before.and_then(|before| before.attachment) {
            network.attachments.remove(&(place.instance_id, place.device_index));
        }
        match (before, after) {
            (_, Some(after)) => {
                if let Some(place) = after.attachment {
                    network
                        .attachments
                        .insert((place.instance_id, place.device_index), after.id);
                }
                match network.interfaces.get_mut(&after.id) {
                    Some(state) => state.record = after.clone(),
                    None => network.add_interface(after.clone()),
                }
            }
            (Some(before), None) => network.remove_interface(before),
            (None, None) => {}
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        let in_order = network.interface_order.keys();
        in_order.map(|id| network.state(*id).record.clone()).collect()
    }
}

impl Network {
    /// Brings the members of groups in line with what an interface had and has.
    fn change_members(&mut self, id: Option<InterfaceId>, before: &[SecurityGroupId], after: &[SecurityGroupId]) {
        let Some(id) = id else { return };
        for group in before {
            if let Some(members) = self.group_members.get_mut(group) {
                members.remove(&id);
                if members.is_empty() {
                    self.group_members.remove(group);
                }
            }
        }
        for group in after {
            self.group_members.entry(*group).or_default().insert(id);
        }
    }

    fn add_interface(&mut self, record: InterfaceRecord) {
        let id = record.id;
        if let Some(vpc) = self.vpcs.get_mut(&record.vpc_id) {
            vpc.macs.insert(record.mac_address, Some(id));
        }
        if let Some(subnet) = self.subnets.get_mut(&record.subnet_id) {
            subnet.interfaces += 1;
        }
        self.interface_order.insert(id, ());
        let state = InterfaceState {
            record,
            ipv4: Default::default(),
            ipv6: Default::default(),
            prefixes: Default::default(),
        };
        self.interfaces.insert(id, state);
    }

    fn remove_interface(&mut self, record: &InterfaceRecord) {
        self.interfaces.remove(&record.id);
        self.interface_order.remove(&record.id);
        if let Some(vpc) = self.vpcs.get_mut(&record.vpc_id) {
            vpc.macs.remove(&record.mac_address);
        }
        if let Some(subnet) = self.subnets.get_mut(&record.subnet_id) {
            subnet.interfaces -= 1;
        }
    }
}

impl Network {
    /// Refuses an edit of an interface that a NAT gateway manages (firewall facts A7).
    pub(in crate::model) fn unmanaged(&self, interface: InterfaceId) -> Result<(), NatGatewayError> {
        let manager = self
            .interfaces
            .get(&interface)
            .and_then(|state| state.record.managed_by);
        match manager {
            Some(gateway) => Err(NatGatewayError::ManagedInterface { interface, gateway }),
            None => Ok(()),
        }
    }
}

impl ModifyInterface {
    /// Whether it changes what the manager of an interface alone may change.
    fn is_more_than_tags(&self) -> bool {
        self.source_dest_check.is_some()
            || self.groups.is_some()
            || self.description.is_some()
            || self.settings.changes_something()
    }
}

impl Command for CreateInterface {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let subnet = edit.subnet(&self.subnet)?;
        let (subnet_id, vpc_id) = (subnet.id, subnet.vpc_id);
        let (has_ipv4, has_ipv6) = (subnet.cidr_block.is_some(), subnet.ipv6_cidr_block.is_some());
        let most = edit
            .limits
            .interfaces
            .map_or(MOST_INTERFACES, |limit| limit.min(MOST_INTERFACES));
        if edit.interfaces.len() >= most {
            let text = "The maximum number of network interfaces has been reached.".into();
            return Err(ModelError::Limit {
                code: "NetworkInterfaceLimitExceeded",
                text,
            });
        }
        edit.interface_names.check(self.name.as_deref(), None)?;
        let settings = self.settings.applied_to(&InterfaceSettings::default(), has_ipv6)?;
        let groups = edit.chosen_groups(vpc_id, &self.groups)?;
        let id = fresh_id(edit.rng, |id| edit.network.interfaces.contains_key(&id));
        let vpc = &edit.network.vpcs[&vpc_id];
        let record = InterfaceRecord {
            id,
            name: self.name,
            vpc_id,
            subnet_id,
            mac_address: vpc.choose_mac(self.mac_address, "mac_address", edit.rng)?,
            source_dest_check: self.source_dest_check,
            groups,
            description: self.description,
            attachment: None,
            settings,
            managed_by: None,
            tags: self.tags,
        };
        edit.create(record);
        let wanted = with_primary(self.addresses, has_ipv4, has_ipv6);
        edit.assign(id, &wanted, false).map_err(|error| match error {
            // CreateNetworkInterface has an error code of its own for this.
            ModelError::Mapping(MappingError::MoveNotAllowed { address, owner }) => {
                ModelError::Mapping(MappingError::AddressInUse { address, owner })
            }
            other => other,
        })?;
        if let Some(metadata) = self.settings.metadata {
            edit.change_metadata(id, metadata)?;
        }
        edit.check_tags(id)?;
        Ok(edit.view(id))
    }
}

/// The addresses of a new interface: the primary address exists from the beginning, and is the first of them.
fn with_primary(mut wanted: Vec<AddressRequest>, has_ipv4: bool, has_ipv6: bool) -> Vec<AddressRequest> {
    let is_ipv4 = |request: &AddressRequest| match request {
        AddressRequest::Exactly(block) => !block.is_prefix() && !block.is_ipv6(),
        other => *other == AddressRequest::AnyIpv4,
    };
    if has_ipv4 && !wanted.iter().any(is_ipv4) {
        wanted.insert(0, AddressRequest::AnyIpv4);
    } else if !has_ipv4 && has_ipv6 && wanted.is_empty() {
        wanted.push(AddressRequest::AnyIpv6);
    }
    wanted
}

impl Command for ModifyInterface {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let id = edit.interface_id(&self.interface)?;
        if let Some(name) = &self.name {
            edit.interface_names.check(name.as_deref(), Some(id))?;
        }
        let before = edit.state(id).record.clone();
        if self.is_more_than_tags() {
            edit.unmanaged(id)?;
        }
        let ipv6 = edit.subnet(&before.subnet_id.into())?.ipv6_cidr_block.is_some();
        let groups = match &self.groups {
            Some(groups) if groups.is_empty() => return Err(SecurityGroupError::NoGroups.into()),
            Some(groups) => edit.chosen_groups(before.vpc_id, groups)?,
            None => before.groups.clone(),
        };
        let after = InterfaceRecord {
            groups,
            name: self.name.unwrap_or_else(|| before.name.clone()),
            source_dest_check: self.source_dest_check.unwrap_or(before.source_dest_check),
            description: self.description.unwrap_or_else(|| before.description.clone()),
            settings: self.settings.applied_to(&before.settings, ipv6)?,
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after);
        if let Some(metadata) = self.settings.metadata {
            edit.change_metadata(id, metadata)?;
        }
        edit.check_tags(id)?;
        Ok(edit.view(id))
    }
}

impl Command for DeleteInterface {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let id = edit.interface_id(&self.0)?;
        edit.unmanaged(id)?;
        let view = edit.view(id);
        if view.attachment.is_some() {
            return Err(ModelError::Interface(InterfaceError::DeleteInUse { interface: id }));
        }
        if let Some(instance) = edit.own_instance(id).cloned() {
            let others: Vec<String> = edit.attached(instance.id).map(|(_, id)| id.to_string()).collect();
            if !others.is_empty() {
                return Err(ModelError::Dependents {
                    kind: "networkInterface",
                    id: id.to_string(),
                    dependents: format!("{} are attached to its instance {}", others.join(", "), instance.id),
                });
            }
            edit.delete(instance);
        }
        let state = edit.state(id);
        let record = state.record.clone();
        let freed = state.owned().map(|(sequence, address)| MappingChange {
            subnet: record.subnet_id,
            address,
            before: Some(Owner {
                interface: id,
                sequence,
            }),
            after: None,
        });
        let freed: Vec<_> = freed.collect();
        edit.associations_follow(&freed);
        edit.make(Change::Mappings(freed));
        edit.delete_flow_logs(FlowLogResource::Interface(id));
        edit.delete(record);
        Ok(view)
    }
}

impl Command for AttachInterface {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let id = edit.interface_id(&self.interface)?;
        edit.unmanaged(id)?;
        let before = edit.state(id).record.clone();
        if before.attachment.is_some() {
            return Err(ModelError::Interface(InterfaceError::InUse { interface: id }));
        }
        let own = |instance: &Instance| Attachment {
            delete_on_termination: true,
            ..Attachment::new(instance.id, 0)
        };
        let (instance, place) = match self.place {
            Some(place) => (edit.instance(&place.instance_id.into())?.clone(), place),
            None => {
                let instance = match edit.own_instance(id).cloned() {
                    Some(instance) => instance,
                    None => edit.launch(None, id, Default::default(), Tags::new())?,
                };
                let place = own(&instance);
                (instance, place)
            }
        };
        let device_index = place.device_index;
        if matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
            return Err(ModelError::Instance(InstanceError::Unavailable {
                instance: instance.id,
            }));
        }
        if let Some(other) = edit.attachments.get(&(instance.id, device_index)) {
            return Err(ModelError::Instance(InstanceError::DeviceIndexTaken {
                instance: instance.id,
                device_index,
                interface: *other,
            }));
        }
        let launched = Instance {
            launched_at: instance.launched_at.or(Some(self.at)),
            // An instance that is handed a device for its primary interface runs.
            state: if self.place.is_none() {
                InstanceState::Running
            } else {
                instance.state
            },
            ..instance.clone()
        };
        edit.replace(instance, launched);
        let after = InterfaceRecord {
            attachment: Some(Attachment {
                attached_at: Some(self.at),
                ..place
            }),
            ..before.clone()
        };
        edit.replace(before, after);
        edit.settle_automatic(id)?;
        Ok(edit.view(id))
    }
}

impl Command for ModifyAttachment {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let id = edit.interface_id(&self.interface)?;
        let before = edit.state(id).record.clone();
        let Some(place) = before.attachment else {
            return Err(ModelError::Interface(InterfaceError::NotAttached { interface: id }));
        };
        let after = InterfaceRecord {
            attachment: Some(Attachment {
                state: self.state.unwrap_or(place.state),
                delete_on_termination: self.delete_on_termination.unwrap_or(place.delete_on_termination),
                ..place
            }),
            ..before.clone()
        };
        edit.replace(before, after);
        Ok(edit.view(id))
    }
}

impl Command for DetachInterface {
    type Outcome = NetworkInterface;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<NetworkInterface, ModelError> {
        let id = edit.interface_id(&self.0)?;
        let before = edit.state(id).record.clone();
        if before.attachment.is_none() {
            return Err(ModelError::Interface(InterfaceError::NotAttached { interface: id }));
        }
        let after = InterfaceRecord {
            attachment: None,
            ..before.clone()
        };
        edit.replace(before, after);
        edit.settle_automatic(id)?;
        Ok(edit.view(id))
    }
}
