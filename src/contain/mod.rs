//! Catches panics, so that one unit of work is lost and its thread goes on with the state it has.
//!
//! A panic is a defect of this program. It must not end the network and every host in it, nor stop a worker that alone
//! reads its ports. The panic hook prints message and place as usual; a caught panic is logged in addition, and reported
//! to those who watch, so that it becomes an event.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Pause before the next try, so that a repeated panic does not use up a CPU.
const PAUSE: Duration = Duration::from_millis(1);

/// Called with the kind of a thread and the message of each panic that is contained.
pub type Watcher = dyn Fn(&str, &str) + Send + Sync;

static WATCHERS: Mutex<Vec<Weak<Watcher>>> = Mutex::new(Vec::new());

/// Reports panics to a watcher from now on, until it is dropped.
pub(crate) fn watch(watcher: &Arc<Watcher>) {
    let mut watchers = WATCHERS.lock().unwrap_or_else(PoisonError::into_inner);
    watchers.retain(|watcher| watcher.strong_count() > 0);
    watchers.push(Arc::downgrade(watcher));
}

/// Logs a panic that was caught, and reports it.
pub(crate) fn report(thread: &str, payload: &(dyn Any + Send)) {
    let message = message(payload);
    tracing::error!(thread, message, "a panic was contained; please report it");
    let watchers = WATCHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let watchers: Vec<_> = watchers.iter().filter_map(Weak::upgrade).collect();
    for watcher in watchers {
        if catch_unwind(AssertUnwindSafe(|| watcher(thread, message))).is_err() {
            tracing::error!(thread, "the report of a panic panicked");
        }
    }
}

/// The result of a scoped thread; an error when it panicked.
pub(crate) fn joined<T>(name: &str, thread: ScopedJoinHandle<'_, T>) -> std::io::Result<T> {
    thread.join().map_err(|payload| {
        report(name, &*payload);
        std::io::Error::other(format!(
            "{name} panicked, which is a defect of localvpc: {}",
            message(&*payload)
        ))
    })
}

/// Runs `work`; `None` when it panicked. Changes that `work` made before stay.
pub(crate) fn once<T>(thread: &str, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            report(thread, &*payload);
            None
        }
    }
}

/// Runs `work` again after each panic, until it returns.
pub(crate) fn until_done(thread: &str, mut work: impl FnMut()) {
    while once(thread, &mut work).is_none() {
        std::thread::sleep(PAUSE);
    }
}

/// The message of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// A site where a test can plant a panic; empty without the feature `planted-panics`.
#[inline]
pub(crate) fn site(_name: &str) {
    #[cfg(feature = "planted-panics")]
    planted::here(_name);
}

/// Panics that tests plant.
#[cfg(feature = "planted-panics")]
pub mod planted {
    use std::sync::{Mutex, PoisonError};

    static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Makes the next thread that reaches this site panic.
    pub fn plant(site: &str) {
        PLANTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(site.to_owned());
    }

    /// True while no thread has reached the site.
    pub fn is_planted(site: &str) -> bool {
        let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
        planted.iter().any(|name| name == site)
    }

    pub(super) fn here(site: &str) {
        let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = planted.iter().position(|name| name == site) else {
            return;
        };
        planted.remove(place);
        drop(planted);
        panic!("planted at {site}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_after_a_panic_with_what_it_has_done() {
        let mut done = Vec::new();
        until_done("test", || {
            done.push(done.len());
            assert!(done.len() > 3, "not yet");
        });
        assert_eq!(done, [0, 1, 2, 3]);
        assert_eq!(once("test", || 7), Some(7));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&seen);
        let watcher: Arc<Watcher> = Arc::new(move |thread: &str, message: &str| {
            let mut seen = writer.lock().unwrap();
            seen.push(format!("{thread}: {message}"));
        });
        watch(&watcher);
        assert_eq!(once("watched", || -> u8 { panic!("{}", 2) }), None);
        drop(watcher);
        assert_eq!(once("watched", || -> u8 { panic!("{}", 3) }), None);
        let seen: Vec<_> = seen
            .lock()
            .unwrap()
            .iter()
            .filter(|one| one.starts_with("watched"))
            .cloned()
            .collect();
        assert_eq!(seen, ["watched: 2"]);
        assert_eq!(once("test", || -> u8 { panic!("{}", 1) }), None);
    }
}
