//! Implements `/v1/explain`: why a frame is delivered, answered or dropped.

use std::net::IpAddr;

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::blocking;
use crate::api::extract::{Json, NoQuery, State};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::explain::{FrameSpec, PacketSpec, Protocol, Target};
use crate::control::{ExplainRequest, Explanation};
use crate::model::{InterfaceId, ResourceRef};
use crate::wire::MacAddr;

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// The ports of a described packet unless the request gives others.
const SOURCE_PORT: u16 = 40_000;

/// A frame, or a packet as a host would send it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExplainBody {
    /// The interface that sends it: identifier or name.
    #[schema(value_type = String)]
    from: ResourceRef<InterfaceId>,
    /// The whole frame in hexadecimal, spaces and colons allowed; excludes the fields of a packet.
    frame: Option<String>,
    /// The destination of a packet: an IP address, or an interface by identifier or name.
    #[schema(example = "10.0.1.11")]
    to: Option<String>,
    /// Its source; the interface's first address of the family if left out.
    #[schema(value_type = Option<String>)]
    source: Option<IpAddr>,
    /// Its protocol; an echo request if left out.
    protocol: Option<Protocol>,
    /// Its source port, for TCP and UDP; 40000 if left out.
    source_port: Option<u16>,
    /// Its destination port, for TCP and UDP.
    destination_port: Option<u16>,
    /// The MAC of a static neighbor entry; resolved by ARP or Neighbor Discovery if left out.
    #[schema(value_type = Option<String>)]
    destination_mac: Option<MacAddr>,
    /// Explain the reply to a delivered packet too: its own routes and checks decide about it.
    #[serde(default)]
    both: bool,
}

impl ExplainBody {
    fn spec(&self) -> Result<FrameSpec, Problem> {
        const REMEDY: &str = "Give the frame alone, or a packet by 'to', 'protocol' and ports.";
        if let Some(text) = &self.frame {
            let given = [
                ("to", self.to.is_some()),
                ("source", self.source.is_some()),
                ("protocol", self.protocol.is_some()),
                ("source_port", self.source_port.is_some()),
                ("destination_port", self.destination_port.is_some()),
                ("destination_mac", self.destination_mac.is_some()),
                ("both", self.both),
            ];
            if let Some((field, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Problem::invalid(*field, "The frame says it already").remedy(REMEDY));
            }
            let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
            let bytes = data_encoding::HEXLOWER_PERMISSIVE
                .decode(digits.as_bytes())
                .map_err(|error| {
                    Problem::invalid("frame", format!("The frame is not hexadecimal: {error}"))
                        .remedy("Write two hexadecimal digits for each byte.")
                })?;
            return Ok(FrameSpec::Bytes(bytes));
        }
        let Some(to) = &self.to else {
            return Err(Problem::missing("to", REMEDY));
        };
        let protocol = self.protocol.unwrap_or_default();
        if protocol == Protocol::Icmp {
            for (field, port) in [
                ("source_port", self.source_port),
                ("destination_port", self.destination_port),
            ] {
                if port.is_some() {
                    return Err(Problem::invalid(field, "An echo request has no ports")
                        .remedy("Set 'protocol' to 'tcp' or 'udp', or leave the port out."));
                }
            }
        } else if self.destination_port.is_none() {
            return Err(Problem::missing(
                "destination_port",
                "Name the port that the packet goes to.",
            ));
        }
        Ok(FrameSpec::Packet(PacketSpec {
            to: match to.parse() {
                Ok(address) => Target::Address(address),
                Err(_) => Target::Interface(ResourceRef::new(to)),
            },
            source: self.source,
            protocol,
            source_port: self.source_port.unwrap_or(SOURCE_PORT),
            destination_port: self.destination_port.unwrap_or_default(),
            destination_mac: self.destination_mac,
        }))
    }
}

/// Explains the verdict on a frame
///
/// The decision is made by the code that the workers run, with the present faults and ports. For a packet the answer
/// first shows the neighbor resolution of the next hop, as a host would do it. Nothing is sent, counted or learned.
#[utoipa::path(post, path = "/v1/explain", tag = "explain", operation_id = "explain", request_body = ExplainBody,
    responses(
        (status = 200, description = "Each frame with the stages that it passed and its verdict", body = Explanation),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn explain(
    State(state): State<AppState>,
    _: NoQuery,
    Json(body): Json<ExplainBody>,
) -> Result<axum::Json<Explanation>, Problem> {
    let frame = body.spec()?;
    let request = ExplainRequest {
        interface: body.from,
        frame,
        both: body.both,
    };
    blocking(move || {
        let explained = state.controller.explain(request);
        Ok(axum::Json(explained.map_err(|error| {
            let problem = Problem::from(error).named_in_body();
            if problem.field.as_deref() == Some("interface") {
                problem.field("from")
            } else {
                problem
            }
        })?))
    })
    .await
}
