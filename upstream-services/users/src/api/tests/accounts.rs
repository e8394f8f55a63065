//! Registering and logging in.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::*;

#[tokio::test]
async fn a_registered_user_can_log_in_by_either_name() {
    let home = Home::new().await;
    let made = home
        .post(
            "/v1/register",
            json!({ "username": "Anna", "email": "Anna@Example.ORG", "password": PASSWORD }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let account = made.json();
    assert_eq!(account["username"], "anna");
    assert_eq!(account["email"], "Anna@example.org");
    assert_eq!(
        made.header("location"),
        format!("/v1/users/{}", text(&account, "id"))
    );
    assert!(text(&account, "created_at").ends_with('Z'));
    for name in ["anna", "ANNA", "anna@example.org", "Anna@EXAMPLE.org"] {
        let tokens = home.login(name).await;
        assert_eq!(tokens.status, 200, "{name}");
        assert_eq!(tokens.header("cache-control"), "no-store");
        let tokens = tokens.json();
        assert_eq!(
            (&tokens["token_type"], &tokens["expires_in"]),
            (&json!("Bearer"), &json!(300))
        );
        let me = home.get("/v1/me", &text(&tokens, "access_token")).await;
        assert_eq!(me.json()["id"], account["id"]);
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_without_saying_which() {
    let home = Home::new().await;
    home.register("anna").await;
    let mut details = HashSet::new();
    for (username, email) in [
        ("anna", "new@example.org"),
        ("ANNA", "new@example.org"),
        ("new", "anna@example.org"),
        ("new", "ANNA@example.org"),
        ("anna", "anna@example.org"),
    ] {
        let body = json!({ "username": username, "email": email, "password": PASSWORD });
        let (kind, detail) = home.post("/v1/register", body).await.problem(409);
        assert_eq!(kind, "taken");
        details.insert(detail);
    }
    assert_eq!(details.len(), 1);
    assert_eq!(
        home.count("SELECT COUNT(*) FROM claims").await,
        2,
        "losers leave nothing"
    );
    assert_eq!(home.register("new").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_registrations_of_one_email_make_one_account() {
    let home = Home::new().await;
    let answers = join_all((0..100).map(|number| {
        let username = format!("user{number}");
        let body =
            json!({ "username": username, "email": "one@example.org", "password": PASSWORD });
        let router = home.router.clone();
        let request = request(Method::POST, "/v1/register", None, &[], Some(body));
        async move { tokio::spawn(send(router, request)).await.unwrap() }
    }));
    let answers = answers.await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 201 || answer.status == 409)
    );
    assert_eq!(home.count("SELECT COUNT(*) FROM users").await, 1);
    assert_eq!(home.count("SELECT COUNT(*) FROM claims").await, 2);
}

#[tokio::test]
async fn what_is_not_valid_is_refused_by_field() {
    let home = Home::new().await;
    let right = json!({ "username": "anna", "email": "a@example.org", "password": PASSWORD });
    for (field, value) in [
        ("username", json!("an")),
        ("username", json!("an na")),
        ("email", json!("nobody")),
        ("password", json!("short")),
        ("password", json!("x".repeat(129))),
        ("password", json!(12345678)),
        ("admin", json!(true)),
    ] {
        let mut body = right.clone();
        body[field] = value;
        let (kind, detail) = home.post("/v1/register", body).await.problem(422);
        assert_eq!(kind, "invalid-field");
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
        assert!(
            !detail.contains("12345678"),
            "values are not repeated: {detail}"
        );
    }
    let body = json!({ "username": "anna", "email": "a@example.org" });
    let (_, detail) = home.post("/v1/register", body).await.problem(422);
    assert!(detail.contains("`password`"), "{detail}");
    assert_eq!(home.post("/v1/register", json!([])).await.status, 422);
    assert_eq!(home.count("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test]
async fn nobody_learns_whether_an_account_exists() {
    let home = Home::new().await;
    home.register("anna").await;
    let mut bodies = HashSet::new();
    for name in [
        "anna",
        "nobody",
        "anna@example.org",
        "no@example.org",
        "!",
        "",
        "a@b",
    ] {
        let before = home.hashes();
        let body = json!({ "username": name, "password": "wrong password" });
        let headers = [("x-request-id", "same")];
        let wrong = request(Method::POST, "/v1/login", None, &headers, Some(body));
        let answer = home.send(wrong).await;
        answer.problem(401);
        let mut headers: Vec<_> = answer
            .headers
            .iter()
            .map(|(n, v)| format!("{n}: {v:?}"))
            .collect();
        headers.sort();
        bodies.insert((headers, answer.body));
        assert_eq!(home.hashes(), before + 1, "one hash for {name:?}");
    }
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn old_hashes_are_renewed_at_login() {
    let home = Home::new().await;
    home.register("anna").await;
    let home = home.restart(|config| config.hash.iterations = 2).await;
    let renewed = "SELECT COUNT(*) FROM users WHERE password_hash LIKE '%t=2%'";
    assert_eq!(home.count(renewed).await, 0);
    assert_eq!(home.login("anna").await.status, 200);
    assert_eq!(home.count(renewed).await, 1);
    assert_eq!(home.login("anna").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_hashing_stalls_nobody_else() {
    let home = Home::with(|config| {
        config.hash.threads = Some(1);
        config.hash.queue = 4;
        config.hash.memory = Size::from_kib(64 * 1024);
        config.hash.iterations = 4;
        config.lockout.attempts = 10_000;
        config.lockout.account_attempts = 10_000;
    })
    .await;
    // One runs, four wait; a refused one is tried again.
    let mut logins = Vec::new();
    let start = Instant::now();
    while home.users.pressure().queued < 4 {
        assert!(start.elapsed() < Duration::from_secs(20));
        let body = json!({ "username": "nobody", "password": PASSWORD });
        let login = request(Method::POST, "/v1/login", None, &[], Some(body));
        logins.push(tokio::spawn(send(home.router.clone(), login)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(home.get("/.well-known/jwks.json", "").await.status, 200);
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");

    let mut refused = home.login("nobody").await;
    for _ in 0..3 {
        if refused.status != 503 {
            refused = home.login("nobody").await;
        }
    }
    assert_eq!(refused.problem(503).0, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    for login in logins {
        assert!([401, 503].contains(&login.await.unwrap().status.as_u16()));
    }
}

#[tokio::test]
async fn a_registration_outlives_its_client() {
    let home = Home::with(|config| config.hash.memory = Size::from_kib(16 * 1024)).await;
    let body = json!({ "username": "anna", "email": "a@example.org", "password": PASSWORD });
    let register = request(Method::POST, "/v1/register", None, &[], Some(body));
    let client = tokio::spawn(send(home.router.clone(), register));
    while home.users.pressure().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    client.abort();
    let start = Instant::now();
    while home.count("SELECT COUNT(*) FROM users").await == 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(home.login("anna").await.status, 200);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let other = text(&home.login("anna").await.json(), "access_token");
    let token = text(&tokens, "access_token");
    assert_eq!(home.get("/v1/me", &other).await.status, 200);
    let change = async |current: &str, new: &str| {
        let body = Some(json!({ "current_password": current, "password": new }));
        home.send(request(
            Method::POST,
            "/v1/me/password",
            Some(&token),
            &[],
            body,
        ))
        .await
    };
    assert_eq!(
        change("wrong", "another good one").await.problem(401).0,
        "wrong-credentials"
    );
    change(PASSWORD, "short").await.problem(422);
    assert_eq!(home.get("/v1/me", &other).await.status, 200);

    assert_eq!(change(PASSWORD, "another good one").await.status, 204);
    home.get("/v1/me", &other).await.problem(401);
    assert_eq!(home.get("/v1/me", &token).await.status, 200);
    home.login("anna").await.problem(401);
    let body = json!({ "username": "anna", "password": "another good one" });
    assert_eq!(home.post("/v1/login", body).await.status, 200);
}

#[tokio::test]
async fn a_login_with_the_old_password_cannot_outlast_its_change() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let service = home.users.service.clone();
    let login = crate::accounts::Login {
        name: "anna".to_owned(),
        password: crate::fields::Password::presented(PASSWORD.to_owned()),
        code: None,
        from: None,
        client: crate::client::Client::default(),
    };
    let client = crate::client::Client::default();
    let compared = service.accounts.authenticate(login, store::Time::now());
    let compared = compared.await.unwrap();
    let token = text(&tokens, "access_token");
    let body = json!({ "current_password": PASSWORD, "password": "another good one" });
    let change = request(
        Method::POST,
        "/v1/me/password",
        Some(&token),
        &[],
        Some(body),
    );
    assert_eq!(home.send(change).await.status, 204);
    let late = service
        .sessions
        .open(compared, client, store::Time::now())
        .await;
    assert!(matches!(late, Err(crate::Error::WrongCredentials)));
}
