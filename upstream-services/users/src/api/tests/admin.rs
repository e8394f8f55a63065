//! What administrators do, and that nobody else does.

use super::*;

pub(super) fn bootstrap(config: &mut Config) {
    let wanted = json!({ "username": "root", "email": "root@example.org", "password": PASSWORD });
    config.bootstrap = Some(serde_json::from_value(wanted).unwrap());
}

pub(super) async fn token(home: &Home, name: &str) -> String {
    text(&home.login(name).await.json(), "access_token")
}

pub(super) async fn act(home: &Home, token: &str, id: &str, what: &str) -> Answer {
    let path = format!("/v1/admin/users/{id}/{what}");
    home.send(request(Method::POST, &path, Some(token), &[], None))
        .await
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let home = Home::with(bootstrap).await;
    let admins = "SELECT COUNT(*) FROM users WHERE role = 'admin'";
    assert_eq!(home.count(admins).await, 1);
    let home = home.restart(bootstrap).await;
    assert_eq!(home.count(admins).await, 1);
    // Another name, and there is one already.
    let home = home
        .restart(|config| {
            bootstrap(config);
            let wanted = config.bootstrap.as_mut().unwrap();
            (wanted.username, wanted.email) = ("other".to_owned(), "o@example.org".to_owned());
        })
        .await;
    assert_eq!(home.count("SELECT COUNT(*) FROM users").await, 1);
    assert_eq!(home.login("root").await.status, 200);
}

#[tokio::test]
async fn a_name_that_a_user_has_makes_nobody_an_administrator() {
    let home = Home::new().await;
    home.register("root").await;
    let home = home.restart(bootstrap).await;
    let admins = "SELECT COUNT(*) FROM users WHERE role = 'admin'";
    assert_eq!(home.count(admins).await, 0);
}

#[tokio::test]
async fn tokens_tell_the_role() {
    use base64::Engine;
    let home = Home::with(bootstrap).await;
    home.register("anna").await;
    for (name, role) in [("root", "admin"), ("anna", "user")] {
        let first = home.login(name).await.json();
        let refresh = json!({ "refresh_token": first["refresh_token"] });
        let next = home.post("/v1/token/refresh", refresh).await.json();
        for tokens in [first, next] {
            let token = text(&tokens, "access_token");
            let claims = token.split('.').nth(1).unwrap();
            let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims);
            let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
            assert_eq!(claims["role"], role);
        }
    }
}

#[tokio::test]
async fn administrators_find_users_by_each_name() {
    let home = Home::with(bootstrap).await;
    let body = json!({
        "username": "anna", "email": "Anna@example.org", "phone": "+4930901820", "password": PASSWORD,
    });
    let made = home.post("/v1/register", body).await.json();
    let admin = token(&home, "root").await;
    for query in [
        "username=ANNA",
        "email=anna@EXAMPLE.org",
        "phone=%2B4930901820",
    ] {
        let path = format!("/v1/admin/users?{query}");
        let found = home.get(&path, &admin).await;
        assert_eq!(found.status, 200, "{query}: {}", found.text());
        assert_eq!(found.header("cache-control"), "no-store");
        let found = found.json();
        assert_eq!(found["id"], made["id"]);
        assert_eq!(
            (&found["role"], &found["totp"]),
            (&json!("user"), &json!(false))
        );
        assert_eq!(found["disabled_at"], Value::Null);
    }
    let missing = home.get("/v1/admin/users?username=nobody", &admin).await;
    missing.problem(404);
    for wrong in [
        "",
        "?username=anna&email=anna@example.org",
        "?username=anna&username=anna",
        "?id=1",
        "?email=anna",
        "?phone=%2",
    ] {
        let path = format!("/v1/admin/users{wrong}");
        let (kind, _) = home.get(&path, &admin).await.problem(422);
        assert_eq!(kind, "invalid-field", "{wrong}");
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_until_enabled() {
    let home = Home::with(bootstrap).await;
    let (id, tokens) = home.session("anna").await;
    let access = text(&tokens, "access_token");
    assert_eq!(home.get("/v1/me", &access).await.status, 200);
    let admin = token(&home, "root").await;
    assert_eq!(act(&home, &admin, &id, "disable").await.status, 204);

    home.get("/v1/me", &access).await.problem(401);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    home.post("/v1/token/refresh", refresh).await.problem(401);
    assert_eq!(home.login("anna").await.problem(403).0, "account-disabled");
    let wrong = json!({ "username": "anna", "password": "wrong password" });
    let wrong = home.post("/v1/login", wrong).await;
    assert_eq!(
        wrong.problem(401).0,
        "wrong-credentials",
        "nothing for strangers"
    );
    let found = home
        .get("/v1/admin/users?username=anna", &admin)
        .await
        .json();
    let since = text(&found, "disabled_at");
    assert_eq!(act(&home, &admin, &id, "disable").await.status, 204);
    let found = home
        .get("/v1/admin/users?username=anna", &admin)
        .await
        .json();
    assert_eq!(text(&found, "disabled_at"), since);

    assert_eq!(act(&home, &admin, &id, "enable").await.status, 204);
    assert_eq!(home.login("anna").await.status, 200);
    for what in ["disable", "enable"] {
        for missing in ["1", "x"] {
            act(&home, &admin, missing, what).await.problem(404);
        }
    }
    let root = home
        .get("/v1/admin/users?username=root", &admin)
        .await
        .json();
    let own = act(&home, &admin, &text(&root, "id"), "disable").await;
    assert_eq!(own.problem(409).0, "own-account");
}

#[tokio::test]
async fn a_login_under_way_does_not_outlast_being_disabled() {
    let home = Home::new().await;
    home.register("anna").await;
    let service = home.users.service.clone();
    let login = crate::accounts::Login {
        name: "anna".to_owned(),
        password: crate::fields::Password::presented(PASSWORD.to_owned()),
        code: None,
        from: None,
        client: crate::client::Client::default(),
    };
    let now = store::Time::now();
    let compared = service.accounts.authenticate(login, now).await.unwrap();
    let (_, committed) = service.admins.disable(compared.user, now).await.unwrap();
    committed.unwrap();
    let late = service
        .sessions
        .open(compared, crate::client::Client::default(), now)
        .await;
    assert!(matches!(late, Err(crate::Error::WrongCredentials)));
}

#[tokio::test]
async fn others_are_refused() {
    let home = Home::with(bootstrap).await;
    let (id, tokens) = home.session("anna").await;
    let anna = text(&tokens, "access_token");
    let admin = token(&home, "root").await;
    let refused = async |token: &str| {
        let found = home.get("/v1/admin/users?username=anna", token).await;
        assert_eq!(found.problem(403).0, "forbidden");
        for what in ["disable", "enable"] {
            assert_eq!(
                act(&home, token, &id, what).await.problem(403).0,
                "forbidden"
            );
        }
    };
    refused(&anna).await;
    assert_eq!(home.login("anna").await.status, 200);
    // Whose role is taken away is refused at once, whatever the token says.
    for shard in home.users.service.store.shards() {
        let mut connection = shard.write().await.unwrap();
        let demote = store::sql("UPDATE users SET role = 'user'");
        demote.run(&mut connection).await.unwrap();
    }
    refused(&admin).await;
}
