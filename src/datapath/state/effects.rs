//! Says what a decision wants written, and writes it once the decision is carried out.

use std::net::IpAddr;
use std::time::Duration;

use super::neighbors::{Asking, Belief};
use super::{Allowance, PortState, Segments};
use crate::datapath::{Ingress, SubnetIndex};
use crate::wire::MacAddr;
use crate::wire::reply::ReplyBuffer;

/// What a decision reads of what came before.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    /// Of the port that the frame came in on.
    pub port: &'a PortState,
    /// Of the subnets on learning switches.
    pub segments: &'a Segments,
}

/// What comes back from a decision in addition to the verdict.
#[derive(Default)]
pub struct Output {
    /// The answer or the question that the verdict speaks of.
    pub reply: ReplyBuffer,
    /// What is to be written; `None` after nearly every frame.
    pub effects: Option<Effects>,
}

/// What a decision wants written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects {
    /// A station of the sender's subnet was heard on the sender's port.
    pub(in crate::datapath) heard: Option<MacAddr>,
    /// The router of the sender's subnet was told where an address is.
    pub(in crate::datapath) told: Option<Told>,
    /// A router asks a subnet for an address.
    pub(in crate::datapath) asks: Option<(SubnetIndex, IpAddr)>,
    /// Allowances of the port that lose one, as bits.
    charged: u8,
}

/// What a router was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::datapath) struct Told {
    pub(in crate::datapath) address: IpAddr,
    pub(in crate::datapath) mac: MacAddr,
    pub(in crate::datapath) belief: Belief,
}

impl Effects {
    /// Takes one of an allowance.
    pub(in crate::datapath) fn charge(&mut self, allowance: Allowance) {
        self.charged |= 1 << allowance as u8;
    }

    /// Whether an allowance loses one.
    pub fn charges(&self, allowance: Allowance) -> bool {
        self.charged & 1 << allowance as u8 != 0
    }

    /// Writes all of it. For a [`Verdict::Ask`](crate::datapath::Verdict::Ask) it returns whether the question is sent:
    /// several workers may want to ask for one address, and the first of them does.
    #[cold]
    pub fn commit(
        &self,
        ingress: &Ingress<'_>,
        port: &mut PortState,
        segments: &Segments,
        now: Duration,
    ) -> Option<Asking> {
        let subnet = ingress.subnet;
        for allowance in Allowance::ALL {
            if self.charges(allowance) {
                port.charge(allowance, allowance.rate(subnet.profile()), now);
            }
        }
        if let Some(mac) = self.heard {
            segments.hear(subnet.index, mac, ingress.port, now);
        }
        if let Some(Told { address, mac, belief }) = self.told {
            segments.tell(subnet.index, address, mac, belief, now);
        }
        self.asks.map(|(subnet, address)| segments.ask(subnet, address, now))
    }
}
