//! Runs what requests ask for on threads that kept the right to do it.
//!
//! The threads that read requests of a server hold no capability and open no file ([`crate::confine`]), and a thread that they
//! start holds none either. So a server appoints threads of their own for its commands, before it confines the others.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::Handle;
use tokio::task::JoinError;

use crate::confine::{self, Role};

/// The threads of this process that carry commands out, where they were appointed.
static APPOINTED: OnceLock<Handle> = OnceLock::new();

/// Lets the threads of `runtime` carry out the commands of this process. Only the first counts.
pub fn appoint(runtime: &tokio::runtime::Runtime) {
    // A second server in the process finds threads that have the same rights.
    let _ = APPOINTED.set(runtime.handle().clone());
}

/// Appoints threads of this process where nothing else has: those of a run, whose instances call the API. The calling thread
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

/// What reads requests holds no rights.
pub fn confined() {
    // What the kernel lacks has been logged.
    let _ = confine::this_thread(Role::Requests);
}

/// Runs what may wait, or compute for long, or need rights.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match APPOINTED.get() {
        // A thread has the rights of the one that starts it: so the blocking one is started from there.
        Some(appointed) => appointed
            .spawn(async move { tokio::task::spawn_blocking(work).await })
            .await
            .and_then(|outcome| outcome),
        None => tokio::task::spawn_blocking(work).await,
    }
}

/// Starts a thread that has the rights of commands. It may block for ever, and keeps none of the others waiting.
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
