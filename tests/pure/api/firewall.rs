//! Security groups, network ACLs and prefix lists over HTTP.

use crate::support::api::Server;
use serde_json::{Value, json};

#[tokio::test]
async fn a_security_group_lives_from_its_making_to_its_end() {
    let server = Server::furnished().await;
    let client = &server.client;
    let default = client.get("/v1/security-groups/default").await.unwrap();
    assert_eq!(
        (&default["default"], &default["ingress"][0]["group_id"]),
        (&json!(true), &default["id"])
    );
    let a = client.get("/v1/interfaces/a").await.unwrap();
    assert_eq!(a["group_ids"], json!([default["id"]]));

    let vrrp = json!({"protocol": 112, "group": "pair", "description": "keepalived"});
    let made = json!({"name": "pair", "vpc": "home", "ingress": [vrrp]});
    let made = client.post("/v1/security-groups", &made).await.unwrap();
    let rule = &made["ingress"][0];
    assert_eq!(
        (&rule["protocol"], &rule["group_id"], &rule["description"]),
        (&json!("112"), &made["id"], &json!("keepalived"))
    );
    assert_eq!(
        (&made["egress"][0]["protocol"], &made["egress"][1]["cidr"]),
        (&json!("all"), &json!("::/0"))
    );

    let http = json!({"ingress": [{"protocol": "tcp", "ports": 80, "cidr": "10.0.0.0/16"}]});
    let added = client.post("/v1/security-groups/pair/rules", &http).await.unwrap();
    let http_id = added["ingress"][1]["id"].as_str().unwrap().to_owned();
    let place = format!("/v1/security-groups/pair/rules/{http_id}");
    let https = json!({"protocol": "tcp", "ports": "443-444", "cidr": "10.0.0.0/16"});
    let changed = client.put(&place, &https).await.unwrap();
    assert_eq!(
        (&changed["ingress"][1]["id"], &changed["ingress"][1]["ports"]),
        (&json!(http_id), &json!("443-444"))
    );
    let revoked = client
        .post("/v1/security-groups/pair/revoke", &json!({"ingress": [https]}))
        .await
        .unwrap();
    assert_eq!(revoked["ingress"].as_array().unwrap().len(), 1);

    let groups = json!({"groups": ["pair", "default"]});
    let member = client.patch("/v1/interfaces/a", &groups).await.unwrap();
    assert_eq!(member["group_ids"], json!([made["id"], default["id"]]));
    let members = client.get("/v1/interfaces?group=pair").await.unwrap();
    assert_eq!(members["interfaces"].as_array().unwrap().len(), 1);
    let busy = server.refused("DELETE", "/v1/security-groups/pair", json!(null)).await;
    assert_eq!((busy.0, &*busy.1), (409, "DependencyViolation"));
    client
        .patch("/v1/interfaces/a", &json!({"groups": ["default"]}))
        .await
        .unwrap();
    client.delete("/v1/security-groups/pair").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_network_acl_is_edited_by_number_and_given_to_a_subnet() {
    let server = Server::furnished().await;
    let client = &server.client;
    let subnet = client.get("/v1/subnets/left").await.unwrap()["id"].clone();
    let all = client.get("/v1/network-acls?vpc=home").await.unwrap();
    let default = &all["network_acls"][0];
    assert_eq!(
        (&default["default"], &default["associations"][0]["subnet_id"]),
        (&json!(true), &subnet)
    );
    let numbers: Vec<&Value> = default["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["number"])
        .collect();
    assert_eq!(numbers, [100, 101, 32767, 32768]);

    client
        .post("/v1/network-acls", &json!({"name": "edge", "vpc": "home"}))
        .await
        .unwrap();
    let entry = json!({"action": "allow", "protocol": "tcp", "ports": "1024-65535", "cidr": "0.0.0.0/0"});
    let edited = client.put("/v1/network-acls/edge/ingress/140", &entry).await.unwrap();
    assert_eq!(
        edited["ingress"][0],
        json!({"number": 140, "action": "allow", "protocol": "tcp", "ports": "1024-65535", "cidr": "0.0.0.0/0"})
    );
    let given = client
        .post("/v1/network-acls/edge/associations", &json!({"subnet": "left"}))
        .await
        .unwrap();
    assert_eq!(given["subnet_id"], subnet);
    assert_ne!(given["id"], default["associations"][0]["id"]);
    let busy = server.refused("DELETE", "/v1/network-acls/edge", json!(null)).await;
    assert_eq!((busy.0, &*busy.1), (409, "DependencyViolation"));
    client.delete("/v1/network-acls/edge/ingress/140").await.unwrap();
    let back = format!("/v1/network-acls/{}/associations", default["id"].as_str().unwrap());
    client.post(&back, &json!({"subnet": "left"})).await.unwrap();
    client.delete("/v1/network-acls/edge").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_prefix_list_keeps_its_versions() {
    let server = Server::furnished().await;
    let client = &server.client;
    let made =
        json!({"name": "offices", "max_entries": 5, "entries": [{"cidr": "203.0.113.0/24", "description": "x"}]});
    let made = client.post("/v1/prefix-lists", &made).await.unwrap();
    assert_eq!((&made["version"], &made["family"]), (&json!(1), &json!("IPv4")));
    let edit = json!({"current_version": 1, "add": [{"cidr": "198.51.100.0/24"}], "remove": ["203.0.113.0/24"]});
    let edited = client.patch("/v1/prefix-lists/offices", &edit).await.unwrap();
    assert_eq!(
        (&edited["version"], &edited["entries"]),
        (&json!(2), &json!([{"cidr": "198.51.100.0/24"}]))
    );
    let first = client.get("/v1/prefix-lists/offices/versions/1").await.unwrap();
    assert_eq!(first["entries"], made["entries"]);
    let late = server.refused("PATCH", "/v1/prefix-lists/offices", edit).await;
    assert_eq!(
        late,
        (
            409,
            "PrefixListVersionMismatch".to_owned(),
            Some("current_version".to_owned())
        )
    );
    let restore = json!({"previous_version": 1, "current_version": 2});
    let restored = client.post("/v1/prefix-lists/offices/restore", &restore).await.unwrap();
    assert_eq!(
        (&restored["version"], &restored["entries"]),
        (&json!(3), &made["entries"])
    );
    client.delete("/v1/prefix-lists/offices").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_said_with_its_place_and_the_code_of_aws() {
    let server = Server::furnished().await;
    let group = json!({"name": "web", "vpc": "home"});
    server.client.post("/v1/security-groups", &group).await.unwrap();
    let rules = "/v1/security-groups/web/rules";
    let ingress = |rule: Value| json!({"ingress": [{"protocol": "all", "cidr": "192.0.2.0/24"}, rule]});
    let acl = json!({"name": "edge", "vpc": "home"});
    server.client.post("/v1/network-acls", &acl).await.unwrap();
    let entry = json!({"action": "deny", "protocol": "all", "cidr": "0.0.0.0/0"});
    for (method, path, body, status, code, field) in [
        (
            "POST",
            rules,
            ingress(json!({"protocol": "tcp"})),
            422,
            "InvalidParameterValue",
            "ingress[1].cidr",
        ),
        (
            "POST",
            rules,
            ingress(json!({"protocol": "vrrp", "cidr": "0.0.0.0/0"})),
            422,
            "InvalidParameterValue",
            "ingress[1].protocol",
        ),
        (
            "POST",
            rules,
            ingress(json!({"protocol": "112", "ports": 80, "cidr": "0.0.0.0/0"})),
            422,
            "InvalidParameterValue",
            "ingress[1].ports",
        ),
        (
            "POST",
            rules,
            ingress(json!({"protocol": "tcp", "group": "nothing"})),
            422,
            "InvalidGroup.NotFound",
            "group",
        ),
        (
            "POST",
            rules,
            json!({"egress": [{"protocol": "all", "cidr": "0.0.0.0/0"}]}),
            409,
            "InvalidPermission.Duplicate",
            "rules",
        ),
        ("POST", rules, json!({}), 422, "InvalidParameterValue", "ingress"),
        (
            "DELETE",
            "/v1/security-groups/web/rules/sgr-00000000000000001",
            json!(null),
            404,
            "InvalidSecurityGroupRuleId.NotFound",
            "rule",
        ),
        (
            "DELETE",
            "/v1/security-groups/default",
            json!(null),
            409,
            "CannotDelete",
            "group",
        ),
        (
            "POST",
            "/v1/security-groups",
            json!({"name": "web2", "group_name": "web", "vpc": "home"}),
            409,
            "InvalidGroup.Duplicate",
            "group_name",
        ),
        (
            "PATCH",
            "/v1/interfaces/a",
            json!({"groups": []}),
            422,
            "MissingParameter",
            "groups",
        ),
        (
            "PUT",
            "/v1/network-acls/edge/ingress/32767",
            entry.clone(),
            422,
            "InvalidParameterValue",
            "number",
        ),
        (
            "PUT",
            "/v1/network-acls/edge/inward/1",
            entry,
            422,
            "InvalidParameterValue",
            "direction",
        ),
        (
            "DELETE",
            "/v1/network-acls/edge/egress/7",
            json!(null),
            404,
            "InvalidNetworkAclEntry.NotFound",
            "number",
        ),
        (
            "POST",
            "/v1/prefix-lists",
            json!({"name": "l", "entries": [{"cidr": "10.0.0.0/8"}, {"cidr": "::/0"}]}),
            422,
            "InvalidParameterValue",
            "entries",
        ),
    ] {
        let found = server.refused(method, path, body.clone()).await;
        assert_eq!(
            found,
            (status, code.to_owned(), Some(field.to_owned())),
            "{method} {path} {body}"
        );
    }
    server.stop().await;
}
