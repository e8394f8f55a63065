//! Sharded SQL: buckets, shards, ids that find their shard, and names that are unique across
//! shards.
//!
//! ```text
//!   Id ----------------> bucket (12 bits of the id) -\
//!   (kind, value) -----> bucket (SHA-256)  ----------+--> ShardMap --> Shard --> one SQL file
//! ```
//!
//! A key never names its shard: it names one of 4,096 buckets, and the [`ShardMap`] says which
//! shard holds the bucket. What belongs together (a user, its sessions) shares a bucket; the one
//! thing that cannot, a name unique among all users, goes through [claims].
//!
//! This crate knows no table but its own. Text from outside reaches SQL as bound values only.

mod catalog;
mod changes;
pub mod claims;
mod clock;
mod database;
mod error;
mod fill;
mod generator;
mod id;
mod lease;
mod ledger;
mod opening;
mod options;
mod position;
mod queue;
mod replica;
mod route;
mod row_guard;
mod scatter;
mod shard;
mod shard_map;
mod spill;
mod sql;
mod standing;
mod store;
mod stored_map;
mod survey;
mod time;
mod time_table;
mod turn;
mod watcher;

pub use changes::{Change, Follower, Watch};
pub use claims::Claimed;
pub use error::Error;
pub use generator::IdGenerator;
pub use id::{BUCKETS, Bucket, Id, ParseIdError};
pub use ledger::{Migration, Schema};
pub use options::{Data, Durability, Files, Options, Password, Server, Servers};
pub use position::{ParsePositionError, Position};
pub use route::Route;
pub use row_guard::TableRows;
pub use shard::{Freshness, ReplicaStatus, Shard, ShardStatus};
pub use shard_map::ShardMap;
pub use sql::{Connection, On, Row, Statement, Transaction, Value, sql};
pub use standing::Standing;
pub use store::Store;
pub use survey::{Survey, Surveyed};
pub use time::Time;
pub use time_table::{Column, Kind, Page, TimeRow, TimeTable};
