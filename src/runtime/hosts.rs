//! Applies faults of whole instances in the lab: freezes them, and switches them off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use super::{HostSpec, lock};
use crate::control::{HostState, Hosts};
use crate::lab::{Instance, Lab};
use crate::model::InterfaceId;

/// The hosts of a runtime, for its Controller. Held weakly.
pub(super) struct LabHosts {
    lab: Weak<Lab>,
    hosts: Arc<Mutex<BTreeMap<String, HostSpec>>>,
}

impl LabHosts {
    pub(super) fn new(lab: &Arc<Lab>, hosts: &Arc<Mutex<BTreeMap<String, HostSpec>>>) -> Self {
        Self {
            lab: Arc::downgrade(lab),
            hosts: Arc::clone(hosts),
        }
    }

    fn find(&self, primary: InterfaceId) -> Option<Arc<Instance>> {
        let name = lock(&self.hosts)
            .iter()
            .find(|(_, host)| host.interface_id() == Some(primary))
            .map(|(name, _)| name.clone())?;
        self.lab.upgrade()?.get(&name)
    }
}

impl Hosts for LabHosts {
    fn bring(&self, primary: InterfaceId, from: HostState, to: HostState) -> Result<(), String> {
        // An instance that was removed meanwhile needs nothing.
        let Some(instance) = self.find(primary) else {
            return Ok(());
        };
        if from == HostState::Crashed {
            instance.switch_on();
        }
        let done = match to {
            HostState::Running => instance.thaw(),
            HostState::Frozen => instance.freeze(),
            HostState::Crashed => {
                instance.switch_off();
                Ok(())
            }
        };
        done.map_err(|error| error.to_string())
    }
}
