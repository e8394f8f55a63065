//! What every request gets: ids, problems, limits, metrics; and what other services ask.

use super::*;
use crate::api::{fronted, routes};

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let home = Home::new().await;
    let with = |id: &str| request(Method::GET, "/nowhere", None, &[("x-request-id", id)], None);
    let answer = home.send(with("abc-123")).await;
    assert_eq!(answer.header("x-request-id"), "abc-123");
    assert_eq!(answer.problem(404).0, "not-found");
    for unfit in ["", "with space", &"x".repeat(129)] {
        let answer = home.send(with(unfit)).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{unfit:?}");
    }
    assert_eq!(
        home.get("/healthz", "").await.header("x-request-id").len(),
        36
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let home = Home::new().await;
    let answer = home.get("/v1/register", "").await;
    assert_eq!(answer.problem(405).0, "method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
    let put = request(Method::PUT, "/v1/me", None, &[], None);
    let answer = home.send(put).await;
    answer.problem(405);
    let allow = answer.header("allow");
    assert!(allow.contains("GET") && allow.contains("PATCH"), "{allow}");
}

#[tokio::test]
async fn bodies_are_checked_before_anything_else() {
    let home = Home::new().await;
    for (method, path, _) in routes() {
        if ![
            "/v1/register",
            "/v1/login",
            "/v1/token/refresh",
            "/v1/recovery",
            "/v1/recovery/confirm",
        ]
        .contains(&path)
        {
            continue;
        }
        let send = async |kind: Option<&str>, body: String| {
            let mut request = Request::builder().method(&method).uri(path);
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            home.send(request.body(Body::from(body)).unwrap()).await
        };
        let json = Some("application/json");
        for text in ["", "{", "{\"username\": \"a\",}", "{} x", "\u{0}"] {
            let (kind, _) = send(json, text.into()).await.problem(400);
            assert_eq!(kind, "malformed-json", "{path} {text:?}");
        }
        for kind in [None, Some("text/plain"), Some("application/jsonx")] {
            let answer = send(kind, "{}".into()).await;
            assert_eq!(answer.problem(415).0, "unsupported-media-type");
        }
        let charset = send(Some("Application/JSON; charset=utf-8"), "{}".into()).await;
        charset.problem(422);
        let large = format!(
            "{{\"password\": \"{}\"}}",
            "x".repeat(super::super::BODY_LIMIT)
        );
        assert_eq!(send(json, large).await.problem(413).0, "body-too-large");
    }
}

#[tokio::test]
async fn a_body_in_a_coding_that_nobody_can_read_is_refused_as_such() {
    let home = Home::new().await;
    let body = json!({ "username": "anna", "password": PASSWORD });
    let send = async |coding: &str| {
        let coding = [("content-encoding", coding)];
        let request = request(Method::POST, "/v1/login", None, &coding, Some(body.clone()));
        home.send(request).await
    };
    for coding in ["gzip", "br", "identity, gzip", "deflate"] {
        let answer = send(coding).await;
        let (kind, detail) = answer.problem(415);
        assert_eq!(kind, "unsupported-media-type");
        assert!(detail.contains("content-encoding"), "{detail}");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    for coding in ["identity", "Identity", ""] {
        assert_eq!(send(coding).await.problem(401).0, "wrong-credentials");
    }
}

#[tokio::test]
async fn a_token_is_needed_where_it_says_so() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::PATCH, "/v1/me"),
        (Method::DELETE, "/v1/me"),
        (Method::GET, "/v1/me/export"),
        (Method::POST, "/v1/logout"),
        (Method::GET, "/v1/users/1"),
        (Method::POST, "/v1/users/batch"),
        (Method::POST, "/v1/me/password"),
        (Method::POST, "/v1/me/totp"),
        (Method::POST, "/v1/me/totp/confirm"),
        (Method::DELETE, "/v1/me/totp"),
        (Method::GET, "/v1/admin/users"),
        (Method::POST, "/v1/admin/users/1/disable"),
        (Method::POST, "/v1/admin/users/1/enable"),
    ] {
        let send = async |header: Option<&str>| {
            let header: Vec<_> = header
                .iter()
                .map(|value| ("authorization", *value))
                .collect();
            let request = request(method.clone(), path, None, &header, Some(json!({})));
            home.send(request).await
        };
        let answer = send(None).await;
        assert_eq!(answer.problem(401).0, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        let answer = send(Some("Basic YTpi")).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        for wrong in ["Bearer", "Bearer x", &format!("Bearer {token}x")] {
            send(Some(wrong)).await.problem(401);
        }
        let answer = send(Some("Bearer x.y.z")).await;
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer error=\"invalid_token\""
        );
    }
    let lower = [("authorization", &*format!("bearer {token}"))];
    let lower = home
        .send(request(Method::GET, "/v1/me", None, &lower, None))
        .await;
    assert_eq!(lower.status, 200);
}

#[tokio::test]
async fn keys_are_published_and_can_be_rotated() {
    let home = Home::new().await;
    let (_, tokens) = home.session("anna").await;
    let keys = async || {
        let answer = home.get("/.well-known/jwks.json", "").await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        answer.json()["keys"].as_array().unwrap().clone()
    };
    let first = keys().await;
    assert_eq!((first.len(), &first[0]["alg"]), (1, &json!("EdDSA")));

    // As an operator would: a key of another installation, under a later name.
    let other = Home::new().await;
    let keys_of_other = std::fs::read_dir(other.dir.path().join("keys")).unwrap();
    let mut files = keys_of_other.map(|file| file.unwrap().path());
    let key = files.find(|path| path.extension().is_some_and(|end| end == "pem"));
    let key = key.unwrap();
    std::fs::copy(key, home.dir.path().join("keys/99990101T000000Z.pem")).unwrap();
    home.reload_keys().unwrap();
    let both = keys().await;
    assert_eq!(both.len(), 2);
    let old = home.get("/v1/me", &text(&tokens, "access_token")).await;
    assert_eq!(old.status, 200, "tokens of the old key are still accepted");
    let new = text(&home.login("anna").await.json(), "access_token");
    let kid = jsonwebtoken::decode_header(&new).unwrap().kid.unwrap();
    assert_eq!(both[1]["kid"], *kid);
    assert_eq!(home.get("/v1/me", &new).await.status, 200);

    std::fs::write(home.dir.path().join("keys/broken.pem"), "x").unwrap();
    assert!(home.reload_keys().is_err());
    assert_eq!(
        home.get("/v1/me", &new).await.status,
        200,
        "the keys in use stay"
    );
}

#[tokio::test]
async fn health_names_shards_that_are_down_and_needs_one() {
    let home = Home::new().await;
    let well = home.get("/healthz", "").await;
    assert_eq!(
        (well.status.as_u16(), well.json()),
        (200, json!({ "status": "ok" }))
    );
    let shards = home.users.service.store.shards().to_vec();
    let break_shard = async |number: usize| {
        let mut connection = shards[number].write().await.unwrap();
        let drop = store::sql("DROP TABLE shard_identity");
        drop.run(&mut connection).await.unwrap();
    };
    break_shard(3).await;
    let one_down = home.get("/healthz", "").await;
    assert_eq!(
        (one_down.status.as_u16(), one_down.json()),
        (200, json!({ "status": "degraded", "shards_down": [3] }))
    );
    for number in 0..3 {
        break_shard(number).await;
    }
    let all_down = home.get("/healthz", "").await;
    let (kind, detail) = all_down.problem(503);
    assert_eq!(kind, "unavailable");
    assert!(!detail.contains("logins"), "{detail}");
    assert_eq!(all_down.header("retry-after"), "1");
}

#[tokio::test]
async fn the_description_is_served() {
    let home = Home::new().await;
    let answer = home.get("/openapi.json", "").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_panic_ends_one_request() {
    async fn panics() -> &'static str {
        panic!("secret detail")
    }
    let home = Home::new().await;
    let router = Router::new().route("/panics", axum::routing::get(panics));
    let router = fronted(router, ["/panics"], home.users.service.clone());
    let get = || request(Method::GET, "/panics", None, &[], None);
    for _ in 0..2 {
        let answer = send(router.clone(), get()).await;
        assert_eq!(answer.problem(500).0, "internal");
        assert!(!answer.text().contains("secret"));
    }
    let scrape = home.scrape();
    assert!(scrape.contains("tidegate_users_panics_total 2"), "{scrape}");
    let line = r#"tidegate_users_requests_total{method="GET",route="/panics",status="500"} 2"#;
    assert!(scrape.contains(line), "{scrape}");
}

#[tokio::test]
async fn metrics_name_routes_and_no_user() {
    let home = Home::new().await;
    let (id, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    home.get(&format!("/v1/users/{id}"), &token).await;
    home.get("/secret-path-of-anna", &token).await;
    let odd = Method::from_bytes(b"ANNA").unwrap();
    home.send(request(odd, "/v1/me", None, &[], None)).await;
    let scrape = home.scrape();
    for expected in [
        r#"tidegate_users_requests_total{method="GET",route="/v1/users/{id}",status="200"} 1"#,
        r#"tidegate_users_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"tidegate_users_requests_total{method="other",route="/v1/me",status="405"} 1"#,
        "tidegate_users_request_duration_seconds_bucket",
        "tidegate_users_hash_queue 0",
        "tidegate_users_hash_in_flight 0",
        "tidegate_users_hash_rejected_total 0",
        "tidegate_users_hash_wait_seconds_count",
        r#"tidegate_users_cache_misses_total{cache="sessions"} 1"#,
        r#"tidegate_users_cache_entries{cache="profiles"}"#,
        r#"tidegate_users_cache_hot_keys{cache="sessions"} 0"#,
    ] {
        assert!(scrape.contains(expected), "{expected} is not in\n{scrape}");
    }
    for secret in ["anna", &*id, &token] {
        assert!(!scrape.contains(secret));
    }
    for family in home.registry.gather() {
        assert!(family.name().starts_with("tidegate_users_"));
    }
}
