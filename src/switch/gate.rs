//! Holds the workers of a switch between two rounds, so that another process can go on with their ports.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A gate that each worker passes before each round.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    /// Workers that wait at it.
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// A gate that is closed at first, or open.
    pub(super) fn new(closed: bool) -> Self {
        Self {
            closed: AtomicBool::new(closed),
            ..Self::default()
        }
    }

    fn waiting(&self) -> MutexGuard<'_, usize> {
        // A count is never half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the gate is closed.
    #[inline]
    pub(super) fn pass(&self) {
        if self.closed.load(Ordering::Acquire) {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        let mut waiting = self.waiting();
        *waiting += 1;
        self.changed.notify_all();
        let opened = self
            .changed
            .wait_while(waiting, |_| self.closed.load(Ordering::Acquire));
        *opened.unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Closes the gate. Workers have to be woken, so that they come to it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Waits until as many workers wait as there are. False if they do not come in time.
    pub(super) fn all_wait(&self, workers: usize, patience: Duration) -> bool {
        let come = self
            .changed
            .wait_timeout_while(self.waiting(), patience, |waiting| *waiting < workers);
        *come.unwrap_or_else(PoisonError::into_inner).0 >= workers
    }

    /// Opens the gate.
    pub(super) fn open(&self) {
        // Under the lock: otherwise a worker could look just before and sleep just after.
        let _waiting = self.waiting();
        self.closed.store(false, Ordering::Release);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn workers_stand_still_while_the_gate_is_closed() {
        let (gate, rounds) = (Arc::new(Gate::new(true)), Arc::new(AtomicUsize::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (gate, rounds, stop) = (Arc::clone(&gate), Arc::clone(&rounds), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gate.pass();
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let patience = Duration::from_secs(20);
        for _ in 0..3 {
            assert!(gate.all_wait(2, patience));
            let before = rounds.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(rounds.load(Ordering::Relaxed), before);
            gate.open();
            while rounds.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
            gate.close();
        }
        assert!(gate.all_wait(2, patience));
        stop.store(true, Ordering::Relaxed);
        gate.open();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(!gate.all_wait(1, Duration::from_millis(1)));
    }
}
