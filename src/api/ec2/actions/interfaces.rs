//! The actions on network interfaces and their addresses.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::attachments::by_attachment;
use super::ids::{id, reference, references};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use super::wanted::{
    Ipv4PrefixGiven, Ipv6AddressGiven, Ipv6PrefixGiven, PrivateAddress, Wanted, count, gives_ipv6, ipv4, ipv6, prefix,
};
use crate::api::ec2::action::{Action, Answer, Attribute, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::interface::{
    AddressRequest, CreateInterface, DeleteInterface, ModifyAttachment, ModifyInterface, SettingsChange,
    TrackingTimeouts,
};
use crate::model::mapping::{AssignAddresses, EditMappings, MappingEdit};
use crate::model::region::{ip_name, private_domain};
use crate::model::{AddressOrPrefix, InterfaceId, NetworkInterface};

/// Where filters look that are not called as their element is.
const PLACES: &[Place] = &[
    ("addresses.private-ip-address", "privateIpAddressesSet.privateIpAddress"),
    ("addresses.primary", "privateIpAddressesSet.primary"),
    (
        "addresses.association.public-ip",
        "privateIpAddressesSet.association.publicIp",
    ),
    (
        "addresses.association.owner-id",
        "privateIpAddressesSet.association.ipOwnerId",
    ),
    ("group-id", "groupSet.groupId"),
    ("group-name", "groupSet.groupName"),
    ("ipv6-addresses.ipv6-address", "ipv6AddressesSet.ipv6Address"),
    ("requester-id", "requesterId"),
    ("requester-managed", "requesterManaged"),
    ("attachment.device-index", "attachment.deviceIndex"),
    ("operator.managed", "operator.managed"),
    ("operator.principal", "operator.principal"),
];

/// The private name of an address ("Instance hostname type", EC2 user guide).
pub(super) fn private_name(call: &Call<'_>, address: Ipv4Addr) -> String {
    format!("{}.{}", ip_name(address), private_domain(&call.controller().region()))
}

/// The `privateIpAddressesSet` of an interface.
pub(super) fn private_addresses(call: &Call<'_>, interface: &NetworkInterface, of_instance: bool) -> Node {
    Node::list(interface.ipv4_addresses.iter().enumerate().map(|(number, address)| {
        Node::map([
            ("privateIpAddress", Node::text(address)),
            ("privateDnsName", Node::Text(private_name(call, *address))),
            ("primary", Node::text(number == 0)),
            (
                "association",
                super::addresses::association(call, interface, Some(*address), of_instance),
            ),
        ])
    }))
}

/// The `ipv6AddressesSet` of an interface.
pub(super) fn ipv6_addresses(interface: &NetworkInterface) -> Node {
    Node::list(interface.ipv6_addresses.iter().map(|address| {
        Node::map([
            ("ipv6Address", Node::text(address)),
            ("isPrimaryIpv6", Node::text(false)),
        ])
    }))
}

pub(super) fn prefixes(element: &'static str, nets: impl IntoIterator<Item = impl std::fmt::Display>) -> Node {
    Node::list(nets.into_iter().map(|net| Node::map([(element, Node::text(net))])))
}

/// How long connections of an interface are tracked; absent where it does not say so itself.
pub(super) fn tracking(interface: &NetworkInterface) -> Node {
    let Some(tracking) = interface.settings.tracking else {
        return Node::Absent;
    };
    Node::map([
        ("tcpEstablishedTimeout", Node::maybe(tracking.tcp_established)),
        ("udpStreamTimeout", Node::maybe(tracking.udp_stream)),
        ("udpTimeout", Node::maybe(tracking.udp)),
    ])
}

/// For how long connections are to be tracked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct TrackingSpecification {
    tcp_established_timeout: Option<i64>,
    udp_stream_timeout: Option<i64>,
    udp_timeout: Option<i64>,
}

impl TrackingSpecification {
    /// The change of the interface; a number that no field can hold is out of every range.
    pub(super) fn change(&self) -> Option<TrackingTimeouts> {
        let seconds = |given: Option<i64>| given.map(|given| u32::try_from(given).unwrap_or(0));
        Some(TrackingTimeouts {
            tcp_established: seconds(self.tcp_established_timeout),
            udp_stream: seconds(self.udp_stream_timeout),
            udp: seconds(self.udp_timeout),
        })
    }
}

/// The `NetworkInterface` of EC2's answers.
pub(super) fn interface(call: &Call<'_>, interface: &NetworkInterface) -> Node {
    let subnet = call.controller().subnet(&interface.subnet_id.into());
    let zone = subnet.map(|subnet| subnet.availability_zone).unwrap_or_default();
    let primary = interface.primary_ipv4();
    Node::map([
        ("networkInterfaceId", Node::text(interface.id)),
        ("subnetId", Node::text(interface.subnet_id)),
        ("vpcId", Node::text(interface.vpc_id)),
        ("availabilityZoneId", Node::Text(crate::model::region::zone_id(&zone))),
        ("availabilityZone", Node::Text(zone)),
        ("description", Node::text(&interface.description)),
        ("ownerId", Node::text(ACCOUNT)),
        ("requesterManaged", Node::text(interface.managed_by.is_some())),
        (
            "status",
            Node::text(if interface.attachment.is_some() || interface.managed_by.is_some() {
                "in-use"
            } else {
                "available"
            }),
        ),
        ("macAddress", Node::text(interface.mac_address)),
        ("privateIpAddress", Node::maybe(primary)),
        (
            "privateDnsName",
            Node::maybe(primary.map(|address| private_name(call, address))),
        ),
        ("sourceDestCheck", Node::text(interface.source_dest_check)),
        ("connectionTrackingConfiguration", tracking(interface)),
        ("groupSet", super::security_groups::group_set(call, interface)),
        ("attachment", super::instances::attachment(call, interface)),
        (
            "association",
            super::addresses::association(call, interface, None, false),
        ),
        ("privateIpAddressesSet", private_addresses(call, interface, false)),
        ("ipv6AddressesSet", ipv6_addresses(interface)),
        ("ipv4PrefixSet", prefixes("ipv4Prefix", &interface.ipv4_prefixes)),
        ("ipv6PrefixSet", prefixes("ipv6Prefix", &interface.ipv6_prefixes)),
        ("ipv6Native", Node::Absent),
        (
            "interfaceType",
            Node::text(match interface.managed_by {
                Some(_) => "nat_gateway",
                None => "interface",
            }),
        ),
        ("tagSet", tag_set(interface.name.as_deref(), &interface.tags)),
    ])
}

/// Lists network interfaces.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeNetworkInterfaces {
    #[serde(default)]
    network_interface_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeNetworkInterfaces {
    const NAME: &'static str = "DescribeNetworkInterfaces";
    const HELP: &'static str = "Lists network interfaces";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let all = if self.network_interface_id.is_empty() {
            call.controller().interfaces(None, usize::MAX, |_| true)
        } else {
            let named = self.network_interface_id.iter();
            named
                .map(|given| Ok(call.controller().interface(&reference(given)?)?))
                .collect::<Result<Vec<_>, Ec2Error>>()?
        };
        let selection = Selection {
            ids: Some(("NetworkInterfaceIds", &self.network_interface_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let items = all.iter().map(|one| interface(call, one));
        let page = selection.of(call, items, "networkInterfaceId", PLACES)?;
        Ok(vec![
            ("networkInterfaceSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Makes a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateNetworkInterface {
    subnet_id: String,
    description: Option<String>,
    private_ip_address: Option<String>,
    #[serde(default)]
    private_ip_addresses: Vec<PrivateAddress>,
    secondary_private_ip_address_count: Option<i64>,
    ipv6_address_count: Option<i64>,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6AddressGiven>,
    ipv4_prefix_count: Option<i64>,
    #[serde(default, rename = "Ipv4Prefix")]
    ipv4_prefixes: Vec<Ipv4PrefixGiven>,
    ipv6_prefix_count: Option<i64>,
    #[serde(default, rename = "Ipv6Prefix")]
    ipv6_prefixes: Vec<Ipv6PrefixGiven>,
    #[serde(default)]
    security_group_id: Vec<String>,
    interface_type: Option<String>,
    connection_tracking_specification: Option<TrackingSpecification>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateNetworkInterface {
    const NAME: &'static str = "CreateNetworkInterface";
    const HELP: &'static str = "Makes a network interface with its addresses";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.interface_type.as_deref().is_some_and(|kind| kind != "interface") {
            return Err(Ec2Error::unsupported("InterfaceType"));
        }
        let given = Given::of(&self.tag_specification, "network-interface")?;
        let mut spec = CreateInterface::new(reference(&self.subnet_id)?);
        spec.name = given.free_name(|name| call.controller().interface(&ResourceRef::new(name)).is_ok());
        spec.tags = given.tags;
        spec.addresses = Wanted {
            primary: self.private_ip_address.as_deref(),
            given: &self.private_ip_addresses,
            count: self.secondary_private_ip_address_count,
            ipv6_count: self.ipv6_address_count,
            ipv6: &self.ipv6_addresses,
            ipv4_prefix_count: self.ipv4_prefix_count,
            ipv4_prefixes: &self.ipv4_prefixes,
            ipv6_prefix_count: self.ipv6_prefix_count,
            ipv6_prefixes: &self.ipv6_prefixes,
            ipv6_by_itself: gives_ipv6(call, &self.subnet_id),
        }
        .addresses()?;
        spec.description = self.description.unwrap_or_default();
        spec.settings.tracking = self
            .connection_tracking_specification
            .map(|specification| specification.change());
        spec.groups = references(&self.security_group_id)?;
        let made = call.execute(spec)?;
        Ok(vec![
            ("networkInterface", interface(call, &made)),
            ("clientToken", Node::maybe(self.client_token.as_ref())),
        ])
    }
}

/// Deletes a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteNetworkInterface {
    network_interface_id: String,
}

impl Action for DeleteNetworkInterface {
    const NAME: &'static str = "DeleteNetworkInterface";
    const HELP: &'static str = "Deletes a network interface that is not attached";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(DeleteInterface(reference(&self.network_interface_id)?))?;
        done()
    }
}

/// Changes one attribute of a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyNetworkInterfaceAttribute {
    network_interface_id: String,
    source_dest_check: Option<Attribute<bool>>,
    description: Option<Attribute<String>>,
    #[serde(default)]
    security_group_id: Vec<String>,
    attachment: Option<AttachmentChange>,
    connection_tracking_specification: Option<TrackingSpecification>,
}

/// What changes about an attachment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct AttachmentChange {
    attachment_id: String,
    delete_on_termination: bool,
}

impl Action for ModifyNetworkInterfaceAttribute {
    const NAME: &'static str = "ModifyNetworkInterfaceAttribute";
    const HELP: &'static str = "Changes one attribute of a network interface: its check, its description, its security groups, or \
                                whether it goes with its instance";

    fn run(self, call: &Call<'_>) -> Answer {
        let groups = references(&self.security_group_id)?;
        let change = ModifyInterface {
            source_dest_check: self.source_dest_check.map(|given| given.value),
            groups: (!groups.is_empty()).then_some(groups),
            description: self.description.map(|given| given.value),
            settings: SettingsChange {
                tracking: self
                    .connection_tracking_specification
                    .map(|specification| specification.change()),
                ..SettingsChange::default()
            },
            ..ModifyInterface::new(reference(&self.network_interface_id)?)
        };
        let given = [
            change.source_dest_check.is_some(),
            change.description.is_some(),
            change.groups.is_some(),
            self.attachment.is_some(),
            change.settings.tracking.is_some(),
        ];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(Ec2Error::combination("No attributes specified.")),
            1 => {}
            _ => return Err(Ec2Error::combination("Fields for multiple attribute types specified")),
        }
        let Some(attachment) = self.attachment else {
            call.execute(change)?;
            return done();
        };
        let interface: InterfaceId = id(&self.network_interface_id)?;
        if by_attachment(call, &attachment.attachment_id)?.id != interface {
            return Err(Ec2Error::new(
                "InvalidAttachmentID.NotFound",
                format!("{} is no attachment of {interface}", printed(&attachment.attachment_id)),
            ));
        }
        call.execute(ModifyAttachment {
            interface: interface.into(),
            state: None,
            delete_on_termination: Some(attachment.delete_on_termination),
        })?;
        done()
    }
}

/// Assigns IPv4 addresses or prefixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssignPrivateIpAddresses {
    network_interface_id: String,
    #[serde(default)]
    private_ip_address: Vec<String>,
    secondary_private_ip_address_count: Option<i64>,
    #[serde(default)]
    ipv4_prefix: Vec<String>,
    ipv4_prefix_count: Option<i64>,
    allow_reassignment: Option<bool>,
}

impl Action for AssignPrivateIpAddresses {
    const NAME: &'static str = "AssignPrivateIpAddresses";
    const HELP: &'static str = "Assigns or moves secondary IPv4 addresses and prefixes";

    fn run(self, call: &Call<'_>) -> Answer {
        let interface: InterfaceId = id(&self.network_interface_id)?;
        let addresses = self.private_ip_address.iter().map(|text| ipv4(text));
        let prefixes = self.ipv4_prefix.iter().map(|text| prefix(text));
        let wanted = [
            (exactly(addresses)?, "PrivateIpAddresses"),
            (
                any(
                    self.secondary_private_ip_address_count,
                    "SecondaryPrivateIpAddressCount",
                    AddressRequest::AnyIpv4,
                )?,
                "SecondaryPrivateIpAddressCount",
            ),
            (exactly(prefixes)?, "Ipv4Prefixes"),
            (
                any(self.ipv4_prefix_count, "Ipv4PrefixCount", AddressRequest::AnyIpv4Prefix)?,
                "Ipv4PrefixCount",
            ),
        ];
        let assigned = call.execute(AssignAddresses {
            interface: interface.into(),
            addresses: only_one(wanted)?,
            move_allowed: self.allow_reassignment == Some(true),
        })?;
        let (single, prefixes): (Vec<&AddressOrPrefix>, Vec<&AddressOrPrefix>) = assigned
            .addresses
            .iter()
            .partition(|block: &&AddressOrPrefix| !block.is_prefix());
        let single = single.iter().filter_map(|block| block.address());
        let single = single.map(|address| Node::map([("privateIpAddress", Node::text(address))]));
        let prefixes = prefixes
            .iter()
            .map(|block| Node::map([("ipv4Prefix", Node::text(block.net()))]));
        Ok(vec![
            ("networkInterfaceId", Node::text(interface)),
            ("assignedPrivateIpAddressesSet", Node::list(single)),
            ("assignedIpv4PrefixSet", Node::list(prefixes)),
            ("return", Node::text(true)),
        ])
    }
}

fn exactly(blocks: impl Iterator<Item = Result<AddressOrPrefix, Ec2Error>>) -> Result<Vec<AddressRequest>, Ec2Error> {
    blocks.map(|block| block.map(AddressRequest::Exactly)).collect()
}

fn any(given: Option<i64>, parameter: &str, one: AddressRequest) -> Result<Vec<AddressRequest>, Ec2Error> {
    Ok(vec![one; count(given, parameter)?])
}

/// The one parameter that says what is wanted.
fn only_one<const N: usize>(wanted: [(Vec<AddressRequest>, &str); N]) -> Result<Vec<AddressRequest>, Ec2Error> {
    let first = wanted[0].1;
    let mut given = wanted.into_iter().filter(|(requests, _)| !requests.is_empty());
    match (given.next(), given.next()) {
        (None, _) => Err(Ec2Error::missing(first)),
        (Some((requests, _)), None) => Ok(requests),
        (Some((_, one)), Some((_, other))) => Err(Ec2Error::combination(format!(
            "The parameter {other} cannot be used with the parameter {one}"
        ))),
    }
}

/// Unassigns IPv4 addresses or prefixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct UnassignPrivateIpAddresses {
    network_interface_id: String,
    #[serde(default)]
    private_ip_address: Vec<String>,
    #[serde(default)]
    ipv4_prefix: Vec<String>,
}

impl Action for UnassignPrivateIpAddresses {
    const NAME: &'static str = "UnassignPrivateIpAddresses";
    const HELP: &'static str = "Unassigns secondary IPv4 addresses and prefixes";

    fn run(self, call: &Call<'_>) -> Answer {
        let addresses = self.private_ip_address.iter().map(|text| ipv4(text));
        let blocks = addresses.chain(self.ipv4_prefix.iter().map(|text| prefix(text)));
        unassign(call, &self.network_interface_id, blocks, "PrivateIpAddresses")?;
        done()
    }
}

/// Takes blocks from one interface; all of them or none. Returns them.
fn unassign(
    call: &Call<'_>,
    interface: &str,
    blocks: impl Iterator<Item = Result<AddressOrPrefix, Ec2Error>>,
    parameter: &str,
) -> Result<Vec<AddressOrPrefix>, Ec2Error> {
    let interface: InterfaceId = id(interface)?;
    let blocks = blocks.collect::<Result<Vec<_>, Ec2Error>>()?;
    if blocks.is_empty() {
        return Err(Ec2Error::missing(parameter));
    }
    let edits = blocks.iter().map(|block| MappingEdit::Unassign {
        interface: interface.into(),
        address: *block,
    });
    call.execute(EditMappings(edits.collect()))?;
    Ok(blocks)
}

/// Assigns IPv6 addresses or prefixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssignIpv6Addresses {
    network_interface_id: String,
    #[serde(default)]
    ipv6_addresses: Vec<String>,
    ipv6_address_count: Option<i64>,
    #[serde(default)]
    ipv6_prefix: Vec<String>,
    ipv6_prefix_count: Option<i64>,
}

impl Action for AssignIpv6Addresses {
    const NAME: &'static str = "AssignIpv6Addresses";
    const HELP: &'static str = "Assigns IPv6 addresses and prefixes";

    fn run(self, call: &Call<'_>) -> Answer {
        let interface: InterfaceId = id(&self.network_interface_id)?;
        let addresses = self.ipv6_addresses.iter().map(|text| ipv6(text));
        let prefixes = self.ipv6_prefix.iter().map(|text| prefix(text));
        let wanted = [
            (exactly(addresses)?, "Ipv6Addresses"),
            (
                any(self.ipv6_address_count, "Ipv6AddressCount", AddressRequest::AnyIpv6)?,
                "Ipv6AddressCount",
            ),
            (exactly(prefixes)?, "Ipv6Prefixes"),
            (
                any(self.ipv6_prefix_count, "Ipv6PrefixCount", AddressRequest::AnyIpv6Prefix)?,
                "Ipv6PrefixCount",
            ),
        ];
        let assigned = call.execute(AssignAddresses {
            interface: interface.into(),
            addresses: only_one(wanted)?,
            move_allowed: false,
        })?;
        let (single, prefixes): (Vec<&AddressOrPrefix>, Vec<&AddressOrPrefix>) = assigned
            .addresses
            .iter()
            .partition(|block: &&AddressOrPrefix| !block.is_prefix());
        Ok(vec![
            ("networkInterfaceId", Node::text(interface)),
            (
                "assignedIpv6Addresses",
                Node::texts(single.iter().filter_map(|block| block.address())),
            ),
            (
                "assignedIpv6PrefixSet",
                Node::texts(prefixes.iter().map(|block| block.net())),
            ),
        ])
    }
}

/// Unassigns IPv6 addresses or prefixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct UnassignIpv6Addresses {
    network_interface_id: String,
    #[serde(default)]
    ipv6_addresses: Vec<String>,
    #[serde(default)]
    ipv6_prefix: Vec<String>,
}

impl Action for UnassignIpv6Addresses {
    const NAME: &'static str = "UnassignIpv6Addresses";
    const HELP: &'static str = "Unassigns IPv6 addresses and prefixes";

    fn run(self, call: &Call<'_>) -> Answer {
        let addresses = self.ipv6_addresses.iter().map(|text| ipv6(text));
        let blocks = addresses.chain(self.ipv6_prefix.iter().map(|text| prefix(text)));
        let gone = unassign(call, &self.network_interface_id, blocks, "Ipv6Addresses")?;
        let (single, prefixes): (Vec<&AddressOrPrefix>, Vec<&AddressOrPrefix>) =
            gone.iter().partition(|block: &&AddressOrPrefix| !block.is_prefix());
        Ok(vec![
            ("networkInterfaceId", Node::text(&self.network_interface_id)),
            (
                "unassignedIpv6Addresses",
                Node::texts(single.iter().filter_map(|block| block.address())),
            ),
            (
                "unassignedIpv6PrefixSet",
                Node::texts(prefixes.iter().map(|block| block.net())),
            ),
        ])
    }
}
