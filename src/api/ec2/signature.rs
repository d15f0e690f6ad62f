//! Reads the signature of a request and compares it with the one that its key gives: AWS Signature Version 4 (IAM guide, "AWS
//! Signature Version 4 for API requests"), in the Authorization header or in the query string.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
/// How far the date of a request may be from the server's (EC2 API Reference, "Common errors": `RequestExpired`).
const SKEW: Duration = Duration::from_secs(15 * 60);
/// The longest validity of a signature in a query string (IAM guide, "Authentication methods": seven days).
const LONGEST: u64 = 7 * 24 * 3600;
/// What stays as it is in a canonical query string (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is signed of a request. Its path is `/`, the only one of the Query API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    /// As it was sent, without the question mark.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// A part is missing or malformed.
    #[error("{0}")]
    Incomplete(String),
    /// The date is too far from the server's, or the signature is valid no longer.
    #[error("Request has expired.")]
    Expired,
    /// It was made for another service, region or day.
    #[error("{0}")]
    Scope(String),
    /// The key gives another one.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
         signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

/// The signature of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature<'a> {
    /// The access key.
    pub(super) key: Cow<'a, str>,
    /// The session token, which temporary credentials have.
    pub(super) token: Option<Cow<'a, str>>,
    scope: [String; 3],
    stamp: String,
    /// Seconds for which a signature in the query string is valid.
    valid: Option<u64>,
    headers: Vec<String>,
    signature: String,
}

fn incomplete(detail: impl Into<String>) -> SignatureError {
    SignatureError::Incomplete(detail.into())
}

impl<'a> Signature<'a> {
    /// The signature that a request has; none if it has none.
    pub(super) fn of(request: &Signable<'a>) -> Result<Option<Self>, SignatureError> {
        if let Some(header) = request.headers.get("authorization") {
            let header = header
                .to_str()
                .map_err(|_| incomplete("Authorization header is not ASCII."))?;
            return Self::of_header(header, request.headers).map(Some);
        }
        let parameters: Vec<_> = form_urlencoded::parse(request.query.as_bytes()).collect();
        let value = |wanted: &str| {
            let found = parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        if value("X-Amz-Algorithm").is_none() && value("X-Amz-Signature").is_none() {
            return Ok(None);
        }
        let needed = |name: &str| {
            value(name).ok_or_else(|| incomplete(format!("AWS query-string parameters must include '{name}'.")))
        };
        if needed("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': use {ALGORITHM}.")));
        }
        let valid = needed("X-Amz-Expires")?.parse().ok().filter(|valid| *valid <= LONGEST);
        let (key, scope) = credential(&needed("X-Amz-Credential")?)?;
        Ok(Some(Self {
            key: key.into(),
            token: value("X-Amz-Security-Token"),
            scope,
            stamp: needed("X-Amz-Date")?.into_owned(),
            valid: Some(valid.ok_or_else(|| incomplete("'X-Amz-Expires' is a number of seconds up to 604800."))?),
            headers: names(&needed("X-Amz-SignedHeaders")?)?,
            signature: needed("X-Amz-Signature")?.into_owned(),
        }))
    }

    fn of_header(header: &'a str, headers: &'a HeaderMap) -> Result<Self, SignatureError> {
        let rest = header.strip_prefix(ALGORITHM).ok_or_else(|| {
            incomplete(format!(
                "Authorization header requires '{ALGORITHM}' and its parameters."
            ))
        })?;
        let part = |name: &str| {
            let mut parts = rest.split(',').filter_map(|part| part.trim().split_once('='));
            let found = parts.find(|(known, _)| *known == name).map(|(_, value)| value);
            found.ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter.")))
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (key, scope) = credential(part("Credential")?)?;
        let stamp = text("x-amz-date")
            .ok_or_else(|| incomplete("Authorization header requires existence of an 'X-Amz-Date' header."))?;
        Ok(Self {
            key: key.into(),
            token: text("x-amz-security-token").map(Cow::Borrowed),
            scope,
            stamp: stamp.to_owned(),
            valid: None,
            headers: names(part("SignedHeaders")?)?,
            signature: part("Signature")?.to_owned(),
        })
    }

    /// Refuses a signature for another service or region, or of another time.
    pub(super) fn check_scope(&self, service: &str, regions: &[&str], now: SystemTime) -> Result<(), SignatureError> {
        let [day, region, of] = &self.scope;
        let at = instant(&self.stamp).ok_or_else(|| {
            incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'.",
                short(&self.stamp)
            ))
        })?;
        if self.stamp.get(..8) != Some(day) {
            let detail = format!(
                "Date in Credential scope does not match '{}' of the request.",
                short(&self.stamp)
            );
            return Err(SignatureError::Scope(detail));
        }
        if of != service {
            let detail = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(SignatureError::Scope(detail));
        }
        if !regions.contains(&region.as_str()) {
            let detail = format!(
                "Credential should be scoped to a valid region, not '{}'.",
                short(region)
            );
            return Err(SignatureError::Scope(detail));
        }
        let end = at.checked_add(self.valid.map_or(SKEW, Duration::from_secs));
        let early = now.checked_add(SKEW).is_some_and(|latest| at > latest);
        if early || end.is_none_or(|end| now > end) {
            return Err(SignatureError::Expired);
        }
        Ok(())
    }

    /// Compares it with the one that a secret access key gives.
    pub(super) fn verify(&self, request: &Signable<'_>, secret: &str) -> Result<(), SignatureError> {
        let canonical = self.canonical(request)?;
        let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let scope = format!("{}/{TERMINATOR}", self.scope.join("/"));
        let text = [ALGORITHM, &self.stamp, &scope, &hash].join("\n");
        let first = format!("AWS4{secret}");
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
        for part in self.scope.iter().map(String::as_str).chain([TERMINATOR]) {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        let given = HEXLOWER
            .decode(self.signature.as_bytes())
            .map_err(|_| SignatureError::Mismatch)?;
        hmac::verify(&key, text.as_bytes(), &given).map_err(|_| SignatureError::Mismatch)
    }

    /// The canonical request, "Create a canonical request" of the same guide.
    fn canonical(&self, request: &Signable<'_>) -> Result<String, SignatureError> {
        let mut text = format!("{}\n/\n{}\n", request.method, canonical_query(request.query));
        for name in &self.headers {
            let mut values = request.headers.get_all(name.as_str()).iter().peekable();
            if values.peek().is_none() {
                return Err(incomplete(format!(
                    "The signed header '{}' is not in the request.",
                    short(name)
                )));
            }
            let values: Vec<String> = values.map(|value| single_spaces(value.as_bytes())).collect();
            // Writing to memory does not fail.
            let _ = writeln!(text, "{name}:{}", values.join(","));
        }
        let body = HEXLOWER.encode(digest::digest(&digest::SHA256, request.body).as_ref());
        let _ = write!(text, "\n{}\n{body}", self.headers.join(";"));
        Ok(text)
    }
}

/// An access key, and the day, region and service that it signed for.
fn credential(text: &str) -> Result<(String, [String; 3]), SignatureError> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [key, day, region, service, TERMINATOR] if !key.is_empty() => {
            Ok(((*key).to_owned(), [*day, *region, *service].map(str::to_owned)))
        }
        _ => Err(incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request.",
        )),
    }
}

/// The names of signed headers. The host has to be among them, else a signature would be good for any server.
fn names(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_ascii_lowercase).collect();
    if !names.iter().any(|name| name == "host") {
        return Err(incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    Ok(names)
}

fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        // A client may send a space as '+', which the form's parser reads so too.
        let plain = text.replace('+', " ");
        let octets: Vec<u8> = percent_decode_str(&plain).collect();
        percent_encoding::percent_encode(&octets, ENCODED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn single_spaces(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A time as in `20150830T123600Z`.
fn instant(text: &str) -> Option<SystemTime> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' || !text.is_ascii() {
        return None;
    }
    let part = |range: std::ops::Range<usize>| text.get(range);
    let (day, time) = (
        [part(0..4)?, part(4..6)?, part(6..8)?].join("-"),
        [part(9..11)?, part(11..13)?, part(13..15)?].join(":"),
    );
    humantime::parse_rfc3339(&format!("{day}T{time}Z")).ok()
}

/// As much of a client's text as an answer repeats.
fn short(text: &str) -> String {
    let ascii: String = text.chars().take(64).collect();
    utf8_percent_encode(&ascii, percent_encoding::CONTROLS).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn authorization(service: &str, signed: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders={signed}, \
             Signature={signature}"
        )
    }

    fn verified(request: &Signable<'_>, secret: &str) -> Result<(), SignatureError> {
        Signature::of(request)?.unwrap().verify(request, secret)
    }

    /// The names and signatures of AWS's test suite for Signature Version 4, and the example of the IAM guide. Each was computed
    /// once more with Python's hmac from the algorithm as it is described.
    #[test]
    fn the_signatures_of_aws_s_test_suite_are_right_and_no_others() {
        let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let unreserved = format!("{unreserved}={unreserved}");
        let host = ("host", "example.amazonaws.com");
        let date = ("x-amz-date", "20150830T123600Z");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let iam = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            date,
        ];
        let spaces = [host, ("my-header1", "  value1 "), ("my-header2", "\"a   b   c\""), date];
        let plain: &[(&str, &str)] = &[host, date];
        let with_form: &[(&str, &str)] = &[form, host, date];
        for (name, method, query, pairs, body, service, signature) in [
            (
                "get-vanilla",
                "GET",
                "",
                plain,
                "",
                "service",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "Param2=value2&Param1=value1",
                plain,
                "",
                "service",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-order-value",
                "GET",
                "Param1=value2&Param1=value1",
                plain,
                "",
                "service",
                "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
            ),
            (
                "get-vanilla-query-unreserved",
                "GET",
                &unreserved,
                plain,
                "",
                "service",
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
            (
                "get-vanilla-utf8-query",
                "GET",
                "%E1%88%B4=bar",
                plain,
                "",
                "service",
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (
                "get-header-value-trim",
                "GET",
                "",
                &spaces,
                "",
                "service",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "post-x-www-form-urlencoded",
                "POST",
                "",
                with_form,
                "Param1=value1",
                "service",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "the example of the guide",
                "GET",
                "Action=ListUsers&Version=2010-05-08",
                &iam,
                "",
                "iam",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ] {
            let mut headers = headers(pairs);
            let signed: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
            let header = authorization(service, &signed.join(";"), signature);
            headers.insert("authorization", header.parse().unwrap());
            let request = Signable {
                method,
                query,
                headers: &headers,
                body: body.as_bytes(),
            };
            assert_eq!(verified(&request, SECRET), Ok(()), "{name}");
            assert_eq!(verified(&request, "another"), Err(SignatureError::Mismatch), "{name}");
            for other in [
                Signable {
                    method: "PUT",
                    ..request
                },
                Signable {
                    query: "Param1=value3",
                    ..request
                },
                Signable {
                    body: b"Param1=value2",
                    ..request
                },
            ] {
                assert_eq!(verified(&other, SECRET), Err(SignatureError::Mismatch), "{name}");
            }
        }
    }

    #[test]
    fn a_signature_in_the_query_string_is_as_good_as_one_in_a_header() {
        // Computed with botocore's SigV4QueryAuth.
        let query = "Action=DescribeVpcs&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
                     &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fec2%2Faws4_request&X-Amz-Date=20150830T123600Z\
                     &X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature=1992437ca4fb16de35b89e4531987d71eacdb639f06728bb0618d2f29073a1d1";
        let headers = headers(&[("host", "ec2.us-east-1.amazonaws.com")]);
        let request = Signable {
            method: "GET",
            query,
            headers: &headers,
            body: b"",
        };
        assert_eq!(verified(&request, SECRET), Ok(()));
        let later = query.replace("Expires=300", "Expires=301");
        assert_eq!(
            verified(
                &Signable {
                    query: &later,
                    ..request
                },
                SECRET
            ),
            Err(SignatureError::Mismatch)
        );
    }

    #[test]
    fn what_is_no_signature_of_this_service_now_is_refused() {
        let at = |text: &str| instant(text).unwrap();
        let date = ("x-amz-date", "20150830T123600Z");
        let good = authorization("ec2", "host;x-amz-date", &"0".repeat(64));
        let check = |header: &str, date: (&'static str, &str), service: &str, region: &str, now: &str| {
            let headers = headers(&[("authorization", header), ("host", "h"), date]);
            let request = Signable {
                method: "GET",
                query: "",
                headers: &headers,
                body: b"",
            };
            Signature::of(&request)?
                .unwrap()
                .check_scope(service, &[region], at(now))
        };
        for (now, expired) in [
            ("20150830T123600Z", false),
            ("20150830T125100Z", false),
            ("20150830T125101Z", true),
            ("20150830T122100Z", false),
            ("20150830T122059Z", true),
        ] {
            let wanted = if expired { Err(SignatureError::Expired) } else { Ok(()) };
            assert_eq!(check(&good, date, "ec2", "us-east-1", now), wanted, "{now}");
        }
        let now = "20150830T123600Z";
        let kind = |result| match result {
            Err(SignatureError::Scope(_)) => "scope",
            Err(SignatureError::Incomplete(_)) => "incomplete",
            _ => "else",
        };
        assert_eq!(kind(check(&good, date, "sts", "us-east-1", now)), "scope");
        assert_eq!(kind(check(&good, date, "ec2", "eu-west-1", now)), "scope");
        assert_eq!(
            kind(check(
                &good,
                ("x-amz-date", "20150831T003600Z"),
                "ec2",
                "us-east-1",
                now
            )),
            "scope"
        );
        for bad in ["today", "20151330T123600Z", "2015-08-30T12:36:", "20150830T1236é0", ""] {
            assert_eq!(
                kind(check(&good, ("x-amz-date", bad), "ec2", "us-east-1", now)),
                "incomplete",
                "{bad}"
            );
        }
        for header in [
            "Basic abc".to_owned(),
            "AWS4-HMAC-SHA256".to_owned(),
            good.replace("host;", ""),
            good.replace("Signature=", "Sign="),
            good.replace("/aws4_request", ""),
            good.replace("AKIDEXAMPLE", ""),
        ] {
            assert_eq!(
                kind(check(&header, date, "ec2", "us-east-1", now)),
                "incomplete",
                "{header}"
            );
        }
        let headers = headers(&[("host", "h")]);
        let request = Signable {
            method: "GET",
            query: "Action=DescribeVpcs",
            headers: &headers,
            body: b"",
        };
        assert_eq!(Signature::of(&request), Ok(None));
    }
}
