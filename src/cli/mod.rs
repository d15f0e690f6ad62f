//! Implements the command line and its exit codes.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; of `run`: every expectation held |
//! | 1 | refused, or of `run`: an expectation did not hold; of `diff`: there is a difference |
//! | 2 | wrong usage, or a file that cannot be read |
//! | 3 | it could not be done: no server, no privilege, a network that cannot be made |
//! | 130 | interrupted |

mod block;
mod capture;
mod ec2;
mod edge;
mod endpoints;
mod failure;
mod faults;
mod filters;
mod firewall;
mod flow_logs;
mod graph;
mod ignored;
mod import;
mod links;
mod man;
mod names;
mod nat;
mod profiles;
pub mod remote;
mod routes;
pub mod run;
pub mod server;
mod show;
pub mod top;
pub mod topology;
pub mod transcript;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::aot::Shell;
use clap_complete::env::CompleteEnv;

use crate::confine::{self, rootless};
use crate::runtime::cleanup::{self, Record};
pub use failure::Failure;

/// A cloud VPC on one machine.
#[derive(Debug, Parser)]
#[command(name = "localvpc", version, about, after_help = AFTER_HELP)]
struct Cli {
    /// Say more of what is being done, on standard error; twice for everything. `RUST_LOG` says it in detail.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(flatten)]
    remote: remote::Remote,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage or file, 3 could not be done, \
                          130 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API of an empty network
    Serve(server::ServerArguments),
    /// Make the network of a topology file, with its hosts, and serve its API; or change that of a --server to it
    Up(server::UpArguments),
    /// Show what a topology file would change on a running server: exit code 0 for nothing, 1 for something, 2 for trouble
    Diff(topology::DiffArguments),
    /// Take away what a topology file names from a running server
    Down(topology::DownArguments),
    /// Write the network of a running server as a topology file
    Export,
    /// Write what 'aws ec2 describe-…' printed as a topology file, with the same identifiers, addresses, rules, routes and tags
    Import(import::ImportArguments),
    /// Make some hosts in one subnet, say how to enter them, and serve the API
    Lab(server::LabArguments),
    /// Play scenarios, each on a network of its own, and say whether all that they expect is so
    Run(run::RunArguments),
    /// Watch the ports of a server's switch: what flows through each, and why frames are dropped
    Top(top::TopArguments),
    #[command(flatten)]
    Query(remote::Query),
    /// Draw the network of a file or of a running server: SVG, DOT or Mermaid; or say which instance reaches which
    Graph(graph::GraphArguments),
    /// Show the profiles: how the fabric of AWS, of its Xen years, and of other networks behave
    Profiles(profiles::ProfileArguments),
    /// Print which part of the EC2 API is implemented
    Ec2(ec2::Ec2Arguments),
    /// Print the OpenAPI description of the API
    Openapi,
    /// Print the JSON Schema of scenario or topology files
    Schema {
        /// Of which kind of file
        #[arg(value_enum, default_value_t = SchemaKind::Scenario)]
        kind: SchemaKind,
        /// Print a reference in Markdown instead
        #[arg(long)]
        reference: bool,
    },
    /// Print a completion script for a shell; it completes the names of a running server's resources, too
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of localvpc, or write the pages of all commands into a folder
    Man(man::ManArguments),
}

/// Kinds of files that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SchemaKind {
    Scenario,
    Topology,
}

type Done = Result<(), Failure>;

/// Runs the command line.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A shell that requests completions gets them here, and the process ends.
    CompleteEnv::with_factory(|| filters::hide(Cli::command())).complete();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = filters::hide(Cli::command())
        .try_get_matches_from(&arguments)
        .and_then(|matches| ignored::refuse(Cli::command(), &matches).map(|()| matches))
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) => return failure::of_usage(&error, &arguments),
    };
    log_to_stderr(cli.verbose);
    let json = cli.remote.json;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.show(json),
    }
}

/// Gives the process the rights that a network requires, and no others. Call it before there is a second thread.
fn become_capable() -> Done {
    rootless::enter().map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))?;
    if let Err(lacking) = confine::process() {
        tracing::warn!("{lacking}");
    }
    Ok(())
}

fn dispatch(cli: Cli) -> Done {
    match cli.command {
        Command::Serve(arguments) => server::serve(&arguments, &cli.remote),
        Command::Up(arguments) => server::up(&arguments, &cli.remote),
        Command::Diff(arguments) => topology::diff(&arguments, &cli.remote),
        Command::Down(arguments) => topology::down(&arguments, &cli.remote),
        Command::Export => topology::export(&cli.remote),
        Command::Import(arguments) => import::import(&arguments, &cli.remote),
        Command::Lab(arguments) => server::lab(&arguments, &cli.remote),
        Command::Run(arguments) => run::run(&arguments, cli.remote.json, cli.verbose > 0),
        Command::Top(arguments) => top::top(&cli.remote, &arguments),
        Command::Query(query) => remote::query(&cli.remote, query),
        Command::Graph(arguments) => graph::graph(&cli.remote, &arguments),
        Command::Profiles(arguments) => profiles::profiles(&arguments, cli.remote.json),
        Command::Ec2(arguments) => ec2::ec2(&arguments, cli.remote.json),
        Command::Openapi => {
            print(&crate::api::openapi_json());
            Ok(())
        }
        Command::Schema { kind, reference } => {
            let schema = match kind {
                SchemaKind::Scenario => crate::scenario::schema::scenario(),
                SchemaKind::Topology => crate::scenario::schema::topology(),
            };
            print(&match reference {
                true => crate::scenario::reference::reference(&schema),
                false => format!("{schema:#}\n"),
            });
            Ok(())
        }
        Command::Completions { shell } => {
            print(&names::script(shell)?);
            Ok(())
        }
        Command::Man(arguments) => man::man(filters::hide(Cli::command()), &arguments),
    }
}

/// Writes to standard output. A reader that ended (`| head`) is no error.
fn print(text: &str) {
    let _ = written(text);
}

/// Writes to standard output; an error when its reader has gone. What goes on until it is stopped ends then.
fn written(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Removes and reports what killed processes have left, and begins the record of this one. An error is not fatal.
fn begin_record(command: &str) -> Option<Record> {
    let begun = cleanup::directory().and_then(|directory| {
        for dead in cleanup::sweep(&directory)? {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "localvpc: {dead}.");
        }
        Record::begin(&directory, command)
    });
    begun
        .inspect_err(|error| tracing::warn!(%error, "what is left if this is killed will not be taken away"))
        .ok()
}

/// Whether to write colors: to a terminal, unless `NO_COLOR` is set.
fn colors(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "localvpc=info,warn",
        _ => "localvpc=debug,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // A subscriber that is set already, as in tests, stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colors(&std::io::stderr()))
        .with_target(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
