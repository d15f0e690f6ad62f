//! Implements the REST API under `/v1`, one file for each resource. The OpenAPI description is made from the same
//! routes, so the two cannot differ.

mod block_public_access;
mod captures;
mod containers;
mod devices;
mod dhcp_options;
mod egress_only_internet_gateways;
mod elastic_ips;
mod events;
mod explain;
mod faults;
mod files;
mod flow_logs;
mod idempotency;
mod instances;
mod interfaces;
mod internet_gateways;
mod lists;
mod mappings;
mod meta;
mod metrics;
mod nat_gateways;
mod network_acls;
mod openapi;
mod openapi_examples;
mod opening;
mod outside;
mod peering_connections;
mod ports;
mod prefix_lists;
mod profiles;
mod revisions;
mod route_tables;
mod runs;
mod security_groups;
mod subnets;
mod topology;
mod versions;
mod vpc_endpoints;
mod vpcs;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::bodies;
use super::guard::guard;
use super::problem::Problem;
use super::state::AppState;
use crate::contain;
use crate::control::ControlError;
use crate::model::Command;

pub use block_public_access::{BlockPublicAccessView, BpaExclusionView};
pub(crate) use containers::Containers;
pub use dhcp_options::DhcpOptionsView;
pub use egress_only_internet_gateways::EgressOnlyGatewayView;
pub use elastic_ips::ElasticIpView;
pub use flow_logs::FlowLogView;
pub(crate) use idempotency::Answers;
pub use instances::InstanceView;
pub use interfaces::InterfaceView;
pub use internet_gateways::InternetGatewayView;
pub use mappings::{BULK_LIMIT, MappingView};
pub use nat_gateways::NatGatewayView;
pub use network_acls::{AclAssociationView, NetworkAclView};
pub(crate) use opening::Opening;
pub use outside::OutsideHostView;
pub use peering_connections::PeeringView;
pub use ports::PortView;
pub use prefix_lists::{PrefixEntry, PrefixListView};
pub use route_tables::{EndpointRouteView, RouteTableView, RouteView};
pub use runs::{RunView, ScenarioView};
pub use security_groups::{RuleView, SecurityGroupView};
pub use subnets::SubnetView;
pub use topology::PlanView;
use versions::Versions;
pub use vpc_endpoints::EndpointView;
pub use vpcs::VpcView;

/// The largest body of an ordinary request, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// Entries of a page unless the request says otherwise.
const PAGE: usize = 100;
/// Entries of a page at the most.
const LARGEST_PAGE: usize = 1000;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "localvpc",
        description = "A cloud VPC on one machine. Wherever an identifier is accepted, the resource's name is accepted too. \
                       Every error is a problem document (RFC 9457).",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    tags(
        (name = "vpcs", description = "VPCs: address blocks and the profile by which they behave"),
        (name = "subnets", description = "Subnets of a VPC"),
        (name = "interfaces", description = "Network interfaces: addresses, checks, attachment to a device"),
        (name = "mappings", description = "The mapping service: which interface owns an address or delegated prefix"),
        (name = "route-tables", description = "Targets of packets that leave their subnet"),
        (name = "security-groups", description = "Rules that allow packets to and from interfaces"),
        (name = "network-acls", description = "Entries that allow or deny packets at the borders of subnets"),
        (name = "prefix-lists", description = "Addresses under one name, for rules of security groups"),
        (name = "dhcp-options", description = "What DHCP says in addition to the address"),
        (name = "internet-gateways", description = "What VPCs reach the outside by"),
        (name = "elastic-ips", description = "Public addresses, and the private addresses that they stand for"),
        (name = "nat-gateways", description = "What hosts of private subnets reach other networks by"),
        (name = "egress-only-internet-gateways", description = "What hosts begin IPv6 connections to the outside by"),
        (name = "peering-connections", description = "What VPCs reach each other by"),
        (name = "vpc-endpoints", description = "What hosts reach S3 and DynamoDB by, without a public address"),
        (name = "block-public-access", description = "What gateways to the outside let through, for all VPCs"),
        (name = "outside", description = "Hosts beyond all internet gateways"),
        (name = "topology", description = "The whole network as one file"),
        (name = "ports", description = "Ports of the switch, with every counter and drop reason"),
        (name = "events", description = "Events of the network, as they happen"),
        (name = "captures", description = "Live frames with their verdicts"),
        (name = "flow-logs", description = "Records of the flows of interfaces, as AWS has them, and what AWS does not record"),
        (name = "faults", description = "Loss, delay, stale mappings, frozen instances and other faults"),
        (name = "explain", description = "Why a frame is delivered, answered or dropped"),
        (name = "instances", description = "Hosts of the lab: network namespaces whose eth0 is an interface"),
        (name = "scenarios", description = "Scenario files: a network, its steps and its expectations"),
        (name = "runs", description = "Runs of scenarios, each on a network of its own"),
        (name = "revisions", description = "What was done to the network, and undoing it"),
        (name = "meta", description = "The server itself"),
    ),
    components(schemas(Problem))
)]
struct ApiDoc;

/// The routes with their descriptions. Further resources are merged in here.
fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(vpcs::router())
        .merge(subnets::router())
        .merge(interfaces::router())
        .merge(mappings::router())
        .merge(route_tables::router())
        .merge(security_groups::router())
        .merge(network_acls::router())
        .merge(prefix_lists::router())
        .merge(dhcp_options::router())
        .merge(internet_gateways::router())
        .merge(elastic_ips::router())
        .merge(nat_gateways::router())
        .merge(block_public_access::router())
        .merge(egress_only_internet_gateways::router())
        .merge(peering_connections::router())
        .merge(vpc_endpoints::router())
        .merge(outside::router())
        .merge(topology::router())
        .merge(ports::router())
        .merge(events::router())
        .merge(profiles::router())
        .merge(explain::router())
        .merge(captures::router())
        .merge(flow_logs::router())
        .merge(faults::router())
        .merge(instances::router())
        .merge(runs::router())
        .merge(revisions::router())
        .merge(meta::router())
        .merge(metrics::router())
}

/// The most bytes of a request body for this path.
pub(super) fn largest_body(path: &str) -> usize {
    match path {
        "/v1/mappings/bulk" => BULK_LIMIT,
        _ if path.starts_with("/v1/topology") => topology::FILE_LIMIT,
        _ => BODY_LIMIT,
    }
}

/// The whole API behind its guard.
pub fn router(state: AppState) -> Router {
    router_with(state, OpenApiRouter::new())
}

/// The whole API with further documented routes.
pub fn router_with(state: AppState, more: OpenApiRouter<AppState>) -> Router {
    let (router, _) = documented().merge(more).split_for_parts();
    let routes = router
        .merge(mappings::prefix_routes())
        .merge(interfaces::prefix_routes())
        .merge(route_tables::prefix_routes())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(lists::listed));
    let versions = Arc::new(Versions::new(routes.clone(), state.clone()));
    routes
        .layer(middleware::from_fn_with_state(versions, versions::versioned))
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::once))
        .layer(middleware::from_fn_with_state(state.clone(), bodies::admit))
        .layer(middleware::from_fn_with_state(state.clone(), faults::misbehave))
        .with_state(state.clone())
        // It applies the faults of its own actions.
        .merge(crate::api::ec2::router(state.clone()))
        .layer(middleware::from_fn_with_state(state, guard))
        .layer(middleware::from_fn(contain_panic))
}

/// A handler that panics answers with a problem, as one that fails does.
async fn contain_panic(request: Request, next: Next) -> Response {
    let answer = async {
        contain::site("handler");
        next.run(request).await
    };
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(payload) => {
            contain::report("a handler", &*payload);
            let message = contain::message(&*payload);
            let problem = Problem::internal(format!("This is a defect of the server: {message}"));
            problem.remedy("Please report it with the request.").into_response()
        }
    }
}

/// The OpenAPI 3.1 description of the API, as in `api/openapi.json`.
pub fn openapi_json() -> String {
    let (_, api) = documented().split_for_parts();
    let api = serde_json::to_value(api).unwrap_or_else(|error| unreachable!("the description is plain data: {error}"));
    format!("{:#}\n", openapi::complete(api))
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "InvalidAction",
        format!("There is nothing at '{}'", uri.path()),
    )
    .remedy("GET /v1/openapi.json lists what there is.")
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("'{}' does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidAction", detail)
        .field("method")
        .remedy("The header 'Allow' lists the methods that it takes.")
}

/// Runs work that may wait for the writer lock, or compute for long, on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match crate::api::commands::run(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Problem::internal(format!("The request was not carried out: {error}"))),
    }
}

/// Carries out a command on a thread that may block.
async fn execute<C>(state: AppState, command: C) -> Result<C::Outcome, Problem>
where
    C: Command + Send + 'static,
    C::Outcome: Send + 'static,
    ControlError: From<C::Error>,
{
    blocking(move || Ok(state.controller.execute(command)?)).await
}

/// The number of entries of a page.
fn page_size(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=LARGEST_PAGE).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValue",
            format!("A page of {limit} entries is not possible"),
        )
        .field("limit")
        .remedy(format!("Ask for 1 to {LARGEST_PAGE}."))),
    }
}

fn bad_query(field: &str, error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "InvalidParameterValue", error.to_string()).field(field)
}
