//! Implements the actions on route tables, their routes and their associations.

use ipnet::IpNet;
use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use super::vpcs::{ipv4_block_of, ipv6_block_of};
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceId;
use crate::model::ids::ResourceRef;
use crate::model::route_table::{
    AssociateGatewayTable, AssociateRouteTable as Associate, CreateRouteTable as Create, DeleteRouteTable as Delete,
    DisassociateGatewayTable, DisassociateRouteTable as Disassociate, EditRoute, ModifyRouteTable, Route, RouteEdit,
    RouteOrigin, RouteState, RouteTarget, TargetRef,
};
use crate::model::{InstanceId, InternetGatewayId, RouteTable, RouteTableId, SubnetId};

/// Filters whose name differs from that of their element.
const PLACES: &[Place] = &[
    ("association.gateway-id", "associationSet.gatewayId"),
    (
        "association.route-table-association-id",
        "associationSet.routeTableAssociationId",
    ),
    ("association.route-table-id", "associationSet.routeTableId"),
    ("association.subnet-id", "associationSet.subnetId"),
    ("association.main", "associationSet.main"),
    ("route.destination-cidr-block", "routeSet.destinationCidrBlock"),
    ("route.destination-ipv6-cidr-block", "routeSet.destinationIpv6CidrBlock"),
    ("route.destination-prefix-list-id", "routeSet.destinationPrefixListId"),
    (
        "route.egress-only-internet-gateway-id",
        "routeSet.egressOnlyInternetGatewayId",
    ),
    ("route.gateway-id", "routeSet.gatewayId"),
    ("route.instance-id", "routeSet.instanceId"),
    ("route.nat-gateway-id", "routeSet.natGatewayId"),
    ("route.transit-gateway-id", "routeSet.transitGatewayId"),
    ("route.origin", "routeSet.origin"),
    ("route.state", "routeSet.state"),
    ("route.vpc-peering-connection-id", "routeSet.vpcPeeringConnectionId"),
];

/// What a route table is associated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    /// The VPC, as its main one.
    Main,
    /// A subnet.
    Subnet(SubnetId),
    /// An internet gateway.
    Gateway(InternetGatewayId),
}

/// All associations of a table.
fn associations(table: &RouteTable) -> impl Iterator<Item = With> + '_ {
    let main = table.main.then_some(With::Main);
    let subnets = table.subnet_ids.iter().copied().map(With::Subnet);
    let gateways = table.gateway_ids.iter().copied().map(With::Gateway);
    main.into_iter().chain(subnets).chain(gateways)
}

/// The identifier of an association.
fn association_id(table: RouteTableId, with: With) -> String {
    let other = match with {
        With::Main => 0x6d61_696e,
        With::Subnet(subnet) => subnet.to_bits(),
        With::Gateway(gateway) => gateway.to_bits().rotate_left(7),
    };
    format!("rtbassoc-0{:016x}", table.to_bits() ^ other.rotate_left(23))
}

fn association(table: RouteTableId, with: With) -> Node {
    let (subnet, gateway) = match with {
        With::Main => (None, None),
        With::Subnet(subnet) => (Some(subnet), None),
        With::Gateway(gateway) => (None, Some(gateway)),
    };
    Node::map([
        ("routeTableAssociationId", Node::Text(association_id(table, with))),
        ("routeTableId", Node::text(table)),
        ("subnetId", Node::maybe(subnet)),
        ("gatewayId", Node::maybe(gateway)),
        ("main", Node::text(with == With::Main)),
        ("associationState", associated()),
    ])
}

fn associated() -> Node {
    Node::map([("state", Node::text("associated"))])
}

fn route(call: &Call<'_>, route: &Route) -> Node {
    let (ipv4, ipv6) = match route.destination {
        IpNet::V4(_) => (Node::text(route.destination), Node::Absent),
        IpNet::V6(_) => (Node::Absent, Node::text(route.destination)),
    };
    let interface = match route.target {
        RouteTarget::Interface(id) => Some(id),
        _ => None,
    };
    // The agent aws-vpc-move-ip looks for the instance of a route by default.
    let instance = interface
        .and_then(|id| call.controller().interface(&id.into()).ok())
        .and_then(|own| own.attachment)
        .map(|place| place.instance_id);
    Node::map([
        ("destinationCidrBlock", ipv4),
        ("destinationIpv6CidrBlock", ipv6),
        (
            "gatewayId",
            match route.target {
                RouteTarget::Local => Node::text("local"),
                RouteTarget::InternetGateway(gateway) => Node::text(gateway),
                _ => Node::Absent,
            },
        ),
        ("instanceId", Node::maybe(instance)),
        ("instanceOwnerId", Node::maybe(instance.map(|_| ACCOUNT))),
        ("networkInterfaceId", Node::maybe(interface)),
        (
            "egressOnlyInternetGatewayId",
            match route.target {
                RouteTarget::EgressOnly(gateway) => Node::text(gateway),
                _ => Node::Absent,
            },
        ),
        (
            "vpcPeeringConnectionId",
            match route.target {
                RouteTarget::Peering(peering) => Node::text(peering),
                _ => Node::Absent,
            },
        ),
        (
            "natGatewayId",
            match route.target {
                RouteTarget::NatGateway(gateway) => Node::text(gateway),
                _ => Node::Absent,
            },
        ),
        (
            "state",
            Node::text(match route.state {
                RouteState::Active => "active",
                RouteState::Blackhole => "blackhole",
            }),
        ),
        (
            "origin",
            Node::text(match route.origin {
                RouteOrigin::CreateRouteTable => "CreateRouteTable",
                RouteOrigin::CreateRoute => "CreateRoute",
            }),
        ),
    ])
}

/// Renders EC2's `RouteTable`.
fn table(call: &Call<'_>, table: &RouteTable) -> Node {
    let associations = associations(table).map(|with| association(table.id, with));
    let endpoints = table.endpoint_routes.iter().map(|route| {
        Node::map([
            ("destinationPrefixListId", Node::text(route.prefix_list)),
            ("gatewayId", Node::text(route.endpoint)),
            ("state", Node::text("active")),
            ("origin", Node::text("CreateRoute")),
        ])
    });
    Node::map([
        ("routeTableId", Node::text(table.id)),
        ("vpcId", Node::text(table.vpc_id)),
        ("ownerId", Node::text(ACCOUNT)),
        (
            "routeSet",
            Node::list(table.routes.iter().map(|one| route(call, one)).chain(endpoints)),
        ),
        ("associationSet", Node::list(associations)),
        ("propagatingVgwSet", Node::List(Vec::new())),
        ("tagSet", tag_set(table.name.as_deref(), &table.tags)),
    ])
}

/// Lists route tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeRouteTables {
    #[serde(default)]
    route_table_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeRouteTables {
    const NAME: &'static str = "DescribeRouteTables";
    const HELP: &'static str = "Lists route tables with their routes and associations";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.route_table_id {
            call.controller().route_table(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("RouteTableIds", &self.route_table_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().route_tables(None)?;
        let page = selection.of(call, all.iter().map(|one| table(call, one)), "routeTableId", PLACES)?;
        Ok(vec![
            ("routeTableSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Creates a route table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateRouteTable {
    vpc_id: String,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateRouteTable {
    const NAME: &'static str = "CreateRouteTable";
    const HELP: &'static str = "Makes a route table";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "route-table")?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().route_table(&ResourceRef::new(name)).is_ok()),
            vpc: reference(&self.vpc_id)?,
            tags: given.tags,
        })?;
        Ok(vec![
            ("routeTable", table(call, &made)),
            ("clientToken", Node::maybe(self.client_token.as_ref())),
        ])
    }
}

/// Deletes a route table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteRouteTable {
    route_table_id: String,
}

impl Action for DeleteRouteTable {
    const NAME: &'static str = "DeleteRouteTable";
    const HELP: &'static str = "Deletes a route table that no subnet is associated with";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.route_table_id)?))?;
        done()
    }
}

/// A destination: one of the two parameters.
fn destination(ipv4: Option<&str>, ipv6: Option<&str>) -> Result<IpNet, Ec2Error> {
    match (ipv4, ipv6) {
        (Some(text), None) => Ok(ipv4_block_of("destinationCidrBlock", text)?.into()),
        (None, Some(text)) => Ok(ipv6_block_of("destinationIpv6CidrBlock", text)?.into()),
        (None, None) => Err(Ec2Error::missing("DestinationCidrBlock")),
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "The parameter DestinationIpv6CidrBlock cannot be used with the parameter DestinationCidrBlock",
        )),
    }
}

/// The parameters that name the target of a route.
#[derive(Default)]
struct Targets<'a> {
    interface: Option<&'a str>,
    instance: Option<&'a str>,
    gateway: Option<&'a str>,
    nat: Option<&'a str>,
    egress_only: Option<&'a str>,
    peering: Option<&'a str>,
    local: bool,
}

impl Targets<'_> {
    /// The target, if one alone is named.
    fn one(&self, call: &Call<'_>) -> Result<TargetRef, Ec2Error> {
        let local = self.local || self.gateway == Some("local");
        let gateway = self.gateway.filter(|gateway| *gateway != "local");
        let named = [
            self.interface,
            self.instance,
            gateway,
            self.nat,
            self.egress_only,
            self.peering,
        ];
        match named.iter().flatten().count() + usize::from(local) {
            0 => return Err(Ec2Error::missing("NetworkInterfaceId")),
            1 => {}
            _ => return Err(Ec2Error::combination("Specify exactly one target for the route")),
        }
        if let Some(gateway) = gateway {
            // EC2 answers InvalidGatewayID.NotFound whatever kind of gateway it is.
            let id = reference(gateway).map_err(|_| gateway_not_found(gateway))?;
            call.controller()
                .internet_gateway(&id)
                .map_err(|_| gateway_not_found(gateway))?;
            return Ok(TargetRef::InternetGateway(id));
        }
        if let Some(gateway) = self.nat {
            let found = reference(gateway)
                .ok()
                .filter(|id| call.controller().nat_gateway(id).is_ok());
            return found.map(TargetRef::NatGateway).ok_or_else(|| {
                let message = format!("The natGateway ID '{}' does not exist", printed(gateway));
                Ec2Error::new("InvalidNatGatewayID.NotFound", message)
            });
        }
        if let Some(gateway) = self.egress_only {
            let id = reference(gateway).map_err(|_| gateway_not_found(gateway))?;
            call.controller()
                .egress_only_gateway(&id)
                .map_err(|_| gateway_not_found(gateway))?;
            return Ok(TargetRef::EgressOnly(id));
        }
        if let Some(peering) = self.peering {
            return Ok(TargetRef::Peering(reference(peering)?));
        }
        if let Some(instance) = self.instance {
            let instance: InstanceId = id(instance)?;
            return Ok(super::instances::only_interface(call, instance)?.into());
        }
        match self.interface {
            Some(interface) => Ok(TargetRef::Interface(reference(interface)?)),
            None => Ok(TargetRef::Local),
        }
    }
}

fn gateway_not_found(given: &str) -> Ec2Error {
    let message = format!("The gateway ID '{}' does not exist", printed(given));
    Ec2Error::new("InvalidGatewayID.NotFound", message)
}

/// Adds a route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateRoute {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    network_interface_id: Option<String>,
    instance_id: Option<String>,
    gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    egress_only_internet_gateway_id: Option<String>,
    vpc_peering_connection_id: Option<String>,
}

impl Action for CreateRoute {
    const NAME: &'static str = "CreateRoute";
    const HELP: &'static str = "Adds a route to a network interface, an instance or a gateway";

    fn run(self, call: &Call<'_>) -> Answer {
        let destination = destination(
            self.destination_cidr_block.as_deref(),
            self.destination_ipv6_cidr_block.as_deref(),
        )?;
        let targets = Targets {
            interface: self.network_interface_id.as_deref(),
            instance: self.instance_id.as_deref(),
            gateway: self.gateway_id.as_deref(),
            nat: self.nat_gateway_id.as_deref(),
            egress_only: self.egress_only_internet_gateway_id.as_deref(),
            peering: self.vpc_peering_connection_id.as_deref(),
            local: false,
        };
        let target = targets.one(call)?;
        call.execute(EditRoute {
            table: reference(&self.route_table_id)?,
            edit: RouteEdit::Create(destination, target),
        })?;
        done()
    }
}

/// Gives a route another target.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReplaceRoute {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    network_interface_id: Option<String>,
    instance_id: Option<String>,
    gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    egress_only_internet_gateway_id: Option<String>,
    vpc_peering_connection_id: Option<String>,
    local_target: Option<bool>,
}

impl Action for ReplaceRoute {
    const NAME: &'static str = "ReplaceRoute";
    const HELP: &'static str = "Gives a route another target";

    fn run(self, call: &Call<'_>) -> Answer {
        let destination = destination(
            self.destination_cidr_block.as_deref(),
            self.destination_ipv6_cidr_block.as_deref(),
        )?;
        let targets = Targets {
            interface: self.network_interface_id.as_deref(),
            instance: self.instance_id.as_deref(),
            gateway: self.gateway_id.as_deref(),
            nat: self.nat_gateway_id.as_deref(),
            egress_only: self.egress_only_internet_gateway_id.as_deref(),
            peering: self.vpc_peering_connection_id.as_deref(),
            local: self.local_target == Some(true),
        };
        let target = targets.one(call)?;
        call.execute(EditRoute {
            table: reference(&self.route_table_id)?,
            edit: RouteEdit::Replace(destination, target),
        })?;
        done()
    }
}

/// Deletes a route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteRoute {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
}

impl Action for DeleteRoute {
    const NAME: &'static str = "DeleteRoute";
    const HELP: &'static str = "Takes a route away";

    fn run(self, call: &Call<'_>) -> Answer {
        let destination = destination(
            self.destination_cidr_block.as_deref(),
            self.destination_ipv6_cidr_block.as_deref(),
        )?;
        call.execute(EditRoute {
            table: reference(&self.route_table_id)?,
            edit: RouteEdit::Delete(destination),
        })?;
        done()
    }
}

/// Associates a subnet with a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateRouteTable {
    route_table_id: String,
    subnet_id: Option<String>,
    gateway_id: Option<String>,
}

impl Action for AssociateRouteTable {
    const NAME: &'static str = "AssociateRouteTable";
    const HELP: &'static str = "Associates a subnet or an internet gateway with a route table";

    fn run(self, call: &Call<'_>) -> Answer {
        let table: RouteTableId = id(&self.route_table_id)?;
        let with = match (self.subnet_id, self.gateway_id) {
            (Some(subnet), None) => With::Subnet(id(&subnet)?),
            (None, Some(gateway)) => With::Gateway(id(&gateway).map_err(|_| gateway_not_found(&gateway))?),
            (None, None) => return Err(Ec2Error::missing("SubnetId")),
            (Some(_), Some(_)) => {
                return Err(Ec2Error::combination(
                    "The parameter GatewayId cannot be used with the parameter SubnetId",
                ));
            }
        };
        associate(call, table, with, false)?;
        Ok(vec![
            ("associationId", Node::Text(association_id(table, with))),
            ("associationState", associated()),
        ])
    }
}

/// `replacing`: whether it may have another table so far.
fn associate(call: &Call<'_>, table: RouteTableId, with: With, replacing: bool) -> Result<(), Ec2Error> {
    let table = table.into();
    match with {
        With::Subnet(subnet) => call.execute(Associate {
            table,
            subnet: subnet.into(),
            replacing,
        })?,
        With::Gateway(gateway) => call.execute(AssociateGatewayTable {
            table,
            gateway: gateway.into(),
            replacing,
        })?,
        With::Main => call.execute(ModifyRouteTable {
            main: Some(true),
            ..ModifyRouteTable::new(table)
        })?,
    };
    Ok(())
}

/// The association with an identifier.
fn associated_with(call: &Call<'_>, text: &str) -> Result<(RouteTableId, With), Ec2Error> {
    for table in call.controller().route_tables(None)? {
        let found = associations(&table).find(|with| association_id(table.id, *with) == text);
        if let Some(with) = found {
            return Ok((table.id, with));
        }
    }
    Err(Ec2Error::new(
        "InvalidAssociationID.NotFound",
        format!("The association ID '{}' does not exist", printed(text)),
    ))
}

/// Ends an association.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DisassociateRouteTable {
    association_id: String,
}

impl Action for DisassociateRouteTable {
    const NAME: &'static str = "DisassociateRouteTable";
    const HELP: &'static str = "Gives a subnet back to the main route table, or ends the association of a gateway";

    fn run(self, call: &Call<'_>) -> Answer {
        let (table, with) = associated_with(call, &self.association_id)?;
        let table = table.into();
        match with {
            With::Main => {
                let message = format!(
                    "cannot disassociate the main route table association {}",
                    self.association_id
                );
                return Err(Ec2Error::invalid_value(message));
            }
            With::Subnet(subnet) => call.execute(Disassociate {
                table,
                subnet: subnet.into(),
            })?,
            With::Gateway(gateway) => call.execute(DisassociateGatewayTable {
                table,
                gateway: gateway.into(),
            })?,
        };
        done()
    }
}

/// Gives an association another table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReplaceRouteTableAssociation {
    association_id: String,
    route_table_id: String,
}

impl Action for ReplaceRouteTableAssociation {
    const NAME: &'static str = "ReplaceRouteTableAssociation";
    const HELP: &'static str = "Associates a subnet or a gateway with another table, or makes a table the main one";

    fn run(self, call: &Call<'_>) -> Answer {
        let (_, with) = associated_with(call, &self.association_id)?;
        let table: RouteTableId = id(&self.route_table_id)?;
        associate(call, table, with, true)?;
        Ok(vec![
            ("newAssociationId", Node::Text(association_id(table, with))),
            ("associationState", associated()),
        ])
    }
}
