//! Tests that each listener gets events in order, once each, also after it reconnects.

use std::time::Duration;

use crate::support::api::{Options, Server};
use localvpc::api::client::{EventStream, ServerEvent};
use serde_json::{Value, json};

async fn next(stream: &mut EventStream) -> ServerEvent {
    let event = tokio::time::timeout(Duration::from_secs(5), stream.next())
        .await
        .expect("an event comes");
    event.unwrap().expect("the stream goes on")
}

fn data(event: &ServerEvent) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

async fn put(server: &Server, address: &str, interface: &str) {
    server
        .client
        .put(
            &format!("/v1/mappings/left/{address}"),
            &json!({"interface": interface}),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_move_is_heard_with_both_owners() {
    let server = Server::furnished().await;
    put(&server, "10.0.1.50", "a").await;
    let mut stream = server
        .client
        .events("/v1/events?type=mappings_changed", None)
        .await
        .unwrap();
    put(&server, "10.0.1.50", "b").await;
    let event = next(&mut stream).await;
    assert_eq!(event.event, "mappings_changed");
    let change = &data(&event)["changes"][0];
    let id = |name: &str| {
        server
            .controller
            .interface(&localvpc::model::ResourceRef::new(name))
            .unwrap()
            .id
            .to_string()
    };
    assert_eq!(
        (change["from"].as_str(), change["to"].as_str()),
        (Some(&*id("a")), Some(&*id("b")))
    );
    assert_eq!(data(&event)["summary"]["moved"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_listener_that_comes_back_goes_on_where_it_stopped() {
    let server = Server::furnished().await;
    let mut stream = server.client.events("/v1/events?after=0", None).await.unwrap();
    let first = next(&mut stream).await;
    assert_eq!(first.event, "vpc_created");
    let second = next(&mut stream).await;
    drop(stream);
    put(&server, "10.0.1.50", "a").await;
    let mut stream = server.client.events("/v1/events", second.id.as_deref()).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(data(&next(&mut stream).await)["id"].as_u64().unwrap());
    }
    assert_eq!(heard, [3, 4, 5, 6, 7]);
    server.stop().await;
}

#[tokio::test]
async fn discarded_events_are_reported_as_missed() {
    let server = Server::with(Options {
        event_history: Some(2),
        ..Options::default()
    })
    .await;
    server.furnish().await;
    let last = server.controller.last_event();
    let mut stream = server.client.events("/v1/events?after=0", None).await.unwrap();
    let missed = next(&mut stream).await;
    assert_eq!(
        (missed.event.as_str(), &data(&missed)["missed"]),
        ("missed", &json!(last - 2))
    );
    assert_eq!(data(&next(&mut stream).await)["id"], last - 1);
    // An id from before the server's restart is invalid, and the listener gets a notice.
    let mut stream = server.client.events("/v1/events", Some("abc-3")).await.unwrap();
    let missed = next(&mut stream).await;
    assert_eq!(
        (missed.event.as_str(), &data(&missed)["restarted"]),
        ("missed", &json!(true))
    );
    let wrong = server.client.events("/v1/events", Some("three")).await.unwrap_err();
    assert_eq!(wrong.problem().unwrap().field.as_deref(), Some("Last-Event-ID"));
    server.stop().await;
}

#[tokio::test]
async fn filters_let_through_what_was_asked_for() {
    let server = Server::furnished().await;
    let mut of_b = server.client.events("/v1/events?interface=b", None).await.unwrap();
    let mut checks = server
        .client
        .events("/v1/events?type=interface_modified,vpc_deleted", None)
        .await
        .unwrap();
    put(&server, "10.0.1.50", "a").await;
    put(&server, "10.0.1.51", "b").await;
    server
        .client
        .patch("/v1/interfaces/a", &json!({"source_dest_check": false}))
        .await
        .unwrap();
    assert_eq!(data(&next(&mut of_b).await)["changes"][0]["address"], "10.0.1.51");
    let event = next(&mut checks).await;
    assert_eq!(
        (event.event.as_str(), &data(&event)["source_dest_check"]),
        ("interface_modified", &json!(false))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_slow_listener_loses_nothing_that_is_kept() {
    let server = Server::with(Options {
        event_history: Some(10_000),
        ..Options::default()
    })
    .await;
    server.furnish().await;
    let start = server.controller.last_event();
    let mut stream = server.client.events("/v1/events", None).await.unwrap();
    let controller = server.controller.clone();
    let vpc = controller.vpcs()[0].id;
    // More than the channel of each listener holds.
    for _ in 0..5000 {
        controller.publish(localvpc::control::EventKind::VpcModified { vpc_id: vpc });
    }
    for expected in start + 1..=start + 5000 {
        assert_eq!(data(&next(&mut stream).await)["id"], expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let server = Server::furnished().await;
    let mut stream = server.client.events("/v1/events", None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.stop())
        .await
        .expect("the server stops with a listener");
    assert!(matches!(stream.next().await, Ok(None) | Err(_)));
}
