//! Brings NAT gateways from one state into the next when that is due, as EC2 does (firewall facts A4, A12).

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::controller::Controller;
use super::error::ControlError;
use super::life::{LISTED, Transition};
use crate::model::nat_gateway::{
    CreateNatGateway, DeleteNatGateway, Deletion, DrainNatAddresses, FinishNatGateway, NatGateway, NatState,
    RemoveNatAddresses,
};
use crate::model::profile::NatPolicy;
use crate::model::{NatGatewayId, ResourceRef, VpcId};

impl Controller {
    /// Makes a NAT gateway. It is pending, and available a while later; or it has failed.
    pub fn begin_nat_gateway(&self, command: CreateNatGateway) -> Result<NatGateway, ControlError> {
        let made = self.execute(CreateNatGateway {
            pending: true,
            ..command
        })?;
        match made.state {
            NatState::Pending => {
                let delay = self.nat_policy(made.vpc_id).pending.get();
                self.later(delay, Transition::NatReady(made.id));
            }
            NatState::Failed => self.later(LISTED, Transition::NatForgotten(made.id)),
            _ => {}
        }
        Ok(made)
    }

    /// Begins to delete a NAT gateway. It passes nothing from now on, and is listed for an hour once it is gone.
    pub fn end_nat_gateway(&self, gateway: ResourceRef<NatGatewayId>) -> Result<NatGateway, ControlError> {
        let before = self.nat_gateway(&gateway)?;
        let now = self.execute(DeleteNatGateway {
            gateway,
            to: Deletion::Begun,
            at: SystemTime::now(),
        })?;
        if before.state != now.state {
            let delay = self.nat_policy(now.vpc_id).deleting.get();
            self.later(delay, Transition::NatGone(now.id));
        }
        Ok(now)
    }

    /// Takes addresses away from a NAT gateway once they have drained for a while.
    pub fn drain_nat_addresses(
        &self,
        gateway: ResourceRef<NatGatewayId>,
        private_ips: &[Ipv4Addr],
        longest: Duration,
    ) -> Result<NatGateway, ControlError> {
        let draining = self.execute(DrainNatAddresses {
            gateway,
            private_ips: private_ips.to_vec(),
        })?;
        for private_ip in private_ips {
            self.later(longest, Transition::NatDrained(draining.id, *private_ip));
        }
        Ok(draining)
    }

    /// Goes on with what an earlier start had begun.
    pub(super) fn resume_nats(&self) {
        let now = Duration::ZERO;
        for gateway in self.nat_gateways() {
            match gateway.state {
                NatState::Pending => self.later(now, Transition::NatReady(gateway.id)),
                NatState::Deleting => self.later(now, Transition::NatGone(gateway.id)),
                NatState::Deleted | NatState::Failed => self.later(LISTED, Transition::NatForgotten(gateway.id)),
                NatState::Available => {
                    for address in gateway.addresses.iter().filter(|address| address.drains) {
                        self.later(now, Transition::NatDrained(gateway.id, address.private_ip));
                    }
                }
            }
        }
    }

    /// A step that comes by itself. What became of the gateway meanwhile counts for more.
    pub(super) fn pass_nat(&self, transition: Transition) {
        let deleted = |id: NatGatewayId, to| DeleteNatGateway {
            gateway: id.into(),
            to,
            at: SystemTime::now(),
        };
        let outcome = match transition {
            Transition::NatReady(id) => self.execute(FinishNatGateway(id)).map(drop),
            Transition::NatGone(id) => self.execute(deleted(id, Deletion::Done)).map(|gateway| {
                self.later(LISTED, Transition::NatForgotten(gateway.id));
            }),
            Transition::NatForgotten(id) => self.execute(deleted(id, Deletion::Forgotten)).map(drop),
            Transition::NatDrained(id, private_ip) => self
                .execute(RemoveNatAddresses {
                    gateway: id.into(),
                    private_ips: vec![private_ip],
                })
                .map(drop),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::debug!(?transition, %error, "a NAT gateway has gone another way");
        }
    }

    fn nat_policy(&self, vpc: VpcId) -> NatPolicy {
        self.vpc(&vpc.into())
            .map(|vpc| vpc.profile.nat.clone())
            .unwrap_or_default()
    }
}
