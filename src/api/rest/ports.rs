//! Implements `/v1/ports`: every port of the switch with all counters, including drop reasons.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{Query, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::Tracking;
use crate::datapath::{Answered, DropReason};
use crate::model::{InterfaceId, ResourceRef};
use crate::switch::PortStatus;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A port of the switch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Port)]
pub struct PortView {
    /// Its number.
    pub port: u32,
    /// The interface that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// The interface's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
    /// The device.
    pub device: String,
    /// The largest IP packet in bytes that the host accepts.
    pub mtu: u16,
    /// Whether the device is gone.
    pub lost: bool,
    /// Frames from the host.
    pub received: Traffic,
    /// Frames to the host.
    pub sent: Traffic,
    /// Answers of the fabric to the host, by kind.
    #[schema(value_type = std::collections::BTreeMap<String, u64>, example = json!({"arp_reply": 3}))]
    pub answered: Map<String, Value>,
    /// Frames from the host that were dropped, by reason.
    #[schema(value_type = std::collections::BTreeMap<String, u64>, example = json!({"multicast": 12}))]
    pub dropped: Map<String, Value>,
    /// Further counters: `sent_merged` (frames of `sent` that were merged into another), `unasked` (frames that the
    /// fabric sent unsolicited) and `refused` (frames that the device did not accept). Of its instance, by the names of
    /// EC2's ENA driver: `conntrack_allowance_exceeded`, `conntrack_allowance_available`, `linklocal_allowance_exceeded`;
    /// and `tracked_connections`.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub other: Map<String, Value>,
}

/// Frames and bytes in one direction.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes of the frames, without offload headers.
    pub bytes: u64,
}

/// The ports of the switch, and the meaning of their counters.
#[derive(Debug, Serialize, ToSchema)]
struct PortList {
    ports: Vec<PortView>,
}

/// Which ports and counters to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PortFilter {
    /// Only of this interface: identifier or name.
    #[param(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// Leaves out counters that are zero.
    #[serde(default)]
    nonzero: bool,
}

/// Lists ports with their counters
#[utoipa::path(get, path = "/v1/ports", tag = "ports", operation_id = "list_ports", params(PortFilter),
    responses(
        (status = 200, description = "Every port, by number", body = PortList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    State(state): State<AppState>,
    Query(filter): Query<PortFilter>,
) -> Result<axum::Json<PortList>, Problem> {
    blocking(move || {
        let controller = &state.controller;
        let wanted = filter
            .interface
            .map(|reference| controller.interface(&reference))
            .transpose()?;
        let mut ports: Vec<PortView> = Vec::new();
        for report in controller.ports() {
            let id = controller.interface_at(report.interface);
            if wanted.as_ref().is_some_and(|wanted| Some(wanted.id) != id) {
                continue;
            }
            let name = id
                .and_then(|id| controller.interface(&id.into()).ok())
                .and_then(|interface| interface.name);
            let tracking = controller.tracking(report.interface);
            ports.push(view(&report, id, name, tracking, filter.nonzero));
        }
        ports.sort_by_key(|port| port.port);
        Ok(axum::Json(PortList { ports }))
    })
    .await
    .map_err(Problem::named_in_body)
}

fn view(
    report: &PortStatus,
    interface_id: Option<InterfaceId>,
    name: Option<String>,
    tracking: Option<Tracking>,
    nonzero: bool,
) -> PortView {
    let counters = &report.counters;
    let map = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| -> Map<String, Value> {
        let shown = counts.filter(|(_, count)| !nonzero || *count > 0);
        shown
            .map(|(name, count)| (name.to_owned(), Value::from(count)))
            .collect()
    };
    let other = [
        ("sent_merged", counters.sent_merged),
        ("unasked", counters.unasked),
        ("refused", counters.refused),
        (
            "linklocal_allowance_exceeded",
            counters.dropped(DropReason::LinkLocalAllowance),
        ),
    ];
    let available = tracking.and_then(|own| Some(own.limit?.saturating_sub(own.tracked)));
    let of_instance = [
        ("conntrack_allowance_exceeded", tracking.map(|own| own.exceeded)),
        ("conntrack_allowance_available", available.map(u64::from)),
        ("tracked_connections", tracking.map(|own| own.tracked.into())),
    ];
    let of_instance = of_instance.into_iter().filter_map(|(name, count)| Some((name, count?)));
    let traffic = |traffic: crate::switch::Traffic| Traffic {
        frames: traffic.frames,
        bytes: traffic.bytes,
    };
    PortView {
        port: report.port.get(),
        interface_id,
        interface_name: name,
        device: report.name.clone(),
        mtu: report.mtu,
        lost: report.lost,
        received: traffic(counters.received),
        sent: traffic(counters.sent),
        answered: map(&mut Answered::ALL.iter().map(|kind| (kind.name(), counters.answered(*kind)))),
        dropped: map(&mut DropReason::ALL
            .iter()
            .map(|reason| (reason.name(), counters.dropped(*reason)))),
        other: map(&mut other.into_iter().chain(of_instance)),
    }
}
