//! Opens the device to attach: a TAP by name here, a TAP inside a network namespace, invisible outside of it, an
//! inherited descriptor, or a unix socket whose other end is a virtual machine's network card: datagrams or a stream.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{SocketType, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::Deserialize;
use utoipa::ToSchema;

use super::containers::Container;
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::OpenedDevice;
use crate::lab::link::{LinkChange, Netlink};
use crate::lab::namespace::NAMED;
use crate::lab::{Namespace, NamespaceError};
use crate::switch::port::{PortDevice, PortError, StreamPort, TapOptions, TapPort, UnixPort};
use crate::wire::MacAddr;

/// What to attach: a TAP by name, an inherited descriptor, or a unix socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachRequest {
    /// The name of a TAP. One that does not exist is created, with the MAC address and the MTU of the network
    /// interface, and set up; one that exists is used unchanged.
    #[schema(example = "tap0")]
    tap: Option<String>,
    /// The network namespace of the TAP: a name as in `ip netns`, or a path such as `/proc/1234/ns/net`. The server's
    /// own if left out.
    #[schema(example = "host-a")]
    pub(crate) namespace: Option<String>,
    /// The number of a descriptor that the server inherited when it was started: that of a TAP, or of one end of a pair of
    /// unix sockets whose other end a virtual machine has, as in QEMU's `-netdev stream,addr.type=fd` and `dgram,local.type=fd`.
    pub(crate) fd: Option<i32>,
    /// The path of a unix datagram socket that the server binds, for a virtual machine: one datagram is one frame, as
    /// in QEMU's `-netdev dgram` with this path as `remote.path`.
    #[schema(example = "/run/vm/switch.sock")]
    unix: Option<String>,
    /// The path of the socket at the other end, which need not exist yet: QEMU's `local.path`. Goes with `unix`.
    #[schema(example = "/run/vm/guest.sock")]
    peer: Option<String>,
    /// Whether the socket is a stream in which each frame has its length in front, as in QEMU's `-netdev stream`. The
    /// server listens at `unix`, or connects to `peer`, or uses the connection `fd`: one of the three. Off if left out.
    stream: Option<bool>,
    /// The name of an instance of the server's lab, in which the device appears; down, like a card added to a running
    /// machine. Excludes all other fields except `device_index`.
    #[schema(example = "a")]
    pub(crate) instance: Option<String>,
    /// The device index in the instance, 1 or more: `eth1` for 1. The next free one if left out.
    pub(crate) device_index: Option<u32>,
    /// Whether the device stays attached when the last process of its namespace has ended and no name of the namespace
    /// is left; false if left out: it is detached then, with an event.
    pub(crate) keep: Option<bool>,
    /// Whether frames may be larger than the MTU and without checksums, as between real hosts with offloading network
    /// cards; on if left out.
    offload: Option<bool>,
    /// The MTU of the host's interface in bytes: nothing larger is sent to it. That of the network interface if left out.
    mtu: Option<u16>,
}

const REMEDY: &str = "Give 'tap' (and 'namespace'), 'fd', 'unix' and 'peer', 'stream', or 'instance'.";

/// The instance that the request names, and the device index in it. Fields of other devices are refused.
pub(crate) fn place(request: &AttachRequest) -> Result<Option<(&str, Option<u32>)>, Problem> {
    let others = [
        ("tap", request.tap.is_some()),
        ("namespace", request.namespace.is_some()),
        ("fd", request.fd.is_some()),
        ("keep", request.keep.is_some()),
        ("unix", request.unix.is_some()),
        ("peer", request.peer.is_some()),
        ("stream", request.stream.is_some()),
        ("offload", request.offload.is_some()),
        ("mtu", request.mtu.is_some()),
    ];
    match (&request.instance, others.iter().find(|(_, given)| *given)) {
        (Some(_), Some((field, _))) => {
            Err(Problem::invalid(*field, "The device of an instance is made for it").remedy("Leave it out."))
        }
        (Some(instance), None) => Ok(Some((instance, request.device_index))),
        (None, _) if request.device_index.is_some() => Err(Problem::invalid(
            "device_index",
            "Only an instance has places for devices",
        )
        .remedy("Name the 'instance'.")),
        (None, _) => Ok(None),
    }
}

/// The network interface that a device is opened for, and the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// The interface's MAC address.
    pub(crate) mac: MacAddr,
    /// The interface's MTU.
    pub(crate) mtu: u16,
    /// The caller of the API.
    pub(crate) caller: Caller,
}

/// A device, and its container if the request names a namespace.
pub(crate) type Opened = (OpenedDevice, Option<Container>);

/// Opens the device that the request describes.
pub(crate) fn open(state: &AppState, request: &AttachRequest, purpose: Purpose) -> Result<Opened, Problem> {
    state.permissions().machine("A device of the machine")?;
    let mut options = TapOptions {
        mtu: purpose.mtu,
        ..TapOptions::default()
    };
    if let Some(offload) = request.offload {
        options.offload = offload;
    }
    if let Some(mtu) = request.mtu {
        // 68 is the least that IPv4 allows (RFC 791).
        if mtu < 68 {
            return Err(Problem::invalid("mtu", format!("An MTU of {mtu} is too small")).remedy("Give at least 68."));
        }
        options.mtu = mtu;
    }
    if request.stream == Some(true) {
        return open_stream(state, request, options.mtu, purpose.caller);
    }
    if request.unix.is_some() || request.peer.is_some() {
        return open_socket(request, options.mtu, purpose.caller);
    }
    match (&request.tap, &request.namespace, request.fd) {
        (Some(name), namespace, None) => open_tap(name, namespace.as_deref(), options, purpose),
        (None, None, Some(fd)) => adopt(state, request, fd, options).map(|device| (device, None)),
        (None, None, None) => Err(Problem::missing("tap", REMEDY)),
        (None, Some(_), None) => Err(Problem::missing("tap", "Name the TAP in the namespace.")),
        (_, Some(_), Some(_)) => {
            Err(Problem::invalid("namespace", "A descriptor is where it is, whatever the namespace").remedy(REMEDY))
        }
        (Some(_), None, Some(_)) => Err(Problem::invalid("fd", "A TAP and a descriptor are given").remedy(REMEDY)),
    }
}

/// Refuses fields of other devices.
fn alone(others: &[(&'static str, bool)]) -> Result<(), Problem> {
    match others.iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Problem::invalid(*field, "It does not go with a unix socket").remedy("Leave it out.")),
        None => Ok(()),
    }
}

/// The path of a socket, as given in a field.
fn socket_path<'a>(field: &'static str, path: &'a str) -> Result<&'a Path, Problem> {
    let path = Path::new(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Problem::invalid(field, "The path is not absolute").remedy("Give a path that begins with '/'."))
}

/// Why a stream socket cannot be used. A caller who is not the owner does not learn which files there are.
fn refused_stream(field: &'static str, said: &str, error: &PortError, remedy: &str, caller: Caller) -> Problem {
    let detail = if caller.is_owner() {
        error.to_string()
    } else {
        said.to_owned()
    };
    Problem::invalid(field, detail).remedy(remedy)
}

/// Opens a stream socket: one end of QEMU's `-netdev stream`.
fn open_stream(state: &AppState, request: &AttachRequest, mtu: u16, caller: Caller) -> Result<Opened, Problem> {
    alone(&[
        ("tap", request.tap.is_some()),
        ("namespace", request.namespace.is_some()),
        ("keep", request.keep.is_some()),
        ("offload", request.offload.is_some()),
    ])?;
    const ONE: &str = "With 'stream' give one of 'unix' (to listen there), 'peer' (to connect to it) and 'fd'.";
    let refused = |field, said, error: &PortError, remedy| refused_stream(field, said, error, remedy, caller);
    let port = match (&request.unix, &request.peer, request.fd) {
        (Some(path), None, None) => StreamPort::listen(socket_path("unix", path)?, mtu).map_err(|error| {
            let remedy = "Give a path in a folder that exists, where nothing else is.";
            refused("unix", "The socket cannot be bound", &error, remedy)
        }),
        (None, Some(path), None) => StreamPort::connect(socket_path("peer", path)?, mtu).map_err(|error| {
            let remedy = "Start the virtual machine first, or give 'unix', for the server to listen.";
            refused("peer", "The socket cannot be connected to", &error, remedy)
        }),
        (None, None, Some(fd)) => {
            StreamPort::from_fd(inherited(state, fd, "one end of a connection")?, mtu).map_err(|error| {
                refused(
                    "fd",
                    "The descriptor is no connection",
                    &error,
                    "Give a connected stream socket.",
                )
            })
        }
        (None, None, None) => Err(Problem::missing("unix", ONE)),
        (None, Some(_), Some(_)) => Err(Problem::invalid("peer", "Two connections are given").remedy(ONE)),
        (Some(_), _, _) => Err(Problem::invalid("unix", "The stream has one end here").remedy(ONE)),
    };
    port.map(|port| (PortDevice::Stream(port).into(), None))
}

/// Binds the socket of a virtual machine.
fn open_socket(request: &AttachRequest, mtu: u16, caller: Caller) -> Result<Opened, Problem> {
    alone(&[
        ("tap", request.tap.is_some()),
        ("namespace", request.namespace.is_some()),
        ("fd", request.fd.is_some()),
        ("keep", request.keep.is_some()),
        ("offload", request.offload.is_some()),
    ])?;
    let Some(path) = &request.unix else {
        return Err(Problem::missing("unix", "Name the socket that the server binds."));
    };
    let Some(peer) = &request.peer else {
        return Err(Problem::missing(
            "peer",
            "Name the socket that the virtual machine binds; or set 'stream', for it to connect.",
        ));
    };
    let (path, peer) = (socket_path("unix", path)?, socket_path("peer", peer)?);
    UnixPort::bind(path, peer, mtu)
        .map(|port| (PortDevice::Unix(port).into(), None))
        .map_err(|error| {
            let detail = if caller.is_owner() {
                error.to_string()
            } else {
                "The socket cannot be bound".to_owned()
            };
            Problem::invalid("unix", detail).remedy("Give a path in a folder that exists, where nothing else is.")
        })
}

fn open_tap(name: &str, namespace: Option<&str>, options: TapOptions, purpose: Purpose) -> Result<Opened, Problem> {
    match namespace {
        None => find_or_make(name, options, purpose.mac).map(|tap| (tap.into(), None)),
        Some(text) => {
            let path = match text.contains('/') {
                true => PathBuf::from(text),
                false => Path::new(NAMED).join(text),
            };
            let namespace = match text.contains('/') {
                true => Namespace::open(&path),
                false => Namespace::open_named(text),
            };
            let wrong = |error: NamespaceError| namespace_problem(text, &error, purpose.caller);
            let namespace = namespace.map_err(wrong)?;
            let tap = namespace
                .run(|| find_or_make(name, options, purpose.mac))
                .map_err(wrong)??;
            Ok((tap.into(), Some(Container::new(&namespace, &path))))
        }
    }
}

/// Why a namespace cannot be used. A caller who is not the owner does not learn which files there are.
fn namespace_problem(text: &str, error: &NamespaceError, caller: Caller) -> Problem {
    let detail = if caller.is_owner() {
        error.to_string()
    } else {
        format!("'{text}' is not a network namespace that this server can use")
    };
    Problem::invalid("namespace", detail)
        .remedy("Give a name that 'ip netns list' shows, or the path of a namespace file.")
}

/// Opens a TAP of the calling thread's namespace. A new one gets what an interface has that is moved into a container:
/// its MAC address, its MTU, and it is up.
fn find_or_make(name: &str, options: TapOptions, mac: MacAddr) -> Result<TapPort, Problem> {
    let existed = nix::net::if_::if_nametoindex(name).is_ok();
    let tap = TapPort::open(name, options).map_err(|error| refused("tap", &error))?;
    if !existed {
        let change = LinkChange {
            mac: Some(mac),
            mtu: Some(options.mtu.into()),
            up: Some(true),
            ..LinkChange::default()
        };
        let set = Netlink::open().and_then(|mut netlink| netlink.set_link(tap.name(), &change));
        set.map_err(|error| Problem::invalid("tap", error.to_string()))?;
    }
    Ok(tap)
}

/// A TAP or an end of a pair of sockets whose descriptor this process was started with.
fn adopt(state: &AppState, request: &AttachRequest, number: i32, options: TapOptions) -> Result<OpenedDevice, Problem> {
    let fd = inherited(state, number, "a TAP or one end of a pair of sockets")?;
    let port = match sockopt::socket_type(&fd) {
        // It is no socket.
        Err(_) => TapPort::from_fd(fd, options).map(PortDevice::from),
        Ok(kind) => {
            alone(&[("keep", request.keep.is_some()), ("offload", request.offload.is_some())])?;
            if kind == SocketType::STREAM {
                if request.stream.is_some() {
                    let problem = Problem::invalid("stream", format!("Descriptor {number} is a stream socket"));
                    return Err(problem.remedy("Leave it out, or set it."));
                }
                StreamPort::from_fd(fd, options.mtu).map(PortDevice::Stream)
            } else {
                UnixPort::from_fd(fd, options.mtu).map(PortDevice::Unix)
            }
        }
    };
    port.map(OpenedDevice::from).map_err(|error| refused("fd", &error))
}

/// Duplicates a descriptor that this process was started with, and that should be of `what`.
fn inherited(state: &AppState, fd: i32, what: &str) -> Result<OwnedFd, Problem> {
    let wrong = |detail: String| {
        Problem::invalid("fd", detail).remedy(format!(
            "Give the number of a descriptor of {what} that was open when the server started."
        ))
    };
    if let Some((interface, port)) = state.inherited().get(&fd).copied() {
        let current = state.controller.port_of(interface);
        if current.is_some_and(|current| current.port.get() == port) {
            return Err(wrong(format!("Descriptor {fd} is attached to {interface} already")));
        }
    }
    // Descriptors that the server opened close on exec; one that was inherited through an exec cannot.
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| wrong(format!("There is no descriptor {fd}")))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags
        .and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok())
        .unwrap_or(u32::MAX);
    if flags & rustix::fs::OFlags::CLOEXEC.bits() != 0 {
        return Err(wrong(format!("Descriptor {fd} was not inherited")));
    }
    pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()))
        .map_err(|error| wrong(format!("Descriptor {fd} cannot be duplicated: {error}")))
}

fn refused(field: &str, error: &PortError) -> Problem {
    Problem::invalid(field, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a caller learns of a refusal, without what it has written itself.
    fn learned(refused: &Problem, given: &str) -> String {
        format!("{refused:?}").replace(given, "…")
    }

    #[test]
    fn who_is_not_the_owner_does_not_learn_which_files_there_are() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let there = folder.path().join("there");
        std::fs::write(&there, "not a socket").expect("the folder can be written");
        let paths = [
            there,
            folder.path().join("no/such/file"),
            "/etc/shadow".into(),
            "/root/missing/x".into(),
        ];
        let texts: Vec<&str> = paths.iter().filter_map(|path| path.to_str()).collect();
        let namespace = |text: &&str, caller| {
            let error = Namespace::open(Path::new(text)).expect_err("it is no namespace");
            learned(&namespace_problem(text, &error, caller), text)
        };
        let socket = |text: &&str, caller| {
            let request = serde_json::json!({ "unix": text, "peer": "/nowhere/peer" });
            let request: AttachRequest = serde_json::from_value(request).expect("a request");
            learned(
                &open_socket(&request, 1500, caller).expect_err("it cannot be bound"),
                text,
            )
        };
        let stream = |text: &&str, caller| {
            let error = StreamPort::listen(Path::new(text), 1500).expect_err("it cannot be bound");
            learned(
                &refused_stream("unix", "The socket cannot be bound", &error, "", caller),
                text,
            )
        };
        for (kind, learn) in [
            ("namespace", &namespace as &dyn Fn(&&str, Caller) -> String),
            ("socket", &socket),
            ("stream", &stream),
        ] {
            for caller in [Caller::User(1000), Caller::Unknown] {
                let learnt: std::collections::BTreeSet<String> = texts.iter().map(|text| learn(text, caller)).collect();
                assert_eq!(learnt.len(), 1, "{kind}, {caller:?}: {learnt:#?}");
            }
            let owner: std::collections::BTreeSet<String> =
                texts.iter().map(|text| learn(text, Caller::Owner)).collect();
            assert!(owner.len() > 1, "the owner learns the reason: {kind}");
        }
    }
}
