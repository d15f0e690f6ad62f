//! Serves the EC2 Query API (2016-11-15) and two actions of STS over the same network as REST: the stock AWS clients edit the
//! table that the data path reads.
//!
//! A request is a form with an `Action`. `request` reads it into a tree that is typed by what AWS knows of the action
//! (`shape`); [`action`] turns the tree into the type of the action's parameters, runs it, and refuses what it would
//! ignore; `xml` writes the answer. [`actions::ACTIONS`] is the table that all of this comes from.

pub mod action;
pub mod actions;
mod coverage;
#[cfg(test)]
mod default_vpc_tests;
mod describe;
pub mod error;
mod identity;
#[cfg(test)]
mod instance_tests;
#[cfg(test)]
mod key_pair_tests;
mod request;
mod shape;
mod signature;
mod ssh_keys;
mod state;
#[cfg(test)]
mod tests;
mod throttling;
mod xml;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, DefaultBodyLimit, RawQuery, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

pub use actions::action_names;
pub use coverage::{ActionCoverage, coverage, coverage_of};
pub use identity::{Identity, Keys, KeysError};
pub use state::{Ec2, Memory};

use crate::api::commands::REQUEST;
use crate::api::guard::Transport;
use crate::api::{AppState, Problem};
use crate::control::{Author, Point};
use crate::lab::ApiAccess;
use error::Ec2Error;
use request::Request;
use signature::Signable;
use xml::{Node, document};

/// The XML namespace of EC2's answers.
const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// The XML namespace of STS's answers.
const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Bytes of a request. EC2 accepts 16 KiB of user data as the largest single value.
const BODY_LIMIT: usize = 1 << 20;

/// The EC2 endpoint of a server.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/", any(serve))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(of_ec2))
        .with_state(Arc::new(Ec2::new(state)))
}

/// Has the history say by which face an edit came.
async fn of_ec2(request: extract::Request, next: Next) -> Response {
    REQUEST
        .scope(Arc::new(crate::control::Request::by("ec2")), next.run(request))
        .await
}

async fn serve(
    State(ec2): State<Arc<Ec2>>,
    method: Method,
    extensions: Extensions,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::GET && query.is_none() {
        // No client of EC2 sends this; a person with a browser does.
        return nothing_here();
    }
    let ec2 = match extensions.get::<Author>() {
        Some(author) => Arc::new(Ec2::new(ec2.state.edited_by(author.clone()))),
        None => ec2,
    };
    let id = request_id();
    let query = query.unwrap_or_default();
    let request = match Request::parse(query.as_bytes(), &body) {
        Ok(request) => request,
        Err(error) => return refused(&error, &id, false),
    };
    let signable = Signable {
        method: method.as_str(),
        query: &query,
        headers: &headers,
        body: &body,
    };
    let caller = match who_calls(&ec2, &request, &signable, extensions.get().cloned()) {
        Ok(caller) => caller,
        Err(error) => return refused(&error, &id, is_sts(&request)),
    };
    if let Err(error) = may_call(extensions.get().copied(), &request.action) {
        return refused(&error, &id, is_sts(&request));
    }
    // An action that is not implemented needs no bucket; STS has limits of its own.
    if actions::find(&request.action).is_ok_and(|entry| entry.shape().service == "ec2")
        && let Err(error) = ec2.state.ec2().admit(&request)
    {
        return refused(&error, &id, false);
    }
    let fate = ec2.state.controller.api_fate(&request.action);
    if !fate.delay.is_zero() {
        tokio::time::sleep(fate.delay).await;
    }
    let fault = fate.error.map(|error| {
        let message = error.message();
        let mut refusal = Ec2Error::new(error.code, message);
        refusal.status = error.status;
        (refusal, error.carried_out)
    });
    if let Some((refusal, false)) = &fault {
        return refused(refusal, &id, is_sts(&request));
    }
    let sts = is_sts(&request);
    let own_id = id.clone();
    // An edit may wait for the writer's lock.
    let answer = crate::api::commands::run(move || {
        let past = (!fate.stale.is_zero())
            .then(|| earlier(&ec2, &request, fate.stale))
            .flatten();
        let caller = caller.map(|caller| resolved(&ec2, caller));
        identity::permit(
            &ec2.state.controller,
            caller.as_ref(),
            service_of(&request),
            &request.action,
        )?;
        answer(past.as_ref().unwrap_or(&ec2), &request, (&own_id, caller.as_ref()))
    });
    let answer = answer.await;
    match (answer, fault) {
        (_, Some((refusal, _))) => refused(&refusal, &id, sts),
        (Ok(Ok(text)), None) => xml_response(StatusCode::OK, text, &id),
        (Ok(Err(error)), None) => refused(&error, &id, sts),
        (Err(_), None) => {
            let error = Ec2Error::new(
                "InternalError",
                "An internal error has occurred. The server's log has more.",
            );
            refused(&error, &id, sts)
        }
    }
}

/// The network that an action reads which is answered from the past. One that edits is not, nor one that asks about the account.
fn earlier(ec2: &Ec2, request: &Request, stale: Duration) -> Option<Ec2> {
    let entry = actions::find(&request.action).ok()?;
    if !entry.reads || entry.shape().service != "ec2" {
        return None;
    }
    let then = SystemTime::now().checked_sub(stale)?;
    // What is not kept any more cannot be shown: the present is then all that there is.
    let revision = ec2.state.controller.revision_at(Point::Time(then)).ok()?;
    Some(Ec2::new(ec2.state.at(revision).ok()?))
}

/// The caller of a request: by its signature where signatures are verified, else as the connection says.
fn who_calls(
    ec2: &Ec2,
    request: &Request,
    signable: &Signable<'_>,
    connected: Option<Identity>,
) -> Result<Option<Identity>, Ec2Error> {
    let Some(keys) = ec2.state.ec2().keys() else {
        return Ok(connected);
    };
    identity::authenticate(
        keys,
        &ec2.state.controller,
        signable,
        service_of(request),
        SystemTime::now(),
    )
    .map(Some)
}

/// The instance of a host whose programs called by its socket.
fn resolved(ec2: &Ec2, caller: Identity) -> Identity {
    let Identity::Host(name) = &caller else { return caller };
    let hosts = ec2
        .state
        .runtime
        .as_ref()
        .map(|runtime| runtime.hosts())
        .unwrap_or_default();
    let interface = hosts
        .into_iter()
        .find(|host| host.name == *name)
        .and_then(|host| host.interface_id());
    let controller = &ec2.state.controller;
    let instance = interface.and_then(|id| controller.instance(&controller.instance_of(id)?.into()).ok());
    instance.map_or(caller, |instance| Identity::Instance {
        instance: instance.id,
        role: instance.metadata.iam_role,
    })
}

fn nothing_here() -> Response {
    Problem::new(
        StatusCode::NOT_FOUND,
        "InvalidAction",
        "There is nothing to read at '/'",
    )
    .remedy("GET /v1/openapi.json lists what there is; AWS clients POST their actions here.")
    .into_response()
}

/// Whether a request is allowed on its transport: an instance with read access calls only actions that read.
fn may_call(transport: Option<Transport>, action: &str) -> Result<(), Ec2Error> {
    if transport == Some(Transport::Instance(ApiAccess::None)) {
        return Err(Ec2Error::new(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. The programs of this instance have no access to the API: make the \
             instance with 'api: full' or 'api: read-only'.",
        ));
    }
    let reads_only = transport == Some(Transport::Instance(ApiAccess::ReadOnly));
    if reads_only && !actions::find(action)?.reads {
        return Err(Ec2Error::new(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. The programs of this instance may read the network, and not edit \
             it: make the instance with 'api: full'.",
        ));
    }
    Ok(())
}

impl Ec2 {
    /// The HTTP status and the document that answer a query string and a form, without a server and by no instance. Faults and
    /// throttling do not apply.
    pub fn answer(&self, query: &[u8], form: &[u8]) -> (u16, String) {
        let id = request_id();
        let request = match Request::parse(query, form) {
            Ok(request) => request,
            Err(error) => return (error.status, error.to_xml(&id)),
        };
        match answer(self, &request, (&id, None)) {
            Ok(document) => (200, document),
            Err(error) if is_sts(&request) => (error.status, error.to_sts_xml(&id)),
            Err(error) => (error.status, error.to_xml(&id)),
        }
    }
}

/// Carries a request out and writes its answer.
fn answer(ec2: &Ec2, request: &Request, (id, caller): (&str, Option<&Identity>)) -> Result<String, Ec2Error> {
    let entry = actions::find(&request.action)?;
    let shape = entry.shape();
    let members = ec2.call(entry, request.tree(shape)?, caller)?;
    Ok(response(entry.name, &shape.service, members, id))
}

/// The document of an answer. STS wraps the result and puts the request's identifier after it.
fn response(action: &str, service: &str, members: Vec<(&'static str, Node)>, id: &str) -> String {
    let root = format!("{action}Response");
    if service == "sts" {
        let result: &'static str = match action {
            "AssumeRole" => "AssumeRoleResult",
            _ => "GetCallerIdentityResult",
        };
        let metadata = Node::map([("RequestId", Node::text(id))]);
        let content = Node::map([(result, Node::Map(members)), ("ResponseMetadata", metadata)]);
        return document(&root, Some(STS_NAMESPACE), &content);
    }
    let mut content = vec![("requestId", Node::text(id))];
    content.extend(members);
    document(&root, Some(EC2_NAMESPACE), &Node::Map(content))
}

fn is_sts(request: &Request) -> bool {
    service_of(request) == "sts"
}

/// The service that a request is for. An action that none has is EC2's to refuse.
fn service_of(request: &Request) -> &'static str {
    shape::actions()
        .get(&request.action)
        .map_or("ec2", |shape| shape.service.as_str())
}

fn refused(error: &Ec2Error, id: &str, sts: bool) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let text = if sts { error.to_sts_xml(id) } else { error.to_xml(id) };
    xml_response(status, text, id)
}

fn xml_response(status: StatusCode, text: String, id: &str) -> Response {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", value);
    }
    response
}

/// A random identifier in the form of a version 4 UUID (RFC 9562 section 5.4).
fn request_id() -> String {
    let bits: u128 = rand::random();
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
