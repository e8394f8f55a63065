//! Who logged in, and what changed.

use std::time::{Duration, Instant};

use store::Time;

use super::*;

/// The whole history, once it has so many events at least.
async fn history(home: &Home, token: &str, events: usize) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let answer = home.get("/v1/me/history?limit=100", token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let items = answer.json()["items"].as_array().unwrap().clone();
        if items.len() >= events {
            return items;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{items:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn kinds(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(item, "kind")).collect()
}

/// All rows of the history, of all users.
async fn rows(home: &Home) -> i64 {
    let tables = home.users.service.store.rows(Time::now()).await.unwrap();
    let history = tables
        .iter()
        .filter(|rows| rows.table.starts_with("history_"));
    history.map(|rows| rows.rows).sum()
}

async fn change_password(home: &Home, token: &str, current: &str) -> Answer {
    let body = json!({ "current_password": current, "password": "another good one" });
    let path = "/v1/me/password";
    home.send(request(Method::POST, path, Some(token), &[], Some(body)))
        .await
}

#[tokio::test]
async fn logins_right_and_wrong_say_from_where_and_by_what() {
    let home = Home::new().await;
    home.register("anna").await;
    let login = async |name: &str, password: &str, headers: &[(&str, &str)]| {
        let body = json!({ "username": name, "password": password });
        home.send(request(
            Method::POST,
            "/v1/login",
            None,
            headers,
            Some(body),
        ))
        .await
    };
    let agent = "x".repeat(300);
    let by = [
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
        ("user-agent", &*agent),
    ];
    login("anna@example.org", "wrong password", &by)
        .await
        .problem(401);
    login("nobody", "wrong password", &by).await.problem(401);
    let before = Time::now().as_millis() / 1000;
    let tokens = login("anna", PASSWORD, &[("user-agent", "curl/8.5")])
        .await
        .json();
    let token = text(&tokens, "access_token");
    let session = home.get("/v1/me/sessions", &token).await.json()["items"][0]["id"].clone();

    let items = history(&home, &token, 2).await;
    assert_eq!(kinds(&items), ["login", "login_failed"]);
    let (right, wrong) = (&items[0], &items[1]);
    assert_eq!(
        [&right["address"], &right["agent"], &right["session"]],
        [&Value::Null, &json!("curl/8.5"), &session]
    );
    assert_eq!(
        [&wrong["address"], &wrong["agent"], &wrong["session"]],
        [&json!("192.0.2.7"), &json!(agent[..200]), &Value::Null]
    );
    let time: jiff::Timestamp = text(right, "time").parse().unwrap();
    assert!((before..=before + 60).contains(&time.as_second()));
    assert_eq!(
        rows(&home).await,
        2,
        "nothing of accounts that do not exist"
    );
}

#[tokio::test]
async fn a_change_and_its_row_are_there_together() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    home.register("bert").await;
    let token = text(&tokens, "access_token");
    history(&home, &token, 1).await;
    // What fails, and what is no such change, leaves nothing.
    home.patch(&token, &[], json!({ "email": "bert@example.org" }))
        .await
        .problem(409);
    home.patch(&token, &[], json!({ "display_name": "Anna" }))
        .await;
    change_password(&home, &token, "wrong").await.problem(401);

    // From here on nothing waits for the queue.
    home.patch(&token, &[], json!({ "email": "ANNA@example.org" }))
        .await;
    home.patch(&token, &[], json!({ "email": "new@example.org" }))
        .await;
    assert_eq!(change_password(&home, &token, PASSWORD).await.status, 204);
    let items = history(&home, &token, 0).await;
    let expected = ["password_change", "email_change", "email_change", "login"];
    assert_eq!(kinds(&items), expected);
    assert!(
        items
            .iter()
            .all(|item| item["session"] == items[3]["session"])
    );
    let headers = [("x-forwarded-for", "192.0.2.8")];
    let logout = request(Method::POST, "/v1/logout", Some(&token), &headers, None);
    assert_eq!(home.send(logout).await.status, 204);

    let body = json!({ "username": "anna", "password": "another good one" });
    let again = home.post("/v1/login", body).await.json();
    let token = text(&again, "access_token");
    let items = history(&home, &token, 6).await;
    assert_eq!(kinds(&items)[..2], ["login", "logout"]);
    assert_eq!(items[1]["address"], "192.0.2.8");
    assert_eq!(items[1]["session"], items[5]["session"]);
}

#[tokio::test]
async fn a_used_refresh_token_is_in_the_history() {
    let home = Home::new().await;
    let (_, stolen) = home.session("anna").await;
    let other = text(&home.login("anna").await.json(), "access_token");
    history(&home, &other, 2).await;
    let headers = [("x-forwarded-for", "192.0.2.9")];
    for _ in 0..2 {
        let body = Some(json!({ "refresh_token": stolen["refresh_token"] }));
        home.send(request(
            Method::POST,
            "/v1/token/refresh",
            None,
            &headers,
            body,
        ))
        .await;
    }
    let items = history(&home, &other, 0).await;
    assert_eq!(kinds(&items), ["refresh_reuse", "login", "login"]);
    assert_eq!(items[0]["address"], "192.0.2.9");
    assert_eq!(items[0]["session"], items[2]["session"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    history(&home, &token, 1).await;
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        let select = "SELECT name FROM sqlite_master WHERE name LIKE 'history%' AND type = 'table'";
        let names: Vec<(String,)> = store::sql(select).all(&mut connection).await.unwrap();
        for (name,) in names {
            let rename = format!("ALTER TABLE {name} RENAME TO gone_{name}");
            let rename = store::sql(rename.leak());
            rename.run(&mut connection).await.unwrap();
        }
    }
    change_password(&home, &token, PASSWORD).await.problem(500);
    home.patch(&token, &[], json!({ "email": "new@example.org" }))
        .await
        .problem(500);
    let logout = request(Method::POST, "/v1/logout", Some(&token), &[], None);
    home.send(logout).await.problem(500);
    assert_eq!(home.login("anna@example.org").await.status, 200);
    assert_eq!(home.get("/v1/me", &token).await.status, 200);
}

#[tokio::test]
async fn pages_follow_one_another_and_are_only_of_oneself() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    for number in 0..24 {
        let body = json!({ "email": format!("a{number}@example.org") });
        assert_eq!(home.patch(&token, &[], body).await.status, 200);
    }
    let all = history(&home, &token, 25).await;
    let page = async |query: &str| {
        home.get(&format!("/v1/me/history{query}"), &token)
            .await
            .json()
    };
    let first = page("").await;
    assert_eq!(first["items"].as_array().unwrap()[..], all[..20]);
    let next = text(&first, "next");
    assert_eq!(next, text(&all[19], "id"));
    let last = page(&format!("?before={next}")).await;
    assert_eq!(last["items"].as_array().unwrap()[..], all[20..]);
    assert_eq!(last["next"], Value::Null);
    let three = page(&format!("?limit=3&before={next}")).await;
    assert_eq!(three["items"].as_array().unwrap()[..], all[20..23]);
    assert_eq!(text(&three, "next"), text(&all[22], "id"));
    assert_eq!(
        page("?limit=25").await["next"],
        Value::Null,
        "there are no more"
    );

    let (_, other) = home.session("bert").await;
    let other = text(&other, "access_token");
    assert_eq!(kinds(&history(&home, &other, 1).await), ["login"]);
    home.get("/v1/me/history", "").await.problem(401);
}

#[tokio::test]
async fn parameters_that_are_not_valid_are_refused_by_name() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("before=-1", "before"),
        ("before=x", "before"),
        ("limit=3&limit=3", "limit"),
        ("afer=3", "afer"),
    ] {
        let answer = home.get(&format!("/v1/me/history?{query}"), &token).await;
        let (kind, detail) = answer.problem(422);
        assert_eq!(kind, "invalid-field");
        assert!(
            detail.starts_with(&format!("`{name}`")),
            "{query}: {detail}"
        );
    }
}

#[tokio::test]
async fn a_login_just_before_the_end_is_in_the_history() {
    let home = Home::new().await;
    home.register("anna").await;
    for _ in 0..20 {
        home.login("anna").await;
    }
    let home = home.restart(|_| {}).await;
    assert_eq!(rows(&home).await, 20);
    assert!(
        home.scrape()
            .contains("tidegate_users_history_dropped_total 0")
    );
}

#[tokio::test]
async fn months_that_are_over_are_archived_after_the_start() {
    let home = Home::new().await;
    let service = home.users.service.clone();
    let old = Time::now().minus(Duration::from_secs(100 * 86_400));
    let table = service.history.table();
    service.store.make_time_tables(&[table], old).await.unwrap();
    let anna = service
        .store
        .new_id(store::Bucket::new(7), Time::now())
        .unwrap();
    let row = store::TimeRow {
        id: store::IdGenerator::new(200)
            .next(anna.bucket(), old)
            .unwrap(),
        owner: anna,
        values: vec![
            "login".into(),
            old.into(),
            None::<i64>.into(),
            None::<i64>.into(),
            None::<i64>.into(),
        ],
    };
    let mut tx = service.store.at(anna).begin().await.unwrap();
    table
        .insert(&mut tx, std::slice::from_ref(&row))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    drop(service);
    let archive = home.dir.path().join("archive");
    let home = home
        .restart(|config| {
            config.history.keep_months = 1;
            config.history.archive = Some(archive.clone());
        })
        .await;
    let start = Instant::now();
    while rows(&home).await > 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let files: Vec<_> = std::fs::read_dir(&archive)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let line: Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!(
        (text(&line, "id"), text(&line, "kind")),
        (row.id.to_string(), "login".to_owned())
    );
}
