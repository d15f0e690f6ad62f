//! Imports security groups, network ACLs and prefix lists.

use serde_json::{Map, Value, json};

use super::{Work, fields_of, items, text};
use crate::model::endpoint::GatewayService;
use crate::topology::vpc_of_default;

impl Work<'_> {
    pub(super) fn filters(&mut self) {
        for list in self.import.list("ManagedPrefixLists") {
            self.prefix_list(&list);
        }
        for list in self.import.list("PrefixLists") {
            if self.in_file("prefix_lists", text(&list, "PrefixListId")).is_none() {
                self.prefix_list(&list);
            }
        }
        for group in self.import.list("SecurityGroups") {
            self.security_group(&group);
        }
        for acl in self.import.list("NetworkAcls") {
            self.network_acl(&acl);
        }
    }

    fn prefix_list(&mut self, list: &Value) {
        let id = text(list, "PrefixListId");
        let name = text(list, "PrefixListName");
        if GatewayService::of_list(name).is_some() {
            // The list of a gateway endpoint's service is always there.
            return;
        }
        let Some(label) = self.labels.get(id) else { return };
        let mut fields = fields_of(id, &label, list);
        let mut entries: Vec<Value> = items(list, "Cidrs").map(|cidr| json!({ "cidr": cidr })).collect();
        let own = self.import.list("Entries");
        for entry in own.iter().filter(|entry| entry["PrefixListId"] == id) {
            let mut fields = json!({ "cidr": entry["Cidr"] });
            if !text(entry, "Description").is_empty() {
                fields["description"] = entry["Description"].clone();
            }
            entries.push(fields);
        }
        let family = list["AddressFamily"].as_str();
        if entries.is_empty() && family.is_none() {
            self.leave(id, "the prefix list has no entries in the files");
            return;
        }
        if name.starts_with("com.amazonaws") {
            self.leave(id, format!("it is called {label} here: {name} is a name of AWS"));
        } else if name != label {
            fields.insert("list_name".to_owned(), json!(name));
        }
        if let Some(family) = family {
            fields.insert("family".to_owned(), json!(family));
        }
        if list["MaxEntries"].is_u64() {
            fields.insert("max_entries".to_owned(), list["MaxEntries"].clone());
        }
        if entries.is_empty() {
            self.leave(
                id,
                format!(
                    "it has no entries: `aws ec2 get-managed-prefix-list-entries` prints them, into a file {id}.json"
                ),
            );
        } else {
            fields.insert("entries".to_owned(), json!(entries));
        }
        self.put("prefix_lists", &label, fields);
    }

    /// The list that a service has here, by the identifier that it has in the files, which depends on the region.
    fn list_of_a_service(&self, id: &str) -> Option<String> {
        let lists = [self.import.list("ManagedPrefixLists"), self.import.list("PrefixLists")];
        let list = lists.concat().into_iter().find(|list| list["PrefixListId"] == id)?;
        GatewayService::of_list(text(&list, "PrefixListName")).map(|service| service.prefix_list().to_string())
    }

    fn security_group(&mut self, group: &Value) {
        let id = text(group, "GroupId");
        let Some(vpc) = self.vpc_label(id, group) else {
            return;
        };
        let Some(label) = self.labels.get(id) else { return };
        let mut fields = fields_of(id, &label, group);
        if vpc_of_default(&label).is_none() {
            fields.insert("vpc".to_owned(), json!(vpc));
            fields.insert("description".to_owned(), group["Description"].clone());
            if text(group, "GroupName") != label {
                fields.insert("group_name".to_owned(), group["GroupName"].clone());
            }
        }
        for (name, list) in [("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")] {
            let rules: Vec<Value> = items(group, list)
                .flat_map(|permission| self.rules(id, permission))
                .collect();
            fields.insert(name.to_owned(), json!(rules));
        }
        self.put("security_groups", &label, fields);
    }

    /// The rules of a permission: one for each of its sources.
    fn rules(&mut self, group: &str, permission: &Value) -> Vec<Value> {
        let traffic = traffic(
            text(permission, "IpProtocol"),
            (permission["FromPort"].as_i64(), permission["ToPort"].as_i64()),
            (permission["FromPort"].as_i64(), permission["ToPort"].as_i64()),
        );
        let mut rules = Vec::new();
        for (list, member, field) in [
            ("IpRanges", "CidrIp", "cidr"),
            ("Ipv6Ranges", "CidrIpv6", "cidr"),
            ("PrefixListIds", "PrefixListId", "prefix_list"),
            ("UserIdGroupPairs", "GroupId", "group"),
        ] {
            for source in items(permission, list) {
                let value = text(source, member);
                let known = match field {
                    "prefix_list" => self
                        .in_file("prefix_lists", value)
                        .or_else(|| self.list_of_a_service(value)),
                    // All groups of the files get in; those of a VPC that is not there do not.
                    "group" => self.labels.get(value),
                    _ => Some(value.to_owned()),
                };
                let Some(known) = known else {
                    self.leave(group, format!("a rule about {value}, which is in none of the files"));
                    continue;
                };
                let mut rule = traffic.clone();
                rule.insert(field.to_owned(), json!(known));
                if !text(source, "Description").is_empty() {
                    rule.insert("description".to_owned(), source["Description"].clone());
                }
                rules.push(Value::Object(rule));
            }
        }
        rules
    }

    fn network_acl(&mut self, acl: &Value) {
        let id = text(acl, "NetworkAclId");
        let Some(vpc) = self.vpc_label(id, acl) else { return };
        let Some(label) = self.labels.get(id) else { return };
        let mut fields = fields_of(id, &label, acl);
        if vpc_of_default(&label).is_none() {
            fields.insert("vpc".to_owned(), json!(vpc));
            let mut subnets = Vec::new();
            for association in items(acl, "Associations") {
                let subnet = text(association, "SubnetId");
                match self.in_file("subnets", subnet) {
                    Some(subnet) => subnets.push(subnet),
                    None => self.leave(id, format!("its subnet {subnet} is in none of the files")),
                }
            }
            fields.insert("subnets".to_owned(), json!(subnets));
        }
        for (name, egress) in [("ingress", false), ("egress", true)] {
            // The last entry of each family denies the rest, and is always there.
            let entries = items(acl, "Entries").filter(|entry| entry["Egress"] == egress);
            let entries = entries.filter(|entry| entry["RuleNumber"].as_u64().is_some_and(|number| number <= 32766));
            let entries: Vec<Value> = entries.map(entry).collect();
            fields.insert(name.to_owned(), json!(entries));
        }
        self.put("network_acls", &label, fields);
    }
}

fn entry(entry: &Value) -> Value {
    let (ports, messages) = (&entry["PortRange"], &entry["IcmpTypeCode"]);
    let mut fields = traffic(
        text(entry, "Protocol"),
        (ports["From"].as_i64(), ports["To"].as_i64()),
        (messages["Type"].as_i64(), messages["Code"].as_i64()),
    );
    fields.insert("number".to_owned(), entry["RuleNumber"].clone());
    fields.insert("action".to_owned(), entry["RuleAction"].clone());
    let cidr = entry["CidrBlock"].as_str().or(entry["Ipv6CidrBlock"].as_str());
    fields.insert("cidr".to_owned(), json!(cidr));
    Value::Object(fields)
}

/// The fields of a rule or an entry about its packets. EC2 spells four protocols by name in rules, and by number in entries.
fn traffic(
    protocol: &str,
    ports: (Option<i64>, Option<i64>),
    messages: (Option<i64>, Option<i64>),
) -> Map<String, Value> {
    let protocol = match protocol {
        "-1" => "all",
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        other => other,
    };
    let mut fields = Map::from_iter([("protocol".to_owned(), json!(protocol))]);
    match (protocol, ports, messages) {
        ("tcp" | "udp", (Some(from), Some(to)), _) if (from, to) != (0, 65535) => {
            let range = if from == to {
                from.to_string()
            } else {
                format!("{from}-{to}")
            };
            fields.insert("ports".to_owned(), json!(range));
        }
        ("icmp" | "icmpv6", _, (Some(kind), code)) if kind >= 0 => {
            fields.insert("icmp_type".to_owned(), json!(kind));
            if let Some(code) = code.filter(|code| *code >= 0) {
                fields.insert("icmp_code".to_owned(), json!(code));
            }
        }
        _ => {}
    }
    fields
}
