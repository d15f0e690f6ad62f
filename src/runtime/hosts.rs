//! Keeps the hosts of a lab: each is started on its primary interface, gets a device for every further one, and is switched off
//! and on. A host that is off is known still, so that it comes up again as it was made.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};

use ipnet::{IpNet, Ipv4Net};

use super::flows::resume_kept;
use super::kept::{adopt_ports, end_others, keep_port};
use super::trust::Trust;
use super::{HostSpec, RuntimeError, lock};
use crate::control::{ControlError, Controller, DevicePlace, HostState, Hosts, OpenedDevice};
use crate::lab::link::Route;
use crate::lab::{ApiAccess, Instance as Host, InstanceSpec, InterfaceSpec, Lab};
use crate::model::instance::life::InstanceState;
use crate::model::interface::{AttachmentState, DetachInterface};
use crate::model::subnet::plan;
use crate::model::{Attachment, Instance, InstanceId, InterfaceId, NetworkInterface, ResourceRef};
use crate::services::Authority;
use crate::switch::Switch;
use crate::switch::port::{PortDevice, TapOptions, TapPort};

/// Where the store keeps hosts.
const HOSTS: &str = "hosts";

/// The hosts of a runtime, for its Controller. Held weakly.
pub(super) struct LabHosts {
    lab: Weak<Lab>,
    /// Each host as it was made, with its primary interface by identifier.
    hosts: Mutex<BTreeMap<String, HostSpec>>,
    /// Held while hosts and devices in them are made or taken away.
    pub(super) placing: Mutex<()>,
    offload: bool,
    authority: Authority,
}

impl LabHosts {
    pub(super) fn new(lab: &Arc<Lab>, offload: bool, authority: Authority) -> Self {
        Self {
            lab: Arc::downgrade(lab),
            hosts: Mutex::default(),
            placing: Mutex::default(),
            offload,
            authority,
        }
    }

    /// All hosts, running or not.
    pub(super) fn all(&self) -> Vec<HostSpec> {
        lock(&self.hosts).values().cloned().collect()
    }

    /// The primary interface of a host.
    pub(super) fn interface_of(&self, host: &str) -> Option<InterfaceId> {
        lock(&self.hosts).get(host)?.interface_id()
    }

    /// The host with a primary interface, as it was made.
    fn spec(&self, primary: InterfaceId) -> Option<HostSpec> {
        let hosts = lock(&self.hosts);
        hosts
            .values()
            .find(|host| host.interface_id() == Some(primary))
            .cloned()
    }

    /// The host with a primary interface, while it runs.
    fn running(&self, primary: InterfaceId) -> Option<Arc<Host>> {
        let name = self.spec(primary)?.name;
        self.lab.upgrade()?.get(&name)
    }

    /// Makes hosts on interfaces that exist; all of them or none.
    pub(super) fn create(&self, controller: &Controller, hosts: &[HostSpec]) -> Result<(), RuntimeError> {
        let _one_at_a_time = lock(&self.placing);
        self.create_now(controller, hosts)
    }

    fn create_now(&self, controller: &Controller, hosts: &[HostSpec]) -> Result<(), RuntimeError> {
        // A runtime that ends makes no hosts.
        let Some(lab) = self.lab.upgrade() else { return Ok(()) };
        let mut specs = Vec::with_capacity(hosts.len());
        let mut interfaces = Vec::with_capacity(hosts.len());
        for host in hosts {
            let interface = controller.interface(&host.interface)?;
            specs.push(instance_spec(controller, host, &interface, &self.authority)?);
            interfaces.push(interface.id);
        }
        let devices = lab.create_all(&specs, |spec| {
            let mtu = u16::try_from(spec.interface.mtu).unwrap_or(u16::MAX);
            TapPort::open(&spec.interface.name, self.tap_options(mtu))
        })?;
        // Before they have a port: from then on a fault may mean them.
        let started = hosts.iter().zip(&interfaces).map(|(host, interface)| {
            let host = HostSpec {
                interface: (*interface).into(),
                ..host.clone()
            };
            (host.name.clone(), host)
        });
        lock(&self.hosts).extend(started);
        let devices = match keep_all(&lab, devices, &interfaces) {
            Ok(devices) => devices,
            Err(error) => {
                self.discard(&lab, hosts);
                return Err(error);
            }
        };
        let mut attached = Vec::with_capacity(hosts.len());
        for (device, interface) in devices.into_iter().zip(interfaces) {
            let device = OpenedDevice::from(PortDevice::Tap(device));
            let attach = controller.attach(&interface.into(), device, DevicePlace::HostPrimary);
            if let Err(error) = attach {
                for interface in attached {
                    // What was attached a moment ago can be detached, or is gone already.
                    let _ = controller.execute(DetachInterface(ResourceRef::Id(interface)));
                }
                self.discard(&lab, hosts);
                return Err(error.into());
            }
            attached.push(interface);
        }
        for host in hosts {
            self.keep(controller, &host.name);
        }
        Ok(())
    }

    /// Takes hosts away that could not be attached.
    fn discard(&self, lab: &Lab, hosts: &[HostSpec]) {
        for host in hosts {
            lock(&self.hosts).remove(&host.name);
            drop(lab.remove(&host.name));
        }
    }

    /// Writes a host down, or that it is gone. One that cannot be written down runs all the same.
    fn keep(&self, controller: &Controller, name: &str) {
        let store = controller.store();
        if !store.lasts() {
            return;
        }
        let host = lock(&self.hosts).get(name).cloned();
        let text = host.map(|host| serde_json::to_string(&host).unwrap_or_default());
        if let Err(error) = store.shelve(HOSTS, name, text.as_deref()) {
            tracing::warn!(%error, host = name, "the next start does not know what became of this host");
        }
    }

    /// Makes the hosts again that an earlier start has written down. One that was stopped stays so.
    pub(super) fn restore(&self, controller: &Controller, switch: &Switch) -> Result<(), RuntimeError> {
        let kept = controller.store().shelved(HOSTS)?;
        let mut running = Vec::new();
        for (_, text) in &kept {
            let Ok(host) = serde_json::from_str::<HostSpec>(text) else {
                continue;
            };
            // An interface that was deleted takes its host with it.
            let Ok(interface) = controller.interface(&host.interface) else {
                continue;
            };
            let instance = controller
                .instance_of(interface.id)
                .map(|id| controller.instance(&id.into()));
            match instance {
                Some(Ok(instance)) if instance.state != InstanceState::Running => {
                    lock(&self.hosts).insert(host.name.clone(), host);
                }
                _ => running.push((host, interface.id)),
            }
        }
        let adopted = self.adopt((controller, switch), &running)?;
        let others = running.iter().filter(|(host, _)| !adopted.contains(&host.name));
        let hosts: Vec<HostSpec> = others.map(|(host, _)| host.clone()).collect();
        self.create(controller, &hosts)?;
        for (_, primary) in running {
            if let Some(instance) = controller.instance_of(primary) {
                let _one_at_a_time = lock(&self.placing);
                self.plug_further(controller, instance)?;
            }
        }
        Ok(())
    }

    /// Goes on with the hosts and devices that a keeper holds, and ends what it holds for others. Returns the names of the hosts.
    fn adopt(
        &self,
        (controller, switch): (&Controller, &Switch),
        known: &[(HostSpec, InterfaceId)],
    ) -> Result<HashSet<String>, RuntimeError> {
        let mut adopted = HashSet::new();
        let Some(lab) = self.lab.upgrade() else {
            return Ok(adopted);
        };
        let Some(keeper) = lab.keeper() else { return Ok(adopted) };
        let _one_at_a_time = lock(&self.placing);
        let entries = keeper.entries().map_err(RuntimeError::Keeper)?;
        for (host, interface) in known {
            let interface = controller.interface(&(*interface).into())?;
            let spec = instance_spec(controller, host, &interface, &self.authority)?;
            if lab.adopt(&spec, &entries)? {
                // A fault that had stopped it ended with the server.
                if let Some(running) = lab.get(&host.name) {
                    running.thaw()?;
                }
                lock(&self.hosts).insert(host.name.clone(), host.clone());
                adopted.insert(host.name.clone());
            }
        }
        adopt_ports(controller, keeper, &entries, self.offload)?;
        if let Err(error) = resume_kept(controller, switch, keeper, &entries) {
            tracing::warn!(%error, "connections that were tracked are tracked anew");
        }
        end_others(controller, keeper, &entries, &adopted);
        Ok(adopted)
    }

    /// Gives a host that was made the devices of its further interfaces.
    fn plug_further(&self, controller: &Controller, instance: InstanceId) -> Result<(), RuntimeError> {
        let further = controller
            .attached(instance)
            .into_iter()
            .filter(|(index, _)| *index > 0);
        for (_, id) in further {
            let interface = controller.interface(&id.into())?;
            // One that is being attached gets its device when that is due.
            let there = |place: &Attachment| place.state != AttachmentState::Attaching;
            if let Some(place) = interface.attachment.filter(there) {
                self.plug_now(controller, &interface, place)?;
            }
        }
        Ok(())
    }

    /// Takes a host away; its interfaces stay, detached. Whether there was one.
    pub(super) fn remove(&self, controller: &Controller, name: &str) -> Result<bool, RuntimeError> {
        let Some(host) = lock(&self.hosts).remove(name) else {
            return Ok(false);
        };
        self.keep(controller, name);
        if let Some(running) = self.lab.upgrade().and_then(|lab| lab.remove(name)) {
            // Its processes end before its cable is pulled, as when a machine is switched off.
            running.crash();
        }
        let instance = host
            .interface_id()
            .and_then(|interface| controller.instance_of(interface));
        let attached = instance.map(|instance| controller.attached(instance));
        for interface in attached.unwrap_or_default().into_values() {
            match controller.execute(DetachInterface(interface.into())) {
                // The port may have been detached by hand before.
                Ok(_) | Err(ControlError::Model(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn tap_options(&self, mtu: u16) -> TapOptions {
        TapOptions {
            offload: self.offload,
            mtu,
            ..TapOptions::default()
        }
    }

    /// Opens the device of a further interface in a host: down, with the interface's MAC address, called `ethN`.
    pub(super) fn open_in(
        &self,
        controller: &Controller,
        host: &Host,
        interface: &NetworkInterface,
        index: u32,
    ) -> Result<OpenedDevice, RuntimeError> {
        let profile = controller.vpc(&interface.vpc_id.into())?.profile;
        let mtu = interface.settings.mtu.unwrap_or(profile.mtu);
        let spec = InterfaceSpec {
            mtu: mtu.into(),
            up: false,
            ..InterfaceSpec::new(format!("eth{index}"), interface.mac_address)
        };
        let tap = host.attach(&spec, || TapPort::open(&spec.name, self.tap_options(mtu)))?;
        let keeper = self.lab.upgrade().and_then(|lab| lab.keeper().cloned());
        let tap = match keeper {
            Some(keeper) => {
                let kept = keep_port(&keeper, interface.id, &tap, true).map_err(RuntimeError::Keeper)?;
                tap.kept_by(kept)
            }
            None => tap,
        };
        Ok(OpenedDevice::from(PortDevice::Tap(tap)))
    }

    /// The name of a new host: its instance's own, where that can be one and is free, else the identifier.
    fn name_for(&self, controller: &Controller, instance: &Instance) -> String {
        let tagged = instance.name.as_ref().or_else(|| instance.tags.get("Name"));
        let fits = |name: &&String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
        };
        let free = |name: &&String| {
            !lock(&self.hosts).contains_key(*name) && controller.interface(&ResourceRef::new(name)).is_err()
        };
        let name = tagged.filter(fits).filter(free);
        name.cloned().unwrap_or_else(|| instance.id.to_string())
    }

    fn boot_now(&self, controller: &Controller, instance: &Instance) -> Result<(), RuntimeError> {
        let _one_at_a_time = lock(&self.placing);
        let primary = instance.primary_interface_id;
        if self.running(primary).is_some() {
            return Ok(());
        }
        let spec = self.spec(primary);
        let spec = spec.unwrap_or_else(|| HostSpec::new(self.name_for(controller, instance), primary));
        self.create_now(controller, std::slice::from_ref(&spec))?;
        let further = controller
            .attached(instance.id)
            .into_iter()
            .filter(|(index, _)| *index > 0);
        for (_, id) in further {
            let interface = controller.interface(&id.into())?;
            if let Some(place) = interface.attachment {
                self.plug_now(controller, &interface, place)?;
            }
        }
        Ok(())
    }

    fn plug_now(
        &self,
        controller: &Controller,
        interface: &NetworkInterface,
        place: Attachment,
    ) -> Result<(), RuntimeError> {
        let instance = controller.instance(&place.instance_id.into())?;
        let Some(host) = self.running(instance.primary_interface_id) else {
            return Ok(());
        };
        if controller.port_of(interface.id).is_some() {
            return Ok(());
        }
        let device = self.open_in(controller, &host, interface, place.device_index)?;
        controller.attach(&interface.id.into(), device, DevicePlace::HostFurther(place))?;
        Ok(())
    }
}

impl Hosts for LabHosts {
    fn bring(&self, primary: InterfaceId, from: HostState, to: HostState) -> Result<(), String> {
        // One that was taken away meanwhile needs nothing.
        let Some(host) = self.running(primary) else {
            return Ok(());
        };
        if from == HostState::Crashed {
            host.switch_on();
        }
        let done = match to {
            HostState::Running => host.thaw(),
            HostState::Frozen => host.freeze(),
            HostState::Crashed => {
                host.switch_off();
                Ok(())
            }
        };
        done.map_err(|error| error.to_string())
    }

    fn has(&self, primary: InterfaceId) -> bool {
        self.spec(primary).is_some()
    }

    fn boot(&self, controller: &Controller, instance: &Instance) -> Result<(), String> {
        self.boot_now(controller, instance).map_err(|error| error.to_string())
    }

    fn ask_to_end(&self, primary: InterfaceId) {
        if let Some(host) = self.running(primary)
            && let Err(error) = host.ask_to_end()
        {
            tracing::warn!(instance = host.name(), %error, "its programs are not asked to end");
        }
    }

    fn halt(&self, controller: &Controller, primary: InterfaceId) {
        let _one_at_a_time = lock(&self.placing);
        let name = self.spec(primary).map(|host| host.name);
        let running = name.zip(self.lab.upgrade()).and_then(|(name, lab)| lab.remove(&name));
        let Some(running) = running else { return };
        // Its processes end before its cable is pulled, as when a machine is switched off.
        running.crash();
        let instance = controller.instance_of(primary);
        let attached = instance
            .map(|instance| controller.attached(instance))
            .unwrap_or_default();
        for interface in attached.into_values() {
            controller.pull(interface, "its instance was switched off");
        }
    }

    fn forget(&self, controller: &Controller, primary: InterfaceId) {
        if let Some(host) = self.spec(primary) {
            lock(&self.hosts).remove(&host.name);
            self.keep(controller, &host.name);
        }
    }

    fn plug(&self, controller: &Controller, interface: &NetworkInterface, place: Attachment) -> Result<(), String> {
        let _one_at_a_time = lock(&self.placing);
        self.plug_now(controller, interface, place)
            .map_err(|error| error.to_string())
    }
}

/// Has the keeper hold the first devices of hosts, if there is one.
fn keep_all(lab: &Lab, devices: Vec<TapPort>, interfaces: &[InterfaceId]) -> Result<Vec<TapPort>, RuntimeError> {
    let Some(keeper) = lab.keeper() else { return Ok(devices) };
    let kept = devices.into_iter().zip(interfaces).map(|(device, interface)| {
        let kept = keep_port(keeper, *interface, &device, true)?;
        Ok(device.kept_by(kept))
    });
    kept.collect::<Result<_, std::io::Error>>()
        .map_err(RuntimeError::Keeper)
}

/// What the lab needs to know: addresses as DHCP would give them, the interface's MAC and its MTU.
fn instance_spec(
    controller: &Controller,
    host: &HostSpec,
    interface: &NetworkInterface,
    authority: &Authority,
) -> Result<InstanceSpec, RuntimeError> {
    let mut eth0 = InterfaceSpec::new("eth0", interface.mac_address);
    let profile = controller.vpc(&interface.vpc_id.into())?.profile;
    eth0.mtu = interface.settings.mtu.unwrap_or(profile.mtu).into();
    eth0.accept_ra = host.accept_ra;
    eth0.link_local = host.link_local;
    eth0.dad = host.dad;
    if host.configured {
        let subnet = controller.subnet(&interface.subnet_id.into())?;
        for (number, address) in interface.ipv4_addresses.iter().enumerate() {
            let block = subnet.cidr_block.unwrap_or(Ipv4Net::from(*address));
            let net = plan::on_link(*address, block, &profile);
            // The primary address comes with the default route.
            let gateway = (number == 0).then(|| plan::gateway(block, &profile));
            if let Some(gateway) = gateway.filter(|gateway| !net.contains(gateway)) {
                // A gateway outside the host's prefix needs an on-link route.
                eth0.routes.push(Route::on_link(Ipv4Net::from(gateway).into()));
            }
            eth0 = eth0.with_ipv4(net, gateway);
        }
        for address in &interface.ipv6_addresses {
            eth0.addresses.push(IpNet::from(IpAddr::from(*address)));
        }
    }
    let mut spec = InstanceSpec {
        interface: eth0,
        api: host.api,
        ..InstanceSpec::new(&host.name, interface.mac_address)
    };
    if host.api != ApiAccess::None && profile.router.service_addresses {
        let trust = Trust {
            region: &controller.region(),
            authority,
            ipv4: interface.primary_ipv4().is_some(),
            has_role: interface.metadata.iam_role.is_some(),
        };
        spec.files = trust.files();
        spec.environment = trust.environment();
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::control::ControllerConfig;
    use crate::model::Profile;
    use crate::model::interface::{AddressRequest, CreateInterface};
    use crate::model::subnet::CreateSubnet;
    use crate::model::vpc::CreateVpc;
    use crate::services::Root;

    /// The prefix of the only address of a host that is started with it, and its routes.
    fn configured(profile: Profile) -> (IpNet, Vec<Route>) {
        let controller = Controller::new(ControllerConfig::default());
        let vpc = CreateVpc {
            profile: Arc::new(profile),
            ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
        };
        let vpc = controller.execute(vpc).unwrap();
        let subnet = CreateSubnet {
            cidr_block: Some("10.0.1.0/24".parse().unwrap()),
            ..CreateSubnet::new(vpc.id)
        };
        let subnet = controller.execute(subnet).unwrap();
        let interface = CreateInterface {
            addresses: vec![AddressRequest::Exactly("10.0.1.10".parse().unwrap())],
            ..CreateInterface::new(subnet.id)
        };
        let interface = controller.execute(interface).unwrap();
        let host = HostSpec::new("host", interface.id);
        let authority = Authority::new(Root::generate().unwrap(), &[]).unwrap();
        let spec = instance_spec(&controller, &host, &interface, &authority)
            .unwrap()
            .interface;
        (spec.addresses[0], spec.routes)
    }

    #[test]
    fn a_configured_host_has_the_gateway_and_the_prefix_of_its_profile() {
        let outside = Ipv4Addr::new(172, 31, 1, 1);
        let own = Ipv4Addr::new(10, 0, 1, 1);
        let via = |gateway: Ipv4Addr| Route::default_via(gateway.into());
        let on_link = |gateway: Ipv4Addr| Route::on_link(Ipv4Net::from(gateway).into());
        for (length, gateway, address, routes) in [
            (None, None, "10.0.1.10/24", vec![via(own)]),
            (Some(32), None, "10.0.1.10/32", vec![on_link(own), via(own)]),
            (
                None,
                Some(outside),
                "10.0.1.10/24",
                vec![on_link(outside), via(outside)],
            ),
            (
                Some(32),
                Some(outside),
                "10.0.1.10/32",
                vec![on_link(outside), via(outside)],
            ),
        ] {
            let mut profile = Profile::aws();
            profile.host_prefix_length = length;
            profile.router.gateway = gateway;
            assert_eq!(
                configured(profile),
                (address.parse().unwrap(), routes),
                "{length:?} {gateway:?}"
            );
        }
    }
}
