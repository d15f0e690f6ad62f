//! Runs the work of requests on threads that kept the rights for it.
//!
//! The threads that read requests have no capability and open no file ([`crate::confine`]), and neither has a thread
//! that they start. So a server reserves threads for its commands before it confines the others.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio::task::JoinError;

use crate::confine::{self, Role};

/// The threads of this process that carry out commands, once they were appointed.
static APPOINTED: OnceLock<Handle> = OnceLock::new();

/// Lets the threads of `runtime` carry out the commands of this process. Only the first call counts.
pub fn appoint(runtime: &tokio::runtime::Runtime) {
    // A second server in the process uses the threads of the first, which have the same rights.
    let _ = APPOINTED.set(runtime.handle().clone());
}

/// Appoints threads of this process if there are none: those of a run, whose instances call the API. The calling thread
/// must have the rights that commands need.
pub fn appoint_own() -> io::Result<()> {
    static OWN: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    if APPOINTED.get().is_some() {
        return Ok(());
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("api-commands")
        .enable_all()
        .build()?;
    // Another run may have been faster; these threads end then.
    if let Err(spare) = OWN.set(threads) {
        spare.shutdown_background();
    }
    if let Some(own) = OWN.get() {
        appoint(own);
    }
    Ok(())
}

/// Takes all rights from a thread that reads requests.
pub fn confined() {
    // A feature that the kernel lacks has been logged.
    let _ = confine::this_thread(Role::Requests);
}

tokio::task_local! {
    /// The request that a task answers, for the commands that it has carried out.
    pub(crate) static REQUEST: Arc<crate::control::Request>;
}

/// Runs work that may wait, compute for long or need rights.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let request = REQUEST.try_with(Arc::clone).ok();
    let work = move || match request {
        Some(request) => request.run(work),
        None => work(),
    };
    match APPOINTED.get() {
        // A thread inherits the rights of the thread that starts it: so the blocking one is started there.
        Some(appointed) => appointed
            .spawn(async move { tokio::task::spawn_blocking(work).await })
            .await
            .and_then(|outcome| outcome),
        None => tokio::task::spawn_blocking(work).await,
    }
}

/// Starts a thread with the rights of commands. It may block for ever without delaying the others.
pub(crate) async fn start_thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let start = move || std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop);
    match APPOINTED.get() {
        Some(appointed) => appointed
            .spawn(async move { start() })
            .await
            .map_err(io::Error::other)?,
        None => start(),
    }
}
