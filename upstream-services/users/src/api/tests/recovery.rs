//! A new password for who has forgotten the old one.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;

const NEW: &str = "another good one";

async fn home(alter: impl FnOnce(&mut Config)) -> Home {
    Home::with(|config| {
        config.recovery.spool = Some(config.data.dir.join("spool"));
        alter(config);
    })
    .await
}

async fn ask(home: &Home, email: &str) -> Answer {
    home.post("/v1/recovery", json!({ "email": email })).await
}

async fn confirm(home: &Home, token: &str) -> Answer {
    let body = json!({ "token": token, "password": NEW });
    home.post("/v1/recovery/confirm", body).await
}

/// The messages in the spool, in order, once there are so many.
pub(super) async fn messages(home: &Home, count: usize) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let spool = std::fs::read_dir(home.dir.path().join("spool")).unwrap();
        let mut files: Vec<_> = spool.map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "json"));
        files.sort();
        if files.len() >= count {
            for file in &files {
                let mode = std::fs::metadata(file).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
            let read = |path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            return files.iter().map(read).collect();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{files:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the metrics say so.
async fn counted(home: &Home, what: &str) {
    let start = Instant::now();
    while !home.scrape().contains(what) {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until everything asked for before is done.
async fn settled(home: &Home, number: usize) {
    let name = format!("marker{number}");
    home.register(&name).await;
    ask(home, &format!("{name}@example.org")).await;
    let start = Instant::now();
    let is_it = |message: &Value| message["username"] == *name;
    while !messages(home, 1).await.iter().any(is_it) {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for a user's token, and reads it.
async fn token(home: &Home, name: &str) -> String {
    let before = messages(home, 0).await.len();
    let asked = ask(home, &format!("{name}@example.org")).await;
    assert_eq!((asked.status.as_u16(), asked.body.len()), (202, 0));
    let all = messages(home, before + 1).await;
    assert_eq!(text(&all[before], "username"), name);
    text(&all[before], "token")
}

#[tokio::test]
async fn a_token_sets_a_password_once_and_ends_every_session() {
    let home = home(|config| config.lockout.attempts = 3).await;
    let (_, tokens) = home.session("anna").await;
    for _ in 0..3 {
        let wrong = json!({ "username": "anna", "password": "wrong password" });
        home.post("/v1/login", wrong).await.problem(401);
    }
    let access = text(&tokens, "access_token");
    let token = token(&home, "anna").await;
    let message = &messages(&home, 1).await[0];
    assert_eq!(message["kind"], "recovery");
    assert_eq!(message["to"], "anna@example.org");
    assert!(text(message, "expires_at").ends_with('Z'));

    let weak = json!({ "token": token, "password": "short" });
    home.post("/v1/recovery/confirm", weak).await.problem(422);
    assert_eq!(home.get("/v1/me", &access).await.status, 200);
    assert_eq!(confirm(&home, &token).await.status, 204);
    home.get("/v1/me", &access).await.problem(401);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    home.post("/v1/token/refresh", refresh).await.problem(401);
    let login = json!({ "username": "anna", "password": NEW });
    let login = home.post("/v1/login", login).await;
    assert_eq!(
        login.status,
        200,
        "not locked out any more: {}",
        login.text()
    );
    home.login("anna").await.problem(401);

    let hashes = home.hashes();
    let again = confirm(&home, &token).await;
    assert_eq!(again.problem(401).0, "invalid-recovery-token");
    assert_eq!(home.hashes(), hashes, "a wrong token costs no hash");
}

#[tokio::test]
async fn strangers_get_the_same_answer_and_no_message() {
    let home = home(|_| {}).await;
    home.register("anna").await;
    let known = ask(&home, "ANNA@example.org").await;
    let unknown = ask(&home, "nobody@example.org").await;
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
    assert_eq!(known.headers.len(), unknown.headers.len());
    let (_, detail) = ask(&home, "nobody").await.problem(422);
    assert!(detail.contains("`email`"), "{detail}");
    settled(&home, 0).await;
    assert_eq!(messages(&home, 0).await.len(), 2);
    counted(&home, "outcome=\"sent\"} 2").await;
}

#[tokio::test]
async fn one_message_an_interval_and_one_live_token() {
    let home = home(|_| {}).await;
    home.register("anna").await;
    let first = token(&home, "anna").await;
    ask(&home, "anna@example.org").await;
    settled(&home, 0).await;
    assert_eq!(messages(&home, 0).await.len(), 2, "too early for another");
    let sooner = |config: &mut Config| {
        config.recovery.spool = Some(config.data.dir.join("spool"));
        config.recovery.interval = chassis::units::Period::from_millis(0);
    };
    let home = home.restart(sooner).await;
    let second = token(&home, "anna").await;
    confirm(&home, &first).await.problem(401);
    assert_eq!(confirm(&home, &second).await.status, 204);
}

#[tokio::test]
async fn tokens_end_with_their_time_the_address_and_the_password() {
    let home = home(|config| {
        config.recovery.interval = chassis::units::Period::from_millis(0);
    })
    .await;
    let (_, tokens) = home.session("anna").await;
    let access = text(&tokens, "access_token");
    let late = token(&home, "anna").await;
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        let past = store::sql("UPDATE recoveries SET expires_at = 1");
        past.run(&mut connection).await.unwrap();
    }
    confirm(&home, &late).await.problem(401);
    let sweep = home.users.service.recovery.sweep(store::Time::now());
    sweep.await.unwrap();
    assert_eq!(home.count("SELECT COUNT(*) FROM recoveries").await, 0);

    let held = token(&home, "anna").await;
    let body = json!({ "current_password": PASSWORD, "password": "a third good one" });
    let path = "/v1/me/password";
    let change = request(Method::POST, path, Some(&access), &[], Some(body));
    assert_eq!(home.send(change).await.status, 204);
    confirm(&home, &held).await.problem(401);

    let held = token(&home, "anna").await;
    let moved = json!({ "email": "new@example.org" });
    assert_eq!(home.patch(&access, &[], moved).await.status, 200);
    confirm(&home, &held).await.problem(401);
}

#[tokio::test]
async fn what_was_accepted_is_sent_before_the_end_and_nothing_without_a_spool() {
    let home = home(|_| {}).await;
    for number in 0..20 {
        home.register(&format!("user{number}")).await;
    }
    for number in 0..20 {
        let asked = ask(&home, &format!("user{number}@example.org")).await;
        assert_eq!(asked.status, 202);
    }
    let home = home.restart(|_| {}).await;
    assert_eq!(messages(&home, 0).await.len(), 20);
    let off = ask(&home, "anna@example.org").await;
    assert_eq!(off.problem(501).0, "recovery-off");
}

#[tokio::test]
async fn tokens_are_not_stored_as_they_are() {
    let home = home(|_| {}).await;
    home.register("anna").await;
    let token = token(&home, "anna").await;
    home.users.service.store.close().await;
    for file in std::fs::read_dir(home.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        let mut parts = bytes.windows(token.len());
        assert!(!parts.any(|part| part == token.as_bytes()));
    }
}

#[tokio::test]
async fn a_message_that_could_not_be_put_away_can_be_asked_for_again_at_once() {
    let home = home(|_| {}).await;
    home.register("anna").await;
    let spool = home.dir.path().join("spool");
    std::fs::remove_dir(&spool).unwrap();
    assert_eq!(ask(&home, "anna@example.org").await.status, 202);
    counted(&home, "outcome=\"failed\"} 1").await;
    std::fs::create_dir(&spool).unwrap();
    let token = token(&home, "anna").await;
    assert_eq!(confirm(&home, &token).await.status, 204);
}

#[tokio::test]
async fn a_message_that_cannot_be_put_away_leaves_the_one_before_valid() {
    let home = home(|config| {
        config.recovery.interval = chassis::units::Period::from_millis(0);
    })
    .await;
    home.register("anna").await;
    let before = token(&home, "anna").await;
    std::fs::remove_dir_all(home.dir.path().join("spool")).unwrap();
    assert_eq!(ask(&home, "anna@example.org").await.status, 202);
    counted(&home, "outcome=\"failed\"} 1").await;
    assert_eq!(confirm(&home, &before).await.status, 204);
}
