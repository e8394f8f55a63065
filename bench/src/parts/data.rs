//! One SQLite file and one connection to Redis, used as the user services use theirs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use redis::aio::MultiplexedConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};

use super::api::Failed;

/// The database and the cache.
pub(super) struct Data {
    /// One connection, as writers wait for each other anyway.
    writer: SqlitePool,
    readers: SqlitePool,
    redis: MultiplexedConnection,
    next_id: AtomicI64,
}

/// What is kept of a user.
pub(super) struct User {
    pub(super) id: i64,
    pub(super) username: String,
    pub(super) email: String,
    pub(super) display_name: Option<String>,
    pub(super) created_at: i64,
}

/// Connections that read, as many as the user services have by default.
const READERS: u32 = 4;

/// Of an order of magnitude that ids of the user services have.
const FIRST_ID: i64 = 1 << 57;

impl Data {
    /// Makes the file.
    pub(super) async fn open(file: &str, redis: SocketAddr) -> Result<Self, Failed> {
        let connect = SqliteConnectOptions::new()
            .filename(file)
            .synchronous(SqliteSynchronous::Normal);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .test_before_acquire(false)
        };
        let create = connect.clone().create_if_missing(true);
        let writer = pool(1).connect_with(create.journal_mode(SqliteJournalMode::Wal));
        let writer = writer.await?;
        for table in TABLES {
            sqlx::query(*table).execute(&writer).await?;
        }
        let reader = connect.pragma("query_only", "ON");
        let redis = redis::Client::open(format!("redis://{redis}"))?;
        Ok(Self {
            writer,
            readers: pool(READERS).connect_with(reader).await?,
            redis: redis.get_multiplexed_async_connection().await?,
            next_id: AtomicI64::new(FIRST_ID),
        })
    }

    /// Three inserts in one transaction: the user and both names.
    pub(super) async fn insert(
        &self,
        username: &str,
        email: &str,
        salt: &[u8],
        hash: &[u8],
    ) -> Result<i64, Failed> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now().as_millisecond();
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for name in [username, email] {
            sqlx::query("INSERT INTO names (name, owner) VALUES (?, ?)")
                .bind(name)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "INSERT INTO users (id, username, email, salt, hash, version, created_at, updated_at)
             VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
        )
        .bind(id)
        .bind(username)
        .bind(email)
        .bind(salt)
        .bind(hash)
        .bind(now)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// One select by primary key.
    pub(super) async fn user(&self, id: i64) -> Result<User, Failed> {
        let row = sqlx::query(
            "SELECT id, username, email, display_name, version, created_at, updated_at
             FROM users WHERE id = ?",
        )
        .bind(id)
        .fetch_one(&self.readers)
        .await?;
        Ok(User {
            id: row.try_get(0)?,
            username: row.try_get(1)?,
            email: row.try_get(2)?,
            display_name: row.try_get(3)?,
            created_at: row.try_get(5)?,
        })
    }

    /// Whose name it is, with salt and hash.
    pub(super) async fn password(&self, name: &str) -> Result<(i64, Vec<u8>, Vec<u8>), Failed> {
        let select = "SELECT id, salt, hash FROM names JOIN users ON id = owner WHERE name = ?";
        let row = sqlx::query(select).bind(name).fetch_one(&self.readers);
        let row = row.await?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    }

    /// Two writes in one transaction: of the old token and of the next.
    pub(super) async fn exchange(&self, user: i64, next: &[u8]) -> Result<(), Failed> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE users SET version = version + 1 WHERE id = ?")
            .bind(user)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO tokens (hash, owner) VALUES (?, ?)")
            .bind(next)
            .bind(user)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// One GET.
    pub(super) async fn cached(&self, key: &str) -> Result<Option<String>, Failed> {
        let mut get = redis::cmd("GET");
        Ok(get.arg(key).query_async(&mut self.redis.clone()).await?)
    }

    /// One MGET.
    pub(super) async fn all_cached(&self, keys: &[String]) -> Result<Vec<Option<String>>, Failed> {
        let mut get = redis::cmd("MGET");
        Ok(get.arg(keys).query_async(&mut self.redis.clone()).await?)
    }

    /// One SET.
    pub(super) async fn cache(&self, key: &str, json: &str) -> Result<(), Failed> {
        let mut set = redis::cmd("SET");
        let set = set.arg(key).arg(json);
        Ok(set.query_async(&mut self.redis.clone()).await?)
    }
}

const TABLES: &[&str] = &[
    "CREATE TABLE users (
        id BIGINT NOT NULL PRIMARY KEY, username VARCHAR(32) NOT NULL, email VARCHAR(320) NOT NULL,
        display_name VARCHAR(256), salt BLOB NOT NULL, hash BLOB NOT NULL, version BIGINT NOT NULL,
        created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)",
    "CREATE TABLE names (name VARCHAR(320) NOT NULL PRIMARY KEY, owner BIGINT NOT NULL)",
    "CREATE TABLE tokens (hash BLOB NOT NULL PRIMARY KEY, owner BIGINT NOT NULL)",
];
