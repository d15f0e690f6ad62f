//! Reports every error as one problem document (RFC 9457), whether the framework, a parser, the guard or the model
//! found it. It names the field at fault and the remedy.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::model::ModelError;
use crate::model::error::RefusalKind;
use crate::model::peering::PeeringError;
use crate::store::StoreError;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// The kind of problem: `urn:localvpc:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:localvpc:problem:InvalidSubnet.Conflict")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// The kind of problem in a few words.
    #[schema(example = "Conflict")]
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The HTTP status.
    #[schema(example = 409)]
    pub status: u16,
    /// What is wrong with this request.
    #[schema(value_type = String)]
    pub detail: Box<str>,
    /// The error code that EC2 gives in this case, if EC2 has the case.
    #[schema(value_type = String, example = "InvalidSubnet.Conflict")]
    pub code: Cow<'static, str>,
    /// The field, parameter or header at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "cidr_block")]
    #[schema(value_type = Option<String>)]
    pub field: Option<Box<str>>,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub remedy: Option<Box<str>>,
}

impl Problem {
    /// A problem with a status, a code and a sentence.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<Box<str>>) -> Self {
        let code = code.into();
        Self {
            kind: format!("urn:localvpc:problem:{code}").into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            field: None,
            remedy: None,
        }
    }

    /// A value that cannot be used, in the named field.
    pub fn invalid(field: impl Into<Box<str>>, detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "InvalidParameterValue", detail).field(field)
    }

    /// A required field that is missing.
    pub fn missing(field: &str, remedy: impl Into<Box<str>>) -> Self {
        let detail = format!("The request must contain the field '{field}'");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "MissingParameter", detail)
            .field(field)
            .remedy(remedy)
    }

    /// A failure of the server.
    pub fn internal(detail: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", detail)
    }

    /// Names the field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<Box<str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Box<str>>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// A resource that does not exist is a 404 if the path names it, and an invalid value if the body does.
    #[must_use]
    pub fn named_in_body(mut self) -> Self {
        if self.status == StatusCode::NOT_FOUND.as_u16() {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            self.status = status.as_u16();
            self.title = status.canonical_reason().unwrap_or("Error").into();
        }
        self
    }
}

/// The HTTP status of a refusal by the model.
fn status_of(error: &ModelError) -> StatusCode {
    let of_kind = |kind| match kind {
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
    };
    match error {
        ModelError::SecurityGroup(error) => of_kind(error.kind()),
        ModelError::NetworkAcl(error) => of_kind(error.kind()),
        ModelError::PrefixList(error) => of_kind(error.kind()),
        ModelError::Endpoint(error) => of_kind(error.kind()),
        ModelError::KeyPair(error) => of_kind(error.kind()),
        ModelError::LaunchTemplate(error) => of_kind(error.kind()),
        ModelError::Reservation(error) => of_kind(error.kind()),
        ModelError::Cidr(error) => of_kind(error.kind()),
        ModelError::Mapping(error) => of_kind(error.kind()),
        ModelError::Interface(error) => of_kind(error.kind()),
        ModelError::Instance(error) => of_kind(error.kind()),
        ModelError::RouteTable(error) => of_kind(error.kind()),
        ModelError::NotFound { .. } => StatusCode::NOT_FOUND,
        ModelError::NameTaken { .. } | ModelError::Dependents { .. } | ModelError::Limit { .. } => StatusCode::CONFLICT,
        ModelError::ElasticIp(error) if error.is_conflict() => StatusCode::CONFLICT,
        ModelError::FlowLog(error) if error.is_conflict() => StatusCode::CONFLICT,
        ModelError::NatGateway(error) if error.is_conflict() => StatusCode::CONFLICT,
        ModelError::Peering(PeeringError::Itself) => StatusCode::BAD_REQUEST,
        ModelError::DefaultVpc(_) | ModelError::InternetGateway(_) | ModelError::Peering(_) => StatusCode::CONFLICT,
        ModelError::BadName { .. }
        | ModelError::ElasticIp(_)
        | ModelError::FlowLog(_)
        | ModelError::NatGateway(_)
        | ModelError::DhcpOptions(_)
        | ModelError::OutOfRange { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Model(error) => status_of(error),
            // A list names all resources in its body.
            ControlError::Edit(failed) => match status_of(&failed.error) {
                StatusCode::NOT_FOUND => StatusCode::UNPROCESSABLE_ENTITY,
                other => other,
            },
            ControlError::Attach { .. } | ControlError::Explain { .. } | ControlError::Fault { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            ControlError::NoSwitch | ControlError::NoHost { .. } | ControlError::Lasting { .. } => StatusCode::CONFLICT,
            ControlError::Store(StoreError::Full { .. }) => StatusCode::INSUFFICIENT_STORAGE,
            ControlError::Store(_) | ControlError::Unsynced(_) | ControlError::Replaced => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ControlError::Moved { .. } => StatusCode::PRECONDITION_FAILED,
            ControlError::NotKept { .. } => StatusCode::NOT_FOUND,
        };
        let problem = Self::new(status, error.code(), error.to_string()).remedy(error.remedy());
        match error.field() {
            Some(field) => problem.field(field),
            None => problem,
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        ControlError::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 section 3.
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
