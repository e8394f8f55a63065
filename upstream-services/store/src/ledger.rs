//! Migrations: which SQL has run on a shard, and what is still to run.
//!
//! Every shard keeps its own ledger, so that an interrupted migration goes on where it stopped.
//! One migration is one transaction.

use sha2::{Digest, Sha256};

use crate::{Error, Shard, Time, Transaction};

/// The tables of one owner, as the list of steps that made them.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// Whose tables: a short word, fixed for ever.
    pub owner: &'static str,
    /// The steps, by ascending version. Steps are only ever added, never edited.
    pub migrations: &'static [Migration],
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its place in the order.
    pub version: i64,
    /// What it does, for people.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// Brings one shard's tables of one owner up to date.
pub(crate) async fn apply(shard: &Shard, schema: &Schema, now: Time) -> Result<(), Error> {
    let mut tx = shard.begin().await?;
    sqlx::query(CREATE_LEDGER).execute(&mut *tx).await?;
    tx.commit().await?;
    for migration in schema.migrations {
        apply_one(shard, schema.owner, migration, now).await?;
    }
    let newest = schema.migrations.last().map_or(0, |last| last.version);
    let unknown: Option<i64> =
        sqlx::query_scalar("SELECT MAX(version) FROM schema_ledger WHERE owner = ?")
            .bind(schema.owner)
            .fetch_one(&mut *shard.read().await?)
            .await?;
    match unknown {
        Some(version) if version > newest => Err(Error::NewerSchema {
            shard: shard.number(),
            owner: schema.owner.to_owned(),
            version,
        }),
        _ => Ok(()),
    }
}

async fn apply_one(
    shard: &Shard,
    owner: &'static str,
    migration: &Migration,
    now: Time,
) -> Result<(), Error> {
    let checksum = checksum(migration.sql);
    let mut tx = shard.begin().await?;
    match applied(&mut tx, owner, migration.version).await? {
        Some(applied) if applied == checksum => return Ok(()),
        Some(_) => {
            return Err(Error::EditedMigration {
                shard: shard.number(),
                owner,
                version: migration.version,
            });
        }
        None => {}
    }
    sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
    sqlx::query("INSERT INTO schema_ledger (owner, version, name, checksum, applied_at) VALUES (?, ?, ?, ?, ?)")
        .bind(owner)
        .bind(migration.version)
        .bind(migration.name)
        .bind(checksum)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    tracing::info!(
        shard = shard.number(),
        owner,
        version = migration.version,
        name = migration.name,
        "migrated"
    );
    Ok(())
}

async fn applied(
    tx: &mut Transaction,
    owner: &str,
    version: i64,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT checksum FROM schema_ledger WHERE owner = ? AND version = ?")
        .bind(owner)
        .bind(version)
        .fetch_optional(&mut **tx)
        .await
}

fn checksum(sql: &str) -> String {
    let hash = Sha256::digest(sql);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_ledger (
    owner VARCHAR(32) NOT NULL,
    version BIGINT NOT NULL,
    name VARCHAR(128) NOT NULL,
    checksum CHAR(64) NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (owner, version)
)";
