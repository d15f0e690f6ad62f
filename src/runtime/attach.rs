//! Attaches network interfaces to running hosts, as on EC2: the device appears in the host, down and without an
//! address, and the host has to configure it. Detaching closes the device, which vanishes from the host with its
//! configuration.

use super::{Runtime, RuntimeError, lock};
use crate::control::DevicePlace;
use crate::model::InterfaceError;
use crate::model::{Attachment, InterfaceId, ModelError, NetworkInterface, ResourceRef};

/// The most network interfaces of an instance (EC2 instance types guide, "Network specifications": 15 of the largest on
/// one network card).
const MOST: u32 = 15;

/// Why an interface cannot be attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no such host.
    #[error("there is no instance '{0}'")]
    NoSuchHost(String),
    /// The device index is taken.
    #[error("instance '{host}' has a network interface at device index {index} already")]
    Taken {
        /// The host.
        host: String,
        /// The device index.
        index: u32,
    },
    /// The device index is out of range.
    #[error("there is no device index {0}")]
    NoSuchPlace(u32),
    /// It has the maximum number of interfaces.
    #[error("instance '{0}' has {MOST} network interfaces, and takes no more")]
    Full(String),
    /// Interface and instance are in different zones.
    #[error("the network interface is in {interface}, and instance '{host}' in {zone}")]
    OtherZone {
        /// The host.
        host: String,
        /// Its availability zone.
        zone: String,
        /// The interface's availability zone.
        interface: String,
    },
}

impl PlaceError {
    /// The AWS error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchHost(_) => "InvalidInstanceID.NotFound",
            Self::Taken { .. } | Self::NoSuchPlace(_) => "InvalidParameterValue",
            Self::Full(_) => "AttachmentLimitExceeded",
            Self::OtherZone { .. } => "InvalidParameterCombination",
        }
    }

    /// The request's wrong field.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoSuchHost(_) | Self::Full(_) | Self::OtherZone { .. } => "instance",
            Self::Taken { .. } | Self::NoSuchPlace(_) => "device_index",
        }
    }

    /// What the caller can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoSuchHost(_) => "GET /v1/instances lists those that there are.",
            Self::Taken { .. } => "Leave the device index out to get the next one that is free.",
            Self::NoSuchPlace(_) => "Give 1 to 14; 0 is the primary network interface, which an instance is made with.",
            Self::Full(_) => "Detach one of them first.",
            Self::OtherZone { .. } => "Make a network interface in a subnet of the instance's availability zone.",
        }
    }
}

/// A host to attach to.
#[derive(Debug, Clone, Copy)]
pub struct PlaceIn<'h> {
    /// The host.
    pub host: &'h str,
    /// Its availability zone.
    pub zone: &'h str,
}

impl PlaceIn<'_> {
    /// Whether an interface of this zone can be attached to it.
    pub fn is_reached_from(self, zone: &str) -> Result<(), PlaceError> {
        if zone == self.zone {
            return Ok(());
        }
        Err(PlaceError::OtherZone {
            host: self.host.to_owned(),
            zone: self.zone.to_owned(),
            interface: zone.to_owned(),
        })
    }

    /// The requested device index, or the next free one.
    pub fn choose(self, wanted: Option<u32>, taken: impl Fn(u32) -> bool) -> Result<u32, PlaceError> {
        let host = self.host.to_owned();
        match wanted {
            Some(index) if !(1..MOST).contains(&index) => Err(PlaceError::NoSuchPlace(index)),
            Some(index) if taken(index) => Err(PlaceError::Taken { host, index }),
            Some(index) => Ok(index),
            None => (1..MOST).find(|index| !taken(*index)).ok_or(PlaceError::Full(host)),
        }
    }
}

impl Runtime {
    /// Attaches a network interface to a host that runs, at a device index of 1 or more, or at the next that is free. The
    /// device has the interface's MAC address, is called `ethN` for the index N, and is down. It is there on return, however
    /// long attaching is said to take.
    pub fn attach_to_host(
        &self,
        interface: &ResourceRef<InterfaceId>,
        host: &str,
        device_index: Option<u32>,
    ) -> Result<NetworkInterface, RuntimeError> {
        let controller = self.controller();
        let _one_at_a_time = lock(&self.hosts.placing);
        let (found, place) = self.place_in(interface, host, device_index)?;
        let no_such_host = || PlaceError::NoSuchHost(host.to_owned());
        let running = self.lab().get(host).ok_or_else(no_such_host)?;
        let device = self.hosts.open_in(controller, &running, &found, place.device_index)?;
        Ok(controller.attach(&found.id.into(), device, DevicePlace::HostFurther(place))?)
    }

    /// Begins to attach a network interface to a host. The device appears when the profile or a fault lets it; until then the
    /// interface is `attaching`.
    pub fn begin_attachment_to_host(
        &self,
        interface: &ResourceRef<InterfaceId>,
        host: &str,
        device_index: Option<u32>,
    ) -> Result<NetworkInterface, RuntimeError> {
        let (found, place) = self.place_in(interface, host, device_index)?;
        Ok(self.controller().begin_attachment(found.id, place)?)
    }

    /// Where an interface is to be attached, if it can be.
    fn place_in(
        &self,
        interface: &ResourceRef<InterfaceId>,
        host: &str,
        device_index: Option<u32>,
    ) -> Result<(NetworkInterface, Attachment), RuntimeError> {
        let controller = self.controller();
        let found = controller.interface(interface)?;
        let no_such_host = || PlaceError::NoSuchHost(host.to_owned());
        let primary = self.interface_of(host).ok_or_else(no_such_host)?;
        // A device is not made for an interface that cannot take it.
        if found.attachment.is_some() {
            return Err(refused(ModelError::Interface(InterfaceError::InUse {
                interface: found.id,
            })));
        }
        let subnet = controller.subnet(&found.subnet_id.into())?;
        let zone = controller
            .subnet(&controller.interface(&primary.into())?.subnet_id.into())?
            .availability_zone;
        let host = PlaceIn { host, zone: &zone };
        host.is_reached_from(&subnet.availability_zone)?;
        let own = controller.instance_of(primary).ok_or_else(no_such_host)?;
        let taken = controller.attached(own);
        let index = host.choose(device_index, |index| taken.contains_key(&index))?;
        Ok((found, Attachment::new(own, index)))
    }
}

fn refused(error: ModelError) -> RuntimeError {
    RuntimeError::Control(error.into())
}
