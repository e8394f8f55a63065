//! What is MariaDB's and MySQL's alone: servers, and pools of connections to them.

use sqlx::MySql;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::PoolOptions;

use super::Pool;
use crate::{Options, Server};

/// Connections to a server. None is made yet.
pub(crate) fn pool(options: &Options, server: &Server, size: u32) -> Pool {
    let mut connect = MySqlConnectOptions::new()
        .database(&server.database)
        .username(&server.user)
        // Names that differ in case or accent are different names.
        .charset("utf8mb4")
        .collation("utf8mb4_bin");
    connect = match &server.socket {
        Some(socket) => connect.socket(socket),
        None => connect.host(&server.host).port(server.port),
    };
    if let Some(password) = &server.password {
        connect = connect.password(&password.0);
    }
    let pool = PoolOptions::<MySql>::new()
        .max_connections(size.max(1))
        .acquire_timeout(options.acquire_timeout);
    Pool::MySql(pool.connect_lazy_with(connect))
}
