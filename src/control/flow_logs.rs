//! Hands flow logs to what records flows. The Controller knows which flow logs there are; a [`FlowRecorder`], a room above,
//! observes the switch for them.

use std::sync::{OnceLock, Weak};

use super::controller::Controller;
use super::error::ControlError;
use crate::model::{FlowLog, FlowLogId, ResourceRef};

/// Records flows for the flow logs of a Controller.
pub trait FlowRecorder: Send + Sync {
    /// Flow logs were created, changed or deleted. Frames that are decided after this returns are in the records of all
    /// flow logs that the Controller has.
    fn follow(&self, controller: &Controller);
}

/// The recorder, once there is one.
pub(super) type RecorderSlot = OnceLock<Weak<dyn FlowRecorder>>;

impl Controller {
    /// Sets what records flows, and has it follow the flow logs that there are. The first call counts; `false` for later
    /// ones.
    pub fn set_flow_recorder(&self, recorder: Weak<dyn FlowRecorder>) -> bool {
        let set = self.shared.recorder.set(recorder).is_ok();
        self.follow_flow_logs();
        set
    }

    /// Has the recorder follow the flow logs, without the lock.
    pub(super) fn follow_flow_logs(&self) {
        if let Some(recorder) = self.shared.recorder.get().and_then(Weak::upgrade) {
            recorder.follow(self);
        }
    }

    /// All flow logs, by identifier.
    pub fn flow_logs(&self) -> Vec<FlowLog> {
        self.read().network.flow_logs().cloned().collect()
    }

    /// One flow log.
    pub fn flow_log(&self, flow_log: &ResourceRef<FlowLogId>) -> Result<FlowLog, ControlError> {
        Ok(self.read().network.flow_log(flow_log)?.clone())
    }
}
