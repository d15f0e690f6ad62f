//! Detaches devices whose container has ended although the device keeps its namespace alive.
//!
//! A TAP holds a reference on its network namespace, and its kernel goes on answering pings when the last process of
//! the container has ended. A namespace is dead when no process is in it, nothing is mounted on it, and the path by
//! which it was named is that of another namespace or does not exist (namespaces(7)). Its device is detached then, with
//! an event.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::contain;
use crate::control::Controller;
use crate::lab::Namespace;
use crate::mapping::PortId;
use crate::model::InterfaceId;

/// The interval between two checks, while there is something to watch.
const GLANCE: Duration = Duration::from_secs(1);

/// Why a port is down whose container has ended.
const REASON: &str = "the last process of its network namespace is gone";

/// A namespace in which a device was attached.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    inode: u64,
    path: PathBuf,
}

impl Container {
    pub(crate) fn new(namespace: &Namespace, path: &Path) -> Self {
        Self {
            inode: namespace.inode(),
            path: path.to_owned(),
        }
    }

    fn is_dead(&self, alive: &HashSet<u64>, mounts: &str) -> bool {
        let named = std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        // The fourth field of a mount is the root of what is mounted (proc_pid_mountinfo(5)).
        let root = format!("net:[{}]", self.inode);
        let mounted = || mounts.lines().any(|line| line.split(' ').nth(3) == Some(root.as_str()));
        !named && !alive.contains(&self.inode) && !mounted()
    }
}

/// The containers of a server's devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Containers {
    watched: Arc<Mutex<Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    ports: Vec<(InterfaceId, u32, Container)>,
    is_running: bool,
}

impl Containers {
    /// Detaches the interface from this port when the container has ended.
    pub(crate) fn watch(&self, controller: &Controller, interface: InterfaceId, port: u32, container: Container) {
        let mut watched = self.watched();
        watched.ports.push((interface, port, container));
        if watched.is_running {
            return;
        }
        let (containers, controller) = (self.clone(), controller.clone());
        let thread = std::thread::Builder::new()
            .name("containers".into())
            .spawn(move || contain::until_done("the watch over containers", || containers.run(&controller)));
        match thread {
            Ok(_) => watched.is_running = true,
            Err(error) => tracing::warn!(%error, "containers that end are not noticed"),
        }
    }

    /// Checks until there is nothing left to watch.
    fn run(&self, controller: &Controller) {
        loop {
            std::thread::sleep(GLANCE);
            contain::site("containers");
            let mut watched = self.watched();
            // A device that was detached by hand is no longer watched.
            watched
                .ports
                .retain(|(interface, port, _)| is_attached(controller, *interface, *port));
            if watched.ports.is_empty() {
                watched.is_running = false;
                return;
            }
            let ports = watched.ports.clone();
            drop(watched);
            let alive = inhabited();
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            for (interface, port, container) in ports {
                if container.is_dead(&alive, &mounts)
                    && let (Some(index), Some(port)) = (controller.interface_index(interface), PortId::new(port))
                {
                    controller.port_lost(index, port, REASON);
                }
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        // A list that is changed one entry at a time.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_attached(controller: &Controller, interface: InterfaceId, port: u32) -> bool {
    controller
        .port_of(interface)
        .is_some_and(|open| open.port.get() == port)
}

/// The network namespaces with processes.
fn inhabited() -> HashSet<u64> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let namespaces = processes.filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()?;
        // A process that has just ended, or a zombie, is in none.
        Some(std::fs::metadata(entry.path().join("ns/net")).ok()?.ino())
    });
    namespaces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_dead_when_nothing_names_it_and_nothing_is_in_it() {
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert!(inhabited().contains(&own));
        let mounted = "36 35 0:4 net:[7] /run/netns/a rw shared:1 - nsfs nsfs rw";
        for (inode, path, alive, mounts, dead) in [
            (7, "/nonexistent", vec![], "", true),
            (7, "/nonexistent", vec![8], "", true),
            (7, "/nonexistent", vec![7], "", false),
            (7, "/nonexistent", vec![], mounted, false),
            (70, "/nonexistent", vec![], mounted, true),
            (own, "/proc/self/ns/net", vec![], "", false),
            (7, "/proc/self/ns/net", vec![], "", true),
        ] {
            let container = Container {
                inode,
                path: path.into(),
            };
            let alive = alive.into_iter().collect();
            assert_eq!(container.is_dead(&alive, mounts), dead, "{inode} {path} {mounts}");
        }
    }
}
