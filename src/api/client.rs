//! Calls the API, for the command line and for tests: one connection for each request, over TCP or a unix socket, JSON
//! in both directions, and problem documents as readable errors.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::guard::Token;
use super::problem::{MEDIA_TYPE, Problem};

/// A client of one server's API.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    token: Option<Token>,
    /// The point of the past that questions are about.
    at: Option<String>,
}

#[derive(Debug, Clone)]
enum Target {
    Tcp(String),
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Text that names no server.
    #[error("'{0}' names no server: write http://HOST:PORT or unix:PATH")]
    Base(String),
    /// The server cannot be reached.
    #[error("cannot reach the server at {server}: {source}; start it with 'localvpc serve' or 'localvpc up'")]
    Connect {
        /// The server.
        server: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Broken(#[from] hyper::Error),
    /// A path or header that HTTP does not allow.
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    /// A body that cannot be written or read as JSON.
    #[error("the {what} is not JSON: {source}")]
    Json {
        /// The body.
        what: &'static str,
        /// The error in it.
        source: serde_json::Error,
    },
    /// The server refused the request: the problem, and the whole document, which may have more members.
    #[error("{}", readable(.0))]
    Problem(Box<Problem>, Box<Value>),
    /// The answer is not from this API.
    #[error("the server answered {status} without a problem document: {text}")]
    Strange {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
}

fn readable(problem: &Problem) -> String {
    let mut text = problem.detail.to_string();
    if let Some(field) = &problem.field {
        text = format!("{field}: {text}");
    }
    text = format!("{text} ({})", problem.code);
    match &problem.remedy {
        Some(remedy) => format!("{text}\n{remedy}"),
        None => text,
    }
}

impl ClientError {
    /// The problem document, if the server sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem, _) => Some(problem),
            _ => None,
        }
    }

    /// The whole problem document, if the server sent one.
    pub fn document(&self) -> Option<&Value> {
        match self {
            Self::Problem(_, document) => Some(document),
            _ => None,
        }
    }
}

impl Client {
    /// A client of the server at `base`: `http://HOST:PORT`, `HOST:PORT` or `unix:PATH`. Sends nothing yet.
    pub fn connect(base: &str, token: Option<Token>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Base(base.to_owned());
        let target = if let Some(path) = base.strip_prefix("unix:") {
            Target::Unix(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
        } else {
            let authority = base.strip_prefix("http://").unwrap_or(base).trim_end_matches('/');
            let parsed: hyper::http::uri::Authority = authority.parse().map_err(|_| wrong())?;
            if parsed.port_u16().is_none() {
                return Err(wrong());
            }
            Target::Tcp(authority.to_owned())
        };
        Ok(Self {
            target,
            token,
            at: None,
        })
    }

    /// The same client for questions about the past: a revision, or a time.
    #[must_use]
    pub fn looking_back(mut self, point: &str) -> Self {
        self.at = Some(form_urlencoded::byte_serialize(point.as_bytes()).collect());
        self
    }

    /// Reads a resource.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// Creates a resource, or starts an operation.
    pub async fn post(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<Value, ClientError> {
        self.call(Method::POST, path, Some(encode(body)?)).await
    }

    /// Sets a resource.
    pub async fn put(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<Value, ClientError> {
        self.call(Method::PUT, path, Some(encode(body)?)).await
    }

    /// Changes a resource.
    pub async fn patch(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<Value, ClientError> {
        self.call(Method::PATCH, path, Some(encode(body)?)).await
    }

    /// Deletes a resource. The answer is null.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::DELETE, path, None).await
    }

    /// Sends a request with a JSON body, and reads the answer, null if it is empty.
    pub async fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Value, ClientError> {
        self.answer(self.send(method, path, body, &[]).await?).await
    }

    /// Sends a file, YAML or JSON, and reads the answer.
    pub async fn send_file(&self, method: Method, path: &str, text: String) -> Result<Value, ClientError> {
        let kind = (CONTENT_TYPE.as_str(), "application/yaml");
        self.answer(self.send(method, path, Some(text.into()), &[kind]).await?)
            .await
    }

    async fn answer(&self, response: Response<Incoming>) -> Result<Value, ClientError> {
        let bytes = checked(response).await?.into_body().collect().await?.to_bytes();
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Json { what: "answer", source })
    }

    /// Subscribes to server-sent events.
    pub async fn events(&self, path: &str, last_event_id: Option<&str>) -> Result<EventStream, ClientError> {
        let mut headers = vec![(ACCEPT.as_str(), "text/event-stream")];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let response = checked(self.send(Method::GET, path, None, &headers).await?).await?;
        Ok(EventStream {
            body: ByteStream(response.into_body()),
            pending: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    /// Reads a stream, such as a capture.
    pub async fn stream(&self, path: &str) -> Result<ByteStream, ClientError> {
        let response = checked(self.send(Method::GET, path, None, &[]).await?).await?;
        Ok(ByteStream(response.into_body()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>, ClientError> {
        let host = match &self.target {
            Target::Tcp(authority) => authority.as_str(),
            Target::Unix(_) => "localhost",
        };
        let path = match &self.at {
            Some(at) if method == Method::GET || path == "/v1/explain" => {
                let joint = if path.contains('?') { '&' } else { '?' };
                format!("{path}{joint}at={at}")
            }
            _ => path.to_owned(),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if body.is_some() && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE.as_str()) {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let failed = |source| ClientError::Connect {
            server: self.target.to_string(),
            source,
        };
        match &self.target {
            Target::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await.map_err(failed)?;
                exchange(TokioIo::new(stream), request).await
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                exchange(TokioIo::new(stream), request).await
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // Ends with the connection, when the response has been read or dropped; errors reach the response's reader.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

fn encode(body: &(impl Serialize + ?Sized)) -> Result<Bytes, ClientError> {
    let bytes = serde_json::to_vec(body).map_err(|source| ClientError::Json {
        what: "request",
        source,
    })?;
    Ok(Bytes::from(bytes))
}

/// Turns a refusal into an error.
async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == MEDIA_TYPE);
    let bytes = response.into_body().collect().await?.to_bytes();
    let document = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
    match serde_json::from_value::<Problem>(document.clone()) {
        Ok(problem) if is_problem => Err(ClientError::Problem(Box::new(problem), Box::new(document))),
        _ => {
            let text = String::from_utf8_lossy(&bytes).chars().take(200).collect();
            Err(ClientError::Strange {
                status: status.as_u16(),
                text,
            })
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// The `Last-Event-ID` to send when reconnecting.
    pub id: Option<String>,
    /// Its type.
    pub event: String,
    /// Its data, JSON in this API.
    pub data: String,
}

/// An answer as it arrives.
#[derive(Debug)]
pub struct ByteStream(Incoming);

impl ByteStream {
    /// The next chunk; `None` when the server has ended the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.0.frame().await {
            // A frame without data has trailers, which this API does not send.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Server-sent events as they arrive.
#[derive(Debug)]
pub struct EventStream {
    body: ByteStream,
    pending: Vec<u8>,
    ready: VecDeque<ServerEvent>,
}

impl EventStream {
    /// The next event; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(data) = self.body.next().await? else {
                return Ok(None);
            };
            self.pending.extend_from_slice(&data);
            self.split();
        }
    }

    /// Takes the complete events out of the received bytes: they end with an empty line.
    fn split(&mut self) {
        while let Some(at) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.pending.drain(..at + 2).collect();
            self.ready.extend(parse_event(&String::from_utf8_lossy(&block)));
        }
    }
}

/// Parses one event; a block of comments only is none.
fn parse_event(block: &str) -> Option<ServerEvent> {
    let mut event = ServerEvent::default();
    let mut data: Option<String> = None;
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut event.event),
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    event.data = data?;
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_address_or_by_socket() {
        for good in [
            "http://127.0.0.1:80",
            "localhost:8089",
            "http://[::1]:8089/",
            "unix:/run/localvpc.sock",
        ] {
            Client::connect(good, None).unwrap();
        }
        for wrong in ["", "http://", "localhost", "https://localhost:1", "http://a b:1"] {
            assert!(
                matches!(Client::connect(wrong, None), Err(ClientError::Base(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_event_is_read_with_its_lines_and_a_comment_is_none() {
        let event = parse_event("id: 3f-7\nevent: port_up\ndata: {\"a\":\ndata: 1}\n\n").unwrap();
        assert_eq!(
            (event.id.as_deref(), event.event.as_str(), event.data.as_str()),
            (Some("3f-7"), "port_up", "{\"a\":\n1}")
        );
        assert_eq!(parse_event(": keep-alive\n\n"), None);
    }

    #[test]
    fn a_problem_reads_like_a_sentence() {
        let problem = Problem::invalid("cidr_block", "The CIDR is wrong").remedy("Choose another.");
        let text = ClientError::Problem(Box::new(problem), Box::default()).to_string();
        assert_eq!(
            text,
            "cidr_block: The CIDR is wrong (InvalidParameterValue)\nChoose another."
        );
    }
}
