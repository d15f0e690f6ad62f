//! Runs the developer's tasks: `cargo xtask regenerate`, `examples`, `tools`, `fuzz`, `loom`, `figures` and `repeat`.
//!
//! The Makefile and `.ci/run` call it. Settings are environment variables of the same names as the Makefile's variables.

mod failover;
mod fuzz;
mod packages;
mod run;

use std::process::ExitCode;

use run::{Outcome, cargo};

const USAGE: &str = "\
cargo xtask COMMAND

regenerate        write api/openapi.json, the schemas, their references and api/ec2-coverage.md anew
examples          write api/examples.json anew: what a server answers to each operation (root), and regenerate
tools [tests|agents]  install the programs of the demo, of all tests, or of the clusters of `make agents` (root)
fuzz [build]      fuzz each target, or only build them
loom              run the tables of threads under the model checker
figures ARGUMENTS run the tests that compare figures, with some optimization
repeat            play each failover scenario several times

Variables: CARGO, FUZZ_SECONDS, FUZZ_TARGETS, FUZZ_TARGET, FUZZ_BUILD, REPEAT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["regenerate"] => regenerate(),
        ["examples"] => examples(),
        ["tools"] => packages::install(packages::DEMO),
        ["tools", "agents"] => packages::install(packages::AGENTS),
        ["tools", "tests"] => packages::install_for_tests(),
        ["fuzz"] => fuzz::fuzz(),
        ["fuzz", "build"] => fuzz::build(),
        ["loom"] => loom(),
        ["figures", rest @ ..] => figures(rest),
        ["repeat"] => failover::repeat(),
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the files that are generated from the code. Each test that compares one with the code writes it instead.
fn regenerate() -> Outcome {
    cargo(["test", "--locked", "--test", "pure", "--", "openapi", "schema"])
        .env("LOCALVPC_UPDATE_OPENAPI", "1")
        .env("UPDATE_API", "1")
        .run()?;
    cargo([
        "test",
        "--locked",
        "--lib",
        "--",
        "api::ec2::tests",
        "scenario::reference",
    ])
    .env("LOCALVPC_UPDATE_EC2", "1")
    .env("UPDATE_API", "1")
    .run()
}

/// Writes what a server answers to the examples of requests, which the description then shows.
fn examples() -> Outcome {
    let test = "every_operation_answers_as_its_example_in_the_description_says";
    cargo(["test", "--locked", "--test", "root", "--", "--include-ignored", test])
        .env("LOCALVPC_UPDATE_EXAMPLES", "1")
        .run()?;
    regenerate()
}

/// Tries every order in which a writer and a reader of the mapping table can take turns.
fn loom() -> Outcome {
    cargo([
        "test",
        "--locked",
        "--release",
        "--manifest-path",
        "loom/Cargo.toml",
        "--target-dir",
        "loom/target",
    ])
    .env("RUSTFLAGS", "--cfg loom")
    .env("LOOM_MAX_PREEMPTIONS", "3")
    .run()
}

/// Runs the tests that compare figures. Without any optimization a check of a frame takes several times as long, and a copy
/// does not; so the crate itself is optimized a little, and SQLite, in whose C a commit spends most of its time. The other
/// dependencies are those of the other tests, and built already. Its programs have a folder of their own, `figures` in the target
/// folder, so that they can be built while other tests run theirs.
fn figures(arguments: &[&str]) -> Outcome {
    let mut command = cargo(["test", "--locked", "--features", "bench-tools"]);
    for setting in ["opt-level=1", "debug-assertions=false", "overflow-checks=false"] {
        command = command
            .arg("--config")
            .arg(format!("profile.dev.package.localvpc.{setting}"));
    }
    for package in ["libsqlite3-sys", "rusqlite"] {
        command = command
            .arg("--config")
            .arg(format!("profile.dev.package.{package}.opt-level=2"));
    }
    let target = run::variable("CARGO_TARGET_DIR", "target");
    command
        .env("CARGO_BUILD_BUILD_DIR", &target)
        .env("CARGO_TARGET_DIR", format!("{target}/figures"))
        .args(["--test", "figures"])
        .args(arguments.iter().copied())
        .run()
}
