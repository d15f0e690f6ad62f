//! Checks a scenario before anything is created: a step does one thing, uses existing names, and can fail.

mod expect;
mod failover;
mod filters;
mod flows;
mod rehearse;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::document::{
    Capture, Document, Edit, EntryChange, Exec, ExpectFields, Modify, Parameter, Ping, RouteChange, RulesChange,
    StepFields,
};
use super::failover::{FaultForm, InstanceChange, ProbeForm, ResponderForm};
use crate::file::diagnostic::{FileError, MOST_FOUND, Mistake};
use crate::file::template::Scope;
use crate::file::values::Text;
use crate::model::AddressOrPrefix;
use crate::model::duration::Interval;
use crate::topology::Rehearsed;
use crate::topology::format::{Topology, check_for_steps, check_topology, expected_scope, is_word, read_topology};

/// The default time limit of a run.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The most regular expressions of one file: each may take milliseconds to compile.
const MOST_PATTERNS: usize = 500;

/// A scenario whose names have all been checked.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its short name.
    pub name: String,
    /// A description of what it shows.
    pub description: String,
    /// Where the observations were published.
    pub source: Option<String>,
    /// Programs that the steps use.
    pub requires: Vec<String>,
    /// Values that a run may set.
    pub parameters: BTreeMap<String, Parameter>,
    /// The run is ended after this time.
    pub timeout: Duration,
    /// The network.
    pub topology: Topology,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// An action and its expectations.
#[derive(Debug, Clone)]
pub struct Step {
    /// `3`, or `3.1` inside a `parallel` step.
    pub number: String,
    /// Line of the file where it begins.
    pub line: u64,
    /// The observation that it demonstrates.
    pub say: Option<Text>,
    /// A name for its start in later expectations.
    pub id: Option<String>,
    /// Its action.
    pub action: Action,
    /// Its expectations.
    pub expect: ExpectFields,
    /// The start of the interval in which counters are counted.
    pub since: Since,
    /// The step is repeated until it passes, at most for this time.
    pub within: Option<Duration>,
    /// Values to save from standard output: a name, and a regular expression whose first group is the value.
    pub save: BTreeMap<String, Text>,
}

/// The action of a step.
#[derive(Debug, Clone)]
pub enum Action {
    /// Runs a command in an instance.
    Exec(Exec),
    /// Sends echo requests from an instance.
    Ping(Ping),
    /// Edits the mapping table: the whole list or nothing.
    Mapping(Vec<Edit>),
    /// Changes a network interface.
    Modify(Modify),
    /// Changes a route.
    Route(RouteChange),
    /// Edits the rules of a security group.
    Rules(RulesChange),
    /// Edits an entry of a network ACL.
    Entry(EntryChange),
    /// Waits for this time.
    Wait(Duration),
    /// Starts a capture.
    Capture(Capture),
    /// Starts a responder for probes.
    Responder(ResponderForm),
    /// Starts a stream of requests.
    Probe(ProbeForm),
    /// Begins a fault.
    Fault(FaultForm),
    /// Changes the processes of an instance.
    Instance(InstanceChange, String),
    /// Ends a capture, a probe, a fault, a responder or a background command.
    Stop(String),
    /// Steps in parallel.
    Parallel(Vec<Step>),
    /// No action, only expectations.
    Expect,
}

/// The start of the interval in which counters are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The start of the step itself.
    Step,
    /// The start of the scenario.
    Scenario,
    /// The start of the step with this id.
    Id(String),
}

/// Reads a scenario. `name` is the file's name in messages.
pub fn read(name: &str, text: &str) -> Result<Arc<Scenario>, FileError> {
    let mut document: Document = crate::file::read(name, text)?;
    document.topology.place_outside();
    let mut checker = Checker::new(text, &document);
    let steps = checker.steps(&document.steps, "");
    let mut mistakes = checker.mistakes;
    if !mistakes.is_empty() {
        mistakes.sort_by_key(|mistake| mistake.offset);
        mistakes.dedup();
        return Err(FileError::new(name, text, mistakes));
    }
    Ok(Arc::new(Scenario {
        name: document.name.value,
        description: document.description,
        source: document.source,
        requires: document.requires,
        parameters: document
            .parameters
            .into_iter()
            .map(|(name, parameter)| (name, parameter.value))
            .collect(),
        timeout: document.timeout.map_or(TIMEOUT, Interval::get),
        topology: document.topology,
        steps,
    }))
}

/// Reads a file with a topology alone, or with a scenario, of which the topology is used.
pub fn read_any_topology(name: &str, text: &str) -> Result<Topology, FileError> {
    let error = match read_topology(name, text) {
        Ok(topology) => return Ok(topology),
        Err(error) => error,
    };
    match read(name, text) {
        Ok(scenario) => Ok(scenario.topology.clone()),
        // Its mistakes as a topology are reported, unless it was meant as a scenario.
        Err(of_scenario) => {
            let meant = text
                .lines()
                .any(|line| line.starts_with("steps:") || line.starts_with("topology:"));
            Err(if meant { of_scenario } else { error })
        }
    }
}

struct Checker<'t> {
    text: &'t str,
    scope: Scope,
    mistakes: Vec<Mistake>,
    ids: BTreeSet<String>,
    /// Route tables of the topology.
    tables: BTreeSet<String>,
    /// Its gateways, which routes lead to by name.
    gateways: BTreeSet<String>,
    /// Security groups and network ACLs of the topology.
    filters: filters::Filters,
    captures: BTreeSet<String>,
    /// Probes that were started, and those that were stopped.
    probes: BTreeSet<String>,
    stopped_probes: BTreeSet<String>,
    /// Faults and probes, which have no readable output.
    mute: BTreeSet<String>,
    /// Running captures and commands, which a `stop` step may name.
    running: BTreeSet<String>,
    /// Number of regular expressions so far.
    patterns: usize,
    /// A copy of the network, on which the steps are rehearsed.
    stage: Option<Rehearsed>,
    /// Whether the current step expects to be refused.
    expects_error: bool,
}

impl<'t> Checker<'t> {
    fn new(text: &'t str, document: &Document) -> Self {
        let defaults = document
            .parameters
            .iter()
            .map(|(name, parameter)| (name.clone(), parameter.value.default.clone().unwrap_or_default()))
            .collect();
        let scope = expected_scope(&document.topology, defaults);
        let mut mistakes = check_topology(&document.topology, &scope);
        mistakes.extend(check_for_steps(&document.topology));
        let stage = Self::rehearsed(&document.topology, &scope, &mut mistakes);
        let mut checker = Self {
            text,
            scope,
            mistakes,
            ids: BTreeSet::new(),
            tables: document.topology.route_tables.keys().cloned().collect(),
            gateways: document.topology.gateway_names().cloned().collect(),
            filters: filters::Filters::of(&document.topology),
            captures: BTreeSet::new(),
            probes: BTreeSet::new(),
            stopped_probes: BTreeSet::new(),
            mute: BTreeSet::new(),
            running: BTreeSet::new(),
            patterns: 0,
            stage,
            expects_error: false,
        };
        if document.steps.is_empty() {
            checker.wrong(Mistake::at(
                document.name.referenced,
                "a scenario without steps can never fail",
            ));
        }
        checker
    }

    fn wrong(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MOST_FOUND {
            self.mistakes.push(mistake);
        }
    }

    fn steps(&mut self, steps: &[Spanned<StepFields>], outer: &str) -> Vec<Step> {
        let steps: Vec<(usize, &Spanned<StepFields>)> = (1..).zip(steps).collect();
        steps
            .into_iter()
            .filter_map(|(number, step)| self.step(step, &format!("{outer}{number}")))
            .collect()
    }

    fn step(&mut self, step: &Spanned<StepFields>, number: &str) -> Option<Step> {
        let (fields, place) = (&step.value, step.referenced);
        if let Some(say) = &fields.say {
            self.fill(say);
        }
        self.expects_error = fields.expect.as_ref().is_some_and(|expect| expect.0.error.is_some());
        let action = self.action(fields, place, number)?;
        let expect = fields.expect.clone().unwrap_or_default();
        self.expect(&expect.0, &action, place, fields.expect.is_some());
        let since = self.since(&expect, &action);
        if let Some(within) = fields.within {
            let repeatable = match &action {
                Action::Exec(exec) => exec.background.is_none(),
                Action::Ping(_) | Action::Expect => true,
                _ => false,
            };
            if !repeatable {
                self.wrong(
                    Mistake::at(
                        place,
                        format!("`within` repeats a step, and {} is not repeated", action.name()),
                    )
                    .help("put `within` on an `exec`, `ping` or `expect` step that follows"),
                );
            }
            if within.is_zero() {
                self.wrong(Mistake::at(place, "`within` needs some time, such as 5s"));
            }
        }
        self.saves(fields, &action, place);
        if let Some(id) = &fields.id
            && (!self.ids.insert(id.value.clone()) || ["step", "scenario"].contains(&id.value.as_str()))
        {
            self.wrong(Mistake::at(id.referenced, format!("the id `{}` is taken", id.value)));
        }
        Some(Step {
            number: number.to_owned(),
            line: place.line(),
            say: fields.say.clone(),
            id: fields.id.as_ref().map(|id| id.value.clone()),
            action,
            expect: expect.0,
            since,
            within: fields.within.map(Interval::get),
            save: fields.save.clone(),
        })
    }

    fn action(&mut self, fields: &StepFields, place: Location, number: &str) -> Option<Action> {
        let mut actions: Vec<Action> = Vec::new();
        if let Some(exec) = &fields.exec {
            self.exec(exec);
            actions.push(Action::Exec(exec.clone()));
        }
        if let Some(ping) = &fields.ping {
            self.ping(ping);
            actions.push(Action::Ping(ping.clone()));
        }
        if let Some(edits) = &fields.mapping {
            edits.0.iter().for_each(|edit| self.edit(edit));
            actions.push(Action::Mapping(edits.0.iter().map(|edit| edit.value.clone()).collect()));
        }
        if let Some(modify) = &fields.modify {
            self.interface(&modify.interface);
            modify.attach_to.iter().for_each(|instance| self.instance(instance));
            self.named_groups(modify.groups.as_deref().unwrap_or_default());
            if modify.is_empty() {
                self.wrong(
                    Mistake::at(modify.interface.referenced, "this changes nothing").help(
                        "say `source_dest_check`, `groups`, `mtu`, `ntp_skew`, `allowances`, `tracking`, `metadata`, `detach` or `attach_to`",
                    ),
                );
            }
            self.rehearse_modify(modify);
            actions.push(Action::Modify(modify.clone()));
        }
        if let Some(route) = &fields.route {
            self.route(route);
            actions.push(Action::Route(route.clone()));
        }
        if let Some(rules) = &fields.rules {
            self.rules(rules);
            actions.push(Action::Rules(rules.clone()));
        }
        if let Some(entry) = &fields.entry {
            self.entry(entry);
            actions.push(Action::Entry(entry.clone()));
        }
        if let Some(wait) = fields.wait {
            actions.push(Action::Wait(wait.get()));
        }
        if let Some(capture) = &fields.capture {
            self.capture(capture);
            actions.push(Action::Capture(capture.clone()));
        }
        actions.extend(self.failover(fields));
        if let Some(stop) = &fields.stop {
            if !self.running.remove(&stop.value) {
                let message = format!("nothing called `{}` is running here", stop.value);
                let mistake =
                    Mistake::at(stop.referenced, message).nearest(&stop.value, self.running.iter().map(String::as_str));
                self.wrong(mistake);
            }
            actions.push(Action::Stop(stop.value.clone()));
        }
        if let Some(steps) = &fields.parallel {
            if number.contains('.') {
                self.wrong(Mistake::at(place, "`parallel` stands inside `parallel`").help("write one flat list"));
                return None;
            }
            if steps.is_empty() {
                self.wrong(Mistake::at(place, "`parallel` has no steps"));
            }
            actions.push(Action::Parallel(self.steps(steps, &format!("{number}."))));
        }
        if actions.is_empty() && fields.expect.is_some() {
            actions.push(Action::Expect);
        }
        if actions.len() > 1 {
            let names: Vec<&str> = actions.iter().map(Action::name).collect();
            self.wrong(
                Mistake::at(
                    place,
                    format!("a step does one thing, this one has {}", names.join(" and ")),
                )
                .help("make a step of each"),
            );
        }
        let action = actions.into_iter().next();
        if action.is_none() {
            self.wrong(Mistake::at(place, "this step does nothing").help(
                "give it one of `exec`, `ping`, `mapping`, `modify`, `route`, `rules`, `entry`, `wait`, `capture`, `responder`, `probe`, `fault`, `instance`, `stop`, `parallel`, or `expect`",
            ));
        }
        action
    }

    fn exec(&mut self, exec: &Exec) {
        self.instance(&exec.on);
        match (&exec.run, &exec.argv) {
            (Some(run), None) => {
                self.fill(run);
            }
            (None, Some(argv)) if !argv.is_empty() => argv.iter().for_each(|word| {
                self.fill(word);
            }),
            (None, Some(_)) => self.wrong(Mistake::at(exec.on.referenced, "`argv` names no program")),
            _ => self.wrong(
                Mistake::at(exec.on.referenced, "a command is either `run` or `argv`")
                    .help("`run: \"ip neigh | grep eth0\"` goes to a shell, `argv: [ip, neigh]` does not"),
            ),
        }
        self.files(exec);
        if let Some(name) = &exec.background {
            self.start(name);
        }
    }

    fn ping(&mut self, ping: &Ping) {
        self.instance(&ping.from);
        if let Some(to) = self.fill(&ping.to) {
            let address = to.split('%').next().unwrap_or_default();
            if address.parse::<IpAddr>().is_err() {
                let place = ping.to.place();
                self.wrong(
                    Mistake::at(place, format!("`{to}` is not an IP address"))
                        .help("write an address, with `%eth0` after a link-local or multicast one"),
                );
            }
        }
        if let Some(source) = &ping.source {
            self.fill(source);
        }
        if ping.count.is_some_and(|count| !(1..=10_000).contains(&count)) {
            self.wrong(Mistake::at(ping.from.referenced, "`count` is from 1 to 10000"));
        }
    }

    fn route(&mut self, route: &RouteChange) {
        if !self.tables.contains(&route.table.value) {
            let message = format!("no route table is called `{}`", route.table.value);
            let mistake = Mistake::at(route.table.referenced, message)
                .nearest(&route.table.value, self.tables.iter().map(String::as_str));
            self.wrong(mistake);
        }
        match &route.via {
            Some(via) if !route.delete => {
                if !is_word(&via.value) && !self.gateways.contains(&via.value) {
                    self.interface(via);
                }
            }
            None if route.delete => {}
            _ => self.wrong(
                Mistake::at(route.table.referenced, "a route says either `via` or `delete: true`")
                    .help("as in `{ table: t, to: 192.0.2.10/32, via: b }`"),
            ),
        }
        let Some(filled) = self.fill(&route.to) else { return };
        match filled.parse::<ipnet::IpNet>() {
            Ok(to) => self.rehearse_route(route, to),
            Err(_) => {
                let message = format!("`{filled}` is not a destination");
                self.wrong(Mistake::at(route.to.place(), message).help("write an address and a length: 192.0.2.10/32"));
            }
        }
    }

    fn edit(&mut self, edit: &Spanned<Edit>) {
        let (fields, place) = (&edit.value, edit.referenced);
        let verbs = [&fields.assign, &fields.reassign, &fields.unassign];
        let (address, instance) = match (verbs.iter().filter(|verb| verb.is_some()).count(), &fields.unassign) {
            (1, Some(address)) => (Some(address), [&fields.from, &fields.to]),
            (1, None) => (
                fields.assign.as_ref().or(fields.reassign.as_ref()),
                [&fields.to, &fields.from],
            ),
            _ => {
                self.wrong(Mistake::at(place, "an edit is one of `assign`, `move` and `unassign`"));
                return;
            }
        };
        match instance {
            [Some(instance), None] => self.interface(instance),
            _ => self.wrong(
                Mistake::at(place, "`assign` and `move` say `to`, `unassign` says `from`")
                    .help("as in `{ move: 10.0.1.50, to: b }`"),
            ),
        }
        let Some(address) = address else { return };
        let Some(filled) = self.fill(address) else { return };
        match filled.parse::<AddressOrPrefix>() {
            Err(error) => self.wrong(Mistake::at(address.place(), error.to_string())),
            // An expression may stand for an address that only the run knows.
            Ok(block) if !address.written().contains("{{") && fields.unassign.is_none() => {
                if let [Some(interface), None] = instance {
                    self.rehearse_edit(address.place(), interface, block);
                }
            }
            Ok(_) => {}
        }
    }

    fn capture(&mut self, capture: &Capture) {
        self.instance(&capture.on);
        if let Some(filter) = &capture.filter {
            self.fill(filter);
        }
        self.start(&capture.start);
        self.captures.insert(capture.start.value.clone());
    }

    fn start(&mut self, name: &Spanned<String>) {
        if self.captures.contains(&name.value) || !self.running.insert(name.value.clone()) {
            self.wrong(Mistake::at(
                name.referenced,
                format!("the name `{}` is taken", name.value),
            ));
        }
    }

    fn saves(&mut self, fields: &StepFields, action: &Action, place: Location) {
        let has_output = match action {
            Action::Exec(Exec { background: None, .. }) | Action::Ping(_) => true,
            Action::Stop(name) => !self.mute.contains(name),
            _ => false,
        };
        if !fields.save.is_empty() && !has_output {
            self.wrong(Mistake::at(
                place,
                "`save` takes from the output of a command, and this step has none",
            ));
        }
        for (name, pattern) in &fields.save {
            self.pattern(pattern, true);
            self.scope.saved.insert(name.clone(), String::new());
        }
    }

    fn instance(&mut self, name: &Spanned<String>) {
        if !self.scope.instances.contains_key(&name.value) {
            let mistake = Mistake::at(name.referenced, format!("no instance is called `{}`", name.value))
                .nearest(&name.value, self.scope.instances.keys().map(String::as_str));
            self.wrong(mistake);
        }
    }

    /// An instance, which stands for its primary interface, or an interface of the topology.
    fn interface(&mut self, name: &Spanned<String>) {
        if !self.scope.interfaces.contains_key(&name.value) {
            self.instance(name);
        }
    }

    /// Fills a text with values known now. `None` when it is wrong, which has been recorded, or depends on values of
    /// the run.
    fn fill(&mut self, text: &Text) -> Option<String> {
        match text.fill(&self.scope) {
            Ok(_) if text.written().contains("saved.") || text.written().contains("parameters.") => None,
            Ok(filled) => Some(filled),
            // The place of each is searched in the whole text.
            Err(_) if self.mistakes.len() >= MOST_FOUND => None,
            Err(error) => {
                let mut mistake = Mistake::at(text.place(), error.to_string()).narrowed_to(self.text, error.needle());
                if let Some(remedy) = error.remedy() {
                    mistake = mistake.help(remedy);
                }
                self.wrong(mistake);
                None
            }
        }
    }

    fn pattern(&mut self, text: &Text, with_group: bool) {
        let Some(filled) = self.fill(text) else { return };
        self.patterns += 1;
        if self.patterns > MOST_PATTERNS {
            if self.patterns == MOST_PATTERNS + 1 {
                let message = format!("there are more than {MOST_PATTERNS} regular expressions");
                self.wrong(Mistake::at(text.place(), message).help("play the steps as two scenarios"));
            }
            return;
        }
        match crate::scenario::judge::pattern(&filled) {
            Ok(pattern) if with_group && pattern.captures_len() < 2 => self.wrong(
                Mistake::at(text.place(), "this expression has no group")
                    .help("put the part that is meant in parentheses: `inet6 (fe80:[^/]+)/64`"),
            ),
            Ok(_) => {}
            Err(error) => {
                let why = error
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned();
                self.wrong(Mistake::at(
                    text.place(),
                    format!("this is not a regular expression: {why}"),
                ));
            }
        }
    }
}

impl Action {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec(Exec {
                background: Some(_), ..
            }) => "`exec` in the background",
            Self::Exec(_) => "`exec`",
            Self::Ping(_) => "`ping`",
            Self::Mapping(_) => "`mapping`",
            Self::Modify(_) => "`modify`",
            Self::Route(_) => "`route`",
            Self::Rules(_) => "`rules`",
            Self::Entry(_) => "`entry`",
            Self::Wait(_) => "`wait`",
            Self::Capture(_) => "`capture`",
            Self::Responder(_) => "`responder`",
            Self::Probe(_) => "`probe`",
            Self::Fault(_) => "`fault`",
            Self::Instance(..) => "`instance`",
            Self::Stop(_) => "`stop`",
            Self::Parallel(_) => "`parallel`",
            Self::Expect => "`expect` alone",
        }
    }
}
