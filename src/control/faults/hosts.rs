//! Faults of whole instances: what somebody who has hosts is asked to do with them. The Controller knows which instances a
//! fault means, and never touches a process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::scope;
use crate::control::controller::{Controller, State};
use crate::model::InstanceId;
use crate::model::fault::FaultKind;

/// What faults make of an instance.
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

/// Whoever has the instances. It is called without any lock of the network, one call at a time.
pub trait Hosts: Send + Sync {
    /// Brings an instance from one state into another. The error is a sentence for the log.
    fn bring(&self, instance: InstanceId, from: HostState, to: HostState) -> Result<(), String>;
}

/// The hosts, and the state that each was brought into last; those that run are left out.
#[derive(Default)]
pub(in crate::control) struct SettledHosts {
    hosts: OnceLock<Arc<dyn Hosts>>,
    settled: Mutex<BTreeMap<InstanceId, HostState>>,
}

impl Controller {
    /// Says who has the instances, so that faults reach them. Once; later ones are not taken.
    pub fn set_hosts(&self, hosts: Arc<dyn Hosts>) -> bool {
        self.shared.hosts.hosts.set(hosts).is_ok()
    }

    /// What faults have made of an instance.
    pub fn host_state(&self, instance: InstanceId) -> HostState {
        let settled = self.shared.hosts.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(&instance).copied().unwrap_or_default()
    }

    /// Brings every instance into the state that the faults want it in now. Freezing and killing take some milliseconds, for
    /// which nobody who edits the network should wait; the newest state is read when it is one's turn.
    pub(super) fn settle_hosts(&self) {
        let Some(hosts) = self.shared.hosts.hosts.get() else {
            return;
        };
        let mut settled = self.shared.hosts.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = wanted(&self.read());
        if *settled == wanted {
            return;
        }
        let before = std::mem::replace(&mut *settled, wanted.clone());
        let state = |of: &BTreeMap<_, HostState>, instance| of.get(instance).copied().unwrap_or_default();
        let all: std::collections::BTreeSet<_> = before.keys().chain(wanted.keys()).collect();
        for instance in all {
            let (from, to) = (state(&before, instance), state(&wanted, instance));
            if from != to
                && let Err(reason) = hosts.bring(*instance, from, to)
            {
                tracing::warn!(%instance, ?to, reason, "a fault does not reach its instance");
            }
        }
    }
}

/// The state of every instance that does not simply run; the worst of several.
fn wanted(state: &State) -> BTreeMap<InstanceId, HostState> {
    let mut wanted = BTreeMap::new();
    for kind in state.faults.kinds() {
        let (scope, is) = match kind {
            FaultKind::InstanceFreeze(scope) => (scope, HostState::Frozen),
            FaultKind::InstanceCrash(scope) => (scope, HostState::Crashed),
            _ => continue,
        };
        for instance in scope::instances(&state.network, scope) {
            let entry = wanted.entry(instance).or_insert(is);
            *entry = is.max(*entry);
        }
    }
    wanted
}
