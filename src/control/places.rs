//! Where network interfaces are in instances that have more than one. The primary one of each has device index 0 and needs
//! no entry: its identifier is known by the instance's.

use std::collections::{BTreeMap, HashMap};

use super::controller::Controller;
use crate::model::{HostPlace, InstanceId, InterfaceId};

/// The interfaces that instances have beside their primary ones, by device index.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<InstanceId, BTreeMap<u32, InterfaceId>>);

impl Places {
    /// An interface got a place, or none that an instance of the lab has.
    pub(super) fn take(&mut self, place: Option<HostPlace>, interface: InterfaceId) {
        if let Some(place) = place.filter(|place| place.device_index > 0) {
            let further = self.0.entry(place.instance_id).or_default();
            further.insert(place.device_index, interface);
        }
    }

    /// It lost the place again.
    pub(super) fn leave(&mut self, place: Option<HostPlace>) {
        let Some(place) = place.filter(|place| place.device_index > 0) else {
            return;
        };
        if let Some(further) = self.0.get_mut(&place.instance_id) {
            further.remove(&place.device_index);
            if further.is_empty() {
                self.0.remove(&place.instance_id);
            }
        }
    }

    /// Those of one instance.
    pub(super) fn beside_primary(&self, instance: InstanceId) -> impl Iterator<Item = (u32, InterfaceId)> {
        let further = self.0.get(&instance);
        further.into_iter().flatten().map(|(index, id)| (*index, *id))
    }
}

impl Controller {
    /// The interfaces that an instance has beside its primary one, by device index.
    pub fn further_interfaces(&self, instance: InstanceId) -> BTreeMap<u32, InterfaceId> {
        self.read().places.beside_primary(instance).collect()
    }
}
