//! The command line.

use std::process::ExitCode;

use localvpc::{cli, lab};

fn main() -> ExitCode {
    // Before anything else: process 1 of an instance is this program too, and has no use for the rest of it.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == lab::INIT_SUBCOMMAND) {
        return lab::init_main(arguments);
    }
    cli::main(std::env::args_os())
}
