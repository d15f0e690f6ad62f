//! Fills in texts with values that are known only once the network is up: `ping {{ b.ipv6 }}`.
//!
//! An expression between `{{` and `}}` is a name, a field or numbered item of it, and filters:
//!
//! | expression | value |
//! |---|---|
//! | `a.ipv4`, `a.ipv6`, `a.prefixes` | the first address (or delegated prefix) of instance `a`; `a.ipv6[1]` the second |
//! | `a.mac`, `a.link_local`, `a.interface`, `a.device`, `a.subnet`, `a.name` | of its network interface; `link_local` is the EUI-64 one |
//! | `i.ipv4`, … | the same of interface `i` of the topology, but for `device` |
//! | `router(sa).mac`, `.link_local`, `.ipv4`, `.ipv6` | the router of subnet `sa` |
//! | `subnet(sa).id`, `.cidr_block`, `.ipv6_cidr_block`, `.broadcast` | the subnet itself |
//! | `vpc(v).id`, `.cidr_block`, `.ipv6_cidr_block` | the VPC |
//! | `link_local("0a:ca:05:9c:fc:02")` | the EUI-64 link-local address of a MAC address |
//! | `parameters.count` | a parameter of the run |
//! | `saved.address` | what an earlier step saved from its output |
//!
//! Filters: `upper`, `lower`, `escape` (for use in a regular expression).

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::file::diagnostic::remedy;
use crate::wire::mac::MacAddr;

/// A text with expressions, parsed once and filled in as often as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Expression),
}

/// One `{{ … }}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// As written, for messages.
    written: String,
    head: String,
    argument: Option<String>,
    field: Option<String>,
    index: Option<usize>,
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Upper,
    Lower,
    Escape,
}

/// Why a template cannot be parsed or filled in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    #[error("`{{{{` without `}}}}`")]
    /// An expression does not end.
    Unclosed {
        /// The text from the beginning of the expression.
        at: String,
    },
    #[error("`{written}` is not an expression: {why}")]
    /// The text between the braces is not an expression.
    Syntax {
        /// That text.
        written: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An unknown name.
    #[error("no {what} is called `{name}`")]
    Unknown {
        /// The expression.
        written: String,
        /// The kind of name that is expected.
        what: &'static str,
        /// The name.
        name: String,
        /// The nearest name, or all of them.
        remedy: Option<String>,
    },
    /// An index past the end of a list.
    #[error("`{written}`: there is no number {index}, only {count}")]
    OutOfRange {
        /// The expression.
        written: String,
        /// The index, from 0.
        index: usize,
        /// Length of the list.
        count: usize,
    },
}

impl TemplateError {
    /// The part of the text that the error is about.
    pub fn needle(&self) -> &str {
        match self {
            Self::Unclosed { at } => at,
            Self::Syntax { written, .. } | Self::Unknown { written, .. } | Self::OutOfRange { written, .. } => written,
        }
    }

    /// What to write instead.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Unclosed { .. } => Some("close the expression with `}}`"),
            Self::Unknown { remedy, .. } => remedy.as_deref(),
            _ => None,
        }
    }
}

impl Template {
    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let inside = &rest[open + 2..];
            let close = inside.find("}}").ok_or_else(|| TemplateError::Unclosed {
                at: rest[open..].to_owned(),
            })?;
            parts.push(Part::Value(Expression::parse(inside[..close].trim())?));
            rest = &inside[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text with every expression replaced by its value in `scope`.
    pub fn fill(&self, scope: &Scope) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Value(expression) => text.push_str(&expression.value(scope)?),
            }
        }
        Ok(text)
    }
}

impl Expression {
    fn parse(written: &str) -> Result<Self, TemplateError> {
        let wrong = |why| TemplateError::Syntax {
            written: written.to_owned(),
            why,
        };
        let mut pieces = split_outside_quotes(written, '|');
        let path = pieces.next().unwrap_or_default().trim();
        let filters = pieces
            .map(|name| match name.trim() {
                "upper" => Ok(Filter::Upper),
                "lower" => Ok(Filter::Lower),
                "escape" => Ok(Filter::Escape),
                _ => Err(wrong("the filters are `upper`, `lower` and `escape`")),
            })
            .collect::<Result<_, _>>()?;

        let name_end = path.find(|c: char| !is_name(c)).unwrap_or(path.len());
        let (head, mut rest) = path.split_at(name_end);
        if head.is_empty() {
            return Err(wrong("it must start with a name"));
        }
        let mut argument = None;
        if let Some(inside) = rest.strip_prefix('(') {
            let close = inside.find(')').ok_or_else(|| wrong("a `)` is missing"))?;
            argument = Some(inside[..close].trim().trim_matches(['"', '\'']).to_owned());
            rest = &inside[close + 1..];
        }
        let mut field = None;
        if let Some(inside) = rest.strip_prefix('.') {
            let end = inside.find(|c: char| !is_name(c)).unwrap_or(inside.len());
            field = Some(inside[..end].to_owned());
            rest = &inside[end..];
        }
        let mut index = None;
        if let Some(inside) = rest.strip_prefix('[') {
            let close = inside.find(']').ok_or_else(|| wrong("a `]` is missing"))?;
            index = Some(
                inside[..close]
                    .trim()
                    .parse()
                    .map_err(|_| wrong("the index must be a number from 0"))?,
            );
            rest = &inside[close + 1..];
        }
        if !rest.trim().is_empty() {
            return Err(wrong("nothing may follow `name(argument).field[index]` but filters"));
        }
        Ok(Self {
            written: written.to_owned(),
            head: head.to_owned(),
            argument,
            field,
            index,
            filters,
        })
    }

    fn value(&self, scope: &Scope) -> Result<String, TemplateError> {
        let value = self.look_up(scope)?;
        Ok(self.filters.iter().fold(value, |value, filter| match filter {
            Filter::Upper => value.to_uppercase(),
            Filter::Lower => value.to_lowercase(),
            Filter::Escape => regex::escape(&value),
        }))
    }

    fn look_up(&self, scope: &Scope) -> Result<String, TemplateError> {
        let syntax = |why| TemplateError::Syntax {
            written: self.written.clone(),
            why,
        };
        let (things, what, name): (&BTreeMap<String, Facts>, &'static str, &str) =
            match (self.head.as_str(), self.argument.as_deref()) {
                ("link_local", Some(mac)) => {
                    let mac: MacAddr = mac
                        .parse()
                        .map_err(|_| syntax("the argument must be a MAC address in quotes"))?;
                    return Ok(mac.link_local().to_string());
                }
                ("router", Some(subnet)) => (&scope.routers, "subnet", subnet),
                ("subnet", Some(subnet)) => (&scope.subnets, "subnet", subnet),
                ("vpc", Some(vpc)) => (&scope.vpcs, "VPC", vpc),
                (_, Some(_)) => {
                    return Err(syntax(
                        "only `router(…)`, `subnet(…)`, `vpc(…)` and `link_local(…)` take an argument",
                    ));
                }
                ("parameters", None) => return self.text(&scope.parameters, "parameter"),
                ("saved", None) => return self.text(&scope.saved, "saved value"),
                (name, None) if scope.interfaces.contains_key(name) => (&scope.interfaces, "interface", name),
                (name, None) => (&scope.instances, "instance", name),
            };
        let facts = things
            .get(name)
            .ok_or_else(|| self.unknown(what, name, things.keys()))?;
        let Some(field) = &self.field else {
            return Err(syntax("a field must follow, as in `a.ipv6`"));
        };
        let values = facts
            .0
            .get(field)
            .ok_or_else(|| self.unknown("field", field, facts.0.keys()))?;
        let index = self.index.unwrap_or(0);
        values.get(index).cloned().ok_or(TemplateError::OutOfRange {
            written: self.written.clone(),
            index,
            count: values.len(),
        })
    }

    fn text(&self, values: &BTreeMap<String, String>, what: &'static str) -> Result<String, TemplateError> {
        let name = self.field.as_deref().unwrap_or_default();
        values
            .get(name)
            .cloned()
            .ok_or_else(|| self.unknown(what, name, values.keys()))
    }

    fn unknown<'a>(
        &self,
        what: &'static str,
        name: &str,
        right: impl IntoIterator<Item = &'a String>,
    ) -> TemplateError {
        TemplateError::Unknown {
            written: self.written.clone(),
            what,
            name: name.to_owned(),
            remedy: remedy(name, right.into_iter().map(String::as_str)),
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

/// The fields of one named object; each has zero or more values, the first of which is used without an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Adds a field with one value.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl fmt::Display) -> Self {
        self.0.insert(field.to_owned(), vec![value.to_string()]);
        self
    }

    /// Adds a field with any number of values.
    #[must_use]
    pub fn with_all<V: fmt::Display>(mut self, field: &str, values: impl IntoIterator<Item = V>) -> Self {
        self.0.insert(
            field.to_owned(),
            values.into_iter().map(|value| value.to_string()).collect(),
        );
        self
    }
}

/// The names that expressions can use.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Instances by name.
    pub instances: BTreeMap<String, Facts>,
    /// Network interfaces that are not primary, by name.
    pub interfaces: BTreeMap<String, Facts>,
    /// Routers, by the name of their subnet.
    pub routers: BTreeMap<String, Facts>,
    /// Subnets by name.
    pub subnets: BTreeMap<String, Facts>,
    /// VPCs by name.
    pub vpcs: BTreeMap<String, Facts>,
    /// Parameters of the run.
    pub parameters: BTreeMap<String, String>,
    /// Values saved by steps.
    pub saved: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut scope = Scope::default();
        let a = Facts::default()
            .with("mac", "0a:ca:05:9c:fc:14")
            .with_all("ipv6", ["2001:db8::1", "2001:db8::2"]);
        scope.instances.insert("a".into(), a.with_all("prefixes", [""; 0]));
        scope
            .routers
            .insert("sa".into(), Facts::default().with("ipv4", "10.0.1.1"));
        scope.parameters.insert("count".into(), "3".into());
        scope
    }

    fn fill(text: &str) -> Result<String, TemplateError> {
        Template::parse(text)?.fill(&scope())
    }

    #[test]
    fn expressions_are_replaced_by_what_they_name() {
        for (text, filled) in [
            ("no expression { here }", "no expression { here }"),
            ("ping -c{{ parameters.count }} {{ a.ipv6 }}", "ping -c3 2001:db8::1"),
            ("{{a.ipv6[1]}}", "2001:db8::2"),
            ("{{ a.mac | upper }}", "0A:CA:05:9C:FC:14"),
            ("{{ router(sa).ipv4 | escape }}", r"10\.0\.1\.1"),
            ("{{ link_local(\"0a:ca:05:9c:fc:02\") }}", "fe80::8ca:5ff:fe9c:fc02"),
        ] {
            assert_eq!(fill(text).unwrap(), filled, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_one() {
        for (text, message, remedy) in [
            ("{{ b.ipv6 }}", "no instance is called `b`", Some("known here: a")),
            (
                "{{ a.ipv5 }}",
                "no field is called `ipv5`",
                Some("did you mean `ipv6`?"),
            ),
            (
                "{{ router(sb).ipv4 }}",
                "no subnet is called `sb`",
                Some("did you mean `sa`?"),
            ),
            ("{{ saved.x }}", "no saved value is called `x`", None),
            ("{{ a.ipv6[2] }}", "`a.ipv6[2]`: there is no number 2, only 2", None),
            ("{{ a.prefixes }}", "`a.prefixes`: there is no number 0, only 0", None),
            (
                "{{ a.ipv6 | shout }}",
                "`a.ipv6 | shout` is not an expression: the filters are `upper`, `lower` and `escape`",
                None,
            ),
            (
                "{{ a }}",
                "`a` is not an expression: a field must follow, as in `a.ipv6`",
                None,
            ),
            ("{{ a.ipv6", "`{{` without `}}`", Some("close the expression with `}}`")),
        ] {
            let error = fill(text).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
            assert_eq!(error.remedy(), remedy, "{text}");
        }
    }
}
