//! Values that remember where they were written.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};

use super::de::NodeDeserializer;
use super::diagnostic::Diagnostic;
use super::node::{Node, Value};
use super::source::Place;

// serde's data model has no room for a place, so the deserializer leaves it
// here when it meets a newtype of one of these names, and the visitor takes it
// before anything else runs on this thread.
pub(super) const LOCATED: &str = "$tidegate::Located";
pub(super) const RAW: &str = "$tidegate::Raw";
thread_local! {
    pub(super) static PLACE: Cell<Place> = const { Cell::new(Place::NOWHERE) };
    pub(super) static NODE: RefCell<Option<Node>> = const { RefCell::new(None) };
}

/// A value with the place where it was written, for errors that only `compile` can find.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located<T> {
    value: T,
    place: Place,
}

impl<T> Located<T> {
    /// A value that was written nowhere: a default, or one made by a program.
    pub fn nowhere(value: T) -> Self {
        Self {
            value,
            place: Place::default(),
        }
    }

    /// A value that a parser other than the configuration's found at a place.
    pub fn at(value: T, place: Place) -> Self {
        Self { value, place }
    }

    /// Where the value was written.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// A mistake in this value.
    pub fn wrong(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.place, message)
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

impl<T: PartialOrd> PartialOrd for Located<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Located<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: std::borrow::Borrow<str>> std::borrow::Borrow<str> for Located<T> {
    fn borrow(&self) -> &str {
        self.value.borrow()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Here<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Here<T> {
            type Value = Located<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Located<T>, D::Error> {
                let place = PLACE.take();
                let value = T::deserialize(deserializer)?;
                Ok(Located { value, place })
            }
        }
        deserializer.deserialize_newtype_struct(LOCATED, Here(PhantomData))
    }
}

impl<T: serde::Serialize> serde::Serialize for Located<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A part of a configuration whose type is chosen later: a plugin's table.
#[derive(Clone, Debug)]
pub struct Raw(Node);

impl Raw {
    /// Where it was written.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// Takes a text entry out of the table, with its place.
    ///
    /// # Errors
    /// When the entry is there and is not text.
    pub fn take_text(&mut self, key: &str) -> Result<Option<Located<String>>, Diagnostic> {
        let Some(node) = self.0.take(key) else {
            return Ok(None);
        };
        match node.value {
            Value::Text { text, .. } => Ok(Some(Located {
                value: text,
                place: node.place,
            })),
            _ => Err(Diagnostic::new(node.place, format!("`{key}` is text"))),
        }
    }

    /// Reads it as a type.
    ///
    /// # Errors
    /// What does not fit the type, with its place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        T::deserialize(NodeDeserializer(&self.0)).map_err(Diagnostic::from)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taken;
        impl Visitor<'_> for Taken {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a configuration file")
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Raw, E> {
                let node = NODE
                    .take()
                    .ok_or_else(|| E::custom("not a configuration file"))?;
                Ok(Raw(node))
            }
        }
        deserializer.deserialize_newtype_struct(RAW, Taken)
    }
}

impl JsonSchema for Raw {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Raw".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}
