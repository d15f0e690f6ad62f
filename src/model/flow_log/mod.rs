//! Declares a flow log: which interfaces have records of their flows, in which format, and where the records go (VPC guide,
//! "Logging IP traffic using VPC Flow Logs").

mod error;
mod format;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use self::error::FlowLogError;
pub use self::format::{DEFAULT_FORMAT, FlowField, LogFormat};
pub use self::rules::DEFAULT_INTERVAL;
use crate::model::duration::{SECOND, Span};
use crate::model::ids::{FlowLogId, InterfaceId, ResourceRef, SubnetId, VpcId};
use crate::model::naming::Tags;

/// A flow log as declared, and as it is stored. Only its name and tags can change (VPC guide: "After you create a flow log,
/// you can't change its configuration or the flow log record format").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLog {
    /// Its identifier.
    pub id: FlowLogId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// Whose flows are recorded.
    pub resource: FlowLogResource,
    /// Which flows are recorded.
    pub traffic: TrafficType,
    /// Where the records go.
    pub destination: Destination,
    /// The fields of a record.
    pub format: LogFormat,
    /// The longest time that one record covers.
    pub interval: AggregationInterval,
    /// When it was created.
    pub created_at: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// The time that one record covers: EC2 has 60 s and 600 s; a shorter one is for tests.
pub type AggregationInterval = Span<SECOND, { 600 * SECOND }>;

/// Whose flows are recorded: those of one interface, or of all interfaces of a subnet or a VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowLogResource {
    /// A VPC.
    Vpc(VpcId),
    /// A subnet.
    Subnet(SubnetId),
    /// A network interface.
    Interface(InterfaceId),
}

impl FlowLogResource {
    /// Whether an interface is one of those whose flows are recorded.
    pub fn covers(&self, vpc: VpcId, subnet: SubnetId, interface: InterfaceId) -> bool {
        match self {
            Self::Vpc(id) => *id == vpc,
            Self::Subnet(id) => *id == subnet,
            Self::Interface(id) => *id == interface,
        }
    }
}

impl fmt::Display for FlowLogResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpc(id) => id.fmt(f),
            Self::Subnet(id) => id.fmt(f),
            Self::Interface(id) => id.fmt(f),
        }
    }
}

/// Which flows are recorded (EC2 API, `TrafficType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum TrafficType {
    /// Those that security groups and network ACLs let through.
    Accept,
    /// Those that security groups or network ACLs denied.
    Reject,
    /// All.
    #[default]
    All,
}

impl TrafficType {
    /// Its name in EC2's API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Reject => "REJECT",
            Self::All => "ALL",
        }
    }
}

/// Where records go. The latest of each flow log are kept in memory and can be read in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// To memory alone, where `/v1/flow-logs/{flow_log}/records` reads them.
    #[default]
    Memory,
    /// To the server's standard output.
    Stdout,
    /// To a file of this name in the server's folder for flow logs (`--flow-logs`).
    File(String),
    /// To memory, under the name of a log group of CloudWatch Logs, for clients of AWS.
    CloudWatchLogs {
        /// The log group.
        log_group: String,
        /// The role that is said to write there; nothing asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role_arn: Option<String>,
    },
    /// To memory, under the ARN of a bucket of S3, for clients of AWS.
    S3(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Stdout => f.write_str("stdout"),
            Self::File(name) => write!(f, "file {name}"),
            Self::CloudWatchLogs { log_group, .. } => write!(f, "log group {log_group}"),
            Self::S3(arn) => f.write_str(arn),
        }
    }
}

/// A reference to a resource whose flows are to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowLogResourceRef {
    /// A VPC.
    Vpc(ResourceRef<VpcId>),
    /// A subnet.
    Subnet(ResourceRef<SubnetId>),
    /// A network interface.
    Interface(ResourceRef<InterfaceId>),
}

/// Creates a flow log. Outcome: the flow log.
#[derive(Debug, Clone)]
pub struct CreateFlowLog {
    /// A name that no other flow log has.
    pub name: Option<String>,
    /// Whose flows are recorded.
    pub resource: FlowLogResourceRef,
    /// Which flows are recorded.
    pub traffic: TrafficType,
    /// Where the records go.
    pub destination: Destination,
    /// The fields of a record; the default ones if left out.
    pub format: Option<LogFormat>,
    /// The longest time that one record covers; 600 s if left out.
    pub interval: Option<AggregationInterval>,
    /// The present time.
    pub at: SystemTime,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes a flow log; `None` leaves a field as it is. Outcome: the flow log as it is now.
#[derive(Debug, Clone)]
pub struct ModifyFlowLog {
    /// The flow log.
    pub flow_log: ResourceRef<FlowLogId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyFlowLog {
    /// A command that changes nothing yet.
    pub fn new(flow_log: impl Into<ResourceRef<FlowLogId>>) -> Self {
        Self {
            flow_log: flow_log.into(),
            name: None,
            tags: None,
        }
    }
}

/// Deletes a flow log; what it recorded so far stays where it went. Outcome: the flow log as it was.
#[derive(Debug, Clone)]
pub struct DeleteFlowLog(pub ResourceRef<FlowLogId>);
