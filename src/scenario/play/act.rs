//! Does the action of a step: commands in instances, edits through the Controller, captures.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::format::{Action, Capture, Direction, Edit, Exec, Modify, Ping, Replies, Step};
use super::super::judge::Seen;
use super::evidence::Recording;
use super::network::Change;
use super::{GLANCE, Player, lock};
use crate::file::template::Scope;
use crate::file::values::Text;
use crate::lab::{CommandSpec, End, Outcome, Running};
use crate::model::AddressOrPrefix;
use crate::model::duration::later;
use crate::model::route_table::RouteEdit;
use crate::topology::format::route_target;

/// Default time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A background program with an unreadable configuration ends within this time.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Time for a stopped command to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// The action as a command line.
pub(super) fn describe(step: &Step, scope: &Scope) -> String {
    let action = &step.action;
    let text = |text: &Text| text.fill(scope).unwrap_or_else(|_| text.written().to_owned());
    match action {
        Action::Exec(exec) => {
            let line = match (&exec.run, &exec.argv) {
                (Some(run), _) => text(run).trim().to_owned(),
                (None, argv) => argv.iter().flatten().map(text).collect::<Vec<_>>().join(" "),
            };
            let background = if exec.background.is_some() { " &" } else { "" };
            format!("{}$ {line}{background}", exec.on.value)
        }
        Action::Ping(ping) => {
            let line = ping_line(ping, waits_for_all(step, ping), scope);
            format!("{}$ {}", ping.from.value, line.join(" "))
        }
        Action::Mapping(edits) => {
            let edits: Vec<String> = edits
                .iter()
                .map(|edit| match edit {
                    Edit {
                        assign: Some(address),
                        to: Some(to),
                        ..
                    } => {
                        format!("assign {} to {}", text(address), to.value)
                    }
                    Edit {
                        reassign: Some(address),
                        to: Some(to),
                        ..
                    } => {
                        format!("move {} to {}", text(address), to.value)
                    }
                    Edit {
                        unassign: Some(address),
                        from: Some(from),
                        ..
                    } => {
                        format!("unassign {} from {}", text(address), from.value)
                    }
                    // The check of the file excludes other forms.
                    _ => "edit".to_owned(),
                })
                .collect();
            format!("mapping: {}", edits.join(", "))
        }
        Action::Modify(modify) => format!("interface of {}: {}", modify.interface.value, changes(modify)),
        Action::Route(route) => {
            let to = text(&route.to);
            match &route.via {
                Some(via) => format!("route table {}: {to} via {}", route.table.value, via.value),
                None => format!("route table {}: no {to}", route.table.value),
            }
        }
        Action::Rules(change) => super::filters::describe_rules(change),
        Action::Entry(change) => super::filters::describe_entry(change),
        Action::Wait(time) => format!("wait {}", humantime::format_duration(*time)),
        Action::Capture(capture) => format!("{}$ {} &", capture.on.value, capture_line(capture, scope)),
        Action::Responder(_) | Action::Probe(_) | Action::Fault(_) | Action::Instance(..) => {
            super::failover::describe(action, scope)
        }
        Action::Stop(name) => format!("stop {name}"),
        Action::Parallel(steps) => format!("{} steps at the same time", steps.len()),
        Action::Expect => "expect".to_owned(),
    }
}

fn changes(modify: &Modify) -> String {
    let on = |on| if on { "on" } else { "off" };
    let all = [
        modify
            .source_dest_check
            .map(|check| format!("source/destination check {}", on(check))),
        modify.groups.as_ref().map(|groups| {
            let names: Vec<&str> = groups.iter().map(|name| name.value.as_str()).collect();
            format!("security groups {}", names.join(" "))
        }),
        modify.mtu.map(|mtu| format!("MTU {mtu}")),
        modify.ntp_skew.map(|skew| format!("time {skew} ahead")),
        modify.allowances.map(|allowances| format!("allowances {allowances}")),
        modify.tracking.map(|tracking| format!("tracking {tracking}")),
        modify.metadata.as_ref().map(|change| {
            let fields = serde_json::to_string(change).unwrap_or_default();
            format!("metadata {fields}")
        }),
        modify.detach.then(|| "detached".to_owned()),
        modify
            .attach_to
            .as_ref()
            .map(|host| format!("attached to {}", host.value)),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Whether a ping ends with the last answer and not when that is due: where each request is to be answered, in one attempt.
fn waits_for_all(step: &Step, ping: &Ping) -> bool {
    let answered = matches!(step.expect.replies, None | Some(Replies::Answered));
    answered && step.within.is_none() && !ping.broadcast
}

/// The command. With `-c` alone, ping waits for the last answer no longer than two round trips or one interval, which is too
/// short on a busy machine. With `-w` it goes on until that many answers are there or the time is up; a request beyond the
/// count is sent only while an answer is missing, and does not stand for it (`judge`).
fn ping_line(ping: &Ping, waits: bool, scope: &Scope) -> Vec<String> {
    let seconds = |time: Duration| format!("{}", time.as_secs_f64());
    let interval = ping
        .interval
        .map_or(Duration::from_millis(200), |interval| interval.get());
    let wait = ping.wait.map_or(Duration::from_secs(1), |wait| wait.get());
    let mut line = vec!["ping".to_owned(), "-n".to_owned()];
    line.extend(["-c".to_owned(), ping.count.unwrap_or(3).to_string()]);
    line.extend(["-i".to_owned(), seconds(interval)]);
    line.extend(match waits {
        true => {
            // ping takes whole seconds; one more for a machine that sends late.
            let sending = interval.saturating_mul(ping.count.unwrap_or(3));
            let deadline = sending.saturating_add(wait).as_secs_f64().ceil() + 1.0;
            ["-w".to_owned(), deadline.to_string()]
        }
        false => ["-W".to_owned(), seconds(wait)],
    });
    if let Some(size) = ping.size {
        line.extend(["-s".to_owned(), size.to_string()]);
    }
    if ping.broadcast {
        line.push("-b".to_owned());
    }
    if let Some(source) = &ping.source {
        line.extend([
            "-I".to_owned(),
            source.fill(scope).unwrap_or_else(|_| source.written().to_owned()),
        ]);
    }
    line.push(ping.to.fill(scope).unwrap_or_else(|_| ping.to.written().to_owned()));
    line
}

/// The time of an unanswered ping, and some more for a busy machine.
fn ping_timeout(ping: &Ping) -> Duration {
    let interval = ping
        .interval
        .map_or(Duration::from_millis(200), |interval| interval.get());
    let wait = ping.wait.map_or(Duration::from_secs(1), |wait| wait.get());
    let sending = interval.saturating_mul(ping.count.unwrap_or(3));
    sending.saturating_add(wait).saturating_add(Duration::from_secs(10))
}

fn capture_line(capture: &Capture, scope: &Scope) -> String {
    let direction = if capture.direction == Direction::In {
        "-Q in "
    } else {
        ""
    };
    let filter = capture
        .filter
        .as_ref()
        .map(|filter| filter.fill(scope).unwrap_or_else(|_| filter.written().to_owned()));
    let verbose = if capture.verbose { "-vvv " } else { "" };
    format!(
        "tcpdump -n -e {verbose}-i eth0 {direction}{}",
        filter.unwrap_or_default()
    )
    .trim_end()
    .to_owned()
}

impl Player<'_> {
    /// Does the action. An error says why it could not be done; a bad result is for the judge.
    pub(super) fn act(&self, step: &Step) -> Result<Seen, String> {
        let scope = self.scope();
        match &step.action {
            Action::Exec(exec) => self.exec(exec, &scope),
            Action::Ping(ping) => {
                let command = command(ping_line(ping, waits_for_all(step, ping), &scope)).timeout(ping_timeout(ping));
                self.run(&ping.from.value, &command)
            }
            Action::Mapping(edits) => {
                let changes = edits
                    .iter()
                    .map(|edit| change(edit, &scope))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Seen {
                    refused: self.stage.edit(changes).err(),
                    ..Seen::default()
                })
            }
            Action::Modify(modify) => Ok(Seen {
                refused: self.stage.modify(modify).err(),
                ..Seen::default()
            }),
            Action::Route(route) => {
                let to = fill(&route.to, &scope)?;
                let to = to.parse().map_err(|_| format!("`{to}` is not a destination"))?;
                let edit = match &route.via {
                    Some(via) => RouteEdit::Put(to, route_target(&via.value)),
                    None => RouteEdit::Delete(to),
                };
                Ok(Seen {
                    refused: self.stage.edit_route(&route.table.value, edit).err(),
                    ..Seen::default()
                })
            }
            Action::Rules(change) => Ok(Seen {
                refused: self.stage.edit_rules(change).err(),
                ..Seen::default()
            }),
            Action::Entry(change) => Ok(Seen {
                refused: self.stage.edit_entry(change).err(),
                ..Seen::default()
            }),
            Action::Wait(time) => {
                self.pause(*time);
                Ok(Seen::default())
            }
            Action::Capture(capture) => {
                let filter = capture.filter.as_ref().map(|filter| fill(filter, &scope)).transpose()?;
                let mut recording = Recording::start(
                    &*self.stage.instance(&capture.on.value)?,
                    filter,
                    capture.direction == Direction::Both,
                )?;
                recording.tell_all(capture.verbose);
                lock(&self.captures).insert(capture.start.value.clone(), recording);
                Ok(Seen::default())
            }
            Action::Responder(responder) => self.respond(responder),
            Action::Probe(probe) => self.probe(probe, &scope),
            Action::Fault(fault) => self.fault(fault, &scope),
            Action::Instance(change, instance) => self.change_instance(*change, instance),
            Action::Stop(name) => self.stop(name),
            // The Player plays steps in parallel; an expectation alone does nothing.
            Action::Parallel(_) | Action::Expect => Ok(Seen::default()),
        }
    }

    fn exec(&self, exec: &Exec, scope: &Scope) -> Result<Seen, String> {
        let mut command = match (&exec.run, &exec.argv) {
            (Some(run), _) => CommandSpec::shell(fill(run, scope)?),
            (None, argv) => {
                let argv = argv
                    .iter()
                    .flatten()
                    .map(|word| fill(word, scope))
                    .collect::<Result<Vec<_>, _>>()?;
                CommandSpec::new(argv)
            }
        }
        .env("LC_ALL", "C");
        for (variable, value) in &exec.environment {
            command = command.env(variable, fill(value, scope)?);
        }
        self.write_files(&exec.on.value, &exec.files, scope)?;
        let Some(name) = &exec.background else {
            return self.run(
                &exec.on.value,
                &command.timeout(exec.timeout.map_or(COMMAND_TIMEOUT, |limit| limit.get())),
            );
        };
        command.timeout = exec.timeout.map(|limit| limit.get());
        let running = self
            .stage
            .booted(&exec.on.value)?
            .start(&command)
            .map_err(|error| error.to_string())?;
        self.keep(&name.value, &exec.on.value, running.clone());
        Ok(begun(&running, &name.value))
    }

    /// Stores a background command.
    pub(super) fn keep(&self, name: &str, instance: &str, running: Running) {
        lock(&self.started_programs).push((name.to_owned(), instance.to_owned(), running.clone()));
        lock(&self.background).insert(name.to_owned(), running);
    }

    fn write_files(&self, instance: &str, files: &BTreeMap<String, Text>, scope: &Scope) -> Result<(), String> {
        for (path, content) in files {
            self.stage
                .booted(instance)?
                .write_file(Path::new(path), &fill(content, scope)?)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn run(&self, instance: &str, command: &CommandSpec) -> Result<Seen, String> {
        let running = self
            .stage
            .booted(instance)?
            .start(command)
            .map_err(|error| error.to_string())?;
        Ok(seen(&self.wait(&running)))
    }

    /// Waits for a command, and kills it when the run ends before.
    fn wait(&self, running: &Running) -> Outcome {
        loop {
            if let Some(outcome) = running.wait_for(GLANCE) {
                return outcome;
            }
            if self.is_over() {
                running.kill();
                return running.wait();
            }
        }
    }

    fn stop(&self, name: &str) -> Result<Seen, String> {
        if let Some(running) = lock(&self.background).remove(name) {
            // SIGINT first: ping, tcpdump and iperf then print their summaries.
            if running.signal(Signal::SIGINT) {
                lock(&self.stopped_programs).insert(name.to_owned());
            }
            let until = later(Instant::now(), GRACE);
            while Instant::now() < until && !self.is_over() {
                if let Some(outcome) = running.wait_for(GLANCE) {
                    return Ok(seen(&outcome));
                }
            }
            return Ok(seen(&running.stop(GRACE)));
        }
        if let Some(seen) = self.stop_probe_or_fault(name)? {
            return Ok(seen);
        }
        let mut captures = lock(&self.captures);
        let recording = captures
            .get_mut(name)
            .ok_or_else(|| format!("nothing called `{name}` is running"))?;
        recording.stop();
        Ok(Seen {
            exit: Some(0),
            stdout: recording.lines()?,
            ..Seen::default()
        })
    }
}

fn command(argv: Vec<String>) -> CommandSpec {
    CommandSpec::new(argv).env("LC_ALL", "C")
}

pub(super) fn fill(text: &Text, scope: &Scope) -> Result<String, String> {
    text.fill(scope).map_err(|error| error.to_string())
}

/// The observations of a background program. If it ends at once with an error, the next steps lack it.
fn begun(running: &Running, name: &str) -> Seen {
    match running.wait_for(AT_ONCE) {
        Some(outcome) if outcome.end.code() != 0 => Seen {
            ended_at_once: Some(name.to_owned()),
            ..seen(&outcome)
        },
        // It is running, or it has daemonized.
        _ => Seen::default(),
    }
}

fn seen(outcome: &Outcome) -> Seen {
    Seen {
        exit: Some(outcome.end.code()),
        stdout: outcome.stdout.text(),
        stderr: outcome.stderr.text(),
        refused: None,
        timed_out: outcome.end == End::TimedOut,
        ended_at_once: None,
    }
}

fn change(edit: &Edit, scope: &Scope) -> Result<Change, String> {
    let address = |text: &Text| {
        fill(text, scope)?
            .parse::<AddressOrPrefix>()
            .map_err(|error| error.to_string())
    };
    match edit {
        Edit {
            assign: Some(text),
            to: Some(to),
            ..
        } => Ok(Change::Assign {
            address: address(text)?,
            instance: to.value.clone(),
            move_allowed: false,
        }),
        Edit {
            reassign: Some(text),
            to: Some(to),
            ..
        } => Ok(Change::Assign {
            address: address(text)?,
            instance: to.value.clone(),
            move_allowed: true,
        }),
        Edit {
            unassign: Some(text),
            from: Some(from),
            ..
        } => Ok(Change::Unassign {
            address: address(text)?,
            instance: from.value.clone(),
        }),
        _ => Err("an edit is one of `assign`, `move` and `unassign`".to_owned()),
    }
}
