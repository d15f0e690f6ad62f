//! Writes files and binds sockets of an instance from outside: a file written to its `/etc` exists there alone, and a
//! socket bound in its `/run` can be reached by its programs although it has no network to this process.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Component, Path};

use super::instance::{Instance, InstanceError};
use super::machine::Machine;
use crate::contain;

/// Directories of which an instance has its own layer; all others are the machine's.
pub const OWN_DIRECTORIES: [&str; 5] = ["/etc", "/home", "/root", "/run", "/var"];

/// A file that an instance has from its first process on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFile {
    /// Where it is; under one of [`OWN_DIRECTORIES`].
    pub path: &'static str,
    /// What it holds.
    pub text: String,
    /// Whether that comes behind what the machine's own file holds.
    pub behind: bool,
}

/// True for a path in one of the instance's own directories.
pub fn is_own(path: &Path) -> bool {
    path.components().all(|part| !matches!(part, Component::ParentDir))
        && OWN_DIRECTORIES
            .iter()
            .any(|own| path.starts_with(own) && path != Path::new(own))
}

impl Instance {
    /// Writes a file in the instance, creating its parent directories. A script, which begins with `#!`, becomes
    /// executable.
    pub fn write_file(&self, path: &Path, content: &str) -> Result<(), InstanceError> {
        self.write_in(&*self.machine()?, path, content)
    }

    /// Puts a file in place, behind what is there or instead of it.
    pub(super) fn put_in(&self, machine: &Machine, file: &HostFile) -> Result<(), InstanceError> {
        let path = Path::new(file.path);
        if !file.behind {
            return self.write_in(machine, path, &file.text);
        }
        let mut known = String::new();
        self.among_files(machine, path, || match fs::read(path) {
            Ok(octets) => {
                known = String::from_utf8_lossy(&octets).into_owned();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })?;
        if !known.is_empty() && !known.ends_with('\n') {
            known.push('\n');
        }
        self.write_in(machine, path, &(known + &file.text))
    }

    pub(super) fn write_in(&self, machine: &Machine, path: &Path, content: &str) -> Result<(), InstanceError> {
        self.among_files(machine, path, || {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            // An existing file may belong to the machine and be unreadable, like /etc/shadow.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::write(path, content)?;
            let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        })
    }

    /// Binds a unix socket at a path of the instance, for its root alone. It vanishes when the instance crashes.
    pub fn listen(&self, path: &Path) -> Result<UnixListener, InstanceError> {
        self.bind_in(&*self.machine()?, path, 0o600)
    }

    pub(super) fn bind_in(&self, machine: &Machine, path: &Path, mode: u32) -> Result<UnixListener, InstanceError> {
        self.among_files(machine, path, || {
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            Ok(listener)
        })
    }

    fn among_files<T: Send>(
        &self,
        machine: &Machine,
        path: &Path,
        act: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, InstanceError> {
        let wrong = |source| InstanceError::File {
            name: self.name().to_owned(),
            path: path.to_owned(),
            source,
        };
        if !is_own(path) {
            let problem = format!("only files under {} are its own", OWN_DIRECTORIES.join(", "));
            return Err(wrong(io::Error::new(io::ErrorKind::PermissionDenied, problem)));
        }
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("files".into())
                .spawn_scoped(scope, || {
                    contain::site(path.to_str().unwrap_or("files"));
                    machine.enter()?;
                    act()
                })?;
            contain::joined("the thread that writes files", thread)?
        })
        .map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_its_own_are_written() {
        for own in ["/etc/keepalived/keepalived.conf", "/run/x", "/root/.aws/config"] {
            assert!(is_own(Path::new(own)), "{own}");
        }
        for not in [
            "/usr/bin/x",
            "/tmp/x",
            "etc/x",
            "/etc",
            "/etc/../usr/bin/x",
            "/etcetera/x",
            "/",
        ] {
            assert!(!is_own(Path::new(not)), "{not}");
        }
    }
}
