//! What is stored about a user, shown and deleted.

use super::*;

async fn erase(home: &Home, token: &str, password: &str) -> Answer {
    let body = Some(json!({ "password": password }));
    home.send(request(Method::DELETE, "/v1/me", Some(token), &[], body))
        .await
}

/// A user with a row in every table that has something about users.
async fn known_all_over(home: &Home) -> (String, Value) {
    let (id, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let phone = json!({ "phone": "+4930901820", "display_name": "Anna" });
    assert_eq!(home.patch(&token, &[], phone).await.status, 200);
    let path = "/v1/me/totp";
    let proof = Some(json!({ "password": PASSWORD }));
    let offer = request(Method::POST, path, Some(&token), &[], proof);
    let secret = text(&home.send(offer).await.json(), "secret");
    let code = json!({ "code": crate::factors::tests::code(&secret, 0) });
    let path = "/v1/me/totp/confirm";
    let confirm = request(Method::POST, path, Some(&token), &[], Some(code));
    assert_eq!(home.send(confirm).await.status, 200);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let tokens = home.post("/v1/token/refresh", refresh).await.json();
    let owner = id.parse::<store::Id>().unwrap();
    let mut connection = home.users.service.store.at(owner).write().await.unwrap();
    store::sql(
        "INSERT INTO recoveries (user_id, hash, requested_at, expires_at)
         SELECT ?, ?, 1, 2 FROM shard_fence WHERE {fence}",
    )
    .bind(owner)
    .bind(vec![0; 32])
    .run(&mut connection)
    .await
    .unwrap();
    (id, tokens)
}

/// Every table, and how many rows it has.
async fn rows(home: &Home) -> Vec<(&'static str, i64)> {
    let mut rows = Vec::new();
    for (table, count) in [
        ("users", "SELECT COUNT(*) FROM users"),
        ("sessions", "SELECT COUNT(*) FROM sessions"),
        ("refresh_tokens", "SELECT COUNT(*) FROM refresh_tokens"),
        ("totp", "SELECT COUNT(*) FROM totp"),
        ("recovery_codes", "SELECT COUNT(*) FROM recovery_codes"),
        ("recoveries", "SELECT COUNT(*) FROM recoveries"),
        ("claims", "SELECT COUNT(*) FROM claims"),
        ("claim_releases", "SELECT COUNT(*) FROM claim_releases"),
    ] {
        rows.push((table, home.count(count).await));
    }
    rows
}

#[tokio::test]
async fn an_export_has_everything_but_secrets() {
    let home = Home::new().await;
    let (id, tokens) = known_all_over(&home).await;
    let token = text(&tokens, "access_token");
    let export = home.get("/v1/me/export", &token).await;
    assert_eq!(export.status, 200, "{}", export.text());
    assert_eq!(export.header("cache-control"), "no-store");
    let data = export.json();
    assert_eq!(data["profile"]["id"], *id);
    assert_eq!(data["profile"]["phone"], "+4930901820");
    assert_eq!(data["role"], "user");
    let sessions = data["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(sessions[0]["refreshed_at"].is_string());
    assert_eq!(sessions[0]["revoked_at"], Value::Null);
    assert_eq!(data["totp"]["recovery_codes"], 10);
    assert!(data["totp"]["confirmed_at"].is_string());
    assert!(data["recovery"]["expires_at"].is_string());
    assert!(!export.text().contains("argon2"));
    let start = std::time::Instant::now();
    while home.get("/v1/me/export", &token).await.json()["history"] == json!([]) {
        assert!(start.elapsed().as_secs() < 10, "the login is told");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let (_, others) = home.session("berta").await;
    let other = text(&others, "access_token");
    let other = home.get("/v1/me/export", &other).await;
    assert!(!other.text().contains("anna"), "{}", other.text());
    assert_eq!(other.json()["totp"], Value::Null);
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_and_its_names_are_free() {
    let home = Home::new().await;
    home.register("berta").await;
    let before = rows(&home).await;
    let (id, tokens) = known_all_over(&home).await;
    let token = text(&tokens, "access_token");
    let path = format!("/v1/users/{id}");
    assert_eq!(home.get(&path, &token).await.status, 200);
    for (table, count) in rows(&home).await {
        let few = before.contains(&(table, count));
        assert_eq!(few, table == "claim_releases", "{table} holds the user");
    }
    let wrong = erase(&home, &token, "wrong password").await;
    assert_eq!(wrong.problem(401).0, "wrong-credentials");
    let user: store::Id = id.parse().unwrap();
    let events = async || {
        let page = store::Page {
            before: None,
            limit: 10,
        };
        let (now, latest) = (store::Time::now(), store::Freshness::Latest);
        let history = &home.users.service.history;
        history
            .newest(user, page, now, &latest)
            .await
            .unwrap()
            .len()
    };
    let start = std::time::Instant::now();
    while events().await == 0 {
        assert!(start.elapsed().as_secs() < 10, "the login is told");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    assert_eq!(erase(&home, &token, PASSWORD).await.status, 204);
    assert_eq!(rows(&home).await, before);
    assert_eq!(events().await, 0);
    home.get("/v1/me", &token).await.problem(401);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    home.post("/v1/token/refresh", refresh).await.problem(401);
    for name in ["anna", "anna@example.org", "+4930901820"] {
        let gone = home.login(name).await;
        assert_eq!(gone.problem(401).0, "wrong-credentials", "{name}");
    }
    let other = text(&home.login("berta").await.json(), "access_token");
    home.get(&path, &other).await.problem(404);
    let again = json!({
        "username": "anna", "email": "anna@example.org", "phone": "+4930901820", "password": PASSWORD,
    });
    let again = home.post("/v1/register", again).await;
    assert_eq!(again.status, 201, "{}", again.text());
    assert_ne!(text(&again.json(), "id"), id);
}

#[tokio::test]
async fn names_that_could_not_be_released_are_swept() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let store = home.users.service.store.clone();
    let everywhere = async |statement: &'static str| {
        for shard in store.shards() {
            let mut connection = shard.write().await.unwrap();
            store::sql(statement).run(&mut connection).await.unwrap();
        }
    };
    // What a crash after the transaction leaves: the rows are gone, the claims are there.
    everywhere(
        "CREATE TRIGGER crash BEFORE DELETE ON claims BEGIN SELECT RAISE(ABORT, 'crash'); END",
    )
    .await;
    assert_eq!(erase(&home, &token, PASSWORD).await.status, 204);
    assert_eq!(home.count("SELECT COUNT(*) FROM users").await, 0);
    home.login("anna").await.problem(401);
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 2);
    everywhere("DROP TRIGGER crash").await;
    store.sweep_claims(store::Time::now()).await.unwrap();
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 0);
    assert_eq!(home.register("anna").await.status, 201);
}

/// Rows of users who are gone.
async fn orphans(home: &Home) -> i64 {
    let mut all = 0;
    for count in [
        "SELECT COUNT(*) FROM totp WHERE user_id NOT IN (SELECT id FROM users)",
        "SELECT COUNT(*) FROM recovery_codes WHERE user_id NOT IN (SELECT id FROM users)",
        "SELECT COUNT(*) FROM recoveries WHERE user_id NOT IN (SELECT id FROM users)",
        "SELECT COUNT(*) FROM sessions WHERE user_id NOT IN (SELECT id FROM users)",
        "SELECT COUNT(*) FROM refresh_tokens WHERE session_id NOT IN (SELECT id FROM sessions)",
    ] {
        all += home.count(count).await;
    }
    all
}

async fn events(home: &Home, user: store::Id) -> usize {
    let page = store::Page {
        before: None,
        limit: 100,
    };
    let (now, latest) = (store::Time::now(), store::Freshness::Latest);
    let history = &home.users.service.history;
    let events = history.newest(user, page, now, &latest).await;
    events.unwrap().len()
}

/// Deletes accounts while they are used: nothing of them may be there afterwards.
pub(super) async fn delete_in_use(home: &Home, accounts: usize) {
    for number in 0..accounts {
        let name = format!("race{number}");
        let (id, tokens) = home.session(&name).await;
        let token = text(&tokens, "access_token");
        let proof = json!({ "password": PASSWORD });
        let me = |method, path| request(method, path, Some(&token), &[], Some(proof.clone()));
        let login = json!({ "username": name, "password": PASSWORD });
        let refresh = json!({ "refresh_token": tokens["refresh_token"] });
        let post = |path, body| request(Method::POST, path, None, &[], Some(body));
        let at_once = [
            me(Method::DELETE, "/v1/me"),
            me(Method::POST, "/v1/me/totp"),
            me(Method::POST, "/v1/me/totp"),
            post("/v1/login", login),
            post("/v1/token/refresh", refresh),
            me(Method::POST, "/v1/me/totp"),
        ];
        let at_once = at_once.map(|one| tokio::spawn(send(home.router.clone(), one)));
        let answers = futures::future::join_all(at_once).await;
        let deleted = answers[0].as_ref().unwrap();
        assert_eq!(deleted.status, 204, "{}", deleted.text());
        let user = id.parse().unwrap();
        // What was queued is written in a tenth of a second.
        if number + 1 == accounts {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        assert_eq!(events(home, user).await, 0);
    }
    assert_eq!(orphans(home).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_deleted_while_it_is_used_leaves_nothing() {
    delete_in_use(&Home::new().await, 20).await;
}

#[tokio::test]
async fn nothing_is_written_for_a_user_who_is_gone() {
    let home = Home::new().await;
    let (id, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    assert_eq!(erase(&home, &token, PASSWORD).await.status, 204);
    let user: store::Id = id.parse().unwrap();
    let service = &home.users.service;
    let begun = service.factors.begin(user, "anna", store::Time::now());
    assert!(matches!(begun.await, Err(crate::Error::NotFound)));
    service.history.note(crate::history::Event {
        user,
        what: crate::history::What::LoginFailed,
        session: None,
        client: crate::client::Client::default(),
        at: store::Time::now(),
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((orphans(&home).await, events(&home, user).await), (0, 0));
}
