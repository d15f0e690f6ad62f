//! Gives every resource a version, and lets a request name the one that it is about.
//!
//! | header | what it says |
//! |---|---|
//! | `Localvpc-Revision` | the revision that an edit made, or that the network had when it was read |
//! | `ETag` of a GET | the version of what was read: a checksum of it, so that nothing that it shows is left out |
//! | `If-Match` of an edit | it is refused with 412 unless the resource still has this version (RFC 9110 section 13.1.1) |
//! | `If-None-Match: *` of an edit | it is refused with 412 if the resource is there |
//! | `If-None-Match` of a GET | 304 if the resource still has this version |
//!
//! The version is compared at one revision, and the edit is carried out at the same one or not at all: if another edit comes in
//! between, both are done again. `at` in the query of a GET asks for the network of the past. No handler knows any of this.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use siphasher::sip128::SipHasher13;
use tower::ServiceExt;

use super::{bad_query, blocking, largest_body};
use crate::api::commands::REQUEST;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::control::Point;
use crate::control::Request as Asked;

/// The header with a revision.
pub(super) const REVISION: HeaderName = HeaderName::from_static("localvpc-revision");

/// How often an edit with a condition is tried while others come in between.
const TRIES: usize = 50;

/// Lists and resources that are none of the declared network: they have no past.
const WITHOUT_PAST: [&str; 12] = [
    "captures",
    "events",
    "faults",
    "health",
    "instances",
    "metrics",
    "openapi.json",
    "ports",
    "profiles",
    "revisions",
    "runs",
    "scenarios",
];

/// What is needed to ask the API from within.
pub(super) struct Versions {
    routes: Router<AppState>,
    present: Router,
    state: AppState,
}

impl Versions {
    pub(super) fn new(routes: Router<AppState>, state: AppState) -> Self {
        Self {
            present: routes.clone().with_state(state.clone()),
            routes,
            state,
        }
    }

    /// Asks for what is at a path, as the same caller.
    async fn get(&self, uri: Uri, extensions: Extensions) -> Response {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        *request.extensions_mut() = extensions;
        answered(self.present.clone().oneshot(request).await)
    }

    /// The version of the resource that a request is about: of the one at the path, or of the nearest around it that can be
    /// read, for actions on it. None if it is not there.
    async fn version(&self, path: &str, extensions: &Extensions) -> Result<Option<String>, Problem> {
        let mut path = path.trim_end_matches('/');
        loop {
            let Ok(uri) = path.parse() else { return Ok(None) };
            let response = self.get(uri, extensions.clone()).await;
            match response.status() {
                StatusCode::OK => return Ok(Some(etag(&body_of(response).await?))),
                StatusCode::METHOD_NOT_ALLOWED => match path.rsplit_once('/') {
                    Some((around, _)) if around.len() > "/v1".len() => path = around,
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
    }

    /// Carries out an edit if its condition holds.
    async fn edit(&self, request: Request, condition: Condition) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let limit = largest_body(parts.uri.path());
        let body = to_bytes(body, limit).await.map_err(|_| {
            let detail = "The body is larger than this request may have, or broke off";
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", detail)
        })?;
        for _ in 0..TRIES {
            let revision = self.state.controller.revision();
            let version = self.version(parts.uri.path(), &parts.extensions).await?;
            if !condition.holds(version.as_deref()) {
                if !self.takes(&parts).await {
                    // RFC 9110 section 13.2.1: a condition does not matter to a request that fails without it.
                    let request = Request::from_parts(parts, Body::from(body));
                    return Ok(answered(self.present.clone().oneshot(request).await));
                }
                let mut response = condition.refusal(version.as_deref(), revision).into_response();
                put_revision(response.headers_mut(), revision);
                if let Some(version) = version.and_then(|version| HeaderValue::from_str(&version).ok()) {
                    response.headers_mut().insert(header::ETAG, version);
                }
                return Ok(response);
            }
            let asked = Arc::new(Asked::by("rest").expecting(revision));
            let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
            let response = REQUEST
                .scope(Arc::clone(&asked), self.present.clone().oneshot(request))
                .await;
            if !asked.was_overtaken() {
                let mut response = answered(response);
                put_revision(response.headers_mut(), asked.made().unwrap_or(revision));
                return shown(&parts.method, response, None).await;
            }
        }
        let problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Unavailable",
            "Other edits came in between each time",
        );
        Err(problem.remedy("Send the request again."))
    }

    /// Whether the path has the method of a request.
    async fn takes(&self, parts: &Parts) -> bool {
        let mut asked = Request::new(Body::empty());
        *asked.method_mut() = Method::OPTIONS;
        *asked.uri_mut() = parts.uri.clone();
        *asked.extensions_mut() = parts.extensions.clone();
        let answer = answered(self.present.clone().oneshot(asked).await);
        let allowed = answer.headers().get(header::ALLOW);
        let Some(allowed) = allowed.and_then(|value| value.to_str().ok()) else {
            return true;
        };
        allowed.split(',').any(|method| method.trim() == parts.method.as_str())
    }

    /// Answers from the network of the past.
    async fn of_past(&self, request: Request, point: &str, rest: String) -> Result<Response, Problem> {
        let point: Point = point
            .parse()
            .map_err(|error: String| bad_query("at", error).remedy("Give a revision, or a time in RFC 3339."))?;
        let state = self.state.clone();
        let (past, revision) = blocking(move || {
            let revision = state.controller.revision_at(point)?;
            Ok((state.at(revision)?, revision))
        })
        .await
        .map_err(|problem| {
            if problem.field.is_none() {
                problem.field("at")
            } else {
                problem
            }
        })?;
        let (mut parts, body) = request.into_parts();
        let uri = match rest.is_empty() {
            true => parts.uri.path().to_owned(),
            false => format!("{}?{rest}", parts.uri.path()),
        };
        parts.uri = uri.parse().map_err(|error| bad_query("at", error))?;
        parts.extensions.insert(past.clone());
        let routes: Router = self.routes.clone().with_state(past);
        let mut response = answered(routes.oneshot(Request::from_parts(parts, body)).await);
        put_revision(response.headers_mut(), revision);
        Ok(response)
    }

    async fn answer(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        // `lists` asks it which resources are in a VPC.
        request.extensions_mut().insert(self.state.clone());
        let method = request.method().clone();
        let edits = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(request.method());
        if has_past(request.method(), request.uri())
            && let Some((point, rest)) = point_of(request.uri())
        {
            return self.of_past(request, &point, rest).await;
        }
        if edits && let Some(condition) = Condition::of(request.headers()) {
            return self.edit(request, condition).await;
        }
        let wanted = request.headers().get(header::IF_NONE_MATCH).cloned();
        let revision = self.state.controller.revision();
        let asked = Arc::new(Asked::by("rest"));
        let mut response = REQUEST.scope(Arc::clone(&asked), next.run(request)).await;
        put_revision(response.headers_mut(), asked.made().unwrap_or(revision));
        shown(&method, response, wanted.as_ref()).await
    }
}

/// The middleware.
pub(super) async fn versioned(State(versions): State<Arc<Versions>>, request: Request, next: Next) -> Response {
    versions
        .answer(request, next)
        .await
        .unwrap_or_else(Problem::into_response)
}

fn answered(response: Result<Response, std::convert::Infallible>) -> Response {
    response.unwrap_or_else(|never| match never {})
}

fn put_revision(headers: &mut HeaderMap, revision: u64) {
    headers.insert(REVISION, revision.into());
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

async fn body_of(response: Response) -> Result<Bytes, Problem> {
    // It is in memory already.
    let body = to_bytes(response.into_body(), usize::MAX).await;
    body.map_err(|error| Problem::internal(format!("The answer broke off: {error}")))
}

/// A checksum of 128 bits, which no accident meets.
fn etag(body: &[u8]) -> String {
    let hasher = SipHasher13::new_with_keys(0x6c6f_6361_6c76_7063, 3);
    format!("\"{:032x}\"", u128::from(hasher.hash(body)))
}

/// An answer with the version of the resource that it shows. A PATCH answers with what a GET shows.
async fn shown(method: &Method, response: Response, wanted: Option<&HeaderValue>) -> Result<Response, Problem> {
    let shows = [Method::GET, Method::PATCH].contains(method);
    match shows && response.status() == StatusCode::OK && is_json(response.headers()) {
        true => with_version(response, wanted).await,
        false => Ok(response),
    }
}

async fn with_version(response: Response, wanted: Option<&HeaderValue>) -> Result<Response, Problem> {
    let (mut parts, body) = response.into_parts();
    let body = body_of(Response::new(body)).await?;
    let version = etag(&body);
    let known = wanted.and_then(|wanted| wanted.to_str().ok());
    let unchanged = known.is_some_and(|known| known.trim() == "*" || listed(known, &version, true));
    if let Ok(version) = HeaderValue::from_str(&version) {
        parts.headers.insert(header::ETAG, version);
    }
    if unchanged {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Whether a version is in a list of them. A weak one names the same only where that is enough.
fn listed(list: &str, version: &str, weak: bool) -> bool {
    let strong = |one: &str| one == version || (weak && one.strip_prefix("W/") == Some(version));
    list.split(',').any(|one| strong(one.trim()))
}

/// What has to be so that an edit is carried out.
enum Condition {
    /// `If-Match`.
    Has(String),
    /// `If-None-Match`.
    HasNot(String),
}

impl Condition {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| {
            let all: Vec<&str> = headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap_or("?"))
                .collect();
            (!all.is_empty()).then(|| all.join(", "))
        };
        let has = text(header::IF_MATCH).map(Self::Has);
        has.or_else(|| text(header::IF_NONE_MATCH).map(Self::HasNot))
    }

    fn holds(&self, version: Option<&str>) -> bool {
        match (self, version) {
            (Self::Has(_), None) => false,
            (Self::Has(list), Some(version)) => list.trim() == "*" || listed(list, version, false),
            (Self::HasNot(_), None) => true,
            (Self::HasNot(list), Some(version)) => list.trim() != "*" && !listed(list, version, true),
        }
    }

    fn refusal(&self, version: Option<&str>, revision: u64) -> Problem {
        let field = match self {
            Self::Has(_) => "If-Match",
            Self::HasNot(_) => "If-None-Match",
        };
        let detail = match version {
            Some(version) => format!("The resource has the version {version}, at revision {revision}"),
            None => format!("The resource is not there, at revision {revision}"),
        };
        Problem::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", detail)
            .field(field)
            .remedy("Read the resource again, and send the edit with the ETag of that answer if it still makes sense.")
    }
}

/// Whether a request can be about the past.
pub(super) fn has_past(method: &Method, uri: &Uri) -> bool {
    let Some(path) = uri.path().strip_prefix("/v1/") else {
        return false;
    };
    let list = path.split('/').next().unwrap_or_default();
    match *method {
        Method::GET => !WITHOUT_PAST.contains(&list),
        Method::POST => path == "explain",
        _ => false,
    }
}

/// Has a request that can be asked about the past ask about what was so long ago. One that asks about a time of its own does
/// so still.
pub(super) fn look_back(state: &AppState, request: &mut Request, stale: Duration) {
    if !has_past(request.method(), request.uri()) || point_of(request.uri()).is_some() {
        return;
    }
    let then = SystemTime::now().checked_sub(stale);
    // What is not kept any more cannot be shown: the present is then all that there is.
    let Some(revision) = then.and_then(|then| state.controller.revision_at(Point::Time(then)).ok()) else {
        return;
    };
    let uri = match request.uri().query() {
        Some(query) => format!("{}?{query}&at={revision}", request.uri().path()),
        None => format!("{}?at={revision}", request.uri().path()),
    };
    if let Ok(uri) = uri.parse() {
        *request.uri_mut() = uri;
    }
}

/// The point of the past that a request asks for, and the rest of its query.
fn point_of(uri: &Uri) -> Option<(String, String)> {
    let query = uri.query()?;
    let pairs = || form_urlencoded::parse(query.as_bytes());
    let (_, point) = pairs().find(|(name, _)| name == "at")?;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    rest.extend_pairs(pairs().filter(|(name, _)| name != "at"));
    Some((point.into_owned(), rest.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_compare_as_rfc_9110_says() {
        let headers = |name: HeaderName, text: &str| HeaderMap::from_iter([(name, text.parse().unwrap())]);
        // Condition, with this version there, without one.
        for (name, text, there, absent) in [
            (header::IF_MATCH, "*", true, false),
            (header::IF_MATCH, "\"a\"", true, false),
            (header::IF_MATCH, "\"b\", \"a\"", true, false),
            (header::IF_MATCH, "\"zzz\"", false, false),
            (header::IF_MATCH, "W/\"a\"", false, false),
            (header::IF_MATCH, "a", false, false),
            (header::IF_NONE_MATCH, "*", false, true),
            (header::IF_NONE_MATCH, "W/\"a\"", false, true),
            (header::IF_NONE_MATCH, "\"b\"", true, true),
        ] {
            let condition = Condition::of(&headers(name.clone(), text)).unwrap();
            assert_eq!(
                (condition.holds(Some("\"a\"")), condition.holds(None)),
                (there, absent),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_point_is_taken_out_of_the_query() {
        let uri: Uri = "/v1/mappings?subnet=a%26b&at=7&limit=3".parse().unwrap();
        assert_eq!(point_of(&uri), Some(("7".into(), "subnet=a%26b&limit=3".into())));
        assert!(has_past(&Method::GET, &uri) && !has_past(&Method::POST, &uri));
        assert!(!has_past(&Method::GET, &"/v1/events?at=7".parse().unwrap()));
    }
}
