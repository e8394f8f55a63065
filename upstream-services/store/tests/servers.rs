//! The store on MariaDB.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use servers::{MariaDb, Role, Settings};
use tempfile::TempDir;
use tidegate_store::{
    Bucket, Claimed, Error, Freshness, Id, Migration, Options, Password, Schema, Server, Servers,
    Store, Time, Transaction, sql,
};

#[path = "servers/away.rs"]
mod away;
#[path = "servers/limits.rs"]
mod limits;
#[path = "servers/roles.rs"]
mod roles;
#[path = "servers/time_tables.rs"]
mod time_tables;

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "users",
        sql: "CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(320) NOT NULL);
              CREATE INDEX users_email ON users (email);",
    }],
};

/// An empty data folder, made once for all tests.
fn template() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb")
}

/// A server, in a folder of that number.
fn settings(dir: &TempDir, number: u32, role: Role, shards: usize) -> Settings {
    Settings {
        dir: dir.path().join(number.to_string()),
        template: template(),
        port: servers::free_port().unwrap(),
        server_id: number,
        role,
        databases: (0..shards)
            .map(|number| format!("shard_{number}"))
            .collect(),
        user: "tidegate".to_owned(),
        password: "secret".to_owned(),
    }
}

/// How a shard's database is reached.
fn database(settings: &Settings, shard: usize) -> Server {
    Server {
        host: "127.0.0.1".to_owned(),
        port: settings.port,
        database: settings.databases[shard].clone(),
        user: settings.user.clone(),
        password: Some(Password(settings.password.clone())),
    }
}

/// A server with so many databases, one a shard.
fn start(dir: &TempDir, shards: usize) -> (MariaDb, Options) {
    let settings = settings(dir, 1, Role::Primary, shards);
    let shard = |shard| Servers {
        primary: database(&settings, shard),
        replicas: Vec::new(),
    };
    let options = Options::servers((0..shards).map(shard).collect());
    (MariaDb::start(settings).unwrap(), options)
}

async fn open(options: &Options) -> Store {
    Store::open(options, &SCHEMA, Time::now()).await.unwrap()
}

async fn insert(tx: &mut Transaction, id: Id, email: &'static str) -> Result<(), Error> {
    let insert = sql("INSERT INTO users (id, email) VALUES (?, ?)");
    insert.bind(id).bind(email).run(tx).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_gets_a_name_and_nothing_else_is_left() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 2);
    let store = Arc::new(open(&options).await);
    let clients = (0..16u16).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let now = Time::now();
            let id = store.new_id(Bucket::new(number * 256), now).unwrap();
            let names = [("email", "a@example.org")];
            let claimed = store.claim_and_write(id, &names, &[], now, |tx| {
                insert(tx, id, "a@example.org").boxed()
            });
            let claimed = claimed.await;
            (id, claimed)
        })
    });
    let mut winners = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        let (id, claimed) = client.await.unwrap();
        match claimed.unwrap() {
            Claimed::Won((), _) => winners.push(id),
            Claimed::Taken | Claimed::Own => {}
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let mut users: Vec<(Id,)> = Vec::new();
    let mut claims: Vec<(Id,)> = Vec::new();
    for shard in store.shards() {
        let mut connection = shard.read(&Freshness::Latest).await.unwrap();
        users.extend(
            sql("SELECT id FROM users")
                .all::<(Id,)>(&mut connection)
                .await
                .unwrap(),
        );
        claims.extend(
            sql("SELECT owner FROM claims")
                .all::<(Id,)>(&mut connection)
                .await
                .unwrap(),
        );
    }
    assert_eq!(users, [(winners[0],)]);
    assert_eq!(claims, [(winners[0],)]);
}

/// A primary and a replica of it, with one database.
fn start_pair(dir: &TempDir) -> (MariaDb, MariaDb, Options) {
    let primary = settings(dir, 1, Role::Primary, 1);
    let of = primary.port;
    let replica = settings(dir, 2, Role::Replica { of }, 1);
    let shard = Servers {
        primary: database(&primary, 0),
        replicas: vec![database(&replica, 0)],
    };
    let (primary, replica) = (MariaDb::start(primary), MariaDb::start(replica));
    (
        primary.unwrap(),
        replica.unwrap(),
        Options::servers(vec![shard]),
    )
}

/// Which server answers.
async fn server_of(store: &Store, freshness: &Freshness) -> Result<i64, Error> {
    let mut connection = store.shards()[0].read(freshness).await?;
    sql("SELECT CAST(@@server_id AS SIGNED)")
        .value(&mut connection)
        .await
}

/// Waits until the replica is measured to be near.
async fn caught_up(store: &Store) {
    for _ in 0..500 {
        let replica = &store.shards()[0].status().replicas[0];
        if replica.lag.is_some_and(|lag| lag < Duration::from_secs(1)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the replica stays behind: {:?}", store.shards()[0].status());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wrote_sees_it_and_others_are_no_further_behind_than_the_bound() {
    let dir = TempDir::new().unwrap();
    let (_primary, replica, mut options) = start_pair(&dir);
    options.lag_bound = Duration::from_millis(1500);
    options.spill_per_second = 3;
    options.statement_timeout = Duration::from_secs(1);
    options.acquire_timeout = Duration::from_secs(1);
    let store = open(&options).await;
    caught_up(&store).await;
    assert_eq!(server_of(&store, &Freshness::Bounded).await.unwrap(), 2);
    assert_eq!(server_of(&store, &Freshness::Latest).await.unwrap(), 1);

    let write = async || {
        let id = store.new_id(Bucket::new(7), Time::now()).unwrap();
        let route = store.at(id);
        let mut tx = route.begin().await.unwrap();
        insert(&mut tx, id, "a@example.org").await.unwrap();
        (id, route.commit(tx).await.unwrap())
    };
    let sees = async |id: Id, freshness: &Freshness| {
        let select = sql("SELECT id FROM users WHERE id = ? AND {fence}").bind(id);
        let mut connection = store.at(id).read(freshness).await?;
        let found: Option<(Id,)> = select.optional(&mut connection).await?;
        Ok::<_, Error>(found.is_some())
    };
    for _ in 0..50 {
        let (id, position) = write().await;
        assert!(sees(id, &Freshness::After(position)).await.unwrap());
    }
    // A replica that takes over nothing more: within the bound it may be read, but not by who wrote.
    replica.tell("STOP SLAVE SQL_THREAD").unwrap();
    caught_up(&store).await;
    let (id, position) = write().await;
    assert!(!sees(id, &Freshness::Bounded).await.unwrap());
    assert!(sees(id, &Freshness::After(position)).await.unwrap());
    replica.tell("START SLAVE SQL_THREAD").unwrap();
    caught_up(&store).await;
    // One that stands still altogether.
    replica.freeze(true);
    for _ in 0..3 {
        let (id, position) = write().await;
        assert!(sees(id, &Freshness::After(position)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        outcomes.push(server_of(&store, &Freshness::Bounded).await);
    }
    let protected = |outcome: &&Result<i64, Error>| matches!(outcome, Err(Error::Protected(0)));
    let primary = |outcome: &&Result<i64, Error>| matches!(outcome, Ok(1));
    assert_eq!(outcomes.iter().filter(protected).count(), 3, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(primary).count(), 3, "{outcomes:?}");
    replica.freeze(false);
    caught_up(&store).await;
    assert_eq!(server_of(&store, &Freshness::Bounded).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stands_still_takes_no_other_with_it() {
    let dir = TempDir::new().unwrap();
    let settings = [1, 2, 3].map(|number| settings(&dir, number, Role::Primary, 1));
    let [primary, replicas @ ..] = settings;
    let of = primary.port;
    let replicas = replicas.map(|replica| Settings {
        role: Role::Replica { of },
        ..replica
    });
    let shard = Servers {
        primary: database(&primary, 0),
        replicas: replicas.iter().map(|of| database(of, 0)).collect(),
    };
    let mut options = Options::servers(vec![shard]);
    options.lag_bound = Duration::from_millis(1500);
    let _primary = MariaDb::start(primary).unwrap();
    let [hung, _well] = replicas.map(|replica| MariaDb::start(replica).unwrap());
    let store = open(&options).await;
    let lag = |replica: usize| store.shards()[0].status().replicas[replica].lag;
    let is_near = |replica| lag(replica).is_some_and(|lag| lag < Duration::from_millis(700));
    for _ in 0..500 {
        if is_near(0) && is_near(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_near(0) && is_near(1), "{:?}", store.shards()[0].status());

    hung.freeze(true);
    // What it does not answer within the bound is not what is looked at here.
    tokio::time::sleep(options.lag_bound + Duration::from_millis(200)).await;
    let end = Instant::now() + Duration::from_secs(5);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let began = Instant::now();
        assert_eq!(server_of(&store, &Freshness::Bounded).await.unwrap(), 3);
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    hung.freeze(false);
    for _ in 0..500 {
        if is_near(0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come back: {:?}", store.shards()[0].status());
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_by_an_old_map_are_refused_and_change_nothing() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 1);
    let store = open(&options).await;
    let id = store.new_id(Bucket::new(7), Time::now()).unwrap();
    let old = store.at(id);
    let mut tx = old.begin().await.unwrap();
    insert(&mut tx, id, "a@example.org").await.unwrap();

    // Who raises the epoch waits for who has begun.
    let raised = tokio::spawn({
        let shard = store.shards()[0].clone();
        async move {
            let mut connection = shard.write().await.unwrap();
            sql("UPDATE shard_fence SET epoch = 2")
                .run(&mut connection)
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!raised.is_finished());
    old.commit(tx).await.unwrap();
    raised.await.unwrap().unwrap();

    let stale = |error: Error| {
        matches!(
            error,
            Error::StaleMap {
                shard: 0,
                used: 1,
                newest: 2
            }
        )
    };
    assert!(stale(old.begin().await.unwrap_err()));
    let read = sql("SELECT id FROM users WHERE id = ? AND {fence}").bind(id);
    let mut connection = old.read(&Freshness::Latest).await.unwrap();
    assert!(stale(
        read.optional::<(Id,)>(&mut connection).await.unwrap_err()
    ));
    let write = sql("DELETE FROM users WHERE id = ? AND {fence}").bind(id);
    let mut connection = old.write().await.unwrap();
    assert!(stale(write.run(&mut connection).await.unwrap_err()));
    let unfenced = sql("DELETE FROM users WHERE id = ?").bind(id);
    let unfenced = unfenced.run(&mut connection).await.unwrap_err();
    assert!(matches!(unfenced, Error::Unfenced(_)), "{unfenced}");
    let mut connection = store.shards()[0].write().await.unwrap();
    let left: i64 = sql("SELECT COUNT(*) FROM users")
        .value(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_an_error_at_once_and_one_that_is_back_serves() {
    let dir = TempDir::new().unwrap();
    let (server, mut options) = start(&dir, 1);
    options.acquire_timeout = Duration::from_millis(500);
    let store = open(&options).await;
    let settings = server.settings().clone();
    server.kill();
    let mut slow = 0;
    for round in 0..30 {
        let begin = Instant::now();
        let refused = server_of(&store, &Freshness::Latest).await.unwrap_err();
        assert!(begin.elapsed() < Duration::from_millis(800), "{refused}");
        // By then it is known; one now and then finds out whether it is back.
        if round >= 10 && begin.elapsed() > Duration::from_millis(100) {
            slow += 1;
        }
    }
    assert!(slow <= 3, "{slow} of 20 have waited");
    let _server = MariaDb::start(settings).unwrap();
    for _ in 0..200 {
        if server_of(&store, &Freshness::Latest).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", store.shards()[0].status());
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_numbers_are_lent_to_one_process_and_ids_never_come_twice() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 1);
    let mut seen = HashSet::new();
    // The clock goes back with every restart.
    for restart in 0..3 {
        let (one, two) = (open(&options).await, open(&options).await);
        let now = Time::now().minus(Duration::from_secs(3600 * restart));
        for store in [&one, &two] {
            for _ in 0..2000 {
                assert!(seen.insert(store.new_id(Bucket::new(1), now).unwrap()));
            }
        }
    }
}

/// The first id at a time, and how long it was waited for.
async fn first_id(store: &Store, now: Time) -> (Id, Duration) {
    let begin = Instant::now();
    loop {
        match store.new_id(Bucket::new(1), now) {
            Ok(id) => return (id, begin.elapsed()),
            Err(error) => {
                assert!(!error.to_string().contains("does not answer"), "{error}");
                assert!(begin.elapsed() < Duration::from_secs(10), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_wakes_up_makes_ids_at_once() {
    let dir = TempDir::new().unwrap();
    let (_server, options) = start(&dir, 1);
    let store = open(&options).await;
    let worker = |id: Id| id.as_i64() >> 5 & 255;
    let mut now = Time::now();
    let before = store.new_id(Bucket::new(1), now).unwrap();
    now = now.plus(Duration::from_secs(620));
    store.new_id(Bucket::new(1), now).unwrap_err();
    let (id, took) = first_id(&store, now).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(worker(id), worker(before));

    // While it slept for longer somebody else took its number.
    let take = "UPDATE workers SET holder = holder + 1";
    let mut connection = store.shards()[0].write().await.unwrap();
    assert_eq!(sql(take).run(&mut connection).await.unwrap(), 1);
    drop(connection);
    let (id, took) = first_id(&store, now.plus(Duration::from_secs(1300))).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_ne!(worker(id), worker(before));
}
