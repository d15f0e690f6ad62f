//! Installs programs and libraries of PyPI for tests, at fixed versions, into a folder that is kept between runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The folder of the programs of a virtual environment with the packages of a requirements file.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let marker = place.join("installed");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return place.join("bin");
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&place)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "packages python3 and python3-venv: {}",
        says(&made)
    );
    let installed = Command::new(place.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "-r", requirements])
        .output()
        .unwrap();
    assert!(installed.status.success(), "{}", says(&installed));
    std::fs::write(marker, wanted).unwrap();
    place.join("bin")
}
