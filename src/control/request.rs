//! Says what a thread that carries out a command is part of: the face by which it was asked for, and what its caller expects
//! of the network. A command without one is the server's own.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Request>>> = const { RefCell::new(None) };
}

/// One request of a client.
#[derive(Debug, Default)]
pub struct Request {
    /// The face that it came by, as in `rest`.
    pub face: &'static str,
    /// The revision that the network has to be at, so that what the caller has compared still holds.
    expects: Option<u64>,
    /// The last revision that it made; 0 if it made none.
    made: AtomicU64,
    /// Set when a command was refused because the network was not at the revision any more.
    overtaken: AtomicBool,
}

impl Request {
    /// A request by a face.
    pub fn by(face: &'static str) -> Self {
        Self {
            face,
            ..Self::default()
        }
    }

    /// The same, for a network that is at this revision.
    #[must_use]
    pub fn expecting(mut self, revision: u64) -> Self {
        self.expects = Some(revision);
        self
    }

    /// Whether a command was refused because another edit came first. What the caller compared is to be compared again.
    pub fn was_overtaken(&self) -> bool {
        self.overtaken.load(Ordering::Acquire)
    }

    /// Whether the network may be at this revision: at the expected one, or where its own commands have brought it.
    pub(super) fn fits(&self, revision: u64) -> bool {
        let fits = self.made().is_some() || self.expects.is_none_or(|expected| expected == revision);
        if !fits {
            self.overtaken.store(true, Ordering::Release);
        }
        fits
    }

    /// The last revision that its commands made.
    pub fn made(&self) -> Option<u64> {
        Some(self.made.load(Ordering::Acquire)).filter(|made| *made > 0)
    }

    /// Takes down a revision that one of its commands made.
    pub(super) fn has_made(&self, revision: u64) {
        self.made.store(revision, Ordering::Release);
    }

    /// Runs work as a part of this request.
    pub fn run<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there, even if the work panics.
        struct Before(Option<Arc<Request>>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.with(|current| current.replace(self.0.take()));
            }
        }
        let _before = Before(CURRENT.with(|current| current.replace(Some(Arc::clone(self)))));
        work()
    }

    /// The request that this thread works for.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with(|current| current.borrow().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_works_for_the_innermost_request_and_for_none_afterwards() {
        let face = || Request::current().map(|request| request.face);
        let (outer, inner) = (Arc::new(Request::by("rest")), Arc::new(Request::by("ec2")));
        outer.run(|| {
            assert_eq!(inner.run(face), Some("ec2"));
            assert_eq!(face(), Some("rest"));
            let panicked = std::panic::catch_unwind(|| inner.run(|| panic!("planted")));
            assert!(panicked.is_err());
            assert_eq!(face(), Some("rest"));
        });
        assert_eq!(face(), None);
    }
}
