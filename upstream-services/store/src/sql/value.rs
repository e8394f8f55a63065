//! Values that statements are bound to.

use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::{Id, Time};

/// A value of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// BIGINT.
    Integer(i64),
    /// CHAR, VARCHAR or TEXT.
    Text(String),
    /// BINARY, VARBINARY or BLOB.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<Id> for Value {
    fn from(id: Id) -> Self {
        Self::Integer(id.as_i64())
    }
}

impl From<Time> for Value {
    fn from(time: Time) -> Self {
        Self::Integer(time.as_millis())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row as it is: numbers and text, however many columns there are.
#[derive(Debug)]
pub(crate) struct Values(pub(crate) Vec<Value>);

impl FromRow<'_, SqliteRow> for Values {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        read(row)
    }
}

impl FromRow<'_, MySqlRow> for Values {
    fn from_row(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        read(row)
    }
}

fn read<'r, R: Row>(row: &'r R) -> Result<Values, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    let value = |column| match row.try_get::<Option<i64>, _>(column) {
        Ok(number) => Ok(Value::from(number)),
        Err(_) => row.try_get::<String, _>(column).map(Value::from),
    };
    (0..row.len())
        .map(value)
        .collect::<Result<_, _>>()
        .map(Values)
}
