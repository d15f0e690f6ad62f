//! Creates instances: hosts that are real to any program in them.
//!
//! An instance is a network namespace whose `eth0` is a TAP that the switch reads, and, once a command runs in it, a
//! PID namespace with files of its own. It has no name in the file system and no process of it outlives this one, so
//! nothing is left to clean up, however a run ends. Where a keeper holds it, it outlives this process and not the keeper.

pub mod api;
pub mod capture;
pub mod descriptors;
pub mod exec;
pub mod files;
mod forking;
mod init;
pub mod instance;
pub mod keeper;
mod layers;
pub mod link;
pub mod machine;
mod mounts;
pub mod namespace;
pub mod output;
mod processes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub use api::{ApiAccess, ApiDoor, HostSocket, ServeHost};
pub use capture::Capture;
pub use exec::{CommandSpec, End, ExecError, Outcome, Running};
pub use files::HostFile;
pub use init::{INIT_SUBCOMMAND, init_main};
use instance::lock;
pub use instance::{Instance, InstanceError, InstanceOptions, InstanceSpec, InterfaceSpec, LinkLocal, OpenError};
pub use keeper::{KEEPER_SUBCOMMAND, Keeper, KeeperError, Kept, hold};
pub use namespace::{Namespace, NamespaceError};
use rustix::process::{Resource, getrlimit, setrlimit};

/// How many instances are created in parallel. The kernel mostly serializes the creation of namespaces; more threads
/// are no faster.
const MADE_AT_ONCE: usize = 8;

/// How many devices are closed in parallel. Closing waits for an RCU grace period, which all closers share: 1000 TAPs
/// took 8.7 s with 4 threads, 4.0 s with 8, 1.1 s with 32, on two cores.
const CLOSED_AT_ONCE: usize = 64;

/// Instances by name. Dropping it removes all of them.
#[derive(Debug, Default)]
pub struct Lab {
    options: InstanceOptions,
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
}

impl Lab {
    /// An empty lab.
    pub fn new(options: InstanceOptions) -> Self {
        Self {
            options,
            instances: Mutex::default(),
        }
    }

    /// Creates many instances. `open` is called in the namespace of each, in no particular order; the results are in
    /// the order of `specs`. Either all are created or none.
    pub fn create_all<T, E>(
        &self,
        specs: &[InstanceSpec],
        open: impl Fn(&InstanceSpec) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, InstanceError>
    where
        T: Send,
        E: Into<OpenError>,
    {
        raise_descriptor_limit(lock(&self.instances).len() + specs.len());
        let made = in_parallel(MADE_AT_ONCE, specs.iter().collect(), |spec| {
            Instance::create(spec, &self.options, || open(spec))
        });
        let mut good = Vec::with_capacity(made.len());
        let mut first_error = None;
        for result in made {
            match result {
                Ok(instance_and_device) => good.push(instance_and_device),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if first_error.is_none() {
            match self.adopt_all(good) {
                Ok(devices) => return Ok(devices),
                Err((error, rejected)) => (first_error, good) = (Some(error), rejected),
            }
        }
        drop_in_parallel(good);
        Err(first_error.unwrap_or_else(|| unreachable!("both ways here have set an error")))
    }

    /// Adds all of them, or returns all if a name is taken.
    #[allow(clippy::type_complexity)]
    fn adopt_all<T>(&self, made: Vec<(Instance, T)>) -> Result<Vec<T>, (InstanceError, Vec<(Instance, T)>)> {
        let mut instances = lock(&self.instances);
        let mut names = std::collections::BTreeSet::new();
        let taken = made.iter().map(|(instance, _)| instance.name());
        let taken = taken
            .into_iter()
            .find(|&name| instances.contains_key(name) || !names.insert(name));
        if let Some(name) = taken {
            return Err((InstanceError::Exists(name.to_owned()), made));
        }
        let mut adopt = |(instance, device): (Instance, T)| {
            instances.insert(instance.name().to_owned(), Arc::new(instance));
            device
        };
        Ok(made.into_iter().map(&mut adopt).collect())
    }

    /// Goes on with an instance that a keeper holds. False if the keeper does not hold it, or it is here already.
    pub fn adopt(&self, spec: &InstanceSpec, entries: &[(String, String)]) -> Result<bool, InstanceError> {
        raise_descriptor_limit(lock(&self.instances).len() + 1);
        let Some(instance) = Instance::adopt(spec, &self.options, entries)? else {
            return Ok(false);
        };
        match self.adopt_all(vec![(instance, ())]) {
            Ok(_) => Ok(true),
            Err((error, _)) => Err(error),
        }
    }

    /// What holds the instances when this process is killed.
    pub fn keeper(&self) -> Option<&Keeper> {
        self.options.keeper.as_ref()
    }

    /// The instance of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Instance>> {
        lock(&self.instances).get(name).cloned()
    }

    /// All instances, by name.
    pub fn all(&self) -> Vec<Arc<Instance>> {
        lock(&self.instances).values().cloned().collect()
    }

    /// Removes an instance; it ends when no other reference is left.
    pub fn remove(&self, name: &str) -> Option<Arc<Instance>> {
        lock(&self.instances).remove(name)
    }

    /// Removes all instances. The devices are the caller's: close them with [`drop_in_parallel`].
    pub fn clear(&self) {
        let instances = std::mem::take(&mut *lock(&self.instances));
        drop_in_parallel(instances.into_values().collect());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A namespace, a TAP, and with a command process 1's socket and descriptor, and the pipes of one command.
const DESCRIPTORS_EACH: u64 = 7;

/// Descriptors of the process without its instances.
const DESCRIPTORS_FOR_ALL: u64 = 256;

/// The usual soft limit of 1024 open files is reached at 150 instances. Commands inherit the limit, and some daemons
/// close every number up to it when they start, so it is raised as needed and not to the hard limit.
fn raise_descriptor_limit(instances: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = (instances as u64 * DESCRIPTORS_EACH + DESCRIPTORS_FOR_ALL).next_power_of_two();
    let possible = limit.maximum.map_or(needed, |maximum| needed.min(maximum));
    if limit.current.is_some_and(|current| current < possible) {
        limit.current = Some(possible);
        // Where the limit may not be raised, the first instance beyond it fails with "Too many open files".
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Drops many values in parallel. Closing a TAP waits some 20 ms for the kernel, however many are closed at once.
pub fn drop_in_parallel<T: Send>(things: Vec<T>) {
    in_parallel(CLOSED_AT_ONCE, things, forking::close);
}

/// Results are in the order of the jobs.
fn in_parallel<J: Send, R: Send>(at_once: usize, jobs: Vec<J>, work: impl Fn(J) -> R + Sync) -> Vec<R> {
    let count = jobs.len();
    if count <= 1 {
        return jobs.into_iter().map(work).collect();
    }
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let results = Mutex::new(std::iter::repeat_with(|| None).take(count).collect::<Vec<Option<R>>>());
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).next();
                    let Some((place, job)) = next else { break };
                    let result = work(job);
                    lock(&results)[place] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Every job was taken by a thread, and a thread that panics makes the scope panic.
    results.into_iter().flatten().collect()
}
