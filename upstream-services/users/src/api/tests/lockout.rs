//! Wrong passwords, and who has to wait for them.

use super::*;

const GATEWAY_SAYS: &str = "x-forwarded-for";

async fn login(home: &Home, name: &str, password: &str, from: &str) -> Answer {
    let body = json!({ "username": name, "password": password });
    let from = [(GATEWAY_SAYS, from)];
    home.send(request(Method::POST, "/v1/login", None, &from, Some(body)))
        .await
}

async fn home() -> Home {
    Home::with(|config| {
        config.lockout.attempts = 3;
        config.lockout.account_attempts = 6;
    })
    .await
}

#[tokio::test]
async fn after_wrong_passwords_nobody_listens_for_a_while() {
    let home = home().await;
    home.register("anna").await;
    // A name that nobody has gets the same answers.
    let mut answers = Vec::new();
    for name in ["anna", "nobody", "no@example.org", "!"] {
        let before = home.hashes();
        for _ in 0..3 {
            let wrong = login(&home, name, "wrong password", "192.0.2.1").await;
            assert_eq!(wrong.problem(401).0, "wrong-credentials");
        }
        let right = login(&home, name, PASSWORD, "192.0.2.1").await;
        assert_eq!(home.hashes(), before + 3, "no hash for {name}");
        let (kind, detail) = right.problem(429);
        let wait: u64 = right.header("retry-after").parse().unwrap();
        assert!((25..=29).contains(&wait), "{wait}");
        answers.push((kind, detail));
    }
    assert_eq!(answers[0].0, "locked-out");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    // What the client says of itself changes nothing; another address is another count.
    let lie = login(&home, "anna", PASSWORD, "203.0.113.9, 192.0.2.1").await;
    lie.problem(429);
    let elsewhere = login(&home, "anna", PASSWORD, "192.0.2.2").await;
    assert_eq!(elsewhere.status, 200);
    assert!(home.scrape().contains("tidegate_users_locked_out_total 5"));
}

#[tokio::test]
async fn strangers_cannot_lock_out_the_owner() {
    let home = home().await;
    home.register("anna").await;
    let mine = "192.0.2.1";
    assert_eq!(login(&home, "anna", PASSWORD, mine).await.status, 200);
    for number in 0..6 {
        let from = format!("198.51.100.{number}");
        let wrong = login(&home, "anna", "wrong password", &from).await;
        wrong.problem(401);
    }
    let unfamiliar = login(&home, "anna", PASSWORD, "203.0.113.1").await;
    unfamiliar.problem(429);
    assert_eq!(login(&home, "anna", PASSWORD, mine).await.status, 200);
}

#[tokio::test]
async fn a_stolen_access_token_does_not_guess_the_password() {
    let home = home().await;
    let (_, tokens) = home.session("anna").await;
    let token = text(&tokens, "access_token");
    let change = async |current: &str| {
        let body = json!({ "current_password": current, "password": "another good one" });
        let path = "/v1/me/password";
        home.send(request(Method::POST, path, Some(&token), &[], Some(body)))
            .await
    };
    for _ in 0..3 {
        change("wrong password").await.problem(401);
    }
    change(PASSWORD).await.problem(429);
}
