//! Starts and ends faults, and publishes their effects to the data path. A fault changes no declaration: it stands
//! between the declaration and its effect. The newest set is published whole, so that a batch of frames sees all of a
//! fault or none of it.

mod api;
mod hosts;
mod lag;
mod late;
mod scope;
mod timer;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use api::ApiFate;
pub(super) use api::ApiFaults;
pub(super) use hosts::SettledHosts;
pub use hosts::{HostState, Hosts};
pub(super) use late::Later;
pub use scope::check_declared;
pub(super) use timer::Timer;

use super::controller::{Controller, State};
use super::error::ControlError;
use super::events::EventKind;
use crate::datapath::FaultView;
use crate::datapath::faults::{
    Chance, Effect, Exceeded, FormerOwners, Impairment, Lanes, MetadataFault, Meter, PartialMetadataFault, Selector,
    ServiceFaults,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::duration::{Delay, TokenLifetime};
use crate::model::fault::{Fault, FaultDirection, FaultKind, FaultSpec, Fraction, ImpairmentSpec, Propagated};
use crate::model::ids::{FaultId, ResourceId};
use crate::model::interface::Allowances;
use crate::model::{InterfaceId, MappingChange};
use lag::Lag;
use late::Late;

/// How long a frame waits in the queue of a rate limit, unless the fault says otherwise.
const QUEUE: Duration = Duration::from_millis(200);

/// An active fault, with its state.
struct Active {
    fault: Fault,
    ends: Option<Duration>,
    lanes: Arc<Lanes>,
    former: Arc<FormerOwners>,
    /// The number of requests that it could have failed.
    asked: Arc<AtomicU64>,
}

/// All faults of a Controller.
pub(super) struct Faults {
    seed: u64,
    next: u64,
    active: BTreeMap<FaultId, Active>,
    late: Late,
    pub(super) lag: Lag,
    /// The interfaces that have allowances.
    meters: BTreeMap<InterfaceId, Arc<Meter>>,
    /// Interfaces whose hosts see no carrier.
    unplugged: Vec<(InterfaceId, PortId)>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            next: 1,
            active: BTreeMap::new(),
            late: Late::new(ChaCha8Rng::seed_from_u64(seed)),
            lag: Lag::default(),
            meters: BTreeMap::new(),
            unplugged: Vec::new(),
        }
    }

    /// True while there are no faults and no late edits.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty() && self.late.is_empty()
    }

    /// Follows the allowances of an interface. Whether they have changed.
    pub(super) fn follow_allowances(&mut self, interface: InterfaceId, allowances: Option<Allowances>) -> bool {
        let before = self.meters.get(&interface).map(|meter| meter.allowances());
        if before == allowances {
            return false;
        }
        match allowances {
            Some(allowances) => drop(self.meters.insert(interface, Arc::new(Meter::new(allowances)))),
            None => drop(self.meters.remove(&interface)),
        }
        true
    }

    fn kinds(&self) -> impl Iterator<Item = &FaultKind> {
        self.active.values().map(|active| &active.fault.spec.fault)
    }

    /// When the next fault ends or edit arrives, in time since the Controller was made.
    fn next_due(&self) -> Option<Duration> {
        let ends = self.active.values().filter_map(|active| active.ends);
        ends.chain(self.late.next_due()).min()
    }
}

impl Controller {
    /// Starts a fault, until its duration is over or it is cancelled.
    pub fn begin_fault(&self, spec: FaultSpec) -> Result<Fault, ControlError> {
        let now = self.shared.timer.now();
        let mut guard = self.write();
        let state = &mut *guard;
        scope::check(state, &spec)?;
        let id = FaultId::from_bits(state.faults.next);
        state.faults.next += 1;
        let fault = Fault {
            id,
            began_at: SystemTime::now(),
            spec,
        };
        state.faults.active.insert(
            id,
            Active {
                ends: fault.spec.duration.map(|duration| now.saturating_add(duration.get())),
                fault: fault.clone(),
                lanes: Arc::default(),
                former: Arc::default(),
                asked: Arc::default(),
            },
        );
        self.publish_faults(state);
        self.publish(EventKind::FaultBegan {
            fault_id: id,
            spec: Box::new(fault.spec.clone()),
        });
        drop(guard);
        self.shared.timer.wake(self);
        self.settle_hosts();
        Ok(fault)
    }

    /// Ends a fault, and returns it.
    pub fn cancel_fault(&self, id: FaultId) -> Result<Fault, ControlError> {
        let ended = self.end_fault(&mut self.write(), id, "cancelled");
        self.settle_hosts();
        ended.ok_or_else(|| scope::no_such_fault(id))
    }

    /// Ends all faults, and returns them.
    pub fn cancel_all_faults(&self) -> Vec<Fault> {
        let mut state = self.write();
        let ids: Vec<_> = state.faults.active.keys().copied().collect();
        let ended = ids
            .into_iter()
            .filter_map(|id| self.end_fault(&mut state, id, "cancelled"));
        let ended: Vec<Fault> = ended.collect();
        drop(state);
        self.settle_hosts();
        ended
    }

    fn end_fault(&self, state: &mut State, id: FaultId, reason: &str) -> Option<Fault> {
        let active = state.faults.active.remove(&id)?;
        let lags = |kind: &FaultKind| matches!(kind, FaultKind::LatePropagation { of, .. } if of.contains(&Propagated::Metadata));
        if !state.faults.kinds().any(lags) {
            state.faults.lag.end();
        }
        self.publish_faults(state);
        self.publish(EventKind::FaultEnded {
            fault_id: id,
            reason: reason.to_owned(),
        });
        Some(active.fault)
    }

    /// The active faults, oldest first.
    pub fn faults(&self) -> Vec<Fault> {
        let state = self.read();
        state
            .faults
            .active
            .values()
            .map(|active| active.fault.clone())
            .collect()
    }

    /// One active fault.
    pub fn fault(&self, id: FaultId) -> Result<Fault, ControlError> {
        let state = self.read();
        let active = state.faults.active.get(&id);
        active
            .map(|active| active.fault.clone())
            .ok_or_else(|| scope::no_such_fault(id))
    }

    /// What the allowances of an interface have cost, where it has some.
    pub fn exceeded(&self, interface: InterfaceId) -> Option<Exceeded> {
        let state = self.read();
        state.faults.meters.get(&interface).map(|meter| meter.exceeded())
    }

    /// What the allowances of all interfaces have cost.
    pub fn exceeded_in_all(&self) -> Exceeded {
        let state = self.read();
        let mut sum = Exceeded::default();
        for one in state.faults.meters.values().map(|meter| meter.exceeded()) {
            sum.bw_in_allowance_exceeded += one.bw_in_allowance_exceeded;
            sum.bw_out_allowance_exceeded += one.bw_out_allowance_exceeded;
            sum.pps_allowance_exceeded += one.pps_allowance_exceeded;
        }
        sum
    }

    /// The service faults that apply to the host at a place of the fabric.
    pub fn service_faults(&self, interface: InterfaceIndex) -> ServiceFaults {
        let view = self.fabric().view_full();
        let (Some(faults), Some(interface)) = (view.faults(), view.interface(interface)) else {
            return ServiceFaults::default();
        };
        faults.services(&interface)
    }

    /// The fault of the metadata service that applies when the host at a place of the fabric requests a path.
    pub(super) fn metadata_fault(&self, interface: InterfaceIndex, path: &[&str]) -> Option<MetadataFault> {
        let view = self.fabric().view_full();
        view.faults()?.metadata(&view.interface(interface)?, path)
    }

    /// Applies the faults to a changed network: names that now stand for other resources, new ports. Returns whether
    /// there are faults.
    pub(super) fn refresh_faults(&self, state: &mut State) -> bool {
        let any = !state.faults.active.is_empty();
        if any || !state.faults.meters.is_empty() {
            self.publish_faults(state);
        }
        any
    }

    /// Does what is due: faults that end, edits that arrive, instances and attachments that come into their next state. Returns when something is due next. The Controller's own
    /// thread calls this; a test that owns the time calls it through [`Self::drive_faults`].
    pub(super) fn run_due(&self, now: Duration) -> Option<Duration> {
        let mut guard = self.write();
        let state = &mut *guard;
        let mut ended_any = false;
        while let Some(due) = state.faults.next_due().filter(|due| *due <= now) {
            let ended = state.faults.active.iter().find(|(_, active)| active.ends == Some(due));
            if let Some(id) = ended.map(|(id, _)| *id) {
                self.end_fault(state, id, "its time is over");
                ended_any = true;
            }
            self.propagate(state, due);
        }
        let transitions = Self::due_transitions(state, now);
        let next = state.faults.next_due().into_iter().chain(state.life.next_due()).min();
        drop(guard);
        if ended_any {
            self.settle_hosts();
        }
        // What these bring about later wakes the thread anew.
        self.carry_out(transitions);
        next
    }

    /// From now on faults and late edits follow this time instead of the clock: for a network that is driven step by
    /// step. `now` is the time since the Controller was made; it must not go back.
    pub fn drive_faults(&self, now: Duration) {
        self.shared.timer.drive(now);
        self.run_due(now);
    }

    /// Publishes all faults to the data path, the API and the hosts.
    pub(super) fn publish_faults(&self, state: &mut State) {
        let mut effects = Vec::new();
        let mut api = Vec::new();
        let mut unplugged = Vec::new();
        for (id, active) in &state.faults.active {
            match &active.fault.spec.fault {
                FaultKind::Api(fault) => api.push((*id, fault.clone())),
                FaultKind::LatePropagation { .. } | FaultKind::LateAttachment { .. } => {}
                kind => {
                    match kind {
                        FaultKind::LinkDown(scope) => unplugged.extend(scope::ports(state, scope)),
                        FaultKind::InstanceCrash(scope) => unplugged.extend(scope::of_instances(state, scope)),
                        _ => {}
                    }
                    effects.extend(effect(state, active, kind).map(|effect| (id.to_bits(), effect)));
                }
            }
        }
        let meters = state.faults.meters.iter();
        let meters = meters.filter_map(|(id, meter)| Some((state.binding.interface_index(*id)?, Arc::clone(meter))));
        let meters: HashMap<_, _, _> = meters.collect();
        if !meters.is_empty() {
            // No fault has this number.
            effects.push((u64::MAX, Effect::Allowances(meters)));
        }
        let view = FaultView {
            seed: state.faults.seed,
            effects,
        };
        let view = (!view.effects.is_empty()).then(|| Arc::new(view));
        state.binding.writer_mut().set_faults(view);
        self.shared.api_faults.set(state.faults.seed, api);
        self.plug(state, unplugged);
    }

    /// Takes the carrier of ports away, or gives it back.
    fn plug(&self, state: &mut State, unplugged: Vec<(InterfaceId, PortId)>) {
        let Some(ports) = &self.shared.ports else { return };
        let before = std::mem::replace(&mut state.faults.unplugged, unplugged);
        let after = &state.faults.unplugged;
        let back = before
            .iter()
            .filter(|place| !after.contains(place))
            .map(|place| (place, true));
        let gone = after
            .iter()
            .filter(|place| !before.contains(place))
            .map(|place| (place, false));
        for ((interface, port), up) in back.chain(gone) {
            // The data path drops the frames in any case: only the host does not see the change.
            if let Err(reason) = ports.set_carrier(*port, up) {
                tracing::warn!(%interface, up, reason, "the host does not see its link change");
            }
        }
    }

    /// Called before mappings change in the data path: subnets with stale mappings keep the present owners.
    pub(super) fn note_former_owners(&self, state: &mut State, changes: &[MappingChange]) {
        let mut noted = false;
        for active in state.faults.active.values_mut() {
            let FaultKind::StaleMapping { subnet, addresses, .. } = &active.fault.spec.fault else {
                continue;
            };
            let only = subnet
                .as_ref()
                .and_then(|subnet| state.network.subnet(subnet).ok())
                .map(|subnet| subnet.id);
            for change in changes {
                let meant = addresses.is_empty() || addresses.iter().any(|a| change.address.net().contains(a));
                let elsewhere = subnet.is_some() && only != Some(change.subnet);
                let Some(index) = state.binding.subnet_index(change.subnet) else {
                    continue;
                };
                if meant && !elsewhere {
                    let owner = change.from().and_then(|owner| state.binding.interface_index(owner));
                    Arc::make_mut(&mut active.former).note(index, change.address.net(), owner);
                    noted = true;
                }
            }
        }
        if noted {
            self.publish_faults(state);
        }
    }
}

/// The effect of a fault in the data path.
fn effect(state: &State, active: &Active, kind: &FaultKind) -> Option<Effect> {
    let select = |scope| scope::selector(&state.network, &state.binding, scope);
    let services = |scope, faults| Some(Effect::Services(select(scope), faults));
    let none = ServiceFaults::default();
    match kind {
        FaultKind::LinkDown(scope) => Some(Effect::LinkDown(select(scope))),
        FaultKind::Partition { between, and, one_way } => Some(Effect::Partition {
            one: select(between),
            other: select(and),
            one_way: *one_way,
        }),
        FaultKind::ZoneCut { availability_zone } => {
            let scope = crate::model::fault::Scope {
                availability_zones: vec![availability_zone.clone()],
                ..Default::default()
            };
            Some(Effect::ZoneCut(select(&scope)))
        }
        FaultKind::Impairment(spec) => Some(Effect::Impairment {
            on: select(&spec.at),
            egress: spec.direction != FaultDirection::Ingress,
            ingress: spec.direction != FaultDirection::Egress,
            impairment: impairment(spec),
            lanes: Arc::clone(&active.lanes),
        }),
        FaultKind::StaleMapping { seen_by, .. } => Some(Effect::StaleMapping {
            seen_by: select(seen_by),
            former: Arc::clone(&active.former),
        }),
        FaultKind::RouterAdvertisementsWithheld(scope) => services(
            scope,
            ServiceFaults {
                router_advertisements_withheld: true,
                ..none
            },
        ),
        FaultKind::DhcpSilent(scope) => services(
            scope,
            ServiceFaults {
                dhcp_silent: true,
                ..none
            },
        ),
        FaultKind::Metadata {
            at,
            silent,
            status,
            token_lifetime,
            delay,
            paths,
            chance,
        } => {
            let fault = MetadataFault {
                status: *status,
                token_lifetime: token_lifetime.map(TokenLifetime::get),
                silent: *silent,
                delay: delay.unwrap_or_default().get(),
            };
            if paths.is_empty() && *chance == Fraction::always() {
                let metadata = Some(fault);
                return services(at, ServiceFaults { metadata, ..none });
            }
            let partial = PartialMetadataFault {
                fault,
                paths: paths.clone(),
                chance: Chance::new(chance.get()),
                asked: Arc::clone(&active.asked),
            };
            Some(Effect::PartialMetadata(select(at), Arc::new(partial)))
        }
        FaultKind::ClockSkew { at, skew } => services(
            at,
            ServiceFaults {
                clock_skew: skew.nanoseconds(),
                ..none
            },
        ),
        FaultKind::InstanceCrash(scope) => Some(Effect::LinkDown(Selector {
            interfaces: scope::of_instances(state, scope)
                .into_iter()
                .filter_map(|(id, _)| state.binding.interface_index(id))
                .collect(),
            ..Selector::default()
        })),
        // A hung host has its processes stopped, and nothing else.
        FaultKind::InstanceFreeze(_)
        | FaultKind::LatePropagation { .. }
        | FaultKind::LateAttachment { .. }
        | FaultKind::Api(_) => None,
    }
}

fn impairment(spec: &ImpairmentSpec) -> Impairment {
    Impairment {
        loss: Chance::new(spec.loss.get()),
        duplicate: Chance::new(spec.duplicate.get()),
        reorder: Chance::new(spec.reorder.get()),
        delay: spec.delay.get(),
        jitter: spec.jitter.get(),
        rate: spec.rate,
        queue: spec.queue.map_or(QUEUE, Delay::get),
    }
}
