//! `/v1/network-acls`: numbered entries that allow or deny packets where they enter and leave a subnet.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::ControlError;
use crate::model::naming::Tags;
use crate::model::network_acl::{
    AclAction, AclAssociation, AclEntry, AssociateNetworkAcl, AssociationRef, CreateNetworkAcl, DeleteNetworkAcl,
    EditEntry, EntryEdit, EntryForm, ModifyNetworkAcl, NetworkAcl, NetworkAclError,
};
use crate::model::traffic::{Direction, Ports, Protocol, Traffic};
use crate::model::{ModelError, NetworkAclAssociationId, NetworkAclId, ResourceRef, SubnetId, VpcId};

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(put_entry, delete_entry))
        .routes(routes!(associate))
}

/// A network ACL.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NetworkAcl)]
pub struct NetworkAclView {
    /// Its identifier.
    pub id: NetworkAclId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// Whether it is the one that new subnets have.
    pub default: bool,
    /// The subnets that have it.
    #[serde(default)]
    pub subnet_ids: Vec<SubnetId>,
    /// The associations with them.
    pub associations: Vec<AclAssociationView>,
    /// What enters its subnets. The first entry that matches decides; the two last ones deny everything.
    pub ingress: Vec<EntryForm>,
    /// What leaves its subnets.
    pub egress: Vec<EntryForm>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// The network ACL of a subnet.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = NetworkAclAssociation)]
pub struct AclAssociationView {
    /// Its identifier, which is another one whenever the subnet gets another network ACL.
    pub id: NetworkAclAssociationId,
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The network ACL.
    pub network_acl_id: NetworkAclId,
}

impl From<&AclAssociation> for AclAssociationView {
    fn from(association: &AclAssociation) -> Self {
        Self {
            id: association.id,
            subnet_id: association.subnet,
            network_acl_id: association.acl,
        }
    }
}

impl From<&NetworkAcl> for NetworkAclView {
    fn from(acl: &NetworkAcl) -> Self {
        let entries = |direction| {
            let entries = acl.record.entries(direction);
            entries.map(|(number, entry)| EntryForm::of(number, &entry)).collect()
        };
        Self {
            id: acl.record.id,
            name: acl.record.name.clone(),
            vpc_id: acl.record.vpc_id,
            default: acl.default,
            subnet_ids: acl.associations.iter().map(|association| association.subnet).collect(),
            associations: acl.associations.iter().map(AclAssociationView::from).collect(),
            ingress: entries(Direction::Ingress),
            egress: entries(Direction::Egress),
            tags: acl.record.tags.clone(),
        }
    }
}

/// Network ACLs.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkAclList {
    network_acls: Vec<NetworkAclView>,
}

/// Which network ACLs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NetworkAclFilter {
    /// Of this VPC only: identifier or name.
    #[param(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
}

/// A network ACL to be made; what no entry of it allows is denied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateNetworkAclRequest {
    /// A name that no other network ACL has.
    name: Option<String>,
    /// The VPC: identifier or name.
    #[schema(value_type = String)]
    vpc: ResourceRef<VpcId>,
    /// What enters its subnets.
    #[serde(default)]
    ingress: Vec<EntryForm>,
    /// What leaves its subnets.
    #[serde(default)]
    egress: Vec<EntryForm>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a network ACL; a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyNetworkAclRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

/// What an entry says; its number and direction stand in the path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EntryRequest {
    /// What becomes of the packets that match.
    action: AclAction,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `all`, or a number such as 112 for VRRP.
    #[schema(value_type = String, example = "tcp")]
    protocol: Protocol,
    /// A destination port, a range such as `1024-65535`, or `all`; of TCP and UDP alone. All when left out.
    #[schema(value_type = Option<String>, example = "1024-65535")]
    ports: Option<Ports>,
    /// The ICMP type; all when left out.
    icmp_type: Option<u8>,
    /// The ICMP code; all when left out.
    icmp_code: Option<u8>,
    /// Addresses of the other side, of either family.
    #[schema(value_type = String, example = "0.0.0.0/0")]
    cidr: IpNet,
}

/// A subnet that is to have a network ACL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssociateAclRequest {
    /// The subnet: identifier or name.
    #[schema(value_type = String)]
    subnet: ResourceRef<SubnetId>,
}

fn reference(path: &PathParts) -> ResourceRef<NetworkAclId> {
    ResourceRef::new(path.get("acl"))
}

fn refused(error: NetworkAclError) -> Problem {
    ControlError::from(ModelError::from(error)).into()
}

/// The direction and the number in a path.
fn place(path: &PathParts) -> Result<(Direction, u16), Problem> {
    let direction = match path.get("direction") {
        "ingress" => Direction::Ingress,
        "egress" => Direction::Egress,
        other => {
            let problem = Problem::invalid("direction", format!("There is no direction '{other}'"));
            return Err(problem.remedy("Write ingress or egress."));
        }
    };
    let given = path.get("number");
    let number = given.parse::<i64>();
    let number = number.map_err(|_| {
        let problem = Problem::invalid("number", format!("'{given}' is not a number"));
        problem.remedy("Write a number from 1 to 32766; entries are tried in their order.")
    })?;
    let number = u16::try_from(number).map_err(|_| refused(NetworkAclError::Number { given: number }))?;
    Ok((direction, number))
}

/// The entries of two lists; what is wrong with one is said with its place.
fn entries(ingress: &[EntryForm], egress: &[EntryForm]) -> Result<Vec<(Direction, u16, AclEntry)>, Problem> {
    let lists = [
        ("ingress", Direction::Ingress, ingress),
        ("egress", Direction::Egress, egress),
    ];
    let mut all = Vec::new();
    for (list, direction, forms) in lists {
        for (place, form) in forms.iter().enumerate() {
            let entry = form.entry().map_err(|error| {
                let field = error.field().unwrap_or("number");
                refused(error.clone()).field(format!("{list}[{place}].{field}"))
            })?;
            all.push((direction, form.number, entry));
        }
    }
    Ok(all)
}

/// Lists network ACLs
#[utoipa::path(get, path = "/v1/network-acls", tag = "network-acls", operation_id = "list_network_acls",
    params(NetworkAclFilter),
    responses(
        (status = 200, description = "Network ACLs, by identifier", body = NetworkAclList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<NetworkAclFilter>,
) -> Result<axum::Json<NetworkAclList>, Problem> {
    blocking(move || {
        let acls = state.controller.network_acls(filter.vpc.as_ref());
        let acls = acls.map_err(|error| Problem::from(error).named_in_body())?;
        let network_acls = acls.iter().map(NetworkAclView::from).collect();
        Ok(axum::Json(NetworkAclList { network_acls }))
    })
    .await
}

/// Makes a network ACL
#[utoipa::path(post, path = "/v1/network-acls", tag = "network-acls", operation_id = "create_network_acl",
    request_body = CreateNetworkAclRequest,
    responses(
        (status = 201, description = "The new network ACL", body = NetworkAclView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateNetworkAclRequest>,
) -> Result<impl IntoResponse, Problem> {
    let command = CreateNetworkAcl {
        name: request.name,
        vpc: request.vpc,
        entries: entries(&request.ingress, &request.egress)?,
        tags: request.tags,
    };
    let view: NetworkAclView = (&execute(state, command).await.map_err(Problem::named_in_body)?).into();
    let location = format!("/v1/network-acls/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a network ACL
#[utoipa::path(get, path = "/v1/network-acls/{acl}", tag = "network-acls", operation_id = "get_network_acl",
    params(("acl" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The network ACL with its entries", body = NetworkAclView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<NetworkAclView>, Problem> {
    blocking(move || Ok(axum::Json((&state.controller.network_acl(&reference(&path))?).into()))).await
}

/// Changes the name and tags of a network ACL
#[utoipa::path(patch, path = "/v1/network-acls/{acl}", tag = "network-acls", operation_id = "modify_network_acl",
    params(("acl" = String, Path, description = "Identifier or name")), request_body = ModifyNetworkAclRequest,
    responses(
        (status = 200, description = "The network ACL as it is now", body = NetworkAclView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyNetworkAclRequest>,
) -> Result<axum::Json<NetworkAclView>, Problem> {
    let command = ModifyNetworkAcl {
        name: request.name,
        tags: request.tags,
        ..ModifyNetworkAcl::new(reference(&path))
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Deletes a network ACL that no subnet has
#[utoipa::path(delete, path = "/v1/network-acls/{acl}", tag = "network-acls", operation_id = "delete_network_acl",
    params(("acl" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteNetworkAcl(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds an entry, or puts it in the place of the one that has its number
#[utoipa::path(put, path = "/v1/network-acls/{acl}/{direction}/{number}", tag = "network-acls",
    operation_id = "put_network_acl_entry",
    params(
        ("acl" = String, Path, description = "Identifier or name"),
        ("direction" = String, Path, description = "`ingress` or `egress`"),
        ("number" = u16, Path, description = "1 to 32766", minimum = 1, maximum = 32766),
    ),
    request_body = EntryRequest,
    responses(
        (status = 200, description = "The network ACL as it is now", body = NetworkAclView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put_entry(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<EntryRequest>,
) -> Result<axum::Json<NetworkAclView>, Problem> {
    let (direction, number) = place(&path)?;
    let traffic = Traffic::of_fields(request.protocol, request.ports, request.icmp_type, request.icmp_code);
    let entry = AclEntry {
        action: request.action,
        traffic: traffic.map_err(|error| refused(error.into()))?,
        cidr: request.cidr,
    };
    let command = EditEntry {
        acl: reference(&path),
        direction,
        number,
        edit: EntryEdit::Put(entry),
    };
    Ok(axum::Json((&execute(state, command).await?).into()))
}

/// Takes an entry away
#[utoipa::path(delete, path = "/v1/network-acls/{acl}/{direction}/{number}", tag = "network-acls",
    operation_id = "delete_network_acl_entry",
    params(
        ("acl" = String, Path, description = "Identifier or name"),
        ("direction" = String, Path, description = "`ingress` or `egress`"),
        ("number" = u16, Path, description = "1 to 32766", minimum = 1, maximum = 32766),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete_entry(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    let (direction, number) = place(&path)?;
    let command = EditEntry {
        acl: reference(&path),
        direction,
        number,
        edit: EntryEdit::Delete,
    };
    execute(state, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a subnet a network ACL, in place of the one that it has
#[utoipa::path(post, path = "/v1/network-acls/{acl}/associations", tag = "network-acls",
    operation_id = "associate_network_acl",
    params(("acl" = String, Path, description = "Identifier or name")), request_body = AssociateAclRequest,
    responses(
        (status = 200, description = "The association, which is a new one", body = AclAssociationView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn associate(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<AssociateAclRequest>,
) -> Result<axum::Json<AclAssociationView>, Problem> {
    blocking(move || {
        let acl = state.controller.network_acl(&reference(&path))?.record.id.into();
        let subnet = AssociationRef::Subnet(request.subnet);
        let associated = state.controller.execute(AssociateNetworkAcl { acl, subnet });
        let association = associated.map_err(|error| Problem::from(error).named_in_body())?;
        Ok(axum::Json((&association).into()))
    })
    .await
}
