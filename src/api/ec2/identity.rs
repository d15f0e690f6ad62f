//! Finds out who calls: by the keys and the session token of the request where signatures are verified, else by the interface
//! that it came in by. Refuses what the caller's policy does not permit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use super::error::Ec2Error;
use super::signature::{Signable, Signature, SignatureError};
use crate::control::{ACCOUNT, Controller, Session};
use crate::model::InstanceId;
use crate::model::ids::ResourceId;
use crate::model::instance::policy::PolicyRefusal;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An instance, with the role whose credentials its metadata service gives it.
    Instance {
        /// The instance.
        instance: InstanceId,
        /// Its role.
        role: Option<String>,
    },
    /// The programs of a host, which called by the socket in it.
    Host(String),
    /// The holder of temporary credentials.
    Session(Session),
    /// The account itself, by a key of the server's file.
    Account,
}

impl Identity {
    /// The instance that calls.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Instance { instance, .. } => Some(*instance),
            Self::Session(session) => session.instance,
            Self::Host(_) | Self::Account => None,
        }
    }

    /// Its name for IAM, and its identifier.
    pub(super) fn names(&self) -> (String, String) {
        let assumed = |role: &str, session: &str, id: u64| {
            (
                format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}"),
                format!("AROA{id:016X}:{session}"),
            )
        };
        match self {
            // An instance with a role has a session of it, named after the instance (IAM guide, "Using an IAM role to grant
            // permissions").
            Self::Instance {
                instance,
                role: Some(role),
            } => assumed(role, &instance.to_string(), instance.to_bits()),
            Self::Session(session) => {
                let id = session.instance.map_or(session.number, ResourceId::to_bits);
                assumed(&session.role, &session.name, id)
            }
            Self::Instance { role: None, .. } | Self::Host(_) | Self::Account => {
                (format!("arn:aws:iam::{ACCOUNT}:root"), ACCOUNT.to_owned())
            }
        }
    }
}

/// Refuses an action that the policy of the calling instance does not permit.
pub(super) fn permit(
    controller: &Controller,
    caller: Option<&Identity>,
    service: &str,
    action: &str,
) -> Result<(), Ec2Error> {
    // Every caller may ask who it is, even one that is denied it (STS API, GetCallerIdentity).
    let Some(caller) = caller.filter(|_| action != "GetCallerIdentity") else {
        return Ok(());
    };
    let Some(id) = caller.instance() else { return Ok(()) };
    let policy = match controller.instance(&id.into()) {
        Ok(instance) => instance.metadata.iam_policy,
        // The credentials of an instance end with it.
        Err(_) if matches!(caller, Identity::Session(_)) => return Err(unknown_key(service)),
        Err(_) => return Ok(()),
    };
    let name = format!("{service}:{action}");
    let Some(Err(refusal)) = policy.map(|policy| policy.permits(&name)) else {
        return Ok(());
    };
    let (user, _) = caller.names();
    let reason = match refusal {
        PolicyRefusal::Denied => "with an explicit deny in an identity-based policy".to_owned(),
        PolicyRefusal::NotAllowed => format!("because no identity-based policy allows the {name} action"),
    };
    let detail = format!("User: {user} is not authorized to perform: {name} {reason}");
    Err(match service {
        "sts" => Ec2Error::new("AccessDenied", detail),
        _ => Ec2Error::new(
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {detail}"),
        ),
    })
}

/// The keys of the account, by access key.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<String, SecretKey>);

#[derive(Clone)]
struct SecretKey(String);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// A line of it is wrong.
    #[error("{0}, line {1}: {2}")]
    Line(String, usize, &'static str),
    /// No key is in it.
    #[error(
        "{0}: there is no key in it; write 'aws_access_key_id = …' and 'aws_secret_access_key = …' under a '[profile]', as in \
         ~/.aws/credentials"
    )]
    Empty(String),
}

impl Keys {
    /// The keys of all profiles of a file in the form of `~/.aws/credentials`.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| KeysError::Io(shown.clone(), error))?;
        Self::parse(&shown, &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self, KeysError> {
        let mut keys = BTreeMap::new();
        let mut key: Option<(usize, String)> = None;
        let mut secret: Option<(usize, String)> = None;
        let lines = text.lines().map(str::trim).enumerate();
        for (number, line) in lines.chain([(usize::MAX - 1, "[")]) {
            let wrong = |number: usize, problem| Err(KeysError::Line(file.to_owned(), number, problem));
            if line.starts_with('[') {
                match (key.take(), secret.take()) {
                    (Some((_, key)), Some((_, secret))) => drop(keys.insert(key, SecretKey(secret))),
                    (Some((at, _)), None) => {
                        return wrong(at, "the profile has no aws_secret_access_key: add the line");
                    }
                    (None, Some((at, _))) => return wrong(at, "the profile has no aws_access_key_id: add the line"),
                    (None, None) => {}
                }
                continue;
            }
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else {
                return wrong(number + 1, "it is neither '[profile]' nor 'name = value'");
            };
            let value = (number + 1, value.trim().to_owned());
            match name.trim() {
                "aws_access_key_id" => key = Some(value),
                "aws_secret_access_key" => secret = Some(value),
                // Tools keep settings of their own there.
                _ => {}
            }
        }
        match keys.is_empty() {
            true => Err(KeysError::Empty(file.to_owned())),
            false => Ok(Self(keys)),
        }
    }
}

fn unknown_key(service: &str) -> Ec2Error {
    match service {
        "sts" => Ec2Error::new(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ),
        _ => Ec2Error::new(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        ),
    }
}

fn refused(error: &SignatureError, service: &str) -> Ec2Error {
    let code = match error {
        SignatureError::Incomplete(_) => "IncompleteSignature",
        SignatureError::Expired => "RequestExpired",
        SignatureError::Scope(_) if service == "ec2" => "AuthFailure",
        SignatureError::Scope(_) | SignatureError::Mismatch => "SignatureDoesNotMatch",
    };
    Ec2Error::new(code, error.to_string())
}

/// Who made a request of a service, by its signature.
pub(super) fn authenticate(
    keys: &Keys,
    controller: &Controller,
    request: &Signable<'_>,
    service: &str,
    now: SystemTime,
) -> Result<Identity, Ec2Error> {
    let wrong = |error: SignatureError| refused(&error, service);
    let signature = Signature::of(request)
        .map_err(wrong)?
        .ok_or_else(|| Ec2Error::new("MissingAuthenticationToken", "Request is missing Authentication Token"))?;
    let region = controller.region();
    let global = (service == "sts").then_some("us-east-1");
    let regions: Vec<&str> = std::iter::once(region.as_str()).chain(global).collect();
    signature.check_scope(service, &regions, now).map_err(wrong)?;
    let Some(token) = &signature.token else {
        let key = keys.0.get(signature.key.as_ref()).ok_or_else(|| unknown_key(service))?;
        signature.verify(request, &key.0).map_err(wrong)?;
        return Ok(Identity::Account);
    };
    let (session, credentials) = controller
        .role_secret()
        .session(token)
        .ok_or_else(|| unknown_key(service))?;
    if credentials.access_key_id != signature.key {
        return Err(unknown_key(service));
    }
    signature
        .verify(request, &credentials.secret_access_key)
        .map_err(wrong)?;
    if now > session.expiration() {
        return Err(match service {
            "sts" => Ec2Error::new("ExpiredToken", "The security token included in the request is expired"),
            _ => Ec2Error::new("RequestExpired", "Request has expired."),
        });
    }
    Ok(Identity::Session(session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_aws_s_tools_write_them() {
        let text = "# mine\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s=1\nregion = x\n\n[profile two]\n\
                    aws_secret_access_key = s2\naws_access_key_id = AKIA2\n";
        let keys = Keys::parse("file", text).unwrap();
        let found: Vec<(&str, &str)> = keys
            .0
            .iter()
            .map(|(key, secret)| (key.as_str(), secret.0.as_str()))
            .collect();
        assert_eq!(found, [("AKIA1", "s=1"), ("AKIA2", "s2")]);
        assert!(!format!("{keys:?}").contains("s2"), "no secret gets into a log");
    }

    #[test]
    fn a_file_without_a_whole_key_is_refused_by_line() {
        for (text, wanted) in [
            ("", "file: there is no key in it"),
            ("[default]\n", "file: there is no key in it"),
            (
                "[a]\naws_access_key_id = A\n[b]\n",
                "file, line 2: the profile has no aws_secret_access_key",
            ),
            (
                "[a]\n\naws_secret_access_key = A",
                "file, line 3: the profile has no aws_access_key_id",
            ),
            ("[a]\nnonsense\n", "file, line 2: it is neither"),
        ] {
            let error = Keys::parse("file", text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
