//! Defines the steps of a failover test, as written: streams of requests, hosts that hang or die, faults; and the
//! figures that are expected of a stream.

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::file::template::{Scope, Template, TemplateError};
use crate::file::values::Text;
use crate::model::duration::{AnswerTimeout, Interval};
use crate::model::fault::FaultSpec;
use crate::probe::ProbeKind;

/// A stream of requests from an instance, until a `stop` step. Its figures are known from then on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Probe)]
pub struct ProbeForm {
    /// The name of the probe.
    #[schema(value_type = String)]
    pub start: Spanned<String>,
    /// The instance that sends.
    #[schema(value_type = String)]
    pub from: Spanned<String>,
    /// The destination address.
    pub to: Text,
    /// The kind of request. `icmp` when left out; the others need a `responder`, or another program that answers.
    #[serde(default = "icmp")]
    pub kind: ProbeKind,
    /// Requests a second, 1 to 1000. 100 when left out.
    pub rate: Option<u32>,
    /// The destination port; 7, and 80 with `http`, when left out.
    pub port: Option<u16>,
    /// The path of a GET request; `/` when left out.
    pub path: Option<String>,
    /// Timeout of an answer; a later one counts as lost. 1 s when left out.
    pub timeout: Option<AnswerTimeout>,
}

fn icmp() -> ProbeKind {
    ProbeKind::Icmp
}

/// A server in an instance that answers probes with its name: it echoes UDP and TCP, and answers GET requests.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Responder)]
pub struct ResponderForm {
    /// A name for the `stop` step.
    #[schema(value_type = String)]
    pub start: Spanned<String>,
    /// The instance; its name is in the answers.
    #[schema(value_type = String)]
    #[serde(rename = "in", alias = "on")]
    pub on: Spanned<String>,
    /// The port, on UDP and TCP. 7 when left out.
    pub port: Option<u16>,
}

/// A change of an instance's processes: one of the four.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InstanceChange)]
pub struct InstanceForm {
    /// Stops its processes (SIGSTOP). Its kernel still answers ARP and pings, like that of a hung machine.
    #[schema(value_type = Option<String>)]
    pub freeze: Option<Spanned<String>>,
    /// Continues its processes (SIGCONT).
    #[schema(value_type = Option<String>)]
    pub thaw: Option<Spanned<String>>,
    /// Kills its processes. Files stay.
    #[schema(value_type = Option<String>)]
    pub kill: Option<Spanned<String>>,
    /// Kills its processes and discards the files that they wrote. Its kernel still answers ARP and pings; the fault
    /// `link_down` stops that.
    #[schema(value_type = Option<String>)]
    pub crash: Option<Spanned<String>>,
}

/// A change of an instance's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceChange {
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// SIGKILL.
    Kill,
    /// SIGKILL, and written files are discarded.
    Crash,
}

impl InstanceForm {
    /// The requested changes, in the order of the fields.
    pub(super) fn changes(&self) -> Vec<(InstanceChange, &Spanned<String>)> {
        [
            (InstanceChange::Freeze, &self.freeze),
            (InstanceChange::Thaw, &self.thaw),
            (InstanceChange::Kill, &self.kill),
            (InstanceChange::Crash, &self.crash),
        ]
        .into_iter()
        .filter_map(|(change, instance)| Some((change, instance.as_ref()?)))
        .collect()
    }
}

impl InstanceChange {
    /// Its name in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Kill => "kill",
            Self::Crash => "crash",
        }
    }
}

/// A fault, written as in the API, and in addition `start`, a name for the `stop` step.
#[derive(Debug, Clone)]
pub struct FaultForm {
    /// A name for the `stop` step.
    pub start: Option<String>,
    /// The request of the API, with expressions.
    body: Map<String, Value>,
}

impl<'de> Deserialize<'de> for FaultForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut body = Map::<String, Value>::deserialize(deserializer)?;
        let start = match body.remove("start") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(de::Error::custom("`start` is a name")),
        };
        Ok(Self { start, body })
    }
}

/// Why a fault cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FaultFormError {
    /// An expression is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is not a fault.
    #[error("this is not a fault: {0}")]
    Unknown(#[from] serde_json::Error),
}

impl FaultForm {
    /// The fault, with expressions replaced.
    pub fn spec(&self, scope: &Scope) -> Result<FaultSpec, FaultFormError> {
        Ok(serde_json::from_value(Value::Object(self.filled(scope)?))?)
    }

    /// The fault as written in a file.
    pub fn shown(&self, scope: &Scope) -> String {
        let mut body = self.filled(scope).unwrap_or_else(|_| self.body.clone());
        let duration = body.remove("duration");
        let duration = duration.as_ref().and_then(Value::as_str);
        let duration = duration.map(|duration| format!(" for {duration}")).unwrap_or_default();
        body.remove("description");
        format!("{}{duration}", Value::Object(body))
    }

    fn filled(&self, scope: &Scope) -> Result<Map<String, Value>, TemplateError> {
        self.body
            .iter()
            .map(|(name, field)| Ok((name.clone(), filled(field, scope)?)))
            .collect()
    }
}

fn filled(value: &Value, scope: &Scope) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => Value::String(Template::parse(text)?.fill(scope)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| filled(item, scope)).collect::<Result<_, _>>()?),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), filled(field, scope)?)))
                .collect::<Result<_, TemplateError>>()?,
        ),
        other => other.clone(),
    })
}

impl PartialSchema for FaultForm {
    fn schema() -> RefOr<Schema> {
        use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
        let text = |description: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(description))
        };
        let more = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("start", text("A name for the `stop` step."))
            .property("duration", text("When it ends by itself, such as `10s`."))
            .property("description", text("What to call it in events and reports."));
        RefOr::T(Schema::AllOf(
            AllOfBuilder::new()
                .description(Some("A fault: one kind, as in the API, and when it ends."))
                .item(utoipa::openapi::Ref::from_schema_name(
                    <crate::model::fault::FaultKind as ToSchema>::name(),
                ))
                .item(more)
                .build(),
        ))
    }
}

impl ToSchema for FaultForm {
    fn name() -> std::borrow::Cow<'static, str> {
        "FaultStep".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        use crate::model::fault::FaultKind;
        schemas.push((<FaultKind as ToSchema>::name().into_owned(), FaultKind::schema()));
        FaultKind::schemas(schemas);
    }
}

/// Bounds of a length of time.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// Upper bound, exclusive.
    pub below: Option<Interval>,
    /// Lower bound, exclusive.
    pub above: Option<Interval>,
}

impl TimeRange {
    /// Whether a length of time is within the bounds.
    pub fn holds(self, length: std::time::Duration) -> bool {
        self.below.is_none_or(|below| length < below.get()) && self.above.is_none_or(|above| length > above.get())
    }
}

impl std::fmt::Display for TimeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = |word: &str, bound: Option<Interval>| bound.map(|bound| format!("{word} {bound}"));
        let bounds: Vec<String> = [bound("above", self.above), bound("below", self.below)]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&bounds.join(" and "))
    }
}
