//! Implements what every Describe has in common: identifiers, filters with wildcards, and pages.

use std::collections::HashSet;

use data_encoding::BASE64URL_NOPAD;

use super::action::Filter;
use super::error::Ec2Error;
use super::request::printed;
use super::state::Call;
use super::xml::Node;

/// Filters that AWS accepts although its present documentation does not list them; each names the tools that send it.
const ALIASES: &[(&str, &str, &str)] = &[
    // Ansible's amazon.aws collection
    ("DescribeVpcs", "cidr-block", "cidr"),
    ("DescribeVpcs", "isDefault", "is-default"),
    ("DescribeSubnets", "cidr", "cidr-block"),
    ("DescribeSubnets", "cidrBlock", "cidr-block"),
    ("DescribeSubnets", "availabilityZone", "availability-zone"),
    ("DescribeSubnets", "defaultForAz", "default-for-az"),
    ("DescribeAddresses", "domain", "domain"),
];
/// The number of values of all filters of a request together (EC2 API, "Resource filtering": 200 for each filter).
const MOST_VALUES: usize = 200;
/// Results on a page (EC2 API, MaxResults of the paginated Describes).
const PAGE: std::ops::RangeInclusive<i64> = 5..=1000;

/// Where a filter finds its values in a rendered item: elements separated by dots, lists searched through.
pub(super) type Place = (&'static str, &'static str);

/// The selection of a request.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    /// The parameter with the identifiers, and its value.
    pub ids: Option<(&'static str, &'a [String])>,
    /// Filters, all of which have to match.
    pub filters: &'a [Filter],
    /// The size of a page.
    pub max_results: Option<i64>,
    /// Where the page begins.
    pub next_token: Option<&'a str>,
}

/// A page of selected items.
pub(super) struct Page {
    /// The items.
    pub items: Vec<Node>,
    /// Where the next page begins.
    pub next: Node,
}

impl Selection<'_> {
    /// The selected items, in their order. `id` names the element with the identifier, `places` the filters whose name
    /// differs from that of their element.
    pub(super) fn of(
        &self,
        call: &Call<'_>,
        items: impl IntoIterator<Item = Node>,
        id: &str,
        places: &[Place],
    ) -> Result<Page, Ec2Error> {
        let filters = self.compiled(call, places)?;
        let after = self.start(call)?;
        let wanted = self.wanted();
        let most = usize::try_from(self.max_results.unwrap_or(i64::MAX)).unwrap_or(usize::MAX);
        let (mut page, mut next, mut begun) = (Vec::new(), Node::Absent, after.is_none());
        for item in items {
            let own = item.get(id).and_then(Node::as_text).unwrap_or_default().to_owned();
            if !begun {
                begun = after.as_deref() == Some(own.as_str());
                continue;
            }
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(own.as_str()))
                || !filters.iter().all(|filter| filter.matches(&item))
            {
                continue;
            }
            if page.len() == most {
                let last = page
                    .last()
                    .and_then(|last: &Node| last.get(id)?.as_text())
                    .unwrap_or_default();
                next = Node::Text(token(call.action, last));
                break;
            }
            page.push(item);
        }
        if !begun {
            return Err(bad_token());
        }
        Ok(Page { items: page, next })
    }

    fn wanted(&self) -> Option<HashSet<&str>> {
        let (_, ids) = self.ids?;
        (!ids.is_empty()).then(|| ids.iter().map(String::as_str).collect())
    }

    fn start(&self, call: &Call<'_>) -> Result<Option<String>, Ec2Error> {
        if let Some(given) = self.max_results {
            if let Some((parameter, ids)) = self.ids
                && !ids.is_empty()
            {
                return Err(Ec2Error::combination(format!(
                    "The parameter {parameter} cannot be used with the parameter MaxResults"
                )));
            }
            if !PAGE.contains(&given) {
                let (bound, word) = if given < *PAGE.start() {
                    (PAGE.start(), "greater")
                } else {
                    (PAGE.end(), "less")
                };
                return Err(Ec2Error::invalid_value(format!(
                    "Value ( {given} ) for parameter maxResults is invalid. Expecting a value {word} than or equal to {bound}."
                )));
            }
        }
        let Some(given) = self.next_token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let text = BASE64URL_NOPAD.decode(given.as_bytes()).map_err(|_| bad_token())?;
        let text = String::from_utf8(text).map_err(|_| bad_token())?;
        match text.split_once(' ') {
            Some((action, after)) if action == call.action => Ok(Some(after.to_owned())),
            _ => Err(bad_token()),
        }
    }

    fn compiled<'f>(&'f self, call: &Call<'_>, places: &[Place]) -> Result<Vec<Compiled<'f>>, Ec2Error> {
        self.filters
            .iter()
            .map(|filter| Compiled::new(filter, call, places))
            .collect()
    }
}

fn token(action: &str, last: &str) -> String {
    BASE64URL_NOPAD.encode(format!("{action} {last}").as_bytes())
}

fn bad_token() -> Ec2Error {
    Ec2Error::new(
        "InvalidNextToken",
        "The token in NextToken is not valid for this request",
    )
}

/// A filter with the place where it looks.
struct Compiled<'a> {
    place: Where<'a>,
    values: &'a [String],
}

enum Where<'a> {
    Element(Vec<String>),
    Tag(&'a str),
}

impl<'a> Compiled<'a> {
    fn new(filter: &'a Filter, call: &Call<'_>, places: &[Place]) -> Result<Self, Ec2Error> {
        let given = filter.name.as_str();
        let documented = &call.shape.filters;
        if filter.value.is_empty() {
            return Err(Ec2Error::invalid_value(format!(
                "The filter '{}' has no value",
                printed(given)
            )));
        }
        if filter.value.len() > MOST_VALUES {
            return Err(Ec2Error::new(
                "FilterLimitExceeded",
                format!("The maximum number of filter values specified on a single call is {MOST_VALUES}"),
            ));
        }
        if let Some(key) = given.strip_prefix("tag:")
            && documented.iter().any(|name| name == "tag:")
        {
            return Ok(Self {
                place: Where::Tag(key),
                values: &filter.value,
            });
        }
        let alias = ALIASES
            .iter()
            .find(|(action, alias, _)| *action == call.action && *alias == given);
        let name = alias.map_or(given, |(_, _, name)| name);
        // Tags were found by key and by value before today's documentation left these two out; boto's users send them.
        let by_tag = matches!(name, "tag-key" | "tag-value") && documented.iter().any(|name| name == "tag:");
        if alias.is_none() && !by_tag && (name == "tag:" || !documented.iter().any(|documented| documented == name)) {
            return Err(Ec2Error::invalid_value(format!(
                "The filter '{}' is invalid",
                printed(given)
            )));
        }
        let own = match name {
            "tag-key" => Some("tagSet.key"),
            "tag-value" => Some("tagSet.value"),
            _ => places
                .iter()
                .find(|(filter, _)| *filter == name)
                .map(|(_, place)| *place),
        };
        let path = match own {
            Some(place) => place.split('.').map(str::to_owned).collect(),
            None => name.split('.').map(camel).collect(),
        };
        Ok(Self {
            place: Where::Element(path),
            values: &filter.value,
        })
    }

    fn matches(&self, item: &Node) -> bool {
        let mut found = false;
        let mut check = |text: &str| found = found || self.values.iter().any(|pattern| like(pattern, text));
        match &self.place {
            Where::Element(path) => visit(item, path, &mut check),
            Where::Tag(key) => {
                let tags = item.get("tagSet").map_or(&[][..], Node::items);
                let value = tags
                    .iter()
                    .find(|tag| tag.get("key").and_then(Node::as_text) == Some(key))
                    .and_then(|tag| tag.get("value")?.as_text());
                if let Some(value) = value {
                    check(value);
                }
            }
        }
        found
    }
}

/// Calls `check` for every text at the end of a path.
fn visit(node: &Node, path: &[String], check: &mut impl FnMut(&str)) {
    match (node, path) {
        (Node::List(items), _) => items.iter().for_each(|item| visit(item, path, check)),
        (Node::Text(text), []) => check(text),
        (Node::Map(_), [first, rest @ ..]) => {
            if let Some(inner) = node.get(first) {
                visit(inner, rest, check);
            }
        }
        _ => {}
    }
}

/// `vpc-id` as the element `vpcId`.
fn camel(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (number, part) in name.split('-').enumerate() {
        match part.chars().next() {
            Some(first) if number > 0 => {
                text.extend(first.to_uppercase());
                text.push_str(&part[first.len_utf8()..]);
            }
            _ => text.push_str(part),
        }
    }
    text
}

/// Whether a text matches a value of a filter: `*` is any text, `?` one character, `\` escapes the next one ("Resource
/// filtering", EC2 guide). Linear in the product of the lengths at worst.
fn like(pattern: &str, text: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        Any,
        One,
        Is(char),
    }
    let mut parts = Vec::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Is(rest.next().unwrap_or('\\')),
            c => Part::Is(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut part, mut retry) = (0, 0, None);
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                retry = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Is(c)) if *c == text[at] => (at, part) = (at + 1, part + 1),
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (at, part) = (from + 1, star + 1);
                }
                None => return false,
            },
        }
    }
    parts[part.min(parts.len())..].iter().all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_value_matches_as_ec2_documents_it() {
        for (pattern, text, matches) in [
            ("web", "web", true),
            ("web", "Web", false),
            ("web", "webs", false),
            ("we?", "web", true),
            ("we?", "we", false),
            ("*", "", true),
            ("*database*", "my database server", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            (r"\*amazon\?\\", r"*amazon?\", true),
            (r"\*", "x", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, text), matches, "{pattern} against {text}");
        }
        let hostile = "a*".repeat(60);
        assert!(!like(&hostile, &"a".repeat(50)));
    }

    #[test]
    fn a_filter_finds_the_element_that_is_called_like_it() {
        assert_eq!(camel("vpc-id"), "vpcId");
        assert_eq!(camel("status"), "status");
        let item = Node::map([
            ("vpcId", Node::text("vpc-1")),
            (
                "groupSet",
                Node::list([
                    Node::map([("groupId", Node::text("sg-1"))]),
                    Node::map([("groupId", Node::text("sg-2"))]),
                ]),
            ),
        ]);
        let mut found = Vec::new();
        visit(&item, &["groupSet".to_owned(), "groupId".to_owned()], &mut |text| {
            found.push(text.to_owned());
        });
        assert_eq!(found, ["sg-1", "sg-2"]);
    }
}
