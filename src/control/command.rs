//! Everything that can be asked of the Controller, and what it answers.

use std::collections::HashSet;

use super::ports::OpenedDevice;
use crate::model::dhcp_options::{CreateDhcpOptions, DhcpOptionSet};
use crate::model::fault::{Fault, FaultSpec};
use crate::model::interface::{AddressRequest, CreateInterface, ModifyInterface};
use crate::model::network::MappingEdit;
use crate::model::route_table::{CreateRouteTable, ModifyRouteTable, RouteEdit};
use crate::model::subnet::{CreateSubnet, ModifySubnet};
use crate::model::vpc::{CreateVpc, ModifyVpc};
use crate::model::{
    AddressOrPrefix, DhcpOptionsId, FaultId, HostPlace, InterfaceId, MappingChange, NetworkInterface, ResourceRef,
    RouteTable, RouteTableId, Subnet, SubnetId, Vpc, VpcId,
};

/// A change that somebody wants.
#[derive(Debug)]
pub enum Command {
    /// Makes a VPC. Answer: [`Outcome::Vpc`].
    CreateVpc(CreateVpc),
    /// Changes a VPC. Answer: [`Outcome::Vpc`].
    ModifyVpc(ResourceRef<VpcId>, ModifyVpc),
    /// Deletes a VPC without subnets. Answer: [`Outcome::Vpc`], as it was.
    DeleteVpc(ResourceRef<VpcId>),
    /// Makes a subnet. Answer: [`Outcome::Subnet`].
    CreateSubnet(CreateSubnet),
    /// Changes a subnet. Answer: [`Outcome::Subnet`].
    ModifySubnet(ResourceRef<SubnetId>, ModifySubnet),
    /// Deletes a subnet without interfaces. Answer: [`Outcome::Subnet`], as it was.
    DeleteSubnet(ResourceRef<SubnetId>),
    /// Makes a network interface with its addresses. Answer: [`Outcome::Interface`].
    CreateInterface(CreateInterface),
    /// Changes a network interface. Answer: [`Outcome::Interface`].
    ModifyInterface(ResourceRef<InterfaceId>, ModifyInterface),
    /// Deletes a detached network interface and frees its addresses. Answer: [`Outcome::Interface`], as it was.
    DeleteInterface(ResourceRef<InterfaceId>),
    /// Makes an open device the interface's port. Answer: [`Outcome::Interface`].
    AttachInterface {
        /// The interface, which must be detached.
        interface: ResourceRef<InterfaceId>,
        /// The device.
        device: OpenedDevice,
        /// Where it is, if it is one of an instance of the lab.
        host: Option<HostPlace>,
    },
    /// Takes the port away and closes the device. Answer: [`Outcome::Interface`].
    DetachInterface(ResourceRef<InterfaceId>),
    /// Assigns addresses and prefixes, given or to be chosen; all of them or none. Answer: [`Outcome::Assigned`].
    AssignAddresses {
        /// The interface.
        interface: ResourceRef<InterfaceId>,
        /// What it shall have, in order.
        addresses: Vec<AddressRequest>,
        /// Whether addresses may be taken from other interfaces of the subnet.
        move_allowed: bool,
    },
    /// Assigns, moves and unassigns, in order; all of it or nothing. Answer: [`Outcome::Edited`].
    EditMappings(Vec<MappingEdit>),
    /// Lets something go wrong. Answer: [`Outcome::Fault`].
    BeginFault(Box<FaultSpec>),
    /// Ends a fault. Answer: [`Outcome::Fault`], as it was.
    CancelFault(FaultId),
    /// Ends all faults. Answer: [`Outcome::Faults`], as they were.
    CancelAllFaults,
    /// Changes route tables or DHCP option sets.
    Resource(ResourceCommand),
}

/// A change of what a VPC has beside subnets and interfaces.
#[derive(Debug)]
pub enum ResourceCommand {
    /// Makes a route table. Answer: [`Outcome::RouteTable`].
    CreateRouteTable(CreateRouteTable),
    /// Changes a route table. Answer: [`Outcome::RouteTable`].
    ModifyRouteTable(ResourceRef<RouteTableId>, ModifyRouteTable),
    /// Deletes a route table that leads nobody. Answer: [`Outcome::RouteTable`], as it was.
    DeleteRouteTable(ResourceRef<RouteTableId>),
    /// Gives a subnet a table of its own. Answer: [`Outcome::RouteTable`].
    AssociateRouteTable {
        /// The table.
        table: ResourceRef<RouteTableId>,
        /// The subnet.
        subnet: ResourceRef<SubnetId>,
    },
    /// Gives a subnet back to the main table. Answer: [`Outcome::RouteTable`], the table that it had.
    DisassociateRouteTable {
        /// The table.
        table: ResourceRef<RouteTableId>,
        /// The subnet.
        subnet: ResourceRef<SubnetId>,
    },
    /// Edits one route. Answer: [`Outcome::RouteTable`].
    EditRoute(ResourceRef<RouteTableId>, RouteEdit),
    /// Makes a DHCP option set. Answer: [`Outcome::DhcpOptions`].
    CreateDhcpOptions(CreateDhcpOptions),
    /// Deletes a DHCP option set that no VPC has. Answer: [`Outcome::DhcpOptions`], as it was.
    DeleteDhcpOptions(ResourceRef<DhcpOptionsId>),
}

/// What became of a command.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A VPC, as it is now or as it was when it was deleted.
    Vpc(Vpc),
    /// A subnet, likewise.
    Subnet(Subnet),
    /// A network interface, likewise.
    Interface(Box<NetworkInterface>),
    /// The addresses that were asked for are the interface's.
    Assigned {
        /// The interface.
        interface: InterfaceId,
        /// What was asked for, or chosen, in order. Those that the interface had before are included.
        addresses: Vec<AddressOrPrefix>,
        /// What that changed.
        summary: EditSummary,
    },
    /// A route table, as it is now or as it was when it was deleted.
    RouteTable(Box<RouteTable>),
    /// A DHCP option set, likewise.
    DhcpOptions(Box<DhcpOptionSet>),
    /// The mappings were edited.
    Edited(EditSummary),
    /// A fault that began or ended.
    Fault(Box<Fault>),
    /// Faults that ended.
    Faults(Vec<Fault>),
}

/// What a list of edits did in sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditSummary {
    /// Addresses and prefixes that had no owner before.
    pub assigned: usize,
    /// Those that have another owner than before.
    pub moved: usize,
    /// Those that have no owner any more.
    pub unassigned: usize,
    /// Interfaces that gained or lost something.
    pub interfaces: usize,
}

impl EditSummary {
    /// Counts changes.
    pub fn of(changes: &[MappingChange]) -> Self {
        let mut summary = Self::default();
        let mut interfaces: HashSet<InterfaceId, foldhash::fast::RandomState> = HashSet::default();
        let mut last = None;
        for change in changes {
            match (change.from, change.to) {
                (None, _) => summary.assigned += 1,
                (Some(_), Some(_)) => summary.moved += 1,
                (Some(_), None) => summary.unassigned += 1,
            }
            // Long lists are mostly about one interface after the other.
            for interface in [change.from, change.to].into_iter().flatten() {
                if last != Some(interface) {
                    interfaces.insert(interface);
                    last = Some(interface);
                }
            }
        }
        summary.interfaces = interfaces.len();
        summary
    }
}
