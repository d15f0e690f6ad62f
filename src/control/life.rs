//! Brings instances and attachments from one state into the next when that is due: a request answers at once, and what it
//! asked for comes about by and by, as on EC2. How long each step takes is the profile's, or a fault's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::controller::{Controller, State};
use super::error::ControlError;
use super::faults::Later;
use crate::model::instance::life::{
    ForgetInstance, InstanceState, LaunchInstances, ProtectInstance, SetInstanceState, StateReason,
};
use crate::model::interface::{
    AttachInterface, Attachment, AttachmentState, DetachInterface, ModifyAttachment, NetworkInterface,
};
use crate::model::profile::InstancePolicy;
use crate::model::{Instance, InstanceId, InterfaceId, ModelError, NatGatewayId, PeeringId, ResourceRef};
use crate::model::{InstanceError, InterfaceError};

/// How long a terminated instance is listed (EC2 guide, "Terminate instances": about an hour).
pub(super) const LISTED: Duration = Duration::from_secs(3600);

/// What comes about later.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transition {
    /// A pending instance comes up.
    Boot(InstanceId),
    /// A stopping instance is off.
    Off(InstanceId),
    /// An instance that shuts down is gone.
    Gone(InstanceId),
    /// A terminated instance is listed no longer.
    Forget(InstanceId),
    /// A pending NAT gateway is there.
    NatReady(NatGatewayId),
    /// A NAT gateway that is being deleted is gone.
    NatGone(NatGatewayId),
    /// A NAT gateway that is deleted or has failed is listed no longer.
    NatForgotten(NatGatewayId),
    /// The time that addresses of a NAT gateway have for draining is over.
    NatDrained(NatGatewayId, Ipv4Addr),
    /// A peering connection was not accepted in time.
    PeeringExpires(PeeringId),
    /// A peering connection that is over is listed no longer.
    PeeringForgotten(PeeringId),
    /// The device of an interface appears in its instance.
    Plug(InterfaceId, (InstanceId, u32)),
    /// The device of an interface vanishes.
    Unplug(InterfaceId, (InstanceId, u32)),
}

/// What is to come about, in its order.
#[derive(Debug, Default)]
pub(super) struct Life {
    due: BTreeMap<(Duration, u64), Transition>,
    next: u64,
}

impl Life {
    fn add(&mut self, at: Duration, transition: Transition) {
        self.due.insert((at, self.next), transition);
        self.next += 1;
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    fn take(&mut self, now: Duration) -> Vec<Transition> {
        let later = self.due.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.due, later).into_values().collect()
    }
}

/// How the programs of an instance end when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// They are asked to (SIGTERM), and have until the instance is off.
    Orderly,
    /// At once, as when a machine is switched off. It is off when the request is answered.
    AtOnce,
}

/// A state of an instance before and after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateChange {
    /// The instance.
    pub instance: InstanceId,
    /// Its state before.
    pub before: InstanceState,
    /// Its state now.
    pub after: InstanceState,
}

fn asked(code: &str, message: &str) -> Option<StateReason> {
    Some(StateReason {
        code: code.to_owned(),
        message: format!("{code}: {message}"),
    })
}

impl Controller {
    /// Launches instances, all of them or none. They are pending, and run a while later.
    pub fn launch_instances(&self, command: LaunchInstances) -> Result<Vec<Instance>, ControlError> {
        let launched = self.execute(command)?;
        for instance in &launched {
            let after = self.instance_policy(instance).pending.get();
            self.later(after, Transition::Boot(instance.id));
        }
        Ok(launched)
    }

    /// Starts stopped instances, all of them or none. One that runs already is left alone.
    pub fn start_instances(&self, instances: &[InstanceId]) -> Result<Vec<StateChange>, ControlError> {
        let changes = self.change_states(instances, InstanceState::Pending, None)?;
        self.each_changed(&changes, |policy| policy.pending.get(), Transition::Boot);
        Ok(changes)
    }

    /// Stops instances, all of them or none. One that is stopped already is left alone.
    pub fn stop_instances(&self, instances: &[InstanceId], how: Shutdown) -> Result<Vec<StateChange>, ControlError> {
        self.need_hosts(instances)?;
        let reason = asked("Client.UserInitiatedShutdown", "User initiated shutdown");
        let changes = self.change_states(instances, InstanceState::Stopping, reason)?;
        self.end_programs(&changes, how);
        self.each_changed(&changes, |policy| policy.stopping.get(), Transition::Off);
        Ok(changes)
    }

    /// Terminates instances, all of them or none.
    pub fn terminate_instances(
        &self,
        instances: &[InstanceId],
        how: Shutdown,
    ) -> Result<Vec<StateChange>, ControlError> {
        let reason = asked("Client.UserInitiatedShutdown", "User initiated shutdown");
        let changes = self.change_states(instances, InstanceState::ShuttingDown, reason)?;
        self.end_programs(&changes, how);
        self.each_changed(&changes, |policy| policy.shutting_down.get(), Transition::Gone);
        Ok(changes)
    }

    /// Ends everything that runs in instances, and brings them up anew.
    pub fn reboot_instances(&self, instances: &[InstanceId]) -> Result<(), ControlError> {
        self.need_hosts(instances)?;
        let mut found = Vec::with_capacity(instances.len());
        for id in instances {
            let instance = self.instance(&(*id).into())?;
            if instance.state != InstanceState::Running {
                return Err(ModelError::Instance(InstanceError::State {
                    instance: *id,
                    wanted: InstanceState::Running,
                })
                .into());
            }
            found.push(instance);
        }
        for instance in found {
            self.halt(instance.primary_interface_id);
            self.boot(&instance);
        }
        Ok(())
    }

    /// Allows that an instance is terminated, or forbids it.
    pub fn protect_instance(&self, instance: InstanceId, protected: bool) -> Result<Instance, ControlError> {
        self.execute(ProtectInstance {
            instance: instance.into(),
            protected,
        })
    }

    /// Begins to attach a detached interface to an instance. Its device appears a while later, at once where nothing says
    /// otherwise, and never where a fault says so.
    pub fn begin_attachment(
        &self,
        interface: InterfaceId,
        place: Attachment,
    ) -> Result<NetworkInterface, ControlError> {
        let found = self.interface(&interface.into())?;
        let policy = self.vpc(&found.vpc_id.into())?.profile.instance.attaching;
        let later = self
            .attachment_delay(&found, true)
            .unwrap_or(Later::After(policy.get()));
        let attached = self.execute(AttachInterface {
            interface: interface.into(),
            place: Some(Attachment {
                state: AttachmentState::Attaching,
                ..place
            }),
            at: SystemTime::now(),
        })?;
        match later {
            Later::After(delay) if delay.is_zero() => {
                self.plug_device(interface, place.place())?;
                self.interface(&interface.into())
            }
            Later::After(delay) => {
                self.later(delay, Transition::Plug(interface, place.place()));
                Ok(attached)
            }
            Later::Never => Ok(attached),
        }
    }

    /// Begins to detach an interface from its instance. Its device vanishes a while later, at once where nothing says
    /// otherwise or `force` is set, and never where a fault says so.
    pub fn begin_detachment(
        &self,
        reference: &ResourceRef<InterfaceId>,
        force: bool,
    ) -> Result<NetworkInterface, ControlError> {
        let found = self.interface(reference)?;
        let Some(place) = found.attachment else {
            return Err(ModelError::Interface(InterfaceError::NotAttached { interface: found.id }).into());
        };
        let policy = self.vpc(&found.vpc_id.into())?.profile.instance.detaching;
        let later = match force {
            true => Later::After(Duration::ZERO),
            false => self
                .attachment_delay(&found, false)
                .unwrap_or(Later::After(policy.get())),
        };
        if later == Later::After(Duration::ZERO) {
            return self.execute(DetachInterface(found.id.into()));
        }
        let known = place.state == AttachmentState::Detaching;
        let detaching = self.execute(ModifyAttachment {
            interface: found.id.into(),
            state: Some(AttachmentState::Detaching),
            delete_on_termination: None,
        })?;
        if let (Later::After(delay), false) = (later, known) {
            self.later(delay, Transition::Unplug(found.id, place.place()));
        }
        Ok(detaching)
    }

    /// Goes on with what an earlier start had begun: the network that was kept says how far it was.
    pub fn resume_life(&self) {
        let now = Duration::ZERO;
        for instance in self.instances() {
            match instance.state {
                InstanceState::Pending => self.later(now, Transition::Boot(instance.id)),
                InstanceState::Stopping => self.later(now, Transition::Off(instance.id)),
                InstanceState::ShuttingDown => self.later(now, Transition::Gone(instance.id)),
                InstanceState::Terminated => self.later(LISTED, Transition::Forget(instance.id)),
                InstanceState::Running | InstanceState::Stopped => {}
            }
        }
        self.resume_nats();
        self.resume_peerings();
        let under_way = |interface: &NetworkInterface| {
            interface
                .attachment
                .is_some_and(|place| place.state != AttachmentState::Attached)
        };
        for interface in self.interfaces(None, usize::MAX, under_way) {
            let Some(attachment) = interface.attachment else {
                continue;
            };
            let place = attachment.place();
            match attachment.state {
                AttachmentState::Attaching => self.later(now, Transition::Plug(interface.id, place)),
                AttachmentState::Detaching => self.later(now, Transition::Unplug(interface.id, place)),
                AttachmentState::Attached => {}
            }
        }
    }

    /// Takes the port of an interface away, which stays attached.
    pub fn pull(&self, interface: InterfaceId, reason: &str) {
        let afterwards = self.unplug(&mut self.write(), interface, reason);
        // Taking a port away is no edit.
        let _ = self.finish(afterwards);
    }

    /// Everything that is due, out of the state: it is carried out without the lock.
    pub(super) fn due_transitions(state: &mut State, now: Duration) -> DueTransitions {
        DueTransitions(state.life.take(now))
    }

    pub(super) fn carry_out(&self, due: DueTransitions) {
        for transition in due.0 {
            self.pass(transition);
        }
    }

    fn pass(&self, transition: Transition) {
        let now = |id: InstanceId| self.instance(&id.into()).ok();
        match transition {
            Transition::Boot(id) => {
                if let Some(instance) = now(id).filter(|instance| instance.state == InstanceState::Pending) {
                    self.boot(&instance);
                }
            }
            Transition::Off(id) => {
                if let Some(instance) = now(id).filter(|instance| instance.state == InstanceState::Stopping) {
                    self.halt(instance.primary_interface_id);
                    self.settle_state(id, InstanceState::Stopped, instance.state_reason);
                }
            }
            Transition::Gone(id) => {
                if let Some(instance) = now(id).filter(|instance| instance.state == InstanceState::ShuttingDown) {
                    self.halt(instance.primary_interface_id);
                    if let Some(hosts) = self.hosts() {
                        hosts.forget(self, instance.primary_interface_id);
                    }
                    self.settle_state(id, InstanceState::Terminated, instance.state_reason);
                    self.later(LISTED, Transition::Forget(id));
                }
            }
            Transition::Forget(id) => {
                // It may have been taken away with its VPC's file.
                if let Err(error) = self.execute(ForgetInstance(id)) {
                    tracing::debug!(%id, %error, "a terminated instance is not there to be forgotten");
                }
            }
            Transition::NatReady(_)
            | Transition::NatGone(_)
            | Transition::NatForgotten(_)
            | Transition::NatDrained(..) => self.pass_nat(transition),
            Transition::PeeringExpires(_) | Transition::PeeringForgotten(_) => self.pass_peering(transition),
            Transition::Plug(interface, place) => {
                if let Err(error) = self.plug_device(interface, place) {
                    tracing::warn!(%interface, %error, "the device of a network interface does not appear");
                }
            }
            Transition::Unplug(interface, place) => {
                let found = self.interface(&interface.into()).ok();
                let there = found
                    .and_then(|interface| interface.attachment)
                    .filter(|attachment| attachment.place() == place && attachment.state == AttachmentState::Detaching);
                if there.is_some()
                    && let Err(error) = self.execute(DetachInterface(interface.into()))
                {
                    tracing::debug!(%interface, %error, "it was detached in another way before");
                }
            }
        }
    }

    /// Brings the host of an instance up. One that does not come up is stopped.
    fn boot(&self, instance: &Instance) {
        let booted = self.hosts().map_or(Ok(()), |hosts| hosts.boot(self, instance));
        self.host_booted(instance.primary_interface_id);
        match booted {
            Ok(()) => self.settle_state(instance.id, InstanceState::Running, None),
            Err(error) => {
                tracing::warn!(instance = %instance.id, error, "an instance does not come up");
                let reason = asked("Server.InternalError", &error);
                self.settle_state(instance.id, InstanceState::Stopped, reason);
            }
        }
    }

    fn halt(&self, primary: InterfaceId) {
        if let Some(hosts) = self.hosts() {
            hosts.halt(self, primary);
        }
    }

    fn end_programs(&self, changes: &[StateChange], how: Shutdown) {
        let Some(hosts) = self.hosts() else { return };
        for change in changes.iter().filter(|change| change.before != change.after) {
            if let Ok(instance) = self.instance(&change.instance.into()) {
                match how {
                    Shutdown::Orderly => hosts.ask_to_end(instance.primary_interface_id),
                    Shutdown::AtOnce => hosts.halt(self, instance.primary_interface_id),
                }
            }
        }
    }

    /// Lets the device of an attachment appear, unless that has become another one.
    fn plug_device(&self, interface: InterfaceId, place: (InstanceId, u32)) -> Result<(), ControlError> {
        let found = self.interface(&interface.into())?;
        let waits =
            |attachment: &Attachment| attachment.place() == place && attachment.state == AttachmentState::Attaching;
        let Some(attachment) = found.attachment.filter(waits) else {
            return Ok(());
        };
        let plugged = self
            .hosts()
            .map_or(Ok(()), |hosts| hosts.plug(self, &found, attachment));
        if let Err(reason) = plugged {
            // No attachment without a device is left behind.
            self.execute(DetachInterface(interface.into()))?;
            return Err(ControlError::Attach { reason });
        }
        self.execute(ModifyAttachment {
            interface: interface.into(),
            state: Some(AttachmentState::Attached),
            delete_on_termination: None,
        })?;
        Ok(())
    }

    /// An instance that the lab has no host of cannot be switched off and on.
    fn need_hosts(&self, instances: &[InstanceId]) -> Result<(), ControlError> {
        let Some(hosts) = self.hosts() else { return Ok(()) };
        for id in instances {
            let instance = self.instance(&(*id).into())?;
            if !hosts.has(instance.primary_interface_id) && instance.launch.is_none() {
                return Err(ControlError::NoHost { instance: *id });
            }
        }
        Ok(())
    }

    fn change_states(
        &self,
        instances: &[InstanceId],
        to: InstanceState,
        reason: Option<StateReason>,
    ) -> Result<Vec<StateChange>, ControlError> {
        let changed = self.execute(SetInstanceState {
            instances: instances.to_vec(),
            to,
            reason,
            at: SystemTime::now(),
        })?;
        let changes = instances.iter().zip(changed);
        let changes = changes.map(|(instance, (before, after))| StateChange {
            instance: *instance,
            before,
            after,
        });
        Ok(changes.collect())
    }

    /// A step that comes by itself. What became of the instance meanwhile counts for more.
    fn settle_state(&self, id: InstanceId, to: InstanceState, reason: Option<StateReason>) {
        if let Err(error) = self.change_states(&[id], to, reason) {
            tracing::debug!(%id, ?to, %error, "an instance has gone another way");
        }
    }

    fn each_changed(
        &self,
        changes: &[StateChange],
        delay: impl Fn(&InstancePolicy) -> Duration,
        transition: impl Fn(InstanceId) -> Transition,
    ) {
        for change in changes.iter().filter(|change| change.before != change.after) {
            if let Ok(instance) = self.instance(&change.instance.into()) {
                self.later(delay(&self.instance_policy(&instance)), transition(instance.id));
            }
        }
    }

    /// How long the steps of an instance take.
    fn instance_policy(&self, instance: &Instance) -> InstancePolicy {
        let primary = self.interface(&instance.primary_interface_id.into());
        let vpc = primary.and_then(|primary| self.vpc(&primary.vpc_id.into()));
        vpc.map(|vpc| vpc.profile.instance).unwrap_or_default()
    }

    pub(super) fn later(&self, delay: Duration, transition: Transition) {
        let now = self.shared.timer.now();
        self.write().life.add(now.saturating_add(delay), transition);
        self.shared.timer.wake(self);
    }
}

/// What was due at one moment.
pub(super) struct DueTransitions(Vec<Transition>);
