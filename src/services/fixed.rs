//! Implements `Source` with fixed data, for tests and for embedding without a control plane.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::dns::{Holder, HostAddresses, NameSource, Zone};
use super::imds::document::{Instance, Interface, MetadataOptions, MetadataSource, PublicKey};
use super::ntp::TimeSource;
use crate::datapath::faults::MetadataFault;
use crate::mapping::InterfaceIndex;
use crate::model::duration::since_epoch;
use crate::wire::MacAddr;

/// The data.
#[derive(Debug, Default)]
pub struct Facts {
    /// The instance of each interface.
    pub instances: HashMap<InterfaceIndex, Arc<Instance>>,
    /// The zone of each interface's VPC.
    pub zones: HashMap<InterfaceIndex, Zone>,
    /// The owner of each address. There is one VPC.
    pub holders: HashMap<IpAddr, Holder>,
    /// Addresses behind resource names.
    pub resource_names: HashMap<String, HostAddresses>,
    /// The skew of the time served to an interface, in nanoseconds; positive is ahead.
    pub skews: HashMap<InterfaceIndex, i64>,
    /// The metadata fault of an interface.
    pub metadata_faults: HashMap<InterfaceIndex, MetadataFault>,
}

/// A source whose data can be changed.
#[derive(Debug, Default)]
pub struct FixedSource(Mutex<Facts>);

impl FixedSource {
    /// A source with these data.
    pub fn new(facts: Facts) -> Self {
        Self(Mutex::new(facts))
    }

    /// The data, to read or to change.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        // A panic while changing the data leaves valid data.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl MetadataSource for FixedSource {
    fn instance(&self, interface: InterfaceIndex) -> Option<Arc<Instance>> {
        self.facts().instances.get(&interface).cloned()
    }

    fn fault(&self, interface: InterfaceIndex, _path: &[&str]) -> Option<MetadataFault> {
        self.facts().metadata_faults.get(&interface).copied()
    }
}

impl NameSource for FixedSource {
    fn zone(&self, asker: InterfaceIndex) -> Option<Zone> {
        self.facts().zones.get(&asker).cloned()
    }

    fn holder(&self, _: InterfaceIndex, address: IpAddr) -> Option<Holder> {
        self.facts().holders.get(&address).cloned()
    }

    fn instance_addresses(&self, _: InterfaceIndex, instance_id: &str) -> Option<HostAddresses> {
        self.facts().resource_names.get(instance_id).cloned()
    }
}

impl TimeSource for FixedSource {
    fn skew(&self, asker: InterfaceIndex) -> i64 {
        self.facts().skews.get(&asker).copied().unwrap_or(0)
    }
}

/// An instance with one interface at `address` in 10.0.1.0/24 of the VPC 10.0.0.0/16, named after its address.
pub fn sample_instance(address: Ipv4Addr, mac: MacAddr) -> Instance {
    let [_, _, _, last] = address.octets();
    let host = address.to_string().replace('.', "-");
    let interface = Interface {
        mac,
        interface_id: format!("eni-0{last:016x}"),
        device_number: 0,
        network_card: None,
        local_ipv4s: vec![address],
        ipv6s: Vec::new(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        public_ipv4s: Vec::new(),
        subnet_id: "subnet-00000000000000001".to_owned(),
        subnet_ipv4: "10.0.1.0/24".parse().ok(),
        subnet_ipv6: Vec::new(),
        vpc_id: "vpc-00000000000000001".to_owned(),
        vpc_ipv4: "10.0.0.0/16".parse().into_iter().collect(),
        vpc_ipv6: Vec::new(),
        security_groups: vec![("sg-00000000000000001".to_owned(), "default".to_owned())],
        owner_id: "123456789012".to_owned(),
        local_hostname: Some(format!("ip-{host}.eu-central-1.compute.internal")),
        public_hostname: None,
    };
    Instance {
        instance_id: format!("i-0{last:016x}"),
        reservation_id: "r-00000000000000001".to_owned(),
        ami_id: "ami-00000000000000001".to_owned(),
        ami_launch_index: 0,
        instance_type: "t3.micro".to_owned(),
        architecture: "x86_64".to_owned(),
        account_id: "123456789012".to_owned(),
        region: "eu-central-1".to_owned(),
        availability_zone: "eu-central-1a".to_owned(),
        availability_zone_id: Some("euc1-az2".to_owned()),
        partition: "aws".to_owned(),
        service_domain: "amazonaws.com".to_owned(),
        launched: since_epoch(Duration::from_secs(1_795_340_495)),
        block_devices: vec![
            ("ami".to_owned(), "/dev/xvda".to_owned()),
            ("root".to_owned(), "/dev/xvda".to_owned()),
        ],
        public_keys: vec![PublicKey {
            name: "lab".to_owned(),
            openssh: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLE lab".to_owned(),
        }],
        role: None,
        tags: vec![("Name".to_owned(), host)],
        user_data: None,
        interfaces: vec![interface],
        options: MetadataOptions::default(),
    }
}
