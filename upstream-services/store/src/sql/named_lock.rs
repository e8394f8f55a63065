//! Locks by name, on servers of MariaDB and MySQL: one connection has a lock, until it gives it back or ends.

use super::{Connection, sql};
use crate::Error;

/// Takes the lock for something in the connection's database; whether it was free within so many seconds.
pub(crate) async fn take(
    connection: &mut Connection,
    of: &'static str,
    seconds: i64,
) -> Result<bool, Error> {
    let lock = sql("SELECT GET_LOCK(CONCAT('tidegate.', ?, '.', DATABASE()), ?)").bind(of);
    let taken: Option<i64> = lock.bind(seconds).value(connection).await?;
    Ok(taken == Some(1))
}

/// Gives it back. A lock that cannot be given back goes with its connection.
pub(crate) async fn release(mut connection: Connection, of: &'static str) {
    let unlock = sql("SELECT RELEASE_LOCK(CONCAT('tidegate.', ?, '.', DATABASE()))").bind(of);
    if unlock.value::<Option<i64>>(&mut connection).await.is_err() {
        connection.discard();
    }
}
