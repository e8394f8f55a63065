//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/pressure`, `POST /reload`.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus::{Encoder, TextEncoder};
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::accept::Accept;
use super::{Life, NotReloaded, ReloadRequests, Stage};
use crate::config::{Diagnostic, Located, Secret};
use crate::net::handover::Offered;
use crate::net::{Address, Bound, Inherited, ListenOptions, Listener, bind};
use crate::problem::{self, Problem};

/// Where operators and `control` look at this process.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; port 0 takes a free one. A change needs a restart.
    pub address: Located<SocketAddr>,
    /// A bearer token of at least 16 characters that every request must carry; needed when the address
    /// is not loopback.
    #[serde(default)]
    pub token: Option<Secret>,
}

/// The admin listener while it serves.
#[derive(Debug)]
pub struct Admin {
    bound: Bound,
    closing: watch::Sender<bool>,
    open: Arc<()>,
    /// How many hold `open` while there is no connection.
    idle: usize,
}

/// The name of the admin listener, for hand-overs, socket activation and the ready file.
const NAME: &str = "admin";

impl AdminConfig {
    /// Finds an open admin listener without a token.
    ///
    /// # Errors
    /// When the address is not loopback and no token is set.
    pub fn validate(&self) -> Result<(), Diagnostic> {
        let token = self.token.as_ref().map_or("", |token| token.expose());
        if !self.address.ip().is_loopback() && token.len() < 16 {
            return Err(self
                .address
                .wrong("an admin listener that is not on loopback needs a token")
                .help("add `token = \"${ADMIN_TOKEN}\"` with at least 16 characters"));
        }
        Ok(())
    }

    /// Binds and serves; returns the bound address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(&self, life: &Life, reloads: ReloadRequests) -> io::Result<SocketAddr> {
        let bound = self.bind(&mut Inherited::default())?;
        let address = bound.address().tcp().unwrap_or(*self.address);
        self.serve_on(bound, life, reloads)?;
        Ok(address)
    }

    /// Binds, or takes what is inherited, without accepting anything.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(&self, inherited: &mut Inherited) -> io::Result<Bound> {
        let address = Address::Tcp(*self.address);
        let options = ListenOptions::default();
        bind(NAME, &address, &options, 1, &BTreeSet::new(), inherited)
    }

    /// Serves on what was bound.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn serve_on(
        &self,
        bound: Bound,
        life: &Life,
        reloads: ReloadRequests,
    ) -> io::Result<Admin> {
        self.serve_with(bound, life, reloads, Router::new())
    }

    /// Serves on what was bound, with routes of the role's own. They ask for the token too.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn serve_with(
        &self,
        bound: Bound,
        life: &Life,
        reloads: ReloadRequests,
        routes: Router,
    ) -> io::Result<Admin> {
        let (closing, closed) = watch::channel(false);
        let router = self
            .router(life, reloads, routes)
            .layer(middleware::map_response_with_state(
                closed.clone(),
                end_if_closed,
            ));
        let open = Arc::new(());
        for (_, listener) in bound.for_workers(1)? {
            if let Listener::Tcp(listener) = listener {
                let listener = TcpListener::from_std(listener)?;
                let accept = Accept::new(listener, closed.clone(), open.clone())?;
                tokio::spawn(axum::serve(accept, router.clone()).into_future());
            }
        }
        Ok(Admin {
            idle: Arc::strong_count(&open),
            open,
            bound,
            closing,
        })
    }

    fn router(&self, life: &Life, reloads: ReloadRequests, routes: Router) -> Router {
        let mut router = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/pressure", get(pressure))
            .with_state(life.clone())
            .merge(
                Router::new()
                    .route("/reload", post(reload))
                    .with_state(reloads),
            )
            .merge(routes)
            .layer(middleware::map_response(explain));
        if let Some(token) = &self.token {
            router = router.layer(middleware::from_fn_with_state(token.clone(), authorize));
        }
        router
    }
}

impl Admin {
    /// What it is bound to.
    pub fn address(&self) -> &Address {
        self.bound.address()
    }

    /// Its sockets, for a successor.
    pub fn offered(&self) -> impl Iterator<Item = Offered<'_>> {
        self.bound.descriptors().map(|socket| Offered {
            name: NAME,
            address: self.bound.address(),
            removable: false,
            socket,
        })
    }

    /// Accepts no more.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until its connections have ended, for a moment.
    pub async fn finish(self) {
        const MOMENT: Duration = Duration::from_secs(1);
        let all = async {
            while Arc::strong_count(&self.open) > self.idle {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(MOMENT, all).await;
    }
}

/// Has a connection end after this answer: the next request is for a successor.
async fn end_if_closed(
    State(closed): State<watch::Receiver<bool>>,
    mut answer: Response,
) -> Response {
    if *closed.borrow() {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

/// Says as everything else does why there is no answer.
async fn explain(answer: Response) -> Response {
    let problem = match answer.status() {
        StatusCode::NOT_FOUND => Problem::new(404, "unknown-path", "There is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(405, "wrong-method", "This path has no such method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(413, "too-large", "The body is too large"),
        _ => return answer,
    };
    let (mut parts, body) = answer.into_parts();
    let said = parts.headers.get(header::CONTENT_TYPE);
    if said.is_some_and(|said| said.as_bytes().ends_with(b"json")) {
        return Response::from_parts(parts, body);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static(problem::CONTENT_TYPE);
    parts.headers.insert(header::CONTENT_TYPE, kind);
    Response::from_parts(parts, Body::from(problem.to_json()))
}

async fn readyz(State(life): State<Life>) -> Response {
    match life.stage() {
        // A request may reach a replaced process by a hair; its service is as ready as before.
        Stage::Ready | Stage::Replaced => "ready\n".into_response(),
        Stage::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Stage::Draining | Stage::Leaving => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
        }
    }
}

async fn metrics(State(life): State<Life>) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&life.registry.gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn pressure(State(life): State<Life>) -> Response {
    Json(life.pressure.report(Instant::now())).into_response()
}

async fn reload(State(reloads): State<ReloadRequests>) -> Response {
    match reloads.ask().await {
        Ok(()) => "reloaded\n".into_response(),
        Err(NotReloaded::Mistakes(lines)) => {
            let problem = Problem::new(422, "reload-failed", "The old configuration serves on");
            let kind = [(header::CONTENT_TYPE, problem::CONTENT_TYPE)];
            let body = problem.detail(lines).to_json();
            (StatusCode::UNPROCESSABLE_ENTITY, kind, body).into_response()
        }
        Err(leaving @ NotReloaded::Leaving) => {
            let problem = Problem::new(503, "leaving", "This process is leaving");
            let headers = [
                (header::CONTENT_TYPE, problem::CONTENT_TYPE),
                (header::RETRY_AFTER, "1"),
            ];
            let body = problem.detail(leaving.to_string()).to_json();
            (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
        }
    }
}

async fn authorize(State(token): State<Secret>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| given.ct_eq(token.expose().as_bytes()).into()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (
        StatusCode::UNAUTHORIZED,
        challenge,
        "a bearer token is needed\n",
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn status(address: SocketAddr, path: &str, token: Option<&str>) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let token = token.map_or_else(String::new, |token| {
            format!("authorization: Bearer {token}\r\n")
        });
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{token}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_routes_of_a_role_ask_for_the_token_too() {
        let life = Life::start("test").unwrap();
        let config: AdminConfig = serde_json::from_value(serde_json::json!({
            "address": "127.0.0.1:0", "token": "0123456789abcdef",
        }))
        .unwrap();
        let (reloads, _receiver) = ReloadRequests::channel();
        let routes = Router::new().route("/policies", get(|| async { "[]" }));
        let bound = config.bind(&mut Inherited::default()).unwrap();
        let admin = config.serve_with(bound, &life, reloads, routes).unwrap();
        let address = admin.address().tcp().unwrap();
        let right = Some("0123456789abcdef");
        assert_eq!(status(address, "/policies", right).await, "200");
        assert_eq!(status(address, "/policies", None).await, "401");
        assert_eq!(
            status(address, "/policies", Some("0123456789abcdeg")).await,
            "401"
        );
        assert_eq!(status(address, "/healthz", right).await, "200");
        assert_eq!(status(address, "/elsewhere", right).await, "404");
    }

    #[tokio::test]
    async fn a_client_that_is_silent_is_closed_and_every_answer_says_why() {
        let life = Life::start("test").unwrap();
        let config = serde_json::json!({ "address": "127.0.0.1:0" });
        let config: AdminConfig = serde_json::from_value(config).unwrap();
        let (reloads, _receiver) = ReloadRequests::channel();
        let address = config.serve(&life, reloads).await.unwrap();
        let connect = async || tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut silent, mut slow, mut kept) = (connect().await, connect().await, connect().await);
        slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        kept.write_all(b"GET /none HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let begun = Instant::now();
        let _ = silent.read(&mut [0]).await;
        let _ = slow.read(&mut [0]).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        kept.write_all(b"DELETE /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answers = String::new();
        kept.read_to_string(&mut answers).await.unwrap();
        assert!(
            answers.contains("urn:tidegate:problem:unknown-path"),
            "{answers}"
        );
        assert!(
            answers.contains("urn:tidegate:problem:wrong-method"),
            "{answers}"
        );
    }
}
