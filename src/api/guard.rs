//! Who may call. A server on loopback is within reach of every web page that the user has open, so a request must name a
//! host that is ours (a rebound DNS name does not) and must not come from another site; with a token it must bear it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::state::AppState;
use crate::lab::ApiAccess;

/// A bearer token. It is compared in constant time and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Text that is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Too easily guessed, or not fit for a header.
    #[error("a token has at least 16 visible ASCII characters without spaces: make one with 'openssl rand -hex 32'")]
    Unfit,
    /// The file could not be read.
    #[error("cannot read the token from {path}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Token {
    /// A token; at least 16 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        if text.len() < 16 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unfit);
        }
        Ok(Self(text.to_owned()))
    }

    /// The first line of a file.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let wrong = |source| TokenError::File {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(wrong)?;
        Self::new(text.lines().next().unwrap_or_default().trim())
    }

    /// The token as it goes into a header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// What a server allows beyond editing the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Running commands in instances.
    pub exec: bool,
    /// Nothing but the network: no devices of the machine, no scenarios and their runs.
    pub network_only: bool,
}

impl Permissions {
    /// Refuses what belongs to the machine where only the network may be edited.
    pub(crate) fn machine(self, what: &str) -> Result<(), Problem> {
        if !self.network_only {
            return Ok(());
        }
        let detail = format!("{what} cannot be asked for from inside an instance");
        let problem = Problem::new(StatusCode::FORBIDDEN, "UnauthorizedOperation", detail);
        Err(problem.remedy("Ask the server from the machine that it runs on."))
    }
}

/// The rules of one server.
#[derive(Debug, Clone, Default)]
pub struct GuardConfig {
    /// What every request over TCP must bear; none lets everybody in who can reach the socket.
    pub token: Option<Token>,
    /// Names and addresses beside those of the loopback by which clients may call the server, without port.
    pub hosts: Vec<String>,
    /// What else is allowed.
    pub permissions: Permissions,
}

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TCP.
    Tcp,
    /// Over the unix socket, whose file permissions have let the caller in.
    Unix,
    /// Over the socket of an instance, whose programs may do this.
    Instance(ApiAccess),
}

/// By what right a request is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It came over the unix socket.
    Unix,
    /// It bore the token.
    Token,
    /// It came from inside an instance.
    Instance,
    /// No token is set.
    Open,
}

/// The middleware: lets a request through, with its [`Access`], or answers it with a problem.
pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    // Only a test without a socket has no transport, and gets the stricter one.
    let transport = request
        .extensions()
        .get::<Transport>()
        .copied()
        .unwrap_or(Transport::Tcp);
    let admitted = from_instance(transport, request.method(), request.uri())
        .and_then(|()| admit(&state.guard, transport, request.uri(), request.headers()));
    match admitted {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn admit(config: &GuardConfig, transport: Transport, uri: &Uri, headers: &HeaderMap) -> Result<Access, Problem> {
    let host = host(uri, headers);
    if transport == Transport::Tcp {
        let named = host.as_deref().map(without_port);
        if !named.is_some_and(|name| is_our_name(config, name)) {
            let shown = host.as_deref().unwrap_or("none");
            return Err(
                forbidden("Host", format!("The host '{shown}' is not a name of this server"))
                    .remedy("Call it as localhost or 127.0.0.1, or start it with the name as an allowed host."),
            );
        }
    }
    same_site(headers, host.as_deref())?;
    match transport {
        Transport::Unix => return Ok(Access::Unix),
        Transport::Instance(_) => return Ok(Access::Instance),
        Transport::Tcp => {}
    }
    let Some(token) = &config.token else {
        return Ok(Access::Open);
    };
    // Whether the server is alive is no secret, and what asks for it often has none.
    if uri.path() == "/healthz" {
        return Ok(Access::Open);
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match given {
        Some((_, given)) if token.matches(given.trim()) => Ok(Access::Token),
        Some(_) => Err(unauthorized("The token is not the one of this server")),
        None => Err(unauthorized("This server wants a token")),
    }
}

/// Questions that are asked by POST, because they have a body.
const QUESTIONS: [&str; 2] = ["/v1/explain", "/v1/topology/plan"];

/// What the programs of an instance cannot ask for: it is no part of the network.
const OF_THE_MACHINE: [&str; 2] = ["/v1/scenarios", "/v1/runs"];

/// Refuses what the programs of an instance may not do: edits, where they may only read, and what is the machine's.
fn from_instance(transport: Transport, method: &Method, uri: &Uri) -> Result<(), Problem> {
    let Transport::Instance(may) = transport else {
        return Ok(());
    };
    if OF_THE_MACHINE.iter().any(|path| uri.path().starts_with(path)) {
        return Err(forbidden(
            "path",
            "Scenarios and their runs are the machine's, not the network's".to_owned(),
        )
        .remedy("Ask the server from the machine that it runs on."));
    }
    if may == ApiAccess::Full || method.is_safe() || QUESTIONS.contains(&uri.path()) {
        return Ok(());
    }
    Err(forbidden(
        "method",
        "The programs of this instance may read the network, and not edit it".to_owned(),
    )
    .remedy("Make the instance with 'api: full'."))
}

fn forbidden(field: &str, detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "UnauthorizedOperation", detail).field(field)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "AuthFailure", detail)
        .field("Authorization")
        .remedy("Send 'Authorization: Bearer TOKEN' with the token that the server was started with.")
}

/// The host that the request names: the authority of an absolute target, else the header (RFC 9112 section 3.2.2).
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = || headers.get(header::HOST)?.to_str().ok().map(str::to_owned);
    uri.authority().map(ToString::to_string).or_else(header)
}

fn without_port(host: &str) -> &str {
    // An IPv6 address stands in brackets; only after them can a port follow.
    let end = host.rfind(']').map_or(0, |at| at + 1);
    host.rfind(':').filter(|at| *at >= end).map_or(host, |at| &host[..at])
}

fn is_our_name(config: &GuardConfig, name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    // A browser takes `localhost.` for another host, and resolvers for the same one: it is not worth having.
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback())
        || config.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(bare))
}

/// Refuses what a browser sends on behalf of another site (Fetch Metadata; RFC 6454 section 7).
fn same_site(headers: &HeaderMap, host: Option<&str>) -> Result<(), Problem> {
    const REMEDY: &str = "Call the API from a program, or from a page that this server itself has served.";
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return Err(forbidden("Sec-Fetch-Site", "Requests from other sites are refused".into()).remedy(REMEDY));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        if authority.is_none() || !authority.zip(host).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b)) {
            let detail = format!("Requests from the origin '{origin}' are refused");
            return Err(forbidden("Origin", detail).remedy(REMEDY));
        }
    }
    Ok(())
}

/// The right to run commands in instances. A handler that takes this is refused unless the server was started with it,
/// and the caller bears the token or uses the unix socket.
#[derive(Debug, Clone, Copy)]
pub struct AllowExec(());

impl AllowExec {
    /// The right, if the server gives it to a caller with this access.
    pub fn check(permissions: Permissions, access: Access) -> Result<Self, Problem> {
        if !permissions.exec {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "UnauthorizedOperation",
                "This server does not run commands in instances",
            )
            .remedy("Start it with --allow-exec, and with a token or a unix socket."));
        }
        if access == Access::Open {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "UnauthorizedOperation",
                "Running commands takes the token or the unix socket",
            )
            .remedy("Call over the unix socket, or start the server with a token and send it."));
        }
        Ok(Self(()))
    }
}

impl FromRequestParts<AppState> for AllowExec {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().copied().unwrap_or(Access::Open);
        Self::check(state.permissions(), access)
    }
}

/// True for an address that only this machine can reach.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(config: &GuardConfig, transport: Transport, headers: &[(&'static str, &str)]) -> Result<Access, u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        admit(config, transport, &Uri::from_static("/v1/vpcs"), &map).map_err(|problem| problem.status)
    }

    fn with_token() -> GuardConfig {
        GuardConfig {
            token: Some(Token::new("0123456789abcdef").unwrap()),
            ..GuardConfig::default()
        }
    }

    #[test]
    fn a_host_that_is_not_ours_is_refused_however_it_is_written() {
        let config = GuardConfig {
            hosts: vec!["vpc.lab".into(), "192.0.2.7".into()],
            ..GuardConfig::default()
        };
        for ours in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:1",
            "[::1]",
            "VPC.lab:99",
            "192.0.2.7:1",
        ] {
            assert_eq!(
                ask(&config, Transport::Tcp, &[("host", ours)]),
                Ok(Access::Open),
                "{ours}"
            );
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::2]",
            "128.0.0.1",
            "",
            "localhost.",
            "::1",
        ] {
            let found = ask(&config, Transport::Tcp, &[("host", foreign)]);
            assert_eq!(found, Err(403), "{foreign}");
        }
        assert_eq!(ask(&config, Transport::Tcp, &[]), Err(403));
        assert_eq!(ask(&config, Transport::Unix, &[("host", "anything")]), Ok(Access::Unix));
    }

    #[test]
    fn a_web_page_of_another_site_is_refused_on_every_transport() {
        let config = GuardConfig::default();
        let host = ("host", "localhost:8080");
        for transport in [Transport::Tcp, Transport::Unix] {
            for refused in [
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("origin", "http://localhost:3000"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                assert_eq!(ask(&config, transport, &[host, refused]), Err(403), "{refused:?}");
            }
            for fine in [
                ("origin", "http://localhost:8080"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "none"),
            ] {
                assert!(ask(&config, transport, &[host, fine]).is_ok(), "{fine:?}");
            }
        }
    }

    #[test]
    fn with_a_token_only_its_bearer_gets_in_over_tcp() {
        let host = ("host", "localhost");
        let config = with_token();
        for (value, expected) in [
            ("Bearer 0123456789abcdef", Ok(Access::Token)),
            ("bearer 0123456789abcdef", Ok(Access::Token)),
            ("Bearer 0123456789abcdeg", Err(401)),
            ("Bearer 0123456789abcde", Err(401)),
            ("Basic 0123456789abcdef", Err(401)),
            ("0123456789abcdef", Err(401)),
        ] {
            assert_eq!(
                ask(&config, Transport::Tcp, &[host, ("authorization", value)]),
                expected,
                "{value}"
            );
        }
        assert_eq!(ask(&config, Transport::Tcp, &[host]), Err(401));
        assert_eq!(ask(&config, Transport::Unix, &[host]), Ok(Access::Unix));
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        let health = admit(&config, Transport::Tcp, &Uri::from_static("/healthz"), &headers);
        assert_eq!(health.unwrap(), Access::Open);
    }

    #[test]
    fn commands_run_only_where_they_were_allowed_and_for_whom_is_known() {
        let on = Permissions {
            exec: true,
            ..Permissions::default()
        };
        for (permissions, access, allowed) in [
            (Permissions::default(), Access::Unix, false),
            (Permissions::default(), Access::Token, false),
            (on, Access::Open, false),
            (on, Access::Unix, true),
            (on, Access::Token, true),
        ] {
            assert_eq!(
                AllowExec::check(permissions, access).is_ok(),
                allowed,
                "{permissions:?} {access:?}"
            );
        }
    }

    #[test]
    fn a_token_is_not_printed_and_not_short() {
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(!format!("{token:?}").contains("0123"));
        for unfit in ["", "short", "0123456789abcde f", "0123456789abcdé0"] {
            assert!(Token::new(unfit).is_err(), "{unfit}");
        }
    }
}
