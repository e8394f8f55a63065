//! The services in processes of their own, as far as they can tell: four of them, each with its listener, that ask each other
//! over HTTP and share Redis.
//!
//! With `TIDEGATE_USERS_DEPLOYMENT=separate` all tests of the API run against this.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use clap::ValueEnum;
use prometheus::Registry;
use servers::{Redis, RedisSettings, Setup};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::api::routes_of;
use crate::config::{PartConfig, ServicesConfig};
use crate::{Config, Part, Users};

/// Whether the tests are to run against this.
pub(super) fn is_wanted() -> bool {
    std::env::var("TIDEGATE_USERS_DEPLOYMENT").is_ok_and(|wanted| wanted == "separate")
}

/// The parts, the accounts first.
pub(super) struct Separate {
    pub(super) parts: Vec<(Users, Registry)>,
    /// In front of all of them, as a gateway is.
    pub(super) router: Router,
    pub(super) others: Others,
}

/// What ends with it.
pub(super) struct Others {
    tasks: Vec<JoinHandle<()>>,
    _redis: Redis,
}

impl Drop for Others {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Starts all of it on the data of a configuration.
pub(super) async fn open(mut config: Config, dir: &Path) -> Separate {
    let port = servers::free_port().expect("a port is free");
    let settings = RedisSettings {
        dir: dir.join("redis"),
        port,
        password: None,
        setup: Setup::Single,
    };
    let redis = Redis::start(settings).expect("Redis starts");
    let remote = format!("kind = 'redis'\nnodes = ['127.0.0.1:{port}']\ntimeout = '2s'");
    config.cache.remote = Some(toml::from_str(&remote).expect("it is sound"));
    let mut listeners = Vec::new();
    for part in Part::value_variants() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        listeners.push((*part, listener));
    }
    config.services = Some(services(&listeners));
    let mut parts = Vec::new();
    let mut routers = Vec::new();
    let mut tasks = Vec::new();
    for (part, listener) in listeners {
        let registry = Registry::new();
        let users = Users::open_part(&config, Some(part), &registry).await;
        let users = users.expect("the part opens");
        let router = users.router();
        let service = router
            .clone()
            .into_make_service_with_connect_info::<SocketAddr>();
        tasks.push(tokio::spawn(async move {
            let _ = axum::serve(listener, service).await;
        }));
        routers.push((part, router));
        parts.push((users, registry));
    }
    Separate {
        parts,
        router: Router::new().fallback(move |request| dispatch(routers.clone(), request)),
        others: Others {
            tasks,
            _redis: redis,
        },
    }
}

/// Only the accounts hash: no other part has threads for it, or spends anything on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_accounts_hash() {
    let dir = tempfile::TempDir::new().unwrap();
    let separate = open(super::config(dir.path()), dir.path()).await;
    let hashes = |registry: &Registry| {
        let encoder = prometheus::TextEncoder::new();
        let text = encoder.encode_to_string(&registry.gather()).unwrap();
        text.contains("tidegate_users_hashes_total 1")
    };
    for (number, (users, registry)) in separate.parts.iter().enumerate() {
        let accounts = number == 0;
        assert_eq!(
            users.pressure().limit > 0,
            accounts,
            "threads of part {number}"
        );
        assert_eq!(hashes(registry), accounts, "the dummy of part {number}");
    }
}

fn services(listeners: &[(Part, TcpListener)]) -> ServicesConfig {
    let part = |wanted: Part| {
        let mut listeners = listeners.iter();
        let found = listeners.find(|(part, _)| *part == wanted);
        let listen = found.expect("all are there").1.local_addr();
        let listen = listen.expect("it is bound");
        PartConfig {
            listen,
            admin: listen,
            url: None,
        }
    };
    ServicesConfig {
        secret: toml::Value::from("the secret of all parts")
            .try_into()
            .expect("it is text"),
        accounts: part(Part::Accounts),
        sessions: part(Part::Sessions),
        profiles: part(Part::Profiles),
        history: part(Part::History),
    }
}

/// Sends a request to the part that answers it.
async fn dispatch(routers: Vec<(Part, Router)>, request: Request<Body>) -> Response {
    let part = part_of(request.method(), request.uri().path());
    let mut routers = routers.into_iter();
    let found = routers.find(|(one, _)| *one == part);
    let (_, router) = found.expect("all are there");
    let Ok(response) = router.oneshot(request).await;
    response
}

/// Whose operation it is; for a wrong method, whoever has others on the path.
fn part_of(method: &Method, path: &str) -> Part {
    let mut of_path = None;
    for part in Part::value_variants() {
        for (own, template, _) in routes_of(*part) {
            if fits(template, path) {
                if own == *method {
                    return *part;
                }
                of_path = Some(*part);
            }
        }
    }
    of_path.unwrap_or(Part::Accounts)
}

pub(super) fn fits(template: &str, path: &str) -> bool {
    let (mut words, mut wanted) = (path.split('/'), template.split('/'));
    loop {
        match (wanted.next(), words.next()) {
            (None, None) => return true,
            (Some(wanted), Some(word)) if wanted == word || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}
