//! What the Controller needs of a switch: to make a device a port, to take it away, to announce a move, to report.

use std::net::IpAddr;

use crate::datapath::{Answered, DropReason, SubnetIndex};
use crate::mapping::{InterfaceIndex, PortId};
use crate::switch::port::{MemoryPort, PortDevice, TapPort};

/// A device that is open and waits to become a port. Opening is the caller's business: it may need another namespace,
/// privileges or time.
#[derive(Debug)]
pub enum OpenedDevice {
    /// A device with a descriptor.
    Device(PortDevice),
    /// A cable in memory, for a switch that is driven step by step.
    Memory(MemoryPort),
}

impl OpenedDevice {
    /// What people call it.
    pub fn label(&self) -> String {
        match self {
            Self::Device(device) => device.name(),
            Self::Memory(_) => "memory".to_owned(),
        }
    }
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

/// A switch, as the Controller sees it. None of this waits for frames.
pub trait Ports: Send + Sync {
    /// Makes the device a port of the interface. The error is a sentence for the user.
    fn attach(&self, interface: InterfaceIndex, device: OpenedDevice) -> Result<PortId, String>;

    /// Stops reading from the port and closes its device. A port that is gone already is no error.
    fn detach(&self, port: PortId);

    /// Tells every port of the subnet that the address is now at the interface.
    fn announce(&self, subnet: SubnetIndex, address: IpAddr, owner: InterfaceIndex);

    /// Every port with its counters.
    fn reports(&self) -> Vec<PortReport>;
}

/// The counters of one port since it was attached.
#[derive(Debug, Clone)]
pub struct PortReport {
    /// The port.
    pub port: PortId,
    /// Its interface.
    pub interface: InterfaceIndex,
    /// What people call the device.
    pub device: String,
    /// Frames that came from the host.
    pub received_frames: u64,
    /// Their bytes, without offload headers.
    pub received_bytes: u64,
    /// Frames that went to the host.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Answers of the fabric to the host, by kind; those that never occurred may be left out.
    pub answered: Vec<(Answered, u64)>,
    /// Frames from the host that went nowhere, by reason; those that never occurred may be left out.
    pub dropped: Vec<(DropReason, u64)>,
    /// Further counters of the port, by name.
    pub other: Vec<(&'static str, u64)>,
}
