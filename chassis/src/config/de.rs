//! serde over a [`Node`] tree, with the place of every error.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::diagnostic::{Diagnostic, suggestion};
use super::located::{LOCATED, NODE, PLACE, RAW};
use super::node::{Key, Node, Value};
use super::source::Place;

/// What serde found wrong; the place is filled in by the innermost value that it passes on its way out.
#[derive(Debug)]
pub(super) struct Error {
    diagnostic: Diagnostic,
    placed: bool,
}

impl Error {
    fn at(mut self, place: Place) -> Self {
        if !self.placed {
            self.diagnostic.place = place;
            self.placed = true;
        }
        self
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        error.diagnostic
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let diagnostic = match message.as_str() {
            // What the standard library says of an address.
            "invalid socket address syntax" => {
                Diagnostic::new(Place::default(), "not an address and port")
                    .help("write \"127.0.0.1:8080\" or \"[::1]:8080\"")
            }
            _ => Diagnostic::new(Place::default(), message),
        };
        Self {
            diagnostic,
            placed: false,
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = in_words(&expected.to_string());
        let mut error = Self::custom(format!("expected {expected}, found {found}"));
        error.diagnostic.label = "of the wrong type".into();
        error
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = in_words(&expected.to_string());
        Self::custom(format!("expected {expected}, found {found}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::custom(format!("unknown key `{field}`"));
        error.diagnostic.label = "not a key of this table".into();
        error.diagnostic.help = suggestion(field, expected);
        error
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::custom(format!("unknown value `{variant}`"));
        error.diagnostic.label = "not one of the choices".into();
        error.diagnostic.help = suggestion(variant, expected);
        error
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::custom(format!("the key `{field}` is missing"));
        error.diagnostic.label = "in this table".into();
        error
    }
}

/// What a person calls a type of Rust.
fn in_words(expected: &str) -> String {
    let range = match expected {
        "u8" => "from 0 to 255",
        "u16" => "from 0 to 65535",
        "u32" => "from 0 to 4294967295",
        "u64" | "usize" => "that is not negative",
        _ => return expected.to_owned(),
    };
    format!("a number {range}")
}

/// Reads a value of a configuration.
pub(super) struct NodeDeserializer<'a>(pub(super) &'a Node);

impl<'a> NodeDeserializer<'a> {
    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match &self.0.value {
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Integer(integer) => visitor.visit_i64(*integer),
            Value::Float(float) => visitor.visit_f64(*float),
            Value::Text { text, .. } => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Table(entries) => visitor.visit_map(Entries {
                rest: entries.iter(),
                value: None,
            }),
        }
        .map_err(|error| error.at(self.0.place))
    }

    /// The text that came from a variable: it may stand for a number or a bool.
    fn substituted(&self) -> Option<&'a str> {
        match &self.0.value {
            Value::Text {
                text,
                substituted: true,
            } => Some(text),
            _ => None,
        }
    }
}

macro_rules! number {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.substituted().and_then(|text| text.trim().parse::<$type>().ok()) {
                Some(value) => visitor.$visit(value).map_err(|error: Error| error.at(self.0.place)),
                None => self.visit(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    number! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i64 i64, deserialize_i16 visit_i64 i64,
        deserialize_i32 visit_i64 i64, deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u64 u64, deserialize_u16 visit_u64 u64,
        deserialize_u32 visit_u64 u64, deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f64 f64, deserialize_f64 visit_f64 f64
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            RAW => {
                NODE.set(Some(self.0.clone()));
                visitor.visit_unit()
            }
            LOCATED => {
                PLACE.set(self.0.place);
                visitor.visit_newtype_struct(self)
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let place = self.0.place;
        match &self.0.value {
            Value::Text { text, .. } => visitor.visit_enum(text.as_str().into_deserializer()),
            Value::Table(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(Variant { key, node }),
                _ => Err(de::Error::custom("expected a table with exactly one key")),
            },
            _ => Err(de::Error::custom("expected text or a table with one key")),
        }
        .map_err(|error: Error| error.at(place))
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|node| {
                seed.deserialize(NodeDeserializer(node))
                    .map_err(|e| e.at(node.place))
            })
            .transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(node);
        seed.deserialize(KeyDeserializer(key))
            .map(Some)
            .map_err(|error| error.at(key.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self.value.take().expect("serde asks for the key first");
        seed.deserialize(NodeDeserializer(node))
            .map_err(|error| error.at(node.place))
    }
}

struct KeyDeserializer<'a>(&'a Key);

impl<'de> Deserializer<'de> for KeyDeserializer<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.0.name)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == LOCATED {
            PLACE.set(self.0.place);
        }
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes
        byte_buf option unit unit_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

struct Variant<'a> {
    key: &'a Key,
    node: &'a Node,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let value = seed
            .deserialize(KeyDeserializer(self.key))
            .map_err(|error| error.at(self.key.place))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(de::Error::custom(format!(
            "`{}` takes no value: write it as text",
            self.key.name
        )))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(NodeDeserializer(self.node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        NodeDeserializer(self.node).visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        NodeDeserializer(self.node).visit(visitor)
    }
}
