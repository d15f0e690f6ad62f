//! Describes an instance before it is created: its interface, its files, and the settings of all instances of a lab.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};

use super::JUMBO_MTU;
use crate::lab::api::{ApiAccess, ApiDoor};
use crate::lab::files::HostFile;
use crate::lab::keeper::Keeper;
use crate::lab::link::Route;
use crate::wire::MacAddr;

/// How an interface generates its link-local address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkLocal {
    /// From the MAC address (RFC 4291 appendix A). The only kind that an AWS VPC resolves.
    #[default]
    Eui64,
    /// From a secret (RFC 7217) that is derived from the MAC address, so that every run gives the same address.
    StablePrivacy,
    /// No link-local address.
    None,
}

/// An interface of an instance with its initial configuration.
#[derive(Clone, Debug)]
pub struct InterfaceSpec {
    /// The name inside the instance.
    pub name: String,
    /// The link-layer address.
    pub mac: MacAddr,
    /// MTU: the largest IP packet in octets.
    pub mtu: u32,
    /// Length of the transmit queue; `None` keeps the kernel's 1000.
    pub tx_queue_len: Option<u32>,
    /// Addresses as cloud-init would configure them: IPv4 with the subnet's prefix length, IPv6 as /128.
    pub addresses: Vec<IpNet>,
    /// Routes in addition to those from addresses and router advertisements.
    pub routes: Vec<Route>,
    /// Whether the kernel accepts router advertisements.
    pub accept_ra: bool,
    /// How the link-local address is generated.
    pub link_local: LinkLocal,
    /// Duplicate address detection for IPv6 addresses, the link-local one included (RFC 4862 section 5.4). It takes 1
    /// to 2 s, during which they cannot be used; without it they are usable within milliseconds.
    pub dad: bool,
    /// Whether the link is up from the start; one attached to a running machine is down until the host sets it up.
    pub up: bool,
}

impl InterfaceSpec {
    /// An interface that is up and has only its link-local address: a machine before DHCP.
    pub fn new(name: impl Into<String>, mac: MacAddr) -> Self {
        Self {
            name: name.into(),
            mac,
            mtu: JUMBO_MTU,
            tx_queue_len: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            accept_ra: true,
            link_local: LinkLocal::default(),
            dad: true,
            up: true,
        }
    }

    /// Adds an IPv4 address and, with a gateway, the default route.
    #[must_use]
    pub fn with_ipv4(mut self, net: Ipv4Net, gateway: Option<Ipv4Addr>) -> Self {
        self.addresses.push(net.into());
        self.routes
            .extend(gateway.map(|gateway| Route::default_via(gateway.into())));
        self
    }

    /// Adds an IPv6 address as DHCPv6 does: as a /128, without an on-link prefix.
    #[must_use]
    pub fn with_ipv6(mut self, address: Ipv6Addr) -> Self {
        self.addresses.push(IpNet::from(IpAddr::from(address)));
        self
    }
}

/// An instance.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// Its name in the lab, and its host name.
    pub name: String,
    /// Its first interface.
    pub interface: InterfaceSpec,
    /// What its programs may do through the API, where the lab serves one.
    pub api: ApiAccess,
    /// Files that it has from its first process on.
    pub files: Vec<HostFile>,
    /// Variables of its commands, in addition to those of all instances.
    pub environment: BTreeMap<String, String>,
}

impl InstanceSpec {
    /// An instance with an unconfigured `eth0`.
    pub fn new(name: impl Into<String>, mac: MacAddr) -> Self {
        Self {
            name: name.into(),
            interface: InterfaceSpec::new("eth0", mac),
            api: ApiAccess::default(),
            files: Vec::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// Settings of all instances of a lab.
#[derive(Clone, Debug)]
pub struct InstanceOptions {
    /// The program that becomes process 1 of an instance: one that passes its arguments to [`crate::lab::init_main`] when
    /// the first is [`crate::lab::INIT_SUBCOMMAND`]. By default the running program itself.
    pub init_program: PathBuf,
    /// Environment variables of every command, such as the address of the API.
    pub environment: BTreeMap<String, String>,
    /// Serves the API to their programs.
    pub door: ApiDoor,
    /// What holds them when this process is killed; without one they end with it.
    pub keeper: Option<Keeper>,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        Self {
            init_program: PathBuf::from("/proc/self/exe"),
            environment: BTreeMap::new(),
            door: ApiDoor::default(),
            keeper: None,
        }
    }
}
