//! Mounts a layer of the instance's own over directories of the machine.
//!
//! For root the layer is an overlay, and a file is copied up when it is written. Root of a user namespace may not copy
//! up files of users that the namespace does not map (EOVERFLOW), which are all of `/etc` and `/var`. Its layer
//! therefore contains their directories from the start, and the small files of `/etc`; it can only add, replace and
//! remove.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::mount::MsFlags;
use rustix::fs::{XattrFlags, setxattr};

use super::mounts::{file_system, mount_at};
use crate::confine::rootless;

/// Directories with a layer of the instance's own.
const LAYERED: [&str; 4] = ["etc", "var", "root", "home"];

/// The same for programs and data of the machine. Where one is a symbolic link, as on Debian, its target is layered. An
/// ordinary user cannot write there anyway.
const PROGRAMS: [&str; 10] = [
    "usr", "opt", "boot", "srv", "bin", "sbin", "lib", "lib32", "lib64", "libx32",
];

/// How deep directories are recreated: `/var/lib/dhcp/x` is as deep as a client's files are.
const DEPTH: usize = 4;

/// The largest file that is copied at the start.
const SMALL: u64 = 64 << 10;

/// Layers all of them; what is written is kept in `stage`.
pub(super) fn make(stage: &str) -> io::Result<()> {
    let user = rootless::in_user_namespace();
    let below = mount_points()?;
    for name in LAYERED.into_iter().chain(PROGRAMS) {
        let path = format!("/{name}");
        let of_the_machine = PROGRAMS.contains(&name);
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) || (user && of_the_machine) {
            continue;
        }
        // A layer shows one file system and hides mounts below it.
        let beneath = format!("{path}/");
        if of_the_machine && below.iter().any(|point| point.starts_with(&beneath)) {
            read_only(&path, &beneath)?;
            continue;
        }
        let [upper, work] = ["upper", "work"].map(|part| format!("{stage}/{name}-{part}"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        // The layer's root has a mode of its own: /root must stay closed.
        fs::set_permissions(&upper, fs::metadata(&path)?.permissions())?;
        let mut options = format!("lowerdir={path},upperdir={upper},workdir={work}");
        if user {
            if fs::read_dir(&path).is_err() {
                mount_at(Some(&upper), &path, None, MsFlags::MS_BIND, "")?;
                continue;
            }
            copy_tree(Path::new(&path), Path::new(&upper), name == "etc", DEPTH)?;
            // An overlay's marks are trusted.* attributes, which only root of the machine may set (kernel,
            // overlayfs.rst).
            options.push_str(",userxattr");
        }
        file_system("overlay", &path, MsFlags::empty(), &options)?;
    }
    Ok(())
}

/// Recreates the directories of `from` in `to`, and copies small files if `files` is set. An unreadable directory
/// becomes an empty one.
fn copy_tree(from: &Path, to: &Path, files: bool, depth: usize) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        // Without such attributes on a tmpfs (before Linux 6.6) it stays unreadable.
        let _ = setxattr(to, "user.overlay.opaque", b"y", XattrFlags::empty());
        return Ok(());
    };
    for entry in entries.flatten() {
        let (Ok(kind), Ok(found)) = (entry.file_type(), entry.metadata()) else {
            continue;
        };
        let target = to.join(entry.file_name());
        if kind.is_dir() && depth > 0 {
            fs::DirBuilder::new().mode(0o700).create(&target)?;
            copy_tree(&entry.path(), &target, files, depth - 1)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(found.permissions().mode() & 0o7777))?;
        } else if kind.is_file() && files && found.len() <= SMALL {
            // A file closed to the user, like /etc/shadow, stays closed.
            let _ = fs::copy(entry.path(), &target);
        }
    }
    Ok(())
}

/// Mount points (proc_pid_mountinfo(5): the fifth field, with blanks as `\040`).
fn mount_points() -> io::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|point| point.replace("\\040", " ")).collect())
}

/// Makes a directory and the mounts below it read-only in this namespace.
fn read_only(path: &str, beneath: &str) -> io::Result<()> {
    mount_at(Some(path), path, None, MsFlags::MS_BIND | MsFlags::MS_REC, "")?;
    let points = mount_points()?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    points
        .iter()
        .filter(|point| *point == path || point.starts_with(beneath))
        .try_for_each(|point| mount_at(None, point, None, flags, ""))
}
