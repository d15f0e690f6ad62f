//! Catches panics, so that one unit of work is lost and its thread goes on with the state it has.
//!
//! A panic is a defect of this program. It must not end the network and every host in it, nor stop a worker that alone
//! reads its ports. The panic hook prints message and place as usual; a caught panic is logged in addition.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Pause before the next try, so that a repeated panic does not use up a CPU.
const PAUSE: Duration = Duration::from_millis(1);

/// Runs `work`; `None` when it panicked. Changes that `work` made before stay.
pub(crate) fn once<T>(thread: &str, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            let message = message(&*payload);
            tracing::error!(thread, message, "a panic was contained; please report it");
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
        assert_eq!(once("test", || -> u8 { panic!("{}", 1) }), None);
    }
}
