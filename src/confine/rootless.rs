//! Gives an ordinary user the rights of a lab in a user namespace (user_namespaces(7)).
//!
//! The process becomes root of a namespace in which it may create network namespaces, TAPs and mounts; outside it keeps
//! the rights of the user. With newuidmap(1) and a range in /etc/subuid, instances have the users of a distribution
//! too; otherwise root is their only user.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

const TUN: &str = "/dev/net/tun";

/// The user's number outside the namespace.
static OUTSIDE: OnceLock<u32> = OnceLock::new();

/// Why an ordinary user cannot have a lab, and which setting forbids it.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel refuses a user namespace.
    #[error("an ordinary user may not make user namespaces here: {reason}; {remedy}, or run this as root")]
    Forbidden {
        /// The setting.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// TAPs cannot be opened.
    #[error("{TUN} cannot be opened: {source}; {remedy}, or run this as root")]
    Tun {
        /// What the kernel said.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The user cannot be mapped to root.
    #[error("cannot map the user into his namespace ({path}): {source}")]
    Map {
        /// The file or program.
        path: String,
        /// What was said.
        source: io::Error,
    },
}

/// The user's number outside, if this process is root of its own user namespace.
pub fn outside() -> Option<u32> {
    OUTSIDE.get().copied()
}

/// Whether this process is in a user namespace that does not map all users.
pub fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    // The initial namespace maps every number to itself (user_namespaces(7)).
    [fields.next(), fields.next(), fields.next()] != [Some("0"), Some("0"), Some("4294967295")]
}

/// Enters a user namespace, unless the process may create networks already. Call it before there is a second thread.
pub fn enter() -> Result<(), RootlessError> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    if capabilities(None).is_ok_and(|own| own.effective.contains(needed)) {
        return Ok(());
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    tun_opens()?;
    let helper = Helper::start(user);
    unshare(CloneFlags::CLONE_NEWUSER).map_err(forbidden)?;
    match helper {
        Some(helper) => helper.map()?,
        None => map_alone(user, group)?,
    }
    // Where AppArmor restricts user namespaces, the new one has no capabilities (Ubuntu 23.10 and later).
    if !capabilities(None).is_ok_and(|own| own.effective.contains(needed)) {
        return Err(forbidden(Errno::EPERM));
    }
    // This is the only place that sets it.
    let _ = OUTSIDE.set(user);
    Ok(())
}

fn tun_opens() -> Result<(), RootlessError> {
    let opened = fs::OpenOptions::new().read(true).write(true).open(TUN);
    opened.map(drop).map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::PermissionDenied => "let users open it as distributions do: 'chmod 666 /dev/net/tun'",
            io::ErrorKind::NotFound => "load the kernel module: 'modprobe tun'",
            _ => "see whether the kernel has CONFIG_TUN",
        };
        RootlessError::Tun { source, remedy }
    })
}

/// Names the setting that forbids user namespaces.
fn forbidden(error: Errno) -> RootlessError {
    let setting = |path: &str| fs::read_to_string(format!("/proc/sys/{path}")).map(|text| text.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).is_ok_and(|found| found == value);
    let (reason, remedy) = if is("user/max_user_namespaces", "0") {
        (
            "user.max_user_namespaces is 0".to_owned(),
            "set it to 10000 with sysctl(8)",
        )
    } else if is("kernel/unprivileged_userns_clone", "0") {
        (
            "kernel.unprivileged_userns_clone is 0".to_owned(),
            "set it to 1 with sysctl(8)",
        )
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "kernel.apparmor_restrict_unprivileged_userns is 1".to_owned(),
            "set it to 0 with sysctl(8), or give localvpc an AppArmor profile with 'userns,'",
        )
    } else if error == Errno::ENOSPC || error == Errno::EUSERS {
        (
            "there are as many as user.max_user_namespaces allows".to_owned(),
            "raise it with sysctl(8)",
        )
    } else {
        (
            format!("the kernel says: {error}"),
            "a container's seccomp profile or a chroot forbids them: start it with user namespaces allowed",
        )
    };
    RootlessError::Forbidden { reason, remedy }
}

/// Maps the user to root, and no other user (user_namespaces(7), "Defining user and group ID mappings").
fn map_alone(user: u32, group: u32) -> Result<(), RootlessError> {
    for (name, text) in [
        // Required before a group is mapped: dropping a group could give rights.
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let path = format!("/proc/self/{name}");
        fs::write(&path, text).map_err(|source| RootlessError::Map { path, source })?;
    }
    Ok(())
}

/// A child outside the namespace that maps the user's subordinate range once the namespace exists.
struct Helper(Child);

impl Helper {
    /// `None` without a range or without newuidmap(1).
    fn start(user: u32) -> Option<Self> {
        let programs = ["newuidmap", "newgidmap"].map(set_user_id_program);
        let [users, groups] = ["/etc/subuid", "/etc/subgid"].map(|path| range(Path::new(path), user));
        let ([Some(uid_map), Some(gid_map)], Some(users), Some(groups)) = (programs, users, groups) else {
            return None;
        };
        let map = |program: &Path, own: u32, (first, count): (u32, u32)| {
            format!(
                "{} {} 0 {own} 1 1 {first} {count}",
                program.display(),
                std::process::id()
            )
        };
        let group = getegid().as_raw();
        let script = format!(
            "read -r _ && {} && {}",
            map(&uid_map, user, users),
            map(&gid_map, group, groups)
        );
        let child = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        child.ok().map(Self)
    }

    fn map(mut self) -> Result<(), RootlessError> {
        let wrong = |source| RootlessError::Map {
            path: "newuidmap".to_owned(),
            source,
        };
        if let Some(mut input) = self.0.stdin.take() {
            input.write_all(b"\n").map_err(wrong)?;
        }
        let status = self.0.wait().map_err(wrong)?;
        match status.success() {
            true => Ok(()),
            false => Err(wrong(io::Error::other(format!(
                "{status}: see whether /etc/subuid and /etc/subgid allow the range"
            )))),
        }
    }
}

fn set_user_id_program(name: &str) -> Option<PathBuf> {
    let directories = ["/usr/bin", "/bin", "/usr/local/bin"].into_iter();
    let mut paths = directories.map(|directory| Path::new(directory).join(name));
    // File capabilities would do as well; distributions set the setuid bit.
    paths.find(|path| {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o4000 != 0 && found.uid() == 0)
    })
}

/// The first range of a user in a file of subordinate numbers (subuid(5)): `name-or-number:first:count`.
fn range(path: &Path, user: u32) -> Option<(u32, u32)> {
    let name = nix::unistd::User::from_uid(user.into())
        .ok()
        .flatten()
        .map(|user| user.name);
    find_range(&fs::read_to_string(path).ok()?, name.as_deref(), user)
}

fn find_range(text: &str, name: Option<&str>, user: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner.parse() != Ok(user) {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_by_number() {
        let text = "root:1:2\nada:100000:65536\n# a comment\n1001:200000:10\n";
        assert_eq!(find_range(text, Some("ada"), 1000), Some((100_000, 65536)));
        assert_eq!(find_range(text, None, 1001), Some((200_000, 10)));
        assert_eq!(find_range(text, Some("bob"), 1002), None);
        assert_eq!(find_range("ada:x:1", Some("ada"), 1), None);
    }
}
