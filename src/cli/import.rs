//! Implements `localvpc import`: writes what the AWS command line printed as a topology file, or applies it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::remote::Remote;
use super::run::read_text;
use super::{Done, Failure, print};
use crate::topology::{Import, ImportError, yaml};

/// What to import.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// Files with the JSON of 'aws ec2 describe-vpcs', '-subnets', '-route-tables', '-network-interfaces', '-instances',
    /// '-security-groups', '-network-acls', '-internet-gateways', '-nat-gateways', '-addresses', '-managed-prefix-lists' or
    /// '-dhcp-options', any of them; `-` for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Make the network on the running server instead of writing a file
    #[arg(long)]
    apply: bool,
}

pub(super) fn import(arguments: &ImportArguments, remote: &Remote) -> Done {
    let mut import = Import::default();
    for file in &arguments.files {
        let (name, text) = read_text(file)?;
        import.read(&name, &text).map_err(wrong)?;
    }
    let imported = import.finish().map_err(wrong)?;
    if remote.json && !arguments.apply {
        let value = serde_json::to_value(&imported);
        let value = value.map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))?;
        print(&format!("{value:#}\n"));
        return Ok(());
    }
    // Standard error may be closed.
    let mut err = std::io::stderr().lock();
    for left in &imported.left_out {
        let _ = writeln!(err, "not carried: {left}");
    }
    let text = yaml(&imported.topology);
    if arguments.apply {
        return super::topology::up(remote, text, false, false);
    }
    print(&text);
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn wrong(error: ImportError) -> Failure {
    Failure::new(Failure::USAGE, miette::miette!(help = error.remedy(), "{error}"))
}
