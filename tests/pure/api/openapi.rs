//! Checks that the OpenAPI description in the repository matches the code.

use crate::support::api::Server;
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/openapi.json");

#[test]
fn the_description_has_not_drifted_from_the_code() {
    let generated = localvpc::api::openapi_json();
    if std::env::var_os("LOCALVPC_UPDATE_OPENAPI").is_some() {
        std::fs::write(FILE, &generated).unwrap();
    }
    let stored = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        stored == generated,
        "api/openapi.json is not what the code makes: run 'cargo xtask regenerate'"
    );
}

#[test]
fn every_operation_is_described_and_can_fail_with_a_problem() {
    let api: Value = serde_json::from_str(&localvpc::api::openapi_json()).unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            ids.push(
                operation["operationId"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{at}"))
                    .to_owned(),
            );
            assert!(
                operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
                "{at}"
            );
            if !["/healthz", "/v1/openapi.json"].contains(&path.as_str()) {
                let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
                assert!(problem.is_object(), "{at}");
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation identifiers are unique");
    // Every reference resolves.
    let text = api.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(api["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_server_hands_out_its_description() {
    let server = Server::start().await;
    let served = server.client.get("/v1/openapi.json").await.unwrap();
    let generated: Value = serde_json::from_str(&localvpc::api::openapi_json()).unwrap();
    assert_eq!(served, generated);
    server.stop().await;
}
