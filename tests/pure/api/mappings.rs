//! Tests the mapping service over HTTP: a move is one step, a list is all or nothing, and a look-up never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::api::Server;
use serde_json::{Value, json};

fn bulk(edits: &[Value]) -> Value {
    json!({ "edits": edits })
}

#[tokio::test]
async fn an_address_is_assigned_moved_and_unassigned() {
    let server = Server::furnished().await;
    let client = &server.client;
    for address in [
        "10.0.1.50",
        "2001:db8:1200:1::50",
        "10.0.1.64/28",
        "2001:db8:1200:1:7::/80",
    ] {
        let path = format!("/v1/mappings/left/{address}");
        let made = client.put(&path, &json!({"interface": "a"})).await.unwrap();
        assert_eq!(made["address"], address);
        let moved = client.put(&path, &json!({"interface": "b"})).await.unwrap();
        assert_ne!(moved["interface_id"], made["interface_id"]);
        assert_eq!(client.get(&path).await.unwrap(), moved);
        let refused = client
            .put(&path, &json!({"interface": "a", "move": false}))
            .await
            .unwrap_err();
        assert_eq!(
            &*refused.problem().unwrap().detail,
            format!("[{address}] assigned, but move is not allowed.")
        );
        assert_eq!(client.get(&path).await.unwrap(), moved);
        client.delete(&path).await.unwrap();
        assert_eq!(client.get(&path).await.unwrap_err().problem().unwrap().status, 404);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_prefix_may_be_percent_encoded_and_answers_for_its_addresses() {
    let server = Server::furnished().await;
    let client = &server.client;
    client
        .put("/v1/mappings/left/10.0.1.64%2F28", &json!({"interface": "a"}))
        .await
        .unwrap();
    let found = client.get("/v1/mappings/left/10.0.1.70").await.unwrap();
    assert_eq!(found["address"], "10.0.1.64/28");
    client.delete("/v1/interfaces/a/addresses/10.0.1.64/28").await.unwrap();
    assert!(client.get("/v1/mappings/left/10.0.1.70").await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_list_with_one_wrong_edit_changes_nothing() {
    let server = Server::furnished().await;
    let client = &server.client;
    let before = client.get("/v1/mappings").await.unwrap();
    let edits = vec![
        json!({"op": "assign", "interface": "a", "address": "10.0.1.50"}),
        json!({"op": "assign", "interface": "b", "address": "10.0.1.51"}),
        json!({"op": "assign", "interface": "b", "address": "10.0.1.50"}),
    ];
    let refused = client.post("/v1/mappings/bulk", &bulk(&edits)).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().field.as_deref(), Some("edits[2].address"));
    assert_eq!(client.get("/v1/mappings").await.unwrap(), before);
    server.stop().await;
}

#[tokio::test]
async fn a_list_may_free_an_address_and_give_it_away() {
    let server = Server::furnished().await;
    let client = &server.client;
    client
        .put("/v1/mappings/left/10.0.1.50", &json!({"interface": "a"}))
        .await
        .unwrap();
    let edits = vec![
        json!({"op": "unassign", "subnet": "left", "address": "10.0.1.50"}),
        json!({"op": "assign", "interface": "b", "address": "10.0.1.50"}),
        json!({"op": "assign", "interface": "b", "address": "10.0.1.80/28"}),
    ];
    let summary = client.post("/v1/mappings/bulk", &bulk(&edits)).await.unwrap();
    assert_eq!(
        summary,
        json!({"assigned": 1, "moved": 1, "unassigned": 0, "interfaces": 2})
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_during_moves_always_finds_an_owner() {
    let server = Server::furnished().await;
    server
        .client
        .put("/v1/mappings/left/10.0.1.50", &json!({"interface": "a"}))
        .await
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (client, finished) = (server.client.clone(), Arc::clone(&done));
    let reader = tokio::spawn(async move {
        let mut looks = 0;
        while !finished.load(Ordering::Relaxed) {
            client
                .get("/v1/mappings/left/10.0.1.50")
                .await
                .expect("the address has an owner at every instant");
            looks += 1;
        }
        looks
    });
    for round in 0..100 {
        let to = if round % 2 == 0 { "b" } else { "a" };
        let edits = vec![json!({"op": "assign", "interface": to, "address": "10.0.1.50", "move": true})];
        server.client.post("/v1/mappings/bulk", &bulk(&edits)).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    server.stop().await;
}

#[tokio::test]
async fn an_array_is_no_edit_and_no_list_of_edits() {
    let server = Server::furnished().await;
    for body in [
        json!([[{"op": "assign", "interface": "a", "address": "10.0.1.50"}]]),
        json!({"edits": [["assign", "10.0.1.50", "a", null, null]]}),
    ] {
        let (status, code, _) = server.refused("POST", "/v1/mappings/bulk", body.clone()).await;
        assert_eq!((status, &*code), (422, "InvalidParameterValue"), "{body}");
    }
    let interface = json!({"name": "c", "subnet": "left", "allowances": [1000, null, null]});
    let (status, ..) = server.refused("POST", "/v1/interfaces", interface).await;
    assert_eq!(status, 422);
    server.client.get("/v1/mappings/left/10.0.1.50").await.unwrap_err();
    server.stop().await;
}

#[tokio::test]
async fn fifty_thousand_edits_fit_into_one_request_and_the_list_has_pages() {
    let server = Server::furnished().await;
    let client = &server.client;
    let address = |n: u32| format!("2001:db8:1200:1::{:x}:{:x}", 1 + (n >> 16), n & 0xffff);
    let edits: Vec<Value> = (0..50_000)
        .map(|n| json!({"op": "assign", "interface": "a", "address": address(n)}))
        .collect();
    let summary = client.post("/v1/mappings/bulk", &bulk(&edits)).await.unwrap();
    assert_eq!(summary["assigned"], 50_000);
    let mut found = 0;
    let mut path = "/v1/mappings?subnet=left&limit=1000".to_owned();
    loop {
        let page = client.get(&path).await.unwrap();
        found += page["mappings"].as_array().unwrap().len();
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => path = format!("/v1/mappings?subnet=left&limit=1000&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(found, 50_002);
    server.stop().await;
}
