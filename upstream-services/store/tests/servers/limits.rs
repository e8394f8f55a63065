//! What requests may take of the connections, and in what state they give them back.

use super::*;

/// How long whoever gives up has waited.
const PATIENCE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_begin_or_commit_was_cut_off_is_not_used_again() {
    let dir = TempDir::new().unwrap();
    let (server, mut options) = start(&dir, 1);
    options.readers = 1;
    let store = open(&options).await;
    let shard = &store.shards()[0];
    for _ in 0..3 {
        // One that was just used needs no look whether it is alive: BEGIN is the first that is sent.
        shard.write().await.unwrap();
        server.freeze(true);
        let begun = tokio::time::timeout(PATIENCE, shard.begin()).await;
        assert!(begun.is_err(), "BEGIN has no answer");
        server.freeze(false);
        let mut connection = shard.write().await.unwrap();
        let open = sql("SELECT @@in_transaction = 1").value(&mut connection);
        let open: bool = open.await.unwrap();
        assert!(
            !open,
            "the next one writes in a transaction that nobody commits"
        );
    }

    let number = || sql("SELECT CAST(CONNECTION_ID() AS SIGNED)");
    let mut tx = shard.begin().await.unwrap();
    let id = store.new_id(Bucket::new(1), Time::now()).unwrap();
    insert(&mut tx, id, "a@example.org").await.unwrap();
    let before: i64 = number().value(&mut tx).await.unwrap();
    server.freeze(true);
    let commit = tokio::time::timeout(PATIENCE, tx.commit()).await;
    assert!(commit.is_err(), "COMMIT has no answer");
    server.freeze(false);
    let mut connection = shard.write().await.unwrap();
    let after: i64 = number().value(&mut connection).await.unwrap();
    assert_ne!(after, before, "nobody knows how far it is");
}
