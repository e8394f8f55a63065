//! Recovery messages to a server: signed, tried again, and in nobody's way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::State;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server that takes messages.
struct Mailer {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<(HeaderMap, String)>>,
    /// What it answers, the last for ever.
    answers: Mutex<Vec<u16>>,
    delay: Duration,
}

impl Mailer {
    async fn start(answers: &[u16], delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, answers, delay)
    }

    fn on(listener: TcpListener, answers: &[u16], delay: Duration) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen {
            answers: Mutex::new(answers.to_vec()),
            delay,
            ..Seen::default()
        });
        let router = Router::new()
            .route("/in", post(take))
            .with_state(seen.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            seen,
            task,
        }
    }

    fn requests(&self) -> Vec<(HeaderMap, String)> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Waits for the first request.
    async fn asked(&self) {
        while self.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: String) -> StatusCode {
    let answer = {
        seen.requests.lock().unwrap().push((headers, body));
        let mut answers = seen.answers.lock().unwrap();
        match answers.len() {
            1 => answers[0],
            _ => answers.remove(0),
        }
    };
    tokio::time::sleep(seen.delay).await;
    StatusCode::from_u16(answer).unwrap()
}

async fn home(address: SocketAddr, more: &str) -> Home {
    let webhook = format!("url = 'http://{address}/in'\nsecret = '{SECRET}'\n{more}");
    Home::with(|config| config.recovery.webhook = Some(toml::from_str(&webhook).unwrap())).await
}

async fn ask(home: &Home, name: &str) {
    let body = json!({ "email": format!("{name}@example.org") });
    let asked = home.post("/v1/recovery", body).await;
    assert_eq!((asked.status.as_u16(), asked.body.len()), (202, 0));
}

async fn counted(home: &Home, outcome: &str, number: u32) {
    let what = format!("recovery_messages_total{{outcome=\"{outcome}\"}} {number}\n");
    let start = Instant::now();
    while !home.scrape().contains(&what) {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As a receiver does it.
fn verify((headers, body): &(HeaderMap, String)) -> Value {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let age = store::Time::now().as_secs() - timestamp.parse::<i64>().unwrap();
    assert!((0..30).contains(&age), "{timestamp}");
    let signature = header("webhook-signature");
    let signature = STANDARD
        .decode(signature.strip_prefix("v1,").unwrap())
        .unwrap();
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("{id}.{timestamp}.{body}");
    hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    assert_eq!(header("content-type"), "application/json");
    serde_json::from_str(body).unwrap()
}

async fn confirm(home: &Home, message: &Value) -> Answer {
    let body = json!({ "token": message["token"], "password": "another good one" });
    home.post("/v1/recovery/confirm", body).await
}

#[tokio::test]
async fn a_message_is_signed_and_its_token_works() {
    let mailer = Mailer::start(&[204], Duration::ZERO).await;
    let home = home(mailer.address, "").await;
    home.register("anna").await;
    ask(&home, "nobody").await;
    ask(&home, "anna").await;
    counted(&home, "sent", 1).await;
    let requests = mailer.requests();
    assert_eq!(requests.len(), 1);
    let message = verify(&requests[0]);
    assert_eq!(message["kind"], "recovery");
    assert_eq!(message["to"], "anna@example.org");
    assert_eq!(message["username"], "anna");
    assert!(text(&message, "expires_at").ends_with('Z'));
    // Not another one for a while.
    ask(&home, "anna").await;
    home.users.service.recovery.close().await;
    assert_eq!(mailer.requests().len(), 1);
    assert_eq!(confirm(&home, &message).await.status, 204);
}

#[tokio::test]
async fn what_is_busy_is_asked_again_and_knows_what_came_twice() {
    let mailer = Mailer::start(&[503, 429, 200], Duration::ZERO).await;
    let home = home(mailer.address, "").await;
    home.register("anna").await;
    let start = Instant::now();
    ask(&home, "anna").await;
    counted(&home, "sent", 1).await;
    assert!(
        start.elapsed() > Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    let requests = mailer.requests();
    let messages: Vec<_> = requests.iter().map(verify).collect();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| *message == messages[0]));
    let ids: Vec<_> = requests
        .iter()
        .map(|(headers, _)| &headers["webhook-id"])
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn what_refuses_is_not_asked_again_until_the_user_is() {
    let mailer = Mailer::start(&[400, 302, 200], Duration::ZERO).await;
    let home = home(mailer.address, "").await;
    home.register("anna").await;
    for refused in 1..=2 {
        ask(&home, "anna").await;
        counted(&home, "failed", refused).await;
    }
    assert_eq!(mailer.requests().len(), 2);
    ask(&home, "anna").await;
    counted(&home, "sent", 1).await;
    let messages: Vec<_> = mailer.requests().iter().map(verify).collect();
    confirm(&home, &messages[0]).await.problem(401);
    assert_eq!(confirm(&home, &messages[2]).await.status, 204);
}

#[tokio::test]
async fn a_slow_one_holds_up_neither_answers_nor_other_messages() {
    let mailer = Mailer::start(&[200], Duration::from_secs(3)).await;
    let home = home(mailer.address, "attempts = 1").await;
    for number in 0..10 {
        home.register(&format!("user{number}")).await;
    }
    let start = Instant::now();
    for number in 0..10 {
        ask(&home, &format!("user{number}")).await;
        ask(&home, &format!("nobody{number}")).await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    counted(&home, "sent", 10).await;
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn who_does_not_answer_in_time_may_have_taken_it_all_the_same() {
    let mailer = Mailer::start(&[200], Duration::from_secs(30)).await;
    let home = home(mailer.address, "timeout = '1s'\nattempts = 2").await;
    home.register("anna").await;
    ask(&home, "anna").await;
    counted(&home, "failed", 1).await;
    let messages: Vec<_> = mailer.requests().iter().map(verify).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(confirm(&home, &messages[1]).await.status, 204);
}

#[tokio::test]
async fn a_dead_one_fails_and_can_be_asked_again_when_it_is_back() {
    // It has its port, which nobody else gets, and takes no connection yet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let home = home(address, "attempts = 2").await;
    home.register("anna").await;
    ask(&home, "anna").await;
    counted(&home, "failed", 1).await;
    let listener = socket.listen(16).unwrap();
    let mailer = Mailer::on(listener, &[200], Duration::ZERO);
    ask(&home, "anna").await;
    counted(&home, "sent", 1).await;
    verify(&mailer.requests()[0]);
}

#[tokio::test]
async fn the_end_waits_for_a_last_attempt_and_for_no_more() {
    let mailer = Mailer::start(&[503], Duration::ZERO).await;
    let home = home(mailer.address, "attempts = 10").await;
    home.register("anna").await;
    ask(&home, "anna").await;
    mailer.asked().await;
    let start = Instant::now();
    home.users.service.recovery.close().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    counted(&home, "failed", 1).await;
    assert!(mailer.requests().len() <= 3);
}

#[tokio::test]
async fn no_more_wait_than_there_is_room_for() {
    let mailer = Mailer::start(&[200], Duration::from_secs(1)).await;
    let home = home(mailer.address, "queue = 2").await;
    for number in 0..5 {
        home.register(&format!("user{number}")).await;
    }
    for number in 0..5 {
        ask(&home, &format!("user{number}")).await;
    }
    counted(&home, "dropped", 3).await;
    counted(&home, "sent", 2).await;
    ask(&home, "user4").await;
    counted(&home, "sent", 3).await;
}

#[tokio::test]
async fn what_there_is_no_room_for_leaves_the_message_before_valid() {
    let mailer = Mailer::start(&[200], Duration::from_secs(1)).await;
    let (address, again) = (mailer.address, chassis::units::Period::from_millis(0));
    let webhook = format!("url = 'http://{address}/in'\nsecret = '{SECRET}'\nqueue = 1");
    let home = Home::with(|config| {
        config.recovery.webhook = Some(toml::from_str(&webhook).unwrap());
        config.recovery.interval = again;
    });
    let home = home.await;
    home.register("anna").await;
    home.register("berta").await;
    ask(&home, "anna").await;
    counted(&home, "sent", 1).await;
    ask(&home, "berta").await;
    ask(&home, "anna").await;
    counted(&home, "dropped", 1).await;
    let message = verify(&mailer.requests()[0]);
    assert_eq!(confirm(&home, &message).await.status, 204);
}

#[tokio::test]
async fn what_the_end_cuts_off_may_be_asked_for_again_at_once() {
    let mailer = Mailer::start(&[200], Duration::from_secs(60)).await;
    let home = home(mailer.address, "timeout = '1m'").await;
    home.register("anna").await;
    ask(&home, "anna").await;
    mailer.asked().await;
    let start = Instant::now();
    home.users.service.recovery.close().await;
    let time = start.elapsed();
    assert!(time < Duration::from_secs(20), "{time:?}");
    counted(&home, "dropped", 1).await;
    let asked = "SELECT COALESCE(MAX(requested_at), 0) FROM recoveries";
    let age = store::Time::now().as_millis() - home.count(asked).await;
    let interval = crate::config::RecoveryConfig::default().interval;
    assert!(age >= i64::try_from(interval.as_millis()).unwrap(), "{age}");
    // It may have been taken all the same.
    let message = verify(&mailer.requests()[0]);
    assert_eq!(confirm(&home, &message).await.status, 204);
}
