//! Tests that each kind of memory of the server has a budget of its own, and that the metrics show it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::api::Server;

/// Begins a request with a body of this length, and sends no part of the body.
async fn announce(server: &Server, path: &str, length: u64) -> TcpStream {
    let mut stream = TcpStream::connect(&server.authority).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        server.authority
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The server's answer so far.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await {
        Ok(Ok(length)) => String::from_utf8_lossy(&answer[..length]).into_owned(),
        _ => String::new(),
    }
}

async fn metric(server: &Server, name: &str) -> u64 {
    let answer = server.ask("GET", "/metrics", &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = answer
        .body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {}", answer.body))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_header() {
    let server = Server::start().await;
    for (path, length) in [
        ("/v1/vpcs", (1 << 20) + 1),
        ("/v1/mappings/bulk", (256 << 20) + 1),
        ("/v1/vpcs", 1 << 60),
    ] {
        let mut stream = announce(&server, path, length).await;
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 413"), "{path}: {said}");
        assert!(
            said.contains("RequestTooLarge") && said.contains("Content-Length"),
            "{said}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_under_way_share_one_budget() {
    let server = Server::start().await;
    let first = announce(&server, "/v1/mappings/bulk", 256 << 20).await;
    let second = announce(&server, "/v1/mappings/bulk", 256 << 20).await;
    let taken = async { while metric(&server, "localvpc_request_bodies_bytes").await < 512 << 20 {} };
    tokio::time::timeout(Duration::from_secs(10), taken)
        .await
        .expect("both have their room");
    let mut third = announce(&server, "/v1/mappings/bulk", 1 << 20).await;
    let said = answer(&mut third).await;
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("512 MiB"), "{said}");
    assert_eq!(metric(&server, "localvpc_request_bodies_refused_total").await, 1);
    // A request without a body is still served, and the budget is returned.
    server.client.get("/v1/vpcs").await.unwrap();
    drop((first, second));
    let freed = async { while metric(&server, "localvpc_request_bodies_bytes").await > 0 {} };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .expect("the room comes back");
    server.stop().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_captures_comes_to_an_end() {
    let server = Server::start().await;
    let mut first = server.client.stream("/v1/captures").await.unwrap();
    first.next().await.unwrap().expect("the head of the file");
    let mut others = Vec::new();
    for _ in 0..16 {
        others.push(server.client.stream("/v1/captures").await.unwrap());
    }
    let ended = async { while first.next().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it ends");
    assert_eq!(metric(&server, "localvpc_live_captures").await, 16);
    assert_eq!(metric(&server, "localvpc_live_captures_limit_bytes").await, 256 << 20);
    drop(others);
    server.stop().await;
}

#[tokio::test]
async fn connections_and_descriptors_are_in_the_metrics() {
    let server = Server::start().await;
    let _idle = TcpStream::connect(&server.authority).await.unwrap();
    let counted = async { while metric(&server, "localvpc_connections").await < 2 {} };
    tokio::time::timeout(Duration::from_secs(10), counted)
        .await
        .expect("the idle one and the one that asks");
    assert!(metric(&server, "process_open_fds").await < metric(&server, "process_max_fds").await);
    assert!(metric(&server, "process_resident_memory_bytes").await > 1 << 20);
    server.stop().await;
}

#[tokio::test]
async fn a_bulk_body_is_parsed_as_it_comes_and_refused_at_its_first_mistake() {
    let server = Server::furnished().await;
    let head = |length: &str| {
        format!(
            "POST /v1/mappings/bulk HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{length}\r\nConnection: close\r\n\r\n",
            server.authority
        )
    };
    // The rest of these 200 MiB never comes.
    let mut stream = TcpStream::connect(&server.authority).await.unwrap();
    let begun = head(&format!("Content-Length: {}", 200 << 20));
    let wrong = r#"{"edits": [{"op": "assign", "interface": "a", "address": "10.0.1.50"}, {"op": "assign", "address": 7}, {"op": "unas"#;
    stream.write_all(format!("{begun}{wrong}").as_bytes()).await.unwrap();
    let said = answer(&mut stream).await;
    assert!(
        said.starts_with("HTTP/1.1 422") && said.contains("edits[1].address"),
        "{said}"
    );

    // In chunks, cut anywhere, it is read as one.
    let body = r#"{"edits": [{"op": "assign", "interface": "a", "address": "10.0.1.50"}]}"#;
    let mut stream = TcpStream::connect(&server.authority).await.unwrap();
    stream
        .write_all(head("Transfer-Encoding: chunked").as_bytes())
        .await
        .unwrap();
    for part in body.as_bytes().chunks(7) {
        let size = format!("{:x}\r\n", part.len());
        stream
            .write_all(&[size.as_bytes(), part, b"\r\n"].concat())
            .await
            .unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let said = answer(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");

    // A client that breaks off has changed nothing.
    let mut stream = TcpStream::connect(&server.authority).await.unwrap();
    stream.write_all(head("Content-Length: 1000").as_bytes()).await.unwrap();
    stream
        .write_all(br#"{"edits": [{"op": "assign", "interface": "b", "address": "10.0.1.51"}"#)
        .await
        .unwrap();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mappings = server.client.get("/v1/mappings?subnet=left").await.unwrap().to_string();
    assert!(
        mappings.contains("10.0.1.50") && !mappings.contains("10.0.1.51"),
        "{mappings}"
    );
    server.stop().await;
}

#[tokio::test]
async fn events_and_the_progress_of_runs_have_budgets_in_the_metrics() {
    let server = Server::furnished().await;
    assert!(metric(&server, "localvpc_event_history_bytes").await > 0);
    assert_eq!(metric(&server, "localvpc_event_history_limit_bytes").await, 64 << 20);
    assert_eq!(metric(&server, "localvpc_event_history_given_up_total").await, 0);
    assert_eq!(metric(&server, "localvpc_run_progress_limit_bytes").await, 256 << 20);
    server.stop().await;
}
