//! Keeps dropped frames whole, for tests.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::datapath::DropReason;
use crate::mapping::PortId;

/// Drops that are kept; older ones are discarded.
const KEPT: usize = 1024;

/// A dropped frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Ingress port.
    pub port: PortId,
    /// Drop reason.
    pub reason: DropReason,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// The latest drops.
#[derive(Debug, Default)]
pub(super) struct Drops(Mutex<VecDeque<Dropped>>);

impl Drops {
    /// Adds one.
    pub(super) fn keep(&self, port: PortId, reason: DropReason, frame: &[u8]) {
        // Entries are pushed and taken whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Dropped {
            port,
            reason,
            frame: frame.to_vec(),
        });
    }

    /// Returns the drops since the last call, oldest first.
    pub(super) fn take(&self) -> Vec<Dropped> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.drain(..).collect()
    }
}
