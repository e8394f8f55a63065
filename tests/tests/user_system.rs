//! The user system as its clients meet it: through the gateway of `tidegate up`.

use reqwest::{Certificate, Method, Version};
use serde_json::{Value, json};
use tidegate_tests::answer::Answer;
use tidegate_tests::api::{Api, PASSWORD, Tokens, answered, client};
use tidegate_tests::edge::Home;
use tidegate_tests::tokens::{Signer, hmac, part, unix_now, unsigned};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_registers_logs_in_and_reads_the_profile() {
    let home = Home::default();
    let edge = home.up().await;
    for (api, name) in [(edge.http(), "ada"), (edge.https(), "grace")] {
        let account = api.register(name).await.expect(201);
        let id = account.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(account.header("location"), format!("/v1/users/{id}"));

        let tokens = api.login(name).await;
        let me = api.get("/v1/me", &tokens.access).await.expect(200);
        let profile = me.json();
        assert_eq!(
            (&profile["id"], &profile["username"]),
            (&json!(id), &json!(name))
        );
        assert_eq!(profile["email"], format!("{name}@example.com"));
        assert!(!me.text().contains("hash"), "{profile}");

        let by_email = api
            .try_login(&format!("{name}@example.com"), PASSWORD)
            .await;
        by_email.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_speaks_http_2_and_http_1_and_only_with_its_own_certificate() {
    let home = Home::default();
    let edge = home.up().await;
    let base = edge.https().base;
    let pem = std::fs::read(edge.dir.join("tls/cert.pem")).unwrap();
    let trusting = || client().tls_certs_only([Certificate::from_pem(&pem).unwrap()]);
    for (client, version) in [
        (trusting(), Version::HTTP_2),
        (trusting().http1_only(), Version::HTTP_11),
    ] {
        let api = Api::new(base.clone(), client);
        let request = api.request(Method::GET, "/.well-known/jwks.json");
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (200, version)
        );
    }
    let stranger = Api::new(base, client().tls_certs_only([]));
    let refused = stranger.request(Method::GET, "/openapi.json").send().await;
    assert!(
        refused.unwrap_err().is_connect(),
        "a certificate nobody vouches for"
    );
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_session() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);
    let first = api.login("ada").await;
    let second = Tokens::of(&api.refresh(&first.refresh).await.expect(200));
    assert_ne!(first.refresh, second.refresh);
    api.get("/v1/me", &second.access).await.expect(200);

    let other_session = api.login("ada").await;
    api.refresh(&first.refresh).await.problem(401);
    api.refresh(&second.refresh).await.problem(401);
    api.get("/v1/me", &second.access).await.problem(401);
    api.get("/v1/me", &other_session.access).await.expect(200);
}

#[tokio::test]
async fn who_has_forgotten_the_password_needs_no_token() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    for (path, body) in [
        ("/v1/recovery", json!({ "email": "ada@example.com" })),
        (
            "/v1/recovery/confirm",
            json!({ "token": "x", "password": PASSWORD }),
        ),
    ] {
        let request = api.request(Method::POST, path).json(&body);
        // The service itself answers: `[recovery]` is not set up, and it does not know the token.
        let kind = answered(request).await.json()["type"].clone();
        let kind = kind.as_str().unwrap_or_default();
        assert!(kind.contains("recovery"), "{path}: {kind}");
    }
}

#[tokio::test]
async fn a_web_page_sends_and_reads_what_the_services_speak_with() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    let page = |request: reqwest::RequestBuilder| request.header("origin", "http://localhost:3000");
    let preflight = page(api.request(Method::OPTIONS, "/v1/me"))
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "tidegate-seen");
    let allowed = answered(preflight).await;
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("tidegate-seen"),
        "{allowed:?}"
    );
    let read = answered(page(api.request(Method::GET, "/openapi.json"))).await;
    let exposed = read.header("access-control-expose-headers").to_lowercase();
    for name in ["etag", "tidegate-seen", "retry-after", "x-request-id"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
}

#[tokio::test]
async fn a_logged_out_token_is_refused() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);
    let (ended, stays) = (api.login("ada").await, api.login("ada").await);
    api.get("/v1/me", &ended.access).await.expect(200);

    let logout = api
        .request(Method::POST, "/v1/logout")
        .bearer_auth(&ended.access);
    answered(logout).await.expect(204);
    api.get("/v1/me", &ended.access).await.problem(401);
    api.refresh(&ended.refresh).await.problem(401);
    api.get("/v1/me", &stays.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_only_as_the_client_last_saw_it() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.https();
    api.register("ada").await.expect(201);
    let token = api.login("ada").await.access;
    let change = async |tag: &str, name: &str| -> Answer {
        let request = api.request(Method::PATCH, "/v1/me").bearer_auth(&token);
        let body = json!({ "display_name": name });
        answered(request.header("if-match", tag).json(&body)).await
    };
    let seen = api.get("/v1/me", &token).await.expect(200);
    let changed = change(seen.header("etag"), "Ada L.").await.expect(200);
    assert_ne!(changed.header("etag"), seen.header("etag"));
    assert_eq!(changed.json()["display_name"], "Ada L.");

    change(seen.header("etag"), "lost update")
        .await
        .problem(412);
    let now = api.get("/v1/me", &token).await.expect(200);
    assert_eq!(now.json()["display_name"], "Ada L.");
    let again = api.request(Method::GET, "/v1/me").bearer_auth(&token);
    let again = again.header("if-none-match", now.header("etag"));
    assert!(answered(again).await.expect(304).body.is_empty());
}

#[tokio::test]
async fn many_profiles_come_in_the_order_asked_for() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    let mut ids = Vec::new();
    for name in ["ada", "grace", "edsger"] {
        let account = api.register(name).await.expect(201).json();
        ids.push(account["id"].clone());
    }
    let token = api.login("ada").await.access;
    let ask = json!({ "ids": [&ids[2], &ids[0], "1", &ids[1], &ids[2]] });
    let batch = api
        .request(Method::POST, "/v1/users/batch")
        .bearer_auth(&token);
    let users = answered(batch.json(&ask)).await.expect(200).json()["users"].clone();
    let names: Vec<_> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| &user["username"])
        .collect();
    assert_eq!(names, ["edsger", "ada", "grace"]);
    assert!(!users.to_string().contains("@example.com"), "{users}");

    let one = format!("/v1/users/{}", ids[1].as_str().unwrap());
    assert_eq!(api.get(&one, &token).await.expect(200).json(), users[2]);
    api.get("/v1/users/1", &token).await.problem(404);
}

#[tokio::test]
async fn mistakes_of_clients_are_told_as_problems() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);

    let malformed = api.request(Method::POST, "/v1/register");
    let malformed = malformed
        .header("content-type", "application/json")
        .body("{\"username\":");
    answered(malformed).await.problem(400);
    let short = json!({ "username": "bob", "email": "bob@example.com", "password": "short" });
    let problem = api.post("/v1/register", &short).await.problem(422);
    assert!(
        problem["detail"].as_str().unwrap().contains("password"),
        "{problem}"
    );
    api.register("ada").await.problem(409);
    api.register("ADA").await.problem(409);
    let unknown_field = json!({ "username": "bob", "role": "admin" });
    api.post("/v1/login", &unknown_field).await.problem(422);

    let without = answered(api.request(Method::GET, "/v1/me")).await;
    without.problem(401);
    assert_eq!(without.header("www-authenticate"), "Bearer");
    answered(api.request(Method::GET, "/nothing/here"))
        .await
        .problem(404);
    let other_method = answered(api.request(Method::DELETE, "/v1/register")).await;
    assert!(
        matches!(other_method.status, 401 | 405),
        "{}",
        other_method.status
    );
}

#[tokio::test]
async fn whether_a_user_exists_stays_a_secret() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);
    let wrong_password = api.try_login("ada", "not the password").await;
    let unknown_user = api.try_login("nobody", "not the password").await;
    let said = |answer: &Answer| {
        let mut problem = answer.problem(401);
        problem
            .as_object_mut()
            .unwrap()
            .remove("request_id")
            .unwrap();
        let kind = answer.header("content-type").to_owned();
        (problem, kind)
    };
    assert_eq!(said(&wrong_password), said(&unknown_user));
}

#[tokio::test]
async fn only_tokens_of_the_service_pass() {
    let home = Home::default();
    let edge = home.up().await;
    let api = edge.http();
    api.register("ada").await.expect(201);
    let token = api.login("ada").await.access;
    let key_id = part(&token, 0)["kid"].as_str().unwrap().to_owned();
    let with = |key: &str, value: Value| {
        let mut claims = part(&token, 1);
        claims[key] = value;
        claims
    };
    let ours = key_of(&edge.dir);
    let later = with("exp", json!(unix_now() + 100));
    let sound = ours.sign(&key_id, &later);
    api.get("/v1/me", &sound).await.expect(200); // what follows is refused for its own reason

    let expired = ours.sign(&key_id, &with("exp", json!(unix_now() - 5)));
    let problem = api.get("/v1/me", &expired).await.problem(401);
    assert!(
        problem["detail"].as_str().unwrap().contains("expired"),
        "{problem}"
    );
    let jwks = answered(api.request(Method::GET, "/.well-known/jwks.json"))
        .await
        .json();
    let public_part = jwks["keys"][0]["x"].as_str().unwrap().as_bytes();
    let (head, rest) = sound.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let changed = unsigned(&key_id, &with("sub", json!("1")));
    for forged in [
        Signer::new().sign(&key_id, &later),
        Signer::new().sign("unknown-key", &later),
        ours.sign_with_public_key(&key_id, &later),
        hmac(&key_id, &later, public_part),
        unsigned(&key_id, &later),
        ours.sign(&key_id, &with("aud", json!("another"))),
        ours.sign(&key_id, &with("iss", json!("another"))),
        ours.sign(&key_id, &with("nbf", json!(unix_now() + 50))),
        format!("{head}.{}.{signature}", changed.split('.').nth(1).unwrap()),
        format!("{head}.{}", rest.trim_end_matches(signature)),
        "x".into(),
    ] {
        for service in [&api, &edge.users()] {
            let answer = service.get("/v1/me", &forged).await;
            assert_eq!(answer.status, 401, "{}: {forged}", service.base);
        }
    }
}

#[tokio::test]
async fn the_openapi_document_names_every_route() {
    let home = Home::default();
    let edge = home.up().await;
    let request = edge.http().request(Method::GET, "/openapi.json");
    let document = answered(request).await.expect(200).json();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3."),
        "{document}"
    );
    for path in [
        "/v1/register",
        "/v1/login",
        "/v1/token/refresh",
        "/v1/me",
        "/v1/users/batch",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_requests_that_up_prints_work_as_printed() {
    let home = Home::default();
    let edge = home.up().await;
    let printed = edge.process.stdout();
    let (_, rest) = printed
        .split_once("\nTry:\n")
        .expect("`up` says what to try");
    let (script, _) = rest.split_once("\nCtrl-C").expect("and how to stop");
    let ran = tokio::process::Command::new("sh")
        .args(["-c", script])
        .output()
        .await
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let out = String::from_utf8(ran.stdout).unwrap();

    let mut values = serde_json::Deserializer::from_str(&out).into_iter::<Value>();
    let registered = values.next().unwrap().unwrap();
    let over_http = values.next().unwrap().unwrap();
    let over_https = values.next().unwrap().unwrap();
    let metrics = &out[values.byte_offset()..];
    assert_eq!(registered["username"], "ada");
    assert_eq!(over_http["email"], "ada@example.com");
    assert_eq!(over_http, over_https);
    assert!(
        metrics.contains("tidegate_gateway_requests_total{"),
        "{metrics}"
    );
}

/// The key that the service signs with.
fn key_of(dir: &std::path::Path) -> Signer {
    let folder = std::fs::read_dir(dir.join("data/keys")).expect("the service made its keys");
    let mut files = folder.flatten().map(|file| file.path());
    let file = files.find(|path| path.extension().is_some_and(|end| end == "pem"));
    let file = file.expect("and there is one");
    let private = std::fs::read_to_string(file).expect("which this user can read");
    Signer::from_private(&private)
}
