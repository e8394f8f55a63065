//! Where MariaDB and MySQL have their own words for the same thing.

use super::{Connection, sql};
use crate::Error;

/// The words of one of them.
pub(crate) trait Dialect: std::fmt::Debug + Send + Sync {
    /// Selects how far the last write of this connection takes whoever has seen it.
    fn position(&self) -> &'static str;

    /// Selects whether a position (the value) is reached.
    fn reached(&self) -> &'static str;

    /// Selects whether a position (the first value) is reached within seconds (the second).
    fn wait(&self) -> &'static str;
}

#[derive(Debug)]
struct MariaDb;

#[derive(Debug)]
struct MySql;

impl Dialect for MariaDb {
    fn position(&self) -> &'static str {
        "SELECT @@last_gtid"
    }

    fn reached(&self) -> &'static str {
        "SELECT MASTER_GTID_WAIT(?, 0) = 0"
    }

    fn wait(&self) -> &'static str {
        "SELECT MASTER_GTID_WAIT(?, ?) = 0"
    }
}

impl Dialect for MySql {
    fn position(&self) -> &'static str {
        "SELECT @@GLOBAL.gtid_executed"
    }

    fn reached(&self) -> &'static str {
        "SELECT GTID_SUBSET(?, @@GLOBAL.gtid_executed)"
    }

    fn wait(&self) -> &'static str {
        "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?) = 0"
    }
}

/// Which of them a server speaks.
pub(crate) async fn of(connection: &mut Connection) -> Result<&'static dyn Dialect, Error> {
    let version: String = sql("SELECT VERSION()").value(connection).await?;
    Ok(match version.contains("MariaDB") {
        true => &MariaDb,
        false => &MySql,
    })
}
