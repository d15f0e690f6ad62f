//! What the Controller needs of a switch: attach a device as a port, detach it, announce a move, report counters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::datapath::Moved;
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::Attachment;
use crate::switch::inprocess::InProcessSwitch;
use crate::switch::observe::{Observation, Observers, Wanted};
use crate::switch::port::{MemoryPort, PortDevice, TapPort};
use crate::switch::{AttachOptions, PortStatus, Switch};

/// An open device that waits to become a port. The caller opens it: that may need another namespace, privileges or
/// time.
#[derive(Debug)]
pub enum OpenedDevice {
    /// A device with a file descriptor.
    Device(PortDevice),
    /// A port in memory, for a switch that is driven step by step.
    Memory(MemoryPort),
}

impl OpenedDevice {
    /// Its name for messages.
    pub fn label(&self) -> String {
        match self {
            Self::Device(device) => device.name(),
            Self::Memory(_) => "memory".to_owned(),
        }
    }
}

/// The port of an attached interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPort {
    /// Its number in the switch.
    pub port: PortId,
    /// The device, for display: the name of the TAP, or where the descriptor came from.
    pub device: String,
    /// Whether the device is in a host of the lab.
    pub in_host: bool,
}

/// Where an opened device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DevicePlace {
    /// Outside of the lab. The interface is the primary one of an instance without a host.
    Outside,
    /// In a host of the lab, as its `eth0`.
    HostPrimary,
    /// In a host of the lab, as a further device.
    HostFurther(Attachment),
}

impl From<PortDevice> for OpenedDevice {
    fn from(device: PortDevice) -> Self {
        Self::Device(device)
    }
}

impl From<TapPort> for OpenedDevice {
    fn from(tap: TapPort) -> Self {
        Self::Device(PortDevice::Tap(tap))
    }
}

impl From<MemoryPort> for OpenedDevice {
    fn from(port: MemoryPort) -> Self {
        Self::Memory(port)
    }
}

/// A switch, as the Controller needs it. No method waits for frames.
pub trait Ports: Send + Sync {
    /// Makes the device a port of the interface. `publish` is called with the port's number before the first frame is
    /// read from it, so that not even the host's first solicitation is lost. The error is a sentence for the user.
    fn attach(
        &self,
        interface: InterfaceIndex,
        device: OpenedDevice,
        publish: &mut dyn FnMut(PortId),
    ) -> Result<PortId, String>;

    /// Stops reading from the port and returns its device, if it has one to be closed: closing takes a while, so it is
    /// done without the Controller's lock. A port that is gone already is no error.
    fn detach(&self, port: PortId) -> Option<PortDevice>;

    /// Has the owner of each address announced to the ports of its subnet, soon; the data path has the new owner
    /// already.
    fn announce(&self, moved: Vec<Moved>);

    /// Sets the carrier of a port, as its host sees it. A port that is gone is no error.
    fn set_carrier(&self, port: PortId, up: bool) -> Result<(), String> {
        let _ = (port, up);
        Ok(())
    }

    /// Begins to observe frames and their verdicts. Without a switch there are none.
    fn observe(&self, wanted: Wanted) -> Observation {
        Arc::new(Observers::default()).observe(wanted)
    }

    /// Bytes of frames that wait for observers, and the number of observers.
    fn observed(&self) -> (usize, usize) {
        (0, 0)
    }

    /// The switch's clock.
    fn now(&self) -> Duration;

    /// Every port with its counters.
    fn reports(&self) -> Vec<PortStatus>;
}

impl Ports for Switch {
    fn attach(
        &self,
        interface: InterfaceIndex,
        device: OpenedDevice,
        publish: &mut dyn FnMut(PortId),
    ) -> Result<PortId, String> {
        match device {
            OpenedDevice::Device(device) => {
                // Frames are merged only towards devices that accept merged ones, so the default suits plain ones too.
                let attached = Self::attach(self, interface, device, AttachOptions::default(), publish);
                attached.map_err(|error| error.to_string())
            }
            OpenedDevice::Memory(_) => {
                Err("a cable in memory needs a switch that is driven step by step, and this one runs in threads".into())
            }
        }
    }

    fn detach(&self, port: PortId) -> Option<PortDevice> {
        Self::detach(self, port).map(|(device, _)| device)
    }

    fn announce(&self, moved: Vec<Moved>) {
        Self::announce(self, moved);
    }

    fn set_carrier(&self, port: PortId, up: bool) -> Result<(), String> {
        Self::set_carrier(self, port, up).map_or(Ok(()), |set| set.map_err(|error| error.to_string()))
    }

    fn observe(&self, wanted: Wanted) -> Observation {
        Self::observe(self, wanted)
    }

    fn observed(&self) -> (usize, usize) {
        Self::observed(self)
    }

    fn now(&self) -> Duration {
        Self::now(self)
    }

    fn reports(&self) -> Vec<PortStatus> {
        self.ports()
    }
}

/// A switch that is driven step by step, shared with its driver.
impl Ports for Mutex<InProcessSwitch> {
    fn attach(
        &self,
        interface: InterfaceIndex,
        device: OpenedDevice,
        publish: &mut dyn FnMut(PortId),
    ) -> Result<PortId, String> {
        match device {
            OpenedDevice::Memory(cable) => {
                let mut switch = self.lock().unwrap_or_else(PoisonError::into_inner);
                let port = switch.attach(interface, cable);
                publish(port);
                Ok(port)
            }
            OpenedDevice::Device(_) => Err("this switch is driven step by step and takes cables in memory only".into()),
        }
    }

    fn detach(&self, port: PortId) -> Option<PortDevice> {
        self.lock().unwrap_or_else(PoisonError::into_inner).detach(port);
        None
    }

    fn announce(&self, moved: Vec<Moved>) {
        let mut switch = self.lock().unwrap_or_else(PoisonError::into_inner);
        for moved in moved {
            switch.announce(moved);
        }
    }

    fn observe(&self, wanted: Wanted) -> Observation {
        self.lock().unwrap_or_else(PoisonError::into_inner).observe(wanted)
    }

    /// The driver gives the time with each step; an explanation uses the time of the start.
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    /// The driver reads the counters of each port itself.
    fn reports(&self) -> Vec<PortStatus> {
        Vec::new()
    }
}
