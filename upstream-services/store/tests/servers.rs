//! The store on MariaDB.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;

use futures::FutureExt;
use servers::{MariaDb, Role, Settings};
use tempfile::TempDir;
use tidegate_store::{
    Bucket, Claimed, Error, Id, Migration, Options, Password, Schema, Server, Servers, Store, Time,
    Transaction, sql,
};

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "users",
        sql: "CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email VARCHAR(320) NOT NULL);
              CREATE INDEX users_email ON users (email);",
    }],
};

/// A server with so many databases, one a shard.
fn start(dir: &TempDir, shards: usize) -> (MariaDb, Options) {
    let settings = Settings {
        dir: dir.path().to_owned(),
        port: servers::free_port().unwrap(),
        server_id: 1,
        role: Role::Primary,
        databases: (0..shards)
            .map(|number| format!("shard_{number}"))
            .collect(),
        user: "tidegate".to_owned(),
        password: "secret".to_owned(),
    };
    let server = |database: &String| Servers {
        primary: Server {
            host: "127.0.0.1".to_owned(),
            port: settings.port,
            socket: None,
            database: database.clone(),
            user: settings.user.clone(),
            password: Some(Password(settings.password.clone())),
        },
        replicas: Vec::new(),
    };
    let options = Options::servers(settings.databases.iter().map(server).collect());
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
            Claimed::Won(()) => winners.push(id),
            Claimed::Taken => {}
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let mut users: Vec<(Id,)> = Vec::new();
    let mut claims: Vec<(Id,)> = Vec::new();
    for shard in store.shards() {
        let mut connection = shard.read().await.unwrap();
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
