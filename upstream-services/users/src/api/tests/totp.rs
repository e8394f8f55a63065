//! The second factor.

use futures::future::join_all;

use super::*;
use crate::factors::tests::code;

async fn ask(home: &Home, method: Method, path: &str, token: &str, body: Value) -> Answer {
    home.send(request(method, path, Some(token), &[], Some(body)))
        .await
}

fn login_body(code: &str) -> Value {
    json!({ "username": "anna", "password": PASSWORD, "totp": code })
}

/// Waits until the codes do not change for as long as a test takes.
async fn between_steps() {
    let into = store::Time::now().as_millis().rem_euclid(30_000);
    if into > 22_000 {
        let rest = u64::try_from(30_000 - into).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(rest)).await;
    }
}

/// A user with a second factor: the access token, the secret, and the recovery codes.
async fn enrolled(home: &Home) -> (String, String, Vec<String>) {
    between_steps().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let body = json!({ "password": PASSWORD });
    let offer = ask(home, Method::POST, "/v1/me/totp", &token, body).await;
    assert_eq!(offer.status, 200, "{}", offer.text());
    assert_eq!(offer.header("cache-control"), "no-store");
    let secret = text(&offer.json(), "secret");
    let uri = text(&offer.json(), "uri");
    assert!(uri.contains(&secret) && uri.starts_with("otpauth://totp/tidegate:anna?"));
    assert_eq!(home.login("anna").await.status, 200, "it is only pending");
    let body = json!({ "code": code(&secret, -1) });
    let on = ask(home, Method::POST, "/v1/me/totp/confirm", &token, body).await;
    assert_eq!(on.status, 200, "{}", on.text());
    let codes = on.json()["recovery_codes"].as_array().unwrap().clone();
    let codes = codes.iter().map(|code| code.as_str().unwrap().to_owned());
    (token, secret, codes.collect())
}

#[tokio::test]
async fn a_login_needs_a_code_and_each_works_once() {
    let home = Home::new().await;
    let (_, secret, _) = enrolled(&home).await;
    let bare = home.login("anna").await;
    assert_eq!(bare.problem(401).0, "totp-required");
    let wrong = json!({ "username": "anna", "password": "wrong password", "totp": "000000" });
    let wrong = home.post("/v1/login", wrong).await;
    assert_eq!(wrong.problem(401).0, "wrong-credentials");

    let used = home.post("/v1/login", login_body(&code(&secret, -1))).await;
    assert_eq!(used.problem(401).0, "wrong-code", "it confirmed the factor");
    let now = code(&secret, 0);
    let first = home.post("/v1/login", login_body(&now)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let replayed = home.post("/v1/login", login_body(&now)).await;
    assert_eq!(replayed.problem(401).0, "wrong-code");
    let next = home.post("/v1/login", login_body(&code(&secret, 1))).await;
    assert_eq!(next.status, 200);
    let earlier = home.post("/v1/login", login_body(&now)).await;
    earlier.problem(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_logins_at_once_with_one_code_one_gets_in() {
    let home = Home::new().await;
    let (_, secret, paper) = enrolled(&home).await;
    for code in [&code(&secret, 1), &paper[0]] {
        let logins = (0..6).map(|_| {
            let login = request(Method::POST, "/v1/login", None, &[], Some(login_body(code)));
            tokio::spawn(send(home.router.clone(), login))
        });
        let logins = join_all(logins).await;
        let won = logins.iter().flatten().filter(|login| login.status == 200);
        assert_eq!(won.count(), 1, "{code}");
    }
}

#[tokio::test]
async fn recovery_codes_log_in_once_each() {
    let home = Home::new().await;
    let (_, _, paper) = enrolled(&home).await;
    assert_eq!(paper.len(), 10);
    let first = home.post("/v1/login", login_body(&paper[0])).await;
    assert_eq!(first.status, 200);
    let again = home.post("/v1/login", login_body(&paper[0])).await;
    assert_eq!(again.problem(401).0, "wrong-code");
    let typed = paper[1].to_lowercase().replace('-', " ");
    let typed = home.post("/v1/login", login_body(&typed)).await;
    assert_eq!(typed.status, 200);
    let left = "SELECT COUNT(*) FROM recovery_codes";
    assert_eq!(home.count(left).await, 8);
}

#[tokio::test]
async fn wrong_codes_lock_out() {
    let home = Home::with(|config| config.lockout.attempts = 3).await;
    let (token, _, _) = enrolled(&home).await;
    for _ in 0..3 {
        let wrong = home.post("/v1/login", login_body("000000")).await;
        wrong.problem(401);
    }
    home.post("/v1/login", login_body("000000"))
        .await
        .problem(429);

    let off = json!({ "password": PASSWORD });
    let off = ask(&home, Method::DELETE, "/v1/me/totp", &token, off).await;
    assert_eq!(off.status, 204);
    let body = json!({ "password": PASSWORD });
    ask(&home, Method::POST, "/v1/me/totp", &token, body).await;
    let confirm = async || {
        let body = json!({ "code": "000000" });
        ask(&home, Method::POST, "/v1/me/totp/confirm", &token, body).await
    };
    for _ in 0..3 {
        assert_eq!(confirm().await.problem(401).0, "wrong-code");
    }
    confirm().await.problem(429);
}

#[tokio::test]
async fn a_factor_is_changed_with_the_password_only() {
    let home = Home::new().await;
    let (token, secret, _) = enrolled(&home).await;
    let proof = |password: &str| json!({ "password": password });
    let path = "/v1/me/totp";
    let wrong = ask(&home, Method::DELETE, path, &token, proof("wrong one")).await;
    assert_eq!(wrong.problem(401).0, "wrong-credentials");
    let wrong = ask(&home, Method::POST, path, &token, proof("wrong one")).await;
    wrong.problem(401);
    let second = ask(&home, Method::POST, path, &token, proof(PASSWORD)).await;
    assert_eq!(second.problem(409).0, "totp-on");
    let body = json!({ "code": code(&secret, 1) });
    let again = ask(&home, Method::POST, "/v1/me/totp/confirm", &token, body).await;
    assert_eq!(again.problem(409).0, "totp-not-pending");

    let off = ask(&home, Method::DELETE, path, &token, proof(PASSWORD)).await;
    assert_eq!(off.status, 204);
    assert_eq!(home.login("anna").await.status, 200);
    assert_eq!(home.count("SELECT COUNT(*) FROM recovery_codes").await, 0);
    let anew = ask(&home, Method::POST, path, &token, proof(PASSWORD)).await;
    assert_ne!(text(&anew.json(), "secret"), secret);
}

#[tokio::test]
async fn a_factor_outlives_a_restart_and_its_secret_is_not_stored_as_it_is() {
    let home = Home::new().await;
    let (_, secret, paper) = enrolled(&home).await;
    let home = home.restart(|_| {}).await;
    home.login("anna").await.problem(401);
    let next = home.post("/v1/login", login_body(&code(&secret, 1))).await;
    assert_eq!(next.status, 200);
    let raw = crate::factors::tests::bytes(&secret);
    home.users.service.store.close().await;
    for file in std::fs::read_dir(home.dir.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in [secret.as_bytes(), &raw, paper[0].as_bytes()] {
            let found = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!found, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_code_that_was_used_meanwhile_is_used() {
    let home = Home::new().await;
    let (_, secret, paper) = enrolled(&home).await;
    let service = home.users.service.clone();
    let name = ("username", "anna");
    let owner = service.store.owner_of(name, &store::Freshness::Latest);
    let user = owner.await.unwrap().unwrap();
    let select = "SELECT secret, last_step FROM totp WHERE user_id = ? AND {fence}";
    let mut connection = service.store.at(user).write().await.unwrap();
    let row = store::sql(select).bind(user).optional(&mut connection);
    let (sealed, last_step): (Vec<u8>, i64) = row.await.unwrap().unwrap();
    drop(connection);
    // Both logins have read the row before either has written it.
    let factor = crate::factors::Factor { sealed, last_step };
    for code in [&code(&secret, 0), &paper[0]] {
        for expected in [true, false] {
            let redeemed = service
                .factors
                .redeem(user, &factor, code, store::Time::now());
            assert_eq!(redeemed.await.unwrap(), expected, "{code}");
        }
    }
}
