//! The command line.

use std::process::ExitCode;

use localvpc::probe::responder::{RESPONDER_SUBCOMMAND, responder_main};
use localvpc::{cli, lab, runtime};

fn main() -> ExitCode {
    // First of all: process 1 of an instance is this program too, and needs nothing else of it.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == lab::INIT_SUBCOMMAND => lab::init_main(arguments),
        Some(first) if first == lab::KEEPER_SUBCOMMAND => runtime::keeper_main(arguments),
        Some(first) if first == RESPONDER_SUBCOMMAND => responder_main(arguments),
        _ => cli::main(std::env::args_os()),
    }
}
