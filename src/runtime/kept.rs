//! Hands devices to a keeper, and goes on with the hosts and devices that an earlier server has left with it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::cleanup::{self, Record};
use super::{Runtime, RuntimeError};
use crate::control::{Controller, DevicePlace, OpenedDevice, RoleSecret};
use crate::lab::{KEEPER_SUBCOMMAND, Keeper, Kept, hold, keeper};
use crate::model::{Attachment, InterfaceId};
use crate::services::Root;
use crate::services::imds::TokenSecret;
use crate::store::{Store, StoreError};
use crate::switch::port::{PortDevice, TapOptions, TapPort};

/// The kind of a TAP in a keeper; its name is the network interface.
const PORT: &str = "port";

/// What a keeper is told about a TAP, for the next server.
#[derive(Debug, Serialize, Deserialize)]
struct PortNote {
    mtu: u16,
    in_host: bool,
    /// Nanoseconds since 1970 when it was kept: ports are attached again in their order.
    at: u128,
}

/// Where the store keeps secrets: that of metadata tokens, that of the credentials of roles, and the key of the authority.
const SECRETS: &str = "secrets";
const TOKENS: &str = "metadata tokens";
const ROLES: &str = "role credentials";
const ROOT: &str = "authority";

/// The secret of metadata tokens, the same in each server of a state. A network that is not kept has none of its own.
pub(super) fn token_secret(store: &dyn Store) -> Result<Option<TokenSecret>, StoreError> {
    Ok(secret(store, TOKENS)?.map(TokenSecret::new))
}

/// The secret of the credentials of roles, as above.
pub(super) fn role_secret(store: &dyn Store) -> Result<Option<RoleSecret>, StoreError> {
    Ok(secret(store, ROLES)?.map(RoleSecret::new))
}

/// The root of the authority that hosts trust, the same in each server of a state: hosts outlive a server.
pub(super) fn root(store: &dyn Store) -> Result<Root, RuntimeError> {
    if !store.lasts() {
        return Ok(Root::generate()?);
    }
    let shelved = store.shelved(SECRETS)?;
    if let Some((_, text)) = shelved.iter().find(|(place, _)| place == ROOT) {
        match Root::read(text) {
            Ok(root) => return Ok(root),
            Err(error) => {
                tracing::warn!(%error, "hosts will not trust this server: the authority of the state is unreadable");
            }
        }
    }
    let root = Root::generate()?;
    store.shelve(SECRETS, ROOT, Some(&root.written()))?;
    Ok(root)
}

/// A secret of a store that lasts; drawn where it has none yet.
fn secret<const OCTETS: usize>(store: &dyn Store, place: &str) -> Result<Option<[u8; OCTETS]>, StoreError> {
    if !store.lasts() {
        return Ok(None);
    }
    let shelved = store.shelved(SECRETS)?;
    let known = shelved.iter().find(|(known, _)| known == place);
    let known = known.and_then(|(_, text)| <[u8; OCTETS]>::try_from(HEXLOWER.decode(text.as_bytes()).ok()?).ok());
    if let Some(octets) = known {
        return Ok(Some(octets));
    }
    let mut octets = [0; OCTETS];
    rand::fill(&mut octets);
    store.shelve(SECRETS, place, Some(&HEXLOWER.encode(&octets)))?;
    Ok(Some(octets))
}

/// Has the keeper hold the TAP of an interface.
pub(super) fn keep_port(keeper: &Keeper, interface: InterfaceId, tap: &TapPort, in_host: bool) -> io::Result<Kept> {
    let note = PortNote {
        mtu: tap.mtu(),
        in_host,
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos(),
    };
    let text = serde_json::to_string(&note)?;
    let key = keeper::key(PORT, &interface.to_string());
    match in_host {
        // It ends with its host, whose processes the keeper has.
        true => keeper.put(key, text, &[tap.as_fd()]),
        false => keeper.put_lasting(key, &text, &[tap.as_fd()]),
    }
}

impl Runtime {
    /// Has the keeper hold a device that was attached from outside of the lab. Without a keeper, and for a device that is no
    /// TAP, nothing changes.
    pub fn keep_device(&self, interface: InterfaceId, device: OpenedDevice) -> OpenedDevice {
        let (keeper, tap) = match (self.lab().keeper(), device) {
            (Some(keeper), OpenedDevice::Device(PortDevice::Tap(tap))) => (keeper, tap),
            (_, device) => return device,
        };
        match keep_port(keeper, interface, &tap, false) {
            Ok(kept) => tap.kept_by(kept).into(),
            Err(error) => {
                tracing::warn!(%interface, %error, "this device will end with the server");
                tap.into()
            }
        }
    }
}

/// Attaches the TAPs that a keeper holds to the interfaces that they belong to.
pub(super) fn adopt_ports(
    controller: &Controller,
    keeper: &Keeper,
    entries: &[(String, String)],
    offload: bool,
) -> Result<(), RuntimeError> {
    let ports = entries.iter().filter_map(|(key, text)| {
        let (id, _) = key.strip_prefix(PORT)?.strip_prefix('/')?.split_once('#')?;
        Some((
            id.parse::<InterfaceId>().ok()?,
            key,
            serde_json::from_str::<PortNote>(text).ok()?,
        ))
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort_by_key(|(_, _, note)| note.at);
    for (id, key, note) in ports {
        // An interface that was deleted or detached has no device any more.
        let attachment = controller
            .interface(&id.into())
            .ok()
            .and_then(|interface| interface.attachment);
        let Some(attachment) = attachment.filter(|_| controller.port_of(id).is_none()) else {
            continue;
        };
        let options = TapOptions {
            offload,
            mtu: note.mtu,
            ..TapOptions::default()
        };
        let descriptors = keeper.descriptors(key).and_then(keeper::exactly);
        let [tap] = descriptors.map_err(RuntimeError::Keeper)?;
        let tap = match TapPort::from_fd(tap, options) {
            Ok(tap) => tap.kept_by(keeper.adopt(key.clone())),
            // Its namespace has ended.
            Err(error) => {
                tracing::warn!(interface = %id, %error, "the device of this interface is gone");
                continue;
            }
        };
        controller.attach(&id.into(), tap.into(), place(note.in_host, attachment))?;
    }
    Ok(())
}

fn place(in_host: bool, attachment: Attachment) -> DevicePlace {
    match (in_host, attachment.device_index) {
        (false, _) => DevicePlace::Outside,
        (true, 0) => DevicePlace::HostPrimary,
        (true, _) => DevicePlace::HostFurther(attachment),
    }
}

/// Ends what a keeper still holds for hosts and devices that are no longer part of the network. `hosts` are those that are.
pub(super) fn end_others(
    controller: &Controller,
    keeper: &Keeper,
    entries: &[(String, String)],
    hosts: &HashSet<String>,
) {
    for (key, _) in entries {
        let Some((kind, rest)) = key.split_once('/') else {
            continue;
        };
        let name = rest.split(['#', '/']).next().unwrap_or_default();
        let used = match kind {
            PORT => name.parse().is_ok_and(|id| controller.port_of(id).is_some()),
            _ => hosts.contains(name),
        };
        if !used {
            drop(keeper.adopt(key.clone()));
        }
    }
}

/// Runs as a keeper. `arguments` are those after [`KEEPER_SUBCOMMAND`]: the folder of the state. Its standard input is the socket
/// that it listens on.
#[expect(
    clippy::print_stderr,
    reason = "there is no terminal front end yet at this point, and no log"
)]
pub fn keeper_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let listener = io::stdin().as_fd().try_clone_to_owned().map(UnixListener::from);
    let listener = listener.and_then(|listener| listener.local_addr().map(|_| listener));
    let (Ok(listener), Some(folder)) = (listener, arguments.into_iter().next().map(PathBuf::from)) else {
        eprintln!("localvpc {KEEPER_SUBCOMMAND}: this is started by localvpc, not by hand");
        return ExitCode::FAILURE;
    };
    // `localvpc down --all` finds the keeper by this record.
    let record = cleanup::directory().and_then(|directory| Record::begin(&directory, KEEPER_SUBCOMMAND));
    if let Ok(record) = &record {
        // Without it the keeper does its work all the same.
        let _ = record.keeper(&folder);
    }
    let held = hold(listener);
    drop(record);
    match held {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
