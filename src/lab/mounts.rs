//! Sets up the mounts of an instance: the machine's files, which the instance cannot change.
//!
//! | path | what an instance sees |
//! |---|---|
//!  `/etc`, `/var`, `/root`, `/home` | the machine's, with a layer over it that takes the writes and is dropped with the instance |
//! | `/usr`, `/opt`, `/boot`, `/srv` | the same; read-only where another file system is mounted below |
//! | `/run`, `/dev/shm` | empty, its own |
//! | `/dev` | its own, without disks: cloud-init would try to resize them |
//! | `/proc`, `/sys` | its own processes and network; `/sys` is read-only, by which systemd knows that no udev runs |
//! | `/proc/sys`, `/proc/sysrq-trigger` | read-only, but for `/proc/sys/net`: the rest is one for the whole machine |
//! | all else, `/tmp` among it | the machine's, shared: where files are exchanged |

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::layers;

/// Device nodes that exist in an instance.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];

/// Where the layers are kept. The instance's own `/run` is mounted over it at the end; then only the kernel reaches
/// them.
const BACKSTAGE: &str = "/run";

/// Rearranges the mounts of the calling process, which must be the only one in its mount namespace and in a PID
/// namespace of its own.
pub(super) fn make_private() -> io::Result<()> {
    // Mounts are copies of the machine's; without this ours would appear there (mount_namespaces(7)).
    mount_at(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, "")?;
    file_system("tmpfs", BACKSTAGE, MsFlags::empty(), "mode=0755")?;
    layers::make(BACKSTAGE)?;
    file_system("proc", "/proc", MsFlags::empty(), "")?;
    protect_the_machine()?;
    make_devices(&format!("{BACKSTAGE}/dev"))?;
    file_system("sysfs", "/sys", MsFlags::MS_RDONLY, "")?;
    file_system("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=0755")?;
    make_directory("/run/lock", 0o1777)?;
    make_directory("/run/netns", 0o755)
}

/// A fencing agent that writes to sysrq-trigger, or `sysctl --system` at boot, must not affect the real machine.
fn protect_the_machine() -> io::Result<()> {
    let bind = |path: &str| mount_at(Some(path), path, None, MsFlags::MS_BIND, "");
    for path in ["/proc/sys", "/proc/sysrq-trigger"]
        .into_iter()
        .filter(|path| Path::new(path).exists())
    {
        bind(path)?;
        // A bind mount takes its flags in a second step (mount(2)).
        mount_at(
            None,
            path,
            None,
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY,
            "",
        )?;
    }
    // A copy of the read-only mount is read-only too, and is made writable in the same way.
    bind("/proc/sys/net")?;
    mount_at(None, "/proc/sys/net", None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, "")
}

/// Builds a `/dev` at `stage` and moves it into place.
fn make_devices(stage: &str) -> io::Result<()> {
    fs::create_dir(stage)?;
    file_system("tmpfs", stage, MsFlags::MS_NOSUID, "mode=0755")?;
    for directory in ["net", "pts", "shm"] {
        make_directory(&format!("{stage}/{directory}"), 0o755)?;
    }
    for device in DEVICES {
        let (real, ours) = (format!("/dev/{device}"), format!("{stage}/{device}"));
        if Path::new(&real).exists() {
            fs::write(&ours, "")?;
            mount_at(Some(&real), &ours, None, MsFlags::MS_BIND, "")?;
        }
    }
    file_system(
        "devpts",
        &format!("{stage}/pts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        "ptmxmode=0666,mode=0620",
    )?;
    file_system(
        "tmpfs",
        &format!("{stage}/shm"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        "mode=1777",
    )?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("{stage}/{name}"))?;
    }
    mount_at(Some(stage), "/dev", None, MsFlags::MS_MOVE, "")
}

fn make_directory(path: &str, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

pub(super) fn file_system(kind: &str, target: &str, flags: MsFlags, options: &str) -> io::Result<()> {
    mount_at(Some(kind), target, Some(kind), flags, options)
}

pub(super) fn mount_at(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: MsFlags,
    options: &str,
) -> io::Result<()> {
    mount(source, target, kind, flags, Some(options)).map_err(|error| {
        let what = kind.or(source).unwrap_or("mount flags");
        io::Error::other(format!("cannot mount {what} at {target}: {error}"))
    })
}
