//! Defines the small values of scenario files: times, counts, texts with expressions.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};
use utoipa::ToSchema;

use super::template::{Scope, Template, TemplateError};

/// A text with `{{ … }}` for values that are known only when the network is up. It keeps its place in the file.
#[derive(Debug, Clone)]
pub struct Text {
    written: String,
    place: Location,
    // A malformed template is reported by the check of the whole file, together with all other mistakes.
    template: Result<Template, TemplateError>,
}

impl Text {
    pub(crate) fn at(written: String, place: Location) -> Self {
        let template = Template::parse(&written);
        Self {
            written,
            place,
            template,
        }
    }

    /// The text as written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Its place in the file.
    pub fn place(&self) -> Location {
        self.place
    }

    /// The text with its expressions replaced.
    pub fn fill(&self, scope: &Scope) -> Result<String, TemplateError> {
        self.template.as_ref().map_err(Clone::clone)?.fill(scope)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Spanned::deserialize(deserializer)?;
        Ok(Self::at(read.value, read.referenced))
    }
}

/// One text, or a list of them.
#[derive(Debug, Clone, Default)]
pub struct Texts(pub Vec<Text>);

/// An expected count: `3`, `{ at_least: 1 }`, `{ at_most: 5 }`, or both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The lower bound.
    pub at_least: u64,
    /// The upper bound, `u64::MAX` when there is none.
    pub at_most: u64,
}

/// The long form of a count.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRange {
    /// No fewer than this.
    at_least: Option<u64>,
    /// No more than this.
    at_most: Option<u64>,
}

impl TryFrom<CountRange> for Count {
    type Error = String;

    fn try_from(range: CountRange) -> Result<Self, String> {
        let (at_least, at_most) = (range.at_least.unwrap_or(0), range.at_most.unwrap_or(u64::MAX));
        if at_least > at_most {
            return Err(format!("no count is at least {at_least} and at most {at_most}"));
        }
        if at_least == 0 && at_most == u64::MAX {
            return Err("every count is at least 0, so this could never fail".to_owned());
        }
        Ok(Self { at_least, at_most })
    }
}

impl Count {
    /// This many, no more and no fewer.
    pub fn exactly(count: u64) -> Self {
        Self {
            at_least: count,
            at_most: count,
        }
    }

    /// Whether a count is within the bounds.
    pub fn holds(self, count: u64) -> bool {
        (self.at_least..=self.at_most).contains(&count)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, u64::MAX) => write!(f, "at least {least}"),
            (0, most) => write!(f, "at most {most}"),
            (least, most) => write!(f, "{least} to {most}"),
        }
    }
}
