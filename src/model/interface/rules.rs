//! Making, changing and deleting network interfaces, addresses included: all of it or nothing.

use ipnet::IpNet;
use rand::Rng;

use crate::model::address::AddressOrPrefix;
use crate::model::error::ModelError;
use crate::model::ids::{InterfaceId, ResourceRef};
use crate::model::instance::metadata::is_tag_key;
use crate::model::interface::{
    AddressRequest, CreateInterface, InterfaceSettings, InterfaceState, ModifyInterface, NetworkInterface,
};
use crate::model::limits::MOST_INTERFACES;
use crate::model::mapping::MappingChange;
use crate::model::naming::Tags;
use crate::model::network::{Network, fresh_id, not_found};

/// An instance that shows its tags in the metadata has only such as can be shown there. EC2 says so when the tag or the
/// option is set.
fn check_tags(settings: &InterfaceSettings, tags: &Tags) -> Result<(), ModelError> {
    match tags
        .keys()
        .find(|key| settings.metadata.instance_tags && !is_tag_key(key))
    {
        Some(key) => Err(ModelError::TagKey { key: key.clone() }),
        None => Ok(()),
    }
}

impl Network {
    /// Makes an interface with its addresses.
    pub fn create_interface(
        &mut self,
        spec: CreateInterface,
        rng: &mut dyn Rng,
    ) -> Result<(InterfaceId, Vec<MappingChange>), ModelError> {
        let subnet = self.subnet(&spec.subnet)?;
        let (subnet_id, vpc) = (subnet.id, subnet.vpc_id);
        let (has_ipv4, has_ipv6) = (subnet.cidr_block.is_some(), subnet.ipv6_cidr_block.is_some());
        let most = self
            .limits
            .interfaces
            .map_or(MOST_INTERFACES, |limit| limit.min(MOST_INTERFACES));
        if self.interfaces.len() >= most {
            let text = "The maximum number of network interfaces has been reached.".into();
            return Err(ModelError::Limit {
                code: "NetworkInterfaceLimitExceeded",
                text,
            });
        }
        self.interface_names.check(spec.name.as_deref(), None)?;

        let settings = spec.settings.applied_to(&InterfaceSettings::default(), has_ipv6)?;
        check_tags(&settings, &spec.tags)?;
        let mut wanted = spec.addresses;
        let is_ipv4 = |request: &AddressRequest| match request {
            AddressRequest::Exactly(block) => !block.is_prefix() && !block.is_ipv6(),
            other => *other == AddressRequest::AnyIpv4,
        };
        // The primary address is there from the first moment, and is the first of them.
        if has_ipv4 && !wanted.iter().any(is_ipv4) {
            wanted.insert(0, AddressRequest::AnyIpv4);
        } else if !has_ipv4 && has_ipv6 && wanted.is_empty() {
            wanted.push(AddressRequest::AnyIpv6);
        }

        let id = fresh_id(rng, |id| self.interfaces.contains_key(&id));
        let vpc_state = self
            .vpcs
            .get_mut(&vpc)
            .ok_or_else(|| not_found::<crate::model::VpcId>(&vpc.into()))?;
        let mac = vpc_state.choose_mac(spec.mac_address, "mac_address", rng)?;
        vpc_state.macs.insert(mac, Some(id));
        self.interface_names.rename(id, None, spec.name.as_deref());
        let state = InterfaceState {
            id,
            name: spec.name,
            vpc,
            subnet: subnet_id,
            mac,
            source_dest_check: spec.source_dest_check,
            description: spec.description,
            attachment: None,
            ipv4: Default::default(),
            ipv6: Default::default(),
            prefixes: Default::default(),
            settings,
            tags: spec.tags,
        };
        self.interfaces.insert(id, state);
        self.interface_order.insert(id, ());
        if let Some(subnet) = self.subnets.get_mut(&subnet_id) {
            subnet.interfaces += 1;
        }

        match self.assign(id, &wanted, false, rng) {
            Ok((_, changes)) => Ok((id, changes)),
            Err(error) => {
                self.forget_interface(id);
                // CreateNetworkInterface says it with a code of its own.
                Err(match error {
                    ModelError::MoveNotAllowed { address, owner } => ModelError::AddressInUse { address, owner },
                    other => other,
                })
            }
        }
    }

    /// Assigns addresses to an interface, in order, all of them or none. Returns the addresses that it was given, those
    /// that it had already included, and what changed.
    pub fn assign(
        &mut self,
        id: InterfaceId,
        wanted: &[AddressRequest],
        move_allowed: bool,
        rng: &mut dyn Rng,
    ) -> Result<(Vec<AddressOrPrefix>, Vec<MappingChange>), ModelError> {
        let mut log = Vec::with_capacity(wanted.len());
        let mut given = Vec::with_capacity(wanted.len());
        for request in wanted {
            let outcome = match request {
                AddressRequest::Exactly(block) => Ok(*block),
                any => self.choose_free(id, *any, rng),
            }
            .and_then(|block| self.assign_one(id, block, move_allowed, &mut log).map(|()| block));
            match outcome {
                Ok(block) => given.push(block),
                Err(error) => {
                    self.roll_back(log);
                    return Err(error);
                }
            }
        }
        Ok((given, self.net_effect(&log)))
    }

    /// Changes an interface. Returns it, and whether the source/destination check is another than before.
    pub fn modify_interface(
        &mut self,
        reference: &ResourceRef<InterfaceId>,
        spec: ModifyInterface,
    ) -> Result<(NetworkInterface, bool), ModelError> {
        let id = self.interface_id(reference)?;
        if let Some(name) = &spec.name {
            self.interface_names.check(name.as_deref(), Some(id))?;
        }
        let state = self.interfaces.get_mut(&id).ok_or_else(|| not_found(reference))?;
        let subnet = self.subnets.get(&state.subnet);
        let ipv6 = subnet.is_some_and(|subnet| subnet.subnet.ipv6_cidr_block.is_some());
        let settings = spec.settings.applied_to(&state.settings, ipv6)?;
        check_tags(&settings, spec.tags.as_ref().unwrap_or(&state.tags))?;
        state.settings = settings;
        if let Some(name) = spec.name {
            self.interface_names.rename(id, state.name.as_deref(), name.as_deref());
            state.name = name;
        }
        let check = spec.source_dest_check.unwrap_or(state.source_dest_check);
        let switched = std::mem::replace(&mut state.source_dest_check, check) != check;
        if let Some(description) = spec.description {
            state.description = description;
        }
        if let Some(tags) = spec.tags {
            state.tags = tags;
        }
        Ok((state.view(), switched))
    }

    /// Deletes an interface that is not attached; its addresses become free.
    pub fn delete_interface(
        &mut self,
        reference: &ResourceRef<InterfaceId>,
    ) -> Result<(NetworkInterface, Vec<MappingChange>), ModelError> {
        let id = self.interface_id(reference)?;
        let state = self.state(id);
        if state.attachment.is_some() {
            return Err(ModelError::DeleteInUse { interface: id });
        }
        let (view, subnet) = (state.view(), state.subnet);
        let mut owned: Vec<AddressOrPrefix> = Vec::new();
        owned.extend(
            state
                .ipv4
                .values()
                .map(|a| AddressOrPrefix::from(std::net::IpAddr::V4(*a))),
        );
        owned.extend(
            state
                .ipv6
                .values()
                .map(|a| AddressOrPrefix::from(std::net::IpAddr::V6(*a))),
        );
        owned.extend(
            state
                .prefixes
                .values()
                .filter_map(|net: &IpNet| AddressOrPrefix::new(*net).ok()),
        );
        if let Some(table) = self.subnets.get_mut(&subnet).map(|state| &mut state.mappings) {
            for block in &owned {
                table.set(*block, None);
            }
        }
        self.forget_interface(id);
        let gone = |address| MappingChange {
            subnet,
            address,
            from: Some(id),
            to: None,
        };
        Ok((view, owned.into_iter().map(gone).collect()))
    }

    /// Takes an interface without addresses out of every index.
    fn forget_interface(&mut self, id: InterfaceId) {
        let Some(state) = self.interfaces.remove(&id) else {
            return;
        };
        self.interface_order.remove(&id);
        self.interface_names.rename(id, state.name.as_deref(), None);
        if let Some(vpc) = self.vpcs.get_mut(&state.vpc) {
            vpc.macs.remove(&state.mac);
        }
        if let Some(subnet) = self.subnets.get_mut(&state.subnet) {
            subnet.interfaces -= 1;
        }
    }
}
