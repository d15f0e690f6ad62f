//! Opens files that a client names on threads of their own: a few at a time, and no request waits long for them.
//!
//! Resolving a path can block for as long as the file system behind it does (a dead NFS server, a FUSE mount), and no
//! signal ends that. So it is done neither on the threads of requests nor on those that a request may block. A thread
//! that is stuck keeps its slot; when all are, only opening is unavailable.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::api::commands;
use crate::api::problem::Problem;
use crate::contain;

/// The number of files being opened at the same time.
const AT_ONCE: usize = 8;

/// How long a request waits for a slot, and then for its file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The threads that open files, shared by all requests.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    places: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            patience: PATIENCE,
        }
    }
}

impl Opening {
    /// Opens a file. One that is open only after the request has stopped waiting is closed again.
    pub(crate) async fn open<T: Send + 'static>(
        &self,
        field: &'static str,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = turn else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RequestLimitExceeded",
                format!("{AT_ONCE} devices are being opened already, and none has come to an end"),
            )
            .field(field)
            .remedy("Look at the file systems that earlier requests named, and try again."));
        };
        let (done, opened) = tokio::sync::oneshot::channel();
        let thread = commands::start_thread("opening", move || {
            let _place = place;
            contain::once("the thread that opens a device", || {
                contain::site("opening");
                // A request that has stopped waiting has no use for it.
                drop(done.send(work()));
            });
        });
        thread
            .await
            .map_err(|error| Problem::internal(format!("No thread opens the device: {error}")))?;
        match tokio::time::timeout(self.patience, opened).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Problem::internal("The thread that opened the device has failed")),
            Err(_) => Err(Problem::invalid(
                field,
                format!("It could not be opened within {} s", self.patience.as_secs_f32()),
            )
            .remedy("Look at the file system that it is on.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_blocks_takes_a_place_and_no_more_than_that() {
        let opening = Opening {
            places: Arc::new(Semaphore::new(2)),
            patience: Duration::from_millis(50),
        };
        let (release, blocked) = mpsc::channel::<()>();
        let blocked = Arc::new(std::sync::Mutex::new(blocked));
        for _ in 0..2 {
            let blocked = Arc::clone(&blocked);
            let wait = move || {
                let _ = blocked.lock().unwrap().recv();
                Ok(())
            };
            let problem = opening.open("namespace", wait).await.unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("namespace")));
        }
        let problem = opening.open("namespace", || Ok(())).await.unwrap_err();
        assert_eq!(problem.status, 503, "{problem:?}");
        // When one ends, its slot is free.
        release.send(()).unwrap();
        let patient = Opening {
            patience: Duration::from_secs(10),
            ..opening.clone()
        };
        assert_eq!(patient.open("namespace", || Ok(7)).await.unwrap(), 7);
        drop(release);
    }
}
