//! The VPC's endpoint of the EC2 API: what a host sends to it is handed to what serves the API, on a thread of its own, and the
//! answer wakes the services' thread, which waits for nothing.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::imds::Asker;
use crate::mapping::InterfaceIndex;

/// Octets of a request, as the API takes them elsewhere.
const BODY: usize = 1 << 20;

/// What serves the API to hosts that call it by network.
pub trait Endpoint: Send + Sync {
    /// Begins to answer a request of the host behind an interface. It must not wait.
    fn call(
        &self,
        asker: InterfaceIndex,
        request: axum::http::Request<Bytes>,
        answer: oneshot::Sender<Response<Bytes>>,
    );
}

/// What serves the API, once there is something that does. It is not kept alive from here.
#[derive(Clone, Default)]
pub struct EndpointSlot(Arc<RwLock<Option<Weak<dyn Endpoint>>>>);

impl std::fmt::Debug for EndpointSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndpointSlot")
    }
}

impl EndpointSlot {
    /// From now on requests go there.
    pub fn set(&self, endpoint: Weak<dyn Endpoint>) {
        // A value that is replaced whole is never half changed.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    fn get(&self) -> Option<Arc<dyn Endpoint>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()?
            .upgrade()
    }
}

/// The endpoint as a router for the connections of the services. A request must carry an [`Asker`] in its extensions.
pub(super) fn router(slot: EndpointSlot) -> Router {
    Router::new()
        .fallback(serve)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(slot)
}

async fn serve(State(slot): State<EndpointSlot>, request: Request) -> Response {
    let asker = request.extensions().get::<Asker>().copied();
    let (Some(endpoint), Some(asker)) = (slot.get(), asker) else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "nothing serves the API of this network\n",
        )
            .into_response();
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // What the services know of the connection is not the API's business.
    parts.extensions.clear();
    let (answer, answered) = oneshot::channel();
    endpoint.call(asker.interface, axum::http::Request::from_parts(parts, body), answer);
    match answered.await {
        Ok(response) => response.map(Body::from),
        // The API has ended.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
