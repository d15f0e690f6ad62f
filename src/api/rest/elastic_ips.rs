//! `/v1/elastic-ips`: public IPv4 addresses, and what each is associated with.

use std::net::Ipv4Addr;

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
use crate::model::elastic_ip::{
    AllocateAddress, AssociateAddress, AssociateWith, AssociationRef, DisassociateAddress, ElasticIp, ModifyAddress,
    ReleaseAddress,
};
use crate::model::naming::Tags;
use crate::model::{AddressAssociationId, AllocationId, InstanceId, InterfaceId, ResourceRef};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(associate))
        .routes(routes!(disassociate))
}

/// An Elastic IP address.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ElasticIp)]
pub struct ElasticIpView {
    /// The identifier of its allocation.
    pub id: AllocationId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address.
    #[schema(value_type = String, format = Ipv4, example = "203.0.113.10")]
    pub public_ip: Ipv4Addr,
    /// What it is associated with; absent while it is with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<AssociationView>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// The association of a public address with a private one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AddressAssociation)]
pub struct AssociationView {
    /// Its identifier.
    pub id: AddressAssociationId,
    /// The interface.
    pub interface_id: InterfaceId,
    /// The private address of the interface.
    #[schema(value_type = String, format = Ipv4, example = "10.0.1.10")]
    pub private_ip: Ipv4Addr,
}

impl From<&ElasticIp> for ElasticIpView {
    fn from(address: &ElasticIp) -> Self {
        Self {
            id: address.id,
            name: address.name.clone(),
            public_ip: address.public_ip,
            association: address.association.map(|association| AssociationView {
                id: association.id,
                interface_id: association.interface_id,
                private_ip: association.private_ip,
            }),
            tags: address.tags.clone(),
        }
    }
}

/// Elastic IP addresses.
#[derive(Debug, Serialize, ToSchema)]
struct ElasticIpList {
    elastic_ips: Vec<ElasticIpView>,
}

/// An address to be allocated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct AllocateAddressRequest {
    /// A name that no other address has.
    name: Option<String>,
    /// The address, of 203.0.113.0/24, 192.0.2.0/24 or 198.18.0.0/15; a free one if left out.
    #[schema(value_type = Option<String>, format = Ipv4)]
    public_ip: Option<Ipv4Addr>,
    /// Tags.
    tags: Tags,
}

/// What changes about an address; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyAddressRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

/// What an address is associated with: an interface, or the one interface of an instance.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssociateAddressRequest {
    /// The interface: identifier or name.
    #[schema(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// The instance: identifier or name.
    #[schema(value_type = Option<String>)]
    instance: Option<ResourceRef<InstanceId>>,
    /// The private address; the primary one if left out.
    #[schema(value_type = Option<String>, format = Ipv4)]
    private_ip: Option<Ipv4Addr>,
    /// Whether it may be taken from what it is associated with; true if left out.
    allow_reassociation: Option<bool>,
}

fn reference(path: &PathParts) -> ResourceRef<AllocationId> {
    ResourceRef::new(path.get("elastic_ip"))
}

/// Lists Elastic IP addresses
#[utoipa::path(get, path = "/v1/elastic-ips", tag = "elastic-ips", operation_id = "list_elastic_ips",
    responses(
        (status = 200, description = "All addresses, by identifier", body = ElasticIpList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<ElasticIpList>, Problem> {
    blocking(move || {
        let addresses = state.controller.elastic_ips();
        let elastic_ips = addresses.iter().map(ElasticIpView::from).collect();
        Ok(axum::Json(ElasticIpList { elastic_ips }))
    })
    .await
}

/// Allocates an Elastic IP address
#[utoipa::path(post, path = "/v1/elastic-ips", tag = "elastic-ips", operation_id = "create_elastic_ip",
    request_body = AllocateAddressRequest,
    responses(
        (status = 201, description = "The new address", body = ElasticIpView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<AllocateAddressRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = AllocateAddress {
        name: request.name,
        public_ip: request.public_ip,
        tags: request.tags,
    };
    let view: ElasticIpView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/elastic-ips/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows an Elastic IP address
#[utoipa::path(get, path = "/v1/elastic-ips/{elastic_ip}", tag = "elastic-ips", operation_id = "get_elastic_ip",
    params(("elastic_ip" = String, Path, description = "Identifier, name, or the address itself")),
    responses(
        (status = 200, description = "The address", body = ElasticIpView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<ElasticIpView>, Problem> {
    blocking(move || {
        let address = state.controller.elastic_ip(&reference(&path))?;
        Ok(axum::Json((&address).into()))
    })
    .await
}

/// Changes an Elastic IP address
#[utoipa::path(patch, path = "/v1/elastic-ips/{elastic_ip}", tag = "elastic-ips", operation_id = "modify_elastic_ip",
    params(("elastic_ip" = String, Path, description = "Identifier, name, or the address itself")),
    request_body = ModifyAddressRequest,
    responses(
        (status = 200, description = "The address as it is now", body = ElasticIpView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyAddressRequest>,
) -> Result<axum::Json<ElasticIpView>, Problem> {
    let command = ModifyAddress {
        address: reference(&path),
        name: request.name,
        tags: request.tags,
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Releases an Elastic IP address that is associated with nothing
#[utoipa::path(delete, path = "/v1/elastic-ips/{elastic_ip}", tag = "elastic-ips", operation_id = "delete_elastic_ip",
    params(("elastic_ip" = String, Path, description = "Identifier, name, or the address itself")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, ReleaseAddress(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Associates an Elastic IP address with a private address
///
/// In one step: from the next packet on, the outside reaches the other one. An address that the private one had before is
/// disassociated and stays allocated.
#[utoipa::path(post, path = "/v1/elastic-ips/{elastic_ip}/associate", tag = "elastic-ips",
    operation_id = "associate_elastic_ip", request_body = AssociateAddressRequest,
    params(("elastic_ip" = String, Path, description = "Identifier, name, or the address itself")),
    responses(
        (status = 200, description = "The address as it is now", body = ElasticIpView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn associate(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AssociateAddressRequest>,
) -> Result<axum::Json<ElasticIpView>, Problem> {
    let with = match (request.interface, request.instance) {
        (Some(interface), None) => AssociateWith::Interface(interface),
        (None, Some(instance)) => AssociateWith::Instance(instance),
        (None, None) => return Err(Problem::missing("interface", "Name an interface, or an instance.")),
        (Some(_), Some(_)) => {
            let problem = Problem::invalid(
                "instance",
                "An address is associated with an interface or with an instance",
            );
            return Err(problem.remedy("Leave one of the two fields out."));
        }
    };
    let command = AssociateAddress {
        address: reference(&path),
        with,
        private_ip: request.private_ip,
        reassociation_allowed: request.allow_reassociation.unwrap_or(true),
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Ends the association of an Elastic IP address
///
/// One without an association stays as it is.
#[utoipa::path(post, path = "/v1/elastic-ips/{elastic_ip}/disassociate", tag = "elastic-ips",
    operation_id = "disassociate_elastic_ip",
    params(("elastic_ip" = String, Path, description = "Identifier, name, or the address itself")),
    responses(
        (status = 200, description = "The address as it is now", body = ElasticIpView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn disassociate(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<ElasticIpView>, Problem> {
    let command = DisassociateAddress(AssociationRef::Address(reference(&path)));
    Ok(axum::Json((&execute(state, command).await?).into()))
}
