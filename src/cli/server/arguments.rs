//! Reads the options that `serve`, `up` and `lab` share.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::super::Failure;
use crate::api::ec2::Keys;
use crate::model::duration::Spin;
use crate::model::region::DEFAULT_REGION;
use crate::store::{Durability, HISTORY, JournalOptions, StoreError};

/// Addresses of a server, and its permissions.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// A TCP address to listen on, several times for several; beyond loopback it takes a token
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Vec<SocketAddr>,
    /// A unix socket to listen on; without --listen the server then is on this socket alone
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// A group whose members may use the socket, too: name or number
    #[arg(long, value_name = "GROUP", requires = "socket", value_parser = group)]
    pub(super) socket_group: Option<u32>,
    /// Where AWS clients are served in addition to the addresses above: an address, or off; 127.0.0.1:4566 if left out, where that is
    /// free and the server is on TCP
    #[arg(long, value_name = "ADDRESS:PORT|off", value_parser = ec2_address)]
    pub(super) ec2: Option<Ec2Choice>,
    /// Throttle requests of the EC2 API as EC2 does: each action has the burst and the rate of its documentation
    #[arg(long)]
    pub(super) ec2_throttling: bool,
    /// Verify the signature of each request of the EC2 API: it needs a key of --ec2-credentials, or those that the metadata
    /// service gives an instance with a role
    #[arg(long)]
    pub(super) verify_sigv4: bool,
    /// A file with the keys that EC2 requests may be signed with, in the form of ~/.aws/credentials
    #[arg(long, value_name = "FILE", requires = "verify_sigv4")]
    pub(super) ec2_credentials: Option<PathBuf>,
    /// A further host name by which clients may call the server
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(super) allowed_hosts: Vec<String>,
    /// Allow clients with the token or on the unix socket to run commands in instances
    #[arg(long)]
    pub(super) allow_exec: bool,
    /// Open TAPs without offload headers: slower, and captures show every frame as it was sent
    #[arg(long)]
    pub(super) no_offload: bool,
    /// Let the switch look for frames for so long before it sleeps, as in 20us, while they keep coming: shorter round trips
    /// for a CPU that has nothing else to do; worth a try with more than two CPUs
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(super) spin: Spin,
    /// Write each frame by a system call of its own, as where the kernel has no io_uring: what `strace` then shows is every frame
    #[arg(long)]
    pub(super) no_io_uring: bool,
    /// Make the default VPC of a new AWS account: 172.31.0.0/16 with an internet gateway and a public subnet in each zone; a network
    /// that is kept stays as it is
    #[arg(long)]
    pub(super) default_vpc: bool,
    /// Hold to the default quotas of an AWS account
    #[arg(long)]
    pub(super) aws_limits: bool,
    /// The region that the network is said to be in: it gives the names of zones and hosts
    #[arg(long, default_value = DEFAULT_REGION, value_parser = region)]
    pub(super) region: String,
    /// A resolver for the names that the VPC's resolver does not know; without one they are refused
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) resolver: Option<SocketAddr>,
    /// Choose identifiers and MAC addresses as an earlier start with this seed did
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// The folder of files of flow records, for flow logs that write to a file
    #[arg(long, value_name = "FOLDER")]
    pub(super) flow_logs: Option<PathBuf>,
    /// Make a device of this name in the machine's own network namespace, through which its programs reach Elastic IP addresses and
    /// nothing else; it is gone when the server ends
    #[arg(long, value_name = "NAME", conflicts_with = "replace")]
    pub(super) outside_link: Option<String>,
    /// Keep the network in this folder: every edit is there before it is answered, and the next start goes on with it
    #[arg(long, value_name = "FOLDER")]
    pub(super) state: Option<PathBuf>,
    /// Answer an edit when it is on the disk: what is answered outlives a power failure, and not only this process
    #[arg(long, requires = "state")]
    pub(super) sync: bool,
    /// Take over from the server that runs with this state, without losing a frame; or start, where none runs
    #[arg(long, requires = "state")]
    pub(super) replace: bool,
    /// Stand by for the server that runs with this state: follow its edits, and go on in its place when it has died; or start, where
    /// none runs
    #[arg(long, requires = "state", conflicts_with = "replace")]
    pub(super) standby: bool,
    /// How many MiB past edits may take; the oldest are dropped first
    #[arg(long, value_name = "MIB", requires = "state", default_value_t = DEFAULT_HISTORY, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(super) history: u64,
    /// Go on with what there is where edits that were answered are missing at the end of the state
    #[arg(long, requires = "state")]
    pub(super) recover: bool,
}

/// MiB for past edits.
const DEFAULT_HISTORY: u64 = HISTORY >> 20;

impl ServerArguments {
    /// The keys that EC2 requests may be signed with.
    pub(super) fn keys(&self) -> Result<Keys, Failure> {
        let Some(file) = &self.ec2_credentials else {
            return Ok(Keys::default());
        };
        Keys::read(file).map_err(|error| Failure::new(Failure::USAGE, miette::miette!("{error}")))
    }

    /// How the folder with the state is opened.
    pub(super) fn journal(&self) -> JournalOptions {
        JournalOptions {
            durability: if self.sync {
                Durability::Power
            } else {
                Durability::Process
            },
            history: self.history.saturating_mul(1 << 20),
            recover: self.recover,
            ..JournalOptions::new(&self.region)
        }
    }
}

/// A state that cannot be used.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn unreadable(error: StoreError) -> Failure {
    Failure::new(Failure::IMPOSSIBLE, miette::miette!(help = error.remedy(), "{error}"))
}

/// Where AWS clients are to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ec2Choice {
    Off,
    At(SocketAddr),
}

fn ec2_address(text: &str) -> Result<Ec2Choice, String> {
    match text {
        "off" => Ok(Ec2Choice::Off),
        _ => match text.parse() {
            Ok(address) => Ok(Ec2Choice::At(address)),
            Err(_) => Err("write an address with a port, as in 127.0.0.1:4566, or off".to_owned()),
        },
    }
}

/// A group by name or number.
fn group(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err("there is no such group".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A region, which becomes a part of host names.
fn region(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("write lower case letters, digits and -, as in eu-central-1".to_owned())
    }
}
