//! Where one is logged in.

use super::*;

async fn devices(home: &Home, token: &str) -> Vec<Value> {
    let answer = home.get("/v1/me/sessions", token).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-control")),
        (200, "no-store")
    );
    answer.json()["items"].as_array().unwrap().clone()
}

async fn end(home: &Home, token: &str, id: &str) -> Answer {
    let path = format!("/v1/me/sessions/{id}");
    home.send(request(Method::DELETE, &path, Some(token), &[], None))
        .await
}

async fn login_from(home: &Home, address: &str) -> Value {
    let body = json!({ "username": "anna", "password": PASSWORD });
    let headers = [("x-forwarded-for", address), ("user-agent", "curl/8.5")];
    let login = request(Method::POST, "/v1/login", None, &headers, Some(body));
    home.send(login).await.json()
}

#[tokio::test]
async fn open_sessions_are_listed_with_who_used_them_last() {
    let home = Home::new().await;
    home.register("anna").await;
    let first = login_from(&home, "192.0.2.1").await;
    let second = login_from(&home, "192.0.2.2").await;
    let token = text(&second, "access_token");
    let listed = devices(&home, &token).await;
    let addresses: Vec<_> = listed.iter().map(|item| text(item, "address")).collect();
    assert_eq!(addresses, ["192.0.2.2", "192.0.2.1"]);
    assert_eq!(listed[0]["agent"], "curl/8.5");
    assert_eq!(
        [&listed[0]["current"], &listed[1]["current"]],
        [true, false]
    );
    assert_eq!(listed[1]["created_at"], listed[1]["last_used_at"]);

    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let body = Some(json!({ "refresh_token": first["refresh_token"] }));
    let headers = [("x-forwarded-for", "192.0.2.3"), ("user-agent", "Firefox")];
    home.send(request(
        Method::POST,
        "/v1/token/refresh",
        None,
        &headers,
        body,
    ))
    .await;
    let now = devices(&home, &token).await;
    assert_eq!(
        [&now[0]["id"], &now[1]["id"]],
        [&listed[1]["id"], &listed[0]["id"]]
    );
    assert_eq!(
        [&now[0]["address"], &now[0]["agent"]],
        ["192.0.2.3", "Firefox"]
    );
    assert_eq!(now[0]["created_at"], listed[1]["created_at"]);
    // Not as text: milliseconds that end in zeros are written shorter.
    let at = |member: &str| text(&now[0], member).parse::<jiff::Timestamp>().unwrap();
    assert!(at("last_used_at") > at("created_at"));

    // Ended and expired ones are not open, and others' are not one's own.
    let (_, other) = home.session("bert").await;
    assert_eq!(devices(&home, &text(&other, "access_token")).await.len(), 1);
    for shard in home.users.service.store.shards() {
        let expire = store::sql("UPDATE sessions SET expires_at = 1 WHERE address = '192.0.2.3'");
        expire.run(&mut shard.write().await.unwrap()).await.unwrap();
    }
    assert_eq!(devices(&home, &token).await, [listed[0].clone()]);
}

#[tokio::test]
async fn a_session_is_ended_from_another_at_once() {
    // All users are on one shard: what is not one's own is refused for no other reason.
    let home = Home::with(|config| config.data.shards = 1).await;
    let (_, lost) = home.session("anna").await;
    let token = text(&home.login("anna").await.json(), "access_token");
    let lost_token = text(&lost, "access_token");
    assert_eq!(home.get("/v1/me", &lost_token).await.status, 200);
    let listed = devices(&home, &token).await;
    let (own, id) = (text(&listed[0], "id"), text(&listed[1], "id"));
    let (_, bert) = home.session("bert").await;
    let bert = text(&bert, "access_token");
    for wrong in [&*id, "1", "x", "-1"] {
        assert_eq!(end(&home, &bert, wrong).await.problem(404).0, "not-found");
    }
    assert_eq!(
        home.get("/v1/me", &lost_token).await.status,
        200,
        "it is not bert's"
    );

    let ended = end(&home, &token, &id).await;
    assert_eq!((ended.status.as_u16(), ended.body.len()), (204, 0));
    home.get("/v1/me", &lost_token).await.problem(401);
    let body = json!({ "refresh_token": lost["refresh_token"] });
    home.post("/v1/token/refresh", body).await.problem(401);
    assert_eq!(end(&home, &token, &id).await.problem(404).0, "not-found");
    assert_eq!(devices(&home, &token).await.len(), 1);
    let page = home.get("/v1/me/history?limit=1", &token).await.json();
    assert_eq!(page["items"][0]["kind"], "session_revoked");
    assert_eq!(page["items"][0]["session"], *id);

    assert_eq!(
        end(&home, &token, &own).await.status,
        204,
        "one's own is a logout"
    );
    home.get("/v1/me", &token).await.problem(401);
}
