//! Implements `/v1/flow-logs`: whose flows are recorded, and the records as text, read once or as a stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{blocking, execute};
use crate::api::extract::{Json, NoQuery, PathParts, Query, State, double_option};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::flow_log::{
    AggregationInterval, CreateFlowLog, DeleteFlowLog, Destination, FlowLog, FlowLogResource, FlowLogResourceRef,
    LogFormat, ModifyFlowLog, TrafficType,
};
use crate::model::naming::Tags;
use crate::model::{FlowLogId, InterfaceId, ResourceRef, SubnetId, VpcId};
use crate::record::flow_logs::{Delivery, Kind, Reading};
use crate::runtime::Runtime;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, modify, delete))
        .routes(routes!(records))
        .routes(routes!(details))
}

/// A flow log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = FlowLog)]
pub struct FlowLogView {
    /// Its identifier.
    pub id: FlowLogId,
    /// Its unique name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VPC whose flows are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<VpcId>,
    /// The subnet whose flows are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<SubnetId>,
    /// The interface whose flows are recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<InterfaceId>,
    /// Which flows are recorded.
    pub traffic: TrafficType,
    /// Where the records go.
    pub destination: Destination,
    /// The fields of a record.
    pub log_format: String,
    /// The longest time that one record covers; on Nitro a minute at the most, whatever is said here.
    pub interval: AggregationInterval,
    /// Why records do not reach their destination, if they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_error: Option<String>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

impl FlowLogView {
    fn of(log: &FlowLog, runtime: Option<&Arc<Runtime>>) -> Self {
        let (mut vpc_id, mut subnet_id, mut interface_id) = (None, None, None);
        match log.resource {
            FlowLogResource::Vpc(id) => vpc_id = Some(id),
            FlowLogResource::Subnet(id) => subnet_id = Some(id),
            FlowLogResource::Interface(id) => interface_id = Some(id),
        }
        let delivery = runtime.map(|runtime| runtime.flow_logs().delivery(log.id));
        Self {
            id: log.id,
            name: log.name.clone(),
            vpc_id,
            subnet_id,
            interface_id,
            traffic: log.traffic,
            destination: log.destination.clone(),
            log_format: log.format.to_string(),
            interval: log.interval,
            delivery_error: match delivery {
                Some(Delivery::Failed(reason)) => Some(reason),
                _ => None,
            },
            created_at: humantime::format_rfc3339_seconds(log.created_at).to_string(),
            tags: log.tags.clone(),
        }
    }
}

/// Flow logs.
#[derive(Debug, Serialize, ToSchema)]
struct FlowLogList {
    flow_logs: Vec<FlowLogView>,
}

/// A flow log to be created, for one of a VPC, a subnet and an interface.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateFlowLogRequest {
    /// A name that no other flow log has.
    name: Option<String>,
    /// The VPC whose flows are recorded: identifier or name.
    #[schema(value_type = Option<String>)]
    vpc: Option<ResourceRef<VpcId>>,
    /// The subnet whose flows are recorded: identifier or name.
    #[schema(value_type = Option<String>)]
    subnet: Option<ResourceRef<SubnetId>>,
    /// The interface whose flows are recorded: identifier or name.
    #[schema(value_type = Option<String>)]
    interface: Option<ResourceRef<InterfaceId>>,
    /// Which flows are recorded; all if left out.
    #[serde(default)]
    traffic: TrafficType,
    /// Where the records go; to memory alone if left out.
    #[serde(default)]
    destination: Destination,
    /// The fields of a record, as in `${srcaddr} ${dstaddr} ${action}`; those of version 2 if left out.
    log_format: Option<String>,
    /// The longest time that one record covers: `60s` or `10m` as on AWS, or less for tests; `10m` if left out.
    interval: Option<AggregationInterval>,
    /// Tags.
    #[serde(default)]
    tags: Tags,
}

/// What changes about a flow log; a field that is left out stays as it is. Nothing else can change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModifyFlowLogRequest {
    /// Another name, or null for none.
    #[serde(default, deserialize_with = "double_option")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// All tags.
    tags: Option<Tags>,
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LinesQuery {
    /// Whether the stream goes on with lines to come, until the client leaves.
    #[serde(default)]
    follow: bool,
    /// Lines after this number; all that are kept if left out. An answer names its last in the header `last-line`.
    #[serde(default)]
    after: u64,
}

fn reference(path: &PathParts) -> ResourceRef<FlowLogId> {
    ResourceRef::new(path.get("flow_log"))
}

/// Lists flow logs
#[utoipa::path(get, path = "/v1/flow-logs", tag = "flow-logs", operation_id = "list_flow_logs",
    responses(
        (status = 200, description = "All flow logs, by identifier", body = FlowLogList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(State(state): State<AppState>, _: NoQuery) -> Result<axum::Json<FlowLogList>, Problem> {
    blocking(move || {
        let logs = state.controller.flow_logs();
        let flow_logs = logs.iter().map(|log| FlowLogView::of(log, state.runtime.as_ref()));
        Ok(axum::Json(FlowLogList {
            flow_logs: flow_logs.collect(),
        }))
    })
    .await
}

/// Creates a flow log
///
/// It records from the answer to this request on.
#[utoipa::path(post, path = "/v1/flow-logs", tag = "flow-logs", operation_id = "create_flow_log",
    request_body = CreateFlowLogRequest,
    responses(
        (status = 201, description = "The new flow log", body = FlowLogView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    State(state): State<AppState>,
    _: NoQuery,
    Json(request): Json<CreateFlowLogRequest>,
) -> Result<impl IntoResponse, Problem> {
    let resource = match (request.vpc, request.subnet, request.interface) {
        (Some(vpc), None, None) => FlowLogResourceRef::Vpc(vpc),
        (None, Some(subnet), None) => FlowLogResourceRef::Subnet(subnet),
        (None, None, Some(interface)) => FlowLogResourceRef::Interface(interface),
        _ => {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "InvalidParameterCombination",
                "A flow log is of one VPC, one subnet or one interface",
            )
            .field("vpc")
            .remedy("Give one of vpc, subnet and interface."));
        }
    };
    let format: Option<LogFormat> = request.log_format.map(|text| text.parse()).transpose().map_err(
        |error: crate::model::flow_log::FlowLogError| {
            Problem::from(crate::control::ControlError::from(crate::model::ModelError::from(
                error,
            )))
        },
    )?;
    let command = CreateFlowLog {
        name: request.name,
        resource,
        traffic: request.traffic,
        destination: request.destination,
        format,
        interval: request.interval,
        at: SystemTime::now(),
        tags: request.tags,
    };
    let runtime = state.runtime.clone();
    let log = execute(state, command).await.map_err(Problem::named_in_body)?;
    let view = FlowLogView::of(&log, runtime.as_ref());
    let location = format!("/v1/flow-logs/{}", view.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)))
}

/// Shows a flow log
#[utoipa::path(get, path = "/v1/flow-logs/{flow_log}", tag = "flow-logs", operation_id = "get_flow_log",
    params(("flow_log" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The flow log", body = FlowLogView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<axum::Json<FlowLogView>, Problem> {
    blocking(move || {
        let log = state.controller.flow_log(&reference(&path))?;
        Ok(axum::Json(FlowLogView::of(&log, state.runtime.as_ref())))
    })
    .await
}

/// Changes the name or the tags of a flow log
#[utoipa::path(patch, path = "/v1/flow-logs/{flow_log}", tag = "flow-logs", operation_id = "modify_flow_log",
    request_body = ModifyFlowLogRequest,
    params(("flow_log" = String, Path, description = "Identifier or name")),
    responses(
        (status = 200, description = "The flow log as it is now", body = FlowLogView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn modify(
    State(state): State<AppState>,
    path: PathParts,
    _: NoQuery,
    Json(request): Json<ModifyFlowLogRequest>,
) -> Result<axum::Json<FlowLogView>, Problem> {
    let command = ModifyFlowLog {
        flow_log: reference(&path),
        name: request.name,
        tags: request.tags,
    };
    let runtime = state.runtime.clone();
    let log = execute(state, command).await?;
    Ok(axum::Json(FlowLogView::of(&log, runtime.as_ref())))
}

/// Deletes a flow log
///
/// Its present window ends: what it saw so far goes to a file or to standard output, if that is its destination.
#[utoipa::path(delete, path = "/v1/flow-logs/{flow_log}", tag = "flow-logs", operation_id = "delete_flow_log",
    params(("flow_log" = String, Path, description = "Identifier or name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn delete(State(state): State<AppState>, path: PathParts, _: NoQuery) -> Result<StatusCode, Problem> {
    execute(state, DeleteFlowLog(reference(&path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads the records of a flow log
///
/// One line a record, in the format of the flow log; the latest 10000 are kept. A record comes when its window is over.
#[utoipa::path(get, path = "/v1/flow-logs/{flow_log}/records", tag = "flow-logs",
    operation_id = "read_flow_log_records", params(("flow_log" = String, Path, description = "Identifier or name"), LinesQuery),
    responses(
        (status = 200, description = "Lines of records", body = String, content_type = "text/plain"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn records(
    State(state): State<AppState>,
    path: PathParts,
    Query(query): Query<LinesQuery>,
) -> Result<Response, Problem> {
    lines(
        state,
        reference(&path),
        query,
        Kind::Records,
        "text/plain; charset=utf-8",
    )
    .await
}

/// Reads what AWS does not record about the flows of a flow log
///
/// One JSON object a line: what became of the packets of a flow at the interface that sent them, with the drop reason and
/// the rules of security groups and network ACLs that decided.
#[utoipa::path(get, path = "/v1/flow-logs/{flow_log}/details", tag = "flow-logs",
    operation_id = "read_flow_log_details", params(("flow_log" = String, Path, description = "Identifier or name"), LinesQuery),
    responses(
        (status = 200, description = "Lines of JSON", body = String, content_type = "application/x-ndjson"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn details(
    State(state): State<AppState>,
    path: PathParts,
    Query(query): Query<LinesQuery>,
) -> Result<Response, Problem> {
    lines(state, reference(&path), query, Kind::Details, "application/x-ndjson").await
}

/// Where a reader is.
struct Reader {
    log: FlowLogId,
    kind: Kind,
    after: u64,
    news: tokio::sync::watch::Receiver<u64>,
    stopping: tokio::sync::watch::Receiver<bool>,
    runtime: Arc<Runtime>,
    // The stream keeps the state, so that the server can still end it.
    _state: AppState,
}

async fn lines(
    state: AppState,
    reference: ResourceRef<FlowLogId>,
    query: LinesQuery,
    kind: Kind,
    content_type: &'static str,
) -> Result<Response, Problem> {
    let controller = state.controller.clone();
    let log = blocking(move || Ok(controller.flow_log(&reference)?.id)).await?;
    let Some(runtime) = state.runtime.clone() else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "UnsupportedOperation",
            "This server has no switch, so nothing is recorded",
        )
        .remedy("Start a server with localvpc serve, up or lab."));
    };
    let mut reader = Reader {
        log,
        kind,
        after: query.after,
        news: runtime.flow_logs().news(),
        stopping: state.stopping(),
        runtime,
        _state: state,
    };
    if !query.follow {
        let mut all = String::new();
        while let Some(reading) = reader.read().filter(|reading| !reading.lines.is_empty()) {
            all.push_str(&text(&reading));
        }
        let last = reader.after.to_string();
        return Ok((
            [(header::CONTENT_TYPE, content_type.to_owned()), (LAST_LINE, last)],
            all,
        )
            .into_response());
    }
    let pieces = stream::unfold(reader, |mut reader| async move {
        let piece = reader.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), reader))
    });
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response())
}

/// The header with the number of the last line of an answer.
const LAST_LINE: header::HeaderName = header::HeaderName::from_static("last-line");

fn text(reading: &Reading) -> String {
    let mut text = String::new();
    for line in &reading.lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

impl Reader {
    fn read(&mut self) -> Option<Reading> {
        let reading = self.runtime.flow_logs().read(self.log, self.kind, self.after)?;
        self.after = reading.last;
        Some(reading)
    }

    /// The next lines; `None` when the flow log is gone or the server stops.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.news.borrow_and_update();
            let reading = self.read()?;
            if !reading.lines.is_empty() {
                return Some(text(&reading));
            }
            tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                changed = self.news.changed() => changed.ok()?,
            }
        }
    }
}
