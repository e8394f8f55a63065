//! Refreshing and logging out.

use futures::future::join_all;

use super::*;

async fn refresh(home: &Home, tokens: &Value) -> Answer {
    let body = json!({ "refresh_token": tokens["refresh_token"] });
    home.post("/v1/token/refresh", body).await
}

async fn is_live(home: &Home, tokens: &Value) -> bool {
    home.get("/v1/me", &text(tokens, "access_token"))
        .await
        .status
        == 200
}

#[tokio::test]
async fn tokens_are_exchanged_one_after_another() {
    let home = Home::new().await;
    let (_, mut tokens) = home.session("anna").await;
    for _ in 0..5 {
        let next = refresh(&home, &tokens).await;
        assert_eq!(
            (next.status.as_u16(), next.header("cache-control")),
            (200, "no-store")
        );
        let next = next.json();
        assert_ne!(next["refresh_token"], tokens["refresh_token"]);
        assert!(is_live(&home, &next).await);
        tokens = next;
    }
}

#[tokio::test]
async fn a_used_token_ends_the_session_and_only_this_one() {
    let home = Home::new().await;
    let (_, stolen) = home.session("anna").await;
    let other = home.login("anna").await.json();
    let next = refresh(&home, &stolen).await.json();
    assert!(is_live(&home, &next).await);

    assert_eq!(
        refresh(&home, &stolen).await.problem(401).0,
        "invalid-refresh-token"
    );
    assert_eq!(
        refresh(&home, &next).await.problem(401).0,
        "invalid-refresh-token"
    );
    assert!(
        !is_live(&home, &next).await,
        "access tokens of the session end too"
    );
    assert!(is_live(&home, &other).await);
    assert!(
        home.scrape()
            .contains("tidegate_users_refresh_reuse_total 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_refreshes_at_once_have_one_winner_and_end_the_session() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let refreshes = (0..10).map(|_| {
        let body = json!({ "refresh_token": tokens["refresh_token"] });
        let request = request(Method::POST, "/v1/token/refresh", None, &[], Some(body));
        tokio::spawn(send(home.router.clone(), request))
    });
    let answers = join_all(refreshes).await;
    let won: Vec<_> = answers
        .iter()
        .flatten()
        .filter(|answer| answer.status == 200)
        .collect();
    assert_eq!(won.len(), 1);
    assert!(!is_live(&home, &won[0].json()).await);
    assert!(!is_live(&home, &tokens).await);
}

#[tokio::test]
async fn a_logout_takes_effect_at_once() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let other = home.login("anna").await.json();
    let access = text(&tokens, "access_token");
    assert!(is_live(&home, &tokens).await);
    let logout = || request(Method::POST, "/v1/logout", Some(&access), &[], None);
    let gone = home.send(logout()).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert!(!is_live(&home, &tokens).await);
    assert_eq!(refresh(&home, &tokens).await.status, 401);
    home.send(logout()).await.problem(401);
    assert!(is_live(&home, &other).await);
}

#[tokio::test]
async fn sessions_survive_a_restart_and_expire() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let home = home.restart(|_| {}).await;
    assert!(is_live(&home, &tokens).await, "the signing key is the same");
    let next = refresh(&home, &tokens).await.json();
    let past = "UPDATE refresh_tokens SET expires_at = 1";
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        store::sql(past).run(&mut connection).await.unwrap();
    }
    refresh(&home, &next).await.problem(401);
    home.users
        .service
        .sessions
        .sweep(store::Time::now())
        .await
        .unwrap();
    assert_eq!(home.count("SELECT COUNT(*) FROM refresh_tokens").await, 0);
    assert_eq!(home.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn a_shard_that_is_away_keeps_the_sweeps_from_no_other() {
    let home = Home::new().await;
    let service = &home.users.service;
    for shard in service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        for old in [
            "INSERT INTO refresh_tokens (hash, session_id, issued_at, expires_at) VALUES (x'00', 1, 1, 1)",
            "INSERT INTO recoveries (user_id, hash, requested_at, expires_at) VALUES (1, x'00', 1, 1)",
        ] {
            store::sql(old).run(&mut connection).await.unwrap();
        }
    }
    let (first, others) = service.store.shards().split_first().unwrap();
    for table in ["DROP TABLE refresh_tokens", "DROP TABLE recoveries"] {
        let mut connection = first.write().await.unwrap();
        store::sql(table).run(&mut connection).await.unwrap();
    }
    let now = store::Time::now();
    service.sessions.sweep(now).await.unwrap_err();
    service.recovery.sweep(now).await.unwrap_err();
    for shard in others {
        let count =
            "SELECT (SELECT COUNT(*) FROM refresh_tokens) + (SELECT COUNT(*) FROM recoveries)";
        let mut connection = shard.write().await.unwrap();
        let left = store::sql(count).value::<i64>(&mut connection);
        assert_eq!(left.await.unwrap(), 0, "of shard {}", shard.number());
    }
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let real = text(&tokens, "refresh_token");
    let mut changed = real.clone().into_bytes();
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    for wrong in ["", "x", &real[1..], &String::from_utf8(changed).unwrap()] {
        let answer = refresh(&home, &json!({ "refresh_token": wrong })).await;
        assert_eq!(answer.problem(401).0, "invalid-refresh-token");
    }
    assert_eq!(
        refresh(&home, &tokens).await.status,
        200,
        "guessing ends no session"
    );
}

#[tokio::test]
async fn secrets_are_not_stored_as_they_are() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    home.users.service.store.close().await;
    let token = text(&tokens, "refresh_token");
    for file in std::fs::read_dir(home.dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(path).unwrap();
            for secret in [PASSWORD, &token] {
                assert!(
                    !bytes
                        .windows(secret.len())
                        .any(|part| part == secret.as_bytes())
                );
            }
        }
    }
}
