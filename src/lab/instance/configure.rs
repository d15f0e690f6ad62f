//! Configures the namespace of an instance and the devices in it.

use std::net::Ipv6Addr;

use super::{InstanceError, InterfaceSpec, LinkLocal, OpenError, link_error};
use crate::lab::link::{LinkChange, LinkError, Netlink, write_sysctl};
use crate::wire::MacAddr;

/// Settings of the namespace, before it has a device.
pub(super) fn prepare(netlink: &mut Netlink) -> Result<(), LinkError> {
    netlink.set_link(
        "lo",
        &LinkChange {
            up: Some(true),
            ..LinkChange::default()
        },
    )?;
    // A new namespace copies the machine's IPv4 settings (net.core.devconf_inherit_init_net is 0), and a machine with
    // containers forwards. A host does not (RFC 1122 section 3.3.1).
    write_sysctl("ipv4/ip_forward", "0")?;
    // The kernel's default: a reverse path filter here would drop what the VPC's checks are to be seen dropping.
    write_sysctl("ipv4/conf/all/rp_filter", "0")?;
    write_sysctl("ipv4/conf/default/rp_filter", "0")
}

/// Opens a device in the namespace of this thread and configures it.
pub(super) fn attach<T, E: Into<OpenError>>(
    netlink: &mut Netlink,
    instance: &str,
    interface: &InterfaceSpec,
    open: impl FnOnce() -> Result<T, E>,
) -> Result<T, InstanceError> {
    let device = open().map_err(|source| InstanceError::Open {
        name: instance.to_owned(),
        interface: interface.name.clone(),
        source: source.into(),
    })?;
    configure(netlink, interface).map_err(link_error(instance))?;
    Ok(device)
}

fn configure(netlink: &mut Netlink, interface: &InterfaceSpec) -> Result<(), LinkError> {
    let link = &interface.name;
    let set = |setting: &str, value: &str| write_sysctl(&format!("ipv6/conf/{link}/{setting}"), value);
    // The kernel reads all of these when the link comes up.
    set("accept_ra", if interface.accept_ra { "1" } else { "0" })?;
    set("accept_dad", if interface.dad { "1" } else { "0" })?;
    match interface.link_local {
        LinkLocal::Eui64 => set("addr_gen_mode", "0")?,
        LinkLocal::None => set("addr_gen_mode", "1")?,
        // Writing the secret selects the mode (kernel, ip-sysctl: "addr_gen_mode").
        LinkLocal::StablePrivacy => set("stable_secret", &stable_secret(interface.mac).to_string())?,
    }
    netlink.set_link(
        link,
        &LinkChange {
            mac: Some(interface.mac),
            mtu: Some(interface.mtu),
            tx_queue_len: interface.tx_queue_len,
            up: interface.up.then_some(true),
        },
    )?;
    if interface.addresses.is_empty() && interface.routes.is_empty() {
        return Ok(());
    }
    let index = netlink.index(link)?;
    for &address in &interface.addresses {
        netlink.add_address(index, address, interface.dad)?;
    }
    for route in &interface.routes {
        netlink.add_route(index, route)?;
    }
    Ok(())
}

/// 128 bits that depend on the interface and not on the run; the kernel hashes them (RFC 7217 section 5).
fn stable_secret(mac: MacAddr) -> Ipv6Addr {
    Ipv6Addr::from_bits((u128::from(mac.to_bits()) << 64) | u128::from(!mac.to_bits()))
}
