//! Tests on which addresses a server listens, and which it refuses.

use std::os::unix::fs::PermissionsExt;

use crate::support::api::{Options, Server, TOKEN};
use localvpc::api::guard::{GuardConfig, Permissions};
use localvpc::api::server::{Bound, Ec2Address, ServeError, ServerConfig};
use localvpc::api::{AppState, Client, Token};
use localvpc::control::{Controller, ControllerConfig};

fn state(token: bool, exec: bool) -> AppState {
    let token = token.then(|| Token::new(TOKEN).unwrap());
    let guard = GuardConfig {
        token,
        hosts: Vec::new(),
        permissions: Permissions {
            exec,
            ..Permissions::default()
        },
        ..GuardConfig::default()
    };
    AppState::new(Controller::new(ControllerConfig::default()), guard)
}

fn tcp(address: &str) -> ServerConfig {
    ServerConfig {
        listen: vec![address.parse().unwrap()],
        unix: None,
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn beyond_loopback_it_takes_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        let refused = Bound::bind(&tcp(address), &state(false, false)).await;
        assert!(matches!(refused, Err(ServeError::NoToken(_))), "{address}: {refused:?}");
    }
    for address in ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0"] {
        Bound::bind(&tcp(address), &state(false, false)).await.unwrap();
    }
    let nowhere = Bound::bind(&ServerConfig::default(), &state(true, false)).await;
    assert!(matches!(nowhere, Err(ServeError::Nowhere)));
}

#[tokio::test]
async fn commands_in_instances_take_a_caller_who_is_known() {
    let refused = Bound::bind(&tcp("127.0.0.1:0"), &state(false, true)).await;
    assert!(matches!(refused, Err(ServeError::ExecNeedsToken)), "{refused:?}");
    Bound::bind(&tcp("127.0.0.1:0"), &state(true, true)).await.unwrap();
}

#[tokio::test]
async fn the_unix_socket_is_its_owners_alone_and_needs_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let server = Server::with(Options {
        token: true,
        unix: Some(path.clone()),
        ..Options::default()
    })
    .await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let client = Client::connect(&format!("unix:{}", path.display()), None).unwrap();
    client.get("/v1/vpcs").await.unwrap();
    let mut events = client.events("/v1/events?after=0", None).await.unwrap();
    server.furnish().await;
    assert_eq!(events.next().await.unwrap().unwrap().event, "vpc_created");
    // Only the socket is in its directory, and nothing after the end.
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    server.stop().await;
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_that_is_too_busy_to_answer_keeps_its_socket() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let busy = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&busy, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&busy, 0).unwrap();
    // This one is not accepted, and the backlog is full.
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let refused = tokio::net::UnixStream::connect(&path).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    let config = ServerConfig {
        unix: Some(path.clone()),
        ..ServerConfig::default()
    };
    let second = Bound::bind(&config, &state(false, false)).await;
    assert!(matches!(second, Err(ServeError::InUse(_))), "{second:?}");
}

#[tokio::test]
async fn a_socket_without_a_server_is_replaced_and_one_in_use_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let config = ServerConfig {
        listen: Vec::new(),
        unix: Some(path.clone()),
        ..ServerConfig::default()
    };
    let first = Bound::bind(&config, &state(false, false)).await.unwrap();
    let second = Bound::bind(&config, &state(false, false)).await;
    assert!(matches!(second, Err(ServeError::InUse(_))), "{second:?}");
    drop(first);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let refused = Bound::bind(&config, &state(false, false)).await;
    assert!(matches!(refused, Err(ServeError::Bind { .. })), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn aws_clients_find_their_api_at_an_address_of_its_own() {
    let state = state(false, false);
    let config = ServerConfig {
        ec2: Some(Ec2Address {
            address: "127.0.0.1:0".parse().unwrap(),
            required: true,
        }),
        ..tcp("127.0.0.1:0")
    };
    let bound = Bound::bind(&config, &state).await.unwrap();
    let address = bound.ec2_address().unwrap();
    assert!(!bound.addresses().contains(&address));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(bound.serve(localvpc::api::rest::router(state.clone()), state, async {
        let _ = stopped.await;
        false
    }));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        "GET /?Action=DescribeRegions&Version=2016-11-15 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert!(answer.contains("<regionName>us-east-1</regionName>"), "{answer}");
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_for_aws_clients_that_is_in_use_ends_a_server_only_where_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bind = async |required| {
        let config = ServerConfig {
            ec2: Some(Ec2Address { address, required }),
            ..tcp("127.0.0.1:0")
        };
        Bound::bind(&config, &state(false, false)).await
    };
    let without = bind(false).await.unwrap();
    assert_eq!(without.ec2_address(), None);
    assert_eq!(without.addresses().len(), 1);
    let refused = bind(true).await.unwrap_err().to_string();
    assert!(refused.contains(&address.to_string()), "{refused}");
    // Beyond loopback it requires a token, as everywhere.
    let config = ServerConfig {
        ec2: Some(Ec2Address {
            address: "0.0.0.0:0".parse().unwrap(),
            required: false,
        }),
        ..tcp("127.0.0.1:0")
    };
    let refused = Bound::bind(&config, &state(false, false)).await;
    assert!(matches!(refused, Err(ServeError::NoToken(_))), "{refused:?}");
}

#[tokio::test]
async fn a_client_names_the_address_without_a_server() {
    let client = Client::connect("unix:/nonexistent/api.sock", None).unwrap();
    let error = client.get("/healthz").await.unwrap_err().to_string();
    assert!(error.contains("unix:/nonexistent/api.sock"), "{error}");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_does_not_keep_the_server_alive() {
    use tokio::io::AsyncWriteExt;
    let server = Server::start().await;
    let mut stream = tokio::net::TcpStream::connect(&server.authority).await.unwrap();
    let request = format!(
        "POST /v1/vpcs HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        server.authority
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(20), server.stop()).await;
    stopped.expect("the server ends");
}
