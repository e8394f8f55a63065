//! Statements, and how they run.

use std::borrow::Cow;

use futures::TryFutureExt;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, FromRow, MySql, SqlSafeStr, SqlStr, Sqlite};

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
///
/// One that is sent where the shard map says a key lives has `{fence}` among its conditions, the last of them with
/// a `?`. It stands for "the map has not changed since": where it has, the statement
/// finds and changes nothing, and fails with [`Error::StaleMap`]. In a transaction the fence was looked at when that
/// began.
///
/// ```text
/// SELECT owner FROM claims WHERE kind = ? AND value = ? AND {fence}
/// INSERT INTO claims (kind, value) SELECT ?, ? FROM shard_fence WHERE {fence}
/// ```
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
    /// A statement whose text the program has put together, of nothing that comes from outside.
    pub(crate) const fn of(text: String) -> Self {
        Self {
            text: Cow::Owned(text),
            values: Vec::new(),
        }
    }

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
    /// [`Error::Database`]; [`Error::Slow`] when the database does not answer in time;
    /// [`Error::StaleMap`].
    pub async fn run(self, on: impl Into<On<'_>>) -> Result<u64, Error> {
        let mut on = on.into();
        let (text, values) = self.fenced(on.epoch)?;
        let changed = on.session.run(text, values);
        let changed = noting(on.late, on.terms.time(changed)).await?;
        if changed == 0 {
            on.refuse_stale().await?;
        }
        Ok(changed)
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Statement::run`].
    pub async fn all<T: Row>(self, on: impl Into<On<'_>>) -> Result<Vec<T>, Error> {
        let mut on = on.into();
        let (text, values) = self.fenced(on.epoch)?;
        let rows = on.session.all(text, values);
        let rows = noting(on.late, on.terms.time(rows)).await?;
        if rows.is_empty() {
            on.refuse_stale().await?;
        }
        Ok(rows)
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

    /// Puts the fence where its mark is.
    fn fenced(mut self, epoch: Option<i64>) -> Result<(SqlStr, Vec<Value>), Error> {
        match (self.text.find(MARK), epoch) {
            (Some(_), None) => self.text = self.text.replace(MARK, "1 = 1").into(),
            (Some(mark), Some(epoch)) => {
                let before = self.text[..mark].matches('?').count();
                self.values
                    .insert(before.min(self.values.len()), epoch.into());
                self.text = self.text.replace(MARK, FENCE).into();
            }
            (None, Some(_)) => return Err(Error::Unfenced(self.text.into_owned())),
            (None, None) => {}
        }
        let text = match self.text {
            Cow::Borrowed(text) => SqlStr::from_static(text),
            // Put together of text that the program wrote.
            Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
        };
        Ok((text, self.values))
    }
}

/// Notes that a statement was given up, also when who waited for it is gone: its answer may still come.
async fn noting<T>(
    late: &mut bool,
    outcome: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let before = std::mem::replace(late, true);
    let outcome = outcome.await;
    *late = before || matches!(outcome, Err(Error::Slow(_)));
    outcome
}

const MARK: &str = "{fence}";
/// Read in a statement that writes, the row is locked until the write is committed: who raises the epoch waits for it.
const FENCE: &str = "? >= (SELECT epoch FROM shard_fence)";

impl On<'_> {
    /// Finds out whether nothing was found because the fence was up.
    async fn refuse_stale(&mut self) -> Result<(), Error> {
        let Some(used) = self.epoch else {
            return Ok(());
        };
        let select = SqlStr::from_static("SELECT epoch FROM shard_fence");
        let rows = self.session.all::<(i64,)>(select, Vec::new());
        let rows = noting(self.late, self.terms.time(rows)).await?;
        match rows.first() {
            Some(&(newest,)) if newest <= used => Ok(()),
            newest => Err(Error::StaleMap {
                shard: self.terms.shard,
                used,
                newest: newest.map_or(0, |&(newest,)| newest),
            }),
        }
    }
}

impl Session<'_> {
    async fn run(&mut self, text: SqlStr, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(session) => {
                let query = sqlx::query_with::<Sqlite, _>(text, sqlite(values)?);
                query.execute(&mut **session).await?.rows_affected()
            }
            Self::MySql(session) => {
                let query = sqlx::query_with::<MySql, _>(text, mysql(values)?);
                query.execute(&mut **session).await?.rows_affected()
            }
        })
    }

    async fn all<T: Row>(
        &mut self,
        text: SqlStr,
        values: Vec<Value>,
    ) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Sqlite(session) => {
                let query = sqlx::query_as_with::<Sqlite, T, _>(text, sqlite(values)?);
                query.fetch_all(&mut **session).await
            }
            Self::MySql(session) => {
                let query = sqlx::query_as_with::<MySql, T, _>(text, mysql(values)?);
                query.fetch_all(&mut **session).await
            }
        }
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

    fn text(statement: Statement, epoch: Option<i64>) -> (String, Vec<Value>) {
        let (text, values) = statement.fenced(epoch).unwrap();
        (text.as_str().to_owned(), values)
    }

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

    #[test]
    fn the_epoch_is_bound_where_the_fence_stands() {
        let statement = || sql("a = ? AND {fence} AND b = ?").bind(1).bind(2);
        let (fenced, values) = text(statement(), Some(7));
        assert_eq!(
            fenced,
            "a = ? AND ? >= (SELECT epoch FROM shard_fence) AND b = ?"
        );
        assert_eq!(values, [1, 7, 2].map(Value::Integer));
        assert_eq!(text(statement(), None).0, "a = ? AND 1 = 1 AND b = ?");
        let bare = sql("a = ?").bind(1);
        assert!(matches!(bare.fenced(Some(7)), Err(Error::Unfenced(_))));
    }
}
