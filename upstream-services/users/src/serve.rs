//! Serving: plain HTTP/1.1, with a deadline for everything that a client can draw out, and a limit of connections.
//!
//! A body has a deadline too, where it is read (`api::body`).

mod timed;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use chassis::telemetry::Pressure;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::timed::{Phase, Timed};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// For a whole head, from its first byte; for the first one, from the beginning of the connection.
    pub(crate) head: Duration,
    /// Between two requests. Longer than gateways (60 s) and other parts (10 s) keep an unused connection: who closes first
    /// must not be this side.
    pub(crate) idle: Duration,
    /// To take any more of an answer.
    pub(crate) write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
        }
    }
}

/// How connections are served.
pub(crate) struct Server {
    router: Router,
    pressure: Arc<Pressure>,
    deadlines: Deadlines,
    limit: u32,
    places: Arc<Semaphore>,
    open: IntGauge,
    refused: IntCounter,
}

impl Server {
    /// A server of at most `limit` connections at once, which tells the pressure of every request.
    pub(crate) fn new(
        router: Router,
        pressure: Arc<Pressure>,
        limit: u32,
        deadlines: Deadlines,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let server = Self {
            router,
            pressure,
            deadlines,
            limit,
            places: Arc::new(Semaphore::new(limit as usize)),
            open: IntGauge::new("tidegate_users_connections", "Connections that are open.")?,
            refused: IntCounter::new(
                "tidegate_users_connections_refused_total",
                "Connections that were closed at once: `listen.connections` were open.",
            )?,
        };
        registry.register(Box::new(server.open.clone()))?;
        registry.register(Box::new(server.refused.clone()))?;
        Ok(server)
    }

    /// Serves until draining begins, and then until the requests in flight are answered.
    pub(crate) async fn run(self, listener: TcpListener, mut draining: watch::Receiver<bool>) {
        loop {
            let stop = draining.clone();
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer, stop),
                    Err(error) => {
                        tracing::warn!(%error, "no connection is accepted");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
                () = begun(&mut draining) => break,
            }
        }
        drop(listener);
        let _all = self.places.acquire_many(self.limit).await;
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, draining: watch::Receiver<bool>) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.refused.inc();
            return;
        };
        let _ = stream.set_nodelay(true); // it is only slower without
        let open = Open::new(self.open.clone(), place);
        let (router, pressure) = (self.router.clone(), self.pressure.clone());
        let serve = serve(stream, peer, (router, pressure), self.deadlines, draining);
        tokio::spawn(async move {
            serve.await;
            drop(open);
        });
    }
}

/// Waits until draining begins; also when nobody is left who could say so.
async fn begun(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

/// A connection that is counted.
struct Open(
    IntGauge,
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
);

impl Open {
    fn new(gauge: IntGauge, place: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self(gauge, place)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that is being answered, to the pressure of the process; also when the client goes away in the middle.
struct Measured {
    pressure: Arc<Pressure>,
    begun: Instant,
    failed: bool,
}

impl Measured {
    fn begin(pressure: Arc<Pressure>) -> Self {
        pressure.begin();
        Self {
            pressure,
            begun: Instant::now(),
            failed: false,
        }
    }

    fn end(mut self, answer: &Response) {
        self.failed = answer.status().is_server_error();
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.pressure.end(self.begun.elapsed(), self.failed);
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    (router, pressure): (Router, Arc<Pressure>),
    deadlines: Deadlines,
    mut draining: watch::Receiver<bool>,
) {
    let phase = Arc::new(Phase::default());
    let stream = Timed::new(stream, phase.clone(), deadlines);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        phase.next();
        let measured = Measured::begin(pressure.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, phase) = (router.call(request), phase.clone());
        async move {
            let Ok(answer) = answer.await;
            measured.end(&answer);
            phase.next();
            Ok::<_, Infallible>(sized(answer))
        }
    });
    // The deadlines are the stream's: hyper's own for a head would count the time between requests too.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = begun(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

/// Takes away the length that the router notes of a 304: it would be that of the body there is (RFC 9110, section 8.6), not 0.
fn sized(mut answer: Response) -> Response {
    if answer.status() == StatusCode::NOT_MODIFIED {
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    answer
}

/// After an error of the whole listener: often files have run out, and some are closed soon.
const AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
