//! Tests the OpenAPI description with external tools: schemathesis compares the server with it, and the client that
//! openapi-python-client generates has every operation.
//!
//! Both come from PyPI at the versions of `tests/openapi/requirements.txt`, into a folder that is kept between runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::support::cli::ApartServer;
use crate::support::python::environment;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi");
const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/openapi.json");
const ADDRESS: &str = "127.0.0.1:8460";

/// The least number of schemathesis's requests.
const CASES: u32 = 2000;

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The folder of the installed tools' programs.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| environment("python", &format!("{FOLDER}/requirements.txt")))
}

/// A server in a network namespace of its own.
struct Server(ApartServer);

impl Server {
    fn start() -> Self {
        Self(ApartServer::start(&["--listen", ADDRESS]))
    }

    /// Has schemathesis try the operations, and returns how many requests it made.
    fn holds_to_its_description(&mut self, operations: &[&str]) -> u32 {
        let run = || {
            Command::new(tools().join("st"))
                .args(["--config-file", &format!("{FOLDER}/schemathesis.toml"), "run"])
                .arg(format!("http://{ADDRESS}/v1/openapi.json"))
                .args(["--checks", "all", "--max-examples", "25", "--no-color"])
                // The speed of generating examples does not matter here.
                .args(["--suppress-health-check", "all"])
                .args(operations)
                // It keeps a cache in its working directory.
                .current_dir(self.0.folder.path())
                .output()
        };
        let output = self.0.namespace.run(run).unwrap().unwrap();
        let said = says(&output);
        assert!(output.status.success(), "{said}");
        assert!(self.0.child.try_wait().unwrap().is_none(), "the server is gone");
        let cases = said
            .split("Test cases:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        cases.unwrap_or_else(|| panic!("how many cases: {said}"))
    }
}

#[test]
#[ignore = "needs root: make test"]
fn schemathesis_finds_nothing() {
    let others = ["--exclude-path=/v1/events", "--exclude-path=/v1/faults"];
    let cases = Server::start().holds_to_its_description(&others);
    println!("{cases} requests");
    assert!(cases >= CASES, "only {cases} requests");
    Server::start().holds_to_its_description(&["--include-path=/v1/faults"]);
}

#[test]
#[ignore = "needs root: make test"]
fn every_example_of_the_description_is_what_its_schema_says() {
    let checked = Command::new(tools().join("python"))
        .args([&format!("{FOLDER}/examples_match.py"), DESCRIPTION])
        .output()
        .unwrap();
    let said = says(&checked);
    assert!(checked.status.success(), "{said}");
    let count = said
        .strip_suffix(" examples\n")
        .and_then(|count| count.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count > 200), "{said}");
}

#[test]
#[ignore = "needs root: make test"]
fn a_client_made_of_the_description_has_every_operation_and_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("client");
    let made = Command::new(tools().join("openapi-python-client"))
        .args(["generate", "--meta", "none", "--path", DESCRIPTION, "--config"])
        .arg(format!("{FOLDER}/client.yaml"))
        .arg("--output-path")
        .arg(&client)
        .output()
        .unwrap();
    let said = says(&made);
    assert!(made.status.success(), "{said}");
    for complaint in ["WARNING", "Unable", "Cannot", "omitted"] {
        assert!(!said.contains(complaint), "{said}");
    }
    let description: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(DESCRIPTION).unwrap()).unwrap();
    let operations = description["paths"].as_object().unwrap().values();
    let mut modules = Vec::new();
    for operation in operations.flat_map(|item| item.as_object().unwrap().values()) {
        let tag = operation["tags"][0].as_str().unwrap().replace('-', "_");
        let name = operation["operationId"].as_str().unwrap();
        // Python's keywords get an underscore.
        let own = client.join(format!("api/{tag}/{name}_.py")).exists();
        modules.push(format!("client.api.{tag}.{name}{}", if own { "_" } else { "" }));
    }
    assert!(modules.len() > 70, "{}", modules.len());
    let script = modules
        .iter()
        .map(|module| format!("import {module}\n"))
        .collect::<String>();
    let imported = Command::new(tools().join("python"))
        .args(["-c", &script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(imported.status.success(), "{}", says(&imported));
}
