//! Implements `localvpc capture`: frames as they cross the switch, dropped ones included, as pcapng.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::remote::{copied, with_query};
use super::{Done, Failure, names};
use crate::api::Client;

/// What to capture, and where to write it.
#[derive(Debug, Args)]
pub struct CaptureArguments {
    /// Both directions at this interface, several times for several; without it every frame once, where it comes in
    #[arg(short, long, add = ArgValueCompleter::new(names::interfaces))]
    interface: Vec<String>,
    /// The file to write, which must not be there yet; standard output if left out
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after this many frames
    #[arg(short, long)]
    count: Option<u64>,
    /// End after this time, such as 10s
    #[arg(long)]
    duration: Option<String>,
    /// Octets of each frame that are kept
    #[arg(long)]
    snaplen: Option<usize>,
    /// Frames that match, in the words of a pcap filter: icmp or (tcp port 80 and host 10.0.1.10)
    filter: Vec<String>,
}

/// Writes until the count or the time is reached, the server ends, or the reader closes its end.
pub(super) async fn capture(client: &Client, arguments: CaptureArguments) -> Done {
    let unusable = |report: miette::Report| Failure::new(Failure::USAGE, report);
    let mut out: Box<dyn Write> = match &arguments.write {
        Some(path) => {
            // A mistyped interface must not cost an existing file its content.
            let file = std::fs::File::create_new(path)
                .map_err(|error| unusable(miette::miette!("cannot make the file {}: {error}", path.display())))?;
            Box::new(file)
        }
        None if std::io::stdout().is_terminal() => {
            return Err(unusable(miette::miette!(
                help = "name a file with --write, or pipe it: localvpc capture | tcpdump -nr -",
                "a capture is not for a terminal"
            )));
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let path = with_query(
        "/v1/captures",
        &[
            (
                "interface",
                (!arguments.interface.is_empty()).then(|| arguments.interface.join(",")),
            ),
            (
                "filter",
                (!arguments.filter.is_empty()).then(|| arguments.filter.join(" ")),
            ),
            ("count", arguments.count.map(|count| count.to_string())),
            ("duration", arguments.duration),
            ("snaplen", arguments.snaplen.map(|octets| octets.to_string())),
        ],
    );
    copied(client, &path, &mut *out, "the capture").await
}
