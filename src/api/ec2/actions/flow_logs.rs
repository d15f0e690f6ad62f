//! The actions on flow logs.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::ids::reference;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::FlowLog;
use crate::model::flow_log::{
    AggregationInterval, CreateFlowLog as Create, DeleteFlowLog as Delete, Destination, FlowLogResourceRef, LogFormat,
    TrafficType,
};
use crate::model::ids::ResourceRef;
use crate::record::flow_logs::Delivery;

/// The elements of filters whose names differ from them.
const PLACES: &[Place] = &[("deliver-log-status", "deliverLogsStatus")];

/// Resources of one request (EC2 API, CreateFlowLogs: "Constraints: Maximum of 1000 resources"; 300 is what it takes).
const MOST: usize = 300;

/// The `FlowLog` of EC2's answers.
fn flow_log(call: &Call<'_>, log: &FlowLog) -> Node {
    let runtime = call.ec2.state.runtime.as_ref();
    let delivery = runtime.map_or(Delivery::Success, |runtime| runtime.flow_logs().delivery(log.id));
    let (status, error) = match delivery {
        Delivery::Success => ("SUCCESS", None),
        Delivery::Failed(reason) => ("FAILED", Some(reason)),
    };
    let region = call.controller().region();
    let (kind, group, destination, role) = match &log.destination {
        Destination::CloudWatchLogs { log_group, role_arn } => {
            let arn = format!("arn:aws:logs:{region}:{ACCOUNT}:log-group:{log_group}");
            ("cloud-watch-logs", Some(log_group.clone()), Some(arn), role_arn.clone())
        }
        Destination::S3(arn) => ("s3", None, Some(arn.clone()), None),
        // What AWS has no destination for is shown as a log group of its name.
        other => ("cloud-watch-logs", Some(other.to_string()), None, None),
    };
    Node::map([
        (
            "creationTime",
            Node::text(humantime::format_rfc3339_millis(log.created_at)),
        ),
        ("deliverLogsErrorMessage", Node::maybe(error)),
        ("deliverLogsPermissionArn", Node::maybe(role)),
        ("deliverLogsStatus", Node::text(status)),
        ("flowLogId", Node::text(log.id)),
        ("flowLogStatus", Node::text("ACTIVE")),
        ("logGroupName", Node::maybe(group)),
        ("resourceId", Node::text(log.resource)),
        ("trafficType", Node::text(log.traffic.name())),
        ("logDestinationType", Node::text(kind)),
        ("logDestination", Node::maybe(destination)),
        ("logFormat", Node::text(&log.format)),
        ("tagSet", tag_set(log.name.as_deref(), &log.tags)),
        ("maxAggregationInterval", Node::text(log.interval.get().as_secs())),
    ])
}

/// Lists flow logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeFlowLogs {
    #[serde(default)]
    flow_log_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeFlowLogs {
    const NAME: &'static str = "DescribeFlowLogs";
    const HELP: &'static str = "Lists flow logs with their formats and destinations";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.flow_log_id {
            call.controller().flow_log(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("FlowLogIds", &self.flow_log_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().flow_logs();
        let all = all.iter().map(|log| flow_log(call, log));
        let page = selection.of(call, all, "flowLogId", PLACES)?;
        Ok(vec![("flowLogSet", Node::List(page.items)), ("nextToken", page.next)])
    }
}

/// Creates flow logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateFlowLogs {
    client_token: Option<String>,
    deliver_logs_permission_arn: Option<String>,
    log_group_name: Option<String>,
    resource_id: Vec<String>,
    resource_type: String,
    traffic_type: Option<String>,
    log_destination_type: Option<String>,
    log_destination: Option<String>,
    log_format: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    max_aggregation_interval: Option<i64>,
}

impl CreateFlowLogs {
    fn destination(&self) -> Result<Destination, Ec2Error> {
        match self.log_destination_type.as_deref().unwrap_or("cloud-watch-logs") {
            "cloud-watch-logs" => {
                let of_arn = self.log_destination.as_deref().map(|arn| {
                    let group = arn.split(":log-group:").nth(1).unwrap_or(arn);
                    group.trim_end_matches(":*").to_owned()
                });
                let log_group = match (&self.log_group_name, of_arn) {
                    (Some(_), Some(_)) => {
                        return Err(Ec2Error::combination(
                            "LogGroupName and LogDestination cannot be used together",
                        ));
                    }
                    (Some(name), None) => name.clone(),
                    (None, Some(name)) => name,
                    (None, None) => return Err(Ec2Error::missing("LogGroupName")),
                };
                Ok(Destination::CloudWatchLogs {
                    log_group,
                    role_arn: self.deliver_logs_permission_arn.clone(),
                })
            }
            "s3" => match &self.log_destination {
                Some(arn) if arn.starts_with("arn:") => Ok(Destination::S3(arn.clone())),
                Some(other) => Err(Ec2Error::invalid_value(format!(
                    "The LogDestination '{}' is not the ARN of a bucket",
                    printed(other)
                ))),
                None => Err(Ec2Error::missing("LogDestination")),
            },
            other => Err(Ec2Error::new(
                "UnsupportedOperation",
                format!(
                    "The LogDestinationType {} is not supported by this server. Use cloud-watch-logs or s3.",
                    printed(other)
                ),
            )),
        }
    }

    fn traffic(&self) -> Result<TrafficType, Ec2Error> {
        match self.traffic_type.as_deref() {
            Some("ACCEPT") => Ok(TrafficType::Accept),
            Some("REJECT") => Ok(TrafficType::Reject),
            Some("ALL") => Ok(TrafficType::All),
            Some(other) => Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter TrafficType is invalid. Expecting ACCEPT, REJECT or ALL.",
                printed(other)
            ))),
            None => Err(Ec2Error::missing("TrafficType")),
        }
    }

    fn interval(&self) -> Result<Option<AggregationInterval>, Ec2Error> {
        match self.max_aggregation_interval {
            None => Ok(None),
            Some(seconds @ (60 | 600)) => {
                let duration = Duration::from_secs(if seconds == 60 { 60 } else { 600 });
                Ok(AggregationInterval::new(duration))
            }
            Some(other) => Err(Ec2Error::invalid_value(format!(
                "Value ({other}) for parameter MaxAggregationInterval is invalid. Expecting 60 or 600."
            ))),
        }
    }

    fn resource(&self, id: &str) -> Result<FlowLogResourceRef, Ec2Error> {
        match self.resource_type.as_str() {
            "VPC" => Ok(FlowLogResourceRef::Vpc(reference(id)?)),
            "Subnet" => Ok(FlowLogResourceRef::Subnet(reference(id)?)),
            "NetworkInterface" => Ok(FlowLogResourceRef::Interface(reference(id)?)),
            other => Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter ResourceType is invalid. Expecting VPC, Subnet or NetworkInterface.",
                printed(other)
            ))),
        }
    }
}

impl Action for CreateFlowLogs {
    const NAME: &'static str = "CreateFlowLogs";
    const HELP: &'static str = "Creates flow logs of VPCs, subnets or interfaces";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.resource_id.len() > MOST {
            return Err(Ec2Error::new(
                "InvalidParameterValue",
                format!(
                    "{} resources are more than {MOST} of one request",
                    self.resource_id.len()
                ),
            ));
        }
        let (destination, traffic, interval) = (self.destination()?, self.traffic()?, self.interval()?);
        let format = self.log_format.as_deref().map(str::parse::<LogFormat>).transpose();
        let format = format.map_err(crate::model::ModelError::from)?;
        let given = Given::of(&self.tag_specification, "vpc-flow-log")?;
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for id in &self.resource_id {
            let resource = self.resource(id);
            let created = resource.and_then(|resource| {
                call.execute(Create {
                    name: given.free_name(|name| call.controller().flow_log(&ResourceRef::new(name)).is_ok()),
                    resource,
                    traffic,
                    destination: destination.clone(),
                    format: format.clone(),
                    interval,
                    at: SystemTime::now(),
                    tags: given.tags.clone(),
                })
            });
            match created {
                Ok(log) => made.push(Node::text(log.id)),
                Err(error) => failed.push(unsuccessful(id, &error)),
            }
        }
        Ok(vec![
            ("clientToken", Node::maybe(self.client_token)),
            ("flowLogIdSet", Node::list(made)),
            ("unsuccessful", Node::list(failed)),
        ])
    }
}

/// A resource that a request has failed for, though the request itself succeeds.
pub(super) fn unsuccessful(id: &str, error: &Ec2Error) -> Node {
    let inner = Node::map([
        ("code", Node::text(&error.code)),
        ("message", Node::text(&error.message)),
    ]);
    Node::map([("error", inner), ("resourceId", Node::text(printed(id)))])
}

/// Deletes flow logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteFlowLogs {
    flow_log_id: Vec<String>,
}

impl Action for DeleteFlowLogs {
    const NAME: &'static str = "DeleteFlowLogs";
    const HELP: &'static str = "Deletes flow logs; what they recorded stays";

    fn run(self, call: &Call<'_>) -> Answer {
        let failed = self.flow_log_id.iter().filter_map(|id| {
            let deleted = reference(id).and_then(|log| call.execute(Delete(log)));
            deleted.err().map(|error| unsuccessful(id, &error))
        });
        Ok(vec![("unsuccessful", Node::list(failed))])
    }
}
