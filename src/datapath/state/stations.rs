//! Keeps the MAC table of a learning switch: the port on which each station was last heard.

use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::mapping::PortId;
use crate::wire::MacAddr;

/// How long a silent station is kept (the usual ageing time of IEEE 802.1D).
const AGEING: Duration = Duration::from_secs(300);
/// Stations per segment; frames for further ones are flooded, as by a real switch with a full table.
const CAPACITY: usize = 8192;

/// The stations of one segment. Several workers write them.
#[derive(Default)]
pub(super) struct Stations {
    heard: DashMap<MacAddr, (PortId, Duration), RandomState>,
}

impl Stations {
    /// Records that `mac` was heard on `port`.
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

    /// The port of `mac`, unless it was heard long ago.
    pub(super) fn port(&self, mac: MacAddr, now: Duration) -> Option<PortId> {
        let known = self.heard.get(&mac)?;
        (now.saturating_sub(known.1) < AGEING).then_some(known.0)
    }

    /// Removes the stations heard on a port that is gone.
    pub(super) fn forget(&self, port: PortId) {
        self.heard.retain(|_, (heard_on, _)| *heard_on != port);
    }
}
