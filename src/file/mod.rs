//! Reads files that people write: YAML in which every value keeps its place, so that a mistake is shown with line,
//! column and remedy.
//!
//! Scenario and topology files use these parts: [`diagnostic`] for mistakes, [`template`] for `{{ … }}`, [`values`] for
//! times, counts and texts, and `forms` for values with a short form.

pub mod diagnostic;
pub(crate) mod forms;
pub mod template;
pub mod values;
mod yaml11;

use serde_saphyr::Error;

use diagnostic::{FileError, from_yaml};

/// Reads a file: YAML, of which JSON is a part. A value that another reader of YAML would take otherwise is refused.
pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, FileError> {
    let (read, ambiguous) = (parse(text), yaml11::ambiguous(text));
    let mistakes = match (read, ambiguous) {
        (Ok(value), ambiguous) if ambiguous.is_empty() => return Ok(value),
        (Ok(_), ambiguous) => ambiguous,
        (Err(error), mut ambiguous) => {
            // Where both speak of one value, as of `no` in the place of a boolean, the second has the remedy.
            let mistake = from_yaml(&error);
            ambiguous.retain(|other| other.offset == mistake.offset);
            if ambiguous.is_empty() { vec![mistake] } else { ambiguous }
        }
    };
    Err(FileError::new(name, text, mistakes))
}

/// Reads YAML as version 1.2 has it: only `true` and `false` are booleans.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str_with_options(
        text,
        serde_saphyr::options! { with_snippet: false, strict_booleans: true },
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_word_that_is_a_boolean_elsewhere_is_refused_with_advice() {
        #[derive(Debug, serde::Deserialize)]
        struct File {
            name: String,
            check: bool,
        }
        let read = |text: &str| super::read::<File>("f.yaml", text);
        let file = read("name: 'no'\ncheck: true").unwrap();
        assert!(file.check && file.name == "no");
        for (text, line) in [("name: no\ncheck: true", 1), ("name: x\ncheck: no", 2)] {
            let error = read(text).unwrap_err();
            let mistake = &error.mistakes[0];
            assert_eq!(mistake.line, line, "{mistake:?}");
            assert_eq!(
                mistake.help.as_deref(),
                Some("write 'no' if the text is meant, or write false"),
                "{mistake:?}"
            );
        }
    }
}
