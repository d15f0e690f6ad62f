//! Reports mistakes in a file with their place and a remedy.
//!
//! Every mistake in a scenario or topology file has its byte range, so that a terminal shows the line with a caret and
//! an HTTP client gets line and column as numbers.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode, SourceSpan};
use serde::Serialize;
use serde_saphyr::Location;
use utoipa::ToSchema;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to write instead, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Line of the mistake, counted from 1; 0 for the file as a whole.
    pub line: u64,
    /// Column in characters, counted from 1; 0 for the file as a whole.
    pub column: u64,
    /// First byte of the range.
    #[serde(skip)]
    pub offset: usize,
    /// Length of that range in bytes.
    #[serde(skip)]
    pub length: usize,
}

impl Mistake {
    /// A mistake at the place of a value.
    pub fn at(location: Location, message: impl Into<String>) -> Self {
        let span = location.span();
        Self {
            message: message.into(),
            help: None,
            line: location.line(),
            column: location.column(),
            offset: span.byte_offset().unwrap_or_default() as usize,
            length: span.byte_len().unwrap_or_default() as usize,
        }
    }

    /// A mistake about the file as a whole.
    pub fn in_file(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            line: 0,
            column: 0,
            offset: 0,
            length: 0,
        }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds `did you mean …` when a valid name is close to the written one.
    #[must_use]
    pub fn nearest<'a>(self, written: &str, right: impl IntoIterator<Item = &'a str>) -> Self {
        match remedy(written, right) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Narrows the range to the first occurrence of `needle` in it: an expression inside a longer text.
    #[must_use]
    pub fn narrowed_to(mut self, source: &str, needle: &str) -> Self {
        let Some(found) = source.get(self.offset..).and_then(|rest| rest.find(needle)) else {
            return self;
        };
        // A value from an alias or a folded block may not contain the needle: keep the whole value then.
        if found > self.length.max(1) {
            return self;
        }
        self.offset += found;
        self.length = needle.len();
        let before = &source[..self.offset];
        self.line = 1 + before.matches('\n').count() as u64;
        self.column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count() as u64;
        self
    }
}

/// `did you mean` with the nearest name, or the list of names when none is near.
///
/// Distances are computed for small sets of short names only, because a client may send thousands.
pub fn remedy<'a>(written: &str, right: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let right: Vec<&str> = right.into_iter().take(MOST_COMPARED + 1).collect();
    if right.len() > MOST_COMPARED || written.len() > LONGEST_COMPARED {
        return None;
    }
    let nearest = right
        .iter()
        .filter(|name| name.len() <= LONGEST_COMPARED)
        .map(|name| (strsim::damerau_levenshtein(written, name), *name))
        .filter(|(distance, name)| *distance <= name.chars().count().div_ceil(3) && *distance < name.chars().count())
        .min();
    match nearest {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if right.is_empty() => None,
        None => Some(format!("known here: {}", right.join(", "))),
    }
}

/// All mistakes found in one file, with its text.
#[derive(Debug, Clone)]
pub struct FileError {
    source: Arc<NamedSource<String>>,
    /// The first of them, in the order of the file: [`MOST_SHOWN`] at most.
    pub mistakes: Vec<Mistake>,
    /// How many more there are.
    pub more: usize,
    /// Whether its lines can be drawn on a terminal.
    drawable: bool,
}

/// The most mistakes of a file that are shown.
pub const MOST_SHOWN: usize = 20;

/// The number of mistakes after which the check of a file stops.
pub(crate) const MOST_FOUND: usize = 200;

/// The most names that a wrong one is compared with.
const MOST_COMPARED: usize = 100;

/// The longest name, in octets, that is compared with others.
const LONGEST_COMPARED: usize = 64;

/// The longest line, in octets, that a terminal shows with a caret. The drawing pads with spaces, and Rust pads up to
/// 65 535.
const LONGEST_DRAWN: usize = 2_000;

impl FileError {
    /// The mistakes of a file with this name and text.
    pub fn new(name: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        let more = mistakes.len().saturating_sub(MOST_SHOWN);
        mistakes.truncate(MOST_SHOWN);
        Self {
            more,
            drawable: text.lines().all(|line| line.len() <= LONGEST_DRAWN),
            source: Arc::new(NamedSource::new(name, text.to_owned())),
            mistakes,
        }
    }

    /// The file's name as given to the reader.
    pub fn name(&self) -> &str {
        self.source.name()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [one] if one.line > 0 && self.more == 0 => {
                write!(f, "{}:{}:{}: {}", self.name(), one.line, one.column, one.message)
            }
            [one] if self.more == 0 => write!(f, "{}: {}", self.name(), one.message),
            many => {
                let count = many.len().saturating_add(self.more);
                let or_more = if count >= MOST_FOUND { " or more" } else { "" };
                write!(f, "{}: {count}{or_more} mistakes", self.name())?;
                many.iter()
                    .try_for_each(|one| write!(f, "; {}:{}: {}", one.line, one.column, one.message))?;
                match self.more {
                    0 => Ok(()),
                    more => write!(f, "; and {more}{or_more} further ones"),
                }
            }
        }
    }
}

impl std::error::Error for FileError {}

impl Diagnostic for FileError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self.mistakes.as_slice() {
            [one] => one.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>),
            many => {
                let lines: Vec<String> = many
                    .iter()
                    .filter_map(|one| one.help.as_ref().map(|help| format!("line {}: {help}", one.line)))
                    .collect();
                (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
            }
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.mistakes
            .iter()
            .any(|one| one.line > 0 && self.drawable)
            .then_some(&*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let shown = self.mistakes.iter().filter(|one| one.line > 0 && self.drawable);
        Some(Box::new(shown.map(|one| {
            let label = if self.mistakes.len() == 1 {
                "here".to_owned()
            } else {
                one.message.clone()
            };
            LabeledSpan::new_with_span(Some(label), SourceSpan::new(one.offset.into(), one.length))
        })))
    }
}

/// Converts an error of the YAML parser into a mistake.
pub fn from_yaml(error: &serde_saphyr::Error) -> Mistake {
    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            Mistake::at(location, format!("unknown field `{field}`")).nearest(field, expected.iter().copied())
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            Mistake::at(location, format!("`{variant}` is not one of the values known here"))
                .nearest(variant, expected.iter().copied())
        }
        serde_saphyr::Error::SerdeMissingField { field, .. } => {
            Mistake::at(location, format!("the field `{field}` is missing"))
        }
        other => {
            let options = serde_saphyr::render_options! { snippets: serde_saphyr::SnippetMode::Off };
            let message = other.render_with_options(options);
            // The parser appends the place to its text; here it is in fields of its own.
            let message = match message.rfind(" at line ") {
                Some(place) if location.line() > 0 => message[..place].to_owned(),
                _ => message,
            };
            in_words(Mistake::at(location, message))
        }
    }
}

/// Rewords the parser's terms for users.
fn in_words(mut mistake: Mistake) -> Mistake {
    let (message, help) = match mistake.message.as_str() {
        "expected sequence start" => ("a list is expected here", "write it in brackets, as in [10.0.1.10]"),
        "expected mapping start" => (
            "fields are expected here",
            "write them in braces, as in { name: value }",
        ),
        _ => return mistake,
    };
    mistake.message = message.to_owned();
    mistake.help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_gets_the_list() {
        assert_eq!(
            remedy("ipv6_cidr_blok", ["cidr_block", "ipv6_cidr_block"]).unwrap(),
            "did you mean `ipv6_cidr_block`?"
        );
        assert_eq!(remedy("q", ["alpha", "beta"]).unwrap(), "known here: alpha, beta");
        assert_eq!(remedy("q", []), None);
    }

    #[test]
    fn many_mistakes_are_counted_and_some_shown() {
        let mistakes = (1..=50).map(|_| Mistake::in_file("wrong")).collect();
        let error = FileError::new("f", "", mistakes);
        assert_eq!((error.mistakes.len(), error.more), (20, 30));
        assert!(error.to_string().starts_with("f: 50 mistakes; "));
        assert!(error.to_string().ends_with("; and 30 further ones"));
    }

    #[test]
    fn a_line_that_no_terminal_can_show_is_reported_by_its_place() {
        let text = format!("{}x", " ".repeat(70_000));
        let mut mistake = Mistake::in_file("wrong");
        (mistake.line, mistake.column, mistake.offset, mistake.length) = (1, 70_001, 70_000, 1);
        let error = FileError::new("f", &text, vec![mistake]);
        let shown = format!("{:?}", miette::Report::new(error));
        assert!(shown.contains("f:1:70001: wrong") && shown.len() < 1_000, "{shown}");
    }

    #[test]
    fn thousands_of_names_are_not_compared() {
        let known: Vec<String> = (0..5_000).map(|n| format!("name-{n}")).collect();
        assert_eq!(remedy("name-x", known.iter().map(String::as_str)), None);
        assert_eq!(remedy(&"x".repeat(1_000_000), ["a"]), None);
    }

    #[test]
    fn a_value_where_a_list_belongs_is_reported_as_that() {
        let error = crate::file::parse::<std::collections::BTreeMap<String, Vec<String>>>("cidr_blocks: 10.0.0.0/16")
            .map_err(|error| from_yaml(&error))
            .unwrap_err();
        assert_eq!(error.message, "a list is expected here");
        assert!(error.help.as_deref().unwrap().contains("[10.0.1.10]"));
    }

    #[test]
    fn an_expression_inside_a_value_is_pointed_at_itself() {
        let text = "run: ping {{ q.ipv6 }}\nrun: x";
        let whole = Mistake {
            message: String::new(),
            help: None,
            line: 1,
            column: 6,
            offset: 5,
            length: 17,
        };
        let narrowed = whole.narrowed_to(text, "q.ipv6");
        assert_eq!(
            (narrowed.line, narrowed.column, narrowed.offset, narrowed.length),
            (1, 14, 13, 6)
        );
    }
}
