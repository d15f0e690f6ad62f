//! Reads a fault: one member is named after its kind, next to `duration` and `description`.
//!
//! It is written by hand because serde knows no `deny_unknown_fields` together with `flatten`, and would forget where in a file a
//! flattened value stands.

use std::fmt;

use serde::Deserialize;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, Unexpected, VariantAccess, Visitor};

use super::{FaultKind, FaultSpec};

impl<'de> Deserialize<'de> for FaultSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = FaultSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault such as `link_down: { interfaces: [a] }`, with `duration` and `description` if need be")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FaultSpec, A::Error> {
        let (mut fault, mut duration, mut description) = (None::<FaultKind>, None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "duration" if duration.is_some() => return Err(A::Error::duplicate_field("duration")),
                "duration" => duration = Some(map.next_value()?),
                "description" if description.is_some() => return Err(A::Error::duplicate_field("description")),
                "description" => description = Some(map.next_value()?),
                _ => {
                    let Some(kind) = FaultKind::NAMES.into_iter().find(|kind| *kind == name) else {
                        return Err(A::Error::unknown_field(&name, &FIELDS));
                    };
                    if let Some(first) = &fault {
                        let both = format!("a fault has one kind, and this one has `{}` and `{kind}`", first.name());
                        return Err(A::Error::custom(both));
                    }
                    fault = Some(map.next_value_seed(Kind(kind))?);
                }
            }
        }
        let missing = || A::Error::custom("a fault has a kind, such as `link_down: { interfaces: [a] }`");
        Ok(FaultSpec {
            fault: fault.ok_or_else(missing)?,
            duration: duration.flatten(),
            description: description.flatten(),
        })
    }
}

/// What may be written: the kinds, and the two other fields.
const FIELDS: [&str; FaultKind::NAMES.len() + 2] = {
    let mut fields = ["duration"; FaultKind::NAMES.len() + 2];
    let mut place = 0;
    while place < FaultKind::NAMES.len() {
        fields[place] = FaultKind::NAMES[place];
        place += 1;
    }
    fields[place] = "description";
    fields
};

/// Reads the content of a kind whose name has been read.
struct Kind(&'static str);

impl<'de> DeserializeSeed<'de> for Kind {
    type Value = FaultKind;

    fn deserialize<D: Deserializer<'de>>(self, content: D) -> Result<FaultKind, D::Error> {
        FaultKind::deserialize(Named { name: self.0, content })
    }
}

/// A variant of an enum, with its name apart from its content.
struct Named<D> {
    name: &'static str,
    content: D,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Named<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for Named<D> {
    type Error = D::Error;
    type Variant = Content<D>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<D>), D::Error> {
        let variant = seed.deserialize(BorrowedStrDeserializer::new(self.name))?;
        Ok((variant, Content(self.content)))
    }
}

struct Content<D>(D);

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for Content<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        Err(D::Error::invalid_type(Unexpected::UnitVariant, &"a mapping"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, D::Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct("fault", fields, visitor)
    }
}
