//! Decides which callers may use the API.
//!
//! A server on loopback can be reached by every web page that its user has open, so a request must name one of the
//! server's hosts (a rebound DNS name is not one) and must not come from another site. It can also be reached by every
//! user of the machine: over TCP root and the server's own user are served, and every other user must send the token.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::problem::Problem;
use super::state::AppState;
pub use super::token::{Token, TokenError};
use crate::lab::ApiAccess;

/// The permissions of a server beyond editing the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Running commands in instances.
    pub exec: bool,
    /// Nothing but the network: no devices of the machine, no scenarios and their runs.
    pub network_only: bool,
}

impl Permissions {
    /// Refuses requests for the machine where only the network may be edited.
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
    /// The token that every request over TCP must send, including those of the owner.
    pub token: Option<Token>,
    /// The token for callers over TCP who are neither root nor the server's own user. Those two need none.
    pub guest_token: Option<Token>,
    /// Names and addresses, in addition to those of loopback, by which clients may call the server, without port.
    pub hosts: Vec<String>,
    /// Further permissions.
    pub permissions: Permissions,
    /// Whether the EC2 API verifies who signed a request. It is then open to every caller over TCP who has a key.
    pub signed_ec2: bool,
}

/// The transport of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Over TCP.
    Tcp,
    /// The unix socket, whose file permissions admitted the caller.
    Unix,
    /// The socket of an instance, whose programs have this access.
    Instance(ApiAccess),
}

/// Why a request was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It came over the unix socket.
    Unix,
    /// It sent the token.
    Token,
    /// It came from inside an instance.
    Instance,
    /// It came over TCP from root or the server's own user, and the server requires no token.
    Owner,
    /// It only asks whether the server is alive.
    Public,
}

/// The middleware: passes a request on with its [`Access`], or answers it with a problem.
pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    // Only a test without a socket has no transport, and gets the stricter one.
    let transport = request
        .extensions()
        .get::<Transport>()
        .copied()
        .unwrap_or(Transport::Tcp);
    // Every connection marks its requests; one without a mark is made within this process, as by a test.
    let caller = request.extensions().get::<Caller>().copied();
    let caller = caller.unwrap_or(Caller::Owner);
    let admitted = from_instance(transport, request.method(), request.uri())
        .and_then(|()| admit(&state.guard, (transport, caller), request.uri(), request.headers()));
    match admitted {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn admit(
    config: &GuardConfig,
    (transport, caller): (Transport, Caller),
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Access, Problem> {
    let host = host(uri, headers)?;
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
    if config.signed_ec2 && uri.path() == "/" {
        return Ok(Access::Public);
    }
    let given = bearer(headers);
    let tokens = [&config.token, &config.guest_token];
    if given.is_some_and(|given| tokens.into_iter().flatten().any(|token| token.matches(given))) {
        return Ok(Access::Token);
    }
    if config.token.is_none() && caller.is_owner() {
        return Ok(Access::Owner);
    }
    // Whether the server is alive is no secret, and a health check often has no token.
    if uri.path() == "/healthz" {
        return Ok(Access::Public);
    }
    Err(match (given, &config.token, caller) {
        (Some(_), ..) => unauthorized("The token is not the one of this server"),
        (None, Some(_), _) => unauthorized("This server wants a token"),
        (None, None, Caller::User(user)) => unauthorized(&format!(
            "This server serves root and its own user without a token, and you are user {user}"
        )),
        (None, None, _) => {
            unauthorized("This server serves root and its own user without a token, and cannot tell yours")
        }
    })
}

/// The token that a request sends: as in RFC 6750 section 2.1, or, from an AWS client, as the access key of its
/// signature (`Credential=TOKEN/20261130/us-east-1/ec2/aws4_request`).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = given.split_once(' ')?;
    if scheme == "AWS4-HMAC-SHA256" {
        let credential = rest.split_once("Credential=")?.1;
        return credential.split_once('/').map(|(key, _)| key);
    }
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// Read-only requests that use POST because they have a body. The EC2 API at `/` decides itself which of its actions
/// read.
const QUESTIONS: [&str; 3] = ["/v1/explain", "/v1/topology/plan", "/"];

/// Paths that the programs of an instance cannot use: they are not part of the network.
const OF_THE_MACHINE: [&str; 2] = ["/v1/scenarios", "/v1/runs"];

/// Refuses requests that the programs of an instance may not make: edits if they may only read, and paths of the
/// machine.
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

/// The host that the request names: the authority of an absolute target, else the header (RFC 9112 section 3.2.2). Two
/// headers are refused (RFC 9112 section 3.2), and so is user information, which an http URI does not have (RFC 9110
/// section 4.2.4): a proxy in front of the server may have read another host in either.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let malformed = |detail: &str, remedy: &str| {
        Err(Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", detail)
            .field("Host")
            .remedy(remedy))
    };
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return malformed("The request has more than one Host header", "Send one.");
    }
    let header = headers
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or("?").to_owned());
    let authority = uri.authority().map(ToString::to_string);
    if [&header, &authority]
        .into_iter()
        .flatten()
        .any(|host| host.contains('@'))
    {
        return malformed(
            "The host of the request has user information before it",
            "Leave out what stands before the '@'.",
        );
    }
    Ok(authority.or(header))
}

fn without_port(host: &str) -> &str {
    // An IPv6 address is in brackets; a port can follow only after them.
    let end = host.rfind(']').map_or(0, |at| at + 1);
    host.rfind(':').filter(|at| *at >= end).map_or(host, |at| &host[..at])
}

fn is_our_name(config: &GuardConfig, name: &str) -> bool {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    // A browser treats `localhost.` as another host, and resolvers as the same one: it is refused.
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

/// The right to run commands in instances. A handler with this argument is refused unless the server was started with
/// the permission, and the caller sends the token or uses the unix socket.
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
        if !matches!(access, Access::Token | Access::Unix) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "UnauthorizedOperation",
                "Running commands takes the token or the unix socket",
            )
            .remedy(
                "Call over the unix socket, or send the token of the server, as the command line does by itself.",
            ));
        }
        Ok(Self(()))
    }
}

impl FromRequestParts<AppState> for AllowExec {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let access = parts.extensions.get::<Access>().copied().unwrap_or(Access::Public);
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
        admit(config, (transport, Caller::Owner), &Uri::from_static("/v1/vpcs"), &map).map_err(|problem| problem.status)
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
                Ok(Access::Owner),
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
            (
                "AWS4-HMAC-SHA256 Credential=0123456789abcdef/20261130/us-east-1/ec2/aws4_request, SignedHeaders=host",
                Ok(Access::Token),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=0123456789abcdeg/20261130/us-east-1/ec2/aws4_request, SignedHeaders=host",
                Err(401),
            ),
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
        let health = admit(
            &config,
            (Transport::Tcp, Caller::Owner),
            &Uri::from_static("/healthz"),
            &headers,
        );
        assert_eq!(health.unwrap(), Access::Public);
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
            (on, Access::Owner, false),
            (on, Access::Public, false),
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
    fn over_tcp_the_owner_is_served_and_every_other_caller_needs_a_token() {
        let guests = GuardConfig {
            guest_token: Some(Token::new("guest-0123456789").unwrap()),
            ..GuardConfig::default()
        };
        let none = GuardConfig::default();
        let right = Some("Bearer guest-0123456789");
        let stale = Some("Bearer another-0123456789");
        for (config, caller, path, given, expected) in [
            (&guests, Caller::Owner, "/v1/vpcs", None, Ok(Access::Owner)),
            // A token of another server in the environment does not exclude the owner.
            (&guests, Caller::Owner, "/v1/vpcs", stale, Ok(Access::Owner)),
            (&guests, Caller::Owner, "/v1/vpcs", right, Ok(Access::Token)),
            (&guests, Caller::User(1000), "/v1/vpcs", None, Err(401)),
            (&guests, Caller::User(1000), "/v1/vpcs", stale, Err(401)),
            (&guests, Caller::User(1000), "/v1/vpcs", right, Ok(Access::Token)),
            (&guests, Caller::User(1000), "/healthz", None, Ok(Access::Public)),
            (&guests, Caller::Unknown, "/v1/vpcs", None, Err(401)),
            (&none, Caller::Owner, "/v1/vpcs", None, Ok(Access::Owner)),
            (&none, Caller::User(1000), "/v1/vpcs", right, Err(401)),
            (&none, Caller::Unknown, "/v1/vpcs", None, Err(401)),
            (&with_token(), Caller::Owner, "/v1/vpcs", None, Err(401)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "localhost".parse().unwrap());
            if let Some(given) = given {
                headers.insert("authorization", given.parse().unwrap());
            }
            let found = admit(config, (Transport::Tcp, caller), &path.parse().unwrap(), &headers);
            assert_eq!(
                found.map_err(|problem| problem.status),
                expected,
                "{caller:?} {path} {given:?}"
            );
        }
    }

    #[test]
    fn a_request_names_one_host_and_no_user() {
        let config = GuardConfig::default();
        for transport in [Transport::Tcp, Transport::Unix] {
            for (target, hosts, expected) in [
                ("/v1/vpcs", vec!["localhost"], true),
                ("http://localhost/v1/vpcs", vec!["localhost"], true),
                ("/v1/vpcs", vec!["localhost", "localhost"], false),
                ("/v1/vpcs", vec!["localhost", "evil.example"], false),
                ("http://evil.example@localhost/v1/vpcs", vec!["localhost"], false),
                ("http://a:b@localhost/v1/vpcs", vec!["localhost"], false),
                ("/v1/vpcs", vec!["a@localhost"], false),
            ] {
                let mut headers = HeaderMap::new();
                for host in &hosts {
                    headers.append("host", host.parse().unwrap());
                }
                let found = admit(&config, (transport, Caller::Owner), &target.parse().unwrap(), &headers);
                let status = found.map(drop).map_err(|problem| problem.status);
                let expected = if expected { Ok(()) } else { Err(400) };
                assert_eq!(status, expected, "{transport:?} {target} {hosts:?}");
            }
        }
    }
}
