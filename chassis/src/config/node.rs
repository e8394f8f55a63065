//! A configuration as a tree of values, each with its place: what stands between TOML and serde.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::{Place, Sources};
use super::substitute::substitute;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A key of a table and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A string; `substituted` when part of it came from a variable, so that it may stand for a number.
    Text {
        text: String,
        substituted: bool,
    },
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

impl Node {
    /// Turns a parsed table of file number `file` into a node, with its variables filled in.
    pub(super) fn from_table(
        file: usize,
        table: &Spanned<DeTable<'_>>,
        sources: &mut Sources,
    ) -> Result<Self, Diagnostic> {
        let place = Place::new(file, table.span());
        let entries = table_entries(file, table.get_ref(), sources)?;
        Ok(Self {
            place,
            value: Value::Table(entries),
        })
    }

    fn from_value(
        file: usize,
        spanned: &Spanned<DeValue<'_>>,
        sources: &mut Sources,
    ) -> Result<Self, Diagnostic> {
        let place = Place::new(file, spanned.span());
        let value = match spanned.get_ref() {
            DeValue::Boolean(bool) => Value::Bool(*bool),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map(Value::Integer)
                .map_err(|_| Diagnostic::new(place, "the number is out of range"))?,
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map(Value::Float)
                .map_err(|_| Diagnostic::new(place, "the number is out of range"))?,
            DeValue::String(text) => {
                let filled = substitute(text, place, sources)?;
                Value::Text {
                    substituted: filled.is_some(),
                    text: filled.unwrap_or_else(|| text.to_string()),
                }
            }
            DeValue::Datetime(datetime) => Value::Text {
                text: datetime.to_string(),
                substituted: false,
            },
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .map(|item| Self::from_value(file, item, sources))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => Value::Table(table_entries(file, table, sources)?),
        };
        Ok(Self { place, value })
    }

    /// An entry of a table.
    pub(super) fn entry(&self, name: &str) -> Option<&Node> {
        let Value::Table(entries) = &self.value else {
            return None;
        };
        let found = entries.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| node)
    }

    /// Takes an entry out of a table.
    pub(super) fn take(&mut self, name: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else {
            return None;
        };
        let at = entries.iter().position(|(key, _)| key.name == name)?;
        Some(entries.remove(at).1)
    }
}

fn table_entries(
    file: usize,
    table: &DeTable<'_>,
    sources: &mut Sources,
) -> Result<Vec<(Key, Node)>, Diagnostic> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let name = Key {
            name: key.get_ref().to_string(),
            place: Place::new(file, key.span()),
        };
        entries.push((name, Node::from_value(file, value, sources)?));
    }
    Ok(entries)
}
