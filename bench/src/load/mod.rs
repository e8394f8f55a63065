//! The load: our own generator of HTTP/1.1, HTTP/2 and WebSocket messages.
//!
//! Why our own: every suite needs nothing but cargo, one client drives all peers alike, and the
//! open loop has no coordinated omission. `wrk` and `h2load` serve to check it.
//!
//! - `closed`: so many connections, each sends when the one before is answered. For CPU time a
//!   request. Its latencies are those of a full house.
//! - `dialogue`: the same, with clients whose next request depends on the last answer.
//! - `open`: requests are due at times that do not depend on the answers, and latency counts
//!   from when a request was due. For tails.

mod closed;
mod crew;
mod dialogue;
mod exchange;
mod head;
mod http2;
mod open;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::Error;

pub(crate) use self::closed::{Closed, Reuse};
pub(crate) use self::dialogue::{Dialogue, Speaker};
pub(crate) use self::exchange::Connection;
pub(crate) use self::head::Head;
pub(crate) use self::http2::{Http2, Kind};
pub(crate) use self::open::Open;
pub(crate) use self::tls::{Certificate, Client, NAME, Resumption};

/// Requests as they go over the wire, taken in turn.
#[derive(Clone, Debug)]
pub(crate) struct Requests(Arc<[Box<[u8]>]>);

impl Requests {
    /// GET of these targets, with more header lines, each ended by `\r\n`.
    pub(crate) fn get<T: AsRef<str>>(targets: impl IntoIterator<Item = T>, headers: &str) -> Self {
        let requests = targets.into_iter().map(|target| {
            let target = target.as_ref();
            format!("GET {target} HTTP/1.1\r\n{COMMON}{headers}\r\n")
                .into_bytes()
                .into()
        });
        Self(requests.collect())
    }

    /// A request to upgrade to a WebSocket.
    pub(crate) fn upgrade(key: &str) -> Self {
        let headers = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n"
        );
        Self::get(["/"], &headers)
    }

    /// Of several, one after the other.
    pub(crate) fn join(all: impl IntoIterator<Item = Self>) -> Self {
        let requests = all.into_iter().flat_map(|requests| requests.0.to_vec());
        Self(requests.collect())
    }

    /// POST of a body of this length.
    pub(crate) fn post(length: usize) -> Self {
        let head = format!("POST /upload HTTP/1.1\r\n{COMMON}Content-Length: {length}\r\n\r\n");
        let mut whole = head.into_bytes();
        whole.resize(whole.len() + length, b'y');
        Self(Arc::new([whole.into()]))
    }

    /// POST of this JSON.
    pub(crate) fn json(target: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let whole = format!(
            "POST {target} HTTP/1.1\r\n{COMMON}{headers}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        Self(Arc::new([whole.into_bytes().into()]))
    }

    /// The one that is sent at this turn.
    pub(crate) fn at(&self, turn: usize) -> &[u8] {
        &self.0[turn % self.0.len()]
    }
}

/// What every request says.
const COMMON: &str = "Host: bench.test\r\nUser-Agent: tidegate-bench\r\nAccept: */*\r\n";

/// What a round of load has seen.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Requests that were answered with 200 and a whole body.
    pub(crate) requests: u64,
    /// Requests that were not, and connections that could not be made.
    pub(crate) errors: u64,
    /// What the first error was.
    pub(crate) error: Option<String>,
    /// TLS handshakes that went on with an earlier session.
    pub(crate) resumed: u64,
    /// How long it took.
    pub(crate) time: Duration,
    /// Latencies, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Sample {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self, Error> {
        let latency = Histogram::new_with_bounds(1_000, 60_000_000_000, 3);
        Ok(Self {
            requests: 0,
            errors: 0,
            error: None,
            resumed: 0,
            time: Duration::ZERO,
            latency: latency.map_err(|error| Error::Load(error.to_string()))?,
        })
    }

    /// A request that was answered, and after how long.
    pub(crate) fn answered(&mut self, latency: Duration) {
        self.requests += 1;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds);
    }

    /// A request that was not.
    pub(crate) fn failed(&mut self, error: String) {
        self.errors += 1;
        self.error.get_or_insert(error);
    }

    /// What another part of the same load has seen.
    fn merge(&mut self, other: Self) -> Result<(), Error> {
        let merged = self.latency.add(&other.latency);
        merged.map_err(|error| Error::Load(error.to_string()))?;
        self.requests += other.requests;
        self.errors += other.errors;
        self.error = self.error.take().or(other.error);
        self.resumed += other.resumed;
        Ok(())
    }

    /// Microseconds within which this share of the requests was answered.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// The status and the body of the answer to one request.
pub(crate) fn ask(target: &Target, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut body = Vec::new();
    let asked = async {
        let mut connection = Connection::open(target).await?;
        let answer = connection.exchange_seeing(request, |piece| body.extend_from_slice(piece));
        answer.await
    };
    let asked = async { tokio::time::timeout(Duration::from_secs(10), asked).await? };
    let answer: io::Result<_> = runtime.block_on(asked);
    Ok((answer?.status, body))
}

/// Where the load goes, and whether through TLS.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where the proxy listens.
    pub(crate) address: SocketAddr,
    /// How to speak TLS; plain text when there is none.
    pub(crate) tls: Option<Client>,
}

impl Target {
    /// For one client of the load, who has no sessions of others.
    fn of_one_client(&self) -> Self {
        let tls = self.tls.as_ref().map(Client::alone);
        let address = self.address;
        Self { address, tls }
    }
}
