//! Follows changes of the declared network: carries each to the data path and the ports, in the order in which they
//! were made. A kind of change that the data path does not need has an empty arm, by intent.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change_events::events_of;
use super::controller::{Controller, State};
use super::error::ControlError;
use super::events::EventKind;
use super::fabric::subnets_of_table;
use super::firewall::Edited;
use super::ports::OpenPort;
use crate::mapping::InterfaceIndex;
use crate::model::change::{Change, Commit, Delta};
use crate::model::endpoint::Endpoint;
use crate::model::fault::Propagated;
use crate::model::interface::InterfaceRecord;
use crate::model::internet_gateway::InternetGateway;
use crate::model::mapping::MappingChange;
use crate::model::outside;
use crate::model::route_table::RouteTarget;
use crate::model::subnet::Subnet;
use crate::model::vpc::Vpc;
use crate::model::{Attachment, InterfaceId, SubnetId};
use crate::switch::port::PortDevice;

/// Work that remains to be done after the lock is released.
#[derive(Default)]
pub(super) struct Afterwards {
    /// Interfaces whose state the services have to drop.
    forget: Vec<InterfaceIndex>,
    /// Devices to close: the kernel needs some 20 ms for a TAP.
    devices: Vec<PortDevice>,
    /// Whether hosts may have to change their state.
    hosts: bool,
    /// Whether flow logs were created, changed or deleted.
    flow_logs: bool,
    /// The revision of the commit, if it was kept.
    revision: Option<u64>,
}

impl Controller {
    /// Keeps changes that were made on the network, brings them before the data path, and publishes the events that tell of
    /// them. What the store refuses is taken back, and nothing of it has been seen.
    pub(super) fn commit(
        &self,
        state: &mut State,
        changes: Vec<Change>,
        command: &str,
        reason: Option<&str>,
    ) -> Result<Afterwards, ControlError> {
        let recorded = self.record(state, changes, command)?;
        Ok(self.follow(state, recorded, reason))
    }

    /// Brings a commit before the data path, and publishes its events, with its revision if it was kept.
    pub(super) fn follow(
        &self,
        state: &mut State,
        (commit, revision): (Arc<Commit>, Option<u64>),
        reason: Option<&str>,
    ) -> Afterwards {
        let changes = &commit.changes;
        let mut follower = Follower::new(self);
        // An interface is created and deleted in one step, with its addresses, whatever faults there are.
        follower.at_once = changes
            .iter()
            .any(|change| matches!(change, Change::Interface(delta) if delta.is_new() || delta.is_gone()));
        for change in changes {
            follower.follow(state, change);
        }
        if follower.edge {
            state.binding.publish_edge(&state.network);
        }
        follower.publish_routes(state);
        follower.publish_firewall(state);
        // Mappings are the one kind of change that no fault names.
        if changes.iter().any(|change| !matches!(change, Change::Mappings(_))) && self.refresh_faults(state) {
            follower.afterwards.hosts = true;
        } else if follower.allowances {
            // The last allowance is gone: nothing stands in the way of frames any more.
            self.publish_faults(state);
        }
        self.publish_all(events_of(&state.network, changes), revision);
        self.tell_of_ports(&follower.ports_down, reason);
        follower.afterwards.revision = revision;
        follower.afterwards
    }

    /// Takes the port of an interface away, whatever is declared of it.
    pub(super) fn unplug(&self, state: &mut State, interface: InterfaceId, reason: &str) -> Afterwards {
        let mut follower = Follower::new(self);
        follower.unplug(state, interface);
        self.refresh_faults(state);
        self.tell_of_ports(&follower.ports_down, Some(reason));
        follower.afterwards
    }

    fn tell_of_ports(&self, down: &[(InterfaceId, OpenPort)], reason: Option<&str>) {
        for (interface_id, port) in down {
            self.publish(EventKind::PortDown {
                interface_id: *interface_id,
                port: port.port.get(),
                reason: reason.map(str::to_owned),
            });
        }
    }

    /// Brings a network that is there already before the data path. `changes` make it from nothing.
    pub(super) fn bind(&self, state: &mut State, changes: &[Change]) {
        let mut follower = Follower::new(self);
        for change in changes {
            follower.follow(state, change);
        }
        if follower.edge {
            state.binding.publish_edge(&state.network);
        }
        follower.publish_routes(state);
        follower.publish_firewall(state);
        if follower.allowances {
            self.publish_faults(state);
        }
        // There is neither port nor service that would have to hear of it.
        drop(follower.afterwards);
    }

    /// Does the remaining work, without the lock.
    pub(super) fn finish(&self, afterwards: Afterwards) -> Result<(), ControlError> {
        for interface in afterwards.forget {
            self.forget(interface);
        }
        if afterwards.hosts {
            self.settle_hosts();
        }
        if afterwards.flow_logs {
            self.follow_flow_logs();
        }
        drop(afterwards.devices);
        match afterwards.revision {
            Some(revision) => self.brought_to_disk(revision),
            None => Ok(()),
        }
    }

    /// Waits until a commit is as safe as the store promises. Its events are seen then.
    fn brought_to_disk(&self, revision: u64) -> Result<(), ControlError> {
        if !self.shared.store.syncs() {
            return Ok(());
        }
        let synced = self.shared.store.sync(revision);
        // After a failure no further edit is taken, and events of ports must not wait for ever.
        self.events_until(if synced.is_ok() { revision } else { u64::MAX });
        synced.map_err(ControlError::Unsynced)
    }
}

struct Follower<'c> {
    controller: &'c Controller,
    /// Subnets whose routes have to be published when all changes have been followed.
    routes_now: BTreeSet<SubnetId>,
    /// Subnets to which edits of routes may be late.
    routes_later: BTreeSet<SubnetId>,
    /// Whether public addresses have to be published when all changes have been followed.
    edge: bool,
    ports_down: Vec<(InterfaceId, OpenPort)>,
    /// What has to be compiled anew for the data path.
    firewall: Edited,
    afterwards: Afterwards,
    at_once: bool,
    /// Whether allowances of interfaces have changed.
    allowances: bool,
}

impl<'c> Follower<'c> {
    fn new(controller: &'c Controller) -> Self {
        Self {
            controller,
            routes_now: BTreeSet::new(),
            routes_later: BTreeSet::new(),
            edge: false,
            ports_down: Vec::new(),
            firewall: Edited::default(),
            afterwards: Afterwards::default(),
            at_once: false,
            allowances: false,
        }
    }

    fn follow(&mut self, state: &mut State, change: &Change) {
        match change {
            Change::Vpc(delta) => self.vpc(state, delta),
            Change::Subnet(delta) => self.subnet(state, delta),
            Change::Interface(delta) => self.interface(state, delta),
            Change::Mappings(changes) => self.mappings(state, changes),
            Change::Route(change) => {
                self.edge |= state.network.gateways_of_table(change.table).next().is_some();
                self.routes_later.extend(subnets_of_table(&state.network, change.table));
            }
            Change::Association(change) => drop(self.routes_now.insert(change.subnet)),
            Change::SecurityGroup(delta) => delta
                .record()
                .into_iter()
                .for_each(|group| self.firewall.group(group.id)),
            Change::NetworkAcl(delta) => delta.record().into_iter().for_each(|acl| self.firewall.acl(acl.id)),
            Change::PrefixList(delta) => delta.record().into_iter().for_each(|list| self.firewall.list(list.id)),
            Change::AclAssociation(change) => {
                let association = change.after.or(change.before);
                association
                    .into_iter()
                    .for_each(|association| self.firewall.subnet(association.subnet));
            }
            Change::InternetGateway(delta) => self.gateway(state, delta),
            Change::ElasticIp(_) | Change::BlockPublicAccess(_) => self.edge = true,
            Change::FlowLog(_) => self.afterwards.flow_logs = true,
            // It passes packets while it is available.
            Change::NatGateway(delta) => {
                self.edge = true;
                self.targets(state, delta.id().map(RouteTarget::NatGateway));
            }
            Change::EgressOnlyGateway(delta) => {
                self.edge = true;
                self.targets(state, delta.id().map(RouteTarget::EgressOnly));
            }
            Change::Endpoint(delta) => self.endpoint(state, delta),
            Change::Peering(delta) => {
                self.targets(state, delta.id().map(RouteTarget::Peering));
            }
            // A VPC holds its options, a subnet its routes; metadata are read when they are asked for.
            Change::Instance(_)
            | Change::RouteTable(_)
            | Change::DhcpOptions(_)
            | Change::KeyPair(_)
            | Change::LaunchTemplate(_) => {}
        }
    }

    fn vpc(&mut self, state: &mut State, delta: &Delta<Vpc>) {
        let options = |vpc: &Vpc| state.network.options_of(vpc.dhcp_options_id);
        match (&delta.before, &delta.after) {
            (None, Some(vpc)) => state.binding.add_vpc(vpc, options(vpc)),
            (Some(before), Some(vpc)) => {
                state.binding.set_vpc(vpc, options(vpc));
                self.edge |= before.ipv6_cidr_blocks != vpc.ipv6_cidr_blocks;
                if before.profile.firewall.tracking != vpc.profile.firewall.tracking {
                    // What an interface leaves out is the profile's.
                    for interface in state.network.with_tracking(vpc.id) {
                        self.firewall.interface(interface);
                    }
                }
                if before.ranges() != vpc.ranges() || before.main_route_table_id != vpc.main_route_table_id {
                    let subnets = state.network.subnets().filter(|subnet| subnet.vpc_id == vpc.id);
                    self.routes_now.extend(subnets.map(|subnet| subnet.id));
                }
            }
            (Some(vpc), None) => state.binding.remove_vpc(vpc.id),
            (None, None) => {}
        }
    }

    fn subnet(&mut self, state: &mut State, delta: &Delta<Subnet>) {
        match (&delta.before, &delta.after) {
            (None, Some(subnet)) => {
                state.binding.add_subnet(subnet);
                self.routes_now.insert(subnet.id);
                self.firewall.subnet(subnet.id);
            }
            (Some(before), Some(subnet)) => {
                state
                    .binding
                    .rename_subnet(subnet.id, before.name.as_deref(), subnet.name.as_deref());
                if before.ipv6_cidr_block != subnet.ipv6_cidr_block {
                    state.binding.set_subnet_ipv6(subnet);
                }
            }
            (Some(subnet), None) => {
                state.binding.remove_subnet(subnet);
                self.routes_now.remove(&subnet.id);
            }
            (None, None) => {}
        }
    }

    fn interface(&mut self, state: &mut State, delta: &Delta<InterfaceRecord>) {
        if let Some(interface) = delta.after.as_ref().or(delta.before.as_ref()) {
            let allowances = delta.after.as_ref().and_then(|after| after.settings.allowances);
            self.allowances |= state.faults.follow_allowances(interface.id, allowances);
        }
        match (&delta.before, &delta.after) {
            (None, Some(interface)) => {
                if interface.vpc_id == outside::VPC {
                    state.binding.add_outside(&state.network);
                }
                state.binding.add_interface(interface);
                self.firewall.interface(interface.id);
                if interface.attachment.is_some() {
                    self.targets(state, Some(RouteTarget::Interface(interface.id)));
                }
            }
            (Some(before), Some(interface)) => {
                let tracking = before.settings.tracking != interface.settings.tracking;
                if before.groups != interface.groups || before.attachment != interface.attachment || tracking {
                    self.firewall.interface(interface.id);
                }
                if before.settings.mtu != interface.settings.mtu {
                    state.binding.set_mtu(interface.id, interface.settings.mtu);
                }
                if before.source_dest_check != interface.source_dest_check {
                    state
                        .binding
                        .set_source_dest_check(interface.id, interface.source_dest_check);
                }
                let place = |record: &InterfaceRecord| record.attachment.map(Attachment::place);
                if place(before) != place(interface) {
                    self.lag(state, before, interface);
                    // A port that is being opened must not be lost for an instant.
                    if before.attachment.is_some() {
                        self.unplug(state, interface.id);
                    }
                    self.targets(state, Some(RouteTarget::Interface(interface.id)));
                }
            }
            (Some(interface), None) => {
                self.unplug(state, interface.id);
                // No route may have it as its target when its place is given to another interface.
                self.targets(state, Some(RouteTarget::Interface(interface.id)));
                self.publish_routes(state);
                let index = state.binding.interface_index(interface.id);
                self.afterwards.forget.extend(index);
                state.binding.remove_interface(interface.id);
            }
            (None, None) => {}
        }
    }

    /// The metadata of a host may show an interface later than it is attached, and longer.
    fn lag(&self, state: &mut State, before: &InterfaceRecord, after: &InterfaceRecord) {
        if state.faults.is_idle() && state.faults.lag.is_empty() {
            return;
        }
        let now = self.controller.shared.timer.now();
        let further = |interface: &InterfaceRecord| interface.attachment.filter(|place| place.device_index > 0);
        if let Some(place) = further(before) {
            state.detachment_lags(place, after.id, after.subnet_id, now);
        }
        if further(after).is_some() {
            state.attachment_lags(after.id, after.subnet_id, now);
        }
    }

    /// Removes the port of an interface that is no longer attached where it was.
    fn unplug(&mut self, state: &mut State, interface: InterfaceId) {
        state.binding.set_port(interface, None);
        self.afterwards.forget.extend(state.binding.interface_index(interface));
        if let Some(port) = state.ports.remove(&interface) {
            let switch = self.controller.shared.ports.as_ref();
            let device = switch.and_then(|switch| switch.detach(port.port));
            self.afterwards.devices.extend(device);
            self.ports_down.push((interface, port));
        }
    }

    /// Routes to a gateway and public addresses behind it are worth something only while it is attached.
    fn gateway(&mut self, state: &State, delta: &Delta<InternetGateway>) {
        let vpc = |gateway: &Option<InternetGateway>| gateway.as_ref().and_then(|gateway| gateway.vpc_id);
        let table = |gateway: &Option<InternetGateway>| gateway.as_ref().and_then(|gateway| gateway.route_table_id);
        self.edge |= table(&delta.before) != table(&delta.after);
        if let Some(id) = delta.id().filter(|_| vpc(&delta.before) != vpc(&delta.after)) {
            self.edge = true;
            self.targets(state, Some(RouteTarget::InternetGateway(id)));
        }
    }

    /// The tables that route to an endpoint, before and after.
    fn endpoint(&mut self, state: &State, delta: &Delta<Endpoint>) {
        self.edge = true;
        for endpoint in [&delta.before, &delta.after].into_iter().flatten() {
            for table in &endpoint.route_tables {
                self.routes_now.extend(subnets_of_table(&state.network, *table));
            }
        }
    }

    /// Routes to this target have another state than before.
    fn targets(&mut self, state: &State, target: Option<RouteTarget>) {
        for table in target
            .map(|target| state.network.tables_towards(target))
            .unwrap_or_default()
        {
            self.edge |= state.network.gateways_of_table(table).next().is_some();
            self.routes_now.extend(subnets_of_table(&state.network, table));
        }
    }

    fn mappings(&self, state: &mut State, changes: &[MappingChange]) {
        if state.faults.is_idle() {
            self.controller.reach_data_path(state, changes);
        } else if self.at_once {
            // Late edits of an interface arrive before the interface is deleted.
            let parties: BTreeSet<InterfaceId> = changes.iter().filter_map(MappingChange::from).collect();
            for interface in parties {
                self.controller.settle(state, interface);
            }
            self.controller.reach_data_path(state, changes);
        } else {
            let at_once = self.controller.hold_back(state, changes);
            self.controller.reach_data_path(state, &at_once);
        }
    }

    fn publish_firewall(&mut self, state: &mut State) {
        let edited = std::mem::take(&mut self.firewall);
        state.binding.follow_firewall(&state.network, edited);
    }

    fn publish_routes(&mut self, state: &mut State) {
        for subnet in std::mem::take(&mut self.routes_now) {
            self.routes_later.remove(&subnet);
            state.binding.publish_routes_of_subnet(&state.network, subnet);
        }
        for subnet in std::mem::take(&mut self.routes_later) {
            self.controller.propagate_later(state, Propagated::Routes, subnet);
        }
    }
}
