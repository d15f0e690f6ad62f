//! Implements `diff`, `export`, `down`, and `up` on a running server.

use std::path::PathBuf;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::remote::{Remote, failed};
use super::run::read_text;
use super::show::pretty;
use super::{Done, Failure, print};
use crate::api::ClientError;
use crate::api::rest::PlanView;
use crate::file::template::Scope;
use crate::lab::Keeper;
use crate::runtime::cleanup;
use crate::scenario::format;
use crate::store::Journal;
use crate::topology::format::Topology;
use crate::topology::{Action, Change, Extras, Layout, Plan, Running, yaml};

/// A file to compare with the running network.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// A topology file, or a scenario file, of which the topology is taken; `-` for standard input
    topology: PathBuf,
    /// Count what runs and is not in the file, which `up --prune` removes
    #[arg(long)]
    prune: bool,
}

/// A file whose resources are removed.
#[derive(Debug, Args)]
pub struct DownArguments {
    /// A topology file, or a scenario file, of which the topology is taken; `-` for standard input
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    topology: Option<PathBuf>,
    /// Remove the whole network of the server, if one runs, and end the hosts that killed servers have left in keepers
    #[arg(long)]
    all: bool,
}

/// Reads a file, and reports mistakes with their places before the server is contacted.
pub(super) fn read(file: &std::path::Path) -> Result<(String, Topology), Failure> {
    let (name, text) = read_text(file)?;
    let topology = format::read_any_topology(&name, &text);
    let topology = topology.map_err(|error| Failure::new(Failure::USAGE, error))?;
    Ok((text, topology))
}

/// Refuses, with its place, what a server that starts with this file would refuse.
pub(super) fn check_alone(file: &std::path::Path, text: &str, topology: &Topology) -> Done {
    let checked = crate::topology::check_alone(&file.display().to_string(), text, topology);
    checked.map_err(|error| Failure::new(Failure::USAGE, error))
}

pub(super) fn ask(remote: &Remote, method: Method, path: &str, text: Option<String>) -> Result<Value, Failure> {
    let (client, runtime) = remote.connect()?;
    let answer = runtime.block_on(async {
        match text {
            Some(text) => client.send_file(method, path, text).await,
            None => client.get(path).await,
        }
    });
    answer.map_err(|error| {
        if remote.json {
            print(&error.document().map(pretty).unwrap_or_default());
        } else {
            print(&what_was_done(&error));
        }
        failed(error)
    })
}

/// The changes that a plan made before it was stopped, if any.
fn what_was_done(error: &ClientError) -> String {
    let Some(document) = error.document() else {
        return String::new();
    };
    let changes = |list: &str| {
        let changes = document.get(list).cloned().unwrap_or_default();
        serde_json::from_value::<Vec<Change>>(changes).unwrap_or_default()
    };
    let (applied, partly, not) = (changes("applied"), changes("partly_applied"), changes("not_applied"));
    if applied.is_empty() && partly.is_empty() {
        return match not.is_empty() {
            true => String::new(),
            false => format!("Nothing was changed. These were to be:\n{}", lines(&not)),
        };
    }
    let mut text = String::new();
    for (title, list) in [("Applied", applied), ("Applied in part", partly), ("Not applied", not)] {
        if !list.is_empty() {
            text.push_str(&format!("{title}:\n{}", lines(&list)));
        }
    }
    text
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

fn plan_of(answer: &Value) -> Result<PlanView, Failure> {
    serde_json::from_value(answer.clone()).map_err(|error| {
        let message = miette::miette!("the server's answer is no plan: {error}");
        Failure::new(Failure::IMPOSSIBLE, message)
    })
}

/// The changes, and the resources that stay although the file does not name them.
fn shown(plan: &PlanView) -> String {
    let mut text = lines(&plan.changes);
    for kept in &plan.kept {
        text.push_str(&format!(
            "  {} {} is not in the file, and stays\n",
            kept.kind, kept.name
        ));
    }
    text
}

/// The number of changes of each kind, in words.
fn summary(changes: &[Change], words: [&str; 4]) -> String {
    if changes.is_empty() {
        return "Nothing to change\n".to_owned();
    }
    let actions = [Action::Create, Action::Alter, Action::Replace, Action::Remove];
    let counts = actions.into_iter().zip(words).map(|(action, word)| {
        let count = changes.iter().filter(|change| change.action == action).count();
        format!("{count} {word}")
    });
    counts.collect::<Vec<_>>().join(", ") + "\n"
}

fn plan_path(prune: bool) -> &'static str {
    match prune {
        true => "/v1/topology/plan?prune=true",
        false => "/v1/topology/plan",
    }
}

/// Shows what `up` would change. As in diff(1), the exit code is 1 if there is a difference, and 2 on errors.
pub fn diff(arguments: &DiffArguments, remote: &Remote) -> Done {
    let trouble = |failure: Failure| Failure {
        code: Failure::USAGE,
        ..failure
    };
    let (text, _) = read(&arguments.topology).map_err(trouble)?;
    let answer = ask(remote, Method::POST, plan_path(arguments.prune), Some(text)).map_err(trouble)?;
    let plan = plan_of(&answer).map_err(trouble)?;
    show_plan(remote, &answer, &plan);
    match (&plan.refusal, plan.changes.is_empty()) {
        (Some(refusal), _) => Err(Failure::new(Failure::USAGE, miette::miette!("{refusal}"))),
        (None, true) => Ok(()),
        (None, false) => Err(Failure::silent(Failure::REFUSED)),
    }
}

fn show_plan(remote: &Remote, answer: &Value, plan: &PlanView) {
    if remote.json {
        print(&pretty(answer));
        return;
    }
    let words = ["to make", "to alter", "to replace", "to remove"];
    print(&(shown(plan) + &summary(&plan.changes, words)));
}

/// Changes a running server to the file, or shows what that would change.
pub(super) fn up(remote: &Remote, text: String, prune: bool, dry_run: bool) -> Done {
    if dry_run {
        let answer = ask(remote, Method::POST, plan_path(prune), Some(text))?;
        let plan = plan_of(&answer)?;
        show_plan(remote, &answer, &plan);
        return match plan.refusal {
            Some(refusal) => Err(Failure::new(Failure::REFUSED, miette::miette!("{refusal}"))),
            None => Ok(()),
        };
    }
    // PUT replaces the whole network, PATCH leaves alone what the file does not name.
    let verb = if prune { Method::PUT } else { Method::PATCH };
    let answer = ask(remote, verb, "/v1/topology", Some(text))?;
    done(remote, &answer)
}

/// The changes that create the file's network from nothing.
pub(super) fn dry_run(remote: &Remote, topology: &Topology) -> Done {
    let desired = Layout::desired(topology, &Scope::default());
    let desired = desired.map_err(|refusal| Failure::new(Failure::REFUSED, miette::miette!("{refusal}")))?;
    let plan = PlanView::from(Plan::new(&desired, Running::default(), Extras::Keep));
    let answer = serde_json::to_value(&plan).unwrap_or_default();
    show_plan(remote, &answer, &plan);
    Ok(())
}

/// Removes the resources of the file.
pub fn down(arguments: &DownArguments, remote: &Remote) -> Done {
    let Some(topology) = &arguments.topology else {
        return down_all(remote);
    };
    let (text, _) = read(topology)?;
    let answer = ask(remote, Method::POST, "/v1/topology/remove", Some(text))?;
    done(remote, &answer)
}

/// Removes the network of the server, and ends keepers without a server.
fn down_all(remote: &Remote) -> Done {
    let directory = cleanup::directory().map_err(impossible)?;
    let mut ended = Vec::new();
    for folder in cleanup::keepers(&directory).map_err(impossible)? {
        // The folder may be gone; its keeper is found by it, and goes with the machine then.
        let Ok(Some(keeper)) = Keeper::find(&folder) else {
            continue;
        };
        if Journal::is_used(&folder) {
            continue;
        }
        keeper.end().map_err(impossible)?;
        ended.push(folder);
    }
    if !remote.json {
        for folder in &ended {
            print(&format!("ended what a killed server has left: {}\n", folder.display()));
        }
    }
    match ask(remote, Method::GET, "/v1/topology", None) {
        Ok(network) => {
            let answer = ask(remote, Method::POST, "/v1/topology/remove", Some(network.to_string()))?;
            done(remote, &answer)
        }
        // Without a server nothing is left.
        Err(failure) if failure.code == Failure::IMPOSSIBLE && failure.document.is_none() => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn impossible(error: impl std::fmt::Display) -> Failure {
    Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}"))
}

fn done(remote: &Remote, answer: &Value) -> Done {
    let plan = plan_of(answer)?;
    if remote.json {
        print(&pretty(answer));
        return Ok(());
    }
    let words = ["made", "altered", "replaced", "removed"];
    print(&(shown(&plan) + &summary(&plan.changes, words)));
    Ok(())
}

/// Writes the running network as a file.
pub fn export(remote: &Remote) -> Done {
    let file = ask(remote, Method::GET, "/v1/topology", None)?;
    print(&match remote.json {
        true => pretty(&file),
        false => yaml(&file),
    });
    Ok(())
}
