//! The API as a client sees it, through the whole router.

mod accounts;
mod admin;
mod described;
mod devices;
mod edges;
mod history;
mod lockout;
mod phones;
mod profiles;
mod records;
mod recovery;
mod separate;
mod servers;
mod sessions;
mod shared;
mod totp;
mod unknown;
mod webhook;

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chassis::units::Size;
use http_body_util::BodyExt;
use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{Config, Users};

/// A service on data of its own.
struct Home {
    /// All of it, or the accounts.
    users: Users,
    router: Router,
    registry: Registry,
    /// The other parts, where each is by itself.
    others: Vec<(Users, Registry)>,
    separate: Option<separate::Others>,
    dir: TempDir,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Settings for tests: hashes that cost next to nothing.
fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.data.dir = dir.to_owned();
    config.data.readers = 2;
    config.data.acquire_timeout = chassis::units::Period::from_secs(20);
    config.hash.memory = Size::from_kib(64);
    config.hash.iterations = 1;
    config.hash.queue = 1000;
    config
}

impl Home {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(alter: impl FnOnce(&mut Config)) -> Self {
        Self::open(TempDir::new().unwrap(), alter).await
    }

    async fn open(dir: TempDir, alter: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(dir.path());
        alter(&mut config);
        if separate::is_wanted() {
            let mut separate = separate::open(config, dir.path()).await;
            let others = separate.parts.split_off(1);
            let (users, registry) = separate.parts.remove(0);
            return Self {
                users,
                router: separate.router,
                registry,
                others,
                separate: Some(separate.others),
                dir,
            };
        }
        let registry = Registry::new();
        let users = Users::open(&config, &registry).await.unwrap();
        Self {
            router: users.router(),
            users,
            registry,
            others: Vec::new(),
            separate: None,
            dir,
        }
    }

    /// Stops the service and starts another on the same data.
    async fn restart(self, alter: impl FnOnce(&mut Config)) -> Self {
        drop(self.separate);
        for (users, _) in self.others {
            users.close().await;
        }
        self.users.close().await;
        Self::open(self.dir, alter).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        if self.separate.is_some() {
            // Ids of several processes are in the order of time to ten milliseconds.
            tokio::time::sleep(Duration::from_millis(11)).await;
        }
        send(self.router.clone(), request).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, None, &[], Some(body)))
            .await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request(Method::GET, path, Some(token), &[], None))
            .await
    }

    async fn patch(&self, token: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.send(request(
            Method::PATCH,
            "/v1/me",
            Some(token),
            headers,
            Some(body),
        ))
        .await
    }

    async fn register(&self, name: &str) -> Answer {
        let email = format!("{name}@example.org");
        let body = json!({ "username": name, "email": email, "password": PASSWORD });
        self.post("/v1/register", body).await
    }

    async fn login(&self, name: &str) -> Answer {
        self.post(
            "/v1/login",
            json!({ "username": name, "password": PASSWORD }),
        )
        .await
    }

    /// Registers, logs in, and returns the id and the tokens.
    async fn session(&self, name: &str) -> (String, Value) {
        let registered = self.register(name).await;
        assert_eq!(registered.status, 201, "{}", registered.text());
        let tokens = self.login(name).await;
        assert_eq!(tokens.status, 200, "{}", tokens.text());
        (text(&registered.json(), "id"), tokens.json())
    }

    /// Has all parts read the signing keys again.
    fn reload_keys(&self) -> Result<(), crate::Error> {
        self.users.reload_keys()?;
        let mut others = self.others.iter();
        others.try_for_each(|(users, _)| users.reload_keys())
    }

    /// What a scrape shows.
    fn scrape(&self) -> String {
        let others = self.others.iter().map(|(_, registry)| registry);
        let registries = std::iter::once(&self.registry).chain(others);
        let encoder = prometheus::TextEncoder::new();
        let texts = registries.map(|one| encoder.encode_to_string(&one.gather()).unwrap());
        texts.collect()
    }

    /// How many hashes were computed.
    fn hashes(&self) -> u64 {
        let scrape = self.scrape();
        let line = scrape
            .lines()
            .find(|line| line.starts_with("tidegate_users_hashes_total"));
        let (_, number) = line.unwrap().rsplit_once(' ').unwrap();
        number.parse().unwrap()
    }

    /// One number over all shards.
    async fn count(&self, select: &'static str) -> i64 {
        let mut sum = 0;
        for shard in self.users.service.store.shards() {
            let mut connection = shard.read(&store::Freshness::Latest).await.unwrap();
            let number = store::sql(select).value::<i64>(&mut connection);
            sum += number.await.unwrap();
        }
        sum
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a well-formed problem, and returns its kind and detail.
    fn problem(&self, status: u16) -> (String, String) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        let kind = text(&problem, "type");
        let kind = kind
            .strip_prefix("urn:tidegate:problem:")
            .unwrap()
            .to_owned();
        (
            kind,
            problem["detail"].as_str().unwrap_or_default().to_owned(),
        )
    }
}

async fn send(router: Router, request: Request<Body>) -> Answer {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    assert!(parts.headers.contains_key("x-request-id"));
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    };
    described::assert_described(&method, &path, &answer);
    answer
}

fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    request.body(body).unwrap()
}

fn text(value: &Value, member: &str) -> String {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {value}"))
        .to_owned()
}

const PASSWORD: &str = "correct horse battery";
