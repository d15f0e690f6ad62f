//! Runs one network: a Controller, the switch that it writes for, and the instances on its ports. A server has one, and
//! so has every run of a scenario.

mod attach;
pub mod cleanup;
mod events;
mod flows;
mod hosts;
mod kept;
mod outside_link;
mod standby;
mod succession;
mod trust;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use attach::{PlaceError, PlaceIn};
use events::EventPump;
use flows::FlowKeeping;
use hosts::LabHosts;
pub use kept::keeper_main;
pub(crate) use outside_link::is_link;
pub use outside_link::{OutsideLink, OutsideLinkError};
pub use standby::{Said, Serving, StandbyError, Stood, said_of, stand_by};
pub use succession::{NamedSocket, Succession, SuccessionError, Yielding};

use crate::confine::{self, Role};
use crate::control::{ControlError, Controller, ControllerConfig, Hosts, Ports};
use crate::datapath::{FabricWriter, Received};
use crate::lab::{
    ApiAccess, ApiDoor, InstanceError, InstanceOptions, Keeper, Lab, LinkLocal, ServeHost, drop_in_parallel,
};
use crate::model::region::DEFAULT_REGION;
use crate::model::region::api_names;
use crate::model::{InterfaceId, Limits, ResourceRef};
use crate::record::flow_logs::FlowLogs;
use crate::services::tls::AuthorityError;
use crate::services::{Authority, Endpoint, EndpointSlot, Services, ServicesConfig};
use crate::store::{Store, StoreError};
use crate::switch::{Switch, SwitchConfig, SwitchError, SwitchEvent};

/// Settings of a runtime.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The seed of identifiers and MAC addresses; random if left out.
    pub seed: Option<u64>,
    /// Whether TAPs use offloads: frames larger than the MTU and unfinished checksums.
    pub offload: bool,
    /// How long the switch's workers poll before they sleep, as in [`SwitchConfig::spin`].
    pub spin: Duration,
    /// Whether the switch may use io_uring, as in [`SwitchConfig::ring`].
    pub ring: bool,
    /// Limits of the model.
    pub limits: Limits,
    /// The region of the network, which gives the names of zones and hosts.
    pub region: String,
    /// A resolver for names outside the VPC's domains; without one they are refused.
    pub resolver: Option<SocketAddr>,
    /// The program that becomes process 1 of an instance; this one if left out.
    pub init_program: Option<PathBuf>,
    /// Environment variables of every command in an instance.
    pub environment: BTreeMap<String, String>,
    /// Where the network is kept; it ends with the runtime if left out.
    pub store: Option<Arc<dyn Store>>,
    /// What holds hosts and devices when this process is killed; they end with it if left out.
    pub keeper: Option<Keeper>,
    /// The folder of files of flow records; flow logs have none if left out.
    pub flow_logs: Option<PathBuf>,
    /// Whether frames wait until [`Switch::resume`], because another process still forwards them.
    pub paused: bool,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            seed: None,
            offload: true,
            spin: Duration::ZERO,
            ring: true,
            limits: Limits::UNBOUNDED,
            region: DEFAULT_REGION.to_owned(),
            resolver: None,
            init_program: None,
            environment: BTreeMap::new(),
            store: None,
            keeper: None,
            flow_logs: None,
            paused: false,
        }
    }
}

/// Why a runtime refused an operation.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The switch does not start.
    #[error("the switch does not start: {0}")]
    Switch(#[from] SwitchError),
    /// There are no certificates for the endpoint of the API.
    #[error("the endpoint of the API: {0}")]
    Authority(#[from] AuthorityError),
    /// The thread that forwards its events does not start.
    #[error("a thread does not start: {0}")]
    Thread(#[from] std::io::Error),
    /// An instance cannot be created.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The keeper does not do what it is asked.
    #[error("the keeper: {0}")]
    Keeper(std::io::Error),
    /// What is kept of the network cannot be read, or not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Controller refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// An interface cannot be attached to a host.
    #[error(transparent)]
    Place(#[from] attach::PlaceError),
}

/// What serves the API of a network to its hosts: over a socket in each, and by the VPC's own endpoint.
pub trait HostApi: ServeHost + Endpoint {}

impl<T: ServeHost + Endpoint> HostApi for T {}

/// Starts the server of the API for a network's hosts. The API is a room above; the caller that creates a network
/// passes it in.
pub type StartApi = fn(&Arc<Runtime>) -> std::io::Result<Arc<dyn HostApi>>;

/// A host to create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its name and host name.
    pub name: String,
    /// The network interface of its `eth0`.
    pub interface: ResourceRef<InterfaceId>,
    /// Whether its addresses are configured when it starts, as by DHCP.
    pub configured: bool,
    /// How it generates its link-local address.
    pub link_local: LinkLocal,
    /// Whether its kernel accepts Router Advertisements.
    pub accept_ra: bool,
    /// Whether its kernel does duplicate address detection.
    pub dad: bool,
    /// What its programs may do through the API.
    pub api: ApiAccess,
}

impl HostSpec {
    /// A configured host with the defaults of a distribution.
    pub fn new(name: impl Into<String>, interface: impl Into<ResourceRef<InterfaceId>>) -> Self {
        Self {
            name: name.into(),
            interface: interface.into(),
            configured: true,
            link_local: LinkLocal::Eui64,
            accept_ra: true,
            dad: true,
            api: ApiAccess::default(),
        }
    }

    /// The interface of its `eth0`, where it is given by identifier.
    pub fn interface_id(&self) -> Option<InterfaceId> {
        match &self.interface {
            ResourceRef::Id(id) => Some(*id),
            ResourceRef::Name(..) => None,
        }
    }
}

/// A running network. Dropping it removes everything.
pub struct Runtime {
    lab: Arc<Lab>,
    controller: Controller,
    switch: Arc<Switch>,
    hosts: Arc<LabHosts>,
    door: ApiDoor,
    endpoint: EndpointSlot,
    flow_logs: FlowLogs,
    // Ends before the keeper does.
    _flows: Option<FlowKeeping>,
    // Both hold the controller, and with it the switch, until they are dropped.
    _events: EventPump,
    _services: Services,
}

/// A network that was loaded, before it is a [`Runtime`].
pub struct Prepared {
    config: RuntimeConfig,
    switch: Arc<Switch>,
    events: tokio::sync::mpsc::Receiver<SwitchEvent>,
    controller: Controller,
}

/// Threads that read a tenant's input need no right but to move frames.
fn confined() {
    // Missing protections have been logged.
    let _ = confine::this_thread(Role::Frames);
}

/// Starts metadata, DNS and NTP: their thread reads from the controller and writes to the switch's ports.
fn start_services(
    controller: &Controller,
    switch: &Arc<Switch>,
    resolver: Option<SocketAddr>,
    endpoint: (EndpointSlot, Authority),
) -> Result<Services, RuntimeError> {
    // The switch holds the handle of the services, so they must not hold the switch.
    let ports = Arc::downgrade(switch);
    let inject = move |port, frame: &[u8]| {
        // A frame for a port that is gone is lost, as on a pulled cable.
        let _ = ports.upgrade().map(|switch| switch.inject(port, frame));
    };
    let config = ServicesConfig {
        forward_to: resolver,
        endpoint: Some(endpoint),
        token_secret: kept::token_secret(&**controller.store())?,
        thread_start: confined,
        ..ServicesConfig::default()
    };
    let services = Services::start(Arc::new(controller.clone()), config, Arc::new(inject))?;
    let handle = services.handle();
    controller.set_services(handle.clone());
    let sink = move |interface, port, frame: Received<'_>, taken: &mut dyn FnMut()| {
        handle.submit(interface, port, frame, taken)
    };
    switch.set_services(Arc::new(sink));
    Ok(services)
}

impl Prepared {
    /// The one writer of the network.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Starts it. `keeper` holds hosts and devices when this process is killed.
    pub fn start(self, keeper: Option<Keeper>) -> Result<Runtime, RuntimeError> {
        let Self {
            config,
            switch,
            events,
            controller,
        } = self;
        if let Some(secret) = kept::role_secret(&**controller.store())? {
            controller.set_role_secret(secret);
        }
        let authority = Authority::new(kept::root(&**controller.store())?, &api_names(&controller.region()))?;
        let endpoint = EndpointSlot::default();
        let services = start_services(
            &controller,
            &switch,
            config.resolver,
            (endpoint.clone(), authority.clone()),
        )?;
        let mut options = InstanceOptions {
            environment: config.environment,
            keeper,
            ..InstanceOptions::default()
        };
        if let Some(program) = config.init_program {
            options.init_program = program;
        }
        let door = options.door.clone();
        let flows = match &options.keeper {
            Some(keeper) => Some(FlowKeeping::start(keeper.clone(), controller.clone(), &switch)?),
            None => None,
        };
        let lab = Arc::new(Lab::new(options));
        let hosts = Arc::new(LabHosts::new(&lab, config.offload, authority));
        controller.set_hosts(Arc::clone(&hosts) as Arc<dyn Hosts>);
        Ok(Runtime {
            lab,
            _events: EventPump::start(controller.clone(), events)?,
            flow_logs: FlowLogs::start(&controller, config.flow_logs)?,
            controller,
            switch,
            hosts,
            door,
            endpoint,
            _flows: flows,
            _services: services,
        })
    }
}

impl Runtime {
    /// Starts a network: the one that is kept, or an empty one.
    pub fn start(mut config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let keeper = config.keeper.take();
        Self::prepare(config)?.start(keeper)
    }

    /// Loads a network, and starts neither services nor hosts yet.
    pub fn prepare(config: RuntimeConfig) -> Result<Prepared, RuntimeError> {
        let fabric = FabricWriter::new();
        let switch = SwitchConfig {
            spin: config.spin,
            ring: config.ring,
            thread_start: confined,
            paused: config.paused,
            ..SwitchConfig::default()
        };
        let (switch, events) = Switch::start(fabric.fabric(), switch)?;
        let switch = Arc::new(switch);
        let control = ControllerConfig {
            seed: config.seed,
            limits: config.limits,
            region: config.region.clone(),
            fabric,
            ports: Some(Arc::clone(&switch) as Arc<dyn Ports>),
            ..ControllerConfig::default()
        };
        let controller = match &config.store {
            Some(store) => Controller::open(control, Arc::clone(store))?,
            None => Controller::new(control),
        };
        Ok(Prepared {
            config,
            switch,
            events,
            controller,
        })
    }

    /// The one writer of the network.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// The switch.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// The flow records.
    pub fn flow_logs(&self) -> &FlowLogs {
        &self.flow_logs
    }

    /// The hosts.
    pub fn lab(&self) -> &Arc<Lab> {
        &self.lab
    }

    /// Serves the API to the programs of hosts that boot from now on. The caller keeps `server` alive.
    pub fn serve_hosts(&self, server: &Arc<dyn HostApi>) {
        let sockets: Arc<dyn ServeHost> = Arc::<dyn HostApi>::clone(server);
        self.door.open(&sockets);
        let endpoint: Arc<dyn Endpoint> = Arc::<dyn HostApi>::clone(server);
        self.endpoint.set(Arc::downgrade(&endpoint));
    }

    /// Creates hosts on existing interfaces; all of them or none.
    pub fn create_hosts(&self, hosts: &[HostSpec]) -> Result<(), RuntimeError> {
        self.hosts.create(&self.controller, hosts)
    }

    /// Goes on with the hosts that an earlier start has written down: as a keeper holds them, or made again on the interfaces that
    /// they had. What was to come about waits for [`Controller::resume_life`].
    pub fn restore_hosts(&self) -> Result<(), RuntimeError> {
        self.hosts.restore(&self.controller, &self.switch)
    }

    /// Removes a host; its interfaces stay, detached. Returns whether there was one.
    pub fn remove_host(&self, name: &str) -> Result<bool, RuntimeError> {
        self.hosts.remove(&self.controller, name)
    }

    /// The primary interface of a host: the one that it was created on.
    pub fn interface_of(&self, host: &str) -> Option<InterfaceId> {
        self.hosts.interface_of(host)
    }

    /// All hosts as they were started, each with its interface by identifier.
    pub fn hosts(&self) -> Vec<HostSpec> {
        self.hosts.all()
    }
}

/// The environment of every program in a host: a PATH on which `program`, the API's client, is found.
pub fn host_environment(program: &Path) -> BTreeMap<String, String> {
    let own = std::env::var("PATH").unwrap_or_default();
    let directory = program.parent().unwrap_or(Path::new("/usr/bin")).display();
    let path = format!("{directory}:{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    [("PATH".to_owned(), path)].into()
}

/// Single entries are inserted and removed, so the map is always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // That ports go from now on is no edit of the network.
        self.controller.retire();
        self.lab.clear();
        // Closing a TAP takes the kernel some 20 ms, however many are closed at once.
        let ports = self.switch.ports();
        let devices = ports.iter().filter_map(|port| self.switch.detach(port.port)).collect();
        drop_in_parallel(devices);
    }
}
