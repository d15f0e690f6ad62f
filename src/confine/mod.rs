//! Drops the privileges that a thread or the process does not need: capabilities, file access (Landlock), system calls
//! (seccomp).
//!
//! The switch's workers and the services read what a tenant sends; the threads of the API read what a client sends.
//! These threads have no capability, open no file and make no system call outside their list. Other threads create
//! namespaces and start hosts; they keep [`KEPT`] and read nothing from outside.
//!
//! Threads share memory. Confinement therefore contains logic errors, and memory errors only as far as they cannot
//! reach another thread: see `SECURITY.md`.

pub mod rootless;
mod syscalls;
#[cfg(test)]
mod tests;

use std::sync::Once;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The newest Landlock whose rights are asked for; an older kernel enforces those that it knows (landlock(7)).
const LANDLOCK: ABI = ABI::V5;

/// Capabilities that the server and its hosts keep.
///
/// Namespaces and mounts (`SYS_ADMIN`, `SYS_CHROOT`), devices and addresses (`NET_ADMIN`, `NET_RAW`), hosts whose programs change
/// users and files (`SETUID` and the like), programs that pin themselves (`IPC_LOCK`, `SYS_NICE`), a debugger (`SYS_PTRACE`), BPF
/// programs of CNI plugins. `SYS_BOOT` in a PID namespace ends the host, as it should (reboot(2)).
pub const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_BROADCAST)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_BOOT)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::BPF);

/// Capabilities that affect the whole machine: modules, the clock, raw memory, device nodes, the kernel's log, file
/// handles that bypass path lookup.
pub const DANGEROUS: [CapabilitySet; 18] = [
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::LINUX_IMMUTABLE,
    CapabilitySet::IPC_OWNER,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_TTY_CONFIG,
    CapabilitySet::MKNOD,
    CapabilitySet::LEASE,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::MAC_ADMIN,
    CapabilitySet::SYSLOG,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BLOCK_SUSPEND,
    CapabilitySet::AUDIT_READ,
    CapabilitySet::CHECKPOINT_RESTORE,
];

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Moves frames on descriptors that it is given: workers, the advertiser, the services.
    Frames,
    /// Reads requests and passes them on: the threads of the API.
    Requests,
}

/// A protection that the kernel lacks and that is therefore not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// No Landlock at all.
    #[error(
        "this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): files are guarded by capabilities alone"
    )]
    Landlock,
    /// An older Landlock version.
    #[error("this kernel's Landlock is old: devices or TCP ports are not guarded by it")]
    OldLandlock,
    /// No seccomp filter.
    #[error("this kernel takes no filter of system calls (CONFIG_SECCOMP_FILTER): they are not limited")]
    Seccomp,
    /// Capabilities cannot be dropped.
    #[error("the kernel does not let capabilities be given up")]
    Capabilities,
}

/// Confines the calling thread and every thread that it starts, irrevocably. Protections that the kernel lacks are
/// logged once and returned.
pub fn this_thread(role: Role) -> Vec<Lacking> {
    let mut lacking = Vec::new();
    // Landlock and seccomp require no_new_privs of a thread without CAP_SYS_ADMIN; Linux has it since 3.5.
    let forbidden = set_no_new_privs(true).and_then(|()| drop_capabilities());
    lacking.extend(forbidden.err().map(|_| Lacking::Capabilities));
    lacking.extend(close_files());
    lacking.extend(limit_calls(role));
    if !lacking.is_empty() {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| lacking.iter().for_each(|what| tracing::warn!("{what}")));
    }
    lacking
}

/// Drops [`DANGEROUS`] from the process, before it has other threads, and from all that it starts.
pub fn process() -> Result<(), Lacking> {
    forbid_dangerous()
        .and_then(|()| {
            let now = capabilities(None)?;
            set_capabilities(
                None,
                CapabilitySets {
                    effective: now.effective & KEPT,
                    permitted: now.permitted & KEPT,
                    inheritable: CapabilitySet::empty(),
                },
            )
        })
        .map_err(|_| Lacking::Capabilities)
}

/// Drops [`DANGEROUS`] from the bounding set of the calling thread.
pub fn forbid_dangerous() -> Result<(), Errno> {
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        // An ordinary user has none to drop.
        return Ok(());
    }
    DANGEROUS.into_iter().try_for_each(remove_capability_from_bounding_set)
}

fn drop_capabilities() -> Result<(), Errno> {
    // A thread started by a confined thread has none, and may not call prctl(2).
    if capabilities(None).is_ok_and(|own| own.permitted.is_empty()) {
        return Ok(());
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// From now on no path can be opened, no mount made, and no TCP port bound or connected to.
fn close_files() -> Option<Lacking> {
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => None,
        Ok(RulesetStatus::PartiallyEnforced) => Some(Lacking::OldLandlock),
        Ok(RulesetStatus::NotEnforced) | Err(_) => Some(Lacking::Landlock),
    }
}

fn limit_calls(role: Role) -> Option<Lacking> {
    let no = SeccompAction::Errno(Errno::PERM.raw_os_error().cast_unsigned());
    let (calls, listed, others): (&[i64], _, _) = match role {
        Role::Frames => (syscalls::FRAMES, SeccompAction::Allow, no),
        Role::Requests => (syscalls::NEVER, no, SeccompAction::Allow),
    };
    let limit = || {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let architecture = std::env::consts::ARCH.try_into()?;
        let program: BpfProgram = SeccompFilter::new(rules, others, listed, architecture)?.try_into()?;
        seccompiler::apply_filter(&program)?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    limit().err().map(|_| Lacking::Seccomp)
}
