//! `/v1/nat-gateways`: what hosts of private subnets reach other networks by.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::datapath::NatCounter;
use crate::model::naming::Tags;
use crate::model::nat_gateway::{
    AddNatAddresses, Connectivity, CreateNatGateway, ModifyNatGateway, NatAddress, NatGateway, NatState,
    RemoveNatAddresses,
};
use crate::model::{AddressAssociationId, AllocationId, InterfaceId, NatGatewayId, ResourceRef, SubnetId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(metrics))
        .routes(routes!(add_addresses))
        .routes(routes!(remove_address))
}

/// A NAT gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NatGatewayState)]
pub struct NatGatewayView {
    /// Its identifier.
    pub id: NatGatewayId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC of its subnet.
    pub vpc_id: VpcId,
    /// The subnet of its interface.
    pub subnet_id: SubnetId,
    /// Whether it sends to the outside.
    pub connectivity: Connectivity,
    /// How far it is in its life. A deleted one is listed for an hour.
    pub state: NatState,
    /// Why it failed, in EC2's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Its interface, which nothing else can be done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// Its addresses, the primary one first.
    pub addresses: Vec<NatAddressView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// An address of a NAT gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NatAddress)]
pub struct NatAddressView {
    /// The private address of its interface.
    #[schema(value_type = String, format = Ipv4)]
    pub private_ip: Ipv4Addr,
    /// The public address; none for a private gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Ipv4)]
    pub public_ip: Option<Ipv4Addr>,
    /// The Elastic IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic_ip_id: Option<AllocationId>,
    /// The association between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association_id: Option<AddressAssociationId>,
    /// Whether connections go on with it, and none begins.
    pub draining: bool,
}

impl From<&NatAddress> for NatAddressView {
    fn from(address: &NatAddress) -> Self {
        Self {
            private_ip: address.private_ip,
            public_ip: address.allocation.map(|(.., public)| public),
            elastic_ip_id: address.allocation.map(|(id, ..)| id),
            association_id: address.allocation.map(|(_, association, _)| association),
            draining: address.drains,
        }
    }
}

impl From<&NatGateway> for NatGatewayView {
    fn from(gateway: &NatGateway) -> Self {
        let failure = gateway.failure.as_ref();
        Self {
            id: gateway.id,
            name: gateway.name.clone(),
            vpc_id: gateway.vpc_id,
            subnet_id: gateway.subnet_id,
            connectivity: gateway.connectivity,
            state: gateway.state,
            failure: failure.map(|failure| format!("{}: {}", failure.code, failure.message)),
            interface_id: gateway.interface_id,
            addresses: gateway.addresses.iter().map(NatAddressView::from).collect(),
            created_at: humantime::format_rfc3339_millis(gateway.created_at).to_string(),
            tags: gateway.tags.clone(),
        }
    }
}

/// NAT gateways.
#[derive(Debug, Serialize, ToSchema)]
struct NatGatewayList {
    nat_gateways: Vec<NatGatewayView>,
}

/// A NAT gateway to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateNatGatewayRequest {
    /// A name that no other NAT gateway has.
    name: Option<String>,
    /// The subnet of its interface: identifier or name.
    #[schema(value_type = String)]
    subnet: ResourceRef<SubnetId>,
    /// `public`, with Elastic IP addresses, or `private`.
    #[serde(default)]
    connectivity: Connectivity,
    /// The Elastic IP addresses of a public one, the primary one first: addresses, identifiers or names.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    elastic_ips: Vec<ResourceRef<AllocationId>>,
    /// Its private addresses, the primary one first; free ones where they are left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    private_ips: Vec<Ipv4Addr>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a NAT gateway; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyNatGatewayRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

/// Further addresses of a NAT gateway.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddNatAddressesRequest {
    /// Elastic IP addresses, for a public one: addresses, identifiers or names.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    elastic_ips: Vec<ResourceRef<AllocationId>>,
    /// Private addresses; free ones where they are left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    private_ips: Vec<Ipv4Addr>,
}

/// What a NAT gateway has counted, by the names of CloudWatch's metrics.
#[derive(Debug, Serialize, ToSchema)]
struct NatMetrics {
    /// Connections that are open now.
    active_connection_count: usize,
    /// Counters since it is available.
    counters: BTreeMap<&'static str, u64>,
}

fn reference(path: &PathParts) -> ResourceRef<NatGatewayId> {
    ResourceRef::new(path.get("nat_gateway"))
}

/// Lists NAT gateways
#[utoipa::path(get, path = "/v1/nat-gateways", tag = "nat-gateways", operation_id = "list_nat_gateways",
    responses(
        (status = 200, description = "All NAT gateways, by identifier", body = NatGatewayList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<NatGatewayList>, Problem> {
    blocking(move || {
        let gateways = state.controller.nat_gateways();
        let nat_gateways = gateways.iter().map(NatGatewayView::from).collect();
        Ok(axum::Json(NatGatewayList { nat_gateways }))
    })
    .await
}

/// Makes a NAT gateway
///
/// It is pending first, and available a while later (`nat.pending` of the profile).
#[utoipa::path(post, path = "/v1/nat-gateways", tag = "nat-gateways", operation_id = "create_nat_gateway",
    request_body = CreateNatGatewayRequest,
    responses(
        (status = 201, description = "The new gateway", body = NatGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateNatGatewayRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateNatGateway {
        name: request.name,
        connectivity: request.connectivity,
        allocations: request.elastic_ips,
        private_ips: request.private_ips,
        tags: request.tags,
        ..CreateNatGateway::new(request.subnet, SystemTime::now())
    };
    let made = blocking(move || Ok(state.controller.begin_nat_gateway(command)?)).await;
    let view: NatGatewayView = (&made.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/nat-gateways/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a NAT gateway
#[utoipa::path(get, path = "/v1/nat-gateways/{nat_gateway}", tag = "nat-gateways", operation_id = "get_nat_gateway",
    params(("nat_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway", body = NatGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<NatGatewayView>, Problem> {
    blocking(move || {
        let gateway = state.controller.nat_gateway(&reference(&path))?;
        Ok(axum::Json((&gateway).into()))
    })
    .await
}

/// Changes a NAT gateway
#[utoipa::path(patch, path = "/v1/nat-gateways/{nat_gateway}", tag = "nat-gateways",
    operation_id = "modify_nat_gateway", request_body = ModifyNatGatewayRequest,
    params(("nat_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = NatGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyNatGatewayRequest>,
) -> Result<axum::Json<NatGatewayView>, Problem> {
    let command = ModifyNatGateway {
        gateway: reference(&path),
        name: request.name,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes a NAT gateway
///
/// Its connections are cut, its Elastic IP addresses stay allocated, and routes to it become black holes. It is listed as
/// deleted for an hour.
#[utoipa::path(delete, path = "/v1/nat-gateways/{nat_gateway}", tag = "nat-gateways",
    operation_id = "delete_nat_gateway",
    params(("nat_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is being deleted"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    blocking(move || Ok(state.controller.end_nat_gateway(reference(&path))?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads what a NAT gateway has counted
#[utoipa::path(get, path = "/v1/nat-gateways/{nat_gateway}/metrics", tag = "nat-gateways",
    operation_id = "get_nat_gateway_metrics",
    params(("nat_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "Its counters", body = NatMetrics),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn metrics(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<NatMetrics>, Problem> {
    blocking(move || {
        let (counters, active_connection_count) = state.controller.nat_counters(&reference(&path))?;
        let counters = NatCounter::ALL
            .iter()
            .map(|counter| (counter.name(), counters.get(*counter)));
        Ok(axum::Json(NatMetrics {
            active_connection_count,
            counters: counters.collect(),
        }))
    })
    .await
}

/// Gives a NAT gateway further addresses
#[utoipa::path(post, path = "/v1/nat-gateways/{nat_gateway}/addresses", tag = "nat-gateways",
    operation_id = "add_nat_gateway_addresses", request_body = AddNatAddressesRequest,
    params(("nat_gateway" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The gateway as it is now", body = NatGatewayView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn add_addresses(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AddNatAddressesRequest>,
) -> Result<axum::Json<NatGatewayView>, Problem> {
    let command = AddNatAddresses {
        gateway: reference(&path),
        allocations: request.elastic_ips,
        private_ips: request.private_ips,
        further: 0,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// How long an address drains.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct DrainQuery {
    /// Seconds that connections have to end, 0 to 4000; 0 cuts them.
    #[serde(default)]
    #[param(maximum = 4000)]
    drain: u32,
}

/// Takes an address away from a NAT gateway
///
/// It drains first: connections go on with it, and none begins.
#[utoipa::path(delete, path = "/v1/nat-gateways/{nat_gateway}/addresses/{private_ip}", tag = "nat-gateways",
    operation_id = "remove_nat_gateway_address",
    params(
        ("nat_gateway" = String, Path, description = "Identifier or name"),
        ("private_ip" = String, Path, description = "The private address"),
        DrainQuery,
    ),
    responses(
        (status = 204, description = "It drains, or is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn remove_address(
    State(state): State<AppState>,
    path: PathParts,
    crate::api::extract::Query(query): crate::api::extract::Query<DrainQuery>,
) -> Result<StatusCode, Problem> {
    let given = path.get("private_ip");
    let private_ip: Ipv4Addr = given.parse().map_err(|_| {
        // What is no address is no address of the gateway.
        let problem = Problem::new(
            StatusCode::NOT_FOUND,
            "InvalidParameterValue",
            format!("'{given}' is no IPv4 address"),
        );
        problem
            .field("private_ip")
            .remedy("Give a private address of the NAT gateway.")
    })?;
    if query.drain > 4000 {
        let problem = Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValue",
            "An address drains for 4000 seconds at the most".to_owned(),
        );
        return Err(problem.field("drain").remedy("Give 0 to 4000."));
    }
    let gateway = reference(&path);
    blocking(move || {
        if query.drain == 0 {
            state.controller.execute(RemoveNatAddresses {
                gateway,
                private_ips: vec![private_ip],
            })?;
        } else {
            let longest = Duration::from_secs(u64::from(query.drain));
            state.controller.drain_nat_addresses(gateway, &[private_ip], longest)?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
