//! Steps of a fail-over test, as they are written: streams of requests whose answers are counted, hosts that hang or die,
//! faults; and the figures that are expected of a stream.

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

/// A stream of requests from an instance. It goes on until a `stop` step; its figures are known from then on.
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
    /// The address that is probed.
    pub to: Text,
    /// What is sent. `icmp` when left out; the others need a `responder`, or a program that answers.
    #[serde(default = "icmp")]
    pub kind: ProbeKind,
    /// Requests a second, 1 to 1000. 100 when left out.
    pub rate: Option<u32>,
    /// The port; 7, and 80 with `http`, when left out.
    pub port: Option<u16>,
    /// The path of a GET request; `/` when left out.
    pub path: Option<String>,
    /// An answer that takes longer is none. 1 s when left out.
    pub timeout: Option<AnswerTimeout>,
}

fn icmp() -> ProbeKind {
    ProbeKind::Icmp
}

/// A server in an instance that answers probes and says who it is: it echoes UDP and TCP, and answers GET requests.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Responder)]
pub struct ResponderForm {
    /// The name by which a `stop` step ends it.
    #[schema(value_type = String)]
    pub start: Spanned<String>,
    /// The instance; its name is what the answers say.
    #[schema(value_type = String)]
    pub on: Spanned<String>,
    /// The port, by UDP and TCP. 7 when left out.
    pub port: Option<u16>,
}

/// What happens to the processes of an instance: one of the four.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InstanceChange)]
pub struct InstanceForm {
    /// Its processes stop (SIGSTOP). Its kernel goes on answering ARP and pings, as that of a hung machine does.
    #[schema(value_type = Option<String>)]
    pub freeze: Option<Spanned<String>>,
    /// Its frozen processes go on.
    #[schema(value_type = Option<String>)]
    pub thaw: Option<Spanned<String>>,
    /// Its processes are killed. Files stay.
    #[schema(value_type = Option<String>)]
    pub kill: Option<Spanned<String>>,
    /// Its processes are killed, and what they wrote is lost. Its kernel goes on answering ARP and pings, for which there is
    /// the fault `link_down`.
    #[schema(value_type = Option<String>)]
    pub crash: Option<Spanned<String>>,
}

/// What happens to the processes of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceChange {
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// SIGKILL.
    Kill,
    /// SIGKILL, and files are lost.
    Crash,
}

impl InstanceForm {
    /// What is asked for, in the order of the fields.
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
    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Kill => "kill",
            Self::Crash => "crash",
        }
    }
}

/// A fault: its kind as in the API, and beside it `start` (a name by which a `stop` step ends it), `duration` and
/// `description`.
#[derive(Debug, Clone)]
pub struct FaultForm {
    /// The name by which a `stop` step ends it.
    pub start: Option<String>,
    /// What the API would be sent, with expressions.
    body: Value,
}

impl<'de> Deserialize<'de> for FaultForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let start = match fields.remove("start") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(de::Error::custom("`start` is a name")),
        };
        let mut body = Map::new();
        for name in ["duration", "description"] {
            body.extend(fields.remove(name).map(|value| (name.to_owned(), value)));
        }
        if fields.len() != 1 {
            return Err(de::Error::custom(
                "a fault has one kind, such as `link_down: { interfaces: [a] }`, and may have `start`, `duration` and `description`",
            ));
        }
        body.insert("fault".to_owned(), Value::Object(fields));
        Ok(Self {
            start,
            body: Value::Object(body),
        })
    }
}

/// Why a fault cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum FaultFormError {
    /// An expression.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It is no fault.
    #[error("this is not a fault: {0}")]
    Unknown(#[from] serde_json::Error),
}

impl FaultForm {
    /// What is to begin, with expressions replaced.
    pub fn spec(&self, scope: &Scope) -> Result<FaultSpec, FaultFormError> {
        Ok(serde_json::from_value(filled(&self.body, scope)?)?)
    }

    /// It as one would type it.
    pub fn shown(&self, scope: &Scope) -> String {
        let body = filled(&self.body, scope).unwrap_or_else(|_| self.body.clone());
        let duration = body.get("duration").and_then(Value::as_str);
        let duration = duration.map(|duration| format!(" for {duration}")).unwrap_or_default();
        format!("{}{duration}", body["fault"])
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
            .property("start", text("The name by which a `stop` step ends it."))
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

/// Between which lengths of time something must lie.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// It is shorter.
    pub below: Option<Interval>,
    /// It is longer.
    pub above: Option<Interval>,
}

impl TimeRange {
    /// Whether a length of time is right.
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
