//! Remembers on which port each station of a learning switch was last heard.

use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::mapping::PortId;
use crate::wire::MacAddr;

/// How long a silent station is remembered (the usual ageing time of IEEE 802.1D).
const AGEING: Duration = Duration::from_secs(300);
/// Stations remembered per segment; beyond that new ones are flooded to, as a real switch with a full table does.
const CAPACITY: usize = 8192;

/// The stations of one segment. Several workers write them.
#[derive(Default)]
pub(super) struct Stations {
    heard: DashMap<MacAddr, (PortId, Duration), RandomState>,
}

impl Stations {
    /// Remembers that `mac` was heard on `port`.
    pub(super) fn hear(&self, mac: MacAddr, port: PortId, now: Duration) {
        if mac.is_multicast() {
            return;
        }
        if let Some(mut known) = self.heard.get_mut(&mac) {
            *known = (port, now);
        } else if self.heard.len() < CAPACITY {
            self.heard.insert(mac, (port, now));
        }
    }

    /// The port of `mac`, if it was heard lately.
    pub(super) fn port(&self, mac: MacAddr, now: Duration) -> Option<PortId> {
        let known = self.heard.get(&mac)?;
        (now.saturating_sub(known.1) < AGEING).then_some(known.0)
    }

    /// Forgets what was heard on a port that is gone.
    pub(super) fn forget(&self, port: PortId) {
        self.heard.retain(|_, (heard_on, _)| *heard_on != port);
    }
}
