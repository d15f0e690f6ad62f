//! The part of a topology file that is about flow logs.

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::Topology;
use crate::file::diagnostic::Mistake;
use crate::model::flow_log::{AggregationInterval, Destination, LogFormat, TrafficType};
use crate::model::naming::Tags;

/// A flow log, of one VPC, one subnet or one interface.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FlowLogTopology)]
pub struct FlowLogTopology {
    /// The VPC whose flows are recorded.
    #[schema(value_type = Option<String>)]
    pub vpc: Option<Spanned<String>>,
    /// The subnet whose flows are recorded.
    #[schema(value_type = Option<String>)]
    pub subnet: Option<Spanned<String>>,
    /// The instance or network interface whose flows are recorded.
    #[schema(value_type = Option<String>)]
    pub interface: Option<Spanned<String>>,
    /// Which flows are recorded: `ACCEPT`, `REJECT` or `ALL`.
    #[serde(default)]
    pub traffic: TrafficType,
    /// Where the records go: `memory`, `stdout` or `{file: NAME}`.
    #[serde(default)]
    pub destination: Destination,
    /// The fields of a record, as in `${srcaddr} ${dstaddr} ${action}`; those of version 2 when left out.
    #[schema(value_type = Option<String>)]
    pub log_format: Option<Spanned<String>>,
    /// The longest time that one record covers: `60s` or `10m` as on AWS, or less for tests; `10m` when left out.
    pub interval: Option<AggregationInterval>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// All mistakes about flow logs.
pub(super) fn check_flow_logs(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    for (name, log) in &topology.flow_logs {
        let fields = &log.value;
        let given = [&fields.vpc, &fields.subnet, &fields.interface];
        if given.iter().filter(|of| of.is_some()).count() != 1 {
            let message = format!("flow log `{name}` is not of one resource");
            mistakes.push(Mistake::at(log.referenced, message).help("write one of `vpc`, `subnet` and `interface`"));
        }
        if let Some(vpc) = &fields.vpc
            && !topology.vpcs.contains_key(&vpc.value)
        {
            let known = topology.vpcs.keys().map(String::as_str);
            let message = format!("no VPC is called `{}`", vpc.value);
            mistakes.push(Mistake::at(vpc.referenced, message).nearest(&vpc.value, known));
        }
        if let Some(subnet) = &fields.subnet
            && !topology.subnets.contains_key(&subnet.value)
        {
            let known = topology.subnets.keys().map(String::as_str);
            let message = format!("no subnet is called `{}`", subnet.value);
            mistakes.push(Mistake::at(subnet.referenced, message).nearest(&subnet.value, known));
        }
        if let Some(interface) = &fields.interface
            && topology.interface_behind(&interface.value).is_none()
        {
            let known = topology.instances.keys().chain(topology.interfaces.keys());
            let message = format!("no instance or network interface is called `{}`", interface.value);
            mistakes
                .push(Mistake::at(interface.referenced, message).nearest(&interface.value, known.map(String::as_str)));
        }
        if let Some(format) = &fields.log_format
            && let Err(error) = format.value.parse::<LogFormat>()
        {
            mistakes.push(Mistake::at(format.referenced, error.to_string()).help(error.remedy()));
        }
    }
}
