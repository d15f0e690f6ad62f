//! The actions on NAT gateways.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::ids::{id, reference, references};
use super::render::tag_set;
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceRef;
use crate::model::nat_gateway::{
    AddNatAddresses, Connectivity, CreateNatGateway as Create, NatGateway, NatGatewayError, NatState,
};
use crate::model::{AddressAssociationId, NatGatewayId};

const PLACES: &[Place] = &[];

/// Addresses of a NAT gateway drain for 350 seconds where the request says nothing (EC2 API,
/// DisassociateNatGatewayAddress).
const DRAINS: u32 = 350;

/// The `NatGatewayAddress` items of a gateway.
fn addresses(gateway: &NatGateway) -> Node {
    let items = gateway.addresses.iter().enumerate().map(|(at, address)| {
        let allocation = address.allocation;
        let status = match (gateway.state, address.drains, allocation) {
            (NatState::Pending, _, Some(_)) => "associating",
            (NatState::Pending, _, None) => "assigning",
            (NatState::Deleting, ..) | (_, true, _) => match allocation {
                Some(_) => "disassociating",
                None => "unassigning",
            },
            _ => "succeeded",
        };
        Node::map([
            ("allocationId", Node::maybe(allocation.map(|(id, ..)| id))),
            (
                "associationId",
                Node::maybe(allocation.map(|(_, association, _)| association)),
            ),
            ("networkInterfaceId", Node::maybe(gateway.interface_id)),
            ("privateIp", Node::text(address.private_ip)),
            ("publicIp", Node::maybe(allocation.map(|(.., public)| public))),
            ("isPrimary", Node::text(at == 0)),
            ("status", Node::text(status)),
        ])
    });
    Node::list(items)
}

fn timestamp(at: SystemTime) -> Node {
    Node::text(humantime::format_rfc3339_millis(at))
}

/// The `NatGateway` of EC2's answers.
fn gateway(gateway: &NatGateway) -> Node {
    let failure = gateway.failure.as_ref();
    Node::map([
        ("natGatewayId", Node::text(gateway.id)),
        ("vpcId", Node::text(gateway.vpc_id)),
        ("subnetId", Node::text(gateway.subnet_id)),
        ("state", Node::text(gateway.state.name())),
        ("connectivityType", Node::text(gateway.connectivity.name())),
        ("availabilityMode", Node::text("zonal")),
        ("createTime", timestamp(gateway.created_at)),
        ("deleteTime", gateway.deleted_at.map_or(Node::Absent, timestamp)),
        ("failureCode", Node::maybe(failure.map(|failure| &failure.code))),
        ("failureMessage", Node::maybe(failure.map(|failure| &failure.message))),
        ("natGatewayAddressSet", addresses(gateway)),
        ("tagSet", tag_set(gateway.name.as_deref(), &gateway.tags)),
    ])
}

fn private_ips(texts: &[String]) -> Result<Vec<Ipv4Addr>, Ec2Error> {
    let parsed = texts.iter().map(|text| {
        let message = || format!("Invalid IPv4 address: '{}'", printed(text));
        text.parse()
            .map_err(|_| Ec2Error::new("InvalidParameterValue", message()))
    });
    parsed.collect()
}

fn count(given: Option<i64>) -> Result<usize, Ec2Error> {
    match given.map(usize::try_from) {
        None => Ok(0),
        Some(Ok(count)) if (1..=31).contains(&count) => Ok(count),
        Some(_) => Err(Ec2Error::invalid_value("The number of private addresses is 1 to 31")),
    }
}

/// Makes a NAT gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateNatGateway {
    availability_mode: Option<String>,
    subnet_id: Option<String>,
    allocation_id: Option<String>,
    connectivity_type: Option<String>,
    private_ip_address: Option<String>,
    #[serde(default)]
    secondary_allocation_id: Vec<String>,
    #[serde(default)]
    secondary_private_ip_address: Vec<String>,
    secondary_private_ip_address_count: Option<i64>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateNatGateway {
    const NAME: &'static str = "CreateNatGateway";
    const HELP: &'static str = "Makes a zonal NAT gateway, public or private";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.availability_mode.as_deref().is_some_and(|mode| mode != "zonal") {
            return Err(Ec2Error::unsupported("AvailabilityMode"));
        }
        let connectivity = match self.connectivity_type.as_deref() {
            None | Some("public") => Connectivity::Public,
            Some("private") => Connectivity::Private,
            Some(_) => return Err(Ec2Error::invalid_value("ConnectivityType is public or private")),
        };
        let subnet = self.subnet_id.as_deref().ok_or_else(|| Ec2Error::missing("SubnetId"))?;
        let allocations: Vec<String> = self
            .allocation_id
            .into_iter()
            .chain(self.secondary_allocation_id)
            .collect();
        let primary: Vec<String> = self.private_ip_address.into_iter().collect();
        if primary.is_empty() && !self.secondary_private_ip_address.is_empty() {
            return Err(Ec2Error::missing("PrivateIpAddress"));
        }
        let private: Vec<String> = primary.into_iter().chain(self.secondary_private_ip_address).collect();
        let given = Given::of(&self.tag_specification, "natgateway")?;
        let made = call.controller().begin_nat_gateway(Create {
            name: given.free_name(|name| call.controller().nat_gateway(&ResourceRef::new(name)).is_ok()),
            connectivity,
            allocations: references(&allocations)?,
            private_ips: private_ips(&private)?,
            further: count(self.secondary_private_ip_address_count)?,
            tags: given.tags,
            client_token: self.client_token.clone(),
            may_fail: true,
            ..Create::new(reference(subnet)?, SystemTime::now())
        })?;
        Ok(vec![
            ("natGateway", gateway(&made)),
            ("clientToken", Node::maybe(self.client_token.as_ref())),
        ])
    }
}

/// Deletes a NAT gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteNatGateway {
    nat_gateway_id: String,
}

impl Action for DeleteNatGateway {
    const NAME: &'static str = "DeleteNatGateway";
    const HELP: &'static str = "Deletes a NAT gateway, which is listed for an hour";

    fn run(self, call: &Call<'_>) -> Answer {
        let deleted = call.controller().end_nat_gateway(reference(&self.nat_gateway_id)?)?;
        Ok(vec![("natGatewayId", Node::text(deleted.id))])
    }
}

/// Lists NAT gateways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeNatGateways {
    #[serde(default)]
    nat_gateway_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeNatGateways {
    const NAME: &'static str = "DescribeNatGateways";
    const HELP: &'static str = "Lists NAT gateways, deleted ones included for an hour";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.nat_gateway_id {
            call.controller().nat_gateway(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("NatGatewayIds", &self.nat_gateway_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().nat_gateways();
        let page = selection.of(call, all.iter().map(gateway), "natGatewayId", PLACES)?;
        Ok(vec![
            ("natGatewaySet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

fn with_addresses(changed: &NatGateway) -> Answer {
    Ok(vec![
        ("natGatewayId", Node::text(changed.id)),
        ("natGatewayAddressSet", addresses(changed)),
    ])
}

/// Gives a public NAT gateway further Elastic IP addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateNatGatewayAddress {
    nat_gateway_id: String,
    allocation_id: Vec<String>,
    #[serde(default)]
    private_ip_address: Vec<String>,
}

impl Action for AssociateNatGatewayAddress {
    const NAME: &'static str = "AssociateNatGatewayAddress";
    const HELP: &'static str = "Gives a public NAT gateway further Elastic IP addresses";

    fn run(self, call: &Call<'_>) -> Answer {
        let changed = call.execute(AddNatAddresses {
            gateway: reference(&self.nat_gateway_id)?,
            allocations: references(&self.allocation_id)?,
            private_ips: private_ips(&self.private_ip_address)?,
            further: 0,
        })?;
        with_addresses(&changed)
    }
}

/// Gives a private NAT gateway further addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssignPrivateNatGatewayAddress {
    nat_gateway_id: String,
    #[serde(default)]
    private_ip_address: Vec<String>,
    private_ip_address_count: Option<i64>,
}

impl Action for AssignPrivateNatGatewayAddress {
    const NAME: &'static str = "AssignPrivateNatGatewayAddress";
    const HELP: &'static str = "Gives a private NAT gateway further addresses";

    fn run(self, call: &Call<'_>) -> Answer {
        let changed = call.execute(AddNatAddresses {
            gateway: reference(&self.nat_gateway_id)?,
            allocations: Vec::new(),
            private_ips: private_ips(&self.private_ip_address)?,
            further: count(self.private_ip_address_count)?,
        })?;
        with_addresses(&changed)
    }
}

/// Lets addresses drain, and takes them away.
fn drain(call: &Call<'_>, gateway: ResourceRef<NatGatewayId>, private: &[Ipv4Addr], longest: Option<i64>) -> Answer {
    let longest = match longest.map(u32::try_from) {
        None => DRAINS,
        Some(Ok(seconds)) if (1..=4000).contains(&seconds) => seconds,
        Some(_) => return Err(Ec2Error::invalid_value("MaxDrainDurationSeconds is 1 to 4000")),
    };
    let longest = Duration::from_secs(u64::from(longest));
    let changed = call.controller().drain_nat_addresses(gateway, private, longest)?;
    with_addresses(&changed)
}

/// Takes Elastic IP addresses away from a public NAT gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DisassociateNatGatewayAddress {
    nat_gateway_id: String,
    association_id: Vec<String>,
    max_drain_duration_seconds: Option<i64>,
}

impl Action for DisassociateNatGatewayAddress {
    const NAME: &'static str = "DisassociateNatGatewayAddress";
    const HELP: &'static str = "Takes Elastic IP addresses away from a NAT gateway once they have drained";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = call.controller().nat_gateway(&reference(&self.nat_gateway_id)?)?;
        let mut private = Vec::new();
        for given in &self.association_id {
            let wanted: AddressAssociationId = id(given)?;
            let mut own = found.addresses.iter();
            let own = own.find(|address| {
                address
                    .allocation
                    .is_some_and(|(_, association, _)| association == wanted)
            });
            let own = own.ok_or_else(|| crate::model::ModelError::not_found::<AddressAssociationId>(given))?;
            private.push(own.private_ip);
        }
        drain(call, found.id.into(), &private, self.max_drain_duration_seconds)
    }
}

/// Takes addresses away from a private NAT gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct UnassignPrivateNatGatewayAddress {
    nat_gateway_id: String,
    private_ip_address: Vec<String>,
    max_drain_duration_seconds: Option<i64>,
}

impl Action for UnassignPrivateNatGatewayAddress {
    const NAME: &'static str = "UnassignPrivateNatGatewayAddress";
    const HELP: &'static str = "Takes addresses away from a private NAT gateway once they have drained";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = call.controller().nat_gateway(&reference(&self.nat_gateway_id)?)?;
        if found.connectivity == Connectivity::Public {
            return Err(crate::model::ModelError::from(NatGatewayError::TakesNoAllocation).into());
        }
        let private = private_ips(&self.private_ip_address)?;
        drain(call, found.id.into(), &private, self.max_drain_duration_seconds)
    }
}
