//! What does not exist is a 404 where the path names it, and a 422 where the body or the query does.

use serde_json::{Value, json};

use crate::support::api::Server;

const JSON: &str = "Content-Type: application/json";

/// Bodies that are right but for what the path names.
fn body(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "modify_interface"
        | "modify_route_table"
        | "modify_subnet"
        | "modify_vpc"
        | "modify_network_acl"
        | "modify_prefix_list"
        | "modify_elastic_ip"
        | "modify_internet_gateway"
        | "modify_flow_log"
        | "modify_nat_gateway"
        | "modify_egress_only_internet_gateway"
        | "modify_peering_connection"
        | "modify_vpc_endpoint"
        | "modify_security_group" => r#"{"tags": {}}"#,
        "associate_network_acl" => r#"{"subnet": "left"}"#,
        "put_network_acl_entry" => r#"{"action": "allow", "protocol": "tcp", "cidr": "0.0.0.0/0"}"#,
        "restore_prefix_list" => r#"{"previous_version": 1, "current_version": 1}"#,
        "revoke_rules" | "authorize_rules" => {
            r#"{"ingress": [{"protocol": "tcp", "ports": 80, "cidr": "10.0.0.0/16"}]}"#
        }
        "replace_rule" => r#"{"protocol": "tcp", "ports": 80, "cidr": "10.0.0.0/16"}"#,
        "assign_addresses" => r#"{"ipv4_address_count": 1}"#,
        "attach_internet_gateway" => r#"{"vpc": "home"}"#,
        "add_nat_gateway_addresses" => "{}",
        "associate_elastic_ip" => r#"{"interface": "a"}"#,
        "attach_interface" => r#"{"tap": "tap-of-nobody"}"#,
        "put_mapping" => r#"{"interface": "a"}"#,
        "associate_route_table" => r#"{"subnet": "left"}"#,
        "replace_route" | "create_route" => r#"{"destination": "192.0.2.0/24", "target": "blackhole"}"#,
        _ => return None,
    })
}

#[tokio::test]
async fn what_a_path_names_and_does_not_exist_is_not_found() {
    let server = Server::furnished().await;
    let description: Value = server.client.get("/v1/openapi.json").await.unwrap();
    let mut different = Vec::new();
    let mut asked = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        // Whether there is a lab is asked before its instances are: tests/root/hosts.rs has these.
        if !path.contains('{') || path.starts_with("/v1/instances") {
            continue;
        }
        let mut concrete = path.clone();
        for (name, value) in [
            ("address", "10.0.1.10"),
            ("private_ip", "10.0.1.10"),
            ("destination", "192.0.2.0%2F24"),
            ("instance", "a"),
            ("direction", "ingress"),
            ("number", "100"),
            ("version", "1"),
        ] {
            concrete = concrete.replace(&format!("{{{name}}}"), value);
        }
        while let (Some(open), Some(close)) = (concrete.find('{'), concrete.find('}')) {
            concrete.replace_range(open..=close, "nothing-of-this-name");
        }
        for (method, operation) in operations.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            asked += 1;
            let headers: &[&str] = if operation["requestBody"].is_null() {
                &[]
            } else {
                &[JSON]
            };
            let body = body(id).unwrap_or_default();
            let answer = server.ask(&method.to_uppercase(), &concrete, headers, body).await;
            if answer.status != 404 {
                different.push(format!("{id}: {} {}", answer.status, answer.json()));
            }
        }
    }
    assert!(asked > 30, "the description lists {asked} operations with a path");
    assert!(different.is_empty(), "{different:#?}");
    server.stop().await;
}

#[tokio::test]
async fn what_a_body_or_a_query_names_and_does_not_exist_cannot_be_used() {
    let server = Server::furnished().await;
    let table = json!({"name": "t", "vpc": "home"});
    server.client.post("/v1/route-tables", &table).await.unwrap();
    let route = json!({"destination": "198.51.100.0/24", "target": "blackhole"});
    server.client.post("/v1/route-tables/t/routes", &route).await.unwrap();
    let cases = [
        (
            "POST",
            "/v1/subnets",
            json!({"vpc": "x", "cidr_block": "10.0.2.0/24"}),
            "vpc",
        ),
        ("POST", "/v1/interfaces", json!({"subnet": "x"}), "subnet"),
        (
            "POST",
            "/v1/vpcs",
            json!({"cidr_blocks": ["10.1.0.0/16"], "dhcp_options": "x"}),
            "dhcp_options",
        ),
        ("PATCH", "/v1/vpcs/home", json!({"dhcp_options": "x"}), "dhcp_options"),
        ("POST", "/v1/route-tables", json!({"vpc": "x"}), "vpc"),
        (
            "POST",
            "/v1/route-tables/t/associations",
            json!({"subnet": "x"}),
            "subnet",
        ),
        (
            "POST",
            "/v1/route-tables/t/routes",
            json!({"destination": "192.0.2.0/24", "target": "x"}),
            "target",
        ),
        (
            "PUT",
            "/v1/route-tables/t/routes",
            json!({"destination": "198.51.100.0/24", "target": "x"}),
            "target",
        ),
        (
            "PUT",
            "/v1/mappings/left/10.0.1.50",
            json!({"interface": "x"}),
            "interface",
        ),
        (
            "POST",
            "/v1/mappings/bulk",
            json!({"edits": [{"op": "assign", "interface": "x", "address": "10.0.1.50"}]}),
            "edits[0].interface",
        ),
        (
            "POST",
            "/v1/faults",
            json!({"link_down": {"interfaces": ["x"]}}),
            "interface",
        ),
        ("POST", "/v1/faults", json!({"link_down": {"subnets": ["x"]}}), "subnet"),
        (
            "POST",
            "/v1/faults",
            json!({"zone_cut": {"availability_zone": "x"}}),
            "availability_zone",
        ),
        (
            "POST",
            "/v1/faults",
            json!({"stale_mapping": {"seen_by": {"all": true}, "subnet": "x"}}),
            "subnet",
        ),
        ("POST", "/v1/explain", json!({"from": "x", "to": "10.0.1.11"}), "from"),
        ("POST", "/v1/runs", json!({"scenario": "x"}), "scenario"),
        ("GET", "/v1/interfaces?vpc=x", Value::Null, "vpc"),
        ("GET", "/v1/interfaces?subnet=x", Value::Null, "subnet"),
        ("GET", "/v1/subnets?vpc=x", Value::Null, "vpc"),
        ("GET", "/v1/route-tables?vpc=x", Value::Null, "vpc"),
        ("GET", "/v1/mappings?subnet=x", Value::Null, "subnet"),
        ("GET", "/v1/mappings?interface=x", Value::Null, "interface"),
        ("GET", "/v1/ports?interface=x", Value::Null, "interface"),
        ("GET", "/v1/events?interface=x", Value::Null, "interface"),
        ("GET", "/v1/captures?interface=x", Value::Null, "interface"),
    ];
    let mut different = Vec::new();
    for (method, path, body, field) in cases {
        let (headers, text) = match body {
            Value::Null => (vec![], String::new()),
            body => (vec![JSON], body.to_string()),
        };
        let answer = server.ask(method, path, &headers, &text).await;
        let problem = answer.json();
        if answer.status != 422 || problem["field"] != field {
            different.push(format!("{method} {path} {text}: {} {problem}", answer.status));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    server.stop().await;
}
