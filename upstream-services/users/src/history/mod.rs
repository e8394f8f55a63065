//! The history of accounts: who tried to log in, from where, and what changed when.
//!
//! ```text
//! change of a password, ... --> in the transaction of the change -\
//! login, right or wrong ------> queue --> many rows a statement ---+--> history_2026_11 on the user's shard
//! ```
//!
//! A change and its row are there together or not at all. A login waits for no row: its row is written within
//! a moment, together with others, and lost when the process is killed in that moment, or when the
//! database is so far behind that the queue is full.

mod queue;

use std::sync::Arc;

use prometheus::IntCounter;
use store::{Column, Freshness, Id, Kind, Page, Store, Time, TimeRow, TimeTable, Transaction};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::Error;
use crate::client::{ADDRESS, AGENT, Client};
use crate::config::HistoryConfig;
use queue::Queue;

/// Writes and reads the history.
pub(crate) struct History {
    store: Arc<Store>,
    table: TimeTable,
    queue: Queue,
    closing: Notify,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Somebody logged in.
    Login,
    /// Somebody tried, with a wrong password.
    LoginFailed,
    /// A refresh token came for the second time.
    RefreshReuse,
    /// A session ended by itself.
    Logout,
    /// A session was ended by another.
    SessionRevoked,
    PasswordChange,
    EmailChange,
}

/// Something that happened to an account.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) user: Id,
    pub(crate) what: What,
    /// Whose it is, or which one ended.
    pub(crate) session: Option<Id>,
    pub(crate) client: Client,
    pub(crate) at: Time,
}

/// An event that was written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) kind: String,
    pub(crate) at: Time,
    pub(crate) address: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) session: Option<Id>,
}

/// A row of the history, to be written in a transaction of its user.
#[derive(Debug)]
pub(crate) struct Record {
    table: TimeTable,
    row: TimeRow,
}

impl History {
    /// Makes the tables of this month and the next ones.
    pub(crate) async fn open(
        store: Arc<Store>,
        config: &HistoryConfig,
        dropped: IntCounter,
        now: Time,
    ) -> Result<Self, Error> {
        let table = TimeTable {
            kept: config.keep_months,
            ..TABLE
        };
        match store.make_time_tables(&[table], now).await {
            // The months were made long ago, mostly, and are looked after again in a minute.
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "months of the history will be made later");
            }
            made => made?,
        }
        Ok(Self {
            store,
            table,
            queue: Queue::new(dropped),
            closing: Notify::new(),
        })
    }

    /// The tables, to be kept.
    pub(crate) const fn table(&self) -> TimeTable {
        self.table
    }

    /// The row of an event, to be written with what it tells of.
    pub(crate) fn record(&self, event: Event) -> Result<Record, Error> {
        let id = self.store.new_id(event.user.bucket(), event.at)?;
        let Client { address, agent } = event.client;
        Ok(Record {
            table: self.table,
            row: TimeRow {
                id,
                owner: event.user,
                values: vec![
                    event.what.word().into(),
                    event.at.into(),
                    address.into(),
                    agent.into(),
                    event.session.into(),
                ],
            },
        })
    }

    /// Has an event written soon.
    pub(crate) fn note(&self, event: Event) {
        match self.record(event) {
            Ok(record) => self.queue.push(record.row),
            Err(error) => {
                tracing::debug!(%error, "an event has no id");
                self.queue.count_dropped(1);
            }
        }
    }

    /// What happened to a user, the newest first.
    pub(crate) async fn newest(
        &self,
        user: Id,
        page: Page,
        now: Time,
        freshness: &Freshness,
    ) -> Result<Vec<Entry>, Error> {
        type Row = (Id, String, Time, Option<String>, Option<String>, Option<Id>);
        let rows = self
            .store
            .newest::<Row>(&self.table, user, page, now, freshness);
        let entry = |(id, kind, at, address, agent, session)| Entry {
            id,
            kind,
            at,
            address,
            agent,
            session,
        };
        Ok(rows.await?.into_iter().map(entry).collect())
    }

    /// Deletes what happened to a user, once the user's row is deleted in the transaction: what is still queued is not written then.
    pub(crate) async fn erase(&self, tx: &mut Transaction, user: Id) -> Result<(), Error> {
        Ok(self.table.delete(tx, user, Time::now()).await?)
    }

    /// Writes what is queued until it is closed, and then the rest: what the database does not take then is lost.
    pub(crate) async fn write(&self) {
        // It ends only while it sleeps: rows that are being written are in no queue.
        while timeout(queue::PERIOD, self.closing.notified())
            .await
            .is_err()
        {
            self.queue.flush(&self.store, &self.table).await;
        }
        self.queue.drain(&self.store, &self.table).await;
    }

    /// Has [`History::write`] end.
    pub(crate) fn close(&self) {
        self.closing.notify_one();
    }
}

impl Record {
    pub(crate) async fn write(&self, tx: &mut Transaction) -> Result<(), Error> {
        let rows = std::slice::from_ref(&self.row);
        Ok(self.table.insert(tx, rows).await?)
    }
}

impl What {
    /// How it is stored and shown: fixed for ever.
    const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::RefreshReuse => "refresh_reuse",
            Self::Logout => "logout",
            Self::SessionRevoked => "session_revoked",
            Self::PasswordChange => "password_change",
            Self::EmailChange => "email_change",
        }
    }
}

/// The tables, the same on every shard, as they are made: other columns need another name.
const TABLE: TimeTable = TimeTable {
    name: "history",
    columns: &[
        Column::new("kind", Kind::Text(24)),
        Column::new("happened_at", Kind::Integer),
        Column::new("address", Kind::Text(ADDRESS as u16)).optional(),
        Column::new("agent", Kind::Text(AGENT as u16)).optional(),
        Column::new("session_id", Kind::Id).optional(),
    ],
    kept: 13,
    ahead: 2,
};

#[cfg(test)]
mod tests;
