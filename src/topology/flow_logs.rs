//! Flow logs in a network that is wanted, that runs, and that is planned.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::apply::{Work, name};
use super::backend::{Stage, StepError};
use super::diff::Fate;
use super::diff::Judged;
use super::export::{put, put_tags};
use super::filters::Known;
use super::layout::{Described, Fields, Kind, Label, Layout, field, tags};
use super::matching::stand_in;
use super::order::{Steps, with};
use super::plan::Step;
use super::running::{Running, label};
use crate::model::Network;
use crate::model::flow_log::{
    AggregationInterval, CreateFlowLog, DEFAULT_INTERVAL, DeleteFlowLog, Destination, FlowLogResource,
    FlowLogResourceRef, LogFormat, ModifyFlowLog, TrafficType,
};
use crate::model::naming::Tags;
use crate::topology::format::Topology;

/// A flow log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowLog {
    /// Whose flows are recorded.
    pub of: (Kind, Label),
    /// Which flows are recorded.
    pub traffic: TrafficType,
    /// Where the records go.
    pub destination: Destination,
    /// The fields of a record.
    pub format: LogFormat,
    /// The longest time that one record covers.
    pub interval: AggregationInterval,
    /// Tags.
    pub tags: Tags,
}

impl Described for FlowLog {
    fn fields(&self) -> Fields {
        let (kind, of) = &self.of;
        let mut fields = vec![
            field("of", format!("{kind} {of}")),
            field("traffic", self.traffic.name()),
            field("destination", &self.destination),
            field("log_format", &self.format),
            field("interval", self.interval),
        ];
        fields.extend(tags(&self.tags));
        fields
    }

    fn defaults() -> Fields {
        vec![
            field("traffic", TrafficType::All.name()),
            field("destination", Destination::Memory),
            field("log_format", LogFormat::default()),
            field("interval", DEFAULT_INTERVAL),
        ]
    }

    fn can_change(field: &str) -> bool {
        field.starts_with("tags.")
    }
}

/// One thing to do about a flow log.
#[derive(Debug, Clone, PartialEq)]
pub enum FlowLogStep {
    /// Creates one.
    Create(Label, FlowLog),
    /// Gives one other tags.
    Tag(Label, Tags),
    /// Deletes one.
    Delete(Label),
}

impl FlowLogStep {
    /// What it is about.
    pub(super) fn subject(&self) -> (Kind, &str) {
        match self {
            Self::Create(label, _) | Self::Tag(label, _) | Self::Delete(label) => (Kind::FlowLog, label),
        }
    }
}

impl Layout {
    /// Adds the flow logs that a topology wants.
    pub(super) fn want_flow_logs(&mut self, topology: &Topology) {
        for (label, log) in &topology.flow_logs {
            let fields = &log.value;
            // The check has found exactly one of them.
            let of = if let Some(vpc) = &fields.vpc {
                (Kind::Vpc, vpc.value.clone())
            } else if let Some(subnet) = &fields.subnet {
                (Kind::Subnet, subnet.value.clone())
            } else if let Some(interface) = &fields.interface {
                let own = interface.value.as_str();
                (
                    Kind::Interface,
                    topology.interface_behind(own).unwrap_or(own).to_owned(),
                )
            } else {
                continue;
            };
            let format = fields.log_format.as_ref().and_then(|format| format.value.parse().ok());
            let log = FlowLog {
                of,
                traffic: fields.traffic,
                destination: fields.destination.clone(),
                format: format.unwrap_or_default(),
                interval: fields.interval.unwrap_or(DEFAULT_INTERVAL),
                tags: fields.tags.clone(),
            };
            self.flow_logs.insert(label.clone(), log);
        }
    }

    /// Adds the flow logs that run.
    pub(super) fn have_flow_logs(&mut self, network: &Network, known: &Known<'_>) {
        for log in network.flow_logs() {
            let of = match log.resource {
                FlowLogResource::Vpc(id) => (Kind::Vpc, known.vpcs.get(&id)),
                FlowLogResource::Subnet(id) => (Kind::Subnet, known.subnets.get(&id)),
                FlowLogResource::Interface(id) => (Kind::Interface, known.interfaces.get(&id)),
            };
            let (kind, Some(of)) = of else { continue };
            let own = label(log.name.as_ref(), log.id);
            let log = FlowLog {
                of: (kind, of.clone()),
                traffic: log.traffic,
                destination: log.destination.clone(),
                format: log.format.clone(),
                interval: log.interval,
                tags: log.tags.clone(),
            };
            self.flow_logs.insert(own, log);
        }
    }

    /// Calls a resource whose flows are recorded otherwise.
    pub(super) fn rename_logged(&mut self, kind: Kind, old: &str, new: &str) {
        for log in self.flow_logs.values_mut() {
            if log.of.0 == kind && log.of.1 == old {
                new.clone_into(&mut log.of.1);
            }
        }
    }
}

impl Running {
    /// Calls what runs without a name as the file does.
    pub(super) fn align_flow_logs(&mut self, desired: &Layout) {
        for (label, log) in &desired.flow_logs {
            let same = |_: &Label, other: &FlowLog| log == other;
            let (running, wanted) = (&self.layout.flow_logs, &desired.flow_logs);
            let found = stand_in(Kind::FlowLog, label, running, wanted, same);
            self.rename(Kind::FlowLog, found, label);
        }
    }
}

impl Steps {
    /// A flow log goes before the resource whose flows it records.
    pub(super) fn take_flow_logs_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout.flow_logs;
        for (label, _) in with(judged, Kind::FlowLog, now, Fate::ends) {
            let step = Step::FlowLog(FlowLogStep::Delete(label.clone()));
            self.push(judged, Kind::FlowLog, label, step);
        }
    }

    pub(super) fn make_flow_logs(&mut self, judged: &Judged<'_>) {
        let desired: &BTreeMap<Label, FlowLog> = &judged.desired.flow_logs;
        for (label, log) in with(judged, Kind::FlowLog, desired, Fate::begins) {
            let step = Step::FlowLog(FlowLogStep::Create(label.clone(), log.clone()));
            self.push(judged, Kind::FlowLog, label, step);
        }
        for (label, log) in with(judged, Kind::FlowLog, desired, |fate| fate == Fate::Alter) {
            let step = Step::FlowLog(FlowLogStep::Tag(label.clone(), log.tags.clone()));
            self.push(judged, Kind::FlowLog, label, step);
        }
    }
}

impl<S: Stage> Work<'_, S> {
    pub(super) fn take_flow_log_step(&mut self, step: &FlowLogStep) -> Result<(), StepError> {
        match step {
            FlowLogStep::Create(label, log) => {
                let (kind, of) = &log.of;
                let resource = match kind {
                    Kind::Vpc => FlowLogResourceRef::Vpc(self.reference(Kind::Vpc, of)),
                    Kind::Subnet => FlowLogResourceRef::Subnet(self.reference(Kind::Subnet, of)),
                    _ => FlowLogResourceRef::Interface(self.interface(of)),
                };
                let made = self.stage.execute(CreateFlowLog {
                    name: name(Kind::FlowLog, label),
                    resource,
                    traffic: log.traffic,
                    destination: log.destination.clone(),
                    format: Some(log.format.clone()),
                    interval: Some(log.interval),
                    at: SystemTime::now(),
                    tags: log.tags.clone(),
                })?;
                self.remember(Kind::FlowLog, label, made.id);
                Ok(())
            }
            FlowLogStep::Tag(label, tags) => self.run(ModifyFlowLog {
                flow_log: self.reference(Kind::FlowLog, label),
                name: None,
                tags: Some(tags.clone()),
            }),
            FlowLogStep::Delete(label) => self.run(DeleteFlowLog(self.reference(Kind::FlowLog, label))),
        }
    }
}

/// Writes the flow logs into a file.
pub(super) fn export_flow_logs(layout: &Layout, file: &mut Map<String, Value>) {
    let logs = layout.flow_logs.iter().map(|(label, log)| {
        let mut fields = Map::new();
        let of = match log.of.0 {
            Kind::Vpc => "vpc",
            Kind::Subnet => "subnet",
            _ => "interface",
        };
        fields.insert(of.to_owned(), json!(log.of.1));
        for (name, value, default) in [
            ("traffic", json!(log.traffic), json!(TrafficType::All)),
            ("destination", json!(log.destination), json!(Destination::Memory)),
            ("log_format", json!(log.format), json!(LogFormat::default())),
            ("interval", json!(log.interval), json!(DEFAULT_INTERVAL)),
        ] {
            if value != default {
                fields.insert(name.to_owned(), value);
            }
        }
        put_tags(&mut fields, &log.tags);
        (label.clone(), Value::Object(fields))
    });
    put(file, "flow_logs", logs.collect());
}
