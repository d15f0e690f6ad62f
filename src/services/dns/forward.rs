//! Forwards queries for names outside the VPC's domains to one external resolver, and returns its answers. The number
//! of pending queries is limited, in total and per interface, and so is their time.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::Message;

use super::answer::{failure, fit};
use crate::mapping::InterfaceIndex;
use crate::services::Upstream;
use crate::services::unanswered::Unanswered;

/// Pending queries of all interfaces.
const WAITING: usize = 1024;
/// Pending queries of one interface.
const PER_INTERFACE: usize = 64;
/// Time until the client gets SERVFAIL.
const PATIENCE: Duration = Duration::from_secs(3);

/// The client of a forwarded query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket<A> {
    /// The client's interface.
    pub interface: InterfaceIndex,
    /// Asked by datagram, so that the answer may have to be truncated.
    pub datagram: bool,
    /// The client's address.
    pub to: A,
}

struct Waiting<A> {
    ticket: Ticket<A>,
    query: Vec<u8>,
    until: Duration,
}

/// The pending queries.
pub struct Forwarder<A> {
    send: Upstream,
    waiting: HashMap<u16, Waiting<A>>,
}

impl<A: Copy> Forwarder<A> {
    /// Queries are sent with `send`.
    pub fn new(send: Upstream) -> Self {
        Self {
            send,
            waiting: HashMap::new(),
        }
    }

    /// Forwards a query with an unpredictable identifier.
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
            // There are sixty-four times as many identifiers as pending queries, so this ends.
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

    /// The answer for the client; `None` for one that matches no pending query.
    pub fn answered(&mut self, mut answer: Vec<u8>) -> Option<(Ticket<A>, Vec<u8>)> {
        let id = u16::from_be_bytes(*answer.first_chunk()?);
        let asked = Message::from_vec(&self.waiting.get(&id)?.query).ok()?;
        let heard = Message::from_vec(&answer).ok()?;
        // The question must match the pending query (RFC 5452 section 9.1).
        let is_answer = heard.metadata.message_type == hickory_proto::op::MessageType::Response;
        if !is_answer || heard.queries != asked.queries {
            return None;
        }
        let Waiting { ticket, query, .. } = self.waiting.remove(&id)?;
        answer[..2].copy_from_slice(&query[..2]);
        if !ticket.datagram {
            return Some((ticket, answer));
        }
        // There is no other answer: one that cannot be truncated counts as a failure of the resolver.
        let answer = fit(answer, &query).or_else(|| failure(&query, true))?;
        Some((ticket, answer))
    }

    /// SERVFAIL for queries that are past their time.
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

    /// When the next query is past its time.
    pub fn next(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}
