//! Imports egress-only internet gateways, peering connections and gateway endpoints.

use serde_json::{Value, json};

use super::{Work, fields_of, items, text};
use crate::model::endpoint::GatewayService;

impl Work<'_> {
    /// Imports what routes name besides internet and NAT gateways.
    pub(super) fn links(&mut self) {
        for gateway in self.import.list("EgressOnlyInternetGateways") {
            self.egress_only(&gateway);
        }
        for peering in self.import.list("VpcPeeringConnections") {
            self.peering(&peering);
        }
    }

    fn egress_only(&mut self, gateway: &Value) {
        let id = text(gateway, "EgressOnlyInternetGatewayId");
        let Some(label) = self.labels.get(id) else { return };
        let attached = items(gateway, "Attachments").next();
        let vpc = attached.map(|attachment| text(attachment, "VpcId")).unwrap_or_default();
        let Some(vpc) = self.labels.get(vpc) else {
            self.leave(id, format!("its VPC {vpc} is in none of the files"));
            return;
        };
        let mut fields = fields_of(id, &label, gateway);
        fields.insert("vpc".to_owned(), json!(vpc));
        self.put("egress_only_gateways", &label, fields);
    }

    fn peering(&mut self, peering: &Value) {
        let id = text(peering, "VpcPeeringConnectionId");
        let Some(label) = self.labels.get(id) else { return };
        let state = text(&peering["Status"], "Code");
        if state != "active" {
            self.leave(id, format!("it is {state}"));
            return;
        }
        let mut fields = fields_of(id, &label, peering);
        for (name, side) in [("requester", "RequesterVpcInfo"), ("accepter", "AccepterVpcInfo")] {
            let vpc = text(&peering[side], "VpcId");
            let Some(vpc) = self.labels.get(vpc) else {
                self.leave(id, format!("the VPC {vpc} is in none of the files"));
                return;
            };
            fields.insert(name.to_owned(), json!(vpc));
            if peering[side]["PeeringOptions"]["AllowDnsResolutionFromRemoteVpc"] == true {
                self.leave(id, "a topology file has nothing for AllowDnsResolutionFromRemoteVpc");
            }
        }
        self.put("peering_connections", &label, fields);
    }

    /// Imports gateway endpoints; the route tables are in the file already.
    pub(super) fn endpoints(&mut self) {
        for endpoint in self.import.list("VpcEndpoints") {
            self.endpoint(&endpoint);
        }
    }

    fn endpoint(&mut self, endpoint: &Value) {
        let id = text(endpoint, "VpcEndpointId");
        let Some(label) = self.labels.get(id) else { return };
        let name = text(endpoint, "ServiceName");
        let mut services = GatewayService::ALL.into_iter();
        let service = services.find(|service| name.rsplit('.').next() == Some(service.word()));
        let Some(service) = service.filter(|_| endpoint["VpcEndpointType"] == "Gateway") else {
            self.leave(id, format!("{name} has no gateway endpoint here"));
            return;
        };
        let Some(vpc) = self.vpc_label(id, endpoint) else {
            return;
        };
        let mut fields = fields_of(id, &label, endpoint);
        fields.insert("vpc".to_owned(), json!(vpc));
        fields.insert("service".to_owned(), json!(service));
        let mut tables = Vec::new();
        for table in items(endpoint, "RouteTableIds").filter_map(Value::as_str) {
            match self.in_file("route_tables", table) {
                Some(table) => tables.push(table),
                None => self.leave(id, format!("its route table {table} is in none of the files")),
            }
        }
        if !tables.is_empty() {
            fields.insert("route_tables".to_owned(), json!(tables));
        }
        if let Some(policy) = endpoint["PolicyDocument"].as_str() {
            fields.insert("policy".to_owned(), json!(policy));
        }
        self.put("vpc_endpoints", &label, fields);
    }
}
