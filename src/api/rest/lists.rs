//! Gives every list the same filters and pages: `name`, `tag`, `mac`, `status`, `vpc`, `limit` and `cursor`.
//!
//! A handler lists what it has. What is asked for of it is the same question for every resource, so it is answered in one
//! place, on the entries as they are shown; a resource that is added gets a line in [`LISTS`].

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Extensions, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{LARGEST_PAGE, PAGE, bad_query, blocking, page_size};
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::model::ResourceRef;

/// A list, and by what its entries can be filtered.
pub(super) struct List {
    /// The path, behind `/v1/`.
    path: &'static str,
    /// Parameters that its entries answer.
    filters: &'static [&'static str],
    /// What the entries are in the order of.
    key: &'static str,
    /// Whether its handler makes pages by itself, because there can be a million entries.
    paged: bool,
}

const fn list(path: &'static str, key: &'static str, filters: &'static [&'static str]) -> List {
    List {
        path,
        filters,
        key,
        paged: false,
    }
}

const fn paged(path: &'static str, filters: &'static [&'static str]) -> List {
    List {
        path,
        filters,
        key: "id",
        paged: true,
    }
}

/// Every list whose entries can be filtered.
const LISTS: [List; 21] = [
    list("vpcs", "id", &["name", "tag", "vpc"]),
    list("subnets", "id", &["name", "tag", "mac", "vpc"]),
    paged("interfaces", &["name", "tag", "mac", "status", "vpc"]),
    paged("mappings", &["mac", "vpc"]),
    list("route-tables", "id", &["name", "tag", "vpc"]),
    list("dhcp-options", "id", &["name", "tag"]),
    list("security-groups", "id", &["name", "tag", "vpc"]),
    list("network-acls", "id", &["name", "tag", "vpc"]),
    list("prefix-lists", "id", &["name", "tag"]),
    list("internet-gateways", "id", &["name", "tag", "vpc"]),
    list("egress-only-internet-gateways", "id", &["name", "tag", "vpc"]),
    list("vpc-endpoints", "id", &["name", "tag", "vpc"]),
    list("peering-connections", "id", &["name", "tag", "status"]),
    list("nat-gateways", "id", &["name", "tag", "status", "vpc"]),
    list("flow-logs", "id", &["name", "tag"]),
    list("elastic-ips", "id", &["name", "tag"]),
    list("outside", "name", &["name", "tag", "mac"]),
    list("instances", "name", &["name", "mac", "vpc"]),
    list("scenarios", "name", &["name"]),
    list("runs", "id", &["status"]),
    list("faults", "id", &[]),
];

/// All filters, in the words of every list.
const FILTERS: [(&str, &str); 5] = [
    ("name", "Of this name only."),
    (
        "tag",
        "With this tag only: `key` or `key=value`. Several times for several tags, all of which an entry must have.",
    ),
    ("mac", "With this MAC address only."),
    ("status", "In this status only."),
    ("vpc", "Of this VPC only: identifier or name."),
];

/// What makes pages of a list.
const PAGES: [(&str, &str); 2] = [
    (
        "limit",
        "Entries of a page, 1 to 1000. Without it, and without a cursor, a list is given whole, but for interfaces and mappings.",
    ),
    ("cursor", "The `next_cursor` of the page before."),
];

/// The list at a path.
pub(super) fn list_at(path: &str) -> Option<&'static List> {
    let path = path.strip_prefix("/v1/")?;
    LISTS.iter().find(|list| list.path == path)
}

impl List {
    /// The parameters that it takes beyond those of its handler, with what they mean.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        let filters = FILTERS.iter().filter(|(name, _)| self.filters.contains(name));
        filters.chain(&PAGES).copied()
    }
}

/// What is asked for.
#[derive(Default)]
struct Question {
    name: Option<String>,
    tags: Vec<(String, Option<String>)>,
    mac: Option<String>,
    status: Option<String>,
    vpc: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    /// Parameters of the handler.
    rest: Vec<(String, String)>,
}

impl Question {
    fn of(list: &List, uri: &Uri) -> Result<Self, Problem> {
        let mut question = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let value = value.into_owned();
            if value.is_empty() && (list.filters.contains(&&*name) || name == "cursor") {
                let detail = format!("In the query: {name} is empty");
                return Err(bad_query(&name, detail).remedy("Give it a value, or leave it out."));
            }
            match &*name {
                "limit" => question.limit = Some(number(&value)?),
                "cursor" => question.cursor = Some(value),
                other if !list.filters.contains(&other) => question.rest.push((other.to_owned(), value)),
                "name" => question.name = Some(value),
                "tag" => question.tags.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value, None),
                }),
                "mac" => question.mac = Some(mac(&value)?),
                "status" => question.status = Some(value),
                "vpc" => question.vpc = Some(value),
                other => question.rest.push((other.to_owned(), value)),
            }
        }
        page_size(question.limit)?;
        Ok(question)
    }

    fn filters(&self) -> bool {
        self.name.is_some()
            || !self.tags.is_empty()
            || self.mac.is_some()
            || self.status.is_some()
            || self.vpc.is_some()
    }

    /// Whether an entry is what is asked for; `members` are the identifiers in the VPC that is asked for.
    fn matches(&self, entry: &Value, members: Option<&BTreeSet<String>>) -> bool {
        let text = |field: &str| entry[field].as_str();
        let one_of = |fields: &[&str], wanted: &Option<String>| {
            wanted.is_none() || fields.iter().any(|field| text(field) == wanted.as_deref())
        };
        let tagged = self.tags.iter().all(|(key, wanted)| {
            let value = entry["tags"].get(key);
            value.is_some_and(|value| wanted.is_none() || value.as_str() == wanted.as_deref())
        });
        let inside = members.is_none_or(|members| {
            let mut fields = ["vpc_id", "subnet_id", "interface_id", "id"]
                .iter()
                .filter_map(|field| text(field));
            fields.next().is_some_and(|id| members.contains(id))
        });
        one_of(&["name"], &self.name)
            && one_of(&["mac_address", "router_mac"], &self.mac)
            && one_of(&["status", "state"], &self.status)
            && tagged
            && inside
    }
}

fn number(text: &str) -> Result<usize, Problem> {
    text.parse().map_err(|_| {
        bad_query("limit", format!("In the query: limit: '{text}' is not a number"))
            .remedy(format!("Ask for 1 to {LARGEST_PAGE}."))
    })
}

/// A MAC address as it is shown.
fn mac(text: &str) -> Result<String, Problem> {
    let parsed = text.parse::<crate::wire::MacAddr>();
    parsed
        .map(|mac| mac.to_string())
        .map_err(|error| bad_query("mac", error.to_string()))
}

/// The handler behind this file, as the caller may ask it.
struct Handlers {
    next: Next,
    extensions: Extensions,
}

impl Handlers {
    /// The answer to a GET; a problem as it is.
    async fn get(&self, path: &str, query: &[(String, String)]) -> Result<Map<String, Value>, Response> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri(path, query).map_err(Problem::into_response)?;
        *request.extensions_mut() = self.extensions.clone();
        let response = self.next.clone().run(request).await;
        if response.status() != StatusCode::OK {
            return Err(response);
        }
        let broken = |error: String| Problem::internal(format!("The answer broke off: {error}")).into_response();
        let body = to_bytes(response.into_body(), usize::MAX).await;
        let body = body.map_err(|error| broken(error.to_string()))?;
        serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))
    }
}

/// The identifiers of a VPC and of what is in it, as far as entries of lists name it.
async fn members(state: AppState, vpc: String) -> Result<BTreeSet<String>, Problem> {
    blocking(move || {
        let controller = &state.controller;
        let found = controller.vpc(&ResourceRef::new(&vpc));
        let id = found
            .map_err(|error| Problem::from(error).named_in_body().field("vpc"))?
            .id;
        let subnets = controller.subnets().into_iter().filter(|subnet| subnet.vpc_id == id);
        let interfaces = controller.interfaces(None, usize::MAX, |interface| interface.vpc_id == id);
        let mut members = BTreeSet::from([id.to_string()]);
        members.extend(subnets.map(|subnet| subnet.id.to_string()));
        members.extend(interfaces.into_iter().map(|interface| interface.id.to_string()));
        Ok(members)
    })
    .await
}

fn uri(path: &str, query: &[(String, String)]) -> Result<Uri, Problem> {
    if query.is_empty() {
        return path.parse().map_err(|error| bad_query("cursor", error));
    }
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(query);
    let uri = format!("{path}?{}", text.finish());
    uri.parse().map_err(|error| bad_query("cursor", error))
}

/// Takes the entries out of a list's answer: the one field that is an array.
fn entries_of(answer: &mut Map<String, Value>) -> Vec<Value> {
    let array = answer.values_mut().find_map(|value| value.as_array_mut());
    array.map(std::mem::take).unwrap_or_default()
}

fn put_entries(answer: &mut Map<String, Value>, entries: Vec<Value>, next: Option<String>) {
    if let Some(array) = answer.values_mut().find_map(|value| value.as_array_mut()) {
        *array = entries;
    }
    match next {
        Some(next) => drop(answer.insert("next_cursor".to_owned(), json!(next))),
        None => drop(answer.remove("next_cursor")),
    }
}

/// The middleware.
pub(super) async fn listed(request: Request, next: Next) -> Response {
    let list = Some(request.uri().path())
        .filter(|_| *request.method() == Method::GET)
        .and_then(list_at);
    match list {
        Some(list) => answer(list, request, next).await.unwrap_or_else(|refusal| refusal),
        None => next.run(request).await,
    }
}

async fn answer(list: &List, request: Request, next: Next) -> Result<Response, Response> {
    let question = Question::of(list, request.uri()).map_err(Problem::into_response)?;
    let pages = question.limit.is_some() || question.cursor.is_some();
    if !question.filters() && (list.paged || !pages) {
        return Ok(next.run(request).await);
    }
    let path = request.uri().path().to_owned();
    let handlers = Handlers {
        next,
        extensions: request.extensions().clone(),
    };
    // The network of the present, or of the past that is asked about (`versions`).
    let state = handlers.extensions.get::<AppState>().cloned();
    let members = match question.vpc.clone().zip(state) {
        Some((vpc, state)) => Some(members(state, vpc).await.map_err(Problem::into_response)?),
        None => None,
    };
    let found = match list.paged {
        true => of_pages(&handlers, &path, &question, members.as_ref()).await?,
        false => of_whole(list, &handlers, &path, &question, members.as_ref()).await?,
    };
    Ok(axum::Json(found).into_response())
}

/// A page of a list that its handler gives whole. A cursor is the key of the last entry of the page before.
async fn of_whole(
    list: &List,
    handlers: &Handlers,
    path: &str,
    question: &Question,
    members: Option<&BTreeSet<String>>,
) -> Result<Map<String, Value>, Response> {
    let mut answer = handlers.get(path, &question.rest).await?;
    let key = |entry: &Value| match &entry[list.key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut entries: Vec<Value> = entries_of(&mut answer);
    entries.retain(|entry| question.matches(entry, members));
    let mut next = None;
    if question.limit.is_some() || question.cursor.is_some() {
        entries.sort_by_key(key);
        entries.retain(|entry| question.cursor.as_ref().is_none_or(|cursor| key(entry) > *cursor));
        let limit = question.limit.unwrap_or(PAGE);
        if entries.len() > limit {
            entries.truncate(limit);
            next = entries.last().map(key);
        }
    }
    put_entries(&mut answer, entries, next);
    Ok(answer)
}

/// A page of a list whose handler gives pages: they are read until so many entries match.
async fn of_pages(
    handlers: &Handlers,
    path: &str,
    question: &Question,
    members: Option<&BTreeSet<String>>,
) -> Result<Map<String, Value>, Response> {
    let limit = question.limit.unwrap_or(PAGE);
    let (mut entries, mut cursor) = (Vec::new(), question.cursor.clone());
    loop {
        let page = |size: usize| {
            let mut query = question.rest.clone();
            query.push(("limit".to_owned(), size.to_string()));
            query.extend(cursor.clone().map(|cursor| ("cursor".to_owned(), cursor)));
            query
        };
        let mut answer = handlers.get(path, &page(LARGEST_PAGE)).await?;
        for (place, entry) in entries_of(&mut answer).into_iter().enumerate() {
            if !question.matches(&entry, members) {
                continue;
            }
            entries.push(entry);
            if entries.len() == limit {
                // A page that ends here says where the next one begins.
                let mut last = handlers.get(path, &page(place.saturating_add(1))).await?;
                let next = last.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
                put_entries(&mut last, entries, next);
                return Ok(last);
            }
        }
        cursor = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            put_entries(&mut answer, entries, None);
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_compared_by_what_it_shows() {
        let entry = json!({
            "id": "eni-1", "vpc_id": "vpc-1", "name": "a", "mac_address": "02:00:00:00:00:0a", "status": "in-use",
            "tags": { "team": "net" },
        });
        let list = list_at("/v1/interfaces").unwrap();
        for (query, expected) in [
            ("name=a", true),
            ("name=b", false),
            ("tag=team", true),
            ("tag=team=net", true),
            ("tag=team=other", false),
            ("tag=team&tag=zone", false),
            ("mac=02:00:00:00:00:0A", true),
            ("mac=02:00:00:00:00:0b", false),
            ("status=available", false),
            ("status=in-use&name=a&tag=team", true),
        ] {
            let uri: Uri = format!("/v1/interfaces?{query}").parse().unwrap();
            let question = Question::of(list, &uri).unwrap();
            assert_eq!(question.matches(&entry, None), expected, "{query}");
        }
    }
}
