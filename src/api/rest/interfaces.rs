//! Implements `/v1/interfaces`: network interfaces, their addresses and prefixes, and the device behind them.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing;
use axum::{Extension, Router};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::devices::{AttachRequest, Purpose, open, place};
use super::{blocking, execute, page_size};
use crate::api::caller::Caller;
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option, from_text};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::{ControlError, DevicePlace};
use crate::model::duration::Skew;
use crate::model::interface::{Allowances, TrackingTimeouts};
use crate::model::interface::{CreateInterface, DeleteInterface, ModifyInterface, SettingsChange};
use crate::model::metadata::MetadataChange;
use crate::model::naming::Tags;
use crate::model::{Command, InterfaceId, NetworkInterface, ResourceRef, SecurityGroupId, SubnetId, VpcId};
use crate::runtime::RuntimeError;
use crate::wire::MacAddr;

mod addresses;
mod given;
mod view;

use given::Given;
pub use view::InterfaceView;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(attach))
        .routes(routes!(detach))
        .routes(routes!(addresses::assign))
        .routes(routes!(addresses::unassign))
}

/// A prefix may be in the path with its slash.
pub(super) fn prefix_routes() -> Router<AppState> {
    Router::new().route(
        "/v1/interfaces/{interface}/addresses/{address}/{length}",
        routing::delete(addresses::unassign),
    )
}

/// A page of interfaces.
#[derive(Debug, Serialize, ToSchema)]
struct InterfaceList {
    interfaces: Vec<InterfaceView>,
    /// The `cursor` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which interfaces to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InterfaceFilter {
    /// Only of this VPC: identifier or name.
    #[param(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
    /// Only of this subnet: identifier or name.
    #[param(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// Only with this security group: identifier or name.
    #[param(value_type = Option<String>)]
    group: Option<ResourceRef<SecurityGroupId>>,
    /// Entries of a page, 1 to 1000; 100 if left out.
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<InterfaceId>,
}

/// A network interface to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateInterfaceRequest {
    /// A name that no other interface has.
    name: Option<String>,
    /// The subnet: identifier or name.
    #[schema(value_type = String)]
    subnet: ResourceRef<SubnetId>,
    /// Unique within the VPC; generated if left out.
    #[schema(value_type = Option<String>)]
    mac_address: Option<MacAddr>,
    /// On if left out.
    source_dest_check: Option<bool>,
    /// Its security groups, up to 16: identifiers or names; the VPC's default group if left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: Vec<ResourceRef<SecurityGroupId>>,
    /// Free text.
    #[serde(default)]
    description: String,
    /// IPv4 addresses, in order. The first becomes the primary one; in a subnet with IPv4 one is chosen
    /// if none is given.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv4_addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses, in order.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv6_addresses: Vec<Ipv6Addr>,
    /// Delegated /28 prefixes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated /80 prefixes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    ipv6_prefixes: Vec<Ipv6Net>,
    /// How many free IPv4 addresses to add.
    #[serde(default)]
    ipv4_address_count: u32,
    /// How many free IPv6 addresses to add.
    #[serde(default)]
    ipv6_address_count: u32,
    /// How many free /28 prefixes to add.
    #[serde(default)]
    ipv4_prefix_count: u32,
    /// How many free /80 prefixes to add.
    #[serde(default)]
    ipv6_prefix_count: u32,
    /// The longest IP packet that it accepts, 576 to 9001; the profile's if left out.
    mtu: Option<u16>,
    /// The offset of its NTP time from the server's clock, such as `2s` or `-250ms`; positive is ahead.
    ntp_skew: Option<Skew>,
    /// How much it may send and receive; without limit if left out.
    allowances: Option<Allowances>,
    /// Seconds for which idle connections are tracked; the profile's if left out.
    tracking: Option<TrackingTimeouts>,
    /// Metadata that differ from the default.
    metadata: Option<MetadataChange>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// Changes of an interface; a field that is left out stays unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyInterfaceRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// Turns the source/destination check on or off.
    source_dest_check: Option<bool>,
    /// All its security groups, at least one.
    #[schema(value_type = Option<Vec<String>>)]
    groups: Option<Vec<ResourceRef<SecurityGroupId>>>,
    /// Other free text.
    description: Option<String>,
    /// Another MTU, 576 to 9001, or null for the profile's.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<u16>)]
    mtu: Option<Option<u16>>,
    /// The offset of its NTP time from the server's clock, such as `2s` or `-250ms`; positive is ahead.
    ntp_skew: Option<Skew>,
    /// Other allowances, or null for no limit.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<Allowances>)]
    allowances: Option<Option<Allowances>>,
    /// Other times for which idle connections are tracked, or null for the profile's.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<TrackingTimeouts>)]
    tracking: Option<Option<TrackingTimeouts>>,
    /// Changes of the metadata; effective from the next request on.
    metadata: Option<MetadataChange>,
    /// All tags.
    tags: Option<Tags>,
}

fn reference(path: &PathParts) -> ResourceRef<InterfaceId> {
    ResourceRef::new(path.get("interface"))
}

/// Lists network interfaces
#[utoipa::path(get, path = "/v1/interfaces", tag = "interfaces", operation_id = "list_interfaces",
    params(InterfaceFilter),
    responses(
        (status = 200, description = "A page, by identifier", body = InterfaceList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<InterfaceFilter>,
) -> Result<axum::Json<InterfaceList>, Problem> {
    let limit = page_size(filter.limit)?;
    blocking(move || {
        let controller = &state.controller;
        let vpc = filter
            .vpc
            .map(|vpc| controller.vpc(&vpc))
            .transpose()?
            .map(|vpc| vpc.id);
        let subnet = filter
            .subnet
            .map(|subnet| controller.subnet(&subnet))
            .transpose()?
            .map(|subnet| subnet.id);
        let group = filter
            .group
            .map(|group| controller.security_group(&group))
            .transpose()?
            .map(|group| group.id);
        let matches = |interface: &NetworkInterface| {
            vpc.is_none_or(|vpc| interface.vpc_id == vpc)
                && subnet.is_none_or(|subnet| interface.subnet_id == subnet)
                && group.is_none_or(|group| interface.groups.contains(&group))
        };
        let mut found = controller.interfaces(filter.cursor, limit + 1, matches);
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = if more {
            found.last().map(|interface| interface.id.to_string())
        } else {
            None
        };
        let view = |interface| InterfaceView::of(controller, interface);
        let interfaces = found.into_iter().map(view).collect();
        Ok(axum::Json(InterfaceList {
            interfaces,
            next_cursor,
        }))
    })
    .await
    .map_err(Problem::named_in_body)
}

/// Creates a network interface with its addresses
#[utoipa::path(post, path = "/v1/interfaces", tag = "interfaces", operation_id = "create_interface",
    request_body = CreateInterfaceRequest,
    responses(
        (status = 201, description = "The new interface", body = InterfaceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateInterfaceRequest>,
) -> Result<impl IntoResponse, Problem> {
    let given = Given {
        ipv4_addresses: request.ipv4_addresses,
        ipv6_addresses: request.ipv6_addresses,
        ipv4_prefixes: request.ipv4_prefixes,
        ipv6_prefixes: request.ipv6_prefixes,
        counts: [
            request.ipv4_address_count,
            request.ipv6_address_count,
            request.ipv4_prefix_count,
            request.ipv6_prefix_count,
        ],
    };
    let command = CreateInterface {
        name: request.name,
        subnet: request.subnet,
        mac_address: request.mac_address,
        source_dest_check: request.source_dest_check.unwrap_or(true),
        groups: request.groups,
        description: request.description,
        addresses: given.requests()?,
        settings: SettingsChange {
            mtu: Some(request.mtu),
            ntp_skew: request.ntp_skew,
            allowances: Some(request.allowances),
            tracking: Some(request.tracking),
            public_address: None,
            metadata: request.metadata,
        },
        tags: request.tags,
    };
    let view = show(state, command).await.map_err(Problem::named_in_body)?;
    let location = format!("/v1/interfaces/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a network interface
#[utoipa::path(get, path = "/v1/interfaces/{interface}", tag = "interfaces", operation_id = "get_interface",
    params(("interface" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The interface with all its addresses", body = InterfaceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<InterfaceView>, Problem> {
    blocking(move || {
        let interface = state.controller.interface(&reference(&path))?;
        Ok(axum::Json(InterfaceView::of(&state.controller, interface)))
    })
    .await
}

/// Changes a network interface
#[utoipa::path(patch, path = "/v1/interfaces/{interface}", tag = "interfaces", operation_id = "modify_interface",
    params(("interface" = String, Path, description = "Identifier or name")), request_body = ModifyInterfaceRequest,
    responses(
        (status = 200, description = "The interface after the change", body = InterfaceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyInterfaceRequest>,
) -> Result<axum::Json<InterfaceView>, Problem> {
    let command = ModifyInterface {
        interface: reference(&path),
        name: request.name,
        source_dest_check: request.source_dest_check,
        groups: request.groups,
        description: request.description,
        settings: SettingsChange {
            mtu: request.mtu,
            ntp_skew: request.ntp_skew,
            allowances: request.allowances,
            tracking: request.tracking,
            public_address: None,
            metadata: request.metadata,
        },
        tags: request.tags,
    };
    show(state, command).await.map(axum::Json)
}

/// Deletes a detached network interface and frees its addresses
#[utoipa::path(delete, path = "/v1/interfaces/{interface}", tag = "interfaces", operation_id = "delete_interface",
    params(("interface" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteInterface(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attaches a network interface: to a TAP, or to an instance
///
/// In an instance the device appears with the interface's MAC address, down and without addresses, as in a running EC2
/// instance. The instance must be in the interface's availability zone.
#[utoipa::path(post, path = "/v1/interfaces/{interface}/attach", tag = "interfaces",
    operation_id = "attach_interface", request_body = AttachRequest,
    params(("interface" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The interface with its attachment", body = InterfaceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn attach(
    State(state): State<AppState>,
    path: PathParts,
    caller: Option<Extension<Caller>>,
    _: NoQuery,
    Json(request): Json<AttachRequest>,
) -> Result<axum::Json<InterfaceView>, Problem> {
    if place(&request)?.is_some() {
        return blocking(move || attach_to_host(&state, &path, &request)).await;
    }
    let caller = caller.map_or(Caller::Unknown, |Extension(caller)| caller);
    let (asked, name) = (state.clone(), reference(&path));
    let (current, mtu) = blocking(move || {
        let current = asked.controller.interface(&name)?;
        // No device is opened, or created, for an interface that cannot be attached.
        if asked.controller.port_of(current.id).is_some() {
            return Err(
                crate::model::ModelError::Interface(crate::model::InterfaceError::InUse { interface: current.id })
                    .into(),
            );
        }
        let profile = asked.controller.vpc(&current.vpc_id.into())?.profile;
        let mtu = current.settings.mtu.unwrap_or(profile.mtu);
        Ok((current, mtu))
    })
    .await?;
    let purpose = Purpose {
        mac: current.mac_address,
        mtu,
        caller,
    };
    let (opener, fd, keep) = (state.clone(), request.fd, request.keep == Some(true));
    let field = if request.namespace.is_some() {
        "namespace"
    } else {
        "tap"
    };
    let opened = state.opening().open(field, move || open(&opener, &request, purpose));
    let (device, container) = opened.await?;
    let container = container.filter(|_| !keep);
    blocking(move || {
        let controller = &state.controller;
        let device = match &state.runtime {
            Some(runtime) => runtime.keep_device(current.id, device),
            None => device,
        };
        let interface = controller.attach(&current.id.into(), device, DevicePlace::Outside)?;
        let view = InterfaceView::of(controller, interface);
        if let (Some(fd), Some(attachment)) = (fd, &view.attachment) {
            state.inherited().insert(fd, (view.id, attachment.port));
        }
        if let (Some(container), Some(attachment)) = (container, &view.attachment) {
            state
                .containers()
                .watch(controller, view.id, attachment.port, container);
        }
        Ok(axum::Json(view))
    })
    .await
}

/// Attaches a network interface to an instance of the server's lab.
fn attach_to_host(
    state: &AppState,
    path: &PathParts,
    request: &AttachRequest,
) -> Result<axum::Json<InterfaceView>, Problem> {
    let Some((instance, device_index)) = place(request)? else {
        return Err(Problem::missing("instance", "Name the instance."));
    };
    let runtime = super::instances::runtime(state)?;
    let attached = runtime.begin_attachment_to_host(&reference(path), instance, device_index);
    let attached = attached.map_err(|error| match error {
        // The interface is named in the path.
        RuntimeError::Control(error) => error.into(),
        error => super::instances::refused(error),
    });
    Ok(axum::Json(InterfaceView::of(&state.controller, attached?)))
}

/// How to detach.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DetachQuery {
    /// Detach at once, and where detaching hangs.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<bool>)]
    force: Option<bool>,
}

/// Detaches the device from a network interface
///
/// If it was in an instance, it vanishes there with all that was configured on it. That may take a while, by the profile or a
/// fault: until then the interface is `detaching`.
#[utoipa::path(post, path = "/v1/interfaces/{interface}/detach", tag = "interfaces",
    operation_id = "detach_interface",
    params(("interface" = String, Path, description = "Identifier or name"), DetachQuery),
    responses(
        (status = 200, description = "The interface without attachment", body = InterfaceView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn detach(
    State(state): State<AppState>,
    path: PathParts,
    Query(query): Query<DetachQuery>,
) -> Result<axum::Json<InterfaceView>, Problem> {
    blocking(move || {
        let detached = state
            .controller
            .begin_detachment(&reference(&path), query.force == Some(true))?;
        Ok(axum::Json(InterfaceView::of(&state.controller, detached)))
    })
    .await
}

/// Carries out a command and shows the interface of its outcome.
async fn show<C>(state: AppState, command: C) -> Result<InterfaceView, Problem>
where
    C: Command<Outcome = NetworkInterface> + Send + 'static,
    ControlError: From<C::Error>,
{
    blocking(move || {
        let interface = state.controller.execute(command)?;
        Ok(InterfaceView::of(&state.controller, interface))
    })
    .await
}
