//! Creates, changes and deletes flow logs. A flow log goes with the resource whose flows it records.

use super::{
    CreateFlowLog, DeleteFlowLog, Destination, FlowLog, FlowLogError, FlowLogResource, FlowLogResourceRef,
    ModifyFlowLog,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::duration::Span;
use crate::model::error::ModelError;
use crate::model::ids::{FlowLogId, ResourceRef};
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};
use crate::model::outside;

/// EC2's default (EC2 API, `MaxAggregationInterval`).
pub const DEFAULT_INTERVAL: super::AggregationInterval = Span::constant(std::time::Duration::from_secs(600));

impl Record for FlowLog {
    type Id = FlowLogId;

    fn id(&self) -> FlowLogId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for FlowLog {
    fn names(network: &mut Network) -> &mut Names<FlowLogId> {
        &mut network.flow_log_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.flow_logs.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.flow_logs.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.flow_logs.values().cloned().collect()
    }
}

impl Destination {
    fn check(&self) -> Result<(), FlowLogError> {
        match self {
            Self::Memory | Self::Stdout => Ok(()),
            Self::CloudWatchLogs { log_group: name, .. } | Self::S3(name) if name.is_empty() => {
                Err(FlowLogError::NoName)
            }
            Self::CloudWatchLogs { .. } | Self::S3(_) => Ok(()),
            Self::File(name) => {
                let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(usable) {
                    let name = name.chars().take(128).collect();
                    return Err(FlowLogError::FileName { name });
                }
                Ok(())
            }
        }
    }
}

impl Command for CreateFlowLog {
    type Outcome = FlowLog;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<FlowLog, ModelError> {
        edit.flow_log_names.check(self.name.as_deref(), None)?;
        self.destination.check()?;
        let resource = edit.flow_log_resource(&self.resource)?;
        let format = self.format.unwrap_or_default();
        let of_resource = edit.flow_logs().filter(|log| log.resource == resource);
        if let Some(existing) = of_resource.clone().find(|log| {
            log.traffic == self.traffic
                && log.destination == self.destination
                && log.format.fields() == format.fields()
                // Memory is no place that two could share.
                && log.destination != Destination::Memory
        }) {
            return Err(FlowLogError::Exists { existing: existing.id }.into());
        }
        if Limits::reached(edit.limits.flow_logs_per_resource, of_resource.count()) {
            return Err(ModelError::Limit {
                code: "FlowLogsLimitExceeded",
                text: format!("The maximum number of flow logs of {resource} has been reached."),
            });
        }
        let log = FlowLog {
            id: fresh_id(edit.rng, |id| edit.network.flow_logs.contains_key(&id)),
            name: self.name,
            resource,
            traffic: self.traffic,
            destination: self.destination,
            format,
            interval: self.interval.unwrap_or(DEFAULT_INTERVAL),
            created_at: self.at,
            tags: self.tags,
        };
        edit.create(log.clone());
        Ok(log)
    }
}

impl Command for ModifyFlowLog {
    type Outcome = FlowLog;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<FlowLog, ModelError> {
        let before = edit.flow_log(&self.flow_log)?.clone();
        if let Some(name) = &self.name {
            edit.flow_log_names.check(name.as_deref(), Some(before.id))?;
        }
        let after = FlowLog {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteFlowLog {
    type Outcome = FlowLog;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<FlowLog, ModelError> {
        let log = edit.flow_log(&self.0)?.clone();
        edit.delete(log.clone());
        Ok(log)
    }
}

impl Edit<'_> {
    /// Deletes the flow logs of a resource that is deleted.
    pub(in crate::model) fn delete_flow_logs(&mut self, resource: FlowLogResource) {
        let of_resource = self.flow_logs().filter(|log| log.resource == resource);
        for log in of_resource.cloned().collect::<Vec<_>>() {
            self.delete(log);
        }
    }
}

impl Network {
    /// The flow log behind a reference.
    pub fn flow_log(&self, reference: &ResourceRef<FlowLogId>) -> Result<&FlowLog, ModelError> {
        let id = self.flow_log_names.resolve(reference)?;
        self.flow_logs.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All flow logs, by identifier.
    pub fn flow_logs(&self) -> impl Iterator<Item = &FlowLog> + Clone {
        self.flow_logs.values()
    }

    fn flow_log_resource(&self, reference: &FlowLogResourceRef) -> Result<FlowLogResource, ModelError> {
        Ok(match reference {
            FlowLogResourceRef::Vpc(vpc) => {
                let id = self.vpc(vpc)?.id;
                if id == outside::VPC {
                    return Err(not_found(vpc));
                }
                FlowLogResource::Vpc(id)
            }
            FlowLogResourceRef::Subnet(subnet) => {
                let id = self.subnet(subnet)?.id;
                if id == outside::SUBNET {
                    return Err(not_found(subnet));
                }
                FlowLogResource::Subnet(id)
            }
            FlowLogResourceRef::Interface(interface) => {
                let id = self.interface_id(interface)?;
                if self.is_outside(id) {
                    return Err(FlowLogError::Outside { interface: id }.into());
                }
                FlowLogResource::Interface(id)
            }
        })
    }
}
