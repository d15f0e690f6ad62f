//! Checks failover steps: a probe's target is an address, a fault is well-formed, and figures are expected of a stopped
//! probe.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_saphyr::{Location, Spanned};

use super::super::document::{Exec, ExpectFields, StepFields};
use super::super::failover::{FaultForm, FaultFormError, ProbeForm, TimeRange};
use super::{Action, Checker};
use crate::control::EventKind;
use crate::datapath::DropReason;
use crate::file::diagnostic::Mistake;
use crate::file::values::Count;
use crate::lab::files::{OWN_DIRECTORIES, is_own};
use crate::probe::RATES;

/// A name that a user might give to a host outside the VPC.
const OUTSIDE: &str = "outside";

impl Checker<'_> {
    /// The failover actions of a step.
    pub(super) fn failover(&mut self, fields: &StepFields) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(responder) = &fields.responder {
            self.instance(&responder.on);
            self.start(&responder.start);
            actions.push(Action::Responder(responder.clone()));
        }
        if let Some(probe) = &fields.probe {
            self.probe(probe);
            actions.push(Action::Probe(probe.clone()));
        }
        if let Some(fault) = &fields.fault {
            self.fault(fault);
            actions.push(Action::Fault(fault.value.clone()));
        }
        if let Some(change) = &fields.instance {
            let changes = change.value.changes();
            if changes.len() != 1 {
                self.wrong(
                    Mistake::at(
                        change.referenced,
                        "`instance` has one of `freeze`, `thaw`, `kill` and `crash`",
                    )
                    .help("as in `instance: { kill: a }`"),
                );
            }
            if let Some((what, instance)) = changes.first() {
                self.instance(instance);
                actions.push(Action::Instance(*what, instance.value.clone()));
            }
        }
        actions
    }

    fn probe(&mut self, probe: &ProbeForm) {
        if probe.from.value == OUTSIDE && !self.scope.instances.contains_key(OUTSIDE) {
            let message =
                "a probe cannot come from outside: there is no gateway by which its packets would reach the VPC";
            self.wrong(
                Mistake::at(probe.from.referenced, message)
                    .help("let an instance send it, in a subnet of its own if it is to come by the router"),
            );
        } else {
            self.instance(&probe.from);
        }
        if let Some(to) = self.fill(&probe.to)
            && to.parse::<IpAddr>().is_err()
        {
            self.wrong(Mistake::at(
                probe.to.place(),
                format!("`{to}` is not an IP address that can be probed"),
            ));
        }
        if probe.rate.is_some_and(|rate| !RATES.contains(&rate)) {
            let range = format!("`rate` is from {} to {} a second", RATES.start(), RATES.end());
            self.wrong(Mistake::at(probe.start.referenced, range));
        }
        self.start(&probe.start);
        self.mute.insert(probe.start.value.clone());
        if !self.probes.insert(probe.start.value.clone()) {
            let message = format!("the name `{}` is taken by a probe before this one", probe.start.value);
            self.wrong(Mistake::at(probe.start.referenced, message).help("each has a section in the report"));
        }
    }

    fn fault(&mut self, fault: &Spanned<FaultForm>) {
        let place = fault.referenced;
        match fault.value.spec(&self.scope) {
            Ok(spec) => self.rehearse_fault(place, &spec),
            Err(FaultFormError::Template(error)) => {
                let mut mistake = Mistake::at(place, error.to_string());
                if let Some(remedy) = error.remedy() {
                    mistake = mistake.help(remedy);
                }
                self.wrong(mistake);
            }
            Err(error @ FaultFormError::Unknown(_)) => self.wrong(Mistake::at(place, error.to_string())),
        }
        if let Some(name) = &fault.value.start {
            self.start(&Spanned::new(name.clone(), place, fault.defined));
            self.mute.insert(name.clone());
        }
    }

    /// Checks the files of a command.
    pub(super) fn files(&mut self, exec: &Exec) {
        for (path, content) in &exec.files {
            if !is_own(Path::new(path)) {
                let list = OWN_DIRECTORIES.join(", ");
                self.wrong(
                    Mistake::at(content.place(), format!("`{path}` is not a file of an instance's own"))
                        .help(format!("write it under one of {list}")),
                );
            }
            self.fill(content);
        }
        for value in exec.environment.values() {
            self.fill(value);
        }
    }

    /// Checks counts by drop reason.
    pub(super) fn reasons_of(&mut self, counts: &BTreeMap<String, Spanned<Count>>) {
        for (reason, count) in counts {
            if DropReason::from_name(reason).is_none() {
                let known = DropReason::ALL.iter().map(|reason| reason.name());
                let mistake = Mistake::at(count.referenced, format!("no drop reason is called `{reason}`"));
                self.wrong(mistake.nearest(reason, known));
            }
        }
    }

    /// Checks counts by instance, or by a network interface with a name of its own.
    pub(super) fn interfaces_of(&mut self, counts: &BTreeMap<String, Spanned<Count>>) {
        for (name, count) in counts {
            self.interface(&Spanned::new(name.clone(), count.referenced, count.defined));
        }
    }

    /// Checks the expectations about probes and events. Returns whether there are any.
    pub(super) fn figures(&mut self, expect: &ExpectFields, action: &Action, place: Location) -> bool {
        if let Action::Stop(name) = action
            && self.probes.contains(name)
        {
            self.stopped_probes.insert(name.clone());
        }
        for range in [expect.outage, expect.takeover].into_iter().flatten() {
            if matches!(
                range,
                TimeRange {
                    below: None,
                    above: None
                }
            ) {
                self.wrong(Mistake::at(
                    place,
                    "say `below`, `above` or both, as in `outage: { below: 500ms }`",
                ));
            }
        }
        self.reasons_of(&expect.dropped);
        self.interfaces_of(&expect.delivered_to);
        self.interfaces_of(&expect.answered_by);
        for (name, count) in &expect.events {
            if !EventKind::TYPES.contains(&name.as_str()) {
                let mistake = Mistake::at(count.referenced, format!("no type of event is called `{name}`"));
                self.wrong(mistake.nearest(name, EventKind::TYPES));
            }
        }
        let figures = expect.asks_of_a_probe();
        match (&expect.probe, action) {
            (Some(probe), _) if !self.stopped_probes.contains(&probe.value) => {
                let message = format!("no probe called `{}` has been stopped before this step", probe.value);
                let mistake = Mistake::at(probe.referenced, message);
                self.wrong(mistake.nearest(&probe.value, self.stopped_probes.iter().map(String::as_str)));
            }
            (Some(probe), _) if !figures => {
                self.wrong(
                    Mistake::at(
                        probe.referenced,
                        "`probe` says which one, but nothing is expected of it",
                    )
                    .help("add `outage`, `lost`, `misdelivered` or another of its figures"),
                );
            }
            (None, Action::Stop(name)) if figures && self.probes.contains(name) => {}
            (None, _) if figures => self.wrong(
                Mistake::at(place, "these figures are of a probe, and none is named")
                    .help("write `probe: NAME`, or expect them where the probe is stopped"),
            ),
            _ => {}
        }
        figures || !expect.events.is_empty()
    }
}

impl ExpectFields {
    /// Whether there is an expectation about the network's own counters, packets or events.
    pub(in crate::scenario) fn looks_outside(&self) -> bool {
        !(self.ports.is_empty() && self.captures.is_empty() && self.events.is_empty() && self.flows.is_empty())
    }

    /// Whether there is an expectation about a probe.
    pub(in crate::scenario) fn asks_of_a_probe(&self) -> bool {
        let counts = [self.sent, self.answered, self.lost, self.misdelivered];
        let lists = [&self.answered_by, &self.delivered_to, &self.dropped];
        self.outage.is_some()
            || self.takeover.is_some()
            || counts.iter().any(Option::is_some)
            || lists.iter().any(|list| !list.is_empty())
    }
}
