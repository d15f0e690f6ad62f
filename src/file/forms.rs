//! Reads values with a short form: a word, a number or a list instead of a mapping.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_saphyr::{Location, Spanned};

use super::values::{Count, CountRange, Text, Texts};

/// A value as it is written.
pub(crate) enum Form<I, M> {
    Word(String),
    Number(u64),
    List(Vec<I>),
    Mapping(M),
}

/// A type with a short and a long form.
pub(crate) trait Forms<'de>: Sized {
    /// The allowed forms, to complete "expected …".
    const EXPECTED: &'static str;
    /// The element type, where a list is allowed.
    type Item: Deserialize<'de>;
    /// The long form.
    type Mapping: Deserialize<'de>;
    /// The value, or why it is wrong; `None` when the type does not have this form.
    fn from_form(form: Form<Self::Item, Self::Mapping>, place: Location) -> Option<Result<Self, String>>;
}

/// The `Item` or `Mapping` of a type without that form.
pub(crate) struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("nothing can be written here"))
    }
}

/// Reads any form of `T`.
pub(crate) fn read<'de, T: Forms<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let read = Spanned::<Reading<'de, T>>::deserialize(deserializer)?;
    match T::from_form(read.value.0, read.referenced) {
        Some(value) => value.map_err(de::Error::custom),
        None => Err(de::Error::custom(format!("expected {}", T::EXPECTED))),
    }
}

struct Reading<'de, T: Forms<'de>>(Form<T::Item, T::Mapping>);

impl<'de, T: Forms<'de>> Deserialize<'de> for Reading<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader::<T>(PhantomData)).map(Self)
    }
}

struct Reader<'de, T>(PhantomData<(&'de (), T)>);

impl<'de, T: Forms<'de>> Visitor<'de> for Reader<'de, T> {
    type Value = Form<T::Item, T::Mapping>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
        Ok(Form::Word(word.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Form::Number(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => Ok(Form::Number(number)),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Form::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::Mapping::deserialize(MapAccessDeserializer::new(map)).map(Form::Mapping)
    }
}

/// `Deserialize` for types with `Forms`.
macro_rules! read_by_forms {
    ($($name:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::file::forms::read(deserializer)
            }
        }
    )+};
}

pub(crate) use read_by_forms;

read_by_forms!(Count, Texts);

impl Forms<'_> for Count {
    const EXPECTED: &'static str = "a number, or a mapping with `at_least` and `at_most`";
    type Item = Never;
    type Mapping = CountRange;

    fn from_form(form: Form<Never, CountRange>, _: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Number(count) => Some(Ok(Self::exactly(count))),
            Form::Mapping(range) => Some(Self::try_from(range)),
            Form::Word(_) | Form::List(_) => None,
        }
    }
}

impl Forms<'_> for Texts {
    const EXPECTED: &'static str = "a text or a list of texts";
    type Item = Text;
    type Mapping = Never;

    fn from_form(form: Form<Text, Never>, place: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Word(text) => Some(Ok(Self(vec![Text::at(text, place)]))),
            // A number is accepted without quotes where a text is expected: `contains: 56`.
            Form::Number(number) => Some(Ok(Self(vec![Text::at(number.to_string(), place)]))),
            Form::List(texts) => Some(Ok(Self(texts))),
            Form::Mapping(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_or_a_range() {
        for (text, at_least, at_most) in [
            ("3", 3, 3),
            ("{at_least: 1}", 1, u64::MAX),
            ("{at_most: 5}", 0, 5),
            ("{at_least: 1, at_most: 5}", 1, 5),
        ] {
            assert_eq!(
                serde_saphyr::from_str::<Count>(text).unwrap(),
                Count { at_least, at_most },
                "{text}"
            );
        }
        for text in [
            "-1",
            "{at_least: 0}",
            "{at_least: 5, at_most: 1}",
            "{exactly: 1}",
            "few",
            "[1]",
        ] {
            assert!(serde_saphyr::from_str::<Count>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_text_and_a_list_of_texts_keep_their_places() {
        #[derive(serde::Deserialize)]
        struct File {
            one: Texts,
            many: Texts,
        }
        let file: File = serde_saphyr::from_str("one: x\nmany:\n  - y\n  - z\n").unwrap();
        assert_eq!((file.one.0[0].written(), file.one.0[0].place().line()), ("x", 1));
        assert_eq!((file.many.0[1].written(), file.many.0[1].place().line()), ("z", 4));
    }
}
