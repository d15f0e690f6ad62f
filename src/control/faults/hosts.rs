//! Brings hosts into the state that faults of whole instances require. The Controller knows which instances a fault
//! covers; the owner of the hosts, a [`Hosts`], freezes and kills their processes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::scope;
use crate::control::controller::{Controller, State};
use crate::model::fault::FaultKind;
use crate::model::{Attachment, Instance, InterfaceId, NetworkInterface};

/// The state that faults require of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostState {
    /// It runs.
    #[default]
    Running,
    /// Its processes are stopped.
    Frozen,
    /// It has no power.
    Crashed,
}

/// The owner of the instances. It is called without any lock of the network, one call at a time.
pub trait Hosts: Send + Sync {
    /// Brings the host with this primary interface from one state into another. The error is a sentence for the log.
    fn bring(&self, primary: InterfaceId, from: HostState, to: HostState) -> Result<(), String>;

    /// Whether there is a host with this primary interface, running or not.
    fn has(&self, primary: InterfaceId) -> bool;

    /// Starts the host of an instance, with a device for each interface that is attached to it. The error is a sentence.
    fn boot(&self, controller: &Controller, instance: &Instance) -> Result<(), String>;

    /// Asks all programs of a host to end.
    fn ask_to_end(&self, primary: InterfaceId);

    /// Ends a host and all that it has. Its interfaces stay attached, and it can be started again.
    fn halt(&self, controller: &Controller, primary: InterfaceId);

    /// A host that was ended will not be started again.
    fn forget(&self, controller: &Controller, primary: InterfaceId);

    /// Gives a host that runs the device of an interface. One that does not run gets it when it is started. The error is a
    /// sentence.
    fn plug(&self, controller: &Controller, interface: &NetworkInterface, place: Attachment) -> Result<(), String>;
}

/// The hosts that do not run, with the state that each was last brought into.
#[derive(Default)]
pub(in crate::control) struct SettledHosts {
    hosts: OnceLock<Arc<dyn Hosts>>,
    settled: Mutex<BTreeMap<InterfaceId, HostState>>,
}

impl Controller {
    /// Sets the owner of the instances, so that faults reach them. The first call counts; `false` for later ones.
    pub fn set_hosts(&self, hosts: Arc<dyn Hosts>) -> bool {
        self.shared.hosts.hosts.set(hosts).is_ok()
    }

    /// What has the instances, if anything has.
    pub(in crate::control) fn hosts(&self) -> Option<Arc<dyn Hosts>> {
        self.shared.hosts.hosts.get().cloned()
    }

    /// A host was started anew: faults that act on it have not reached it yet.
    pub(in crate::control) fn host_booted(&self, primary: InterfaceId) {
        let settled = self.shared.hosts.settled.lock();
        settled.unwrap_or_else(PoisonError::into_inner).remove(&primary);
        self.settle_hosts();
    }

    /// Brings every instance into the state that the faults require now. Freezing and killing take some milliseconds,
    /// for which no edit of the network should wait; each call reads the newest state.
    pub(in crate::control) fn settle_hosts(&self) {
        let Some(hosts) = self.shared.hosts.hosts.get() else {
            return;
        };
        let mut settled = self.shared.hosts.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = wanted(&self.read());
        if *settled == wanted {
            return;
        }
        let before = std::mem::replace(&mut *settled, wanted.clone());
        let state = |of: &BTreeMap<_, HostState>, primary| of.get(primary).copied().unwrap_or_default();
        let all: std::collections::BTreeSet<_> = before.keys().chain(wanted.keys()).collect();
        for primary in all {
            let (from, to) = (state(&before, primary), state(&wanted, primary));
            if from != to
                && let Err(reason) = hosts.bring(*primary, from, to)
            {
                tracing::warn!(%primary, ?to, reason, "a fault does not reach its instance");
            }
        }
    }
}

impl State {
    /// The state that faults require of the host with this primary interface. It takes no lock.
    pub(in crate::control) fn host_state(&self, primary: InterfaceId) -> HostState {
        wanted(self).get(&primary).copied().unwrap_or_default()
    }
}

/// The state of every host that should not run, by its primary interface; of several states the worst.
fn wanted(state: &State) -> BTreeMap<InterfaceId, HostState> {
    let mut wanted = BTreeMap::new();
    for kind in state.faults.kinds() {
        let (scope, is) = match kind {
            FaultKind::InstanceFreeze(scope) => (scope, HostState::Frozen),
            FaultKind::InstanceCrash(scope) => (scope, HostState::Crashed),
            _ => continue,
        };
        let instances = scope::instances(state, scope);
        let instances = instances
            .iter()
            .filter_map(|id| state.network.instance(&(*id).into()).ok());
        for instance in instances {
            let entry = wanted.entry(instance.primary_interface_id).or_insert(is);
            *entry = is.max(*entry);
        }
    }
    wanted
}
