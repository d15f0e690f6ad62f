//! Reads files that people write: YAML in which every value keeps its place, so that a mistake is shown with line,
//! column and remedy.
//!
//! Scenario and topology files use these parts: [`diagnostic`] for mistakes, [`template`] for `{{ … }}`, [`values`] for
//! times, counts and texts, and `forms` for values with a short form.

pub mod diagnostic;
pub(crate) mod forms;
pub mod template;
pub mod values;

use serde_saphyr::Error;

/// Reads YAML, which includes JSON. Only `true` and `false` are booleans: `y`, `no` and `on` are texts.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str_with_options(
        text,
        serde_saphyr::options! { with_snippet: false, strict_booleans: true },
    )
}
