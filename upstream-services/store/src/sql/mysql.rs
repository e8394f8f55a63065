//! What is MariaDB's and MySQL's alone: servers, and pools of connections to them.

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, MySql};

use super::{Health, Pool};
use crate::standing::Member;
use crate::{Options, Server};

/// A connection that was unused for longer may have died.
const IDLE: Duration = Duration::from_secs(1);

/// Connections to a server. None is made yet, and each asks first what the server holds.
pub(crate) fn pool(
    options: &Options,
    server: &Server,
    health: Arc<Health>,
    member: Arc<Member>,
) -> Pool {
    let mut connect = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .database(&server.database)
        .username(&server.user)
        // Names that differ in case or accent are different names.
        .charset("utf8mb4")
        .collation("utf8mb4_bin");
    if let Some(password) = &server.password {
        connect = connect.password(&password.0);
    }
    let greeter = member.clone();
    let pool = PoolOptions::<MySql>::new()
        .max_connections(options.readers.max(1))
        .acquire_timeout(options.acquire_timeout)
        // A round trip for each statement is too much; one for a connection that may have died is not.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let member = greeter.clone();
            Box::pin(async move { member.greet(connection).await })
        })
        .before_acquire(move |connection, state| {
            let used = state.idle_for;
            let doubtful = used > IDLE || health.was_silent_within(used);
            let outdated = member.was_wrong_within(state.age);
            Box::pin(async move {
                if outdated {
                    return Ok(false);
                }
                if doubtful {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    Pool::MySql(pool.connect_lazy_with(connect))
}
