//! Builds the fuzz targets with the flags of cargo-fuzz, without a sanitizer, which the stable compiler accepts.
//!
//! `cargo fuzz run decide` works as well.

use crate::run::{Outcome, cargo, program, root, variable};

/// Coverage for libFuzzer.
const FLAGS: [&str; 6] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

fn triple() -> String {
    variable("FUZZ_TARGET", "x86_64-unknown-linux-gnu")
}

/// Builds all targets into `fuzz/target`. `FUZZ_BUILD` has the profile's arguments.
pub(crate) fn build() -> Outcome {
    let profile = variable("FUZZ_BUILD", "--release");
    cargo(["build", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
        .args(profile.split_whitespace())
        .args(["--target", &triple(), "--target-dir", "fuzz/target"])
        .env("RUSTFLAGS", FLAGS.join(" "))
        .run()
}

/// Feeds arbitrary bytes to each of `FUZZ_TARGETS` (all in `fuzz/fuzz_targets`) for an equal part of `FUZZ_SECONDS` (60).
pub(crate) fn fuzz() -> Outcome {
    build()?;
    let targets = match variable("FUZZ_TARGETS", "") {
        given if given.is_empty() => all()?,
        given => given.split_whitespace().map(str::to_owned).collect(),
    };
    let seconds: u64 = variable("FUZZ_SECONDS", "60")
        .parse()
        .map_err(|_| "FUZZ_SECONDS is not a number of seconds".to_owned())?;
    let each = (seconds / targets.len().max(1) as u64).max(1);
    for target in targets {
        let folder = |kind: &str| format!("fuzz/{kind}/{target}");
        for kind in ["corpus", "artifacts"] {
            std::fs::create_dir_all(root().join(folder(kind))).map_err(|error| format!("{}: {error}", folder(kind)))?;
        }
        println!("fuzz: {target}, {each} s");
        let seeds = Some(folder("seeds")).filter(|seeds| root().join(seeds).is_dir());
        program(&format!("fuzz/target/{}/release/{target}", triple()))
            .args([
                &format!("-max_total_time={each}"),
                "-max_len=4096",
                "-print_final_stats=1",
            ])
            .args([
                "-rss_limit_mb=512",
                "-timeout=10",
                &format!("-artifact_prefix={}/", folder("artifacts")),
            ])
            .arg(folder("corpus"))
            .args(seeds)
            .run()?;
    }
    Ok(())
}

/// The names of the files in `fuzz/fuzz_targets`, sorted.
fn all() -> Outcome<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}
