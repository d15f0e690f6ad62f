//! Creates an instance: a host behind a TAP named `eth0`.
//!
//! Until a command runs in it, an instance is a network namespace with its devices, and no process. The kernel adds the
//! link-local address once the TAP is open *and* the link is up, so the order is: create the namespace, open the TAP
//! inside, write the settings that the kernel reads when the link comes up, set it up, add addresses and routes.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::api::{self, ApiAccess, HostSocket, ServeHost};
use super::exec::{self, CommandSpec, ExecError, Outcome, Running};
use super::files::HostFile;
use super::keeper::{self, Keeper, Kept, exactly};
use super::link::{LinkAddress, LinkError, Netlink};
use super::machine::{Machine, MachineError, MachineSpec};
use super::namespace::{Namespace, NamespaceError};
use crate::wire::MacAddr;

mod configure;
mod spec;

use configure::{attach, prepare};
pub use spec::{InstanceOptions, InstanceSpec, InterfaceSpec, LinkLocal};

/// The MTU of every current EC2 instance type (EC2 user guide, "Network MTU for your EC2 instance").
pub const JUMBO_MTU: u32 = 9001;

/// The longest name that `sethostname(2)` accepts.
const LONGEST_NAME: usize = 64;

/// The error of the caller's function that opens the device.
pub type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// Why an instance could not be created or changed.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The name is not a host name.
    #[error("'{0}' cannot name an instance: use 1 to 64 letters, digits, '-' and '.', a letter or digit first")]
    Name(String),
    /// The name is taken.
    #[error("there is an instance named '{0}' already")]
    Exists(String),
    /// The namespace failed.
    #[error("instance '{name}': {source}")]
    Namespace {
        /// The instance.
        name: String,
        /// The cause.
        source: NamespaceError,
    },
    /// The caller's function could not open the device.
    #[error("instance '{name}': cannot open the device {interface}: {source}")]
    Open {
        /// The instance.
        name: String,
        /// The interface.
        interface: String,
        /// The function's error.
        source: OpenError,
    },
    /// Addresses, routes or link settings failed.
    #[error("instance '{name}': cannot {source}")]
    Link {
        /// The instance.
        name: String,
        /// The cause.
        source: LinkError,
    },
    /// A file or socket of the instance failed.
    #[error("instance '{name}': {}: {source}", path.display())]
    File {
        /// The instance.
        name: String,
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The keeper does not hold it.
    #[error("instance '{name}': its keeper: {source}")]
    Keeper {
        /// The instance.
        name: String,
        /// The cause.
        source: std::io::Error,
    },
    /// It is switched off.
    #[error("instance '{0}' has crashed, and is off until the fault is over")]
    Off(String),
    /// Its processes failed.
    #[error("instance '{name}': {source}")]
    Machine {
        /// The instance.
        name: String,
        /// The cause.
        source: MachineError,
    },
}

/// A running instance. Dropping it ends every process in it and releases its namespace, which the kernel frees once its
/// devices are closed too.
#[derive(Debug)]
pub struct Instance {
    name: String,
    mac: MacAddr,
    namespace: Namespace,
    options: InstanceOptions,
    api: ApiAccess,
    files: Vec<HostFile>,
    environment: BTreeMap<String, String>,
    /// Process 1, started by the first command.
    machine: Mutex<Option<Arc<Machine>>>,
    /// Whether it is switched off, so that no process can be started.
    off: AtomicBool,
    background: Mutex<BTreeMap<String, Running>>,
    /// Its namespace at the keeper; after the namespace, so that the keeper's descriptor is the last.
    _kept: Option<Kept>,
}

/// The kind of a namespace in a keeper.
const HOST: &str = "host";

/// The kind of the API's socket in a keeper.
const DOOR: &str = "door";

impl Instance {
    /// Creates an instance. `open` is called in the new namespace, in which a TAP that it opens stays; its result is
    /// returned. The interface is up when this returns.
    pub fn create<T, E>(
        spec: &InstanceSpec,
        options: &InstanceOptions,
        open: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<(Self, T), InstanceError>
    where
        T: Send,
        E: Into<OpenError>,
    {
        if !is_host_name(&spec.name) {
            return Err(InstanceError::Name(spec.name.clone()));
        }
        let name = &spec.name;
        let (namespace, device) = Namespace::create_and_run(|_| {
            let mut netlink = Netlink::open().map_err(link_error(name))?;
            prepare(&mut netlink).map_err(link_error(name))?;
            attach(&mut netlink, name, &spec.interface, open)
        })
        .map_err(|source| InstanceError::Namespace {
            name: name.clone(),
            source,
        })?;
        let device = device?;
        let kept = match &options.keeper {
            Some(keeper) => Some(keep(keeper, name, HOST, &[namespace.as_fd()])?),
            None => None,
        };
        Ok((Self::in_namespace(spec, options, namespace, kept), device))
    }

    fn in_namespace(spec: &InstanceSpec, options: &InstanceOptions, namespace: Namespace, kept: Option<Kept>) -> Self {
        Self {
            name: spec.name.clone(),
            mac: spec.interface.mac,
            namespace,
            options: options.clone(),
            api: spec.api,
            files: spec.files.clone(),
            environment: spec.environment.clone(),
            machine: Mutex::default(),
            off: AtomicBool::new(false),
            background: Mutex::default(),
            _kept: kept,
        }
    }

    /// The instance that an earlier server has made and a keeper holds, with its processes. `entries` are the keeper's.
    /// None if the keeper does not hold it.
    pub fn adopt(
        spec: &InstanceSpec,
        options: &InstanceOptions,
        entries: &[(String, String)],
    ) -> Result<Option<Self>, InstanceError> {
        let Some(keeper) = &options.keeper else { return Ok(None) };
        let Some((key, _)) = keeper::find(entries, HOST, &spec.name) else {
            return Ok(None);
        };
        let wrong = keeper_error(&spec.name);
        let [namespace] = keeper.descriptors(key).and_then(exactly).map_err(&wrong)?;
        let namespace = Namespace::from_fd(namespace).map_err(|source| InstanceError::Namespace {
            name: spec.name.clone(),
            source,
        })?;
        let instance = Self::in_namespace(spec, options, namespace, Some(keeper.adopt(key.clone())));
        if let Some(machine) = Machine::adopt(keeper, &spec.name, entries).map_err(&wrong)? {
            instance.adopt_door(keeper, &machine, entries)?;
            *lock(&instance.machine) = Some(Arc::new(machine));
        }
        let commands = exec::adopt(keeper, &spec.name, entries).map_err(&wrong)?;
        let named = commands
            .into_iter()
            .filter_map(|(name, running)| Some((name?, running)));
        lock(&instance.background).extend(named);
        Ok(Some(instance))
    }

    /// Adds an interface, as attaching a network interface to a running instance does. To detach it, close the device
    /// that `open` returned.
    pub fn attach<T, E>(
        &self,
        interface: &InterfaceSpec,
        open: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, InstanceError>
    where
        T: Send,
        E: Into<OpenError>,
    {
        self.inside(|netlink| attach(netlink, &self.name, interface, open))?
    }

    /// The name, which is also the host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The link-layer address of the first interface.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// The network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The current addresses of an interface.
    pub fn addresses(&self, interface: &str) -> Result<Vec<LinkAddress>, InstanceError> {
        self.link(|netlink| {
            let index = netlink.index(interface)?;
            netlink.addresses(index)
        })
    }

    /// Changes links, addresses, routes or neighbors.
    pub fn link<T: Send>(
        &self,
        change: impl FnOnce(&mut Netlink) -> Result<T, LinkError> + Send,
    ) -> Result<T, InstanceError> {
        self.inside(|netlink| change(netlink).map_err(link_error(&self.name)))?
    }

    /// Runs a command and waits until it has ended or was killed after its time limit.
    pub fn run(&self, command: &CommandSpec) -> Result<Outcome, ExecError> {
        Ok(self.start(command)?.wait())
    }

    /// Starts a command and returns immediately.
    pub fn start(&self, command: &CommandSpec) -> Result<Running, ExecError> {
        self.start_as(None, command)
    }

    fn start_as(&self, name: Option<&str>, command: &CommandSpec) -> Result<Running, ExecError> {
        let machine = self.machine().map_err(|error| ExecError::Instance(Box::new(error)))?;
        let mut environment = self.options.environment.clone();
        environment.extend(self.environment.clone());
        if self.reaches_api() {
            environment.extend(api::environment());
        }
        exec::start(&machine, (&self.name, name), &environment, command)
    }

    /// Starts a command under a name, for [`Self::background`]. The name is free again when the command has ended; its
    /// log is then discarded by the next start.
    pub fn start_named(&self, name: &str, command: &CommandSpec) -> Result<Running, ExecError> {
        let mut background = lock(&self.background);
        if background.get(name).is_some_and(|running| running.try_wait().is_none()) {
            return Err(ExecError::Busy {
                name: name.to_owned(),
                instance: self.name.clone(),
            });
        }
        let running = self.start_as(Some(name), command)?;
        background.insert(name.to_owned(), running.clone());
        Ok(running)
    }

    /// A command started by [`Self::start_named`], running or finished.
    pub fn background(&self, name: &str) -> Option<Running> {
        lock(&self.background).get(name).cloned()
    }

    /// The sorted names of all commands started by [`Self::start_named`].
    pub fn background_names(&self) -> Vec<String> {
        lock(&self.background).keys().cloned().collect()
    }

    /// Process 1 of this instance, started now if no command has run yet. `nsenter -t PID -a` enters it.
    pub fn machine(&self) -> Result<Arc<Machine>, InstanceError> {
        let mut machine = lock(&self.machine);
        if self.off.load(Ordering::Relaxed) {
            return Err(InstanceError::Off(self.name.clone()));
        }
        if let Some(machine) = machine.as_ref().filter(|machine| machine.is_alive()) {
            return Ok(Arc::clone(machine));
        }
        // One that has ended is taken from the keeper before its successor comes.
        if let Some(former) = machine.take() {
            former.end();
        }
        let spec = MachineSpec {
            hostname: &self.name,
            machine_id: machine_id(self.mac),
            namespace: &self.namespace,
            program: &self.options.init_program,
            keeper: self.options.keeper.as_ref(),
        };
        let started = Machine::start(&spec).map_err(|source| InstanceError::Machine {
            name: self.name.clone(),
            source,
        })?;
        self.open_door(&started)?;
        for file in &self.files {
            self.put_in(&started, file)?;
        }
        Ok(Arc::clone(machine.insert(Arc::new(started))))
    }

    fn reaches_api(&self) -> bool {
        self.api != ApiAccess::None && self.options.door.server().is_some()
    }

    /// Binds the socket of the API, which vanishes with process 1.
    fn open_door(&self, machine: &Machine) -> Result<(), InstanceError> {
        let Some(server) = self.options.door.server().filter(|_| self.api != ApiAccess::None) else {
            return Ok(());
        };
        let socket = Path::new(api::SOCKET);
        // For every user of the instance, as the metadata service gives its role to every program of an EC2 instance.
        let listener = self.bind_in(machine, socket, 0o666)?;
        if let Some(keeper) = machine.keeper() {
            machine.keep(keep(keeper, &self.name, DOOR, &[listener.as_fd()])?);
        }
        self.serve_door(&server, machine, listener)?;
        self.write_in(machine, Path::new(api::PROFILE), &api::profile())
    }

    /// Serves the API on the socket that an earlier server has bound.
    fn adopt_door(
        &self,
        keeper: &Keeper,
        machine: &Machine,
        entries: &[(String, String)],
    ) -> Result<(), InstanceError> {
        let Some((key, _)) = keeper::find(entries, DOOR, &self.name) else {
            return Ok(());
        };
        let listener = keeper.descriptors(key).and_then(exactly);
        let [listener] = listener.map_err(keeper_error(&self.name))?;
        machine.keep(keeper.adopt(key.clone()));
        match self.options.door.server() {
            Some(server) => self.serve_door(&server, machine, listener.into()),
            None => Ok(()),
        }
    }

    fn serve_door(
        &self,
        server: &Arc<dyn ServeHost>,
        machine: &Machine,
        listener: UnixListener,
    ) -> Result<(), InstanceError> {
        let served = machine.until_end().and_then(|ended| {
            server.serve(HostSocket {
                instance: self.name.clone(),
                access: self.api,
                listener,
                ended,
            })
        });
        served.map_err(|source| InstanceError::File {
            name: self.name.clone(),
            path: Path::new(api::SOCKET).to_owned(),
            source,
        })
    }

    /// Stops every process (SIGSTOP). The kernel's network stack still answers ARP and pings, like that of a hung
    /// machine.
    pub fn freeze(&self) -> Result<(), InstanceError> {
        self.if_started(Machine::freeze)
    }

    /// Undoes [`Self::freeze`].
    pub fn thaw(&self) -> Result<(), InstanceError> {
        self.if_started(Machine::thaw)
    }

    /// Asks every process to end (SIGTERM), as a machine does that is shut down.
    pub fn ask_to_end(&self) -> Result<(), InstanceError> {
        self.if_started(Machine::ask_to_end)
    }

    /// Kills every process. Files and network stay.
    pub fn kill_processes(&self) -> Result<(), InstanceError> {
        self.if_started(Machine::kill_processes)
    }

    /// Ends process 1 and with it every process, all mounts and all written files: a power failure. The next command
    /// boots it anew. The network namespace stays.
    pub fn crash(&self) {
        let machine = lock(&self.machine).take();
        if let Some(machine) = machine {
            machine.end();
        }
    }

    /// [`Self::crash`], and no process can be started until [`Self::switch_on`]. Its devices stay.
    pub fn switch_off(&self) {
        let mut machine = lock(&self.machine);
        // Under the lock, so that no command boots it in between.
        self.off.store(true, Ordering::Relaxed);
        let machine = machine.take();
        if let Some(machine) = machine {
            machine.end();
        }
    }

    /// Undoes [`Self::switch_off`]: the next command boots it.
    pub fn switch_on(&self) {
        self.off.store(false, Ordering::Relaxed);
    }

    fn if_started(&self, act: impl FnOnce(&Machine) -> Result<(), MachineError>) -> Result<(), InstanceError> {
        let machine = lock(&self.machine).clone();
        // No process was ever started.
        let Some(machine) = machine else { return Ok(()) };
        act(&machine).map_err(|source| InstanceError::Machine {
            name: self.name.clone(),
            source,
        })
    }

    fn inside<T: Send>(&self, act: impl FnOnce(&mut Netlink) -> T + Send) -> Result<T, InstanceError> {
        self.namespace
            .run(|| Ok(act(&mut Netlink::open().map_err(link_error(&self.name))?)))
            .map_err(|source| InstanceError::Namespace {
                name: self.name.clone(),
                source,
            })?
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Running commands hold the machine too; it ends nevertheless.
        self.crash();
    }
}

/// DHCP clients derive the DUID and stable link-locals from /etc/machine-id (machine-id(5)): instances with the
/// machine's would be one client to a server. It is "localvpc" in ASCII and the MAC address.
fn machine_id(mac: MacAddr) -> String {
    format!("6c6f63616c7670630000{:012x}", mac.to_bits())
}

fn is_host_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

fn keeper_error(instance: &str) -> impl Fn(std::io::Error) -> InstanceError + '_ {
    move |source| InstanceError::Keeper {
        name: instance.to_owned(),
        source,
    }
}

/// Has a keeper hold descriptors of an instance.
fn keep(keeper: &Keeper, instance: &str, kind: &str, descriptors: &[BorrowedFd<'_>]) -> Result<Kept, InstanceError> {
    keeper
        .put(keeper::key(kind, instance), String::new(), descriptors)
        .map_err(keeper_error(instance))
}

fn link_error(instance: &str) -> impl Fn(LinkError) -> InstanceError + '_ {
    move |source| InstanceError::Link {
        name: instance.to_owned(),
        source,
    }
}

/// The guarded values are always replaced as a whole, so a panic leaves them consistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_host_name_is_refused_before_anything_is_made() {
        for wrong in ["", "-a", "a b", "a/b", "ä", &"a".repeat(65)] {
            let spec = InstanceSpec::new(wrong, MacAddr([2, 0, 0, 0, 0, 1]));
            let made = Instance::create(&spec, &InstanceOptions::default(), || Ok::<_, OpenError>(()));
            assert!(matches!(made, Err(InstanceError::Name(name)) if name == wrong));
        }
    }

    #[test]
    fn two_instances_have_different_machine_ids_of_32_digits() {
        let [a, b] = [1, 2].map(|n| machine_id(MacAddr([2, 0, 0, 0, 0, n])));
        assert_ne!(a, b);
        assert!(
            [a, b]
                .iter()
                .all(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))
        );
    }
}
