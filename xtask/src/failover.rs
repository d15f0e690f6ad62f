//! Plays each failover scenario several times: every run must come to the same verdict.

use crate::run::{Outcome, cargo, program, root, variable};

/// Plays the scenarios that `tests/root/failover.rs` names, `REPEAT` (20) times each.
pub(crate) fn repeat() -> Outcome {
    let file = root().join("tests/root/failover.rs");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let scenarios = scenarios(&text);
    if scenarios.is_empty() {
        return Err(format!("{} names no scenario", file.display()));
    }
    cargo(["build", "--release", "--locked", "--bin", "localvpc"]).run()?;
    let binary = format!("{}/release/localvpc", variable("CARGO_TARGET_DIR", "target"));
    let count = variable("REPEAT", "20");
    let failed: Vec<&str> = scenarios
        .into_iter()
        .filter(|name| {
            let run = program(&binary).args(["run", "--repeat", &count, &format!("scenarios/{name}")]);
            run.run().is_err()
        })
        .collect();
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("not the same verdict in {count} runs: {}", failed.join(" "))),
    }
}

/// The scenarios of the table in the test: lines that begin with the quoted name of a file.
fn scenarios(text: &str) -> Vec<&str> {
    let names = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('"')?.split_once("\", "));
    names
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".yaml") && !name.contains(' '))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_of_the_table_are_found_and_nothing_else() {
        let text = concat!(
            "scenarios! {\n    a_pair_fails_over:\n",
            "        \"keepalived-pair.yaml\", \"true\" => \"false\";\n",
            "    let other = \"x.yaml\";\n        \"a sentence\", 3\n",
        );
        assert_eq!(scenarios(text), ["keepalived-pair.yaml"]);
    }

    #[test]
    fn the_test_file_names_existing_scenarios() {
        let text = std::fs::read_to_string(root().join("tests/root/failover.rs")).unwrap();
        let found = scenarios(&text);
        assert!(found.len() >= 5, "{found:?}");
        for name in found {
            assert!(root().join("scenarios").join(name).is_file(), "{name}");
        }
    }
}
