//! Durations in files and over HTTP are text with a unit (`10s`, `1500ms`), so that nobody has to guess one.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// Writes `10s`, `1s 500ms`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Reads what [`serialize`] writes; a bare number is refused because it names no unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| {
        serde::de::Error::custom(format!(
            "'{text}' is not a duration ({e}): write one such as 10s or 250ms"
        ))
    })
}
