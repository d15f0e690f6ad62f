//! Makes edits reach the data path later than the API has answered. One address never gets an older edit after a newer
//! one; and before a resource is deleted, its late edits arrive.

use std::collections::HashMap;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::scope;
use crate::control::controller::{Controller, State};
use crate::control::error::ControlError;
use crate::control::events::EventKind;
use crate::model::cidr::overlap;
use crate::model::fault::{FaultKind, Propagated, PropagationDelay};
use crate::model::{AddressOrPrefix, InterfaceId, MappingChange, NetworkInterface, ResourceRef, SubnetId};

/// The least and the most that an edit takes on AWS, as measured by people who move addresses between instances.
const AWS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// A late edit of the data path.
enum Edit {
    Mappings(Vec<MappingChange>),
    /// The subnet gets the routes that its table has when the edit arrives; a target that is deleted meanwhile gets
    /// nothing.
    Routes(SubnetId),
}

struct Waiting {
    due: Duration,
    edit: Edit,
}

/// Late edits, in the order in which they were made.
pub(super) struct Late {
    rng: ChaCha8Rng,
    waiting: Vec<Waiting>,
    /// Edits that never arrive, until a newer one is made.
    lost: HashMap<(SubnetId, AddressOrPrefix), Option<InterfaceId>, foldhash::fast::FixedState>,
}

impl Late {
    pub(super) fn new(rng: ChaCha8Rng) -> Self {
        Self {
            rng,
            waiting: Vec::new(),
            lost: HashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.iter().map(|waiting| waiting.due).min()
    }

    fn draw(&mut self, delay: PropagationDelay) -> Option<Duration> {
        let mut between = |from: Duration, to: Duration| {
            let span = to.saturating_sub(from).as_nanos() as f64;
            from.saturating_add(Duration::from_nanos((span * self.rng.random::<f64>()) as u64))
        };
        match delay {
            PropagationDelay::Fixed(delay) => Some(delay.get()),
            PropagationDelay::Uniform { from, to } => Some(between(from.get(), to.get())),
            PropagationDelay::Aws => Some(between(AWS[0], AWS[1])),
            PropagationDelay::Never => None,
        }
    }

    /// If an edit of the address or prefix is waiting, the time it arrives.
    fn until(&self, change: &MappingChange) -> Option<Duration> {
        let about = |edit: &Edit| match edit {
            Edit::Mappings(changes) => changes
                .iter()
                .any(|c| c.subnet == change.subnet && overlap(c.address.net(), change.address.net())),
            Edit::Routes(_) => false,
        };
        let waiting = self.waiting.iter().filter(|waiting| about(&waiting.edit));
        waiting.map(|waiting| waiting.due).max()
    }
}

/// When an edit reaches the data path.
pub(super) enum When {
    Now,
    At(Duration),
    Never,
}

impl Controller {
    /// Keeps the changes that are to reach the data path later, and returns the others.
    pub(in crate::control) fn hold_back(&self, state: &mut State, changes: &[MappingChange]) -> Vec<MappingChange> {
        let now = self.shared.timer.now();
        let mut at_once = Vec::new();
        let mut later: Vec<(Duration, Vec<MappingChange>)> = Vec::new();
        // One draw for each subnet: the edits of one command arrive together.
        let mut drawn: Vec<(SubnetId, Option<When>)> = Vec::new();
        for change in changes {
            let place = drawn
                .iter()
                .position(|(subnet, _)| *subnet == change.subnet)
                .unwrap_or_else(|| {
                    drawn.push((change.subnet, draw(state, Propagated::Mappings, change.subnet, now)));
                    drawn.len() - 1
                });
            let when = drawn[place].1.as_ref();
            let before = state.faults.late.until(change);
            state.faults.late.lost.remove(&(change.subnet, change.address));
            let due = match (when, before) {
                (Some(When::Never), _) => {
                    state
                        .faults
                        .late
                        .lost
                        .insert((change.subnet, change.address), change.to());
                    continue;
                }
                (Some(When::At(due)), before) => Some((*due).max(before.unwrap_or_default())),
                (_, before) => before,
            };
            match due {
                None => at_once.push(*change),
                Some(due) => match later.iter_mut().find(|(at, _)| *at == due) {
                    Some((_, changes)) => changes.push(*change),
                    None => later.push((due, vec![*change])),
                },
            }
        }
        let wake = !later.is_empty();
        for (due, changes) in later {
            let edit = Edit::Mappings(changes);
            state.faults.late.waiting.push(Waiting { due, edit });
        }
        if wake {
            self.shared.timer.wake(self);
        }
        at_once
    }

    /// Gives a subnet the routes of its table when an edit of this kind reaches it: at once, later, or never. Edits of
    /// one subnet keep their order.
    pub(in crate::control) fn propagate_later(&self, state: &mut State, what: Propagated, subnet: SubnetId) {
        let now = self.shared.timer.now();
        match draw(state, what, subnet, now) {
            None | Some(When::Now) => self.arrive(state, Edit::Routes(subnet)),
            Some(When::Never) => {}
            Some(When::At(due)) => {
                let routes = |waiting: &&Waiting| matches!(waiting.edit, Edit::Routes(_));
                let waiting = &mut state.faults.late.waiting;
                let last = waiting.iter().filter(routes).map(|waiting| waiting.due).max();
                waiting.push(Waiting {
                    due: due.max(last.unwrap_or_default()),
                    edit: Edit::Routes(subnet),
                });
                self.shared.timer.wake(self);
            }
        }
    }

    /// Lets all edits arrive that are due at `now`.
    pub(super) fn propagate(&self, state: &mut State, now: Duration) {
        let waiting = std::mem::take(&mut state.faults.late.waiting);
        let (mut due, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.due <= now);
        state.faults.late.waiting = rest;
        due.sort_by_key(|waiting| waiting.due);
        for waiting in due {
            self.arrive(state, waiting.edit);
        }
    }

    /// Lets all late edits of an interface arrive at once.
    pub(in crate::control) fn settle(&self, state: &mut State, interface: InterfaceId) {
        let concerns = |waiting: &Waiting| match &waiting.edit {
            Edit::Mappings(changes) => changes
                .iter()
                .any(|change| change.from() == Some(interface) || change.to() == Some(interface)),
            Edit::Routes(_) => false,
        };
        let waiting = std::mem::take(&mut state.faults.late.waiting);
        let (due, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(concerns);
        state.faults.late.waiting = rest;
        for waiting in due {
            self.arrive(state, waiting.edit);
        }
    }

    fn arrive(&self, state: &mut State, edit: Edit) {
        match edit {
            Edit::Mappings(changes) => {
                self.reach_data_path(state, &changes);
                self.publish(EventKind::propagated(&changes));
            }
            Edit::Routes(subnet) => state.binding.publish_routes_of_subnet(&state.network, subnet),
        }
    }

    /// An interface with the addresses that it has in the data path, which the metadata service lists. It differs from
    /// the declared one while edits are late.
    pub fn interface_in_data_path(
        &self,
        reference: &ResourceRef<InterfaceId>,
    ) -> Result<NetworkInterface, ControlError> {
        let state = self.read();
        let mut interface = state.network.interface(reference)?;
        if state.faults.late.is_empty() {
            return Ok(interface);
        }
        let owner = |address| {
            let subnet = state.binding.subnet_index(interface.subnet_id)?;
            state
                .binding
                .interface_id(state.binding.writer().owner(subnet, address)?)
        };
        let id = interface.id;
        let mine = |address: std::net::IpAddr| owner(address) == Some(id);
        let mut ipv4 = interface.ipv4_addresses.clone();
        let mut ipv6 = interface.ipv6_addresses.clone();
        ipv4.retain(|address| mine((*address).into()));
        ipv6.retain(|address| mine((*address).into()));
        // Addresses that it has lost but still holds come last.
        let waiting = state
            .faults
            .late
            .waiting
            .iter()
            .filter_map(|waiting| match &waiting.edit {
                Edit::Mappings(changes) => Some(changes),
                Edit::Routes(_) => None,
            });
        let lost = state.faults.late.lost.keys().copied();
        let on_the_way = waiting.flatten().map(|change| (change.subnet, change.address));
        for (subnet, address) in on_the_way.chain(lost) {
            let Some(address) = address.address().filter(|a| subnet == interface.subnet_id && mine(*a)) else {
                continue;
            };
            match address {
                std::net::IpAddr::V4(address) if !ipv4.contains(&address) => ipv4.push(address),
                std::net::IpAddr::V6(address) if !ipv6.contains(&address) => ipv6.push(address),
                _ => {}
            }
        }
        (interface.ipv4_addresses, interface.ipv6_addresses) = (ipv4, ipv6);
        Ok(interface)
    }
}

/// When something comes about that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Later {
    /// After so long.
    After(Duration),
    /// It hangs.
    Never,
}

impl Controller {
    /// How long attaching or detaching an interface takes by the faults that act; the latest of several counts.
    pub(in crate::control) fn attachment_delay(&self, interface: &NetworkInterface, attach: bool) -> Option<Later> {
        let mut guard = self.write();
        let state = &mut *guard;
        let network = &state.network;
        let applies = |kind: &FaultKind| match kind {
            FaultKind::LateAttachment {
                scope,
                attach: to,
                detach: from,
            } if scope::holds_interface(network, scope, interface) => {
                if attach {
                    *to
                } else {
                    *from
                }
            }
            _ => None,
        };
        let delay = state.faults.kinds().filter_map(applies).last()?;
        Some(state.faults.late.draw(delay).map_or(Later::Never, Later::After))
    }
}

/// When an edit in a subnet arrives, by the active faults; the latest of several counts.
pub(super) fn draw(state: &mut State, what: Propagated, subnet: SubnetId, now: Duration) -> Option<When> {
    let network = &state.network;
    let applies = |kind: &FaultKind| match kind {
        FaultKind::LatePropagation { of, scope, delay } => {
            (of.contains(&what) && scope::holds_subnet(network, scope, subnet)).then_some(*delay)
        }
        _ => None,
    };
    let delay = state.faults.kinds().filter_map(applies).last()?;
    Some(match state.faults.late.draw(delay) {
        None => When::Never,
        Some(Duration::ZERO) => When::Now,
        Some(delay) => When::At(now.saturating_add(delay)),
    })
}
