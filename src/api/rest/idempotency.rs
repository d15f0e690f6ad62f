//! Carries out a POST with an `Idempotency-Key` once: when it comes again, it gets the answer that it got then
//! (draft-ietf-httpapi-idempotency-key-header). The EC2 face has client tokens for that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher13;

use super::largest_body;
use super::versions::REVISION;
use crate::api::extract::State;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::store::Store;

/// The header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How many answers are remembered, and the shelf of the store that they are on.
const MOST: usize = 10_000;
const SHELF: &str = "idempotency";

/// The longest key, and the longest answer that is remembered.
const LONGEST: usize = 255;
const LARGEST: usize = 1 << 20;

/// Headers that belong to an answer.
const HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, REVISION];

/// The answers to requests with keys.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether those of an earlier start have been read.
    read: bool,
    by_key: HashMap<String, Progress>,
    order: VecDeque<String>,
}

#[derive(Debug, Clone)]
enum Progress {
    /// It is being carried out.
    Running,
    Answered(Answer),
}

/// An answer that was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    /// The checksum of the request.
    request: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Entries are put in and taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a key; if nothing is, it is being carried out from now on.
    fn begin(&self, key: &str, store: &dyn Store) -> Option<Progress> {
        let mut known = self.lock();
        if !known.read && store.lasts() {
            known.read = true;
            // A store that cannot be read says so when it is written to.
            for (key, text) in store.shelved(SHELF).unwrap_or_default() {
                if let Ok(answer) = serde_json::from_str(&text) {
                    known.order.push_back(key.clone());
                    known.by_key.insert(key, Progress::Answered(answer));
                }
            }
        }
        if let Some(found) = known.by_key.get(key) {
            return Some(found.clone());
        }
        known.by_key.insert(key.to_owned(), Progress::Running);
        None
    }

    fn end(&self, key: &str, answer: Option<Answer>, store: &dyn Store) {
        let mut known = self.lock();
        known.by_key.remove(key);
        let Some(answer) = answer else { return };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        known.by_key.insert(key.to_owned(), Progress::Answered(answer));
        known.order.push_back(key.to_owned());
        let oldest = (known.order.len() > MOST).then(|| known.order.pop_front()).flatten();
        if let Some(oldest) = &oldest {
            known.by_key.remove(oldest);
        }
        drop(known);
        if !store.lasts() {
            return;
        }
        let mut written = store.shelve(SHELF, key, Some(&text));
        if let Some(oldest) = oldest {
            written = written.and_then(|()| store.shelve(SHELF, &oldest, None));
        }
        if let Err(error) = written {
            tracing::warn!(%error, "an idempotency key is remembered by this process alone");
        }
    }
}

/// Forgets a request that was given up by its caller, or that panicked.
struct Running<'a> {
    state: &'a AppState,
    key: String,
    answer: Option<Answer>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let store = self.state.controller.store();
        self.state.answers().end(&self.key, self.answer.take(), &**store);
    }
}

/// The middleware.
pub(super) async fn once(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let key = match key_of(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    answer(&state, key, request, next)
        .await
        .unwrap_or_else(Problem::into_response)
}

/// The key of a POST.
fn key_of(request: &Request) -> Result<Option<String>, Problem> {
    if request.method() != Method::POST {
        return Ok(None);
    }
    let Some(value) = request.headers().get(KEY) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    // A string of structured fields (RFC 9651), or the same without its quotes, as many send it.
    let key = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    if key.is_empty() || key.len() > LONGEST || !key.chars().all(|c| c.is_ascii_graphic() && c != '"') {
        let problem = Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValue",
            "The key cannot be one",
        );
        return Err(problem
            .field("Idempotency-Key")
            .remedy("Send 1 to 255 visible characters of ASCII, such as a random UUID."));
    }
    Ok(Some(key.to_owned()))
}

async fn answer(state: &AppState, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, largest_body(parts.uri.path())).await.map_err(|_| {
        let detail = "The body is larger than this request may have, or broke off";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", detail)
    })?;
    let sum = checksum(&parts.uri.to_string(), &body);
    match state.answers().begin(&key, &**state.controller.store()) {
        Some(Progress::Answered(known)) if known.request == sum => return Ok(known.response()),
        Some(Progress::Answered(_)) => {
            let detail = "The key was used before, for another request";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "IdempotentParameterMismatch", detail);
            return Err(problem
                .field("Idempotency-Key")
                .remedy("Send the same request again, or another key for another request."));
        }
        Some(Progress::Running) => {
            let detail = "A request with this key is being carried out";
            let problem = Problem::new(StatusCode::CONFLICT, "RequestInProgress", detail);
            return Err(problem.field("Idempotency-Key").remedy("Send it again in a moment."));
        }
        None => {}
    }
    let mut running = Running {
        state,
        key,
        answer: None,
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|error| Problem::internal(format!("The answer broke off: {error}")))?;
    // A failure of the server, or a condition that does not hold, may end otherwise the next time.
    let lasts = !parts.status.is_server_error() && parts.status != StatusCode::PRECONDITION_FAILED;
    if lasts && body.len() <= LARGEST {
        running.answer = Answer::of(sum, parts.status, &parts.headers, &body);
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn checksum(uri: &str, body: &[u8]) -> String {
    let hasher = SipHasher13::new_with_keys(0x6c6f_6361_6c76_7063, 4);
    let all = [uri.as_bytes(), &[0], body].concat();
    format!("{:032x}", u128::from(hasher.hash(&all)))
}

impl Answer {
    fn of(request: String, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Option<Self> {
        let header = |name: &HeaderName| Some((name.to_string(), headers.get(name)?.to_str().ok()?.to_owned()));
        Some(Self {
            request,
            status: status.as_u16(),
            headers: HEADERS.iter().filter_map(header).collect(),
            body: String::from_utf8(body.to_vec()).ok()?,
        })
    }

    fn response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}
