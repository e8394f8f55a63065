//! Statements, and how they run.

use std::borrow::Cow;

use futures::TryFutureExt;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, FromRow, MySql, SqlStr, Sqlite};

use super::on::Session;
use super::{On, Value};
use crate::Error;

/// What a row is read as: a tuple of columns, or anything that derives [`sqlx::FromRow`].
pub trait Row:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin
{
}

impl<T> Row for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, MySqlRow> + Send + Unpin
{
}

/// A statement and its values.
#[derive(Clone, Debug)]
#[must_use = "a statement does nothing until it runs"]
pub struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement with `?` for each value.
pub const fn sql(text: &'static str) -> Statement {
    Statement {
        text: Cow::Borrowed(text),
        values: Vec::new(),
    }
}

impl Statement {
    /// The value of the next `?`.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds text.
    pub fn then(mut self, text: &'static str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Adds a list of values, `(?, ?)`, at least one. The last is repeated until their number is a power of
    /// two: databases prepare and keep a statement for each length.
    pub fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let before = self.values.len();
        self.values.extend(values.into_iter().map(Into::into));
        let last = match self.values.len() > before {
            true => self.values[self.values.len() - 1].clone(),
            false => Value::Null,
        };
        let count = self.values.len() - before;
        let padded = count.max(1).next_power_of_two();
        self.values.resize(before + padded, last);
        let text = self.text.to_mut();
        text.push('(');
        for number in 0..padded {
            text.push_str(if number == 0 { "?" } else { ", ?" });
        }
        text.push(')');
        self
    }

    /// Runs it; the number of rows that it changed.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Slow`] when the database does not answer in time.
    pub async fn run(self, on: impl Into<On<'_>>) -> Result<u64, Error> {
        let on = on.into();
        let (text, values) = self.parts();
        let within = on.within;
        within
            .time(async {
                Ok(match on.session {
                    Session::Sqlite(session) => {
                        let query = sqlx::query_with::<Sqlite, _>(text, sqlite(values)?);
                        query.execute(session).await?.rows_affected()
                    }
                    Session::MySql(session) => {
                        let query = sqlx::query_with::<MySql, _>(text, mysql(values)?);
                        query.execute(session).await?.rows_affected()
                    }
                })
            })
            .await
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Statement::run`].
    pub async fn all<T: Row>(self, on: impl Into<On<'_>>) -> Result<Vec<T>, Error> {
        let on = on.into();
        let (text, values) = self.parts();
        let within = on.within;
        within
            .time(async {
                Ok(match on.session {
                    Session::Sqlite(session) => {
                        let query = sqlx::query_as_with::<Sqlite, T, _>(text, sqlite(values)?);
                        query.fetch_all(session).await?
                    }
                    Session::MySql(session) => {
                        let query = sqlx::query_as_with::<MySql, T, _>(text, mysql(values)?);
                        query.fetch_all(session).await?
                    }
                })
            })
            .await
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`Statement::run`].
    pub async fn optional<T: Row>(self, on: impl Into<On<'_>>) -> Result<Option<T>, Error> {
        self.all(on).map_ok(|rows| rows.into_iter().next()).await
    }

    /// The only column of the first row.
    ///
    /// # Errors
    /// As [`Statement::run`]; [`sqlx::Error::RowNotFound`] without a row.
    pub async fn value<T>(self, on: impl Into<On<'_>>) -> Result<T, Error>
    where
        (T,): Row,
    {
        let row: Option<(T,)> = self.optional(on).await?;
        row.map_or(Err(sqlx::Error::RowNotFound.into()), |(value,)| Ok(value))
    }

    fn parts(self) -> (SqlStr, Vec<Value>) {
        let text = match self.text {
            Cow::Borrowed(text) => SqlStr::from_static(text),
            // Put together of text that the program wrote.
            Cow::Owned(text) => sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(text)),
        };
        (text, self.values)
    }
}

/// Adds each value to the arguments of a database.
macro_rules! arguments {
    ($name:ident, $arguments:ty) => {
        fn $name(values: Vec<Value>) -> Result<$arguments, sqlx::Error> {
            let mut arguments = <$arguments>::default();
            for value in values {
                let added = match value {
                    Value::Null => arguments.add(None::<i64>),
                    Value::Integer(value) => arguments.add(value),
                    Value::Text(value) => arguments.add(value),
                    Value::Bytes(value) => arguments.add(value),
                };
                added.map_err(sqlx::Error::Encode)?;
            }
            Ok(arguments)
        }
    };
}

arguments!(sqlite, SqliteArguments);
arguments!(mysql, MySqlArguments);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_lengths() {
        let text = |count: i64| sql("x IN ").list(0..count).text.into_owned();
        assert_eq!(text(1), "x IN (?)");
        assert_eq!(text(2), "x IN (?, ?)");
        assert_eq!(text(3), text(4));
        assert_eq!(sql("").list(0..3).values[3], Value::Integer(2));
        // No value is in it.
        assert_eq!(sql("").list(0..0).values, [Value::Null]);
    }
}
