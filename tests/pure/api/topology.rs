//! Tests the whole network as one file, over HTTP.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::api::Server;

const FILE: &str = "
vpcs:
  home: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8:1200::/56'] }
subnets:
  left: { vpc: home, cidr_block: 10.0.1.0/24, ipv6_cidr_block: '2001:db8:1200:1::/64' }
interfaces:
  a: { subnet: left, ipv4: [10.0.1.10, 10.0.1.50], ipv6: [] }
  b: { subnet: left, ipv4: [10.0.1.11], source_dest_check: false, tags: { stage: test } }
route_tables:
  t: { vpc: home, subnets: [left], routes: [{ to: 192.0.2.0/24, via: b }] }
";

async fn merge(server: &Server, text: &str) -> Value {
    let client = &server.client;
    client
        .send_file(Method::PATCH, "/v1/topology", text.to_owned())
        .await
        .unwrap()
}

async fn plan(server: &Server, path: &str, text: &str) -> Vec<String> {
    let client = &server.client;
    let path = format!("/v1/topology/{path}");
    let answer = client.send_file(Method::POST, &path, text.to_owned()).await.unwrap();
    actions(&answer)
}

fn actions(answer: &Value) -> Vec<String> {
    let changes = answer["changes"].as_array().unwrap().iter();
    changes
        .map(|change| {
            let word = |field: &str| change[field].as_str().unwrap().to_owned();
            format!("{} {} {}", word("action"), word("kind"), word("name"))
        })
        .collect()
}

#[tokio::test]
async fn a_file_is_compared_applied_once_and_written_back() {
    let server = Server::start().await;
    assert_eq!(plan(&server, "plan", FILE).await.len(), 5);
    assert!(server.controller.vpcs().is_empty(), "a plan changes nothing");
    assert_eq!(
        actions(&merge(&server, FILE).await),
        [
            "create vpc home",
            "create subnet left",
            "create interface a",
            "create interface b",
            "create route-table t"
        ]
    );
    assert_eq!(merge(&server, FILE).await, json!({ "changes": [], "kept": [] }));

    let file = server.client.get("/v1/topology").await.unwrap();
    assert_eq!(file["interfaces"]["a"]["ipv4"], json!(["10.0.1.10", "10.0.1.50"]));
    assert_eq!(
        file["route_tables"]["t"]["routes"],
        json!([{ "to": "192.0.2.0/24", "via": "b" }])
    );
    assert_eq!(
        plan(&server, "plan?prune=true", &file.to_string()).await,
        Vec::<String>::new()
    );

    // The same as YAML, on an empty server.
    let yaml = server
        .ask("GET", "/v1/topology", &["Accept: application/yaml"], "")
        .await;
    assert_eq!(yaml.header("content-type"), Some("application/yaml"));
    let other = Server::start().await;
    merge(&other, &yaml.body).await;
    assert_eq!(other.client.get("/v1/topology").await.unwrap(), file);
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_edited_by_others_is_a_difference_and_what_they_add_stays() {
    let server = Server::start().await;
    merge(&server, FILE).await;
    let client = &server.client;
    let body = json!({ "edits": [{ "op": "assign", "address": "10.0.1.50", "interface": "b", "move": true }] });
    client.post("/v1/mappings/bulk", &body).await.unwrap();
    client
        .post("/v1/interfaces", &json!({ "name": "x", "subnet": "left" }))
        .await
        .unwrap();
    assert_eq!(
        plan(&server, "plan", FILE).await,
        ["alter interface a", "alter interface b"]
    );
    let answer = merge(&server, FILE).await;
    assert_eq!(answer["kept"], json!([{ "kind": "interface", "name": "x" }]));
    let owner = client.get("/v1/mappings?address=10.0.1.50").await.unwrap()["mappings"][0]["interface_id"].clone();
    assert_eq!(owner, client.get("/v1/interfaces/a").await.unwrap()["id"]);
    assert_eq!(plan(&server, "plan?prune=true", FILE).await, ["remove interface x"]);

    // Removing the file's resources is refused while another resource depends on one, and changes nothing.
    let refused = client
        .send_file(Method::POST, "/v1/topology/remove", FILE.to_owned())
        .await
        .unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "DependencyViolation");
    assert_eq!(refused.document().unwrap()["applied"], json!([]));
    client.delete("/v1/interfaces/x").await.unwrap();
    assert_eq!(plan(&server, "remove", FILE).await.len(), 5);
    assert_eq!(
        client.get("/v1/topology").await.unwrap(),
        json!({ "vpcs": {}, "subnets": {} })
    );
    server.stop().await;
}

#[tokio::test]
async fn a_refused_change_names_the_resource_the_field_and_the_code_and_changes_nothing() {
    let server = Server::start().await;
    merge(&server, FILE).await;
    let before = server.client.get("/v1/topology").await.unwrap();
    let last = server.controller.last_event();
    for (from, to, status, code, field, named) in [
        (
            "10.0.1.11]",
            "10.0.1.11], mtu: 100",
            422,
            "InvalidParameterValue",
            Some("mtu"),
            "network interface b",
        ),
        (
            "10.0.1.50]",
            "10.0.1.2]",
            422,
            "InvalidParameterValue",
            Some("address"),
            "network interface a",
        ),
        (
            "192.0.2.0/24",
            "10.0.9.0/24",
            422,
            "InvalidParameterValue",
            Some("routes"),
            "route table t",
        ),
        (
            "[10.0.0.0/16]",
            "[10.0.0.0/16, 11.0.0.0/8]",
            422,
            "InvalidVpc.Range",
            Some("cidr_blocks"),
            "VPC home",
        ),
    ] {
        let text = FILE.replace(from, to);
        // A change before it in the file would be made first.
        let text = text.replace("home: { ", "home: { tags: { other: tag }, ");
        let answer = server
            .ask("PATCH", "/v1/topology", &["Content-Type: application/yaml"], &text)
            .await;
        answer.assert_problem(status, code, field);
        let problem = answer.json();
        assert!(problem["detail"].as_str().unwrap().starts_with(named), "{problem}");
        assert!(problem["remedy"].is_string(), "{problem}");
        assert_eq!(problem["applied"], json!([]));
        assert!(!problem["not_applied"].as_array().unwrap().is_empty());
    }
    assert_eq!(server.client.get("/v1/topology").await.unwrap(), before);
    assert_eq!(server.controller.last_event(), last, "nothing happened");
    // A server without lab says so before it makes anything.
    let hosts = FILE.replace("interfaces:", "instances:");
    let other = Server::start().await;
    let answer = other
        .ask("PATCH", "/v1/topology", &["Content-Type: application/yaml"], &hosts)
        .await;
    answer.assert_problem(501, "Unsupported", None);
    assert!(other.controller.vpcs().is_empty());
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_line_and_column() {
    let server = Server::start().await;
    for (text, line, column, message) in [
        (
            "vpcs: { v: { cidr_block: 1 } }\nsubnets: {}\n",
            1,
            14,
            "unknown field `cidr_block`",
        ),
        (
            "vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }\nsubnets: { s: { vpc: w, cidr_block: 10.0.0.0/24 } }\n",
            2,
            22,
            "no VPC is called `w`",
        ),
    ] {
        let answer = server
            .ask("PATCH", "/v1/topology", &["Content-Type: application/yaml"], text)
            .await;
        answer.assert_problem(422, "InvalidTopology", None);
        let mistake = &answer.json()["mistakes"][0];
        assert_eq!(
            (&mistake["line"], &mistake["column"]),
            (&json!(line), &json!(column)),
            "{mistake}"
        );
        assert!(mistake["message"].as_str().unwrap().contains(message), "{mistake}");
    }
    let answer = server
        .ask("PATCH", "/v1/topology", &["Content-Type: text/plain"], FILE)
        .await;
    answer.assert_problem(415, "UnsupportedMediaType", Some("Content-Type"));
    let answer = server
        .ask(
            "PATCH",
            "/v1/topology?prone=true",
            &["Content-Type: application/yaml"],
            FILE,
        )
        .await;
    answer.assert_problem(400, "UnknownParameter", Some("prone"));
    server.stop().await;
}

#[tokio::test]
async fn patch_keeps_what_is_not_in_the_file_and_put_takes_it_away() {
    let server = Server::start().await;
    merge(&server, FILE).await;
    let smaller: String = FILE
        .lines()
        .filter(|line| !line.starts_with("  b:"))
        .collect::<Vec<_>>()
        .join("\n");
    let smaller = smaller.replace("via: b", "via: a");
    let merged = merge(&server, &smaller).await;
    assert!(merged["kept"].to_string().contains("\"b\""), "{merged}");
    assert_eq!(
        server.client.get("/v1/interfaces").await.unwrap()["interfaces"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(plan(&server, "plan?prune=true", &smaller).await, ["remove interface b"]);
    let replaced = server
        .client
        .send_file(Method::PUT, "/v1/topology", smaller.clone())
        .await
        .unwrap();
    assert_eq!(actions(&replaced), ["remove interface b"]);
    assert_eq!(
        server.client.get("/v1/interfaces").await.unwrap()["interfaces"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}
