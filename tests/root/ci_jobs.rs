//! Runs the steps of the example jobs in `docs/ci`: they pass with the scenarios, and show mistakes and failures.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::tools::needs;

const SCENARIO: &str = "name: a-ping
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
  subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
  instances:
    a: { subnet: s, ipv4: [10.0.1.10] }
    b: { subnet: s, ipv4: [10.0.1.11] }
steps:
- ping: { from: a, to: 10.0.1.11, count: 1 }
";

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The shell commands of a job that are run where the program is installed.
fn scripts(name: &str) -> Vec<String> {
    let job = file(name);
    match name {
        "github.yml" => {
            let steps = job["jobs"]["scenarios"]["steps"].as_array().unwrap();
            let played = steps
                .iter()
                .filter(|step| step["name"] == "check" || step["name"] == "play");
            let script = |step: &Value| step["run"].as_str().unwrap().replace("sudo ", "");
            played.map(script).collect()
        }
        _ => {
            let lines = job["scenarios"]["script"].as_array().unwrap();
            lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
        }
    }
}

/// Runs a job in a folder with this scenario, up to the step that fails: whether it passed, and what it said.
fn run(name: &str, folder: &Path, scenario: &str) -> (bool, String) {
    std::fs::create_dir_all(folder.join("scenarios")).unwrap();
    std::fs::write(folder.join("scenarios/a-ping.yaml"), scenario).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_localvpc")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut said = String::new();
    let scripts = scripts(name);
    assert_eq!(scripts.len(), 2, "{name}");
    for script in scripts {
        let output = Command::new("sh")
            .args(["-e", "-c", &script])
            .current_dir(folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return (false, said);
        }
    }
    (true, said)
}

#[test]
#[ignore = "needs root: make test"]
fn the_example_jobs_leave_reports_and_show_mistakes_and_failures() {
    needs("jq", "jq");
    for (name, mistake) in [
        (
            "github.yml",
            "::error file=scenarios/a-ping.yaml,line=6,col=27::a list is expected here",
        ),
        ("gitlab.yml", "scenarios/a-ping.yaml:6:27: a list is expected here"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (passed, said) = run(name, folder, SCENARIO);
        assert!(passed, "{name}: {said}");
        let junit = std::fs::read_to_string(folder.join("results.xml")).unwrap();
        assert!(junit.contains("failures=\"0\""), "{name}: {junit}");
        assert!(
            folder.join("report.html").is_file() && folder.join("captures").is_dir(),
            "{name}"
        );
        let (passed, said) = run(name, folder, &SCENARIO.replace("[10.0.1.10]", "10.0.1.10"));
        assert!(!passed && said.contains(mistake), "{name}: {said}");
        assert!(said.contains("write it in brackets"), "{name}: {said}");
        let (passed, said) = run(name, folder, &SCENARIO.replace("to: 10.0.1.11", "to: 10.0.1.99"));
        assert!(!passed, "{name}: {said}");
        let junit = std::fs::read_to_string(folder.join("results.xml")).unwrap();
        assert!(junit.contains("failures=\"1\""), "{name}: {junit}");
    }
}
