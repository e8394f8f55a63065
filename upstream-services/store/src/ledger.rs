//! Migrations: which SQL has run on a shard, and what is still to run.
//!
//! Every shard keeps its own ledger, so that an interrupted migration goes on where it stopped. On
//! SQLite one migration is one transaction. MariaDB and MySQL commit every change of a table at once: there the
//! statements that were done are counted, and the one that was cut off may have been done or not.

use sha2::{Digest, Sha256};

use crate::database::Database;
use crate::sql::named_lock;
use crate::{Connection, Error, On, Time, Transaction, sql};

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

/// Brings the tables of one owner up to date on a shard's primary. Only one process does it at a time.
pub(crate) async fn apply(primary: &Database, schema: &Schema, now: Time) -> Result<(), Error> {
    let ledger = Ledger {
        shard: primary.shard(),
        owner: schema.owner,
        now,
    };
    if primary.is_file() {
        let mut tx = primary.begin().await?;
        sql(CREATE_LEDGER).run(&mut tx).await?;
        tx.commit().await?;
        for migration in schema.migrations {
            ledger.transact(primary.begin().await?, migration).await?;
        }
    } else {
        let mut connection = primary.acquire_to_write().await?;
        // Waits for other processes that migrate the same database.
        if !named_lock::take(&mut connection, LOCK, LOCK_SECONDS).await? {
            return Err(Error::Busy(primary.shard()));
        }
        let outcome = ledger.step_through(&mut connection, schema).await;
        named_lock::release(connection, LOCK).await;
        outcome?;
    }
    ledger.refuse_newer(primary, schema).await
}

/// Looks whether a shard's tables are the program's, as far as they go, and changes nothing.
pub(crate) async fn check(primary: &Database, schema: &Schema) -> Result<(), Error> {
    let ledger = Ledger {
        shard: primary.shard(),
        owner: schema.owner,
        now: Time::from_millis(0),
    };
    let mut connection = primary.acquire().await?;
    for migration in schema.migrations {
        ledger.is_applied(&mut connection, migration).await?;
    }
    drop(connection);
    ledger.refuse_newer(primary, schema).await
}

/// The ledger of a shard for one owner.
struct Ledger {
    shard: u16,
    owner: &'static str,
    now: Time,
}

impl Ledger {
    /// Applies one migration, all or nothing.
    async fn transact(&self, mut tx: Transaction, migration: &Migration) -> Result<(), Error> {
        if self.is_applied(&mut tx, migration).await? {
            return Ok(());
        }
        for statement in migration.statements() {
            sql(statement).run(&mut tx).await?;
        }
        self.record(&mut tx, migration).await?;
        tx.commit().await
    }

    /// Applies what is missing, statement by statement.
    async fn step_through(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<(), Error> {
        sql(CREATE_LEDGER).run(&mut *connection).await?;
        sql(CREATE_STEPS).run(&mut *connection).await?;
        for migration in schema.migrations {
            if self.is_applied(&mut *connection, migration).await? {
                continue;
            }
            let (done, resumed) = self.steps_done(connection, migration).await?;
            for (step, statement) in (0..)
                .zip(migration.statements())
                .skip_while(|&(step, _)| step < done)
            {
                match sql(statement).run(&mut *connection).await {
                    // It was cut off before it could be counted.
                    Err(error) if resumed && step == done && error.is_done_already() => {}
                    outcome => drop(outcome?),
                }
                let count = "REPLACE INTO schema_steps (owner, version, done) VALUES (?, ?, ?)";
                let count = sql(count).bind(self.owner).bind(migration.version);
                count.bind(step + 1).run(&mut *connection).await?;
            }
            self.record(&mut *connection, migration).await?;
        }
        Ok(())
    }

    /// How many statements are done, and whether somebody has begun before.
    async fn steps_done(
        &self,
        connection: &mut Connection,
        migration: &Migration,
    ) -> Result<(i64, bool), Error> {
        let select = sql("SELECT done FROM schema_steps WHERE owner = ? AND version = ?");
        let select = select.bind(self.owner).bind(migration.version);
        let done: Option<(i64,)> = select.optional(&mut *connection).await?;
        if let Some((done,)) = done {
            return Ok((done, true));
        }
        // Before the first: it may be cut off too.
        let begin = "INSERT INTO schema_steps (owner, version, done) VALUES (?, ?, 0)";
        let begin = sql(begin).bind(self.owner).bind(migration.version);
        begin.run(connection).await?;
        Ok((0, false))
    }

    async fn is_applied(
        &self,
        on: impl Into<On<'_>>,
        migration: &Migration,
    ) -> Result<bool, Error> {
        let select = sql("SELECT checksum FROM schema_ledger WHERE owner = ? AND version = ?");
        let select = select.bind(self.owner).bind(migration.version);
        match select.optional::<(String,)>(on).await? {
            None => Ok(false),
            Some((applied,)) if applied == checksum(migration.sql) => Ok(true),
            Some(_) => Err(Error::EditedMigration {
                shard: self.shard,
                owner: self.owner,
                version: migration.version,
            }),
        }
    }

    async fn record(&self, on: impl Into<On<'_>>, migration: &Migration) -> Result<(), Error> {
        sql("INSERT INTO schema_ledger (owner, version, name, checksum, applied_at) VALUES (?, ?, ?, ?, ?)")
            .bind(self.owner)
            .bind(migration.version)
            .bind(migration.name)
            .bind(checksum(migration.sql))
            .bind(self.now)
            .run(on)
            .await?;
        tracing::info!(
            shard = self.shard,
            owner = self.owner,
            version = migration.version,
            name = migration.name,
            "migrated"
        );
        Ok(())
    }

    async fn refuse_newer(&self, primary: &Database, schema: &Schema) -> Result<(), Error> {
        let newest = schema.migrations.last().map_or(0, |last| last.version);
        let select = sql("SELECT MAX(version) FROM schema_ledger WHERE owner = ?").bind(self.owner);
        match select
            .value::<Option<i64>>(&mut primary.acquire().await?)
            .await?
        {
            Some(version) if version > newest => Err(Error::NewerSchema {
                shard: self.shard,
                owner: self.owner.to_owned(),
                version,
            }),
            _ => Ok(()),
        }
    }
}

impl Migration {
    /// Its statements. No text or comment in a migration has a semicolon.
    fn statements(&self) -> impl Iterator<Item = &'static str> {
        let statements = self.sql.split(';').map(str::trim);
        statements.filter(|statement| !statement.is_empty())
    }
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

/// How many statements of a migration are done, where they cannot be in one transaction.
const CREATE_STEPS: &str = "CREATE TABLE IF NOT EXISTS schema_steps (
    owner VARCHAR(32) NOT NULL,
    version BIGINT NOT NULL,
    done BIGINT NOT NULL,
    PRIMARY KEY (owner, version)
)";

const LOCK: &str = "schema";
/// Shorter than a statement may take.
const LOCK_SECONDS: i64 = 3;
