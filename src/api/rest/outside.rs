//! `/v1/outside`: hosts beyond all internet gateways, with public addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::instances::refused;
use super::{blocking, instances};
use crate::api::extract::{Json, NoQuery, PathParts, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::Controller;
use crate::lab::ApiAccess;
use crate::model::interface::{AddressRequest, CreateInterface, DeleteInterface, DetachInterface};
use crate::model::naming::Tags;
use crate::model::{InterfaceId, NetworkInterface, outside};
use crate::runtime::HostSpec;
use crate::wire::MacAddr;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
}

/// A host of the outside.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OutsideHost)]
pub struct OutsideHostView {
    /// Its name, which is also its host name.
    pub name: String,
    /// The network interface that its `eth0` is, as captures, faults and ports name it.
    pub interface_id: InterfaceId,
    /// MAC address of `eth0`.
    #[schema(value_type = String)]
    pub mac_address: MacAddr,
    /// IPv4 addresses.
    #[schema(value_type = Vec<String>, example = json!(["198.51.100.7"]))]
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    #[schema(value_type = Vec<String>, example = json!(["3fff:198::7"]))]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl From<NetworkInterface> for OutsideHostView {
    fn from(interface: NetworkInterface) -> Self {
        Self {
            name: interface.name.unwrap_or_else(|| interface.id.to_string()),
            interface_id: interface.id,
            mac_address: interface.mac_address,
            ipv4_addresses: interface.ipv4_addresses,
            ipv6_addresses: interface.ipv6_addresses,
            tags: interface.tags,
        }
    }
}

/// Hosts of the outside.
#[derive(Debug, Serialize, ToSchema)]
struct OutsideHostList {
    outside: Vec<OutsideHostView>,
}

/// A host of the outside to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateOutsideHostRequest {
    /// Its name, which is also its host name.
    #[schema(example = "client")]
    name: String,
    /// IPv4 addresses of 198.51.100.0/24; one is chosen if left out.
    #[schema(value_type = Option<Vec<String>>)]
    ipv4: Option<Vec<Ipv4Addr>>,
    /// IPv6 addresses of 3fff:198::/64; one is chosen if left out.
    #[schema(value_type = Option<Vec<String>>)]
    ipv6: Option<Vec<Ipv6Addr>>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

fn find(controller: &Controller, name: &str) -> Result<NetworkInterface, Problem> {
    let mut hosts = controller.outside_hosts().into_iter();
    let found = hosts.find(|host| host.name.as_deref() == Some(name) || host.id.to_string() == name);
    found.ok_or_else(|| {
        let detail = format!("There is no host '{name}' on the outside");
        Problem::new(StatusCode::NOT_FOUND, "InvalidInstanceID.NotFound", detail)
            .field("host")
            .remedy("GET /v1/outside lists those that there are.")
    })
}

/// Lists the hosts of the outside
#[utoipa::path(get, path = "/v1/outside", tag = "outside", operation_id = "list_outside_hosts",
    responses(
        (status = 200, description = "All hosts, by identifier of their interface", body = OutsideHostList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<OutsideHostList>, Problem> {
    blocking(move || {
        let hosts = state.controller.outside_hosts().into_iter();
        let outside = hosts.map(OutsideHostView::from).collect();
        Ok(axum::Json(OutsideHostList { outside }))
    })
    .await
}

/// Makes a host of the outside
///
/// A network namespace with public addresses, beyond all internet gateways. It is up when the answer comes.
#[utoipa::path(post, path = "/v1/outside", tag = "outside", operation_id = "create_outside_host",
    request_body = CreateOutsideHostRequest,
    responses(
        (status = 201, description = "It is up", body = OutsideHostView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateOutsideHostRequest>,
) -> Result<impl IntoResponse, Problem> {
    let runtime = instances::runtime(&state)?;
    blocking(move || {
        let exactly = |address: IpAddr| AddressRequest::Exactly(address.into());
        let mut addresses: Vec<AddressRequest> = Vec::new();
        addresses.extend(
            request
                .ipv4
                .into_iter()
                .flatten()
                .map(|address| exactly(address.into())),
        );
        match request.ipv6 {
            Some(given) => addresses.extend(given.into_iter().map(|address| exactly(address.into()))),
            None => addresses.push(AddressRequest::AnyIpv6),
        }
        let command = CreateInterface {
            name: Some(request.name.clone()),
            addresses,
            tags: request.tags,
            ..CreateInterface::new(outside::SUBNET)
        };
        let interface = state
            .controller
            .execute(command)
            .map_err(|error| Problem::from(error).named_in_body())?;
        let host = HostSpec {
            api: ApiAccess::None,
            ..HostSpec::new(request.name, interface.id)
        };
        if let Err(error) = runtime.create_hosts(std::slice::from_ref(&host)) {
            // Nothing is left of a host that cannot be had.
            let _ = state.controller.execute(DeleteInterface(interface.id.into()));
            return Err(refused(error));
        }
        let view = OutsideHostView::from(interface);
        // A host's name is a label of a host name, so it needs no encoding.
        let location = format!("/v1/outside/{}", view.name);
        Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
    })
    .await
}

/// Shows a host of the outside
#[utoipa::path(get, path = "/v1/outside/{host}", tag = "outside", operation_id = "get_outside_host",
    params(("host" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The host", body = OutsideHostView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
) -> Result<axum::Json<OutsideHostView>, Problem> {
    blocking(move || Ok(axum::Json(find(&state.controller, path.get("host"))?.into()))).await
}

/// Takes a host of the outside away
///
/// Everything that runs in it ends, and its addresses are free.
#[utoipa::path(delete, path = "/v1/outside/{host}", tag = "outside", operation_id = "delete_outside_host",
    params(("host" = String, Path, description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    blocking(move || {
        let host = find(&state.controller, path.get("host"))?;
        if let (Some(runtime), Some(name)) = (&state.runtime, &host.name) {
            runtime.remove_host(name).map_err(refused)?;
        }
        if state.controller.interface(&host.id.into())?.attachment.is_some() {
            state.controller.execute(DetachInterface(host.id.into()))?;
        }
        state.controller.execute(DeleteInterface(host.id.into()))?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
