//! The Controller: one lock, taken for as long as one command is checked and carried out, and never across an await.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::SystemTime;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::command::{Command, EditSummary, Outcome};
use super::error::ControlError;
use super::events::{Author, EventKind, EventLog, Subscription};
use super::fabric::Binding;
use super::faults::{ApiFaults, Faults, SettledHosts, Timer};
use super::places::Places;
use super::ports::{OpenedDevice, Ports};
use crate::datapath::{Fabric, FabricWriter, Moved};
use crate::mapping::registry::Registry;
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::interface::{CreateInterface, ModifyInterface};
use crate::model::network::{MappingEdit, MappingFilter, MappingPage, PageCursor};
use crate::model::region::DEFAULT_REGION;
use crate::model::subnet::{CreateSubnet, ModifySubnet};
use crate::model::vpc::{CreateVpc, ModifyVpc};
use crate::model::{
    AddressOrPrefix, Attachment, HostPlace, InterfaceId, Limits, Mapping, MappingChange, ModelError, Network,
    NetworkInterface, ResourceRef, Subnet, SubnetId, Vpc, VpcId,
};
use crate::services::ServicesHandle;
use crate::switch::PortStatus;
use crate::switch::observe::{Observation, Observers, Wanted};

/// What a Controller is made from.
pub struct ControllerConfig {
    /// Where identifiers and MAC addresses come from; the same seed and commands give the same ones. Random if left out.
    pub seed: Option<u64>,
    /// How much may be declared.
    pub limits: Limits,
    /// The region that the network is said to be in, as in `us-east-1`.
    pub region: String,
    /// Events that are kept for listeners that come back.
    pub event_history: usize,
    /// The fabric to write to; the switch reads the same one.
    pub fabric: FabricWriter,
    /// The switch. Without one nothing can be attached.
    pub ports: Option<Arc<dyn Ports>>,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            seed: None,
            limits: Limits::UNBOUNDED,
            region: DEFAULT_REGION.to_owned(),
            event_history: 10_000,
            fabric: FabricWriter::new(),
            ports: None,
        }
    }
}

/// The one writer of the network. Clones share it.
#[derive(Clone)]
pub struct Controller {
    pub(super) shared: Arc<Shared>,
    /// Who edits by this handle.
    author: Option<Author>,
}

/// A Controller that may be gone.
pub(super) struct WeakController(Weak<Shared>);

impl WeakController {
    pub(super) fn upgrade(&self) -> Option<Controller> {
        self.0.upgrade().map(|shared| Controller { shared, author: None })
    }
}

pub(super) struct Shared {
    state: RwLock<State>,
    registry: Arc<Registry>,
    events: EventLog,
    fabric: Arc<Fabric>,
    pub(super) ports: Option<Arc<dyn Ports>>,
    pub(super) timer: Timer,
    pub(super) api_faults: ApiFaults,
    pub(super) hosts: SettledHosts,
    services: OnceLock<ServicesHandle>,
}

pub(super) struct State {
    pub(super) network: Network,
    pub(super) binding: Binding,
    pub(super) rng: ChaCha8Rng,
    /// Since when each interface has a host: its first attachment.
    pub(super) launched: HashMap<InterfaceId, SystemTime>,
    pub(super) faults: Faults,
    pub(super) places: Places,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

impl Controller {
    /// A Controller of an empty network.
    pub fn new(config: ControllerConfig) -> Self {
        let registry = Arc::new(Registry::new());
        let fabric = config.fabric.fabric();
        let seed = config.seed.unwrap_or_else(rand::random);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let state = State {
            network: Network::in_region(config.limits, &config.region),
            binding: Binding::new(config.fabric, Arc::clone(&registry)),
            rng,
            faults: Faults::new(seed),
            launched: HashMap::new(),
            places: Places::default(),
        };
        let shared = Shared {
            state: RwLock::new(state),
            registry,
            events: EventLog::new(config.event_history),
            fabric,
            ports: config.ports,
            timer: Timer::default(),
            api_faults: ApiFaults::default(),
            hosts: SettledHosts::default(),
            services: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            author: None,
        }
    }

    /// A handle whose edits are those of `author`, as the events say.
    #[must_use]
    pub fn on_behalf_of(&self, author: Author) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            author: Some(author),
        }
    }

    pub(super) fn downgrade(&self) -> WeakController {
        WeakController(Arc::downgrade(&self.shared))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic under the lock is a defect that its thread reports; the tables are still the best there is.
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the switch's decisions; zero without a switch.
    pub(super) fn now(&self) -> std::time::Duration {
        self.shared
            .ports
            .as_ref()
            .map_or_else(Default::default, |ports| ports.now())
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one command, whole or not at all. This is the only way to change anything.
    ///
    /// It may take a second for a list of a million edits: call it from a thread that may block.
    pub fn execute(&self, command: Command) -> Result<Outcome, ControlError> {
        let outcome = self.carry_out(command)?;
        if !matches!(
            outcome,
            Outcome::Fault(_) | Outcome::Faults(_) | Outcome::Assigned { .. } | Outcome::Edited(_)
        ) {
            self.refresh_faults();
        }
        Ok(outcome)
    }

    fn carry_out(&self, command: Command) -> Result<Outcome, ControlError> {
        match command {
            Command::BeginFault(spec) => self.start_fault(*spec),
            Command::CancelFault(id) => self.cancel_fault(id),
            Command::CancelAllFaults => Ok(self.cancel_all_faults()),
            Command::CreateVpc(spec) => self.create_vpc(spec).map(Outcome::Vpc),
            Command::ModifyVpc(vpc, spec) => self.modify_vpc(&vpc, spec).map(Outcome::Vpc),
            Command::DeleteVpc(vpc) => self.delete_vpc(&vpc).map(Outcome::Vpc),
            Command::CreateSubnet(spec) => self.create_subnet(spec).map(Outcome::Subnet),
            Command::ModifySubnet(subnet, spec) => self.modify_subnet(&subnet, spec).map(Outcome::Subnet),
            Command::DeleteSubnet(subnet) => self.delete_subnet(&subnet).map(Outcome::Subnet),
            Command::CreateInterface(spec) => self.create_interface(spec).map(interface),
            Command::ModifyInterface(id, spec) => self.modify_interface(&id, spec).map(interface),
            Command::DeleteInterface(id) => self.delete_interface(&id).map(interface),
            Command::AttachInterface {
                interface: id,
                device,
                host,
            } => self.attach(&id, device, host).map(interface),
            Command::DetachInterface(id) => self.detach(&id, None).map(interface),
            Command::AssignAddresses {
                interface,
                addresses,
                move_allowed,
            } => {
                let mut guard = self.write();
                let state = &mut *guard;
                let id = state.network.interface_id(&interface)?;
                let (addresses, changes) = state.network.assign(id, &addresses, move_allowed, &mut state.rng)?;
                let summary = self.commit(state, &changes);
                Ok(Outcome::Assigned {
                    interface: id,
                    addresses,
                    summary,
                })
            }
            Command::Resource(command) => self.execute_on_resources(command),
            Command::EditMappings(edits) => self.edit_mappings(&edits).map(Outcome::Edited),
        }
    }

    fn create_vpc(&self, spec: CreateVpc) -> Result<Vpc, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let vpc = state.network.create_vpc(spec, &mut state.rng)?.clone();
        let options = state.network.options_of(vpc.dhcp_options_id);
        state.binding.add_vpc(&vpc, options);
        self.publish(EventKind::VpcCreated { vpc_id: vpc.id });
        Ok(vpc)
    }

    fn modify_vpc(&self, reference: &ResourceRef<VpcId>, spec: ModifyVpc) -> Result<Vpc, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let vpc = state.network.modify_vpc(reference, spec)?.clone();
        let options = state.network.options_of(vpc.dhcp_options_id);
        state.binding.set_vpc(&vpc, options);
        state.binding.publish_routes_of_vpc(&state.network, vpc.id);
        self.publish(EventKind::VpcModified { vpc_id: vpc.id });
        Ok(vpc)
    }

    fn delete_vpc(&self, reference: &ResourceRef<VpcId>) -> Result<Vpc, ControlError> {
        let mut state = self.write();
        let vpc = state.network.delete_vpc(reference)?;
        state.binding.remove_vpc(vpc.id);
        self.publish(EventKind::VpcDeleted { vpc_id: vpc.id });
        Ok(vpc)
    }

    fn create_subnet(&self, spec: CreateSubnet) -> Result<Subnet, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let subnet = state.network.create_subnet(spec, &mut state.rng)?.clone();
        state.binding.add_subnet(&subnet);
        state.binding.publish_routes_of_subnet(&state.network, subnet.id);
        self.publish(EventKind::SubnetCreated { subnet_id: subnet.id });
        Ok(subnet)
    }

    fn modify_subnet(&self, reference: &ResourceRef<SubnetId>, spec: ModifySubnet) -> Result<Subnet, ControlError> {
        let mut state = self.write();
        let old = state.network.subnet(reference)?.name.clone();
        let subnet = state.network.modify_subnet(reference, spec)?.clone();
        state
            .binding
            .rename_subnet(subnet.id, old.as_deref(), subnet.name.as_deref());
        self.publish(EventKind::SubnetModified { subnet_id: subnet.id });
        Ok(subnet)
    }

    fn delete_subnet(&self, reference: &ResourceRef<SubnetId>) -> Result<Subnet, ControlError> {
        let mut state = self.write();
        let subnet = state.network.delete_subnet(reference)?;
        state.binding.remove_subnet(&subnet);
        self.publish(EventKind::SubnetDeleted { subnet_id: subnet.id });
        Ok(subnet)
    }

    fn create_interface(&self, spec: CreateInterface) -> Result<NetworkInterface, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let (id, changes) = state.network.create_interface(spec, &mut state.rng)?;
        let interface = state.network.interface(&id.into())?;
        state.binding.add_interface(&interface);
        let subnet_id = interface.subnet_id;
        self.publish(EventKind::InterfaceCreated {
            interface_id: id,
            subnet_id,
        });
        self.commit_at_once(state, &changes);
        Ok(interface)
    }

    fn modify_interface(
        &self,
        reference: &ResourceRef<InterfaceId>,
        spec: ModifyInterface,
    ) -> Result<NetworkInterface, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let (interface, switched) = state.network.modify_interface(reference, spec)?;
        state.binding.set_mtu(interface.id, interface.settings.mtu);
        let (id, check) = (interface.id, interface.source_dest_check);
        if switched {
            state.binding.set_source_dest_check(id, check);
        }
        let subnet_id = interface.subnet_id;
        self.publish(EventKind::InterfaceModified {
            interface_id: id,
            subnet_id,
            source_dest_check: check,
        });
        Ok(interface)
    }

    fn delete_interface(&self, reference: &ResourceRef<InterfaceId>) -> Result<NetworkInterface, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        if !state.faults.is_idle() {
            let id = state.network.interface_id(reference)?;
            self.settle(state, id);
        }
        let (interface, changes) = state.network.delete_interface(reference)?;
        self.commit_at_once(state, &changes);
        // Before its place is given to another interface, no route leads there.
        self.target_changed(state, interface.id);
        let index = state.binding.interface_index(interface.id);
        state.binding.remove_interface(interface.id);
        state.launched.remove(&interface.id);
        let subnet_id = interface.subnet_id;
        self.publish(EventKind::InterfaceDeleted {
            interface_id: interface.id,
            subnet_id,
        });
        drop(guard);
        self.forget(index);
        Ok(interface)
    }

    fn attach(
        &self,
        reference: &ResourceRef<InterfaceId>,
        device: OpenedDevice,
        host: Option<HostPlace>,
    ) -> Result<NetworkInterface, ControlError> {
        let ports = self.shared.ports.as_ref().ok_or(ControlError::NoSwitch)?;
        let mut guard = self.write();
        let state = &mut *guard;
        let id = state.network.interface_id(reference)?;
        if state.network.interface(reference)?.attachment.is_some() {
            return Err(ModelError::InterfaceInUse { interface: id }.into());
        }
        let index = state
            .binding
            .interface_index(id)
            .ok_or(ModelError::NotAttached { interface: id })?;
        let label = device.label();
        let binding = &mut state.binding;
        let attached = ports.attach(index, device, &mut |port| binding.set_port(id, Some(port)));
        let port = attached.map_err(|reason| {
            binding.set_port(id, None);
            ControlError::Attach { reason }
        })?;
        let attachment = Attachment {
            port: port.get(),
            device: label.clone(),
            host,
        };
        state.network.set_attachment(reference, Some(attachment))?;
        state.launched.entry(id).or_insert_with(SystemTime::now);
        state.places.take(host, id);
        self.target_changed(state, id);
        self.publish(EventKind::PortUp {
            interface_id: id,
            port: port.get(),
            device: label,
        });
        Ok(state.network.interface(reference)?)
    }

    fn detach(
        &self,
        reference: &ResourceRef<InterfaceId>,
        reason: Option<String>,
    ) -> Result<NetworkInterface, ControlError> {
        let (interface, device, index) = {
            let mut guard = self.write();
            let state = &mut *guard;
            let id = state.network.interface_id(reference)?;
            let attachment = state.network.set_attachment(reference, None)?;
            state.binding.set_port(id, None);
            self.target_changed(state, id);
            let index = state.binding.interface_index(id);
            state
                .places
                .leave(attachment.as_ref().and_then(|attachment| attachment.host));
            let port = attachment.map_or(0, |attachment| attachment.port);
            let ports = self.shared.ports.as_ref().zip(PortId::new(port));
            let device = ports.and_then(|(ports, port)| ports.detach(port));
            self.publish(EventKind::PortDown {
                interface_id: id,
                port,
                reason,
            });
            (state.network.interface(reference)?, device, index)
        };
        self.forget(index);
        // Closing a TAP takes the kernel some 20 ms, for which nobody else should wait.
        drop(device);
        Ok(interface)
    }

    /// Hands the Controller the services that it is the source of, so that they hear who is gone. Once; later ones are
    /// not taken.
    pub fn set_services(&self, services: ServicesHandle) -> bool {
        self.shared.services.set(services).is_ok()
    }

    /// Ends what an interface has with the services. Their thread may be waiting for the lock, so it is not held here.
    fn forget(&self, interface: Option<InterfaceIndex>) {
        if let (Some(services), Some(interface)) = (self.shared.services.get(), interface) {
            services.forget(interface);
        }
    }

    fn edit_mappings(&self, edits: &[MappingEdit]) -> Result<EditSummary, ControlError> {
        let mut guard = self.write();
        let state = &mut *guard;
        let changes = state.network.edit_mappings(edits)?;
        Ok(self.commit(state, &changes))
    }

    /// Lets the data path, the look-ups, the peers and the listeners know what changed, in this order.
    fn commit(&self, state: &mut State, changes: &[MappingChange]) -> EditSummary {
        if changes.is_empty() {
            return EditSummary::default();
        }
        if state.faults.is_idle() {
            self.reach_data_path(state, changes);
        } else {
            let at_once = self.hold_back(state, changes);
            self.reach_data_path(state, &at_once);
        }
        self.tell_of(changes)
    }

    /// The same, whatever faults there are: an interface is made and deleted in one step.
    fn commit_at_once(&self, state: &mut State, changes: &[MappingChange]) {
        if !changes.is_empty() {
            self.reach_data_path(state, changes);
            self.tell_of(changes);
        }
    }

    /// Changes the data path's tables, and announces that.
    pub(super) fn reach_data_path(&self, state: &mut State, changes: &[MappingChange]) {
        if !state.faults.is_idle() {
            self.note_former_owners(state, changes);
        }
        state.binding.apply(&state.network, changes);
        self.announce(state, changes);
    }

    fn tell_of(&self, changes: &[MappingChange]) -> EditSummary {
        let event = EventKind::mappings(changes);
        let EventKind::MappingsChanged { summary, .. } = event else {
            return EditSummary::of(changes);
        };
        self.publish(event);
        summary
    }

    /// Announces moved addresses where the profile does. A /28 is sixteen addresses; a /80 is too many to name.
    fn announce(&self, state: &State, changes: &[MappingChange]) {
        let Some(ports) = &self.shared.ports else { return };
        let mut moved = Vec::new();
        let is_move = |change: &&MappingChange| change.from.is_some() && change.to.is_some();
        for change in changes.iter().filter(is_move) {
            let Some(subnet) = state.binding.subnet_index(change.subnet) else {
                continue;
            };
            let view = state.binding.writer().view().subnet(subnet);
            if !view.is_some_and(|view| view.profile().neighbor.announce_on_move) {
                continue;
            }
            match change.address.net() {
                net if !change.address.is_prefix() => moved.push(Moved {
                    subnet,
                    address: net.addr(),
                }),
                ipnet::IpNet::V4(net) => {
                    moved.extend((net.network().to_bits()..=net.broadcast().to_bits()).map(|bits| Moved {
                        subnet,
                        address: std::net::Ipv4Addr::from_bits(bits).into(),
                    }));
                }
                ipnet::IpNet::V6(_) => {}
            }
        }
        if !moved.is_empty() {
            ports.announce(moved);
        }
    }

    /// Octets of frames that wait for observers, and how many observers there are.
    pub fn observed(&self) -> (usize, usize) {
        self.shared.ports.as_ref().map_or((0, 0), |ports| ports.observed())
    }

    /// Begins to observe frames and what becomes of them; without a switch nothing is seen.
    pub fn observe(&self, wanted: Wanted) -> Observation {
        match &self.shared.ports {
            Some(ports) => ports.observe(wanted),
            None => Arc::new(Observers::default()).observe(wanted),
        }
    }

    /// The place of an interface in the fabric.
    pub fn interface_index(&self, id: InterfaceId) -> Option<InterfaceIndex> {
        self.read().binding.interface_index(id)
    }

    /// Records an event that the switch or another part of the server noticed.
    pub fn publish(&self, kind: EventKind) -> u64 {
        self.shared.events.publish(kind, self.author.clone())
    }

    /// Detaches the interface of a port whose device vanished. A port that is not in use any more is no error.
    pub fn port_lost(&self, interface: InterfaceIndex, port: PortId, reason: String) {
        let Some(id) = self.interface_at(interface) else { return };
        let current = self
            .interface(&id.into())
            .ok()
            .and_then(|interface| interface.attachment);
        if current.is_some_and(|attachment| attachment.port == port.get()) {
            // Somebody may detach it at the same moment: then there is nothing left to do.
            if let Err(error) = self.detach(&id.into(), Some(reason)) {
                tracing::debug!(%id, %error, "the port was detached before its loss was heard of");
            }
        }
    }

    /// Events after number `after`, and those to come; without a number only those to come.
    pub fn events(&self, after: Option<u64>) -> Subscription {
        self.shared.events.subscribe(after)
    }

    /// The number of the last event.
    pub fn last_event(&self) -> u64 {
        self.shared.events.last()
    }

    /// What the workers of a switch read.
    pub fn fabric(&self) -> Arc<Fabric> {
        Arc::clone(&self.shared.fabric)
    }

    /// The mappings, readable without waiting for an edit.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Every port with its counters; none without a switch.
    pub fn ports(&self) -> Vec<PortStatus> {
        self.shared
            .ports
            .as_ref()
            .map_or_else(Vec::new, |ports| ports.reports())
    }

    /// The interface at a place of the fabric.
    pub fn interface_at(&self, index: InterfaceIndex) -> Option<InterfaceId> {
        self.read().binding.interface_id(index)
    }

    /// All VPCs, by identifier.
    pub fn vpcs(&self) -> Vec<Vpc> {
        self.read().network.vpcs().cloned().collect()
    }

    /// One VPC.
    pub fn vpc(&self, reference: &ResourceRef<VpcId>) -> Result<Vpc, ControlError> {
        Ok(self.read().network.vpc(reference)?.clone())
    }

    /// All subnets, by identifier.
    pub fn subnets(&self) -> Vec<Subnet> {
        self.read().network.subnets().cloned().collect()
    }

    /// One subnet.
    pub fn subnet(&self, reference: &ResourceRef<SubnetId>) -> Result<Subnet, ControlError> {
        Ok(self.read().network.subnet(reference)?.clone())
    }

    /// At most `limit` interfaces that match, by identifier, those after `after`.
    pub fn interfaces(
        &self,
        after: Option<InterfaceId>,
        limit: usize,
        matches: impl Fn(&NetworkInterface) -> bool,
    ) -> Vec<NetworkInterface> {
        self.read()
            .network
            .interfaces(after)
            .filter(matches)
            .take(limit)
            .collect()
    }

    /// One interface.
    pub fn interface(&self, reference: &ResourceRef<InterfaceId>) -> Result<NetworkInterface, ControlError> {
        Ok(self.read().network.interface(reference)?)
    }

    /// The mapping that an address belongs to, or that of exactly this prefix. Does not wait for an edit.
    pub fn mapping(
        &self,
        reference: &ResourceRef<SubnetId>,
        address: AddressOrPrefix,
    ) -> Result<Mapping, ControlError> {
        let found = self.shared.registry.subnet(reference);
        if let Some(mapping) = found.and_then(|subnet| self.shared.registry.get(subnet, address)) {
            return Ok(mapping);
        }
        // Which of the two is missing is worth the wait.
        let subnet = self.read().network.subnet(reference)?.id;
        Err(ModelError::NoMapping { subnet, address }.into())
    }

    /// At most `limit` mappings that match the filter and stand after the cursor.
    pub fn mappings(
        &self,
        filter: &MappingFilter,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<MappingPage, ControlError> {
        Ok(self.read().network.mappings(filter, after, limit)?)
    }
}

fn interface(interface: NetworkInterface) -> Outcome {
    Outcome::Interface(Box::new(interface))
}
