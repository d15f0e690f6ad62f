//! Reads the short forms of a scenario's fields: a word, a number or a list instead of a mapping.

use serde_saphyr::{Location, Spanned};

use super::document::{Edit, Edits, Exit, Expect, ExpectFields, Replies, TextExpectation, TextFields};
use crate::file::forms::{Form, Forms, Never, read_by_forms};
use crate::file::values::{Count, CountRange, Text, Texts};

read_by_forms!(Expect, Replies, Exit, TextExpectation, Edits);

impl Forms<'_> for Expect {
    const EXPECTED: &'static str = "`answered`, `unanswered`, `unreachable` or a mapping";
    type Item = Never;
    type Mapping = ExpectFields;

    fn from_form(form: Form<Never, ExpectFields>, _: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Word(word) => {
                let replies = Replies::from_word(&word)?;
                Some(Ok(Self(ExpectFields {
                    replies: Some(replies),
                    ..ExpectFields::default()
                })))
            }
            Form::Mapping(fields) => Some(Ok(Self(fields))),
            Form::Number(_) | Form::List(_) => None,
        }
    }
}

impl Replies {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "answered" => Some(Self::Answered),
            "unanswered" => Some(Self::Unanswered),
            "unreachable" => Some(Self::Unreachable),
            _ => None,
        }
    }
}

impl Forms<'_> for Replies {
    const EXPECTED: &'static str =
        "`answered`, `unanswered`, `unreachable`, a number, or a mapping with `at_least` and `at_most`";
    type Item = Never;
    type Mapping = CountRange;

    fn from_form(form: Form<Never, CountRange>, _: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Word(word) => Self::from_word(&word).map(Ok),
            Form::Number(count) => Some(Ok(Self::Count(Count::exactly(count)))),
            Form::Mapping(range) => Some(Count::try_from(range).map(Self::Count)),
            Form::List(_) => None,
        }
    }
}

impl Forms<'_> for Exit {
    const EXPECTED: &'static str = "an exit code from 0 to 255, a list of exit codes, or `nonzero`";
    type Item = u8;
    type Mapping = Never;

    fn from_form(form: Form<u8, Never>, _: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Word(word) => (word == "nonzero").then_some(Ok(Self::NonZero)),
            Form::Number(code) => u8::try_from(code).ok().map(|code| Ok(Self::OneOf(vec![code.into()]))),
            Form::List(codes) => Some(Ok(Self::OneOf(codes.into_iter().map(i32::from).collect()))),
            Form::Mapping(_) => None,
        }
    }
}

impl Forms<'_> for TextExpectation {
    const EXPECTED: &'static str = "a text, a list of texts, or a mapping";
    type Item = Text;
    type Mapping = TextFields;

    fn from_form(form: Form<Text, TextFields>, place: Location) -> Option<Result<Self, String>> {
        let fields = match form {
            Form::Mapping(fields) => fields,
            Form::Word(word) => TextFields {
                contains: Texts(vec![Text::at(word, place)]),
                ..TextFields::default()
            },
            Form::Number(number) => TextFields {
                contains: Texts(vec![Text::at(number.to_string(), place)]),
                ..TextFields::default()
            },
            Form::List(texts) => TextFields {
                contains: Texts(texts),
                ..TextFields::default()
            },
        };
        Some(Ok(Self(fields)))
    }
}

impl Forms<'_> for Edits {
    const EXPECTED: &'static str = "an edit with `assign`, `move` or `unassign`, or a list of such edits";
    type Item = Spanned<Edit>;
    type Mapping = Edit;

    fn from_form(form: Form<Spanned<Edit>, Edit>, place: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Mapping(edit) => Some(Ok(Self(vec![Spanned::new(edit, place, place)]))),
            Form::List(edits) => Some(Ok(Self(edits))),
            Form::Word(_) | Form::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_number_a_list_or_a_word() {
        assert_eq!(serde_saphyr::from_str::<Exit>("2").unwrap(), Exit::OneOf(vec![2]));
        assert_eq!(
            serde_saphyr::from_str::<Exit>("[1, 2]").unwrap(),
            Exit::OneOf(vec![1, 2])
        );
        assert_eq!(serde_saphyr::from_str::<Exit>("nonzero").unwrap(), Exit::NonZero);
        for text in ["256", "[300]", "zero", "{a: 1}"] {
            assert!(serde_saphyr::from_str::<Exit>(text).is_err(), "{text}");
        }
    }
}
