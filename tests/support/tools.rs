//! Checks for the programs of a test: a test without one fails, and names the package.

/// Fails the test, with the name of the package, unless the command is on the path.
#[track_caller]
pub(crate) fn needs(command: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(command).is_file());
    assert!(
        found,
        "this test runs `{command}`: `make test-tools` installs it (package {package})"
    );
}
