//! The API as the programs in an instance reach it: over a unix socket in the instance's own `/run`, because an instance has
//! no network but the VPC's. What a fail-over script does by the API of its cloud, it does here.
//!
//! It is the same API behind the same guard and the same faults, without the right to run commands.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};

use super::guard::{GuardConfig, Transport};
use super::rest::router;
use super::state::AppState;
use crate::runtime::Runtime;

/// Where the programs of an instance find the API.
pub const SOCKET: &str = "/run/localvpc.sock";

/// How long requests that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the API of one network to its instances. Dropping it ends all that it serves.
pub struct InsideApi {
    threads: Option<tokio::runtime::Runtime>,
    state: AppState,
    router: Router,
}

impl InsideApi {
    /// An API that nobody can reach yet.
    pub fn start(runtime: Arc<Runtime>) -> io::Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-inside")
            .enable_all()
            .build()?;
        let state = AppState::of_runtime(runtime, GuardConfig::default());
        Ok(Self {
            threads: Some(threads),
            router: router(state.clone()).layer(Extension(Transport::Unix)),
            state,
        })
    }

    /// Serves whoever connects to a socket, until the socket's place in the file system is gone and all have left.
    pub fn serve(&self, listener: UnixListener) -> io::Result<()> {
        let Some(threads) = &self.threads else { return Ok(()) };
        let _inside = threads.enter();
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let (router, mut stopping) = (self.router.clone(), self.state.stopping());
        threads.spawn(async move {
            let stop = async move {
                // Resolves as well when the state is gone.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
                tracing::warn!(%error, "an instance no longer reaches the API");
            }
        });
        Ok(())
    }
}

impl Drop for InsideApi {
    fn drop(&mut self) {
        self.state.stop();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_timeout(GRACE);
        }
    }
}
