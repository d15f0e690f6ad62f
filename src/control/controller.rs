//! Carries out commands, one at a time: checks each against the declared network, then has the data path, the ports and
//! the event listeners follow the changes. One lock, held while one command is carried out and never across an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::SystemTime;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::credentials::RoleSecret;
use super::error::ControlError;
use super::events::{Author, EventKind, EventLog, PartOf};
use super::fabric::Binding;
use super::faults::{ApiFaults, Faults, SettledHosts, Timer};
use super::flow_logs::RecorderSlot;
use super::former::Former;
use super::life::Life;
use super::ports::{DevicePlace, OpenPort, OpenedDevice, Ports};
use crate::contain;
use crate::datapath::{Fabric, FabricWriter, Moved};
use crate::mapping::registry::Registry;
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::InterfaceError;
use crate::model::interface::{AttachInterface, DetachInterface};
use crate::model::region::DEFAULT_REGION;
use crate::model::{Command, InterfaceId, Limits, MappingChange, ModelError, Network, NetworkInterface, ResourceRef};
use crate::services::ServicesHandle;
use crate::store::{Memory, Store};
use crate::switch::observe::{Observation, Observers, Wanted};

/// What a Controller is made from.
pub struct ControllerConfig {
    /// The seed of identifiers and MAC addresses; the same seed and commands give the same ones. Random if left out.
    pub seed: Option<u64>,
    /// The limits on what may be declared.
    pub limits: Limits,
    /// The region of the network, as in `us-east-1`.
    pub region: String,
    /// The number of events that are kept for listeners that reconnect.
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

/// The only writer of the network. Clones share it.
#[derive(Clone)]
pub struct Controller {
    pub(super) shared: Arc<Shared>,
    /// The author of the edits made through this handle.
    pub(super) author: Option<Author>,
}

/// A Controller that may have been dropped.
pub(super) struct WeakController(Weak<Shared>);

impl WeakController {
    pub(super) fn upgrade(&self) -> Option<Controller> {
        self.0.upgrade().map(|shared| Controller { shared, author: None })
    }
}

pub(super) struct Shared {
    state: RwLock<State>,
    /// Where commits are kept.
    pub(super) store: Arc<dyn Store>,
    /// The revision of the last commit; written under the lock of the writer.
    pub(super) revision: AtomicU64,
    /// What identifiers are drawn from, with the revision at the start added.
    pub(super) seed: u64,
    /// Set when the server ends: what is changed from then on is not kept.
    pub(super) retired: AtomicBool,
    /// Set while another server takes over: edits are refused.
    pub(super) frozen: AtomicBool,
    pub(super) registry: Arc<Registry>,
    pub(super) events: EventLog,
    pub(super) fabric: Arc<Fabric>,
    pub(super) ports: Option<Arc<dyn Ports>>,
    pub(super) timer: Timer,
    pub(super) api_faults: ApiFaults,
    pub(super) hosts: SettledHosts,
    services: OnceLock<ServicesHandle>,
    /// What the credentials of roles are derived from.
    role_secret: OnceLock<RoleSecret>,
    /// What records flows for flow logs.
    pub(super) recorder: RecorderSlot,
    /// Makes an event of each panic that is contained.
    panics: OnceLock<Arc<contain::Watcher>>,
}

pub(super) struct State {
    pub(super) network: Network,
    pub(super) binding: Binding,
    pub(super) rng: ChaCha8Rng,
    /// The ports of attached interfaces: observed state, not declared state.
    pub(super) ports: HashMap<InterfaceId, OpenPort>,
    pub(super) faults: Faults,
    /// Former owners of addresses, for as long as neighbors may have them in a cache.
    pub(super) former: Former,
    /// What instances and attachments come to by and by.
    pub(super) life: Life,
}

impl State {
    /// The interface with a port. Searches all of them.
    pub(super) fn interface_at_port(&self, port: PortId) -> Option<InterfaceId> {
        let mut ports = self.ports.iter();
        ports.find(|(_, open)| open.port == port).map(|(id, _)| *id)
    }
}

/// A copy of the declared network, which changes independently of the Controller.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The declared network.
    pub network: Network,
    /// The ports of attached interfaces.
    pub ports: HashMap<InterfaceId, OpenPort>,
    rng: ChaCha8Rng,
}

impl Snapshot {
    /// Carries out a command on the copy.
    pub fn execute<C: Command>(&mut self, command: C) -> Result<C::Outcome, ControlError>
    where
        ControlError: From<C::Error>,
    {
        let (outcome, _) = self.network.execute(command, &mut self.rng)?;
        Ok(outcome)
    }
}

/// The name of a command, as in `CreateVpc`.
fn command_name<C>() -> &'static str {
    std::any::type_name::<C>().rsplit("::").next().unwrap_or_default()
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

/// What an instance has tracked of its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracking {
    /// Connections.
    pub tracked: u32,
    /// How many there may be; `None` for any number.
    pub limit: Option<u32>,
    /// Packets that were dropped because there were as many already.
    pub exceeded: u64,
}

impl Controller {
    /// A Controller of an empty network, which keeps its latest commits in memory.
    pub fn new(config: ControllerConfig) -> Self {
        Self::build(config, Arc::new(Memory::of_commits()), 0)
    }

    /// A Controller of a network that has seen so many revisions, before anything is in it.
    pub(super) fn build(config: ControllerConfig, store: Arc<dyn Store>, revision: u64) -> Self {
        let registry = Arc::new(Registry::new());
        let fabric = config.fabric.fabric();
        // One that goes on with a store does not draw the same identifiers again.
        let drawn: u64 = config.seed.unwrap_or_else(rand::random);
        let seed = drawn.wrapping_add(revision);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let state = State {
            network: Network::in_region(config.limits, &config.region),
            binding: Binding::new(config.fabric, Arc::clone(&registry)),
            rng,
            faults: Faults::new(seed),
            ports: HashMap::new(),
            former: Former::default(),
            life: Life::default(),
        };
        let events = EventLog::new(config.event_history);
        if store.syncs() {
            events.hold_after(revision);
        }
        let shared = Shared {
            state: RwLock::new(state),
            store,
            revision: AtomicU64::new(revision),
            seed: drawn,
            retired: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            registry,
            events,
            fabric,
            ports: config.ports,
            timer: Timer::default(),
            api_faults: ApiFaults::default(),
            hosts: SettledHosts::default(),
            services: OnceLock::new(),
            role_secret: OnceLock::new(),
            recorder: RecorderSlot::default(),
            panics: OnceLock::new(),
        };
        let controller = Self {
            shared: Arc::new(shared),
            author: None,
        };
        let weak = controller.downgrade();
        let report: Arc<contain::Watcher> = Arc::new(move |thread: &str, message: &str| {
            if let Some(controller) = weak.upgrade() {
                controller.publish(EventKind::PanicContained {
                    thread: thread.to_owned(),
                    message: message.to_owned(),
                });
            }
        });
        contain::watch(&report);
        let _ = controller.shared.panics.set(report);
        controller
    }

    /// A handle whose edits have `author` as their author in the events.
    #[must_use]
    pub fn on_behalf_of(&self, author: Author) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            author: Some(author),
        }
    }

    /// Derives the credentials of roles from a secret that an earlier server had, so that they stay valid.
    pub fn set_role_secret(&self, secret: RoleSecret) {
        self.shared.role_secret.get_or_init(|| secret);
    }

    /// What the credentials of roles are derived from.
    pub fn role_secret(&self) -> RoleSecret {
        *self.shared.role_secret.get_or_init(|| RoleSecret::new(rand::random()))
    }

    pub(super) fn downgrade(&self) -> WeakController {
        WeakController(Arc::downgrade(&self.shared))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic under the lock is a defect that its thread reports; the tables are still the best available.
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The switch's clock; zero without a switch.
    pub(super) fn now(&self) -> std::time::Duration {
        self.shared
            .ports
            .as_ref()
            .map_or_else(Default::default, |ports| ports.now())
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one command, whole or not at all, and returns its outcome. Every change of the declared network is
    /// made here.
    ///
    /// A list of a million edits may take a second: call this from a thread that may block.
    pub fn execute<C: Command>(&self, command: C) -> Result<C::Outcome, ControlError>
    where
        ControlError: From<C::Error>,
    {
        let (outcome, afterwards) = {
            let mut guard = self.write();
            let state = &mut *guard;
            self.expected()?;
            let (outcome, changes) = state.network.execute(command, &mut state.rng)?;
            (outcome, self.commit(state, changes, command_name::<C>(), None)?)
        };
        self.finish(afterwards)?;
        Ok(outcome)
    }

    /// Makes an open device the port of an interface. An interface that is not attached is first attached to the
    /// instance that `place` stands for; one that is attached and has no port gets this one.
    pub fn attach(
        &self,
        reference: &ResourceRef<InterfaceId>,
        device: OpenedDevice,
        place: DevicePlace,
    ) -> Result<NetworkInterface, ControlError> {
        let ports = self.shared.ports.as_ref().ok_or(ControlError::NoSwitch)?;
        let mut guard = self.write();
        let state = &mut *guard;
        self.expected()?;
        let interface = state.network.interface(reference)?;
        let id = interface.id;
        if state.ports.contains_key(&id) {
            return Err(ModelError::Interface(InterfaceError::InUse { interface: id }).into());
        }
        let index = state
            .binding
            .interface_index(id)
            .ok_or(ModelError::Interface(InterfaceError::NotAttached { interface: id }))?;
        let (interface, changes) = if interface.attachment.is_some() {
            (interface, Vec::new())
        } else {
            let command = AttachInterface {
                interface: id.into(),
                place: match place {
                    DevicePlace::HostFurther(place) => Some(place),
                    DevicePlace::Outside | DevicePlace::HostPrimary => None,
                },
                at: SystemTime::now(),
            };
            state.network.execute(command, &mut state.rng)?
        };
        let label = device.label();
        let binding = &mut state.binding;
        let attached = ports.attach(index, device, &mut |port| binding.set_port(id, Some(port)));
        let port = match attached {
            Ok(port) => port,
            Err(reason) => {
                binding.set_port(id, None);
                state.network.revert(&changes);
                return Err(ControlError::Attach { reason });
            }
        };
        let recorded = match self.record(state, changes, command_name::<AttachInterface>()) {
            Ok(recorded) => recorded,
            Err(error) => {
                state.binding.set_port(id, None);
                let device = ports.detach(port);
                drop(guard);
                drop(device);
                return Err(error);
            }
        };
        let afterwards = self.follow(state, recorded, None);
        let open = OpenPort {
            port,
            device: label.clone(),
            in_host: place != DevicePlace::Outside,
        };
        state.ports.insert(id, open);
        self.refresh_faults(state);
        self.publish(EventKind::PortUp {
            interface_id: id,
            port: port.get(),
            device: label,
        });
        drop(guard);
        let finished = self.finish(afterwards);
        self.settle_hosts();
        finished.map(|()| interface)
    }

    /// Detaches an interface from its instance, and its port from the switch, for a reason other than a request.
    fn detach(&self, id: InterfaceId, reason: &str) -> Result<(), ControlError> {
        let afterwards = {
            let mut guard = self.write();
            let state = &mut *guard;
            let (_, changes) = state.network.execute(DetachInterface(id.into()), &mut state.rng)?;
            self.commit(state, changes, command_name::<DetachInterface>(), Some(reason))?
        };
        self.finish(afterwards)?;
        Ok(())
    }

    /// Gives the Controller the services that read from it, so that it can tell them of deleted interfaces. The first
    /// call counts; `false` for later ones.
    pub fn set_services(&self, services: ServicesHandle) -> bool {
        self.shared.services.set(services).is_ok()
    }

    /// Ends the state that the services keep for an interface. Their thread may be waiting for the lock, so it is not
    /// held here.
    pub(super) fn forget(&self, interface: InterfaceIndex) {
        if let Some(services) = self.shared.services.get() {
            services.forget(interface);
        }
    }

    /// The memory of the event history.
    pub fn history(&self) -> super::events::HistoryUsage {
        self.shared.events.usage()
    }

    /// A copy of what is declared, for a trial run: what is drawn on it is what would be drawn.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.read();
        Snapshot {
            network: state.network.clone(),
            ports: state.ports.clone(),
            rng: state.rng.clone(),
        }
    }

    /// Changes the data path's tables, and announces moved addresses.
    pub(super) fn reach_data_path(&self, state: &mut State, changes: &[MappingChange]) {
        if changes.is_empty() {
            return;
        }
        if !state.faults.is_idle() {
            self.note_former_owners(state, changes);
        }
        if !state.faults.is_idle() || !state.faults.lag.is_empty() {
            state.metadata_lags(changes, self.shared.timer.now());
        }
        state.binding.apply(&state.network, changes);
        self.announce(state, changes);
    }

    /// Announces moved addresses where the profile says so: those that moved in one step, and those taken from another
    /// interface so recently that a neighbor may have it cached. A /28 is sixteen addresses; a /80 is too many to
    /// announce.
    fn announce(&self, state: &mut State, changes: &[MappingChange]) {
        let Some(ports) = &self.shared.ports else { return };
        let now = self.shared.timer.now();
        let mut moved = Vec::new();
        for change in changes {
            let Some(subnet) = state.binding.subnet_index(change.subnet) else {
                continue;
            };
            let view = state.binding.writer().view().subnet(subnet);
            let Some(policy) = view
                .map(|view| &view.profile().neighbor)
                .filter(|policy| policy.announce_on_move)
            else {
                continue;
            };
            if !state.former.moves(change, policy.announce_within.get(), now) {
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

    /// Bytes of frames that wait for observers, and the number of observers.
    pub fn observed(&self) -> (usize, usize) {
        self.shared.ports.as_ref().map_or((0, 0), |ports| ports.observed())
    }

    /// Begins to observe frames and their verdicts; without a switch there are none.
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
        self.shared.events.publish(kind, self.author.clone(), None)
    }

    /// Records the events of a commit.
    pub(super) fn publish_all(&self, kinds: Vec<EventKind>, revision: Option<u64>) {
        let last = kinds.len().saturating_sub(1);
        for (place, kind) in kinds.into_iter().enumerate() {
            let part = revision.map(|revision| PartOf {
                revision,
                last: place == last,
            });
            self.shared.events.publish(kind, self.author.clone(), part);
        }
    }

    /// Lets listeners have the events of commits up to this revision.
    pub(super) fn events_until(&self, revision: u64) {
        self.shared.events.release(revision);
    }

    /// Detaches the interface of a port whose device vanished. A port that is no longer in use is no error.
    pub fn port_lost(&self, interface: InterfaceIndex, port: PortId, reason: &str) {
        let Some(id) = self.interface_at(interface) else { return };
        let current = self.port_of(id);
        if current.is_some_and(|current| current.port == port) {
            // A request may detach it at the same moment: then there is nothing left to do.
            if let Err(error) = self.detach(id, reason) {
                tracing::debug!(%id, %error, "the port was detached before its loss was heard of");
            }
        }
    }
}
