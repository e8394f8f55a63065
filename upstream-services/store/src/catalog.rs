//! Which tables a shard has, and about how many rows: what SQLite and the servers say in different words.

use crate::database::Database;
use crate::sql::{Statement, sql};
use crate::{Connection, Error, Freshness, Shard};

/// Selects the names of all tables.
pub(crate) const fn table_names(database: &Database) -> Statement {
    match database.is_file() {
        true => sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"),
        false => sql(
            "SELECT CAST(table_name AS CHAR(64)) FROM information_schema.tables
             WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY table_name",
        ),
    }
}

/// All tables, with an estimate of their rows that reads hardly anything: a server's statistics, which may be off by
/// half; in a file how far the first row and the last are apart, which rows deleted in between do not shrink.
pub(crate) async fn estimates(shard: &Shard) -> Result<Vec<(String, i64)>, Error> {
    let mut connection = shard.read(&Freshness::Latest).await?;
    if !shard.is_file() {
        let select = "SELECT CAST(table_name AS CHAR(64)), CAST(COALESCE(table_rows, 0) AS SIGNED)
             FROM information_schema.tables
             WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY table_name";
        return sql(select).all(&mut connection).await;
    }
    let names: Vec<(String,)> = table_names(shard.primary()).all(&mut connection).await?;
    let mut estimates = Vec::with_capacity(names.len());
    for (name,) in names.into_iter().filter(|(name,)| is_ours(name)) {
        match span(&mut connection, &name).await {
            Ok(rows) => estimates.push((name, rows)),
            // Dropped meanwhile.
            Err(error) if error.is_missing_table() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(estimates)
}

/// How far the first row and the last are apart; each is one look into the tree.
async fn span(connection: &mut Connection, table: &str) -> Result<i64, Error> {
    let text =
        format!("SELECT (SELECT MAX(rowid) FROM {table}) - (SELECT MIN(rowid) FROM {table}) + 1");
    let rows: Option<i64> = Statement::of(text).value(connection).await?;
    Ok(rows.unwrap_or_default())
}

/// Whether a name is one that a program of ours gave: it goes into a statement as it is. SQLite's own tables are not.
fn is_ours(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.bytes().all(plain) && !name.starts_with("sqlite_")
}
