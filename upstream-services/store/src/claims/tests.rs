//! Every step may be the last before a crash; a crash is an [`Attempt`] that is forgotten.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::{Migration, Options, Schema};

const SCHEMA: Schema = Schema {
    owner: "test",
    migrations: &[Migration {
        version: 1,
        name: "users",
        sql: "CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL)",
    }],
};
const EMAIL: Name<'static> = ("email", "a@example.org");
const NICK: Name<'static> = ("username", "anna");

async fn open(dir: &TempDir) -> Store {
    let options = Options {
        acquire_timeout: Duration::from_secs(30),
        ..Options::files(dir.path(), 4)
    };
    Store::open(&options, &SCHEMA, Time::now()).await.unwrap()
}

fn new_user(store: &Store, bucket: u16) -> Id {
    store.new_id(Bucket::new(bucket), Time::now()).unwrap()
}

/// The caller's own write: the user's row.
fn row(owner: Id) -> impl for<'t> FnOnce(&'t mut Transaction) -> BoxFuture<'t, Result<(), Error>> {
    move |tx| {
        async move {
            let insert = "INSERT INTO users (id, email) VALUES (?, ?)";
            sql(insert).bind(owner).bind(EMAIL.1).run(tx).await?;
            Ok(())
        }
        .boxed()
    }
}

/// A write that changes nothing.
fn nothing(_: &mut Transaction) -> BoxFuture<'_, Result<(), Error>> {
    async { Ok(()) }.boxed()
}

/// A write that fails.
fn failing(_: &mut Transaction) -> BoxFuture<'_, Result<(), Error>> {
    async { Err(Error::ShardCount(0)) }.boxed()
}

async fn register(store: &Store, owner: Id, now: Time) -> Result<Claimed<()>, Error> {
    let names = [NICK, EMAIL];
    store
        .claim_and_write(owner, &names, &[], now, row(owner))
        .await
}

async fn count(store: &Store, select: &'static str) -> i64 {
    let mut sum = 0;
    for shard in store.shards() {
        let mut connection = shard.read(&Freshness::Latest).await.unwrap();
        sum += sql(select).value::<i64>(&mut connection).await.unwrap();
    }
    sum
}

async fn users(store: &Store) -> i64 {
    count(store, "SELECT COUNT(*) FROM users").await
}

async fn claims(store: &Store) -> i64 {
    count(store, "SELECT COUNT(*) FROM claims").await
}

async fn leftovers(store: &Store) -> i64 {
    count(
        store,
        "SELECT (SELECT COUNT(*) FROM claims WHERE state = 0)
              + (SELECT COUNT(*) FROM claim_attempts)
              + (SELECT COUNT(*) FROM claim_releases)",
    )
    .await
}

#[tokio::test]
async fn a_registration_owns_its_names_and_leaves_nothing_else() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (first, second) = (new_user(&store, 1), new_user(&store, 4000));
    let now = Time::now();
    assert_eq!(
        register(&store, first, now).await.unwrap(),
        Claimed::Won((), Position::default())
    );
    assert_eq!(register(&store, second, now).await.unwrap(), Claimed::Taken);
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(first)
    );
    assert_eq!(
        store
            .owner_of(("email", "other"), &Freshness::Latest)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        (
            users(&store).await,
            claims(&store).await,
            leftovers(&store).await
        ),
        (1, 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_registrations_of_one_email_have_one_winner() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir).await);
    let tasks: Vec<_> = (0..100u16)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let owner = new_user(&store, number * 40);
                let nick = format!("user{number}");
                let names = [("username", nick.as_str()), EMAIL];
                let won = store
                    .claim_and_write(owner, &names, &[], Time::now(), row(owner))
                    .await;
                (won.unwrap() == Claimed::Won((), Position::default())).then_some(owner)
            })
        })
        .collect();
    let mut winners = HashSet::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        winners.into_iter().next()
    );
    assert_eq!(
        (
            users(&store).await,
            claims(&store).await,
            leftovers(&store).await
        ),
        (1, 2, 0)
    );
}

#[tokio::test]
async fn a_failing_write_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let owner = new_user(&store, 9);
    let names = [NICK, EMAIL];
    let failed = store
        .claim_and_write(owner, &names, &[], Time::now(), failing)
        .await;
    assert!(matches!(failed, Err(Error::ShardCount(0))));
    assert_eq!(
        (
            users(&store).await,
            claims(&store).await,
            leftovers(&store).await
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_crash_after_the_claim_frees_the_name_when_the_lease_ends() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (crashed, next) = (new_user(&store, 5), new_user(&store, 6));
    let now = Time::now();
    let mut attempt = Attempt::new(&store, crashed, now).unwrap();
    assert!(attempt.claim(EMAIL, now).await.unwrap());
    drop(attempt);

    let soon = now.plus(LEASE - Duration::from_millis(1));
    assert_eq!(register(&store, next, soon).await.unwrap(), Claimed::Taken);
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        None
    );
    let later = now.plus(LEASE);
    assert_eq!(
        register(&store, next, later).await.unwrap(),
        Claimed::Won((), Position::default())
    );
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(next)
    );
}

#[tokio::test]
async fn another_write_of_the_same_owner_is_told_from_somebody_elses() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (owner, other) = (new_user(&store, 5), new_user(&store, 6));
    let now = Time::now();
    let mut attempt = Attempt::new(&store, owner, now).unwrap();
    assert!(attempt.claim(EMAIL, now).await.unwrap());
    let claim = async |by| {
        let claimed = store.claim_and_write(by, &[EMAIL], &[], now, nothing);
        claimed.await.unwrap()
    };
    assert_eq!(claim(owner).await, Claimed::Own, "while it is pending");
    assert_eq!(claim(other).await, Claimed::Taken);
    assert!(attempt.write(&[], now, row(owner)).await.is_ok());
    attempt.settle().await;
    assert_eq!(claim(owner).await, Claimed::Own, "and when it is done");
    assert_eq!(claim(other).await, Claimed::Taken);
    assert_eq!((claims(&store).await, leftovers(&store).await), (1, 0));
}

#[tokio::test]
async fn a_crash_after_the_write_keeps_the_name_with_its_owner() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (crashed, next) = (new_user(&store, 5), new_user(&store, 6));
    let now = Time::now();
    let mut attempt = Attempt::new(&store, crashed, now).unwrap();
    assert!(attempt.claim(EMAIL, now).await.unwrap());
    let written = attempt.write(&[], now, row(crashed)).await;
    assert!(written.is_ok());
    drop(attempt);

    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(crashed),
        "it can log in at once"
    );
    let later = now.plus(LEASE * 2);
    assert_eq!(register(&store, next, later).await.unwrap(), Claimed::Taken);
    assert_eq!(
        count(&store, "SELECT COUNT(*) FROM claims WHERE state = 1").await,
        1
    );
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(crashed)
    );
    assert_eq!(users(&store).await, 1);
}

#[tokio::test]
async fn a_slow_write_fails_when_its_claim_was_taken_over() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let (slow, fast) = (new_user(&store, 5), new_user(&store, 6));
    let now = Time::now();
    let mut attempt = Attempt::new(&store, slow, now).unwrap();
    assert!(attempt.claim(NICK, now).await.unwrap());
    assert!(attempt.claim(EMAIL, now).await.unwrap());

    let later = now.plus(LEASE);
    let only_email = [EMAIL];
    let won = store
        .claim_and_write(fast, &only_email, &[], later, row(fast))
        .await;
    assert_eq!(won.unwrap(), Claimed::Won((), Position::default()));

    let (error, _) = attempt.write(&[], later, row(slow)).await.unwrap_err();
    assert!(matches!(error, Error::ClaimLost), "{error}");
    assert_eq!(attempt.abandon(later).await, Abandoned::Undone);
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(fast)
    );
    assert_eq!((users(&store).await, claims(&store).await), (1, 1));
}

#[tokio::test]
async fn giving_up_after_a_commit_that_took_place_confirms_it() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let owner = new_user(&store, 5);
    let now = Time::now();
    let mut attempt = Attempt::new(&store, owner, now).unwrap();
    assert!(attempt.claim(EMAIL, now).await.unwrap());
    assert!(attempt.write(&[], now, row(owner)).await.is_ok());
    assert_eq!(attempt.abandon(now).await, Abandoned::WasCommitted);
    assert_eq!((claims(&store).await, leftovers(&store).await), (1, 0));
}

#[tokio::test]
async fn a_released_name_is_free_and_can_be_taken_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let owner = new_user(&store, 5);
    let now = Time::now();
    register(&store, owner, now).await.unwrap();
    let change = async |to: Name<'_>, from: Name<'_>| {
        let changed = store
            .claim_and_write(owner, &[to], &[from], now, nothing)
            .await;
        assert_eq!(changed.unwrap(), Claimed::Won((), Position::default()));
    };
    let other = ("email", "b@example.org");
    change(other, EMAIL).await;
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        None
    );
    change(EMAIL, other).await;
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(owner)
    );
    assert_eq!((claims(&store).await, leftovers(&store).await), (2, 0));
}

#[tokio::test]
async fn a_crash_before_the_release_does_not_lose_the_name() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let owner = new_user(&store, 5);
    let now = Time::now();
    register(&store, owner, now).await.unwrap();
    let other = ("email", "b@example.org");
    let mut attempt = Attempt::new(&store, owner, now).unwrap();
    assert!(attempt.claim(other, now).await.unwrap());
    assert!(attempt.write(&[EMAIL], now, nothing).await.is_ok());
    drop(attempt);

    // The owner wants it back before anything was swept: its old claim makes room.
    let back = store
        .claim_and_write(owner, &[EMAIL], &[other], now, nothing)
        .await;
    assert_eq!(back.unwrap(), Claimed::Won((), Position::default()));
    store.sweep_claims(now.plus(LEASE * 2)).await.unwrap();
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(owner)
    );
    assert_eq!(
        store.owner_of(other, &Freshness::Latest).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_sweep_finishes_what_crashes_left() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let now = Time::now();
    let (before, after) = (new_user(&store, 1), new_user(&store, 2));
    let mut first = Attempt::new(&store, before, now).unwrap();
    assert!(first.claim(NICK, now).await.unwrap());
    let mut second = Attempt::new(&store, after, now).unwrap();
    assert!(second.claim(EMAIL, now).await.unwrap());
    assert!(second.write(&[], now, row(after)).await.is_ok());
    drop((first, second));

    assert_eq!(
        store.sweep_claims(now).await.unwrap(),
        0,
        "the lease is running"
    );
    assert_eq!(store.sweep_claims(now.plus(LEASE * 2)).await.unwrap(), 2);
    assert_eq!(
        store.owner_of(NICK, &Freshness::Latest).await.unwrap(),
        None
    );
    assert_eq!(
        store.owner_of(EMAIL, &Freshness::Latest).await.unwrap(),
        Some(after)
    );
    assert_eq!(claims(&store).await, 1);
}

#[tokio::test]
async fn a_shard_that_is_away_keeps_the_sweep_from_no_other() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    let now = Time::now();
    let names: Vec<String> = (0..32).map(|number| format!("user{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        // By turns of an attempt on shard 0, where nobody can decide it then, and of one on shard 3.
        let owner = new_user(&store, number % 2 * 4000);
        let mut attempt = Attempt::new(&store, owner, now).unwrap();
        assert!(attempt.claim(("username", name), now).await.unwrap());
    }
    store.shards()[0].keep_out(Error::Down(0));
    let swept = store.sweep_claims(now.plus(LEASE * 2)).await.unwrap_err();
    assert!(matches!(swept, Error::KeptOut { shard: 0, .. }), "{swept}");
    let mut left: Vec<(Id,)> = Vec::new();
    for shard in &store.shards()[1..] {
        let select = sql("SELECT owner FROM claims");
        let mut connection = shard.read(&Freshness::Latest).await.unwrap();
        left.extend(select.all::<(Id,)>(&mut connection).await.unwrap());
    }
    assert!(!left.is_empty());
    for (owner,) in left {
        assert_eq!(owner.bucket().number(), 0, "the other is not settled");
    }
    store.shards()[0].admit();
    store.sweep_claims(now.plus(LEASE * 2)).await.unwrap();
    assert_eq!(claims(&store).await, 0);
}
