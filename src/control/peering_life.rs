//! Lets peering connections expire and be forgotten when that is due (VPC peering guide, "VPC peering connection lifecycle").

use std::time::{Duration, SystemTime};

use super::controller::Controller;
use super::error::ControlError;
use super::life::Transition;
use crate::model::peering::{CreatePeering, ForgetPeering, Peering, PeeringState, SetPeeringState};
use crate::model::{PeeringId, ResourceRef};

/// A request waits for a week.
const WAITS: Duration = Duration::from_secs(7 * 24 * 3600);
/// One that is over is listed for two hours where both VPCs are of one account.
const LISTED: Duration = Duration::from_secs(2 * 3600);

impl Controller {
    /// Asks for a peering connection, which expires after a week.
    pub fn ask_for_peering(&self, command: CreatePeering) -> Result<Peering, ControlError> {
        let made = self.execute(command)?;
        self.await_end(&made, WAITS);
        Ok(made)
    }

    /// Brings a peering connection into another state. One that is over is forgotten later.
    pub fn bring_peering(&self, peering: ResourceRef<PeeringId>, to: PeeringState) -> Result<Peering, ControlError> {
        let now = self.execute(SetPeeringState { peering, to })?;
        self.await_end(&now, WAITS);
        Ok(now)
    }

    fn await_end(&self, peering: &Peering, waits: Duration) {
        match peering.state {
            PeeringState::PendingAcceptance => self.later(waits, Transition::PeeringExpires(peering.id)),
            PeeringState::Active => {}
            _ => self.later(LISTED, Transition::PeeringForgotten(peering.id)),
        }
    }

    /// Goes on with what an earlier start had begun.
    pub(super) fn resume_peerings(&self) {
        for peering in self.peerings() {
            let waited = SystemTime::now().duration_since(peering.created_at).unwrap_or_default();
            self.await_end(&peering, WAITS.saturating_sub(waited));
        }
    }

    /// A step that comes by itself. What became of the connection meanwhile counts for more.
    pub(super) fn pass_peering(&self, transition: Transition) {
        let outcome = match transition {
            Transition::PeeringExpires(id) => self.bring_peering(id.into(), PeeringState::Expired).map(drop),
            Transition::PeeringForgotten(id) => self.execute(ForgetPeering(id.into())).map(drop),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::debug!(?transition, %error, "a peering connection has gone another way");
        }
    }
}
