//! Imports instances and network interfaces.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Import, Work, fields_of, items, tags, text, texts};

/// The interfaces of `describe-network-interfaces`, and those that instances list and it does not.
pub(super) fn interfaces(import: &Import) -> BTreeMap<String, Value> {
    let listed = import.list("NetworkInterfaces").into_iter();
    let mut all: BTreeMap<String, Value> = listed
        .map(|interface| (text(&interface, "NetworkInterfaceId").to_owned(), interface))
        .collect();
    for instance in import.list("Instances") {
        for interface in items(&instance, "NetworkInterfaces") {
            let mut interface = interface.clone();
            interface["Attachment"]["InstanceId"] = instance["InstanceId"].clone();
            let id = text(&interface, "NetworkInterfaceId").to_owned();
            all.entry(id).or_insert(interface);
        }
    }
    all
}

fn index(interface: &Value) -> u64 {
    interface["Attachment"]["DeviceIndex"].as_u64().unwrap_or_default()
}

impl Work<'_> {
    pub(super) fn hosts(&mut self) {
        let instances = self.import.list("Instances");
        let mut used = Vec::new();
        for instance in &instances {
            used.extend(self.instance(instance));
        }
        for (id, interface) in self.interfaces.clone() {
            if !used.contains(&id) {
                self.interface(&id, &interface);
            }
        }
    }

    /// Imports an instance with its primary interface, whose identifier it returns.
    fn instance(&mut self, instance: &Value) -> Option<String> {
        let id = text(instance, "InstanceId");
        let label = self.labels.get(id)?;
        let state = instance["State"]["Name"].as_str().unwrap_or("running");
        match state {
            "terminated" | "shutting-down" => {
                self.leave(id, "it is terminated");
                return None;
            }
            "stopped" | "stopping" => self.leave(id, "it is stopped, and runs here"),
            _ => {}
        }
        let attached = self
            .interfaces
            .iter()
            .filter(|(_, interface)| interface["Attachment"]["InstanceId"] == id);
        let primary = attached.min_by_key(|(_, interface)| index(interface));
        let Some((primary, interface)) = primary.map(|(id, interface)| (id.clone(), interface.clone())) else {
            self.leave(id, "its interfaces are in none of the files");
            return None;
        };
        let mut fields = self.interface_fields(&primary, &interface)?;
        let own = self.labels.get(&primary)?;
        fields.insert("interface".to_owned(), json!(own));
        fields.insert("id".to_owned(), json!(id));
        let tags = tags(instance);
        if !tags.is_empty() {
            fields.insert("instance_tags".to_owned(), Value::Object(tags));
        }
        fields.insert("metadata".to_owned(), metadata(instance));
        self.put("instances", &label, fields);
        Some(primary)
    }

    fn interface(&mut self, id: &str, interface: &Value) {
        let Some(label) = self.labels.get(id) else { return };
        let kind = interface["InterfaceType"].as_str().unwrap_or("interface");
        if interface["RequesterManaged"] == true || !matches!(kind, "interface" | "efa" | "trunk" | "branch") {
            let gateways = self.import.list("NatGateways");
            let mut of_nat = gateways
                .iter()
                .flat_map(|gateway| items(gateway, "NatGatewayAddresses"));
            if of_nat.any(|address| address["NetworkInterfaceId"] == id) {
                // It comes with its NAT gateway.
                return;
            }
            let what = text(interface, "Description");
            self.leave(id, format!("it is managed by AWS ({kind}, {what})"));
            return;
        }
        let Some(mut fields) = self.interface_fields(id, interface) else {
            return;
        };
        if id != label {
            fields.insert("id".to_owned(), json!(id));
        }
        if let Some(instance) = interface["Attachment"]["InstanceId"].as_str() {
            match self.in_file("instances", instance) {
                Some(host) => {
                    let before = self.attached_to(&host);
                    if before.checked_add(1) != Some(index(interface)) {
                        self.leave(
                            id,
                            format!("it is device {} of its instance here", before.saturating_add(1)),
                        );
                    }
                    fields.insert("attached_to".to_owned(), json!(host));
                }
                None => self.leave(id, format!("it is attached to nothing: {instance} is not in the file")),
            }
        }
        self.put("interfaces", &label, fields);
    }

    /// How many further interfaces of an instance are in the file.
    fn attached_to(&self, host: &str) -> u64 {
        let interfaces = self.file.get("interfaces").and_then(Value::as_object);
        let interfaces = interfaces.into_iter().flat_map(Map::values);
        interfaces
            .filter(|one| one["attached_to"] == host)
            .fold(0, |count: u64, _| count.saturating_add(1))
    }

    fn interface_fields(&mut self, id: &str, interface: &Value) -> Option<Map<String, Value>> {
        let subnet = text(interface, "SubnetId");
        let Some(subnet) = self.in_file("subnets", subnet) else {
            self.leave(id, format!("its subnet {subnet} is in none of the files"));
            return None;
        };
        // Without the identifier: instances have another one of their own.
        let mut fields = fields_of(id, id, interface);
        fields.insert("subnet".to_owned(), json!(subnet));
        let mut ipv4: Vec<&Value> = items(interface, "PrivateIpAddresses").collect();
        ipv4.sort_by_key(|address| address["Primary"] != true);
        let ipv4: Vec<&Value> = ipv4.into_iter().map(|address| &address["PrivateIpAddress"]).collect();
        if !ipv4.is_empty() {
            fields.insert("ipv4".to_owned(), json!(ipv4));
        } else if let Some(only) = interface["PrivateIpAddress"].as_str() {
            fields.insert("ipv4".to_owned(), json!([only]));
        }
        fields.insert(
            "ipv6".to_owned(),
            json!(texts(interface, "Ipv6Addresses", "Ipv6Address")),
        );
        let mut prefixes = texts(interface, "Ipv4Prefixes", "Ipv4Prefix");
        prefixes.extend(texts(interface, "Ipv6Prefixes", "Ipv6Prefix"));
        if !prefixes.is_empty() {
            fields.insert("prefixes".to_owned(), json!(prefixes));
        }
        if interface["MacAddress"].is_string() {
            fields.insert("mac".to_owned(), interface["MacAddress"].clone());
        }
        if interface["SourceDestCheck"] == false {
            fields.insert("source_dest_check".to_owned(), json!(false));
        }
        if !text(interface, "Description").is_empty() {
            fields.insert("description".to_owned(), interface["Description"].clone());
        }
        let mut groups = Vec::new();
        for group in items(interface, "Groups") {
            let group = text(group, "GroupId");
            match self.in_file("security_groups", group) {
                Some(label) => groups.push(label),
                None => self.leave(id, format!("its security group {group} is in none of the files")),
            }
        }
        if !groups.is_empty() {
            fields.insert("groups".to_owned(), json!(groups));
        }
        Some(fields)
    }
}

fn metadata(instance: &Value) -> Value {
    let options = &instance["MetadataOptions"];
    let mut fields = Map::new();
    if instance["InstanceType"].is_string() {
        fields.insert("instance_type".to_owned(), instance["InstanceType"].clone());
    }
    if options["HttpTokens"].is_string() {
        fields.insert("http_tokens".to_owned(), options["HttpTokens"].clone());
    }
    if options["HttpPutResponseHopLimit"].is_u64() {
        fields.insert(
            "http_put_response_hop_limit".to_owned(),
            options["HttpPutResponseHopLimit"].clone(),
        );
    }
    for (name, member) in [
        ("enabled", "HttpEndpoint"),
        ("http_protocol_ipv6", "HttpProtocolIpv6"),
        ("instance_tags", "InstanceMetadataTags"),
    ] {
        if let Some(state) = options[member].as_str() {
            fields.insert(name.to_owned(), json!(state == "enabled"));
        }
    }
    let profile = instance["IamInstanceProfile"]["Arn"].as_str();
    if let Some(role) = profile.and_then(|arn| arn.rsplit('/').next()) {
        fields.insert("iam_role".to_owned(), json!(role));
    }
    Value::Object(fields)
}
