//! The same on MariaDB: what sessions and the history ask of it in SQL.

use std::time::Duration;

use ::servers::{MariaDb, Role, Settings};

use super::*;

/// A server with two shards, and how the services reach it.
fn start(dir: &Path) -> (MariaDb, crate::config::DataConfig) {
    let settings = Settings {
        dir: dir.join("server"),
        template: dir.join("template"),
        port: ::servers::free_port().unwrap(),
        server_id: 1,
        role: Role::Primary,
        databases: vec!["users_0".to_owned(), "users_1".to_owned()],
        user: "tidegate".to_owned(),
        password: "secret".to_owned(),
    };
    let port = settings.port;
    let data = format!(
        "user = 'tidegate'
         password = 'secret'
         acquire_timeout = '20s'
         shard = [{{ primary = '127.0.0.1:{port}/users_0' }}, {{ primary = '127.0.0.1:{port}/users_1' }}]"
    );
    (
        MariaDb::start(settings).unwrap(),
        toml::from_str(&data).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_history_on_servers() {
    let dir = TempDir::new().unwrap();
    let (_server, data) = start(dir.path());
    let on_servers = |config: &mut Config| {
        let keys = config.data.dir.clone();
        config.data = data.clone();
        config.data.dir = keys;
    };
    let home = Home::with(on_servers).await;
    let (_, first) = home.session("anna").await;
    let wrong = json!({ "username": "anna", "password": "wrong password" });
    home.post("/v1/login", wrong).await.problem(401);
    let token = text(&home.login("anna").await.json(), "access_token");
    for _ in 0..2 {
        let body = json!({ "refresh_token": first["refresh_token"] });
        home.post("/v1/token/refresh", body).await;
    }
    let lost = text(&home.login("anna").await.json(), "access_token");
    let sessions = home.get("/v1/me/sessions", &token).await.json()["items"].clone();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let path = format!("/v1/me/sessions/{}", text(&sessions[0], "id"));
    let end = request(Method::DELETE, &path, Some(&token), &[], None);
    assert_eq!(home.send(end).await.status, 204);
    home.get("/v1/me", &lost).await.problem(401);
    let email = json!({ "email": "new@example.org" });
    assert_eq!(home.patch(&token, &[], email).await.status, 200);
    let body = json!({ "current_password": PASSWORD, "password": "another good one" });
    let path = "/v1/me/password";
    let change = request(Method::POST, path, Some(&token), &[], Some(body));
    assert_eq!(home.send(change).await.status, 204);

    let expected = [
        "password_change",
        "email_change",
        "session_revoked",
        "login",
        "refresh_reuse",
        "login",
        "login_failed",
        "login",
    ];
    let mut kinds = Vec::new();
    for _ in 0..500 {
        kinds = kinds_of_history(&home, &token).await;
        if kinds.len() == expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(kinds, expected);
    records::delete_in_use(&home, 20).await;
    // The tables are there a second time.
    let home = home.restart(on_servers).await;
    let body = json!({ "username": "anna", "password": "another good one" });
    assert_eq!(home.post("/v1/login", body).await.status, 200);
}

/// Of the whole history, page by page.
async fn kinds_of_history(home: &Home, token: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = home.get(&format!("/v1/me/history{query}"), token).await;
        let page = page.json();
        let items = page["items"].as_array().unwrap();
        kinds.extend(items.iter().map(|item| text(item, "kind")));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=3&before={next}"),
            None => return kinds,
        }
    }
}
