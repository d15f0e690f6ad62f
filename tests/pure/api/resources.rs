//! Tests route tables, DHCP option sets and the settings of interfaces over HTTP.

use crate::support::api::Server;
use serde_json::json;

#[tokio::test]
async fn a_route_table_lives_from_its_making_to_its_end() {
    let server = Server::furnished().await;
    let client = &server.client;
    let main = client.get("/v1/vpcs/home").await.unwrap()["main_route_table_id"].clone();
    let list = client.get("/v1/route-tables?vpc=home").await.unwrap();
    assert_eq!(list["route_tables"][0]["id"], main);

    let table = json!({"name": "t", "vpc": "home", "tags": {"stage": "test"}});
    let made = client.post("/v1/route-tables", &table).await.unwrap();
    let local = json!({
        "destination": "10.0.0.0/16", "target": "local", "state": "active", "origin": "CreateRouteTable",
    });
    assert_eq!((&made["routes"][0], &made["main"]), (&local, &json!(false)));

    let route = |target: &str| json!({"destination": "192.0.2.7/32", "target": target});
    let a = client.get("/v1/interfaces/a").await.unwrap()["id"].clone();
    let made = client.post("/v1/route-tables/t/routes", &route("a")).await.unwrap();
    // Nothing is attached to the interface.
    let expected = json!({
        "destination": "192.0.2.7/32", "target": a, "state": "blackhole", "origin": "CreateRoute",
    });
    assert_eq!(made["routes"][2], expected);
    let put = client
        .put("/v1/route-tables/t/routes", &route("blackhole"))
        .await
        .unwrap();
    assert_eq!(put["routes"][2]["target"], "blackhole");

    let led = client
        .post("/v1/route-tables/t/associations", &json!({"subnet": "left"}))
        .await
        .unwrap();
    assert_eq!(led["subnet_ids"].as_array().unwrap().len(), 1);
    let busy = server.refused("DELETE", "/v1/route-tables/t", json!(null)).await;
    assert_eq!((busy.0, &*busy.1), (409, "DependencyViolation"));
    client.delete("/v1/route-tables/t/associations/left").await.unwrap();

    client.delete("/v1/route-tables/t/routes/192.0.2.7/32").await.unwrap();
    client.post("/v1/route-tables/t/routes", &route("a")).await.unwrap();
    client.delete("/v1/route-tables/t/routes/192.0.2.7%2F32").await.unwrap();

    let changed = client
        .patch("/v1/route-tables/t", &json!({"main": true, "name": "u"}))
        .await
        .unwrap();
    assert_eq!((&changed["main"], &changed["name"]), (&json!(true), &json!("u")));
    client
        .delete(&format!("/v1/route-tables/{}", main.as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        client.get("/v1/vpcs/home").await.unwrap()["main_route_table_id"],
        changed["id"]
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_route_is_said_with_the_field_and_the_code_of_aws() {
    let server = Server::furnished().await;
    let table = json!({"name": "t", "vpc": "home"});
    server.client.post("/v1/route-tables", &table).await.unwrap();
    let routes = "/v1/route-tables/t/routes";
    let route = |to: &str, target: &str| json!({"destination": to, "target": target});
    let cases = [
        (
            "POST",
            routes,
            route("10.0.0.0/16", "a"),
            409,
            "RouteAlreadyExists",
            "destination",
        ),
        (
            "POST",
            routes,
            route("10.0.9.0/24", "a"),
            422,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "POST",
            routes,
            route("169.254.169.0/24", "a"),
            422,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "POST",
            routes,
            route("192.0.2.0/24", "local"),
            422,
            "InvalidParameterValue",
            "target",
        ),
        (
            "POST",
            routes,
            route("192.0.2.0/24", "z"),
            422,
            "InvalidNetworkInterfaceID.NotFound",
            "target",
        ),
        (
            "POST",
            routes,
            route("192.0.2.0", "a"),
            422,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "PUT",
            routes,
            route("192.0.2.0/24", "a"),
            422,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "DELETE",
            "/v1/route-tables/t/routes/192.0.2.0/24",
            json!(null),
            404,
            "InvalidRoute.NotFound",
            "destination",
        ),
        (
            "DELETE",
            "/v1/route-tables/t/routes/10.0.0.0/16",
            json!(null),
            422,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "DELETE",
            "/v1/route-tables/t/routes/x",
            json!(null),
            400,
            "InvalidParameterValue",
            "destination",
        ),
        (
            "GET",
            "/v1/route-tables/z",
            json!(null),
            404,
            "InvalidRouteTableID.NotFound",
            "route_table",
        ),
        (
            "POST",
            "/v1/route-tables/z/routes",
            route("192.0.2.0/24", "a"),
            404,
            "InvalidRouteTableID.NotFound",
            "route_table",
        ),
        (
            "POST",
            "/v1/route-tables",
            json!({"vpc": "z"}),
            422,
            "InvalidVpcID.NotFound",
            "vpc",
        ),
        (
            "POST",
            "/v1/route-tables/t/associations",
            json!({"subnet": "z"}),
            422,
            "InvalidSubnetID.NotFound",
            "subnet",
        ),
        (
            "DELETE",
            "/v1/route-tables/t/associations/left",
            json!(null),
            409,
            "InvalidAssociationID.NotFound",
            "subnet",
        ),
        (
            "GET",
            "/v1/dhcp-options/z",
            json!(null),
            404,
            "InvalidDhcpOptionID.NotFound",
            "dhcp_options",
        ),
        (
            "PATCH",
            "/v1/vpcs/home",
            json!({"dhcp_options": "z"}),
            422,
            "InvalidDhcpOptionID.NotFound",
            "dhcp_options",
        ),
        (
            "POST",
            "/v1/dhcp-options",
            json!({"options": {}}),
            422,
            "MissingParameter",
            "options",
        ),
        (
            "POST",
            "/v1/dhcp-options",
            json!({"options": {"netbios_node_type": 3}}),
            422,
            "InvalidParameterValue",
            "netbios_node_type",
        ),
        (
            "PATCH",
            "/v1/interfaces/a",
            json!({"mtu": 100}),
            422,
            "InvalidParameterValue",
            "mtu",
        ),
        (
            "PATCH",
            "/v1/interfaces/a",
            json!({"metadata": {"instance_tags": true}, "tags": {"Patch Group": "a"}}),
            422,
            "InvalidParameterValue",
            "tags",
        ),
        (
            "POST",
            "/v1/interfaces",
            json!({"subnet": "left", "metadata": {"instance_tags": true}, "tags": {"_index": "a"}}),
            422,
            "InvalidParameterValue",
            "tags",
        ),
        (
            "PATCH",
            "/v1/interfaces/a",
            json!({"metadata": {"http_put_response_hop_limit": 65}}),
            422,
            "InvalidParameterValue",
            "metadata.http_put_response_hop_limit",
        ),
    ];
    for (method, path, body, status, code, field) in cases {
        let text = format!("{method} {path} {body}");
        let (got, said, named) = server.refused(method, path, body).await;
        assert_eq!((got, &*said, named.as_deref()), (status, code, Some(field)), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_vpc_may_have_other_dhcp_options_or_none() {
    let server = Server::furnished().await;
    let client = &server.client;
    let begins = client.get("/v1/vpcs/home").await.unwrap()["dhcp_options_id"].clone();
    let first = client
        .get(&format!("/v1/dhcp-options/{}", begins.as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (&first["default"], &first["options"]["domain_name"]),
        (&json!(true), &json!("ec2.internal"))
    );

    let set = json!({"name": "ours", "options": {"domain_name": "example.internal", "domain_name_servers": ["AmazonProvidedDNS"]}});
    let made = client.post("/v1/dhcp-options", &set).await.unwrap();
    let vpc = client
        .patch("/v1/vpcs/home", &json!({"dhcp_options": "ours"}))
        .await
        .unwrap();
    assert_eq!(vpc["dhcp_options_id"], made["id"]);
    let busy = server.refused("DELETE", "/v1/dhcp-options/ours", json!(null)).await;
    assert_eq!((busy.0, &*busy.1), (409, "DependencyViolation"));
    let vpc = client
        .patch("/v1/vpcs/home", &json!({"dhcp_options": "default"}))
        .await
        .unwrap();
    assert_eq!(vpc["dhcp_options_id"], "default");
    client.delete("/v1/dhcp-options/ours").await.unwrap();
    assert_eq!(
        client.get("/v1/dhcp-options").await.unwrap()["dhcp_options"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn an_interface_s_metadata_mtu_and_time_are_changed_field_by_field() {
    let server = Server::furnished().await;
    let client = &server.client;
    let made = client
        .post(
            "/v1/interfaces",
            &json!({"subnet": "left", "name": "c", "mtu": 1500, "metadata": {"user_data": "x"}}),
        )
        .await
        .unwrap();
    assert_eq!(
        (&made["mtu"], &made["metadata"]["user_data"]),
        (&json!(1500), &json!("x"))
    );
    assert!(made["instance_id"].as_str().unwrap().starts_with("i-0"));
    let change = json!({"mtu": null, "ntp_skew": "250ms", "metadata": {"http_tokens": "required"}});
    let changed = client.patch("/v1/interfaces/c", &change).await.unwrap();
    assert_eq!(changed.get("mtu"), None);
    assert_eq!(changed["ntp_skew"], "250ms");
    assert_eq!(
        (&changed["metadata"]["http_tokens"], &changed["metadata"]["user_data"]),
        (&json!("required"), &json!("x"))
    );
    let changed = client
        .patch("/v1/interfaces/c", &json!({"metadata": {"user_data": null}}))
        .await
        .unwrap();
    assert_eq!(changed["metadata"].get("user_data"), None);
    server.stop().await;
}
