//! What has changed, as the primaries' binlogs tell it: also what was committed by a process that died before it could
//! tell anybody.
//!
//! One process follows a shard at a time (a lock of the server's), from where the last one ended. What changed while the binlog was
//! purged is not told.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mysql_async::binlog::events::{Event, EventData};
use mysql_async::binlog::value::BinlogValue;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Opts, OptsBuilder, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{Data, Id, Server, Shard, Store};

/// A table whose changes are wanted. Its first column is the id.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Its name.
    pub table: &'static str,
    /// Which column goes with each change, counted from 0.
    pub column: usize,
}

/// A row that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: &'static str,
    /// The row.
    pub id: Id,
    /// The wanted column as it is now, when it is a number.
    pub value: Option<i64>,
    /// The row is no more.
    pub deleted: bool,
}

/// Follows the primaries for as long as it lives.
#[derive(Debug)]
pub struct Follower(Vec<JoinHandle<()>>);

/// Between two attempts to follow a primary, which another process may do.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two moments at which it is remembered how far it was read.
const REMEMBER: Duration = Duration::from_secs(1);

impl Store {
    /// Sends on the changes of these tables, a moment after they were committed. Files have no binlog: of them nothing comes.
    pub fn follow(&self, tables: &'static [Watch], changes: &mpsc::Sender<Change>) -> Follower {
        let Data::Servers(servers) = self.data() else {
            return Follower(Vec::new());
        };
        let follow = |(servers, shard): (&crate::Servers, &Arc<Shard>)| {
            let shard = Followed {
                shard: shard.clone(),
                server: servers.primary.clone(),
                tables,
                changes: changes.clone(),
            };
            tokio::spawn(async move {
                while !shard.changes.is_closed() {
                    if let Err(error) = shard.follow().await {
                        tracing::debug!(server = %shard.server, %error, "changes are not followed");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            })
        };
        Follower(servers.iter().zip(self.shards()).map(follow).collect())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A primary that is followed.
struct Followed {
    shard: Arc<Shard>,
    server: Server,
    tables: &'static [Watch],
    changes: mpsc::Sender<Change>,
}

/// How far a binlog was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    file: String,
    position: u64,
}

impl Followed {
    /// Follows until something goes wrong, or another process does it.
    async fn follow(&self) -> Result<(), mysql_async::Error> {
        if !self.shard.is_admitted() {
            return Ok(());
        }
        let mut here = Conn::new(self.opts()).await?;
        let select = "SELECT data_set, number FROM shard_identity";
        let said: Option<(i64, u16)> = here.query_first(select).await?;
        if said != self.shard.data_set().zip(Some(self.shard.number())) {
            return Ok(());
        }
        let lock = format!("tidegate-changes-{}", self.server.database);
        let locked: Option<i64> = here.exec_first("SELECT GET_LOCK(?, 0)", (lock,)).await?;
        if locked != Some(1) {
            return Ok(());
        }
        let mut read = self.begin(&mut here).await?;
        let stream = self.open(&read).await;
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // It may be gone: from now on, then.
                here.query_drop("DELETE FROM changes_read").await?;
                return Err(error);
            }
        };
        let mut remembered = read.clone();
        let mut turns = tokio::time::interval(REMEMBER);
        loop {
            tokio::select! {
                event = stream.next() => match event {
                    Some(event) => self.hear(&event?, &stream, &mut read).await?,
                    None => return Ok(()),
                },
                _ = turns.tick() => if read != remembered {
                    let replace = "REPLACE INTO changes_read (id, file, position) VALUES (0, ?, ?)";
                    here.exec_drop(replace, (&read.file, read.position)).await?;
                    remembered = read.clone();
                },
            }
        }
    }

    /// Where to begin: where somebody ended, or now.
    async fn begin(&self, here: &mut Conn) -> Result<Read, mysql_async::Error> {
        let select = "SELECT file, position FROM changes_read";
        let read: Option<(String, u64)> = here.query_first(select).await?;
        let read = match read {
            Some(read) => Some(read),
            None => {
                let status = here.query_first("SHOW MASTER STATUS").await?;
                status.and_then(|row: mysql_async::Row| Some((row.get(0)?, row.get(1)?)))
            }
        };
        let (file, position) = read.unwrap_or_default();
        Ok(Read { file, position })
    }

    async fn open(&self, read: &Read) -> Result<BinlogStream, mysql_async::Error> {
        let there = Conn::new(self.opts()).await?;
        // Replicas have small numbers.
        let number = 1 << 31 | rand_number();
        let request = BinlogStreamRequest::new(number)
            .with_filename(read.file.as_bytes())
            .with_pos(read.position);
        there.get_binlog_stream(request).await
    }

    async fn hear(
        &self,
        event: &Event,
        stream: &BinlogStream,
        read: &mut Read,
    ) -> Result<(), mysql_async::Error> {
        match event.read_data()? {
            Some(EventData::RotateEvent(rotate)) => {
                read.file = rotate.name().into_owned();
                read.position = rotate.position();
                return Ok(());
            }
            Some(EventData::RowsEvent(rows)) => {
                let Some(map) = stream.get_tme(rows.table_id()) else {
                    return Ok(());
                };
                let mut tables = self.tables.iter();
                let table = tables.find(|watch| watch.table == map.table_name());
                if let Some(watch) = table.filter(|_| map.database_name() == self.server.database) {
                    for row in rows.rows(map) {
                        let (before, after) = row?;
                        let deleted = after.is_none();
                        let Some(row) = after.or(before) else {
                            continue;
                        };
                        let number = |column| row.as_ref(column).and_then(number);
                        let Some(id) = number(0).and_then(Id::from_i64) else {
                            continue;
                        };
                        let change = Change {
                            table: watch.table,
                            id,
                            value: number(watch.column),
                            deleted,
                        };
                        let _ = self.changes.send(change).await; // closed: nobody listens any more
                    }
                }
            }
            _ => {}
        }
        let position = event.header().log_pos();
        if position > 0 {
            read.position = position.into();
        }
        Ok(())
    }

    fn opts(&self) -> Opts {
        let password = self.server.password.as_ref();
        OptsBuilder::default()
            .ip_or_hostname(self.server.host.clone())
            .tcp_port(self.server.port)
            .user(Some(self.server.user.clone()))
            .pass(password.map(|password| password.0.clone()))
            .db_name(Some(self.server.database.clone()))
            .prefer_socket(false)
            .into()
    }
}

fn number(value: &BinlogValue<'_>) -> Option<i64> {
    match value {
        BinlogValue::Value(Value::Int(number)) => Some(*number),
        BinlogValue::Value(Value::UInt(number)) => i64::try_from(*number).ok(),
        _ => None,
    }
}

fn rand_number() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) as u32) >> 1
}
