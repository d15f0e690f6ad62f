//! Tests that every wrong request gets a problem document that names the field, and changes nothing.

use crate::support::api::{Options, Server};

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn every_wrong_request_is_answered_by_a_problem_that_names_what_is_wrong() {
    let server = Server::furnished().await;
    let before = server.controller.last_event();
    let long_count = r#"{"ipv6_address_count": 1000000}"#;
    // method, path, body, status, code, field
    /// Method, path, body; status, code, field.
    type Refusal = (
        &'static str,
        &'static str,
        &'static str,
        u16,
        &'static str,
        Option<&'static str>,
    );
    let cases: &[Refusal] = &[
        ("GET", "/v1/nothing", "", 404, "InvalidAction", None),
        ("GET", "/", "", 404, "InvalidAction", None),
        ("PUT", "/v1/vpcs", "{}", 405, "InvalidAction", Some("method")),
        ("DELETE", "/v1/mappings", "", 405, "InvalidAction", Some("method")),
        // Bodies
        ("POST", "/v1/vpcs", "{", 400, "MalformedJson", None),
        (
            "POST",
            "/v1/vpcs",
            "{} {}",
            422,
            "MissingParameter",
            Some("cidr_blocks"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": []} x"#,
            400,
            "MalformedJson",
            None,
        ),
        ("POST", "/v1/vpcs", "[]", 422, "InvalidParameterValue", None),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["10.0.0.0/16"], "colour": 1}"#,
            422,
            "UnknownParameter",
            Some("colour"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["ten"]}"#,
            422,
            "InvalidParameterValue",
            Some("cidr_blocks[0]"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["10.0.0.0/8"]}"#,
            422,
            "InvalidVpc.Range",
            Some("cidr_blocks"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": []}"#,
            422,
            "MissingParameter",
            Some("cidr_blocks"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["10.0.0.0/16"], "profile": "ibm"}"#,
            422,
            "InvalidParameterValue",
            Some("profile"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["10.0.0.0/16"], "profile": {"base": "aws", "overrides": {"speed": 1}}}"#,
            422,
            "InvalidParameterValue",
            Some("profile.overrides"),
        ),
        (
            "POST",
            "/v1/vpcs",
            r#"{"cidr_blocks": ["10.0.0.0/16"], "name": "home"}"#,
            409,
            "InvalidParameterValue",
            Some("name"),
        ),
        (
            "POST",
            "/v1/subnets",
            r#"{"vpc": "away", "cidr_block": "10.0.2.0/24"}"#,
            422,
            "InvalidVpcID.NotFound",
            Some("vpc"),
        ),
        (
            "POST",
            "/v1/subnets",
            r#"{"vpc": "home", "cidr_block": "10.0.1.128/25"}"#,
            409,
            "InvalidSubnet.Conflict",
            Some("cidr_block"),
        ),
        (
            "POST",
            "/v1/subnets",
            r#"{"vpc": "home", "ipv6_cidr_block": "2001:db8:1200:2::/60"}"#,
            422,
            "InvalidSubnet.Range",
            Some("ipv6_cidr_block"),
        ),
        (
            "POST",
            "/v1/interfaces",
            r#"{"subnet": "left", "mac_address": "aa"}"#,
            422,
            "InvalidParameterValue",
            Some("mac_address"),
        ),
        (
            "POST",
            "/v1/interfaces",
            r#"{"subnet": "left", "ipv4_addresses": ["10.0.1.12", "10.0.1.10"]}"#,
            409,
            "InvalidIPAddress.InUse",
            Some("address"),
        ),
        (
            "POST",
            "/v1/interfaces/a/addresses",
            "{}",
            422,
            "MissingParameter",
            Some("ipv4_addresses"),
        ),
        (
            "POST",
            "/v1/interfaces/a/addresses",
            long_count,
            422,
            "InvalidParameterValue",
            Some("ipv6_address_count"),
        ),
        (
            "PATCH",
            "/v1/interfaces/a",
            r#"{"source_dest_check": "no"}"#,
            422,
            "InvalidParameterValue",
            Some("source_dest_check"),
        ),
        (
            "POST",
            "/v1/interfaces/a/attach",
            "{}",
            422,
            "MissingParameter",
            Some("tap"),
        ),
        (
            "POST",
            "/v1/interfaces/a/attach",
            r#"{"tap": "t", "fd": 3}"#,
            422,
            "InvalidParameterValue",
            Some("fd"),
        ),
        (
            "POST",
            "/v1/interfaces/a/attach",
            r#"{"tap": "t", "namespace": "no-such-namespace"}"#,
            422,
            "InvalidParameterValue",
            Some("namespace"),
        ),
        (
            "POST",
            "/v1/interfaces/a/attach",
            r#"{"tap": "a/b"}"#,
            422,
            "InvalidParameterValue",
            Some("tap"),
        ),
        (
            "POST",
            "/v1/interfaces/a/attach",
            r#"{"fd": 100000}"#,
            422,
            "InvalidParameterValue",
            Some("fd"),
        ),
        (
            "POST",
            "/v1/interfaces/a/detach",
            "",
            409,
            "InvalidAttachmentID.NotFound",
            Some("interface"),
        ),
        // Paths
        ("GET", "/v1/vpcs/away", "", 404, "InvalidVpcID.NotFound", Some("vpc")),
        (
            "GET",
            "/v1/interfaces/eni-00000000000000001",
            "",
            404,
            "InvalidNetworkInterfaceID.NotFound",
            Some("interface"),
        ),
        (
            "GET",
            "/v1/mappings/left/10.0.1.99",
            "",
            404,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "GET",
            "/v1/mappings/right/10.0.1.10",
            "",
            404,
            "InvalidSubnetID.NotFound",
            Some("subnet"),
        ),
        (
            "GET",
            "/v1/mappings/left/ten",
            "",
            400,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "GET",
            "/v1/mappings/left/10.0.1.0/24",
            "",
            400,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "PUT",
            "/v1/mappings/left/10.0.1.10",
            r#"{"interface": "b"}"#,
            409,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "PUT",
            "/v1/mappings/left/10.0.1.2",
            r#"{"interface": "b"}"#,
            422,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "PUT",
            "/v1/mappings/left/10.0.9.9",
            r#"{"interface": "b"}"#,
            422,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "PUT",
            "/v1/mappings/left/10.0.1.50",
            r#"{"interface": "z"}"#,
            422,
            "InvalidNetworkInterfaceID.NotFound",
            Some("interface"),
        ),
        ("DELETE", "/v1/vpcs/home", "", 409, "DependencyViolation", None),
        // Queries
        ("GET", "/v1/vpcs?all=1", "", 400, "UnknownParameter", Some("all")),
        ("GET", "/v1/vpcs/home?x=1", "", 400, "UnknownParameter", Some("x")),
        (
            "GET",
            "/v1/mappings?colour=red",
            "",
            400,
            "UnknownParameter",
            Some("colour"),
        ),
        (
            "GET",
            "/v1/mappings?address=ten",
            "",
            400,
            "InvalidParameterValue",
            Some("address"),
        ),
        (
            "GET",
            "/v1/mappings?limit=0",
            "",
            400,
            "InvalidParameterValue",
            Some("limit"),
        ),
        (
            "GET",
            "/v1/mappings?limit=many",
            "",
            400,
            "InvalidParameterValue",
            Some("limit"),
        ),
        (
            "GET",
            "/v1/mappings?cursor=x",
            "",
            400,
            "InvalidParameterValue",
            Some("cursor"),
        ),
        (
            "GET",
            "/v1/mappings?cursor=5",
            "",
            400,
            "InvalidParameterValue",
            Some("cursor"),
        ),
        (
            "GET",
            "/v1/mappings?subnet=right",
            "",
            422,
            "InvalidSubnetID.NotFound",
            Some("subnet"),
        ),
        (
            "GET",
            "/v1/events?type=weather",
            "",
            400,
            "InvalidParameterValue",
            Some("type"),
        ),
        (
            "GET",
            "/v1/events?interface=z",
            "",
            422,
            "InvalidNetworkInterfaceID.NotFound",
            Some("interface"),
        ),
        // Lists
        (
            "POST",
            "/v1/mappings/bulk",
            r#"{"edits": [{"op": "assign", "address": "10.0.1.50"}]}"#,
            422,
            "MissingParameter",
            Some("edits[0].interface"),
        ),
        (
            "POST",
            "/v1/mappings/bulk",
            r#"{"edits": [{"op": "fly", "address": "10.0.1.50"}]}"#,
            422,
            "InvalidParameterValue",
            Some("edits[0].op"),
        ),
        (
            "POST",
            "/v1/mappings/bulk",
            r#"{"edits": [{"op": "assign"}]}"#,
            422,
            "MissingParameter",
            Some("edits[0].address"),
        ),
        (
            "POST",
            "/v1/mappings/bulk",
            r#"{"edits": [{"op": "assign", "address": "10.0.1.50", "interface": "a", "mode": 1}]}"#,
            422,
            "UnknownParameter",
            Some("edits[0].mode"),
        ),
        (
            "POST",
            "/v1/mappings/bulk",
            r#"{"edits": [{"op": "assign", "address": "10.0.1.50", "interface": "a"}, {"op": "unassign", "address": "10.0.1.51", "interface": "a"}]}"#,
            409,
            "InvalidParameterValue",
            Some("edits[1].address"),
        ),
        // Explanations
        (
            "POST",
            "/v1/explain",
            r#"{"from": "a"}"#,
            422,
            "MissingParameter",
            Some("to"),
        ),
        (
            "POST",
            "/v1/explain",
            r#"{"from": "z", "to": "10.0.1.11"}"#,
            422,
            "InvalidNetworkInterfaceID.NotFound",
            Some("from"),
        ),
        (
            "POST",
            "/v1/explain",
            r#"{"from": "a", "frame": "xyz"}"#,
            422,
            "InvalidParameterValue",
            Some("frame"),
        ),
        (
            "POST",
            "/v1/explain",
            r#"{"from": "a", "frame": "00"}"#,
            422,
            "InvalidParameterValue",
            Some("frame"),
        ),
        (
            "POST",
            "/v1/explain",
            r#"{"from": "a", "frame": "00", "to": "10.0.1.11"}"#,
            422,
            "InvalidParameterValue",
            Some("to"),
        ),
        (
            "POST",
            "/v1/explain",
            r#"{"from": "a", "to": "10.0.1.11", "protocol": "tcp"}"#,
            422,
            "MissingParameter",
            Some("destination_port"),
        ),
    ];
    for (method, path, body, status, code, field) in cases {
        let headers: &[&str] = if body.is_empty() { &[] } else { &[JSON] };
        let answer = server.ask(method, path, headers, body).await;
        println!("{method} {path} {body}");
        answer.assert_problem(*status, code, *field);
    }
    assert_eq!(server.controller.last_event(), before, "nothing has changed");
    server.stop().await;
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    let server = Server::furnished().await;
    let body = r#"{"cidr_blocks": ["10.0.0.0/16"]}"#;
    for headers in [
        &[][..],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
    ] {
        let answer = server.ask("POST", "/v1/vpcs", headers, body).await;
        answer.assert_problem(415, "UnsupportedMediaType", Some("Content-Type"));
    }
    let large = format!(
        r#"{{"cidr_blocks": ["10.0.0.0/16"], "name": "{}"}}"#,
        "x".repeat(2 << 20)
    );
    let answer = server.ask("POST", "/v1/vpcs", &[JSON], &large).await;
    answer.assert_problem(413, "RequestTooLarge", Some("Content-Length"));
    let answer = server.ask("GET", "/v1/vpcs/%ff", &[], "").await;
    answer.assert_problem(400, "InvalidRequest", None);
    let answer = server.ask("PUT", "/v1/vpcs", &[JSON], "{}").await;
    let allowed = answer.header("allow").unwrap_or_default();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_message_names_the_remedy() {
    let server = Server::furnished().await;
    let error = server.client.delete("/v1/vpcs/home").await.unwrap_err();
    let problem = error.problem().unwrap();
    assert!(
        problem
            .remedy
            .as_deref()
            .unwrap()
            .contains("Delete the dependents first"),
        "{problem:?}"
    );
    assert!(error.to_string().contains("DependencyViolation"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_foreign_host_and_a_foreign_site_are_refused() {
    let server = Server::furnished().await;
    let rebound = "GET /v1/vpcs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    server
        .raw(rebound)
        .await
        .assert_problem(403, "UnauthorizedOperation", Some("Host"));
    let absolute = "GET http://evil.example/v1/vpcs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    server
        .raw(absolute)
        .await
        .assert_problem(403, "UnauthorizedOperation", Some("Host"));
    server
        .raw("GET /healthz HTTP/1.0\r\n\r\n")
        .await
        .assert_problem(403, "UnauthorizedOperation", Some("Host"));
    let page = server
        .ask("POST", "/v1/vpcs", &[JSON, "Origin: https://evil.example"], "{}")
        .await;
    page.assert_problem(403, "UnauthorizedOperation", Some("Origin"));
    let page = server.ask("GET", "/v1/vpcs", &["Sec-Fetch-Site: cross-site"], "").await;
    page.assert_problem(403, "UnauthorizedOperation", Some("Sec-Fetch-Site"));
    // A path that does not exist does not bypass the guard.
    let page = server.ask("GET", "/nothing", &["Sec-Fetch-Site: cross-site"], "").await;
    page.assert_problem(403, "UnauthorizedOperation", Some("Sec-Fetch-Site"));
    let own = server
        .ask(
            "GET",
            "/v1/vpcs",
            &[&format!("Origin: http://{}", server.authority)],
            "",
        )
        .await;
    assert_eq!(own.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn with_a_token_nothing_but_the_sign_of_life_is_open() {
    let server = Server::with(Options {
        token: true,
        ..Options::default()
    })
    .await;
    let answer = server.ask("GET", "/v1/vpcs", &[], "").await;
    answer.assert_problem(401, "AuthFailure", Some("Authorization"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    server
        .ask("GET", "/nothing", &[], "")
        .await
        .assert_problem(401, "AuthFailure", Some("Authorization"));
    assert_eq!(server.ask("GET", "/healthz", &[], "").await.status, 200);
    server.client.get("/v1/vpcs").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn commands_run_only_where_allowed_and_only_for_an_authenticated_caller() {
    const EXEC: (&str, &str) = ("/v1/instances/a/exec", r#"{"argv": ["true"]}"#);
    let server = Server::start().await;
    let answer = server.ask("POST", EXEC.0, &[JSON], EXEC.1).await;
    answer.assert_problem(403, "UnauthorizedOperation", None);
    assert!(answer.body.contains("--allow-exec"), "{answer:?}");
    server.stop().await;

    let options = Options {
        token: true,
        exec: true,
        ..Options::default()
    };
    let server = Server::with(options).await;
    let answer = server.ask("POST", EXEC.0, &[JSON], EXEC.1).await;
    answer.assert_problem(401, "AuthFailure", Some("Authorization"));
    let bearer = format!("Authorization: Bearer {}", crate::support::api::TOKEN);
    let answer = server.ask("POST", EXEC.0, &[JSON, &bearer], EXEC.1).await;
    // It passes the guard; then the instance does not exist.
    assert!(![401, 403].contains(&answer.status), "{answer:?}");
    server.stop().await;

    // With exec allowed and without a token, only the socket authenticates: this caller is anonymous.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let options = Options {
        exec: true,
        unix: Some(path.clone()),
        ..Options::default()
    };
    let server = Server::with(options).await;
    let answer = server.ask("POST", EXEC.0, &[JSON], EXEC.1).await;
    answer.assert_problem(403, "UnauthorizedOperation", None);
    let client = localvpc::api::Client::connect(&format!("unix:{}", path.display()), None).unwrap();
    let refused = client
        .post(EXEC.0, &serde_json::json!({"argv": ["true"]}))
        .await
        .unwrap_err();
    assert_ne!(refused.problem().unwrap().code, "UnauthorizedOperation");
    server.stop().await;
}
