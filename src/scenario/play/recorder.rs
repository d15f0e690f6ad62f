//! Everything that crosses the switch of a run, kept in memory as pcapng, so that the figures of a report can be checked by
//! other means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::control::Controller;
use crate::control::capture::{Capture, CaptureSpec};

/// Octets of a run's capture that are kept, from its beginning.
pub const LARGEST_CAPTURE: usize = 32 << 20;

/// Between looks.
const GLANCE: Duration = Duration::from_millis(10);

/// A capture that grows.
pub(super) struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl Recorder {
    /// Begins; frames that are decided after this has returned are in it.
    pub(super) fn start(controller: &Controller) -> Option<Self> {
        let capture = controller.capture(CaptureSpec::default());
        let capture = capture
            .inspect_err(|error| tracing::warn!(%error, "nothing is captured"))
            .ok()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || record(capture, &stopped))
            .inspect_err(|error| tracing::warn!(%error, "nothing is captured"))
            .ok()?;
        Some(Self { stop, thread })
    }

    /// Ends it: the whole file.
    pub(super) fn stop(self) -> Arc<Vec<u8>> {
        self.stop.store(true, Ordering::Release);
        Arc::new(self.thread.join().unwrap_or_default())
    }
}

fn record(mut capture: Capture, stop: &AtomicBool) -> Vec<u8> {
    let mut file = Vec::new();
    loop {
        let last = stop.load(Ordering::Acquire);
        while let Some(piece) = capture.try_next() {
            if file.len() + piece.len() > LARGEST_CAPTURE {
                tracing::warn!("the capture of the run is full: later frames are not in it");
                return file;
            }
            file.extend(piece);
        }
        if last {
            file.extend(capture.end());
            return file;
        }
        std::thread::sleep(GLANCE);
    }
}
