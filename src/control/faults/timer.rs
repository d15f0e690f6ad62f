//! Wakes for late edits and ends of faults: a thread that sleeps until the next one is due, started with the first. A
//! network that is driven step by step gives the time itself, and then nothing happens by the clock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::contain;
use crate::control::controller::{Controller, WeakController};

/// The longest sleep, in case a wake is lost in a clock change.
const LONGEST: Duration = Duration::from_secs(60);

/// When what is due is tried again after a panic.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Inner {
    running: bool,
    woken: bool,
    /// The time given by the driver.
    driven: Option<Duration>,
}

pub(in crate::control) struct Timer {
    start: Instant,
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            inner: Arc::default(),
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // Plain data that is never half changed.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Timer {
    /// Time since the Controller was made.
    pub(in crate::control) fn now(&self) -> Duration {
        lock(&self.inner.0).driven.unwrap_or_else(|| self.start.elapsed())
    }

    /// From now on the time is the one given here.
    pub(super) fn drive(&self, now: Duration) {
        lock(&self.inner.0).driven = Some(now);
        self.inner.1.notify_all();
    }

    /// Something new may be due: the thread looks again.
    pub(in crate::control) fn wake(&self, controller: &Controller) {
        let mut inner = lock(&self.inner.0);
        if inner.driven.is_some() {
            return;
        }
        inner.woken = true;
        if !inner.running {
            let (shared, weak, start) = (Arc::clone(&self.inner), controller.downgrade(), self.start);
            let spawned = std::thread::Builder::new()
                .name("faults".into())
                .spawn(move || run(&shared, &weak, start));
            match spawned {
                Ok(_) => inner.running = true,
                Err(error) => tracing::error!(%error, "no thread for faults: they end only when they are cancelled"),
            }
        }
        self.inner.1.notify_all();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The Controller is gone: the thread ends.
        lock(&self.inner.0).woken = true;
        self.inner.1.notify_all();
    }
}

fn run(shared: &(Mutex<Inner>, Condvar), controller: &WeakController, start: Instant) {
    loop {
        lock(&shared.0).woken = false;
        let Some(controller) = controller.upgrade() else { return };
        if lock(&shared.0).driven.is_some() {
            return;
        }
        let next = contain::once("the timer of faults", || {
            contain::site("faults");
            controller.run_due(start.elapsed())
        });
        let next = next.unwrap_or_else(|| Some(start.elapsed().saturating_add(AFTER_A_PANIC)));
        drop(controller);
        let sleep = next.map_or(LONGEST, |at| at.saturating_sub(start.elapsed()).min(LONGEST));
        let inner = lock(&shared.0);
        let woken = shared
            .1
            .wait_timeout_while(inner, sleep, |inner| !inner.woken && inner.driven.is_none());
        drop(woken.unwrap_or_else(PoisonError::into_inner));
    }
}
