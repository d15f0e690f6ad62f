//! Imports VPCs, subnets, DHCP option sets, route tables, internet gateways and Elastic IP addresses.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::{Work, fields_of, items, text, texts};
use crate::model::DhcpOptionsId;
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::elastic_ip::RANGES;
use crate::model::ids::ResourceId;

/// The state of a block that a resource has.
const ASSOCIATED: &str = "associated";

/// The blocks that are associated, the first one first.
fn blocks(resource: &Value, list: &str, block: &str, state: &str, first: &str) -> Vec<Value> {
    let given = items(resource, list).filter(|item| item[state]["State"] == ASSOCIATED);
    let mut blocks: Vec<Value> = given.map(|item| item[block].clone()).filter(Value::is_string).collect();
    blocks.sort_by_key(|block| block.as_str() != Some(first));
    blocks
}

/// The IPv6 blocks of a VPC or a subnet.
fn ipv6_blocks(resource: &Value) -> Vec<Value> {
    let set = "Ipv6CidrBlockAssociationSet";
    blocks(resource, set, "Ipv6CidrBlock", "Ipv6CidrBlockState", "")
}

/// Whether a DHCP option set is the one that each region has (EC2 API, CreateDhcpOptions).
fn is_of_region(set: &Value) -> bool {
    let mut options = items(set, "DhcpConfigurations");
    let is = |option: &Value| {
        let values = texts(option, "Values", "Value");
        let first = values.first().and_then(Value::as_str).unwrap_or_default();
        match text(option, "Key") {
            "domain-name" => first == "ec2.internal" || first.ends_with(".compute.internal"),
            "domain-name-servers" => first == "AmazonProvidedDNS" && values.len() == 1,
            _ => false,
        }
    };
    options.all(is) && items(set, "DhcpConfigurations").next().is_some() && items(set, "Tags").next().is_none()
}

impl Work<'_> {
    pub(super) fn networks(&mut self) {
        for set in self.import.list("DhcpOptions") {
            self.option_set(&set);
        }
        self.file.insert("vpcs".to_owned(), json!({}));
        self.file.insert("subnets".to_owned(), json!({}));
        for vpc in self.import.list("Vpcs") {
            self.vpc(&vpc);
        }
        for subnet in self.import.list("Subnets") {
            self.subnet(&subnet);
        }
    }

    fn option_set(&mut self, set: &Value) {
        let id = text(set, "DhcpOptionsId");
        let Some(label) = self.labels.get(id) else { return };
        if is_of_region(set) {
            let own = DhcpOptionsId::from_bits(1).to_string();
            if id != own {
                self.leave(id, format!("it is the set of the region, which is {own} here"));
            }
            return;
        }
        let mut fields = fields_of(id, &label, set);
        for option in items(set, "DhcpConfigurations") {
            let values = texts(option, "Values", "Value");
            let first = values.first().cloned().unwrap_or_default();
            let (key, value) = match text(option, "Key") {
                "domain-name" => ("domain_name", first),
                "domain-name-servers" => ("domain_name_servers", json!(values)),
                "ntp-servers" => ("ntp_servers", json!(values)),
                "netbios-name-servers" => ("netbios_name_servers", json!(values)),
                "netbios-node-type" => (
                    "netbios_node_type",
                    json!(first.as_str().and_then(|text| text.parse::<u8>().ok())),
                ),
                "ipv6-address-preferred-lease-time" => {
                    let seconds = first.as_str().unwrap_or_default();
                    ("ipv6_address_preferred_lease_time", json!(format!("{seconds}s")))
                }
                other => {
                    self.leave(id, format!("the option {other} is not known"));
                    continue;
                }
            };
            fields.insert(key.to_owned(), value);
        }
        self.put("dhcp_options", &label, fields);
    }

    fn vpc(&mut self, vpc: &Value) {
        let id = text(vpc, "VpcId");
        let Some(label) = self.labels.get(id) else { return };
        let mut fields = fields_of(id, &label, vpc);
        let primary = text(vpc, "CidrBlock");
        let ipv4 = blocks(vpc, "CidrBlockAssociationSet", "CidrBlock", "CidrBlockState", primary);
        let ipv4 = if ipv4.is_empty() { vec![json!(primary)] } else { ipv4 };
        fields.insert("cidr_blocks".to_owned(), json!(ipv4));
        let ipv6 = ipv6_blocks(vpc);
        if !ipv6.is_empty() {
            fields.insert("ipv6_cidr_blocks".to_owned(), json!(ipv6));
        }
        match text(vpc, "DhcpOptionsId") {
            "" => {}
            "default" => drop(fields.insert("dhcp_options".to_owned(), json!(DhcpOptionsChoice::NONE))),
            set if self.in_file("dhcp_options", set).is_some() => {
                fields.insert("dhcp_options".to_owned(), json!(self.labels.get(set)));
            }
            set if self
                .import
                .list("DhcpOptions")
                .iter()
                .any(|one| text(one, "DhcpOptionsId") == set) => {}
            set => self.leave(
                id,
                format!("its DHCP option set {set} is in none of the files: it has that of the region"),
            ),
        }
        if vpc["InstanceTenancy"]
            .as_str()
            .is_some_and(|tenancy| tenancy != "default")
        {
            self.leave(id, "there is no tenancy but the default one");
        }
        if vpc["IsDefault"] == true {
            self.leave(id, "it is no default VPC here");
        }
        self.put("vpcs", &label, fields);
    }

    fn subnet(&mut self, subnet: &Value) {
        let id = text(subnet, "SubnetId");
        let Some(label) = self.labels.get(id) else { return };
        let Some(vpc) = self.vpc_label(id, subnet) else {
            return;
        };
        let mut fields = fields_of(id, &label, subnet);
        fields.insert("vpc".to_owned(), json!(vpc));
        let ipv6 = ipv6_blocks(subnet);
        for (name, value) in [
            ("cidr_block", subnet["CidrBlock"].clone()),
            ("ipv6_cidr_block", ipv6.into_iter().next().unwrap_or_default()),
            ("availability_zone", subnet["AvailabilityZone"].clone()),
        ] {
            if value.is_string() && value != "" {
                fields.insert(name.to_owned(), value);
            }
        }
        if subnet["MapPublicIpOnLaunch"] == true {
            fields.insert("map_public_ip_on_launch".to_owned(), json!(true));
        }
        if subnet["EnableDns64"] == true {
            fields.insert("enable_dns64".to_owned(), json!(true));
        }
        for attribute in ["AssignIpv6AddressOnCreation", "MapCustomerOwnedIpOnLaunch"] {
            if subnet[attribute] == true {
                self.leave(id, format!("a topology file has nothing for {attribute}"));
            }
        }
        self.put("subnets", &label, fields);
    }

    /// The VPC of a resource, if it is in the file; otherwise the resource is left out.
    pub(super) fn vpc_label(&mut self, id: &str, resource: &Value) -> Option<String> {
        let vpc = text(resource, "VpcId");
        let label = self.labels.get(vpc);
        if label.is_none() {
            self.leave(id, format!("its VPC {vpc} is in none of the files"));
        }
        label
    }

    /// Imports the routes and gateways of subnets; the interfaces are in the file already.
    pub(super) fn edge(&mut self) {
        for gateway in self.import.list("InternetGateways") {
            self.gateway(&gateway);
        }
        for gateway in self.import.list("NatGateways") {
            self.nat_gateway(&gateway);
        }
        self.links();
        for table in self.import.list("RouteTables") {
            self.table(&table);
        }
        self.endpoints();
        let mut free = RANGES[0].hosts();
        let addresses = self.import.list("Addresses");
        let given: Vec<Ipv4Addr> = addresses
            .iter()
            .filter_map(|one| text(one, "PublicIp").parse().ok())
            .collect();
        for address in addresses {
            let public = text(&address, "PublicIp").parse().ok();
            let public = match public {
                Some(public) if RANGES.iter().any(|range| range.contains(&public)) => Some(public),
                _ => free.find(|one| !given.contains(one)),
            };
            self.address(&address, public);
        }
    }

    fn gateway(&mut self, gateway: &Value) {
        let id = text(gateway, "InternetGatewayId");
        let Some(label) = self.labels.get(id) else { return };
        let mut fields = fields_of(id, &label, gateway);
        let attached = items(gateway, "Attachments").map(|attachment| text(attachment, "VpcId").to_owned());
        for vpc in attached.collect::<Vec<_>>() {
            match self.labels.get(&vpc) {
                Some(vpc) => drop(fields.insert("vpc".to_owned(), json!(vpc))),
                None => self.leave(id, format!("it is attached to {vpc}, which is in none of the files")),
            }
        }
        self.put("internet_gateways", &label, fields);
    }

    fn nat_gateway(&mut self, gateway: &Value) {
        let id = text(gateway, "NatGatewayId");
        let Some(label) = self.labels.get(id) else { return };
        if text(gateway, "State") != "available" {
            self.leave(id, format!("it is {}", text(gateway, "State")));
            return;
        }
        let subnet = text(gateway, "SubnetId");
        let Some(subnet) = self.in_file("subnets", subnet) else {
            self.leave(id, format!("its subnet {subnet} is in none of the files"));
            return;
        };
        let mut fields = fields_of(id, &label, gateway);
        fields.insert("subnet".to_owned(), json!(subnet));
        let public = gateway["ConnectivityType"] != "private";
        if !public {
            fields.insert("connectivity".to_owned(), json!("private"));
        }
        let mut addresses: Vec<&Value> = items(gateway, "NatGatewayAddresses").collect();
        addresses.sort_by_key(|address| address["IsPrimary"] == false);
        let allocations = addresses
            .iter()
            .map(|address| self.labels.get(text(address, "AllocationId")));
        let allocations: Option<Vec<String>> = allocations.collect();
        match allocations {
            Some(allocations) if public => drop(fields.insert("elastic_ips".to_owned(), json!(allocations))),
            None if public => {
                self.leave(id, "its Elastic IP addresses are in none of the files");
                return;
            }
            _ => {}
        }
        if public && !self.has_gateway(text(gateway, "VpcId")) {
            self.leave(id, "its VPC has no internet gateway in the files");
            return;
        }
        let private: Vec<&Value> = addresses.iter().map(|address| &address["PrivateIp"]).collect();
        fields.insert("ipv4".to_owned(), json!(private));
        if let Some(interface) = addresses
            .first()
            .and_then(|address| address["NetworkInterfaceId"].as_str())
        {
            fields.insert("interface_id".to_owned(), json!(interface));
        }
        self.put("nat_gateways", &label, fields);
    }

    /// Whether a NAT gateway of the file has an Elastic IP address.
    fn is_of_nat(&self, address: &str) -> bool {
        let gateways = self.file.get("nat_gateways").and_then(Value::as_object);
        let mut gateways = gateways.into_iter().flat_map(Map::values);
        gateways.any(|gateway| items(gateway, "elastic_ips").any(|one| one == address))
    }

    fn table(&mut self, table: &Value) {
        let id = text(table, "RouteTableId");
        let Some(label) = self.labels.get(id) else { return };
        let Some(vpc) = self.vpc_label(id, table) else {
            return;
        };
        let mut fields = fields_of(id, &label, table);
        fields.insert("vpc".to_owned(), json!(vpc));
        let (mut subnets, mut gateways) = (Vec::new(), Vec::new());
        for association in items(table, "Associations") {
            match (association["Main"] == true, association["SubnetId"].as_str()) {
                (true, _) => drop(fields.insert("main".to_owned(), json!(true))),
                (false, Some(subnet)) => match self.in_file("subnets", subnet) {
                    Some(subnet) => subnets.push(subnet),
                    None => self.leave(id, format!("its subnet {subnet} is in none of the files")),
                },
                (false, None) => {
                    let gateway = text(association, "GatewayId");
                    match self.in_file("internet_gateways", gateway) {
                        Some(gateway) => gateways.push(gateway),
                        None => self.leave(id, format!("it is associated with {gateway}, which is not in the file")),
                    }
                }
            }
        }
        if !subnets.is_empty() {
            fields.insert("subnets".to_owned(), json!(subnets));
        }
        if !gateways.is_empty() {
            fields.insert("gateways".to_owned(), json!(gateways));
        }
        let routes: Vec<Value> = items(table, "Routes")
            .filter_map(|route| self.route(id, route))
            .collect();
        if !routes.is_empty() {
            fields.insert("routes".to_owned(), json!(routes));
        }
        if items(table, "PropagatingVgws").next().is_some() {
            self.leave(id, "no virtual private gateway propagates routes here");
        }
        self.put("route_tables", &label, fields);
    }

    fn route(&mut self, table: &str, route: &Value) -> Option<Value> {
        let destination = route["DestinationCidrBlock"]
            .as_str()
            .or(route["DestinationIpv6CidrBlock"].as_str());
        let Some(destination) = destination else {
            let list = text(route, "DestinationPrefixListId");
            // The route to a gateway endpoint comes with the endpoint.
            let endpoints = self.import.list("VpcEndpoints");
            if endpoints.iter().any(|one| one["VpcEndpointId"] == route["GatewayId"]) {
                return None;
            }
            self.leave(
                table,
                format!("a route to the prefix list {list}: routes lead to CIDR blocks here"),
            );
            return None;
        };
        if route["GatewayId"] == "local" {
            return None;
        }
        let names = [
            "NetworkInterfaceId",
            "GatewayId",
            "NatGatewayId",
            "EgressOnlyInternetGatewayId",
            "VpcPeeringConnectionId",
            "InstanceId",
        ];
        let target = names.iter().find_map(|name| route[*name].as_str());
        if let Some(via) = target.and_then(|target| self.target(target)) {
            return Some(json!({ "to": destination, "via": via }));
        }
        let target = route
            .as_object()
            .into_iter()
            .flatten()
            .find(|(name, _)| (name.ends_with("Id") || name.ends_with("Arn")) && !name.starts_with("Destination"));
        let target = target
            .and_then(|(_, target)| target.as_str())
            .unwrap_or("nothing")
            .to_owned();
        if route["State"] == "blackhole" {
            return Some(json!({ "to": destination, "via": "blackhole" }));
        }
        self.leave(
            table,
            format!("the route to {destination} by {target}, which is not in the file"),
        );
        None
    }

    /// The target of a route, if it is in the file.
    fn target(&self, id: &str) -> Option<String> {
        let sections = [
            "interfaces",
            "instances",
            "internet_gateways",
            "nat_gateways",
            "egress_only_gateways",
            "peering_connections",
        ];
        sections
            .iter()
            .find_map(|section| self.in_file(section, id))
            .or_else(|| {
                let label = self.labels.get(id)?;
                let hosts = self.file.get("instances")?.as_object()?;
                hosts.values().any(|host| host["interface"] == *label).then_some(label)
            })
    }

    /// The label of a resource that is in a section of the file.
    pub(super) fn in_file(&self, section: &str, id: &str) -> Option<String> {
        let label = self.labels.get(id)?;
        self.file.get(section)?.get(&label)?;
        Some(label)
    }

    fn address(&mut self, address: &Value, public: Option<Ipv4Addr>) {
        let id = text(address, "AllocationId");
        let Some(label) = self.labels.get(id) else { return };
        let Some(public) = public else {
            self.leave(id, "there is no public address left for it");
            return;
        };
        let mut fields = fields_of(id, &label, address);
        fields.insert("public".to_owned(), json!(public));
        if text(address, "PublicIp") != public.to_string() {
            let own = text(address, "PublicIp");
            self.leave(id, format!("{own} is {public} here, an address for documentation"));
        }
        let interface = address["NetworkInterfaceId"].as_str();
        if let Some(interface) = interface.filter(|_| !self.is_of_nat(&label)) {
            match self.target(interface) {
                Some(to) if self.interface_has_gateway(interface) => {
                    fields.insert("to".to_owned(), json!(to));
                    if let Some(private) = address["PrivateIpAddress"].as_str() {
                        fields.insert("private".to_owned(), json!(private));
                    }
                }
                Some(_) => self.leave(
                    id,
                    "it is associated with nothing: the internet gateway is in none of the files",
                ),
                None => self.leave(
                    id,
                    format!("it is associated with nothing: {interface} is not in the file"),
                ),
            }
        }
        self.put("elastic_ips", &label, fields);
    }

    fn interface_has_gateway(&self, interface: &str) -> bool {
        let interface = self.interfaces.get(interface);
        interface.is_some_and(|interface| self.has_gateway(text(interface, "VpcId")))
    }

    /// Whether a VPC has an internet gateway.
    fn has_gateway(&self, vpc: &str) -> bool {
        let gateways = self.file.get("internet_gateways").and_then(Value::as_object);
        let mut gateways = gateways.into_iter().flat_map(Map::values);
        let vpc = self.labels.get(vpc);
        vpc.is_some_and(|vpc| gateways.any(|gateway| gateway["vpc"] == *vpc))
    }
}
