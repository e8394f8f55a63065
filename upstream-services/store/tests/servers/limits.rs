//! What requests may take of the connections, and in what state they give them back.

use tidegate_store::Position;

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

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_are_made_up_leave_the_replica_to_others() {
    let dir = TempDir::new().unwrap();
    let (_primary, _replica, options) = start_pair(&dir);
    let store = Arc::new(open(&options).await);
    caught_up(&store).await;
    let never: Position = "0.0-1-999999999".parse().unwrap();
    let began = Instant::now();
    let made_up = (0..200).map(|_| {
        let (store, freshness) = (store.clone(), Freshness::After(never.clone()));
        tokio::spawn(async move { server_of(&store, &freshness).await })
    });
    let made_up: Vec<_> = made_up.collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let asked = Instant::now();
    assert_eq!(server_of(&store, &Freshness::Bounded).await.unwrap(), 2);
    let other = asked.elapsed();
    for read in made_up {
        assert_eq!(read.await.unwrap().unwrap(), 1, "the primary has it all");
    }
    let all = began.elapsed();
    assert!(other < Duration::from_millis(500), "others wait {other:?}");
    assert!(all < Duration::from_millis(1500), "{all:?}");
    assert!(store.shards()[0].status().replicas[0].unwaited > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_room_is_unavailable_and_no_fault_of_the_program() {
    let dir = TempDir::new().unwrap();
    let (server, options) = start(&dir, 1);
    let store = open(&options).await;
    let make = "SET max_heap_table_size = 16384; USE shard_0;
         CREATE TABLE small (id BIGINT NOT NULL, text CHAR(250)) ENGINE = MEMORY";
    server.tell(make).unwrap();
    let mut connection = store.shards()[0].write().await.unwrap();
    let fill = "INSERT INTO small SELECT seq, 'text' FROM seq_1_to_10000";
    let full = sql(fill).run(&mut connection).await.unwrap_err();
    assert!(full.to_string().contains("is full"), "{full}");
    assert!(full.is_passing());
}
