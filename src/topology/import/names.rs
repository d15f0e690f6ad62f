//! Chooses the labels of resources: the tag `Name` where it is one of a kind, else the identifier.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Work, id_of, tags, text};
use crate::model::naming::is_usable;
use crate::topology::default_of;
use crate::topology::format::is_word;

/// The labels of resources, by identifier.
#[derive(Debug, Default)]
pub(super) struct Labels {
    of: BTreeMap<String, String>,
    taken: BTreeSet<(&'static str, String)>,
}

/// Names that mean something else where labels are used.
const TAKEN: [&str; 2] = ["default", "none"];

impl Labels {
    /// The label of a resource that is in the file.
    pub(super) fn get(&self, id: &str) -> Option<String> {
        self.of.get(id).cloned()
    }

    /// Chooses the label of a resource. Resources of a kind have different ones.
    fn choose(&mut self, kind: &'static str, id: &str, name: Option<&str>, fits: impl Fn(&str) -> bool) {
        let usable =
            |name: &&str| is_usable(name) && !is_word(name) && !TAKEN.contains(name) && !is_id(name) && fits(name);
        let free = |name: &&str| !self.taken.contains(&(kind, (*name).to_owned()));
        let label = name.filter(usable).filter(free).unwrap_or(id).to_owned();
        self.taken.insert((kind, label.clone()));
        self.of.insert(id.to_owned(), label);
    }

    fn give(&mut self, id: &str, label: String) {
        self.of.insert(id.to_owned(), label);
    }
}

/// Whether a text could be an identifier of any kind.
fn is_id(text: &str) -> bool {
    let digits = text.rsplit('-').next().unwrap_or_default();
    text.contains('-') && matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text can be the name of a host.
fn is_host(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    letters && name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The prefix list that a file is called after.
pub(super) fn list_in(file: &str) -> Option<&str> {
    let start = file.rfind("pl-")?;
    let digits = file[start + 3..].bytes().take_while(u8::is_ascii_hexdigit).count();
    matches!(digits, 8 | 17).then(|| &file[start..start + 3 + digits])
}

fn name_tag(resource: &Value) -> Option<String> {
    tags(resource).get("Name")?.as_str().map(str::to_owned)
}

impl Work<'_> {
    /// Chooses the labels of all that can be in the file.
    pub(super) fn name_all(&mut self) {
        for (list, kind) in [
            ("Vpcs", "vpc"),
            ("Subnets", "subnet"),
            ("RouteTables", "table"),
            ("SecurityGroups", "group"),
            ("NetworkAcls", "acl"),
            ("ManagedPrefixLists", "list"),
            ("PrefixLists", "list"),
            ("DhcpOptions", "options"),
            ("Addresses", "address"),
            // A route names gateways, instances and interfaces alike.
            ("Instances", "target"),
            ("InternetGateways", "target"),
            ("NatGateways", "target"),
            ("EgressOnlyInternetGateways", "target"),
            ("VpcPeeringConnections", "target"),
            ("VpcEndpoints", "endpoint"),
        ] {
            for one in self.import.list(list) {
                let Some(id) = own_id(list, &one) else { continue };
                if self.labels.get(id).is_some() {
                    continue;
                }
                // Not the name of a group or a list: a label becomes the tag `Name` of what has none.
                let name = name_tag(&one);
                self.labels
                    .choose(kind, id, name.as_deref(), |name| list != "Instances" || is_host(name));
            }
        }
        let interfaces: Vec<(String, Value)> = self.interfaces.clone().into_iter().collect();
        for (id, interface) in interfaces {
            // The file names that of an instance by its identifier: it has no other place for that.
            let attachment = &interface["Attachment"];
            let primary = attachment["InstanceId"].is_string() && attachment["DeviceIndex"] == 0;
            let name = name_tag(&interface).filter(|_| !primary);
            self.labels.choose("target", &id, name.as_deref(), |_| true);
        }
        for (list, id, is_default) in [
            (
                "SecurityGroups",
                "GroupId",
                (|one: &Value| text(one, "GroupName") == "default") as fn(&Value) -> bool,
            ),
            ("NetworkAcls", "NetworkAclId", |one: &Value| one["IsDefault"] == true),
        ] {
            for one in self.import.list(list).iter().filter(|one| is_default(one)) {
                if let Some(vpc) = self.labels.get(text(one, "VpcId")) {
                    self.labels.give(text(one, id), default_of(&vpc));
                }
            }
        }
    }
}

/// The identifier of a resource of a list.
fn own_id<'v>(list: &str, one: &'v Value) -> Option<&'v str> {
    let member = match list {
        "Vpcs" => "VpcId",
        "Subnets" => "SubnetId",
        "RouteTables" => "RouteTableId",
        "SecurityGroups" => "GroupId",
        "NetworkAcls" => "NetworkAclId",
        "ManagedPrefixLists" | "PrefixLists" => "PrefixListId",
        "DhcpOptions" => "DhcpOptionsId",
        "Addresses" => "AllocationId",
        "Instances" => "InstanceId",
        "InternetGateways" => "InternetGatewayId",
        "NatGateways" => "NatGatewayId",
        "EgressOnlyInternetGateways" => "EgressOnlyInternetGatewayId",
        "VpcPeeringConnections" => "VpcPeeringConnectionId",
        "VpcEndpoints" => "VpcEndpointId",
        _ => return id_of(one),
    };
    one[member].as_str()
}
