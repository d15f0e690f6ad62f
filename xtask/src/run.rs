//! Runs programs from the root of the repository, and reports which one failed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// `Err`: what went wrong, for the terminal.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// A program with its arguments and variables.
pub(crate) struct Program(Command);

/// A program in the root of the repository.
pub(crate) fn program(name: &str) -> Program {
    let mut command = Command::new(name);
    command.current_dir(root());
    Program(command)
}

/// Cargo with these arguments; `CARGO` names another one.
pub(crate) fn cargo(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    // Run by `cargo run`, this process has the variables of its own package.
    let name = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    program(&name).args(arguments)
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// A variable, or its default.
pub(crate) fn variable(name: &str, default: &str) -> String {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

/// Whether a command is on the path, or is an existing file.
pub(crate) fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(command).is_absolute() && Path::new(command).exists()
        || std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

impl Program {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Discards what it writes, errors included.
    pub(crate) fn silent(mut self) -> Self {
        self.0.stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    /// Runs it, and fails unless it exits with 0.
    pub(crate) fn run(mut self) -> Outcome {
        let name = self.0.get_program().to_string_lossy().into_owned();
        let status = self.0.status().map_err(|error| format!("cannot run {name}: {error}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{name} failed: {status}")),
        }
    }
}
