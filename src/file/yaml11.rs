//! Finds values that readers of YAML 1.1 and of YAML 1.2 take for different things.
//!
//! PyYAML and many other readers follow version 1.1: there `no` is false and `1:30` is the number 90. This program follows
//! version 1.2 (section 10.3), where both are texts. A file must mean the same to both, so such a value has to be quoted, or
//! written as `true` or `false`. The key `on` is the one exception: older files have it where `in` and `at` are written now.

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::diagnostic::{MOST_FOUND, Mistake};

/// What else the reader of a file may take a value for.
enum Other {
    Boolean(bool),
    Base60,
}

/// The values of a file that are ambiguous, in its order. A file that is no YAML has none.
pub(super) fn ambiguous(text: &str) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut nesting: Vec<Nesting> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::MappingStart(..) => nesting.push(Nesting::Mapping { key_next: true }),
            Event::SequenceStart(..) => nesting.push(Nesting::Sequence),
            Event::MappingEnd | Event::SequenceEnd => {
                nesting.pop();
                passed(&mut nesting);
            }
            Event::Scalar(value, style, _, tag) => {
                let is_key = passed(&mut nesting);
                let plain = style == ScalarStyle::Plain && tag.is_none();
                if plain && mistakes.len() < MOST_FOUND && !(is_key && value == "on") {
                    mistakes.extend(otherwise(&value).map(|other| mistake(&value, &other, is_key, &span)));
                }
            }
            Event::Alias(..) => drop(passed(&mut nesting)),
            _ => {}
        }
    }
    mistakes
}

enum Nesting {
    Mapping { key_next: bool },
    Sequence,
}

/// Goes past a node. Whether it was a key.
fn passed(nesting: &mut [Nesting]) -> bool {
    match nesting.last_mut() {
        Some(Nesting::Mapping { key_next }) => std::mem::replace(key_next, !*key_next),
        _ => false,
    }
}

fn otherwise(value: &str) -> Option<Other> {
    let any = |words: [&str; 3]| words.contains(&value);
    if any(["yes", "Yes", "YES"]) || any(["on", "On", "ON"]) {
        return Some(Other::Boolean(true));
    }
    if any(["no", "No", "NO"]) || any(["off", "Off", "OFF"]) {
        return Some(Other::Boolean(false));
    }
    is_base_60(value).then_some(Other::Base60)
}

/// An integer of base 60 (YAML 1.1, "int": `[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+`).
fn is_base_60(value: &str) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    let minute = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    first.starts_with(|c: char| ('1'..='9').contains(&c))
        && first.chars().all(|c| c.is_ascii_digit() || c == '_')
        && rest.peek().is_some()
        && rest.all(minute)
}

fn mistake(value: &str, other: &Other, is_key: bool, span: &Span) -> Mistake {
    let (taken, help) = match other {
        Other::Boolean(truth) => {
            let or_boolean = format!(" if the text is meant, or write {truth}");
            (
                "a boolean",
                format!("write '{value}'{}", if is_key { "" } else { &or_boolean }),
            )
        }
        Other::Base60 => ("a number", format!("write '{value}'")),
    };
    let start = span.start;
    let mut mistake = Mistake::in_file(format!(
        "`{value}` without quotes is {taken} to readers of YAML 1.1 and a text to others"
    ));
    mistake.line = start.line() as u64;
    mistake.column = start.col() as u64 + 1;
    mistake.offset = start.byte_offset().unwrap_or_default();
    mistake.length = value.len();
    mistake.help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<(u64, u64)> {
        let found = ambiguous(text);
        found.iter().map(|mistake| (mistake.line, mistake.column)).collect()
    }

    #[test]
    fn what_two_readers_of_yaml_take_for_different_things_is_refused_where_it_stands() {
        let cases: &[(&str, &[(u64, u64)])] = &[
            ("a: yes", &[(1, 4)]),
            ("a: b\nc: [on, x, Off]", &[(2, 5), (2, 12)]),
            ("no: { name: NO }", &[(1, 1), (1, 13)]),
            ("mac: 12:34:56:10:11:12", &[(1, 6)]),
            ("- 1:30\n- -10:20\n", &[(1, 3), (2, 3)]),
            ("é: no", &[(1, 4)]),
        ];
        for (text, expected) in cases {
            assert_eq!(places(text), *expected, "{text}");
        }
    }

    #[test]
    fn what_all_readers_take_alike_is_read() {
        for text in [
            "a: 'yes'\nb: \"no\"\nc: true\nd: false",
            "a: now\nb: one\nc: nowhere",
            "{ on: a, run: 'ip link' }",
            "{ on: { interfaces: [b] } }",
            "a: !!str no",
            "mac: 0a:ca:05:9c:fc:14\nmac2: 02:00:00:00:00:01\naddress: 2001:db8::1\nport: 10.0.0.1:80\nt: 12:61",
            "a: |\n  no\nb: >\n  yes\n",
            "# no\na: x # yes",
            "",
            "[",
        ] {
            assert_eq!(places(text), [], "{text}");
        }
    }

    #[test]
    fn the_remedy_says_what_to_write() {
        let help = |text: &str| ambiguous(text).remove(0).help.unwrap();
        assert_eq!(help("a: off"), "write 'off' if the text is meant, or write false");
        assert_eq!(help("off: a"), "write 'off'");
        assert_eq!(help("a: 12:34"), "write '12:34'");
    }
}
