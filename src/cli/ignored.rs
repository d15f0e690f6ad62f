//! Refuses options that a command would ignore.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::filters;

/// Options that a command does not use, with the reason.
const WITHOUT_USE: &[(&str, &[&str], &str)] = &[
    (
        "serve",
        &["server"],
        "it starts a server: choose its address with --listen or --socket",
    ),
    (
        "lab",
        &["server"],
        "it starts a server: choose its address with --listen or --socket",
    ),
    (
        "run",
        &["server", "token_file"],
        "each scenario is played on a network of its own, without a server",
    ),
    (
        "openapi",
        &["server", "token_file", "json"],
        "it prints the description that this program has",
    ),
    (
        "ec2",
        &["server", "token_file"],
        "it prints what this program implements",
    ),
    (
        "schema",
        &["server", "token_file", "json"],
        "it prints the schema that this program has, which is JSON",
    ),
    (
        "profiles",
        &["server", "token_file"],
        "it shows the profiles that this program has",
    ),
    (
        "completions",
        &["server", "token_file", "json"],
        "it prints a script for a shell",
    ),
    ("man", &["server", "token_file", "json"], "it prints manual pages"),
    ("capture", &["json"], "it writes pcapng"),
];

/// Commands that show tables of the network as it is declared: resources with identifiers, which have a past.
const RESOURCES: &[&str] = &[
    "vpcs",
    "subnets",
    "interfaces",
    "mappings",
    "route-tables",
    "security-groups",
    "network-acls",
    "prefix-lists",
    "internet-gateways",
    "elastic-ips",
    "outside",
    "flow-logs",
    "nat-gateways",
    "egress-only-internet-gateways",
    "peering-connections",
    "vpc-endpoints",
    "dhcp-options",
];

/// Other commands that show tables with identifiers.
const TABLES: &[&str] = &["ports", "instances", "scenarios", "runs", "faults", "history"];

/// Other commands that ask about the network as it is declared.
const WITH_PAST: &[&str] = &["explain", "export", "graph"];

/// Options without effect under `run --check`, which plays nothing.
const NOT_CHECKED: &[&str] = &[
    "seed",
    "keep_going",
    "repeat",
    "junit",
    "html",
    "capture",
    "captures",
    "no_offload",
];

/// Options of `up` that apply only when it starts the server itself.
const OF_A_START: &[&str] = &[
    "listen",
    "socket",
    "socket_group",
    "ec2",
    "allowed_hosts",
    "allow_exec",
    "no_offload",
    "spin",
    "no_io_uring",
    "aws_limits",
    "region",
    "resolver",
    "seed",
    "outside_link",
    "state",
    "sync",
    "history",
    "recover",
    "standby",
];

/// A usage error for the first option that the command would ignore.
pub(super) fn refuse(mut command: Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, inner)) = matches.subcommand() else {
        return Ok(());
    };
    let of_command = WITHOUT_USE.iter().filter(|(of, ..)| *of == name);
    for (_, options, why) in of_command {
        first_given(inner, options, &format!("has no use for `{name}`: {why}"), &mut command)?;
    }
    if !RESOURCES.contains(&name) && !TABLES.contains(&name) {
        let why = format!("has no use for `{name}`, which shows no table of resources");
        first_given(inner, &["wide"], &why, &mut command)?;
    }
    if !RESOURCES.contains(&name) && !WITH_PAST.contains(&name) {
        let why = format!("has no use for `{name}`, which does not ask how the network was");
        first_given(inner, &["at"], &why, &mut command)?;
    }
    let why = format!("is no filter of `{name}`: its entries have none");
    first_given(inner, &filters::lacking(name), &why, &mut command)?;
    match name {
        "run" if inner.get_flag("check") => first_given(
            inner,
            NOT_CHECKED,
            "has no use with --check, which plays nothing",
            &mut command,
        ),
        "up" if given(inner, "server") => {
            let why = "is for a server that is started, and --server names one that runs";
            first_given(inner, OF_A_START, why, &mut command)
        }
        _ => Ok(()),
    }
}

fn first_given(matches: &ArgMatches, options: &[&str], why: &str, command: &mut Command) -> Result<(), clap::Error> {
    let Some(option) = options.iter().find(|option| given(matches, option)) else {
        return Ok(());
    };
    let shown = match *option {
        "allowed_hosts" => "allow-host".to_owned(),
        other => other.replace('_', "-"),
    };
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, format!("--{shown} {why}\n")).with_cmd(command))
}

/// Whether an option is on the command line; environment variables are for the commands that use them.
fn given(matches: &ArgMatches, option: &str) -> bool {
    let known = matches.ids().any(|id| id == option);
    known && matches.value_source(option) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    fn refusal(line: &str) -> Option<String> {
        let matches = Cli::command()
            .try_get_matches_from(line.split(' '))
            .expect("it is well formed");
        refuse(Cli::command(), &matches).err().map(|error| error.to_string())
    }

    #[test]
    fn an_option_that_a_command_would_ignore_is_refused() {
        for (line, part) in [
            ("localvpc run --server x a.yaml", "--server has no use for `run`"),
            ("localvpc --server x run a.yaml", "--server has no use for `run`"),
            ("localvpc lab --server x", "choose its address with --listen"),
            (
                "localvpc run --check --repeat 3 a.yaml",
                "--repeat has no use with --check",
            ),
            (
                "localvpc run --check --html o.html a.yaml",
                "--html has no use with --check",
            ),
            (
                "localvpc up --server x --allow-host n t.yaml",
                "--allow-host is for a server that is started",
            ),
            ("localvpc schema --json", "--json has no use for `schema`"),
            ("localvpc top --wide", "--wide has no use for `top`"),
            ("localvpc profiles --server x", "--server has no use for `profiles`"),
            ("localvpc runs --mac 02:00:00:00:00:01", "--mac is no filter of `runs`"),
            ("localvpc dhcp-options --vpc v", "--vpc is no filter of `dhcp-options`"),
        ] {
            let refused = refusal(line).unwrap_or_else(|| panic!("{line} is not refused"));
            assert!(refused.contains(part), "{line}: {refused}");
        }
    }

    #[test]
    fn an_option_that_is_used_is_not_refused() {
        for line in [
            "localvpc run --json a.yaml",
            "localvpc run --check -p x=y a.yaml",
            "localvpc up --server x t.yaml",
            "localvpc up --listen 127.0.0.1:9 t.yaml",
            "localvpc vpcs --server x --json",
            "localvpc --wide vpcs",
            "localvpc security-groups --wide --at 3 --name web",
            "localvpc elastic-ips --wide --at 3 --tag stage=test",
            "localvpc mappings --vpc home --address 10.0.1.10",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
    }

    #[test]
    fn every_option_and_command_of_the_tables_exists() {
        let command = Cli::command();
        let exists = |of: &Command, option: &str| of.get_arguments().any(|argument| argument.get_id() == option);
        for (name, options, _) in WITHOUT_USE {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            assert!(
                options.iter().all(|option| exists(&command, option)),
                "{name}: {options:?}"
            );
        }
        for name in RESOURCES.iter().chain(TABLES).chain(WITH_PAST) {
            assert!(command.find_subcommand(name).is_some(), "{name}");
        }
        for (name, _) in filters::LISTS {
            assert!(
                RESOURCES.contains(name) || TABLES.contains(name),
                "{name} shows a table"
            );
        }
        for (name, options) in [("run", NOT_CHECKED), ("up", OF_A_START)] {
            let of = command.find_subcommand(name).expect("it is there");
            for option in options {
                assert!(exists(of, option), "{name}: {option}");
            }
        }
    }
}
