//! Moves an instance through its life: launched, stopped, started, terminated. When each step is due, and what a host does
//! then, is decided elsewhere; here stands which step may follow which.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Instance;
use super::metadata::MetadataChange;
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{InstanceId, InterfaceId, ResourceRef};
use crate::model::interface::{
    AttachInterface, Attachment, AttachmentState, CreateInterface, DeleteInterface, DetachInterface,
};
use crate::model::naming::Tags;
use crate::model::{InstanceError, InterfaceError};

/// How far an instance is in its life (EC2 user guide, "Instance lifecycle").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It is being started.
    Pending,
    /// It runs.
    #[default]
    Running,
    /// It is being stopped.
    Stopping,
    /// It is stopped; its interfaces stay attached, and it can be started again.
    Stopped,
    /// It is being terminated. It was not stopped before: EC2's waiters take that for a failure.
    ShuttingDown,
    /// It is gone, and listed for a while.
    Terminated,
}

impl InstanceState {
    /// Its name in EC2's answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// Its number in EC2's answers (EC2 API, InstanceState).
    pub const fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// What was asked for where this state was to follow, as a participle.
    pub(in crate::model) const fn asked_for(self) -> &'static str {
        match self {
            Self::Pending | Self::Running => "started",
            Self::Stopping | Self::Stopped => "stopped",
            Self::ShuttingDown | Self::Terminated => "terminated",
        }
    }

    /// Whether an instance in state `now` has this state behind it, so that asking for it changes nothing.
    const fn is_behind(self, now: Self) -> bool {
        matches!(
            (self, now),
            (Self::Pending, Self::Running) | (Self::Stopping, Self::Stopped) | (Self::ShuttingDown, Self::Terminated)
        )
    }

    /// Whether another state may follow it.
    const fn leads_to(self, next: Self) -> bool {
        match next {
            Self::Pending => matches!(self, Self::Stopped),
            Self::Running => matches!(self, Self::Pending),
            Self::Stopping => matches!(self, Self::Running),
            // One that does not come up is stopped again.
            Self::Stopped => matches!(self, Self::Stopping | Self::Pending | Self::Running),
            Self::ShuttingDown => !matches!(self, Self::Terminated),
            Self::Terminated => matches!(self, Self::ShuttingDown | Self::Pending),
        }
    }
}

/// What an instance was launched with, where it was launched and not declared by a device or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The image, whose identifier is all that there is of it.
    pub image: String,
    /// What was launched together has one.
    pub reservation: String,
    /// Its number among those.
    pub index: u32,
    /// The name of the key pair.
    pub key_name: Option<String>,
    /// The line for `authorized_keys`: the instance keeps it when the key pair is deleted.
    #[serde(default)]
    pub authorized_key: Option<String>,
    /// What made the request idempotent.
    pub client_token: Option<String>,
}

/// Launches instances, all of them or none: each is pending afterwards. Outcome: the instances.
#[derive(Debug, Clone)]
pub struct LaunchInstances {
    /// What to launch.
    pub instances: Vec<LaunchInstance>,
    /// The time.
    pub at: SystemTime,
}

/// One instance to launch.
#[derive(Debug, Clone)]
pub struct LaunchInstance {
    /// A name that no other instance has.
    pub name: Option<String>,
    /// Its interfaces. One of them has device index 0.
    pub interfaces: Vec<LaunchInterface>,
    /// What differs from the default metadata.
    pub metadata: MetadataChange,
    /// Tags other than the name.
    pub tags: Tags,
    /// The image.
    pub image: String,
    /// The key pair.
    pub key_name: Option<String>,
    /// What made the request idempotent.
    pub client_token: Option<String>,
    /// Whether it cannot be terminated until that is allowed.
    pub protected: bool,
}

/// An interface of an instance to launch.
#[derive(Debug, Clone)]
pub struct LaunchInterface {
    /// Its place in the instance.
    pub device_index: u32,
    /// The interface.
    pub interface: NewOrExisting,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
}

/// An interface that is made for an instance, or is there.
#[derive(Debug, Clone)]
pub enum NewOrExisting {
    /// One to make.
    New(Box<CreateInterface>),
    /// A detached one.
    Existing(ResourceRef<InterfaceId>),
}

/// Brings instances into another state, all of them or none. Outcome: the state of each before and after. One that is in this
/// state, or on the way through it, is left alone.
///
/// One that is terminated gives its interfaces back: those that go with it are deleted, the others are detached.
#[derive(Debug, Clone)]
pub struct SetInstanceState {
    /// The instances.
    pub instances: Vec<InstanceId>,
    /// Their new state.
    pub to: InstanceState,
    /// Why, as EC2 writes it: a code and a message.
    pub reason: Option<StateReason>,
    /// The time.
    pub at: SystemTime,
}

/// Why an instance came into its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// As in `Client.UserInitiatedShutdown`.
    pub code: String,
    /// For the reader.
    pub message: String,
}

/// Allows that an instance is terminated, or forbids it. Outcome: the instance.
#[derive(Debug, Clone)]
pub struct ProtectInstance {
    /// The instance.
    pub instance: ResourceRef<InstanceId>,
    /// Whether it cannot be terminated.
    pub protected: bool,
}

/// Takes a terminated instance off the list.
#[derive(Debug, Clone)]
pub struct ForgetInstance(pub InstanceId);

impl Command for LaunchInstances {
    type Outcome = Vec<Instance>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vec<Instance>, ModelError> {
        let reservation = format!("r-0{:016x}", rand::Rng::next_u64(edit.rng));
        let mut launched = Vec::with_capacity(self.instances.len());
        for (index, spec) in (0..).zip(self.instances) {
            launched.push(launch(edit, spec, (reservation.clone(), index), self.at)?);
        }
        Ok(launched)
    }
}

fn launch(
    edit: &mut Edit<'_>,
    spec: LaunchInstance,
    (reservation, index): (String, u32),
    at: SystemTime,
) -> Result<Instance, ModelError> {
    edit.instance_names.check(spec.name.as_deref(), None)?;
    let authorized_key = match &spec.key_name {
        Some(name) => Some(edit.key_pair_named(name)?.authorized_key()),
        None => None,
    };
    let mut places = Vec::with_capacity(spec.interfaces.len());
    for one in spec.interfaces {
        let interface = match one.interface {
            NewOrExisting::New(create) => create.run(edit)?.id,
            NewOrExisting::Existing(reference) => edit.interface_id(&reference)?,
        };
        places.push((one.device_index, interface, one.delete_on_termination));
    }
    places.sort_by_key(|(index, ..)| *index);
    let Some((0, primary, _)) = places.first().copied() else {
        return Err(ModelError::OutOfRange {
            field: "device_index",
            given: places
                .first()
                .map_or_else(|| "left out".to_owned(), |(index, ..)| index.to_string()),
            remedy: "Give the instance a network interface with device index 0.",
        });
    };
    if edit.own_instance(primary).is_some() {
        return Err(ModelError::Interface(InterfaceError::InUse { interface: primary }));
    }
    let made = edit.launch(spec.name, primary, spec.metadata, spec.tags)?;
    let pending = Instance {
        state: InstanceState::Pending,
        launched_at: Some(at),
        protected: spec.protected,
        launch: Some(Launch {
            image: spec.image,
            reservation,
            index,
            key_name: spec.key_name,
            authorized_key,
            client_token: spec.client_token,
        }),
        ..made.clone()
    };
    edit.replace(made, pending.clone());
    for (device_index, interface, delete_on_termination) in places {
        let place = Attachment {
            state: AttachmentState::Attached,
            delete_on_termination,
            ..Attachment::new(pending.id, device_index)
        };
        AttachInterface {
            interface: interface.into(),
            place: Some(place),
            at,
        }
        .run(edit)?;
    }
    edit.check_tags(primary)?;
    Ok(pending)
}

impl Command for SetInstanceState {
    type Outcome = Vec<(InstanceState, InstanceState)>;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Self::Outcome, ModelError> {
        let instances = self.instances.iter();
        instances.map(|id| set_state(edit, *id, &self)).collect()
    }
}

fn set_state(
    edit: &mut Edit<'_>,
    id: InstanceId,
    command: &SetInstanceState,
) -> Result<(InstanceState, InstanceState), ModelError> {
    let before = edit.instance(&id.into())?.clone();
    let (state, to) = (before.state, command.to);
    if state == to || to.is_behind(state) {
        return Ok((state, state));
    }
    if !state.leads_to(to) {
        return Err(ModelError::Instance(InstanceError::State {
            instance: id,
            wanted: to,
        }));
    }
    if to == InstanceState::ShuttingDown && before.protected {
        return Err(ModelError::Instance(InstanceError::Protected { instance: id }));
    }
    let mut after = Instance {
        state: to,
        state_reason: command.reason.clone(),
        ..before.clone()
    };
    match to {
        InstanceState::Pending => after.launched_at = Some(command.at),
        InstanceState::Terminated => {
            // Another may have its name now.
            let name = after.name.take().map(|name| ("Name".to_owned(), name));
            after.tags.extend(name);
        }
        _ => {}
    }
    edit.replace(before, after);
    if to == InstanceState::Terminated {
        give_interfaces_back(edit, id)?;
    }
    Ok((state, to))
}

fn give_interfaces_back(edit: &mut Edit<'_>, instance: InstanceId) -> Result<(), ModelError> {
    let attached: Vec<InterfaceId> = edit.attached(instance).map(|(_, id)| id).collect();
    for interface in attached {
        let goes = edit
            .state(interface)
            .record
            .attachment
            .is_some_and(|place| place.delete_on_termination);
        DetachInterface(interface.into()).run(edit)?;
        if goes {
            DeleteInterface(interface.into()).run(edit)?;
        }
    }
    Ok(())
}

impl Command for ProtectInstance {
    type Outcome = Instance;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Instance, ModelError> {
        let before = edit.instance(&self.instance)?.clone();
        let after = Instance {
            protected: self.protected,
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for ForgetInstance {
    type Outcome = ();
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<(), ModelError> {
        let instance = edit.instance(&self.0.into())?.clone();
        if instance.state == InstanceState::Terminated {
            edit.delete(instance);
        }
        Ok(())
    }
}
