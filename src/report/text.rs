//! Formats texts and times for XML, HTML and the terminal.

/// Escapes text for XML and HTML. Control characters that XML forbids are removed.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A time with a unit.
pub(crate) fn human(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000_000 => format!("{} µs", nanoseconds / 1000),
        1_000_000..10_000_000_000 => format!("{}.{} ms", nanoseconds / 1_000_000, nanoseconds / 100_000 % 10),
        _ => format!("{}.{} s", nanoseconds / 1_000_000_000, nanoseconds / 100_000_000 % 10),
    }
}
