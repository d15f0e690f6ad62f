//! The actions on network ACLs, their entries and their associations.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
use crate::model::ids::ResourceRef;
use crate::model::network_acl::{
    AclAction, AclEntry, AssociateNetworkAcl, AssociationRef, CreateNetworkAcl as Create, DeleteNetworkAcl as Delete,
    EditEntry, EntryEdit, NetworkAclError,
};
use crate::model::traffic::{Direction, ICMP, ICMPV6, Protocol, TCP, Traffic, TrafficError, UDP};
use crate::model::{ModelError, NetworkAcl};

/// Where filters look that are not called as their element is.
const PLACES: &[Place] = &[
    ("association.association-id", "associationSet.networkAclAssociationId"),
    ("association.network-acl-id", "associationSet.networkAclId"),
    ("association.subnet-id", "associationSet.subnetId"),
    ("entry.cidr", "entrySet.cidrBlock"),
    ("entry.icmp.code", "entrySet.icmpTypeCode.code"),
    ("entry.icmp.type", "entrySet.icmpTypeCode.type"),
    ("entry.ipv6-cidr", "entrySet.ipv6CidrBlock"),
    ("entry.port-range.from", "entrySet.portRange.from"),
    ("entry.port-range.to", "entrySet.portRange.to"),
    ("entry.protocol", "entrySet.protocol"),
    ("entry.rule-action", "entrySet.ruleAction"),
    ("entry.egress", "entrySet.egress"),
    ("entry.rule-number", "entrySet.ruleNumber"),
];

/// An entry of EC2's answers. The protocol is always a number (facts N2).
fn entry(direction: Direction, number: u16, entry: &AclEntry) -> Node {
    let (ipv4, ipv6) = match entry.cidr {
        IpNet::V4(net) => (Node::text(net), Node::Absent),
        IpNet::V6(net) => (Node::Absent, Node::text(net)),
    };
    let range = entry.traffic.ec2_range();
    let (ports, messages) = match (entry.traffic.messages(), range) {
        (Some(_), Some((kind, code))) => {
            let messages = Node::map([("code", Node::text(code)), ("type", Node::text(kind))]);
            (Node::Absent, messages)
        }
        (None, Some((from, to))) => (
            Node::map([("from", Node::text(from)), ("to", Node::text(to))]),
            Node::Absent,
        ),
        (_, None) => (Node::Absent, Node::Absent),
    };
    Node::map([
        ("ruleNumber", Node::text(number)),
        ("protocol", Node::Text(entry.traffic.protocol().ec2_number())),
        ("ruleAction", Node::text(entry.action)),
        ("egress", Node::text(direction == Direction::Egress)),
        ("cidrBlock", ipv4),
        ("ipv6CidrBlock", ipv6),
        ("icmpTypeCode", messages),
        ("portRange", ports),
    ])
}

/// The `NetworkAcl` of EC2's answers.
fn acl(acl: &NetworkAcl) -> Node {
    let record = &acl.record;
    let entries = [Direction::Egress, Direction::Ingress]
        .into_iter()
        .flat_map(|direction| {
            let entries = record.entries(direction);
            entries.map(move |(number, one)| entry(direction, number, &one))
        });
    let associations = acl.associations.iter().map(|association| {
        Node::map([
            ("networkAclAssociationId", Node::text(association.id)),
            ("networkAclId", Node::text(association.acl)),
            ("subnetId", Node::text(association.subnet)),
        ])
    });
    Node::map([
        ("networkAclId", Node::text(record.id)),
        ("vpcId", Node::text(record.vpc_id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("default", Node::text(acl.default)),
        ("entrySet", Node::list(entries)),
        ("associationSet", Node::list(associations)),
        ("tagSet", tag_set(record.name.as_deref(), &record.tags)),
    ])
}

fn refused(error: impl Into<NetworkAclError>) -> Ec2Error {
    ModelError::from(error.into()).into()
}

/// Makes a network ACL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateNetworkAcl {
    vpc_id: String,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    client_token: Option<String>,
}

impl Action for CreateNetworkAcl {
    const NAME: &'static str = "CreateNetworkAcl";
    const HELP: &'static str = "Makes a network ACL that denies everything";

    fn run(self, call: &Call<'_>) -> Answer {
        let given = Given::of(&self.tag_specification, "network-acl")?;
        let made = call.execute(Create {
            name: given.free_name(|name| call.controller().network_acl(&ResourceRef::new(name)).is_ok()),
            vpc: reference(&self.vpc_id)?,
            entries: Vec::new(),
            tags: given.tags,
        })?;
        Ok(vec![
            ("networkAcl", acl(&made)),
            ("clientToken", Node::maybe(self.client_token.as_ref())),
        ])
    }
}

/// Deletes a network ACL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteNetworkAcl {
    network_acl_id: String,
}

impl Action for DeleteNetworkAcl {
    const NAME: &'static str = "DeleteNetworkAcl";
    const HELP: &'static str = "Deletes a network ACL that no subnet has";

    fn run(self, call: &Call<'_>) -> Answer {
        call.execute(Delete(reference(&self.network_acl_id)?))?;
        done()
    }
}

/// Lists network ACLs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeNetworkAcls {
    #[serde(default)]
    network_acl_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeNetworkAcls {
    const NAME: &'static str = "DescribeNetworkAcls";
    const HELP: &'static str = "Lists network ACLs with their entries and subnets";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.network_acl_id {
            call.controller().network_acl(&reference(given)?)?;
        }
        let selection = Selection {
            ids: Some(("NetworkAclIds", &self.network_acl_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let all = call.controller().network_acls(None)?;
        let page = selection.of(call, all.iter().map(acl), "networkAclId", PLACES)?;
        Ok(vec![
            ("networkAclSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// A type and code of ICMP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct IcmpTypeCode {
    code: Option<i64>,
    r#type: Option<i64>,
}

/// A range of ports.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PortRange {
    from: Option<i64>,
    to: Option<i64>,
}

/// What an entry is asked to be.
struct Wanted<'a> {
    protocol: &'a str,
    action: &'a str,
    cidr_block: Option<&'a str>,
    ipv6_cidr_block: Option<&'a str>,
    icmp: Option<&'a IcmpTypeCode>,
    ports: Option<&'a PortRange>,
}

impl Wanted<'_> {
    fn entry(&self) -> Result<AclEntry, Ec2Error> {
        let action = match self.action {
            // The API lists both in small letters; that others are taken is not published.
            given if given.eq_ignore_ascii_case("allow") => AclAction::Allow,
            given if given.eq_ignore_ascii_case("deny") => AclAction::Deny,
            other => {
                let message = format!("Invalid value '{}' for ruleAction. Use allow or deny.", printed(other));
                return Err(Ec2Error::invalid_value(message));
            }
        };
        let malformed = |text: &str| Ec2Error::invalid_value(format!("CIDR block {} is malformed", printed(text)));
        let cidr = match (self.cidr_block, self.ipv6_cidr_block) {
            (Some(text), None) => IpNet::V4(text.parse::<Ipv4Net>().map_err(|_| malformed(text))?),
            (None, Some(text)) => IpNet::V6(text.parse::<Ipv6Net>().map_err(|_| malformed(text))?),
            (None, None) => return Err(Ec2Error::missing("cidrBlock")),
            (Some(_), Some(_)) => {
                return Err(Ec2Error::combination(
                    "The parameter ipv6CidrBlock cannot be used with the parameter cidrBlock",
                ));
            }
        };
        let traffic = self.traffic(matches!(cidr, IpNet::V6(_)))?;
        Ok(AclEntry { action, traffic, cidr })
    }

    fn traffic(&self, ipv6: bool) -> Result<Traffic, Ec2Error> {
        let unknown = || TrafficError::Protocol {
            given: printed(self.protocol),
        };
        let protocol: Protocol = match self.protocol {
            "all" => return Err(refused(unknown())),
            text => text.parse().map_err(|_| refused(unknown()))?,
        };
        let messages = self.icmp.map(|icmp| (icmp.r#type, icmp.code));
        let (from, to) = match protocol {
            Protocol::Number(TCP | UDP) => self.ports.map_or((None, None), |ports| (ports.from, ports.to)),
            // Facts N2: ICMPv6 needs them with IPv6 addresses, and covers all types with IPv4 ones.
            Protocol::Number(ICMPV6) if ipv6 => match messages {
                Some((Some(kind), Some(code))) => (Some(kind), Some(code)),
                _ => return Err(refused(NetworkAclError::NoMessages)),
            },
            Protocol::Number(ICMPV6) => (None, None),
            Protocol::Number(ICMP) => messages.unwrap_or((None, None)),
            Protocol::All | Protocol::Number(_) => (None, None),
        };
        Traffic::of_ec2(protocol, from, to).map_err(refused)
    }
}

/// Declares one of the two actions that write an entry.
macro_rules! write_entry {
    ($name:ident, $edit:ident, $help:literal) => {
        #[doc = $help]
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        pub(super) struct $name {
            network_acl_id: String,
            rule_number: i64,
            protocol: String,
            rule_action: String,
            egress: bool,
            cidr_block: Option<String>,
            ipv6_cidr_block: Option<String>,
            icmp: Option<IcmpTypeCode>,
            port_range: Option<PortRange>,
        }

        impl Action for $name {
            const NAME: &'static str = stringify!($name);
            const HELP: &'static str = $help;

            fn run(self, call: &Call<'_>) -> Answer {
                let wanted = Wanted {
                    protocol: &self.protocol,
                    action: &self.rule_action,
                    cidr_block: self.cidr_block.as_deref(),
                    ipv6_cidr_block: self.ipv6_cidr_block.as_deref(),
                    icmp: self.icmp.as_ref(),
                    ports: self.port_range.as_ref(),
                };
                let edit = EntryEdit::$edit(wanted.entry()?);
                edit_entry(call, &self.network_acl_id, self.egress, self.rule_number, edit)
            }
        }
    };
}

write_entry!(CreateNetworkAclEntry, Create, "Adds an entry to a network ACL");
write_entry!(
    ReplaceNetworkAclEntry,
    Replace,
    "Puts another entry in the place of one"
);

fn edit_entry(call: &Call<'_>, acl: &str, egress: bool, number: i64, edit: EntryEdit) -> Answer {
    let number = u16::try_from(number).map_err(|_| refused(NetworkAclError::Number { given: number }))?;
    call.execute(EditEntry {
        acl: reference(acl)?,
        direction: if egress { Direction::Egress } else { Direction::Ingress },
        number,
        edit,
    })?;
    done()
}

/// Takes an entry away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteNetworkAclEntry {
    network_acl_id: String,
    rule_number: i64,
    egress: bool,
}

impl Action for DeleteNetworkAclEntry {
    const NAME: &'static str = "DeleteNetworkAclEntry";
    const HELP: &'static str = "Takes an entry of a network ACL away";

    fn run(self, call: &Call<'_>) -> Answer {
        edit_entry(
            call,
            &self.network_acl_id,
            self.egress,
            self.rule_number,
            EntryEdit::Delete,
        )
    }
}

/// Gives a subnet another network ACL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReplaceNetworkAclAssociation {
    association_id: String,
    network_acl_id: String,
}

impl Action for ReplaceNetworkAclAssociation {
    const NAME: &'static str = "ReplaceNetworkAclAssociation";
    const HELP: &'static str = "Gives a subnet another network ACL, by a new association";

    fn run(self, call: &Call<'_>) -> Answer {
        let association = call.execute(AssociateNetworkAcl {
            acl: reference(&self.network_acl_id)?,
            subnet: AssociationRef::Association(id(&self.association_id)?),
        })?;
        Ok(vec![("newAssociationId", Node::text(association.id))])
    }
}
