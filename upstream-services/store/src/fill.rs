//! Many rows at once, for tools that fill an empty data set.

use std::collections::HashMap;

use futures::future::try_join_all;

use crate::sql::Statement;
use crate::{Bucket, Error, Id, Store, Time, Value};

/// Rows of a statement, at most: databases bound their number of values.
const AT_ONCE: usize = 256;

impl Store {
    /// Inserts rows where their buckets live: one transaction a shard, all shards at once.
    ///
    /// `insert` is the statement up to its `VALUES`; every row has `columns` values.
    ///
    /// # Errors
    /// The first error of any shard; what other shards have committed stays.
    pub async fn fill(
        &self,
        insert: &'static str,
        columns: usize,
        rows: Vec<(Bucket, Vec<Value>)>,
    ) -> Result<(), Error> {
        let map = self.map();
        let mut shards: HashMap<u16, Vec<Vec<Value>>> = HashMap::new();
        for (bucket, values) in rows {
            let shard = map.shard_of(bucket);
            shards.entry(shard).or_default().push(values);
        }
        let shards = shards.into_iter().map(async |(number, rows)| {
            let shard = &self.shards()[usize::from(number)];
            let mut tx = shard.begin().await?;
            for some in rows.chunks(AT_ONCE) {
                let row = format!("(?{})", ", ?".repeat(columns - 1));
                let text = format!("{insert} {}", vec![row; some.len()].join(", "));
                let values = some.iter().flatten().cloned();
                let statement = values.fold(Statement::of(text), Statement::bind);
                statement.run(&mut tx).await?;
            }
            shard.commit(tx).await.map(drop)
        });
        try_join_all(shards).await.map(drop)
    }

    /// Inserts claims of names that nobody has or wants: kind, name, and owner.
    ///
    /// # Errors
    /// As [`Store::fill`]; a name that is claimed is one.
    pub async fn fill_claims(
        &self,
        claims: impl IntoIterator<Item = (&'static str, String, Id)>,
        now: Time,
    ) -> Result<(), Error> {
        const OWNED: i64 = 1;
        let row = |(kind, value, owner): (&'static str, String, Id)| {
            let bucket = Bucket::of_key(kind, &value);
            let attempt = owner; // an id that no attempt has
            let values = vec![
                kind.into(),
                value.into(),
                owner.into(),
                attempt.into(),
                OWNED.into(),
                now.into(),
            ];
            (bucket, values)
        };
        let rows = claims.into_iter().map(row).collect();
        let insert = "INSERT INTO claims (kind, value, owner, attempt, state, claimed_at) VALUES";
        self.fill(insert, 6, rows).await
    }
}
