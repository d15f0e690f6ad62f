//! Does failover steps: probes and their results, faults, hosts that hang or die.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::format::{Action, FaultForm, InstanceChange, ProbeForm, ResponderForm};
use super::super::judge::Seen;
use super::act::fill;
use super::{GLANCE, Player, lock};
use crate::file::template::Scope;
use crate::lab::CommandSpec;
use crate::model::InterfaceId;
use crate::model::duration::later;
use crate::probe::outage::{Ownership, ownership};
use crate::probe::responder::{READY, RESPONDER_SUBCOMMAND};
use crate::probe::{ECHO_PORT, Mark, MarkKind, Outage, Probe, ProbeRecord, ProbeReport, ProbeSpec};
use crate::report::run::{ProgramLog, ms};

/// A responder needs some milliseconds; a machine short of memory may need longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Events within this many nanoseconds before or after a probe are in its timeline.
const MARGIN: i64 = 10_000_000_000;

/// A running probe.
pub(super) struct Probing {
    probe: Probe,
    /// The last event before it began.
    after: u64,
}

/// The action in words.
pub(super) fn describe(action: &Action, scope: &Scope) -> String {
    match action {
        Action::Responder(responder) => format!(
            "{}: answer probes at port {}",
            responder.on.value,
            responder.port.unwrap_or(ECHO_PORT)
        ),
        Action::Probe(probe) => {
            let to = probe.to.fill(scope).unwrap_or_else(|_| probe.to.written().to_owned());
            let kind = format!("{:?}", probe.kind).to_uppercase();
            let rate = probe.rate.unwrap_or(100);
            format!("{}: probe {to} by {kind}, {rate} a second", probe.from.value)
        }
        Action::Fault(fault) => format!("fault: {}", fault.shown(scope)),
        Action::Instance(change, instance) => format!("{} {instance}", change.word()),
        _ => String::new(),
    }
}

impl Player<'_> {
    pub(super) fn respond(&self, responder: &ResponderForm) -> Result<Seen, String> {
        let name = &responder.on.value;
        let command = CommandSpec::new([
            self.stage.program().display().to_string(),
            RESPONDER_SUBCOMMAND.to_owned(),
            name.clone(),
            responder.port.unwrap_or(ECHO_PORT).to_string(),
        ]);
        let running = self.stage.booted(name)?.start(&command);
        let running = running.map_err(|error| error.to_string())?;
        self.keep(&responder.start.value, name, running.clone());
        let until = later(Instant::now(), PATIENCE);
        while !running.stdout().text().contains(READY) {
            if running.wait_for(GLANCE / 5).is_some() {
                return Err(format!("the responder ended: {}", running.stderr().text().trim()));
            }
            if Instant::now() > until || self.is_over() {
                return Err("the responder does not become ready".to_owned());
            }
        }
        Ok(Seen::default())
    }

    pub(super) fn probe(&self, form: &ProbeForm, scope: &Scope) -> Result<Seen, String> {
        let to = fill(&form.to, scope)?;
        let target = to.parse().map_err(|_| format!("`{to}` is not an IP address"))?;
        let usual = ProbeSpec::new(form.kind, target);
        let spec = ProbeSpec {
            port: form.port,
            path: form.path.clone(),
            rate: form.rate.unwrap_or(usual.rate),
            timeout: form.timeout.unwrap_or(usual.timeout),
            ..usual
        };
        let from = &form.from.value;
        let instance = self.stage.instance(from)?;
        let interface = self.stage.interface(from)?;
        let controller = self.stage.controller();
        let after = controller.last_event();
        let probe = Probe::start(instance.namespace(), from, spec, Some((controller, interface)));
        let probe = probe.map_err(|error| error.to_string())?;
        lock(&self.probes).insert(form.start.value.clone(), Probing { probe, after });
        Ok(Seen::default())
    }

    pub(super) fn fault(&self, form: &FaultForm, scope: &Scope) -> Result<Seen, String> {
        let spec = form.spec(scope).map_err(|error| error.to_string())?;
        self.note(MarkKind::Fault, format!("fault: {}", form.shown(scope)));
        match (self.stage.begin_fault(spec), &form.start) {
            (Ok(id), Some(name)) => drop(lock(&self.faults).insert(name.clone(), id)),
            (Ok(_), None) => {}
            (Err(refused), _) => {
                return Ok(Seen {
                    refused: Some(refused),
                    ..Seen::default()
                });
            }
        }
        Ok(Seen::default())
    }

    pub(super) fn change_instance(&self, change: InstanceChange, name: &str) -> Result<Seen, String> {
        let instance = self.stage.instance(name)?;
        let kind = match change {
            InstanceChange::Thaw => MarkKind::FaultEnd,
            _ => MarkKind::Fault,
        };
        self.note(kind, format!("{} {name}", change.word()));
        let done = match change {
            InstanceChange::Freeze => instance.freeze(),
            InstanceChange::Thaw => instance.thaw(),
            InstanceChange::Kill => instance.kill_processes(),
            InstanceChange::Crash => {
                instance.crash();
                Ok(())
            }
        };
        done.map(|()| Seen::default()).map_err(|error| error.to_string())
    }

    /// Ends a probe or a fault; `None` when there is none of this name.
    pub(super) fn stop_probe_or_fault(&self, name: &str) -> Result<Option<Seen>, String> {
        if let Some(fault) = lock(&self.faults).remove(name) {
            self.note(MarkKind::FaultEnd, format!("fault {name} ends"));
            self.stage.end_fault(fault);
            return Ok(Some(Seen::default()));
        }
        // A statement of its own: the lock is released while the last answers are awaited.
        let probing = lock(&self.probes).remove(name);
        match probing {
            Some(probing) => {
                self.conclude(name, probing)?;
                Ok(Some(Seen::default()))
            }
            None => Ok(None),
        }
    }

    fn conclude(&self, name: &str, probing: Probing) -> Result<(), String> {
        let Probing { probe, after } = probing;
        let record = probe.stop().map_err(|error| format!("the probe failed: {error}"))?;
        let events = self.stage.controller().events(Some(after)).backlog;
        let owners = ownership(&events, record.spec.target, record.began());
        let names = self.stage.interface_names();
        let report = ProbeReport {
            name: name.to_owned(),
            outage: Outage::from_record(&record, &owners),
            marks: self.marks(&record, &owners, &names),
            owners,
            names,
            record,
        };
        lock(&self.probed).push(Arc::new(report));
        Ok(())
    }

    /// Records an event for the timeline.
    fn note(&self, kind: MarkKind, text: String) {
        lock(&self.happened).push((SystemTime::now(), kind, text));
    }

    /// The events while a probe ran, in order.
    fn marks(&self, record: &ProbeRecord, owners: &[Ownership], names: &BTreeMap<String, String>) -> Vec<Mark> {
        let since = |at: SystemTime| match at.duration_since(record.began()) {
            Ok(after) => after.as_nanos() as i64,
            Err(before) => -(before.duration().as_nanos() as i64),
        };
        let name = |id: Option<InterfaceId>| {
            let id = id.map_or_else(|| "no interface".to_owned(), |id| id.to_string());
            names.get(&id).cloned().unwrap_or(id)
        };
        let happened = lock(&self.happened).clone();
        let mut marks: Vec<Mark> = happened
            .into_iter()
            .map(|(at, kind, text)| Mark {
                at: since(at),
                kind,
                text,
            })
            .collect();
        marks.extend(owners.iter().map(|owner| Mark {
            at: owner.at,
            kind: MarkKind::ApiCall,
            text: format!("API call: {} after {}", name(owner.to), name(owner.from)),
        }));
        if let Some(ladder) = &self.ladder {
            let controller = self.stage.controller();
            let heard = ladder.announcements(record.spec.target, record.began(), controller);
            marks.extend(heard.into_iter().map(|announcement| Mark {
                at: since(announcement.at),
                kind: MarkKind::Announcement,
                text: format!("{}: {}", announcement.from, announcement.packet),
            }));
        }
        let last = owners.iter().rev().find(|owner| owner.to.is_some());
        let fates = || record.requests.iter().flat_map(|request| &request.fates);
        if let Some(owner) = last
            && let Some(first) = fates()
                .filter(|fate| fate.delivered_to == owner.to && fate.at as i64 >= owner.at)
                .map(|fate| fate.at)
                .min()
        {
            marks.push(Mark {
                at: first as i64,
                kind: MarkKind::FirstPacket,
                text: format!("first packet at {}", name(owner.to)),
            });
        }
        // Events long before or after the probe belong to another part of the scenario.
        let end = record.requests.iter().map(|request| request.sent).max().unwrap_or(0) as i64;
        marks.retain(|mark| (-MARGIN..=end + MARGIN).contains(&mark.at));
        marks.sort_by_key(|mark| mark.at);
        marks
    }

    /// Ends everything that is still running; returns the reports of probes and the output of programs.
    pub(super) fn end(self) -> (Vec<ProbeReport>, Vec<ProgramLog>) {
        let probes = std::mem::take(&mut *lock(&self.probes));
        for (name, probing) in probes {
            if let Err(problem) = self.conclude(&name, probing) {
                tracing::warn!(probe = name, problem, "a probe without a report");
            }
        }
        let programs = std::mem::take(&mut *lock(&self.started_programs));
        let stopped = std::mem::take(&mut *lock(&self.stopped_programs));
        let logs = programs.into_iter().map(|(name, instance, running)| ProgramLog {
            stopped: stopped.contains(&name),
            name,
            instance,
            exit: running.try_wait().map(|end| end.code()),
            ran_ms: running.wait_for(Duration::ZERO).map(|outcome| ms(outcome.elapsed)),
            stdout: running.stdout().text(),
            stderr: running.stderr().text(),
        });
        let logs = logs.collect();
        let reports = std::mem::take(&mut *lock(&self.probed));
        let reports = reports.into_iter().map(Arc::unwrap_or_clone).collect();
        (reports, logs)
    }
}
