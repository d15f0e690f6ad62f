//! Reads requests strictly: an unknown field or parameter is refused by name, and every rejection by the framework
//! becomes a problem document.

use std::convert::Infallible;

use axum::RequestExt;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::objects::Objects;
use super::problem::Problem;
use super::state::AppState;
use crate::control::Author;

/// The state of the server as the author of a request edits it. The author is an extension of the request, because all instances
/// share the routes: routes of its own take half a megabyte.
#[derive(Clone)]
pub struct State<S>(pub S);

impl FromRequestParts<AppState> for State<AppState> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let author = parts.extensions.get::<Author>();
        Ok(Self(author.map_or_else(
            || state.clone(),
            |author| state.edited_by(author.clone()),
        )))
    }
}

/// A JSON body.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = JsonBytes::from_request(request, state).await?;
        body.parse().map(Self)
    }
}

/// A JSON body that is not parsed yet.
#[derive(Debug)]
pub struct JsonBytes(Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_is_json(&request)?;
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection| body_problem(&rejection))
    }
}

fn check_is_json(request: &Request) -> Result<(), Problem> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if essence
        .as_deref()
        .is_some_and(|e| e == "application/json" || e.ends_with("+json"))
    {
        return Ok(());
    }
    let detail = match kind {
        Some(kind) => format!("The body is said to be '{kind}'"),
        None => "The body has no content type".to_owned(),
    };
    Err(
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", detail)
            .field("Content-Type")
            .remedy("Send JSON with 'Content-Type: application/json'."),
    )
}

/// A JSON body that is parsed as it comes: a large one is never in memory as a whole.
#[derive(Debug)]
pub struct JsonStream(Body);

impl<S: Send + Sync> FromRequest<S> for JsonStream {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_is_json(&request)?;
        Ok(Self(request.into_limited_body()))
    }
}

/// Frames of a body that are read ahead of the parser.
const AHEAD: usize = 4;

impl JsonStream {
    /// Parses the body on a thread that may block; the problem names the field by its path.
    pub async fn parse<T: DeserializeOwned + Send + 'static>(self) -> Result<T, Problem> {
        let Self(mut body) = self;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let parsing = super::commands::run(move || parse_from(Frames::new(receiver)));
        let feeding = async move {
            while let Some(frame) = body.frame().await {
                let octets = frame.map(|frame| frame.into_data().unwrap_or_default());
                let is_last = octets.is_err();
                // The parser has stopped: it has found a mistake.
                if sender.send(octets).await.is_err() || is_last {
                    return;
                }
            }
        };
        let mut parsing = std::pin::pin!(parsing);
        let parsed = tokio::select! {
            // A body that is refused need not come to its end.
            parsed = &mut parsing => parsed,
            () = feeding => parsing.await,
        };
        parsed.map_err(|error| Problem::internal(format!("The body was not parsed: {error}")))?
    }
}

fn parse_from<T: DeserializeOwned>(mut frames: Frames) -> Result<T, Problem> {
    let parsed = {
        let deserializer = &mut serde_json::Deserializer::from_reader(&mut frames);
        let parsed = serde_path_to_error::deserialize::<_, T>(Objects(&mut *deserializer));
        parsed.map(|value| (value, deserializer.end()))
    };
    if let Some(error) = frames.failed {
        // What the parser makes of a body that broke off says nothing.
        return Err(body_failed(error));
    }
    match parsed {
        Ok((value, Ok(()))) => Ok(value),
        Ok((_, Err(_))) => Err(syntax_problem("there is something after the end of the JSON value")),
        Err(error) => Err(json_problem(&error.path().to_string(), error.inner())),
    }
}

fn body_failed(error: axum::Error) -> Problem {
    let inner = error.into_inner();
    if inner.is::<http_body_util::LengthLimitError>() {
        return too_large();
    }
    Problem::new(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        format!("The body could not be read: {inner}"),
    )
}

/// A body as the parser reads it.
struct Frames {
    receiver: tokio::sync::mpsc::Receiver<Result<Bytes, axum::Error>>,
    current: Bytes,
    failed: Option<axum::Error>,
}

impl Frames {
    fn new(receiver: tokio::sync::mpsc::Receiver<Result<Bytes, axum::Error>>) -> Self {
        Self {
            receiver,
            current: Bytes::new(),
            failed: None,
        }
    }
}

impl std::io::Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(Ok(octets)) => self.current = octets,
                Some(Err(error)) => {
                    self.failed = Some(error);
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

fn body_problem(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        status => Problem::new(
            status,
            "InvalidRequest",
            format!("The body could not be read: {rejection}"),
        ),
    }
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestTooLarge",
        "The body is larger than this request may have",
    )
    .remedy("Split it into several requests.")
}

impl JsonBytes {
    /// Parses the body; the problem names the field by its path.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let deserializer = &mut serde_json::Deserializer::from_slice(&self.0);
        if let Ok(value) = T::deserialize(Objects(&mut *deserializer))
            && deserializer.end().is_ok()
        {
            return Ok(value);
        }
        // Only a body that is refused anyway is parsed a second time, to find the path.
        let deserializer = &mut serde_json::Deserializer::from_slice(&self.0);
        match serde_path_to_error::deserialize::<_, T>(Objects(deserializer)) {
            Err(error) => {
                let path = error.path().to_string();
                Err(json_problem(&path, error.inner()))
            }
            // The remaining error is text after the value.
            Ok(_) => Err(syntax_problem("there is something after the end of the JSON value")),
        }
    }
}

fn syntax_problem(detail: impl std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "MalformedJson",
        format!("The body is not JSON: {detail}"),
    )
    .remedy("Send one JSON value.")
}

fn json_problem(path: &str, error: &serde_json::Error) -> Problem {
    if error.is_syntax() || error.is_eof() || error.is_io() {
        return syntax_problem(error);
    }
    let message = without_position(error);
    let (code, named) = classify(&message);
    let field = match (path, named) {
        ("." | "", None) => None,
        ("." | "", Some(named)) => Some(named.to_owned()),
        // For an unknown field the path ends in it already; for a missing one it ends in the object around it.
        (path, Some(named)) if path.rsplit('.').next() != Some(named) => Some(format!("{path}.{named}")),
        (path, _) => Some(path.to_owned()),
    };
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, message.clone());
    match field {
        Some(field) => problem.field(field),
        None => problem,
    }
}

/// The message without "at line 1 column 30": the path names the field, and most clients never see the text.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).map(str::to_owned).unwrap_or(message)
}

/// The code for a message of serde, and the field that the message names.
fn classify(message: &str) -> (&'static str, Option<&str>) {
    let quoted = message.split('`').nth(1);
    if message.starts_with("unknown field") {
        ("UnknownParameter", quoted)
    } else if message.starts_with("missing field") {
        ("MissingParameter", quoted)
    } else if message.starts_with("duplicate field") {
        ("InvalidParameterValue", quoted)
    } else {
        ("InvalidParameterValue", None)
    }
}

/// Query parameters; those that `T` does not have are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|rejection| {
                let message = rejection.body_text();
                let message = message
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&message);
                let (path, inner) = message.split_once(": ").unwrap_or(("", message));
                // The path is at the start of the message when the value of a known parameter is wrong.
                let known_path = !path.is_empty() && !path.contains(' ');
                let (code, named) = classify(if known_path { inner } else { message });
                let field = if known_path { Some(path) } else { named };
                let problem = Problem::new(StatusCode::BAD_REQUEST, code, format!("In the query: {message}"));
                match field {
                    Some(field) => problem.field(field),
                    None => problem,
                }
            })
    }
}

/// A request without query parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Refuses every query parameter.
#[derive(Debug)]
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<Nothing>::from_request_parts(parts, state).await.map(|_| Self)
    }
}

/// The variable parts of the path, in order, percent-decoded.
#[derive(Debug)]
pub struct PathParts(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathParts {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection| {
                Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", rejection.body_text())
                    .remedy("Write the path in UTF-8, percent-encoded.")
            })?;
        Ok(Self(
            raw.iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

impl PathParts {
    /// The part with this name; empty if the route has none, which is a defect of the route.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// Distinguishes `null` from an absent field: null means "none".
pub fn double_option<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Parses a parameter by its `FromStr`.
pub fn from_text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
    D: serde::Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}
