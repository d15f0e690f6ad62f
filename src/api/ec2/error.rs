//! Writes refusals in EC2's terms: a code that clients match on, a message, and the two envelopes.

use std::borrow::Cow;

use super::xml::{Node, document};
use crate::control::ControlError;
use crate::model::ModelError;
use crate::model::cidr::CidrError;

/// Why an action was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Ec2Error {
    /// The code that clients match on, as in `InvalidVpcID.NotFound`.
    pub code: Cow<'static, str>,
    /// The message; some tools parse it, so it is AWS's own where that is known.
    pub message: String,
    /// The HTTP status: 400 unless the code is known to come with another.
    pub status: u16,
}

impl Ec2Error {
    /// A refusal with a code and a message.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        let status = match code.as_ref() {
            // botocore retries what comes with 5xx (`RequestLimitExceeded`, "EC2 API throttling").
            "RequestLimitExceeded" | "Unavailable" => 503,
            "InternalError" => 500,
            // IAM guide and EC2 API Reference, "Common errors".
            "UnauthorizedOperation"
            | "AccessDenied"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "MissingAuthenticationToken" => 403,
            "AuthFailure" => 401,
            "DryRunOperation" => 412,
            _ => 400,
        };
        let message = message.into();
        Self { code, message, status }
    }

    /// An action that EC2 does not have, or that this server does not have. Terraform ignores the code only with this
    /// message.
    pub fn invalid_action(name: &str) -> Self {
        Self::new(
            "InvalidAction",
            format!("The action {name} is not valid for this web service."),
        )
    }

    /// A parameter that AWS has and this server would ignore.
    pub fn unsupported(name: &str) -> Self {
        Self::new(
            "UnsupportedOperation",
            format!("The parameter {name} is not supported by this server. Leave it out."),
        )
    }

    /// A required parameter that is missing.
    pub fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    /// An invalid value.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    /// Parameters that exclude each other.
    pub fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// EC2's envelope. `RequestID` has a capital D here and nowhere else.
    pub fn to_xml(&self, request_id: &str) -> String {
        let error = Node::map([("Code", Node::text(&self.code)), ("Message", Node::text(&self.message))]);
        document(
            "Response",
            None,
            &Node::map([
                ("Errors", Node::map([("Error", error)])),
                ("RequestID", Node::text(request_id)),
            ]),
        )
    }

    /// STS's envelope.
    pub fn to_sts_xml(&self, request_id: &str) -> String {
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        let error = Node::map([
            ("Type", Node::text(fault)),
            ("Code", Node::text(&self.code)),
            ("Message", Node::text(&self.message)),
        ]);
        document(
            "ErrorResponse",
            Some(super::STS_NAMESPACE),
            &Node::map([("Error", error), ("RequestId", Node::text(request_id))]),
        )
    }
}

impl From<ControlError> for Ec2Error {
    fn from(error: ControlError) -> Self {
        let message = match &error {
            // EC2 has no lists of edits, so its message has no position in one.
            ControlError::Edit(failed) => failed.error.to_string(),
            ControlError::Model(error) => words(error),
            other => other.to_string(),
        };
        Self::new(error.code(), message)
    }
}

/// EC2's own words, where this server's name more than they do.
fn words(error: &ModelError) -> String {
    match error {
        ModelError::Cidr(CidrError::Conflict {
            net,
            code: "InvalidSubnet.Conflict",
            ..
        }) => format!("The CIDR '{net}' conflicts with another subnet"),
        ModelError::Cidr(CidrError::Size { net, .. } | CidrError::OutsideVpc { net, .. }) => {
            format!("The CIDR '{net}' is invalid.")
        }
        ModelError::Dependents { kind, id, .. } => {
            format!("The {kind} '{id}' has dependencies and cannot be deleted.")
        }
        other => other.to_string(),
    }
}

impl From<ModelError> for Ec2Error {
    fn from(error: ModelError) -> Self {
        ControlError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_an_envelope_of_its_own() {
        let error = Ec2Error::invalid_action("CreateVpn<>");
        assert_eq!(
            error.to_xml("r-1"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidAction</Code><Message>The \
             action CreateVpn&lt;&gt; is not valid for this web service.</Message></Error></Errors>\
             <RequestID>r-1</RequestID></Response>"
        );
        assert_eq!(
            Ec2Error::new("RequestLimitExceeded", "Request limit exceeded.").to_sts_xml("r-2"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse \
             xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Receiver</Type>\
             <Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error>\
             <RequestId>r-2</RequestId></ErrorResponse>"
        );
    }
}
