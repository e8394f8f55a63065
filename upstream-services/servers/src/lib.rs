//! Database and cache servers of this machine's installed programs, private to who starts them: everything they keep
//! is in one folder, they listen on loopback, and they end with the value.
//!
//! For `tidegate up --data servers`, and for tests. Everything blocks.

mod error;
mod mariadb;
mod memcached;
mod process;
mod redis;

pub use error::Error;
pub use mariadb::{MariaDb, Role, Settings};
pub use memcached::Memcached;
pub use process::{bind_free, free_port};
pub use redis::{Redis, RedisSettings, Setup};
