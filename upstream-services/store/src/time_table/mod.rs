//! Time tables: rows that come for ever and are wanted for a while, in one table a month.
//!
//! ```text
//!   row's Id --> time ----> month (UTC) --> NAME_2026_11 \
//!   owner's Id -> bucket -> ShardMap ----> shard ---------+--> one table
//! ```
//!
//! The owner of a time table declares it as data, beside its `Schema`. The months that come are made ahead of time:
//! an insert never makes a table, because MariaDB would commit the transaction around it. The months that
//! nobody wants any more are archived and dropped whole, which costs nothing like deleting their rows
//! ([`Store::keep_time_tables`](crate::Store::keep_time_tables)). Names of tables are put together of what the program
//! declares and the month alone.

mod archive;
mod month;
mod rows;
mod upkeep;

use std::fmt::Write;

use crate::sql::Statement;
use crate::{Id, Value};
use month::Month;

pub use rows::Page;
pub(crate) use upkeep::WantedTables;

/// Tables by month, the same on every shard.
///
/// Each has the columns `id` and `owner` (whose rows are read together), and those declared. A table that was
/// made is not altered: other columns need another name.
#[derive(Clone, Copy, Debug)]
pub struct TimeTable {
    /// What the tables' names begin with: a short word, fixed for ever.
    pub name: &'static str,
    /// The columns of a row besides `id` and `owner`.
    pub columns: &'static [Column],
    /// How many months are kept besides the current one, at least one: ids are older than the rows they are for.
    pub kept: u16,
    /// How many months are made ahead, at least one.
    pub ahead: u16,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be NULL.
    pub optional: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An [`Id`]; a string of digits in archives.
    Id,
    /// BIGINT.
    Integer,
    /// VARCHAR of so many characters.
    Text(u16),
}

/// A row to insert.
#[derive(Clone, Debug)]
pub struct TimeRow {
    /// Made in the owner's bucket; its time is the row's month.
    pub id: Id,
    /// Whose row it is.
    pub owner: Id,
    /// The values of the declared columns, in their order.
    pub values: Vec<Value>,
}

impl Column {
    /// A column that always has a value.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            optional: false,
        }
    }

    /// The same, but it may be NULL.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

impl TimeTable {
    /// The table of a month.
    fn table(&self, month: Month) -> String {
        format!("{}_{month}", self.name)
    }

    /// The month of one of these tables, if it is one.
    fn month(&self, table: &str) -> Option<Month> {
        Month::parse(table.strip_prefix(self.name)?.strip_prefix('_')?)
    }

    /// Makes the table of a month, with its index, in one statement: it is there as a whole or not at all.
    fn create(&self, month: Month) -> Statement {
        let mut text = format!(
            "CREATE TABLE IF NOT EXISTS {} (id BIGINT NOT NULL PRIMARY KEY, owner BIGINT NOT NULL, ",
            self.table(month)
        );
        for column in self.columns {
            let null = if column.optional { "" } else { " NOT NULL" };
            // Writing to a string does not fail.
            let _ = match column.kind {
                Kind::Id | Kind::Integer => write!(text, "{} BIGINT{null}, ", column.name),
                Kind::Text(length) => write!(text, "{} VARCHAR({length}){null}, ", column.name),
            };
        }
        text.push_str("UNIQUE (owner, id))");
        Statement::of(text)
    }

    /// The declared columns, each after a comma.
    fn list(&self) -> String {
        let columns = self.columns.iter();
        columns.map(|column| format!(", {}", column.name)).collect()
    }
}

#[cfg(test)]
mod tests;
