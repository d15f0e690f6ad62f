//! Forwards queries for names outside the VPC's domains to one external resolver, and returns its answers. The number
//! of pending queries is limited, in total and per interface, and so is their time. A host of IPv6 may have to wait for two:
//! where a name has no IPv6 address, its IPv4 addresses are asked for (see `dns64`).

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::Message;

use super::answer::{failure, fit, own};
use super::dns64;
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
    addresses: Addresses,
}

/// The addresses that are asked for.
enum Addresses {
    /// Those of the query.
    Asked,
    /// Those of the query; and where there are none, of IPv4.
    OrOfIpv4,
    /// Of IPv4, after this answer.
    OfIpv4(Box<Message>),
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
        dns64: bool,
        now: Duration,
        random: impl FnMut() -> u16,
    ) -> Result<(), Unanswered> {
        let own = self
            .waiting
            .values()
            .filter(|w| w.ticket.interface == ticket.interface)
            .count();
        if self.waiting.len() >= WAITING || own >= PER_INTERFACE || query.len() < 2 {
            return Err(Unanswered::DnsForwardFull);
        }
        let waiting = Waiting {
            ticket,
            until: now.saturating_add(PATIENCE),
            addresses: if dns64 { Addresses::OrOfIpv4 } else { Addresses::Asked },
            query,
        };
        let sent = waiting.query.clone();
        self.wait_for(sent, waiting, random);
        Ok(())
    }

    fn wait_for(&mut self, mut sent: Vec<u8>, waiting: Waiting<A>, mut random: impl FnMut() -> u16) {
        let id = loop {
            // There are sixty-four times as many identifiers as pending queries, so this ends.
            let id = random();
            if !self.waiting.contains_key(&id) {
                break id;
            }
        };
        if let Some(field) = sent.first_chunk_mut() {
            *field = id.to_be_bytes();
        }
        (self.send)(&sent);
        self.waiting.insert(id, waiting);
    }

    /// The answer for the client; `None` for one that matches no pending query, and where another is asked for first.
    pub fn answered(&mut self, mut answer: Vec<u8>, random: impl FnMut() -> u16) -> Option<(Ticket<A>, Vec<u8>)> {
        let id = u16::from_be_bytes(*answer.first_chunk()?);
        let known = self.waiting.get(&id)?;
        let asked = Message::from_vec(&known.query).ok()?;
        let heard = Message::from_vec(&answer).ok()?;
        // The question must match the pending query (RFC 5452 section 9.1).
        let is_answer = heard.metadata.message_type == hickory_proto::op::MessageType::Response;
        let expected: Vec<_> = match known.addresses {
            Addresses::OfIpv4(_) => asked.queries.iter().map(dns64::for_ipv4).collect(),
            Addresses::Asked | Addresses::OrOfIpv4 => asked.queries.clone(),
        };
        if !is_answer || heard.queries != expected {
            return None;
        }
        let waiting = self.waiting.remove(&id)?;
        if matches!(waiting.addresses, Addresses::OrOfIpv4)
            && dns64::is_without_address(&heard)
            && let Some(sent) = dns64::asked_for_ipv4(&asked)
        {
            let addresses = Addresses::OfIpv4(Box::new(heard));
            self.wait_for(sent, Waiting { addresses, ..waiting }, random);
            return None;
        }
        let Waiting {
            ticket,
            query,
            addresses,
            ..
        } = waiting;
        if let Addresses::OfIpv4(without) = addresses {
            if let Some(made) = dns64::joined(&asked, &without, &heard) {
                return Some((ticket, own(&made, &asked, ticket.datagram)?));
            }
            // RFC 6147 section 5.1.6: where there is no IPv4 address either, the first answer is the answer.
            answer = without.to_vec().ok().or_else(|| failure(&query, ticket.datagram))?;
        }
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
