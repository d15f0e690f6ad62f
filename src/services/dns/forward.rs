//! Queries for names that are none of the VPC's, passed to one resolver outside and their answers brought back. So many may
//! wait, an interface only for a part of them, and each only so long.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::Message;

use super::answer::{failure, fit};
use crate::mapping::InterfaceIndex;
use crate::services::Upstream;
use crate::services::unanswered::Unanswered;

/// Queries that wait, from all interfaces.
const WAITING: usize = 1024;
/// Queries that wait, from one interface.
const PER_INTERFACE: usize = 64;
/// How long an answer may take before the asker hears SERVFAIL.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket<A> {
    /// Who asked.
    pub interface: InterfaceIndex,
    /// By datagram, so that it may have to be cut.
    pub datagram: bool,
    /// The way back.
    pub to: A,
}

struct Waiting<A> {
    ticket: Ticket<A>,
    query: Vec<u8>,
    until: Duration,
}

/// The queries that wait.
pub struct Forwarder<A> {
    send: Upstream,
    waiting: HashMap<u16, Waiting<A>>,
}

impl<A: Copy> Forwarder<A> {
    /// Queries leave by `send`.
    pub fn new(send: Upstream) -> Self {
        Self {
            send,
            waiting: HashMap::new(),
        }
    }

    /// Passes a query on under an identifier that nobody can guess from another one.
    pub fn ask(
        &mut self,
        query: Vec<u8>,
        ticket: Ticket<A>,
        now: Duration,
        mut random: impl FnMut() -> u16,
    ) -> Result<(), Unanswered> {
        let own = self
            .waiting
            .values()
            .filter(|w| w.ticket.interface == ticket.interface)
            .count();
        if self.waiting.len() >= WAITING || own >= PER_INTERFACE || query.len() < 2 {
            return Err(Unanswered::DnsForwardFull);
        }
        let id = loop {
            // There are sixty-four times as many identifiers as queries that wait, so this ends.
            let id = random();
            if !self.waiting.contains_key(&id) {
                break id;
            }
        };
        let mut sent = query.clone();
        sent[..2].copy_from_slice(&id.to_be_bytes());
        (self.send)(&sent);
        let until = now.saturating_add(PATIENCE);
        self.waiting.insert(id, Waiting { ticket, query, until });
        Ok(())
    }

    /// An answer from outside, as it goes back to who asked; `None` for one that nobody waits for.
    pub fn answered(&mut self, mut answer: Vec<u8>) -> Option<(Ticket<A>, Vec<u8>)> {
        let id = u16::from_be_bytes(*answer.first_chunk()?);
        let asked = Message::from_vec(&self.waiting.get(&id)?.query).ok()?;
        let heard = Message::from_vec(&answer).ok()?;
        // The question must be the one that was asked (RFC 5452 section 9.1).
        let is_answer = heard.metadata.message_type == hickory_proto::op::MessageType::Response;
        if !is_answer || heard.queries != asked.queries {
            return None;
        }
        let Waiting { ticket, query, .. } = self.waiting.remove(&id)?;
        answer[..2].copy_from_slice(&query[..2]);
        if !ticket.datagram {
            return Some((ticket, answer));
        }
        // Nobody else will answer: what can be read and not be cut is a failure of the resolver.
        let answer = fit(answer, &query).or_else(|| failure(&query, true))?;
        Some((ticket, answer))
    }

    /// SERVFAIL for those that have waited long enough.
    pub fn expire(&mut self, now: Duration) -> Vec<(Ticket<A>, Vec<u8>)> {
        let mut failed = Vec::new();
        self.waiting.retain(|_, waiting| {
            let patient = waiting.until > now;
            if !patient && let Some(answer) = failure(&waiting.query, waiting.ticket.datagram) {
                failed.push((waiting.ticket, answer));
            }
            patient
        });
        failed
    }

    /// When the next one has waited long enough.
    pub fn next(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}
