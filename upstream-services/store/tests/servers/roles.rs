//! Servers that are not what the configuration takes them for.

use tidegate_store::Standing;

use super::*;

/// A user on the second of two shards.
async fn user(store: &Store) -> Id {
    let id = store.new_id(Bucket::new(4000), Time::now()).unwrap();
    let route = store.at(id);
    let mut tx = route.begin().await.unwrap();
    insert(&mut tx, id, "a@example.org").await.unwrap();
    route.commit(tx).await.unwrap();
    id
}

/// By which server the user was found.
async fn found_by(store: &Store, id: Id) -> Result<Option<i64>, Error> {
    let select = "SELECT CAST(@@server_id AS SIGNED) FROM users WHERE id = ? AND {fence}";
    let mut connection = store.at(id).read(&Freshness::Bounded).await?;
    let found = sql(select).bind(id).optional::<(i64,)>(&mut connection);
    Ok(found.await?.map(|(server,)| server))
}

async fn standing(store: &Store) -> Standing {
    store.shards()[1].status().replicas[0].standing.clone()
}

/// Waits until something is so.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_holds_another_shard_is_not_read_at_the_start_nor_when_it_comes_back() {
    let dir = TempDir::new().unwrap();
    let primaries = [1, 2].map(|number| settings(&dir, number, Role::Primary, 1));
    let replica = |number, of: &Settings| {
        let role = Role::Replica { of: of.port };
        settings(&dir, number, role, 1)
    };
    let own = replica(3, &primaries[1]);
    // Of shard 0, where the replica of shard 1 is looked for.
    let foreign = Settings {
        port: own.port,
        ..replica(4, &primaries[0])
    };
    let mut shards = [0, 1].map(|shard| Servers {
        primary: database(&primaries[shard], 0),
        replicas: Vec::new(),
    });
    shards[1].replicas.push(database(&own, 0));
    let mut options = Options::servers(shards.to_vec());
    options.acquire_timeout = Duration::from_secs(1);
    let _primaries = primaries.map(|settings| MariaDb::start(settings).unwrap());
    let running = MariaDb::start(foreign.clone()).unwrap();

    let store = open(&options).await;
    let id = user(&store).await;
    until("the replica is known to be foreign", async || {
        matches!(standing(&store).await, Standing::Foreign { number: 0, .. })
    })
    .await;
    assert_eq!(found_by(&store, id).await.unwrap(), Some(2));
    let down = store.ping_replicas().await;
    let [(1, 0, error)] = &down[..] else {
        panic!("{down:?}")
    };
    let error = error.to_string();
    let place = format!("shard 1: 127.0.0.1:{}/shard_0 is not used", own.port);
    assert!(error.starts_with(&place), "{error}");
    assert!(error.contains("it holds shard 0 of data set "), "{error}");

    running.kill();
    let running = MariaDb::start(own).unwrap();
    until("the replica is read", async || {
        found_by(&store, id)
            .await
            .is_ok_and(|found| found == Some(3))
    })
    .await;

    running.kill();
    let _running = MariaDb::start(foreign).unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        match found_by(&store, id).await {
            // One of the connections to the server that was killed.
            Err(error) => assert!(error.is_passing(), "{error}"),
            Ok(found) => assert_eq!(found, Some(2), "a user who is there is not found"),
        }
    }
    assert!(
        matches!(standing(&store).await, Standing::Foreign { number: 0, .. }),
        "{:?}",
        store.shards()[1].status()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_holds_another_shard_is_neither_read_nor_written_to() {
    let dir = TempDir::new().unwrap();
    let primaries = [1, 2].map(|number| settings(&dir, number, Role::Primary, 1));
    let foreign = Settings {
        port: primaries[1].port,
        ..settings(
            &dir,
            3,
            Role::Replica {
                of: primaries[0].port,
            },
            1,
        )
    };
    let shards = [0, 1].map(|shard| Servers {
        primary: database(&primaries[shard], 0),
        replicas: Vec::new(),
    });
    let mut options = Options::servers(shards.to_vec());
    options.acquire_timeout = Duration::from_secs(1);
    let [_first, second] = primaries.map(|settings| MariaDb::start(settings).unwrap());
    let store = open(&options).await;
    let id = user(&store).await;

    let settings = second.settings().clone();
    second.kill();
    let running = MariaDb::start(foreign).unwrap();
    until("it is known to be foreign", async || {
        let found = found_by(&store, id).await;
        assert!(
            !matches!(found, Ok(None)),
            "a user who is there is not found"
        );
        matches!(found, Err(Error::WrongServer { shard: 1, .. }))
    })
    .await;
    let refused = store.at(id).begin().await.unwrap_err();
    assert!(refused.is_passing(), "{refused}");
    // Requests do not connect to find out again; the probe does, once a second.
    let before = connections(&running);
    for round in 0..100 {
        let (found, write) = (found_by(&store, id).await, store.at(id).write().await);
        let begun = store.at(id).begin().await;
        for refused in [found.unwrap_err(), write.unwrap_err(), begun.unwrap_err()] {
            let named = matches!(refused, Error::WrongServer { shard: 1, .. });
            assert!(named, "{round}: {refused}");
        }
    }
    let made = connections(&running) - before;
    assert!(made <= 10, "{made} connections for 300 requests");

    running.kill();
    let _second = MariaDb::start(settings).unwrap();
    until("the user is found again", async || {
        matches!(found_by(&store, id).await, Ok(Some(2)))
    })
    .await;
    store.at(id).begin().await.unwrap();
}

/// How many connections a server was asked for.
fn connections(server: &MariaDb) -> i64 {
    let count = server
        .tell("SHOW GLOBAL STATUS LIKE 'Connections'")
        .unwrap();
    let count = count.split_whitespace().last().unwrap();
    count.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_a_primary_that_says_it_is_another() {
    let dir = TempDir::new().unwrap();
    let (primary, _replica, options) = start_pair(&dir);
    let store = open(&options).await;
    caught_up(&store).await;
    let beat = "SELECT beat FROM shard_0.heartbeat";
    // What is on its way meanwhile is not meant.
    let change = "UPDATE shard_0.shard_identity SET data_set = data_set + 1; DO SLEEP(0.02)";
    let before = primary.tell(&format!("{change}; {beat}")).unwrap();
    until("it is known to be foreign", async || {
        let standing = store.shards()[0].status().standing;
        matches!(standing, Standing::Foreign { number: 0, .. })
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(primary.tell(beat).unwrap(), before);
    let back = "UPDATE shard_0.shard_identity SET data_set = data_set - 1";
    primary.tell(back).unwrap();
    caught_up(&store).await;
    until("it is used again", async || {
        store.shards()[0].begin().await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_read_only_is_not_written_to_whatever_the_user_may() {
    let dir = TempDir::new().unwrap();
    let (server, options) = start(&dir, 1);
    let (store, privileged) = (open(&options).await, {
        let grant = "GRANT ALL ON *.* TO 'tidegate'@'127.0.0.1'";
        server.tell(grant).unwrap();
        open(&options).await
    });
    let write = async |store: &Store| {
        let id = store.new_id(Bucket::new(1), Time::now())?;
        let route = store.at(id);
        let mut tx = route.begin().await?;
        insert(&mut tx, id, "a@example.org").await?;
        route.commit(tx).await.map(drop)
    };
    let count = async || {
        let mut connection = store.shards()[0].read(&Freshness::Latest).await.unwrap();
        let count = sql("SELECT COUNT(*) FROM users").value::<i64>(&mut connection);
        count.await.unwrap()
    };
    write(&privileged).await.unwrap();
    // The server refuses by itself, at once.
    server.tell("SET GLOBAL read_only = ON").unwrap();
    let refused = write(&store).await.unwrap_err();
    assert!(refused.is_passing(), "{refused}");
    // Whoever may pass that is refused as soon as it is noticed.
    until("it is known to be read-only", async || {
        privileged.shards()[0].status().read_only
    })
    .await;
    let before = count().await;
    let refused = write(&privileged).await.unwrap_err();
    assert!(refused.is_passing(), "{refused}");
    let place = format!("127.0.0.1:{}/shard_0 is read-only", server.settings().port);
    assert!(refused.to_string().contains(&place), "{refused}");
    assert_eq!(count().await, before, "and reads go on");

    let refused = Store::open(&options, &SCHEMA, Time::now()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");

    server.tell("SET GLOBAL read_only = OFF").unwrap();
    until("it takes writes again", async || {
        write(&privileged).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_learns_by_which_server_and_no_password() {
    let dir = TempDir::new().unwrap();
    let (server, mut options) = start(&dir, 1);
    let tidegate_store::Data::Servers(servers) = &mut options.data else {
        unreachable!("it is on servers")
    };
    servers[0].primary.password = Some(Password("mistaken".to_owned()));
    let refused = Store::open(&options, &SCHEMA, Time::now()).await;
    let refused = refused.unwrap_err().to_string();
    let place = format!("shard 0: 127.0.0.1:{}/shard_0 ", server.settings().port);
    assert!(refused.starts_with(&place), "{refused}");
    assert!(
        refused.contains("Access denied for user 'tidegate'"),
        "{refused}"
    );
    assert!(!refused.contains("mistaken"), "{refused}");
}
