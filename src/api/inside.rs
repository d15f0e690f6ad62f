//! Serves the API to the programs of instances, over a unix socket in each instance's own `/run`, because an instance
//! has no network but the VPC's. A failover script calls it instead of its cloud's API.
//!
//! It is the same API behind the same guard and the same faults. An instance is the author of its edits, and has access
//! to the network only: no commands in other hosts, no devices of the machine, no runs of scenarios (see
//! [`Permissions`]).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use axum::{Extension, Router};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tower::{Layer as _, ServiceExt as _};

use super::caller::Caller;
use super::commands;
use super::ec2::Identity;
use super::guard::{GuardConfig, Permissions, Transport};
use super::rest::router;
use super::state::AppState;
use crate::control::Author;
use crate::lab::api::{ApiAccess, HostSocket, ServeHost};
use crate::mapping::InterfaceIndex;
use crate::runtime::{HostApi, Runtime};
use crate::services::Endpoint;

/// The grace period of requests that are under way at the end.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the API of one network to its instances. Dropping it stops the service.
pub struct InsideApi {
    threads: Mutex<Option<tokio::runtime::Runtime>>,
    state: AppState,
    /// The routes of all instances.
    routes: Router,
    /// Those of the endpoint of the VPC.
    ec2: Router,
}

impl InsideApi {
    /// An API that no instance can reach yet: give it to the runtime.
    pub fn start(mut state: AppState) -> io::Result<Arc<Self>> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-inside")
            .on_thread_start(commands::confined)
            .enable_all()
            .build()?;
        // The socket is reachable from inside only, and not from a browser's page: neither token nor further names.
        state.guard = Arc::new(GuardConfig {
            permissions: Permissions {
                exec: false,
                network_only: true,
            },
            ..GuardConfig::default()
        });
        Ok(Arc::new(Self {
            threads: Mutex::new(Some(threads)),
            routes: router(state.clone()),
            ec2: super::ec2::router(state.clone()),
            state,
        }))
    }
}

/// An API for the hosts of a network that has no server, such as that of a run.
pub fn serve_hosts(runtime: &Arc<Runtime>) -> io::Result<Arc<dyn HostApi>> {
    commands::appoint_own()?;
    let state = AppState::of_runtime(Arc::clone(runtime), GuardConfig::default());
    Ok(InsideApi::start(state)?)
}

impl ServeHost for InsideApi {
    fn serve(&self, host: HostSocket) -> io::Result<()> {
        // The value is taken as a whole.
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = threads.as_ref() else { return Ok(()) };
        let _inside = threads.enter();
        host.listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(host.listener)?;
        host.ended.set_nonblocking(true)?;
        let ended = UnixStream::from_std(host.ended)?;
        let author = Author::Instance(host.instance.as_str().into());
        let routes = self.routes.clone();
        let routes = Extension(Transport::Instance(host.access)).layer(routes);
        let routes = Extension(Identity::Host(host.instance.as_str().to_owned())).layer(routes);
        let routes = Extension(Caller::Unknown).layer(routes);
        let routes = Extension(author).layer(routes);
        let routes = axum::ServiceExt::<Request<Body>>::into_make_service(routes);
        let stop = until_end(ended, self.state.clone());
        threads.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
                tracing::warn!(%error, instance = host.instance, "an instance no longer reaches the API");
            }
        });
        Ok(())
    }
}

/// Waits until the instance or the server ends.
async fn until_end(ended: UnixStream, state: AppState) {
    let mut stopping = state.stopping();
    tokio::select! {
        // Resolves also when the state is dropped.
        _ = stopping.wait_for(|stopping| *stopping) => {}
        // The other end sends nothing; it is closed.
        _ = ended.readable() => {}
    }
}

impl Endpoint for InsideApi {
    fn call(&self, asker: InterfaceIndex, request: Request<Bytes>, answer: oneshot::Sender<Response<Bytes>>) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Its end is near: the host hears that by the answer that is dropped.
        let Some(threads) = threads.as_ref() else { return };
        let (state, routes) = (self.state.clone(), self.ec2.clone());
        threads.spawn(async move {
            // The writer of the network may be at work.
            let caller = commands::run(move || HostCaller::of(&state, asker)).await;
            let Ok(Some(caller)) = caller else { return };
            let response = caller.answer(routes, request).await;
            // The connection may be gone by now.
            let _ = answer.send(response);
        });
    }
}

/// The host behind a request that came by network.
struct HostCaller {
    name: String,
    access: ApiAccess,
    identity: Identity,
}

impl HostCaller {
    /// The host that an interface is in. One that the lab does not know, such as a virtual machine, may do all that a host may.
    fn of(state: &AppState, asker: InterfaceIndex) -> Option<Self> {
        let controller = &state.controller;
        let id = controller.instance_of(controller.interface_at(asker)?)?;
        let instance = controller.instance(&id.into()).ok()?;
        let hosts = state
            .runtime
            .as_ref()
            .map(|runtime| runtime.hosts())
            .unwrap_or_default();
        let host = hosts
            .into_iter()
            .find(|host| host.interface_id() == Some(instance.primary_interface_id));
        let (name, access) = match host {
            Some(host) => (host.name, host.api),
            None => (instance.name.clone().unwrap_or_else(|| id.to_string()), ApiAccess::Full),
        };
        let identity = Identity::Instance {
            instance: id,
            role: instance.metadata.iam_role,
        };
        Some(Self { name, access, identity })
    }

    async fn answer(self, routes: Router, request: Request<Bytes>) -> Response<Bytes> {
        let mut request = request.map(Body::from);
        let extensions = request.extensions_mut();
        extensions.insert(Author::Instance(self.name.as_str().into()));
        extensions.insert(Transport::Instance(self.access));
        extensions.insert(self.identity);
        let answered = routes.oneshot(request).await;
        let (parts, body) = match answered {
            Ok(response) => response.into_parts(),
            Err(never) => match never {},
        };
        // An answer is whole in memory already.
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        Response::from_parts(parts, body)
    }
}

impl Drop for InsideApi {
    fn drop(&mut self) {
        self.state.stop();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = threads.take() {
            threads.shutdown_timeout(GRACE);
        }
    }
}
