//! Asks for peering connections, and brings them from one state into the next.

use super::{
    CreatePeering, ForgetPeering, ModifyPeering, Peering, PeeringError, PeeringSide, PeeringState, SetPeeringState,
};
use crate::model::change::{Record, Stored};
use crate::model::cidr::overlap;
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{PeeringId, ResourceRef, VpcId};
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id, not_found};

impl Record for Peering {
    type Id = PeeringId;

    fn id(&self) -> PeeringId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for Peering {
    fn names(network: &mut Network) -> &mut Names<PeeringId> {
        &mut network.peering_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.peerings.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.peerings.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.peerings.values().cloned().collect()
    }
}

impl Peering {
    /// The VPC at the other end.
    pub fn peer_of(&self, vpc: VpcId) -> Option<VpcId> {
        match (self.requester.vpc_id, self.accepter.vpc_id) {
            (own, other) if own == vpc => Some(other),
            (other, own) if own == vpc => Some(other),
            _ => None,
        }
    }
}

impl Command for CreatePeering {
    type Outcome = Peering;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Peering, ModelError> {
        edit.peering_names.check(self.name.as_deref(), None)?;
        let (own, other) = (edit.vpc(&self.requester)?, edit.vpc(&self.accepter)?);
        let (requester, accepter) = (own.id, other.id);
        if requester == accepter {
            return Err(PeeringError::Itself.into());
        }
        let theirs = other.ranges();
        let clash = own
            .ranges()
            .iter()
            .any(|one| theirs.iter().any(|other| overlap(*one, *other)));
        let between = |peering: &&Peering| !peering.state.is_over() && peering.peer_of(requester) == Some(accepter);
        let known = edit.peerings().find(between).map(|known| known.id);
        if let Some(peering) = known {
            return Err(PeeringError::Exists {
                requester,
                accepter,
                peering,
            }
            .into());
        }
        if clash && !self.may_fail {
            return Err(PeeringError::Overlap { requester, accepter }.into());
        }
        let side = |vpc_id| PeeringSide {
            vpc_id,
            allow_dns: false,
        };
        let peering = Peering {
            id: fresh_id(edit.rng, |id| edit.network.peerings.contains_key(&id)),
            name: self.name,
            requester: side(requester),
            accepter: side(accepter),
            state: match (clash, self.accepted) {
                (true, _) => PeeringState::Failed,
                (false, true) => PeeringState::Active,
                (false, false) => PeeringState::PendingAcceptance,
            },
            created_at: self.at,
            tags: self.tags,
        };
        edit.create(peering.clone());
        Ok(peering)
    }
}

impl Command for SetPeeringState {
    type Outcome = Peering;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Peering, ModelError> {
        let before = edit.peering(&self.peering)?.clone();
        let (from, to) = (before.state, self.to);
        if from == to {
            return Ok(before);
        }
        let follows = match to {
            PeeringState::Active | PeeringState::Rejected | PeeringState::Expired => {
                from == PeeringState::PendingAcceptance
            }
            PeeringState::Deleted => !from.is_over(),
            PeeringState::PendingAcceptance | PeeringState::Failed => false,
        };
        if !follows {
            return Err(PeeringError::State {
                peering: before.id,
                state: from.name(),
            }
            .into());
        }
        let mut after = Peering {
            state: to,
            ..before.clone()
        };
        if to.is_over() {
            // Another may have its name now.
            let name = after.name.take();
            after.tags.extend(name.map(|name| ("Name".to_owned(), name)));
        }
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for ForgetPeering {
    type Outcome = Peering;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Peering, ModelError> {
        let peering = edit.peering(&self.0)?.clone();
        edit.delete(peering.clone());
        Ok(peering)
    }
}

impl Command for ModifyPeering {
    type Outcome = Peering;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Peering, ModelError> {
        let before = edit.peering(&self.peering)?.clone();
        if let Some(name) = &self.name {
            edit.peering_names.check(name.as_deref(), Some(before.id))?;
        }
        let side = |side: PeeringSide, dns: Option<bool>| PeeringSide {
            allow_dns: dns.unwrap_or(side.allow_dns),
            ..side
        };
        let after = Peering {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            requester: side(before.requester, self.requester_dns),
            accepter: side(before.accepter, self.accepter_dns),
            ..before
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Edit<'_> {
    /// A VPC that is deleted has no peering connections any more.
    pub(in crate::model) fn end_peerings_of(&mut self, vpc: VpcId) {
        let own = self
            .network
            .peerings
            .values()
            .filter(|peering| peering.peer_of(vpc).is_some());
        for peering in own.cloned().collect::<Vec<_>>() {
            self.delete(peering);
        }
    }
}

impl Network {
    /// The peering connection behind a reference, those that are over and listed included.
    pub fn peering(&self, reference: &ResourceRef<PeeringId>) -> Result<&Peering, ModelError> {
        let id = self.peering_names.resolve(reference)?;
        self.peerings.get(&id).ok_or_else(|| not_found(reference))
    }

    /// All peering connections, by identifier, those that are over and listed included.
    pub fn peerings(&self) -> impl Iterator<Item = &Peering> {
        self.peerings.values()
    }

    /// The VPC that a peering connection reaches from another, while it is active.
    pub fn active_peer(&self, peering: PeeringId, from: VpcId) -> Option<VpcId> {
        let peering = self.peerings.get(&peering)?;
        (peering.state == PeeringState::Active).then(|| peering.peer_of(from))?
    }

    /// Whether two VPCs are peered.
    pub fn are_peered(&self, one: VpcId, other: VpcId) -> bool {
        let mut active = self
            .peerings
            .values()
            .filter(|peering| peering.state == PeeringState::Active);
        active.any(|peering| peering.peer_of(one) == Some(other))
    }
}
