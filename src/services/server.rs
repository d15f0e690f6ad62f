//! Runs the stacks of all interfaces in one thread: packets and answers of the external resolver come in, frames go
//! out, and the caller supplies the time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;

use super::clock::{Clock, Entropy};
use super::dns::forward::Forwarder;
use super::endpoint::{self, EndpointSlot};
use super::imds::TokenSecret;
use super::packet::Arrival;
use super::stack::{Link, ReplyTo, Stack, Surroundings};
use super::tls::Authority;
use super::unanswered::Unanswered;
use super::{Inject, Limits, Shared, Source, Upstream, Wake, imds};
use crate::contain;
use crate::mapping::{InterfaceIndex, PortId};

/// The endpoint of the API, as connections need it.
pub struct Api {
    pub(super) router: Router,
    pub(super) authority: Authority,
    pub(super) wake: Wake,
}

/// All stacks. It is driven by one thread.
pub struct Server {
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    limits: Limits,
    router: Router,
    endpoint: Option<Api>,
    shared: Arc<Shared>,
    inject: Arc<Inject>,
    forwarder: Option<Forwarder<ReplyTo>>,
    stacks: HashMap<InterfaceIndex, (Stack, Duration)>,
    /// When each stack is due.
    agenda: BTreeSet<(Duration, InterfaceIndex)>,
    connections: usize,
}

impl Server {
    /// A server without stacks: each is created by the first packet of its interface. `upstream` sends a query to the
    /// external resolver.
    pub fn new(
        source: Arc<dyn Source>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        limits: Limits,
        inject: Arc<Inject>,
        upstream: Option<Upstream>,
    ) -> Self {
        let metadata: Arc<dyn imds::MetadataSource> = source.clone();
        Self {
            router: imds::router(metadata, Arc::clone(&clock), Arc::clone(&entropy)),
            source,
            clock,
            entropy,
            limits,
            endpoint: None,
            shared: Arc::default(),
            inject,
            forwarder: upstream.map(Forwarder::new),
            stacks: HashMap::new(),
            agenda: BTreeSet::new(),
            connections: 0,
        }
    }

    /// Issues and accepts tokens of the metadata service under this secret.
    pub fn seal_tokens_with(&mut self, secret: TokenSecret) {
        let metadata: Arc<dyn imds::MetadataSource> = self.source.clone();
        let (clock, entropy) = (Arc::clone(&self.clock), Arc::clone(&self.entropy));
        self.router = imds::router_with(metadata, clock, entropy, secret);
    }

    /// Opens the endpoint of the API to the hosts.
    pub fn serve_endpoint(&mut self, slot: EndpointSlot, authority: Authority, wake: Wake) {
        self.endpoint = Some(Api {
            router: endpoint::router(slot),
            authority,
            wake,
        });
    }

    /// An answer of the API has come for a connection of an interface.
    pub fn wake(&mut self, interface: InterfaceIndex) {
        if self.stacks.contains_key(&interface) {
            self.with(interface, None, |stack, around| stack.run(around));
        }
    }

    /// State that others may read while it runs.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Processes a frame from an interface. With `checksum_pending` the sender left the upper checksum to be computed.
    pub fn receive(&mut self, interface: InterfaceIndex, port: PortId, frame: &[u8], checksum_pending: bool) {
        let counters = self.shared.of(interface);
        let arrival = match Arrival::parse(frame, checksum_pending) {
            Ok(arrival) => arrival,
            Err(reason) => return counters.count(reason),
        };
        let link = Link {
            host: arrival.host,
            router: arrival.router,
            port,
        };
        let known = self.stacks.get(&interface).map(|(stack, _)| stack.link);
        if known.is_some_and(|known| known != link) {
            self.forget(interface);
        }
        if !self.stacks.contains_key(&interface) && !self.make_room() {
            return counters.count(Unanswered::ConnectionLimit);
        }
        self.with(interface, Some(link), |stack, around| stack.receive(arrival, around));
    }

    /// Processes an answer of the external resolver.
    pub fn resolved(&mut self, answer: Vec<u8>) {
        let random = || self.entropy.word();
        let forwarder = self.forwarder.as_mut();
        let Some((ticket, answer)) = forwarder.and_then(|forwarder| forwarder.answered(answer, random)) else {
            return;
        };
        self.with(ticket.interface, None, |stack, around| {
            stack.resolved(ticket.to, &answer, around);
        });
    }

    /// Does what is due: retransmissions, deadlines, and removing idle stacks.
    pub fn advance(&mut self) {
        let now = self.clock.monotonic();
        let failed = self
            .forwarder
            .as_mut()
            .map(|forwarder| forwarder.expire(now))
            .unwrap_or_default();
        for (ticket, answer) in failed {
            self.with(ticket.interface, None, |stack, around| {
                stack.resolved(ticket.to, &answer, around);
            });
        }
        while let Some(&(at, interface)) = self.agenda.first() {
            if at > now {
                break;
            }
            let unused = |(stack, _): &(Stack, Duration)| {
                stack.is_idle() && stack.last_used.saturating_add(self.limits.unused) <= now
            };
            if self.stacks.get(&interface).is_none_or(unused) {
                self.forget(interface);
                self.agenda.remove(&(at, interface));
            } else {
                self.with(interface, None, |stack, around| stack.run(around));
            }
        }
    }

    /// When [`Self::advance`] is due next, in the clock's time.
    pub fn next(&self) -> Option<Duration> {
        let waiting = self.forwarder.as_ref().and_then(Forwarder::next);
        let stacks = self.agenda.first().map(|(at, _)| *at);
        waiting.into_iter().chain(stacks).min()
    }

    /// Drops the stack of an interface that was detached or deleted.
    pub fn forget(&mut self, interface: InterfaceIndex) {
        if let Some((stack, at)) = self.stacks.remove(&interface) {
            self.agenda.remove(&(at, interface));
            stack.give_up(&mut self.connections);
            self.publish();
        }
    }

    /// Whether another stack may be created; the stack that was idle for longest is removed.
    fn make_room(&mut self) -> bool {
        if self.stacks.len() < self.limits.interfaces {
            return true;
        }
        let idle = self.stacks.iter().filter(|(_, (stack, _))| stack.is_idle());
        let Some(interface) = idle
            .min_by_key(|(_, (stack, _))| stack.last_used)
            .map(|(interface, _)| *interface)
        else {
            return false;
        };
        self.forget(interface);
        true
    }

    /// Runs `act` with an interface's stack, created with `link` if there is none, and records when it is due next.
    fn with(
        &mut self,
        interface: InterfaceIndex,
        link: Option<Link>,
        act: impl FnOnce(&mut Stack, &mut Surroundings<'_>),
    ) {
        let now = self.clock.monotonic();
        let inject = Arc::clone(&self.inject);
        let mut around = Surroundings {
            now,
            wall: self.clock.wall(),
            source: &*self.source,
            router: &self.router,
            endpoint: self.endpoint.as_ref(),
            limits: &self.limits,
            entropy: &*self.entropy,
            connections: &mut self.connections,
            forwarder: self.forwarder.as_mut(),
            inject: &*inject,
        };
        let (mut stack, at) = match (self.stacks.remove(&interface), link) {
            (Some(known), _) => known,
            (None, Some(link)) => {
                let counters = self.shared.of(interface);
                (Stack::new(interface, link, counters, &around), Duration::MAX)
            }
            (None, None) => return self.shared.of(interface).count(Unanswered::AnswerLost),
        };
        self.agenda.remove(&(at, interface));
        // A panic in a stack costs its interface the connections, and no other interface anything.
        if contain::once("the link-local services", || act(&mut stack, &mut around)).is_none() {
            stack.give_up(&mut self.connections);
            return self.publish();
        }
        // Never immediately: a task that is due and makes no progress would spin.
        let next = stack
            .next(&self.limits, now)
            .max(now.saturating_add(Duration::from_micros(100)));
        self.agenda.insert((next, interface));
        self.stacks.insert(interface, (stack, next));
        self.publish();
    }

    fn publish(&self) {
        self.shared.connections.store(self.connections, Ordering::Relaxed);
        self.shared.interfaces.store(self.stacks.len(), Ordering::Relaxed);
    }
}
