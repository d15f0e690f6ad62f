//! The part of a topology file that is about gateway endpoints.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::Topology;
use crate::file::diagnostic::Mistake;
use crate::model::EndpointId;
use crate::model::endpoint::GatewayService;
use crate::model::naming::Tags;

/// A gateway endpoint: a route from the prefix list of a service to it. A host of the outside with an address of the list
/// (`s3`: 198.51.100.240/29, `dynamodb`: 198.51.100.248/29) plays the service.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VpcEndpoint)]
pub struct EndpointTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "vpce-0a1b2c3d4e5f60718")]
    pub id: Option<EndpointId>,
    /// The name of its VPC.
    #[schema(value_type = String)]
    pub vpc: Spanned<String>,
    /// The service: `s3` or `dynamodb`.
    #[schema(value_type = String, example = "s3")]
    pub service: GatewayService,
    /// The names of the route tables that route to it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub route_tables: Vec<Spanned<String>>,
    /// A policy, as text. It is kept and shown; no request is read here, so it refuses none.
    pub policy: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// All mistakes about them.
pub(super) fn check_endpoints(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    let mut routed: BTreeMap<(&str, GatewayService), &str> = BTreeMap::new();
    for (name, endpoint) in &topology.vpc_endpoints {
        let fields = &endpoint.value;
        let vpc = &fields.vpc;
        if !topology.vpcs.contains_key(&vpc.value) {
            let message = format!("no VPC is called `{}`", vpc.value);
            let known = topology.vpcs.keys().map(String::as_str);
            mistakes.push(Mistake::at(vpc.referenced, message).nearest(&vpc.value, known));
        }
        for table in &fields.route_tables {
            let Some(declared) = topology.route_tables.get(&table.value) else {
                let message = format!("no route table is called `{}`", table.value);
                let known = topology.route_tables.keys().map(String::as_str);
                mistakes.push(Mistake::at(table.referenced, message).nearest(&table.value, known));
                continue;
            };
            if declared.value.vpc.value != vpc.value {
                let message = format!("route table `{}` is not in VPC `{}`", table.value, vpc.value);
                mistakes.push(Mistake::at(table.referenced, message));
            }
            if let Some(other) = routed.insert((&table.value, fields.service), name) {
                let message = format!("route table `{}` routes to `{other}` already", table.value);
                mistakes.push(
                    Mistake::at(table.referenced, message).help("a table has one route to a service at the most"),
                );
            }
        }
    }
}
