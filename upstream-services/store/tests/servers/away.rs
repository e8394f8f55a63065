//! Data that is opened while a shard's primary is away.

use tidegate_store::{Column, Kind, TimeRow, TimeTable};

use super::*;

/// A newer program's tables.
const NEWER: Schema = Schema {
    owner: "test",
    migrations: &[
        SCHEMA.migrations[0],
        Migration {
            version: 2,
            name: "colours",
            sql: "CREATE TABLE colours (id BIGINT NOT NULL PRIMARY KEY)",
        },
    ],
};
const VISITS: TimeTable = TimeTable {
    name: "visits",
    columns: &[Column::new("kind", Kind::Text(16))],
    kept: 2,
    ahead: 1,
};
/// In which a shard that is back is used: one that is away is looked for once a second, and the machine may be busy.
const SOON: Duration = Duration::from_secs(4);

/// Two shards, a server each, with a user on both.
struct Two {
    dir: TempDir,
    servers: [Option<MariaDb>; 2],
    options: Options,
    users: [Id; 2],
}

impl Two {
    async fn filled() -> Self {
        let dir = TempDir::new().unwrap();
        let settings = [1, 2].map(|number| settings(&dir, number, Role::Primary, 1));
        let shards = settings.iter().map(|settings| Servers {
            primary: database(settings, 0),
            replicas: Vec::new(),
        });
        let mut options = Options::servers(shards.collect());
        options.acquire_timeout = Duration::from_secs(1);
        let servers = settings.map(|settings| Some(MariaDb::start(settings).unwrap()));
        let store = open(&options).await;
        let users = [user(&store, 1).await, user(&store, 4000).await];
        store.close().await;
        Self {
            dir,
            servers,
            options,
            users,
        }
    }

    /// Kills a server; how it is started again.
    fn kill(&mut self, shard: usize) -> Settings {
        let server = self.servers[shard].take().unwrap();
        let settings = server.settings().clone();
        server.kill();
        settings
    }

    fn start(&mut self, shard: usize, settings: Settings) {
        self.servers[shard] = Some(MariaDb::start(settings).unwrap());
    }

    fn tell(&self, shard: usize, statements: &str) -> String {
        let server = self.servers[shard].as_ref().unwrap();
        server.tell(statements).unwrap()
    }

    async fn open(&self) -> Result<Store, Error> {
        Store::open(&self.options, &NEWER, Time::now()).await
    }

    /// The tables of the second shard.
    fn tables(&self) -> String {
        self.tell(1, "SHOW TABLES FROM shard_0")
    }

    /// Asks for the second shard's user, who has to be found or refused for the moment; whether it was found.
    async fn finds(&self, store: &Store) -> bool {
        match found(store, self.users[1]).await {
            Ok(found) => {
                assert!(found, "a user who is there is not found");
                true
            }
            Err(error) => {
                assert!(error.is_passing(), "{error}");
                false
            }
        }
    }

    /// Waits for the second shard to be used. Then its tables are those of the newer program at once.
    async fn used_soon(&self, store: &Store) {
        let end = Instant::now() + SOON;
        while !self.finds(store).await {
            assert!(Instant::now() < end, "{:?}", store.shards()[1].status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let route = store.at(self.users[1]);
        let insert = sql("INSERT INTO colours (id) VALUES (1)");
        let mut tx = route.begin().await.unwrap();
        insert.run(&mut tx).await.unwrap();
        route.commit(tx).await.unwrap();
        assert!(store.ping().await.is_empty());
    }

    /// The users of the first shard are served, those of the second refused at once, as well as they can be told.
    async fn serves_the_first_alone(&self, store: &Store) {
        assert!(found(store, self.users[0]).await.unwrap());
        user(store, 2).await;
        let asked = Instant::now();
        assert!(!self.finds(store).await);
        let refused = store.at(self.users[1]).begin().await.unwrap_err();
        assert!(refused.is_passing(), "{refused}");
        assert!(asked.elapsed() < Duration::from_millis(300));
        let down = store.ping().await;
        assert!(matches!(&down[..], [(1, _)]), "{down:?}");
    }
}

async fn user(store: &Store, bucket: u16) -> Id {
    let id = store.new_id(Bucket::new(bucket), Time::now()).unwrap();
    let route = store.at(id);
    let mut tx = route.begin().await.unwrap();
    insert(&mut tx, id, "a@example.org").await.unwrap();
    route.commit(tx).await.unwrap();
    id
}

async fn found(store: &Store, id: Id) -> Result<bool, Error> {
    let select = sql("SELECT id FROM users WHERE id = ? AND {fence}").bind(id);
    let mut connection = store.at(id).read(&Freshness::Latest).await?;
    Ok(select.optional::<(Id,)>(&mut connection).await?.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_wait_for_a_dead_primary_which_is_used_when_it_is_back_and_up_to_date() {
    let mut two = Two::filled().await;
    let settings = two.kill(1);
    let began = Instant::now();
    let store = two.open().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    two.serves_the_first_alone(&store).await;
    let now = Time::now();
    store.make_time_tables(&[VISITS], now).await.unwrap();

    two.start(1, settings);
    two.used_soon(&store).await;
    let owner = two.users[1];
    let row = TimeRow {
        id: store.new_id(owner.bucket(), now).unwrap(),
        owner,
        values: vec!["login".into()],
    };
    let mut tx = store.at(owner).begin().await.unwrap();
    VISITS.insert(&mut tx, &[row]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stands_still_or_is_read_only_at_the_start_is_left_alone_until_it_is_not() {
    let two = Two::filled().await;
    two.servers[1].as_ref().unwrap().freeze(true);
    let store = two.open().await.unwrap();
    two.serves_the_first_alone(&store).await;
    store.close().await;
    two.servers[1].as_ref().unwrap().freeze(false);

    two.tell(1, "SET GLOBAL read_only = ON");
    let store = two.open().await.unwrap();
    two.serves_the_first_alone(&store).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    two.serves_the_first_alone(&store).await;
    assert!(store.shards()[1].status().read_only);
    assert!(!two.tables().contains("colours"), "{}", two.tables());
    two.tell(1, "SET GLOBAL read_only = OFF");
    two.used_soon(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_a_dead_primarys_place_is_not_used_nor_changed() {
    let mut two = Two::filled().await;
    let settings = two.kill(1);
    let store = two.open().await.unwrap();
    let empty = Settings {
        port: settings.port,
        ..super::settings(&two.dir, 3, Role::Primary, 1)
    };
    let of = two.servers[0].as_ref().unwrap().settings().port;
    let foreign = Settings {
        port: settings.port,
        ..super::settings(&two.dir, 4, Role::Replica { of }, 1)
    };
    for (wrong, tables) in [(empty, false), (foreign, true)] {
        two.start(1, wrong);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            assert!(!two.finds(&store).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        two.serves_the_first_alone(&store).await;
        // And it does not let a start pass either.
        let refused = two.open().await.unwrap_err();
        assert!(
            matches!(refused, Error::WrongServer { shard: 1, .. }),
            "{refused}"
        );
        assert_eq!(!two.tables().is_empty(), tables, "{}", two.tables());
        two.kill(1);
    }
    two.start(1, settings);
    two.used_soon(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_newer_or_was_made_otherwise_fails_the_start_and_is_not_used_when_it_comes_back()
 {
    let mut two = Two::filled().await;
    let newer = "USE shard_0; INSERT INTO schema_ledger VALUES ('test', 99, 'later', '', 0)";
    two.tell(1, newer);
    let refused = two.open().await.unwrap_err();
    assert!(
        matches!(refused, Error::NewerSchema { shard: 1, .. }),
        "{refused}"
    );
    let settings = two.kill(1);
    let store = two.open().await.unwrap();
    two.start(1, settings);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(!two.finds(&store).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let why = store.shards()[1].status().kept_out.unwrap();
    assert!(why.contains("the data is newer than the program"), "{why}");
    two.tell(
        1,
        "USE shard_0; DELETE FROM schema_ledger WHERE version = 99",
    );
    two.used_soon(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_starts_without_the_shard_of_the_map_nor_makes_data_without_every_server() {
    let mut two = Two::filled().await;
    let settings = two.kill(0);
    let refused = two.open().await.unwrap_err().to_string();
    let place = format!("shard 0: 127.0.0.1:{}/shard_0 ", settings.port);
    assert!(refused.starts_with(&place), "{refused}");

    let dir = TempDir::new().unwrap();
    let settings = [1, 2].map(|number| super::settings(&dir, number, Role::Primary, 1));
    let shards = settings.iter().map(|settings| Servers {
        primary: database(settings, 0),
        replicas: Vec::new(),
    });
    let options = Options::servers(shards.collect());
    let _first = MariaDb::start(settings[0].clone()).unwrap();
    let refused = Store::open(&options, &SCHEMA, Time::now()).await;
    assert!(matches!(
        refused.unwrap_err(),
        Error::Unreachable { shard: 1, .. }
    ));
}
