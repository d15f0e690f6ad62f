//! Starts a server on a loopback port of its own, and sends requests that a well-behaved client would not.

use std::sync::Arc;

use localvpc::api::guard::{GuardConfig, Permissions};
use localvpc::api::server::{Bound, ServerConfig};
use localvpc::api::{AppState, Client, Token, rest};
use localvpc::control::{Controller, ControllerConfig, Ports};
use localvpc::datapath::FabricWriter;
use localvpc::scenario::play::StageOptions;
use localvpc::scenario::runs::Runs;
use localvpc::switch::{Switch, SwitchConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Server {
    pub(crate) authority: String,
    pub(crate) client: Client,
    pub(crate) controller: Controller,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) token: bool,
    pub(crate) exec: bool,
    pub(crate) unix: Option<std::path::PathBuf>,
    pub(crate) event_history: Option<usize>,
}

impl Server {
    /// The status, the code and the field of a request that has to be refused.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Value) -> (u64, String, Option<String>) {
        let client = &self.client;
        let outcome = match method {
            "POST" => client.post(path, &body).await,
            "PUT" => client.put(path, &body).await,
            "PATCH" => client.patch(path, &body).await,
            "DELETE" => client.delete(path).await,
            _ => client.get(path).await,
        };
        let error = outcome.unwrap_err();
        let problem = error.problem().unwrap_or_else(|| panic!("{method} {path}: {error}"));
        let field = problem.field.as_deref().map(str::to_owned);
        (problem.status.into(), problem.code.to_string(), field)
    }

    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let fabric = FabricWriter::new();
        let (switch, _events) = Switch::start(fabric.fabric(), SwitchConfig::default()).unwrap();
        let ports: Arc<dyn Ports> = Arc::new(switch);
        let controller = Controller::new(ControllerConfig {
            seed: Some(1),
            fabric,
            ports: Some(ports),
            event_history: options.event_history.unwrap_or(1000),
            ..ControllerConfig::default()
        });
        let token = options.token.then(|| Token::new(TOKEN).unwrap());
        let permissions = Permissions {
            exec: options.exec,
            ..Permissions::default()
        };
        let guard = GuardConfig {
            token: token.clone(),
            hosts: Vec::new(),
            permissions,
            ..GuardConfig::default()
        };
        // The program of a test does not know how to be process 1 of a host.
        let runs = Arc::new(Runs::new(StageOptions {
            init_program: Some(env!("CARGO_BIN_EXE_localvpc").into()),
            api: Some(localvpc::api::inside::serve_hosts),
            ..StageOptions::default()
        }));
        let state = AppState::new(controller.clone(), guard).with_runs(runs);
        let config = ServerConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            unix: options.unix,
            ..ServerConfig::default()
        };
        let bound = Bound::bind(&config, &state).await.unwrap();
        let authority = bound.addresses()[0].to_string();
        let (stop, stopped) = oneshot::channel();
        let router = rest::router(state.clone());
        let task = tokio::spawn(bound.serve(router, state, async {
            let _ = stopped.await;
            false
        }));
        let client = Client::connect(&authority, token).unwrap();
        Self {
            authority,
            client,
            controller,
            stop: Some(stop),
            task,
        }
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.task.await.unwrap().unwrap();
    }

    /// A VPC `home`, a dual-stack subnet `left` and interfaces `a` and `b`.
    pub(crate) async fn furnished() -> Self {
        let server = Self::start().await;
        server.furnish().await;
        server
    }

    pub(crate) async fn furnish(&self) {
        let vpc = json!({"name": "home", "cidr_blocks": ["10.0.0.0/16"], "ipv6_cidr_blocks": ["2001:db8:1200::/56"]});
        self.client.post("/v1/vpcs", &vpc).await.unwrap();
        let subnet = json!({
            "name": "left", "vpc": "home", "cidr_block": "10.0.1.0/24", "ipv6_cidr_block": "2001:db8:1200:1::/64",
        });
        self.client.post("/v1/subnets", &subnet).await.unwrap();
        for (name, address) in [("a", "10.0.1.10"), ("b", "10.0.1.11")] {
            let interface = json!({"name": name, "subnet": "left", "ipv4_addresses": [address]});
            self.client.post("/v1/interfaces", &interface).await.unwrap();
        }
    }

    /// Sends the bytes of a request unchanged, with `Connection: close`, and reads the whole answer.
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.authority).await.unwrap();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        Answer::parse(&bytes)
    }

    /// Sends a request with a valid host and these further header lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.authority
        );
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        self.raw(&request).await
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        Self {
            status,
            headers: lines.filter_map(header).collect(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that this is a problem document with these values.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str, field: Option<&str>) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem.get("field").and_then(Value::as_str), field, "{problem}");
        assert_eq!(problem["type"], format!("urn:localvpc:problem:{code}"));
        for text in ["title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
}
