//! Opens one device in the machine's own network namespace, through which its programs reach the Elastic IP addresses of the
//! network.
//!
//! The device is the port of an interface of the outside. The machine gets routes to the ranges of Elastic IP addresses and
//! to nothing else. The switch takes from the port packets with its own address as their source alone, and gives it packets
//! for that address alone; so whatever the machine forwards, nothing crosses between the network and its other networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{Runtime, RuntimeError};
use crate::confine::rootless;
use crate::control::{ControlError, Controller, DevicePlace, OpenedDevice};
use crate::lab::link::{LinkChange, LinkError, Netlink, Route};
use crate::model::interface::{CreateInterface, DeleteInterface, DetachInterface};
use crate::model::subnet::plan;
use crate::model::{InterfaceId, NetworkInterface, elastic_ip, outside};
use crate::switch::port::{PortDevice, PortError, TapOptions, TapPort};

/// The tag of the interface of such a device.
pub(crate) const TAG: &str = "localvpc:outside-link";

/// The metric of the routes: any other route of the machine to the same destination has priority.
const METRIC: u32 = 30_000;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum OutsideLinkError {
    /// A device of this name exists.
    #[error("there is a device {name} already; give --outside-link another name")]
    Exists {
        /// The name.
        name: String,
    },
    /// A server without root's rights.
    #[error("--outside-link needs root: the machine's own network namespace takes no device of another user")]
    Rootless,
    /// The device cannot be opened.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It cannot be configured.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A setting of it cannot be written.
    #[error("cannot write {path}: {source}")]
    Setting {
        /// The file.
        path: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The network refuses its interface.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The outside has no address for it.
    #[error("the outside has no free IPv4 address")]
    NoAddress,
}

/// A device of the machine at the outside. It is gone when this is dropped.
pub struct OutsideLink {
    controller: Controller,
    interface: InterfaceId,
    /// The address that the machine's programs have at the outside.
    pub address: Ipv4Addr,
}

/// Whether an interface is that of such a device.
pub(crate) fn is_link(interface: &NetworkInterface) -> bool {
    interface.vpc_id == outside::VPC && interface.tags.contains_key(TAG)
}

impl OutsideLink {
    /// Opens the device, up and with its routes.
    pub fn open(runtime: &Runtime, name: &str) -> Result<Self, OutsideLinkError> {
        if rootless::outside().is_some() {
            return Err(OutsideLinkError::Rootless);
        }
        let netlink = Netlink::open()?;
        if netlink.index(name).is_ok() {
            let name = name.to_owned();
            return Err(OutsideLinkError::Exists { name });
        }
        let controller = runtime.controller().clone();
        let mtu = controller.vpc(&outside::VPC.into())?.profile.mtu;
        let options = TapOptions {
            mtu,
            ..TapOptions::default()
        };
        // First what may fail: nothing is declared for a device that cannot be had.
        let tap = TapPort::open(name, options)?;
        let made = controller.execute(CreateInterface {
            name: Some(name.to_owned()),
            description: format!("The machine's device {name}"),
            tags: [(TAG.to_owned(), name.to_owned())].into(),
            ..CreateInterface::new(outside::SUBNET)
        })?;
        let address = made.ipv4_addresses.first().copied();
        let link = Self {
            controller,
            interface: made.id,
            address: address.ok_or(OutsideLinkError::NoAddress)?,
        };
        link.configure(netlink, name, &made, mtu)?;
        let device = OpenedDevice::from(PortDevice::Tap(tap));
        link.controller.attach(&made.id.into(), device, DevicePlace::Outside)?;
        Ok(link)
    }

    fn configure(
        &self,
        mut netlink: Netlink,
        name: &str,
        interface: &NetworkInterface,
        mtu: u16,
    ) -> Result<(), OutsideLinkError> {
        // Router Advertisements of the outside must not give the machine another default route.
        set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        set(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"), "0")?;
        let change = LinkChange {
            mac: Some(interface.mac_address),
            mtu: Some(mtu.into()),
            up: Some(true),
            ..LinkChange::default()
        };
        netlink.set_link(name, &change)?;
        let index = netlink.index(name)?;
        netlink.add_address(index, IpNet::V4(Ipv4Net::from(self.address)), false)?;
        let gateway = plan::gateway(outside::IPV4, &self.controller.vpc(&outside::VPC.into())?.profile);
        netlink.add_route(index, &Route::on_link(IpNet::V4(Ipv4Net::from(gateway))))?;
        for range in elastic_ip::RANGES {
            let route = Route {
                destination: IpNet::V4(range),
                gateway: Some(IpAddr::V4(gateway)),
                metric: Some(METRIC),
            };
            netlink.add_route(index, &route)?;
        }
        Ok(())
    }

    /// Removes the interface of a device that an earlier server of this network had, and could not remove.
    pub fn clear(runtime: &Runtime) -> Result<(), RuntimeError> {
        let controller = runtime.controller();
        for interface in controller.outside_hosts().iter().filter(|host| is_link(host)) {
            remove(controller, interface.id)?;
        }
        Ok(())
    }
}

fn remove(controller: &Controller, interface: InterfaceId) -> Result<(), ControlError> {
    if controller.interface(&interface.into())?.attachment.is_some() {
        controller.execute(DetachInterface(interface.into()))?;
    }
    controller.execute(DeleteInterface(interface.into()))?;
    Ok(())
}

/// Writes a setting of the kernel; one that this kernel does not have needs no value.
fn set(path: &str, value: &str) -> Result<(), OutsideLinkError> {
    match std::fs::write(path, value) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OutsideLinkError::Setting {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

impl Drop for OutsideLink {
    fn drop(&mut self) {
        // What stays declared is removed by the next start; the device itself ends with its descriptor.
        if let Err(error) = remove(&self.controller, self.interface) {
            tracing::debug!(%error, "the interface of the outside link stays");
        }
    }
}
