//! Commits that report an error and may have taken place all the same: what they ended is not served from memory.

use super::*;

/// Makes every commit that ends a session fail.
async fn fail(home: &Home) {
    for statement in [
        "CREATE TABLE lost (user_id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER lost_update AFTER UPDATE OF revoked_at ON sessions
         BEGIN INSERT INTO lost VALUES (-1); END",
        "CREATE TRIGGER lost_delete AFTER DELETE ON sessions
         BEGIN INSERT INTO lost VALUES (-1); END",
    ] {
        everywhere(home, statement).await;
    }
}

/// As if the commit that failed had taken place.
async fn turn_out_committed(home: &Home) {
    for statement in [
        "DROP TRIGGER lost_update",
        "DROP TRIGGER lost_delete",
        "UPDATE sessions SET revoked_at = 1 WHERE user_id IN
           (SELECT id FROM users WHERE username = 'anna')",
    ] {
        everywhere(home, statement).await;
    }
}

async fn everywhere(home: &Home, statement: &'static str) {
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        let run = store::sql(statement).run(&mut connection);
        run.await.unwrap();
    }
}

/// Anna's session is in memory when something ends it whose commit fails.
async fn ends_it(home: &Home, end: impl AsyncFnOnce(&str, &str) -> Answer) {
    let (id, tokens) = home.session("anna").await;
    let asking = text(&home.login("anna").await.json(), "access_token");
    let other = text(&tokens, "access_token");
    assert_eq!(home.get("/v1/me", &other).await.status, 200);
    fail(home).await;
    let answer = end(&id, &asking).await;
    assert!(answer.status.is_server_error(), "{}", answer.text());
    turn_out_committed(home).await;
    home.get("/v1/me", &other).await.problem(401);
}

#[tokio::test]
async fn a_change_of_password() {
    let home = Home::new().await;
    ends_it(&home, async |_, token| {
        let body = json!({ "current_password": PASSWORD, "password": "another good one" });
        let path = "/v1/me/password";
        home.send(request(Method::POST, path, Some(token), &[], Some(body)))
            .await
    })
    .await;
}

#[tokio::test]
async fn a_recovery() {
    let spool = |config: &mut Config| config.recovery.spool = Some(config.data.dir.join("spool"));
    let home = Home::with(spool).await;
    ends_it(&home, async |_, _| {
        let body = json!({ "email": "anna@example.org" });
        assert_eq!(home.post("/v1/recovery", body).await.status, 202);
        let token = text(&recovery::messages(&home, 1).await[0], "token");
        let body = json!({ "token": token, "password": "another good one" });
        home.post("/v1/recovery/confirm", body).await
    })
    .await;
}

#[tokio::test]
async fn an_administrator() {
    let home = Home::with(admin::bootstrap).await;
    let admin = admin::token(&home, "root").await;
    ends_it(&home, async |id, _| {
        admin::act(&home, &admin, id, "disable").await
    })
    .await;
}

#[tokio::test]
async fn an_erasure() {
    let home = Home::new().await;
    ends_it(&home, async |_, token| {
        let body = Some(json!({ "password": PASSWORD }));
        home.send(request(Method::DELETE, "/v1/me", Some(token), &[], body))
            .await
    })
    .await;
}
