//! The actions on Elastic IP addresses.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::elastic_ip::{
    AllocateAddress as Allocate, AssociateAddress as Associate, AssociateWith, AssociationRef,
    DisassociateAddress as Disassociate, ReleaseAddress as Release,
};
use crate::model::ids::ResourceRef;
use crate::model::region::public_name;
use crate::model::{AllocationId, ElasticIp, NetworkInterface};

/// `domain` is a filter of Ansible's that EC2 still takes.
const PLACES: &[Place] = &[
    ("domain", "domain"),
    ("network-interface-owner-id", "networkInterfaceOwnerId"),
];

/// The `Address` of EC2's answers.
fn address(call: &Call<'_>, address: &ElasticIp) -> Node {
    let association = address.association;
    let interface = association.and_then(|at| call.controller().interface(&at.interface_id.into()).ok());
    let instance = interface
        .and_then(|interface| interface.attachment)
        .map(|place| place.instance_id);
    Node::map([
        ("publicIp", Node::text(address.public_ip)),
        ("allocationId", Node::text(address.id)),
        ("domain", Node::text("vpc")),
        ("publicIpv4Pool", Node::text("amazon")),
        ("networkBorderGroup", Node::text(call.controller().region())),
        ("associationId", Node::maybe(association.map(|at| at.id))),
        ("instanceId", Node::maybe(instance)),
        ("networkInterfaceId", Node::maybe(association.map(|at| at.interface_id))),
        ("networkInterfaceOwnerId", Node::maybe(association.map(|_| ACCOUNT))),
        ("privateIpAddress", Node::maybe(association.map(|at| at.private_ip))),
        ("tagSet", tag_set(address.name.as_deref(), &address.tags)),
    ])
}

/// The `association` of an interface with a public address, of its primary address or of the one that is named.
///
/// An instance's has no identifiers.
pub(super) fn association(
    call: &Call<'_>,
    interface: &NetworkInterface,
    private: Option<Ipv4Addr>,
    of_instance: bool,
) -> Node {
    let private = private.or(interface.primary_ipv4());
    let mut addresses = interface.public_addresses.iter();
    let found = addresses.find_map(|address| {
        let at = address.association?;
        (Some(at.private_ip) == private).then_some((address, at))
    });
    let Some((address, at)) = found else {
        return Node::Absent;
    };
    let own = !address.automatic;
    let named = own && !of_instance;
    let names = match has_names(call, interface) {
        true => public_name(address.public_ip, &call.controller().region()),
        false => String::new(),
    };
    Node::map([
        ("allocationId", Node::maybe(named.then_some(address.id))),
        ("associationId", Node::maybe(named.then_some(at.id))),
        ("ipOwnerId", Node::text(if own { ACCOUNT } else { "amazon" })),
        (
            "publicDnsName",
            // Empty where the VPC gives public addresses no names.
            Node::Text(names),
        ),
        ("publicIp", Node::text(address.public_ip)),
    ])
}

/// Whether public addresses of an interface have names.
fn has_names(call: &Call<'_>, interface: &NetworkInterface) -> bool {
    let vpc = call.controller().vpc(&interface.vpc_id.into());
    vpc.is_ok_and(|vpc| vpc.attributes.dns_hostnames)
}

/// An address by its allocation or, as old scripts have it, by itself.
fn named(allocation: Option<&str>, public: Option<&str>) -> Result<ResourceRef<AllocationId>, Ec2Error> {
    match (allocation, public) {
        (Some(text), None) => reference(text),
        (None, Some(text)) => {
            let address: Ipv4Addr = text.parse().map_err(|_| {
                let message = format!("Invalid IPv4 address: '{}'", printed(text));
                Ec2Error::new("InvalidAddress.Malformed", message)
            })?;
            Ok(ResourceRef::new(&address.to_string()))
        }
        (None, None) => Err(Ec2Error::missing("AllocationId")),
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "You may specify public IP or allocation id, but not both in the same call",
        )),
    }
}

/// Lists Elastic IP addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeAddresses {
    #[serde(default)]
    allocation_id: Vec<String>,
    #[serde(default)]
    public_ip: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
}

impl Action for DescribeAddresses {
    const NAME: &'static str = "DescribeAddresses";
    const HELP: &'static str = "Lists Elastic IP addresses with their associations";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let mut wanted = Vec::new();
        for given in &self.allocation_id {
            wanted.push(call.controller().elastic_ip(&reference(given)?)?.id);
        }
        for given in &self.public_ip {
            wanted.push(call.controller().elastic_ip(&named(None, Some(given))?)?.id);
        }
        let mut all = call.controller().elastic_ips();
        all.retain(|one| wanted.is_empty() || wanted.contains(&one.id));
        let selection = Selection {
            filters: &self.filter,
            ..Selection::default()
        };
        let page = selection.of(call, all.iter().map(|one| address(call, one)), "allocationId", PLACES)?;
        Ok(vec![("addressesSet", Node::List(page.items))])
    }
}

/// Lists the reverse names of Elastic IP addresses: none has one here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeAddressesAttribute {
    #[serde(default)]
    allocation_id: Vec<String>,
    attribute: Option<String>,
}

impl Action for DescribeAddressesAttribute {
    const NAME: &'static str = "DescribeAddressesAttribute";
    const HELP: &'static str = "Lists the reverse names of Elastic IP addresses, of which there are none";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        if self
            .attribute
            .as_deref()
            .is_some_and(|attribute| attribute != "domain-name")
        {
            return Err(Ec2Error::invalid_value("The attribute of an address is domain-name"));
        }
        let mut items = Vec::new();
        for given in &self.allocation_id {
            let found = call.controller().elastic_ip(&reference(given)?)?;
            items.push(Node::map([
                ("publicIp", Node::text(found.public_ip)),
                ("allocationId", Node::text(found.id)),
            ]));
        }
        Ok(vec![("addressSet", Node::List(items))])
    }
}

/// Allocates an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AllocateAddress {
    domain: Option<String>,
    address: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for AllocateAddress {
    const NAME: &'static str = "AllocateAddress";
    const HELP: &'static str = "Allocates an Elastic IP address";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.domain.as_deref().is_some_and(|domain| domain != "vpc") {
            return Err(Ec2Error::invalid_value("The domain of an address is vpc"));
        }
        let public_ip = self.address.as_deref().map(|text| {
            let message = || format!("Invalid IPv4 address: '{}'", printed(text));
            text.parse()
                .map_err(|_| Ec2Error::new("InvalidAddress.Malformed", message()))
        });
        let given = Given::of(&self.tag_specification, "elastic-ip")?;
        let made = call.execute(Allocate {
            name: given.free_name(|name| call.controller().elastic_ip(&ResourceRef::new(name)).is_ok()),
            public_ip: public_ip.transpose()?,
            tags: given.tags,
        })?;
        Ok(vec![
            ("publicIp", Node::text(made.public_ip)),
            ("allocationId", Node::text(made.id)),
            ("publicIpv4Pool", Node::text("amazon")),
            ("networkBorderGroup", Node::text(call.controller().region())),
            ("domain", Node::text("vpc")),
        ])
    }
}

/// Releases an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReleaseAddress {
    allocation_id: Option<String>,
    public_ip: Option<String>,
    network_border_group: Option<String>,
}

impl Action for ReleaseAddress {
    const NAME: &'static str = "ReleaseAddress";
    const HELP: &'static str = "Releases an Elastic IP address that is associated with nothing";

    fn run(self, call: &Call<'_>) -> Answer {
        // Every address is in the border group of the region (API_ReleaseAddress, NetworkBorderGroup).
        let region = call.controller().region();
        if self.network_border_group.is_some_and(|given| given != region) {
            return Err(Ec2Error::unsupported("NetworkBorderGroup"));
        }
        call.execute(Release(named(
            self.allocation_id.as_deref(),
            self.public_ip.as_deref(),
        )?))?;
        done()
    }
}

/// Associates an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AssociateAddress {
    allocation_id: Option<String>,
    public_ip: Option<String>,
    instance_id: Option<String>,
    network_interface_id: Option<String>,
    private_ip_address: Option<String>,
    allow_reassociation: Option<bool>,
}

impl Action for AssociateAddress {
    const NAME: &'static str = "AssociateAddress";
    const HELP: &'static str = "Associates an Elastic IP address with a private address";

    fn run(self, call: &Call<'_>) -> Answer {
        let with = match (&self.network_interface_id, &self.instance_id) {
            (Some(interface), None) => AssociateWith::Interface(reference(interface)?),
            (None, Some(instance)) => AssociateWith::Instance(reference(instance)?),
            (None, None) => return Err(Ec2Error::missing("InstanceId")),
            (Some(_), Some(_)) => {
                return Err(Ec2Error::combination(
                    "You may specify either an instance id or a network interface id, but not both in the same call",
                ));
            }
        };
        let private_ip = self.private_ip_address.as_deref().map(|text| {
            let message = format!(
                "Invalid value '{}' for privateIpAddress. Must be specified as an IPv4 address",
                printed(text)
            );
            text.parse().map_err(|_| Ec2Error::invalid_value(message))
        });
        let associated = call.execute(Associate {
            address: named(self.allocation_id.as_deref(), self.public_ip.as_deref())?,
            with,
            private_ip: private_ip.transpose()?,
            // EC2 API, AssociateAddress: allowed unless said otherwise.
            reassociation_allowed: self.allow_reassociation.unwrap_or(true),
        })?;
        Ok(vec![(
            "associationId",
            Node::maybe(associated.association.map(|at| at.id)),
        )])
    }
}

/// Ends an association.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DisassociateAddress {
    association_id: Option<String>,
    public_ip: Option<String>,
}

impl Action for DisassociateAddress {
    const NAME: &'static str = "DisassociateAddress";
    const HELP: &'static str = "Ends the association of an Elastic IP address";

    fn run(self, call: &Call<'_>) -> Answer {
        let association = match self.association_id.as_deref() {
            Some(text) => AssociationRef::Id(id(text)?),
            None => AssociationRef::Address(named(None, self.public_ip.as_deref())?),
        };
        call.execute(Disassociate(association))?;
        done()
    }
}
