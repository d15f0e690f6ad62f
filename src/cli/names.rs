//! Completes the names of resources: the shell runs this program, which queries the server.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::aot::Shell;
use clap_complete::engine::CompletionCandidate;
use serde_json::Value;

use super::Failure;
use super::remote::Remote;

/// Completion must not wait for a server that hangs.
const PATIENCE: Duration = Duration::from_millis(500);

/// The script by which a shell requests completions from this program.
pub(super) fn script(shell: Shell) -> Result<String, Failure> {
    let impossible = |error: std::io::Error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("no script: {error}"));
    let shells = clap_complete::env::Shells::builtins();
    let name = shell.to_string();
    let completer = shells
        .completer(&name)
        .ok_or_else(|| Failure::new(Failure::USAGE, miette::miette!("there are no completions for {name}")))?;
    let program = std::env::current_exe().map_err(impossible)?;
    let mut script = Vec::new();
    completer
        .write_registration(
            "COMPLETE",
            "localvpc",
            "localvpc",
            &program.display().to_string(),
            &mut script,
        )
        .map_err(impossible)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// The names, or else identifiers, of the resources that the server lists at a path.
fn names(path: &str, list: &str, typed: &OsStr) -> Vec<CompletionCandidate> {
    let remote = Remote::of_environment();
    let Ok((client, runtime)) = remote.connect() else {
        return Vec::new();
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, client.get(path)).await });
    let Ok(Ok(answer)) = answer else {
        return Vec::new();
    };
    let typed = typed.to_string_lossy();
    let name = |entry: &Value| {
        let name = entry["name"].as_str().filter(|name| !name.is_empty());
        name.or_else(|| entry["id"].as_str()).map(str::to_owned)
    };
    let entries = answer[list].as_array().cloned().unwrap_or_default();
    let mut found: Vec<String> = entries.iter().filter_map(name).collect();
    found.sort();
    found.retain(|name| name.starts_with(&*typed));
    found.into_iter().map(CompletionCandidate::new).collect()
}

/// Network interfaces.
pub(super) fn interfaces(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/interfaces", "interfaces", typed)
}

/// Subnets.
pub(super) fn subnets(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/subnets", "subnets", typed)
}

/// Instances of the lab.
pub(super) fn instances(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/instances", "instances", typed)
}

/// Route tables.
pub(super) fn route_tables(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/route-tables", "route_tables", typed)
}

/// VPCs.
pub(super) fn vpcs(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/vpcs", "vpcs", typed)
}

/// Security groups.
pub(super) fn security_groups(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/security-groups", "security_groups", typed)
}

/// Network ACLs.
pub(super) fn network_acls(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/network-acls", "network_acls", typed)
}

/// Prefix lists.
pub(super) fn prefix_lists(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/prefix-lists", "prefix_lists", typed)
}

/// Egress-only internet gateways.
pub(super) fn egress_only_gateways(typed: &OsStr) -> Vec<CompletionCandidate> {
    names(
        "/v1/egress-only-internet-gateways",
        "egress_only_internet_gateways",
        typed,
    )
}

/// Peering connections.
pub(super) fn peerings(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/peering-connections", "peering_connections", typed)
}

/// Gateway endpoints.
pub(super) fn vpc_endpoints(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/vpc-endpoints", "vpc_endpoints", typed)
}

/// NAT gateways.
pub(super) fn nat_gateways(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/nat-gateways", "nat_gateways", typed)
}

/// Internet gateways.
pub(super) fn internet_gateways(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/internet-gateways", "internet_gateways", typed)
}

/// Elastic IP addresses.
pub(super) fn elastic_ips(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/elastic-ips", "elastic_ips", typed)
}

/// Flow logs.
pub(super) fn flow_logs(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/flow-logs", "flow_logs", typed)
}

/// Hosts of the outside.
pub(super) fn outside(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/outside", "outside", typed)
}

/// Faults.
pub(super) fn faults(typed: &OsStr) -> Vec<CompletionCandidate> {
    names("/v1/faults", "faults", typed)
}
