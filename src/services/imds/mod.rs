//! Serves the Instance Metadata Service. The instance is determined by the interface that the request came in by, never
//! by the request's content. Version 2 requires a token, which a PUT returns in packets with a TTL of 1, so that it
//! does not cross a hop (EC2 guide, "Use IMDSv2").

mod content;
pub mod document;
mod token;
mod tree;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_RANGES, ALLOW, CONTENT_TYPE, HeaderValue, SERVER};
use axum::http::{Extensions, HeaderMap, HeaderName, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

pub use document::{Asker, Instance, MetadataSource};
pub use token::{MAX_TTL, TokenSecret};

use super::clock::{Clock, Entropy};
use crate::datapath::faults::MetadataFault;
use token::Tokens;

/// The lifetime of a token: requested in a PUT, remaining in an answer.
pub const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
/// The token in a GET.
pub const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Versions that EC2 lists; each has the same tree here.
pub const VERSIONS: [&str; 29] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

/// In an answer's extensions: the TTL or hop limit of the packets that carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopLimit(pub u8);

/// In a request's extensions: when a request delayed by a fault is to be polled again, in the clock's time.
#[derive(Debug, Clone, Default)]
pub struct Alarm(Arc<Mutex<Option<Duration>>>);

impl Alarm {
    /// When it is due, if it is set.
    pub fn due(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// State of the handlers.
struct Imds {
    source: Arc<dyn MetadataSource>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tokens: Tokens,
}

/// The service as a router. A request must carry an [`Asker`] in its extensions; one without is answered with 500.
pub fn router(source: Arc<dyn MetadataSource>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Router {
    let secret = TokenSecret::drawn(&*entropy);
    router_with(source, clock, entropy, secret)
}

/// The same with the secret of an earlier server, whose tokens stay valid.
pub fn router_with(
    source: Arc<dyn MetadataSource>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    secret: TokenSecret,
) -> Router {
    let tokens = Tokens::new(secret);
    let imds = Imds {
        source,
        clock,
        entropy,
        tokens,
    };
    // Paths are matched by hand: an empty segment is ignored anywhere (the OCF agent awseip requests
    // `macs/<mac>//local-ipv4s`), and versions are data.
    Router::new().fallback(serve).with_state(Arc::new(imds))
}

async fn serve(State(imds): State<Arc<Imds>>, request: Request) -> Response {
    let asker = request.extensions().get::<Asker>();
    // A fault names keys without the version.
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let below = segments.get(1..).unwrap_or_default();
    let fault = asker.and_then(|asker| imds.source.fault(asker.interface, below));
    let fault = fault.unwrap_or_default();
    drop(segments);
    if !fault.delay.is_zero() {
        let until = imds.clock.monotonic().saturating_add(fault.delay);
        let alarm = request.extensions().get::<Alarm>().cloned().unwrap_or_default();
        alarm.set(Some(until));
        // The caller that runs the connection reads the alarm and polls again when it is due.
        std::future::poll_fn(|_| match imds.clock.monotonic() < until {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        alarm.set(None);
    }
    if fault.silent {
        // The connection ends by its own limits, as one to a hanging service does.
        return std::future::pending().await;
    }
    let answer = imds.answer(
        request.method(),
        request.uri().path(),
        request.headers(),
        request.extensions(),
        fault,
    );
    let mut response = match answer {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    response
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The request carries no [`Asker`].
    NoAsker,
    /// There is no such key.
    NotFound,
    /// The service is disabled, the token is requested below a version, or through a proxy.
    Forbidden,
    /// The token is missing, wrong or expired.
    Unauthorized,
    /// The token's lifetime is missing or out of range; or the path is not UTF-8.
    BadRequest,
    /// The path does not take the method.
    Method(&'static str),
    /// Injected by a fault.
    Fault(StatusCode),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoAsker => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Fault(status) => status,
        };
        let title = format!(
            "{} - {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default()
        );
        let page = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
             <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
             <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
        );
        let mut response = (status, [(CONTENT_TYPE, "text/html")], page).into_response();
        if let Self::Method(allowed) = self {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

impl Imds {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        extensions: &Extensions,
        fault: MetadataFault,
    ) -> Result<Response, Refusal> {
        let asker = extensions.get::<Asker>().ok_or(Refusal::NoAsker)?;
        if let Some(status) = fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
            return Err(Refusal::Fault(status));
        }
        let instance = self.source.instance(asker.interface).ok_or(Refusal::NotFound)?;
        let options = &instance.options;
        if !options.http_endpoint || asker.to.is_ipv6() && !options.http_protocol_ipv6 {
            return Err(Refusal::Forbidden);
        }
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| Refusal::BadRequest)?;
        let path: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        // A clock that is set back by more than its age makes a token of the past live longer.
        let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        match *method {
            Method::PUT => {
                let mut response = match self.issue(&instance, &path, headers, now, fault.token_lifetime) {
                    Ok(response) => response,
                    Err(refusal) => refusal.into_response(),
                };
                response.extensions_mut().insert(HopLimit(options.hop_limit));
                Ok(response)
            }
            Method::GET | Method::HEAD => self.read(&instance, &path, headers, now),
            _ => Err(Refusal::Method("GET, HEAD, PUT")),
        }
    }

    /// PUT /latest/api/token.
    fn issue(
        &self,
        instance: &Instance,
        path: &[&str],
        headers: &HeaderMap,
        now: Duration,
        at_most: Option<Duration>,
    ) -> Result<Response, Refusal> {
        match path {
            ["latest", "api", "token"] => {}
            // EC2 guide, "Use IMDSv2": a PUT to a version-specific path is 403.
            [_, "api", "token"] => return Err(Refusal::Forbidden),
            _ => return Err(Refusal::Method("GET, HEAD")),
        }
        // A request forwarded by a proxy could leak the token.
        if headers.contains_key(FORWARDED_FOR) {
            return Err(Refusal::Forbidden);
        }
        let ttl = headers
            .get(TOKEN_TTL)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
        let ttl = ttl
            .filter(|ttl| (1..=MAX_TTL).contains(ttl))
            .ok_or(Refusal::BadRequest)?;
        // A lifetime cut short by a fault is not shown: the token expires early.
        let at_most = at_most.map_or(MAX_TTL, |most| u32::try_from(most.as_secs()).unwrap_or(MAX_TTL));
        let token = self
            .tokens
            .issue(&instance.instance_id, ttl.min(at_most), now, &*self.entropy);
        let mut response = plain(token);
        response.headers_mut().insert(TOKEN_TTL, HeaderValue::from(ttl));
        Ok(response)
    }

    /// GET and HEAD of everything else.
    fn read(
        &self,
        instance: &Instance,
        path: &[&str],
        headers: &HeaderMap,
        now: Duration,
    ) -> Result<Response, Refusal> {
        let remaining = match headers.get(TOKEN) {
            // A wrong token is refused even where none is required.
            Some(token) => {
                let remaining = self.tokens.remaining(&instance.instance_id, token.as_bytes(), now);
                Some(remaining.ok_or(Refusal::Unauthorized)?)
            }
            None if instance.options.tokens_required => return Err(Refusal::Unauthorized),
            None => None,
        };
        let mut response = match path {
            [] => plain(VERSIONS.join("\n")),
            ["latest", "api", "token"] => return Err(Refusal::Method("PUT")),
            [version, rest @ ..] if VERSIONS.contains(version) => {
                let octets = content::tree(instance)
                    .read(rest.iter().copied())
                    .ok_or(Refusal::NotFound)?;
                let mut response = plain(octets.into_owned());
                if *rest == ["user-data"] {
                    let octets = HeaderValue::from_static("application/octet-stream");
                    response.headers_mut().insert(CONTENT_TYPE, octets);
                }
                response
            }
            _ => return Err(Refusal::NotFound),
        };
        if let Some(remaining) = remaining {
            response.headers_mut().insert(TOKEN_TTL, HeaderValue::from(remaining));
        }
        Ok(response)
    }
}

fn plain(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "text/plain")], body.into()).into_response()
}
