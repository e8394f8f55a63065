//! An upstream that keeps every request as it came, and answers in the way that the path names.
//!
//! | path | answer |
//! |-|-|
//! | `/chunked` | in two chunks |
//! | `/trailers` | in chunks, with a field behind them |
//! | `/204`, `/304` | without a body; the 304 tells the length that the body would have |
//! | `/eof` | the end of the connection ends the body |
//! | `/stall` | the same, but it does not come |
//! | `/early` | before the body of the request is read |
//! | `/refuse` | 403 before the body is read, also to `Expect: 100-continue` |
//! | `/103` | `103 Early Hints` comes first |
//! | `/hop` | with fields that are for the gateway alone |
//! | `/large/N` | N MiB |
//! | `/ws` | 101, and then what it gets, back |
//! | all others | with a `Content-Length` |
//!
//! The body is `METHOD TARGET LENGTH BODY` of the request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::message::{Framing, Head, Wire, Wrong};

/// A running recorder.
#[derive(Debug)]
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Record,
    task: JoinHandle<()>,
}

/// A request that reached it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its head.
    pub head: Head,
    /// Its body, once all of it came.
    pub body: Option<Vec<u8>>,
    /// Why the conversation broke off.
    pub broken: Option<Wrong>,
}

type Entry = Arc<Mutex<Seen>>;
type Record = Arc<Mutex<Vec<Entry>>>;

impl Recorder {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Record::default();
        let task = tokio::spawn(serve(listener, seen.clone()));
        Self {
            address,
            seen,
            task,
        }
    }

    /// The requests since it was last asked; one that is still under way may go on.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("nothing panics in it");
        let entries = seen.iter();
        entries
            .map(|entry| entry.lock().expect("nothing panics in it").clone())
            .collect()
    }

    /// Forgets all requests; how many there were.
    ///
    /// # Panics
    /// Never: nothing panics while it holds the lock.
    pub fn forget(&self) -> usize {
        std::mem::take(&mut *self.seen.lock().expect("nothing panics in it")).len()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Method and target.
    pub fn first(&self) -> &str {
        let first = &self.head.first;
        first.rsplit_once(' ').map_or(first, |(start, _)| start)
    }

    /// Its conversation does not go on.
    pub fn is_settled(&self) -> bool {
        self.body.is_some() || self.broken.is_some()
    }

    fn told(&self) -> String {
        let length = self.body.as_ref().map_or(0, Vec::len);
        format!("{} {length}", self.first())
    }
}

async fn serve(listener: TcpListener, record: Record) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let record = record.clone();
        connections.spawn(async move {
            if let Ok(mut wire) = Wire::of(stream) {
                while converse(&mut wire, &record).await {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One request and its answer; whether another may follow.
async fn converse(wire: &mut Wire, record: &Record) -> bool {
    let entry = Entry::default();
    let head = match wire.head().await {
        Ok(None) => return false,
        // A connection that breaks between two requests has none of them.
        Err(_) if wire.is_blank() => return false,
        Ok(Some(head)) => Ok(head),
        Err(wrong) => Err(wrong),
    };
    record
        .lock()
        .expect("nothing panics in it")
        .push(entry.clone());
    let outcome = match head {
        Ok(head) => {
            entry.lock().expect("nothing panics in it").head = head.clone();
            answer(wire, &head, &entry).await
        }
        Err(wrong) => Err(wrong),
    };
    let mut seen = entry.lock().expect("nothing panics in it");
    outcome.unwrap_or_else(|wrong| {
        seen.broken = Some(wrong);
        false
    })
}

async fn answer(wire: &mut Wire, head: &Head, entry: &Entry) -> Result<bool, Wrong> {
    let method = head.first.split(' ').next().unwrap_or_default();
    let target = head.first.split(' ').nth(1).unwrap_or_default();
    let kind = target.split(['/', '?']).nth(1).unwrap_or_default();
    let seen = || entry.lock().expect("nothing panics in it").clone();
    if matches!(kind, "early" | "refuse") {
        send(wire, &response(kind, method, &seen())).await?;
        read_body(wire, head, entry).await?;
        return Ok(true);
    }
    if head.lists("expect", "100-continue") {
        send(wire, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    read_body(wire, head, entry).await?;
    match kind {
        "large" => {
            let count = target.rsplit('/').next().unwrap_or_default().parse();
            send_large(wire, count.unwrap_or(1)).await?;
        }
        "stall" => {
            send(wire, &response("eof", method, &seen())).await?;
            wire.some().await?;
        }
        "ws" => {
            send(wire, TUNNEL).await?;
            while let Some(bytes) = wire.some().await? {
                send(wire, &bytes).await?;
            }
        }
        _ => send(wire, &response(kind, method, &seen())).await?,
    }
    Ok(!matches!(kind, "eof" | "stall" | "ws"))
}

async fn read_body(wire: &mut Wire, head: &Head, entry: &Entry) -> Result<(), Wrong> {
    let body = match head.framing()? {
        Framing::Length(length) => wire.exactly(length).await?,
        Framing::Chunked => wire.chunks().await?.0,
        Framing::Unsaid => Vec::new(),
    };
    entry.lock().expect("nothing panics in it").body = Some(body);
    Ok(())
}

async fn send(wire: &mut Wire, bytes: &[u8]) -> Result<(), Wrong> {
    let sent = wire.send(bytes).await;
    sent.map_err(|error| format!("cannot answer: {error}"))
}

/// So many MiB, as fast as they are taken.
async fn send_large(wire: &mut Wire, count: usize) -> Result<(), Wrong> {
    const MIB: usize = 1 << 20;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", count * MIB);
    send(wire, head.as_bytes()).await?;
    for _ in 0..count * 16 {
        send(wire, &[b'x'; MIB / 16]).await?;
    }
    Ok(())
}

/// The answer of a kind.
fn response(kind: &str, method: &str, seen: &Seen) -> Vec<u8> {
    let mut body = seen.told().into_bytes();
    if let Some(sent) = seen.body.as_ref().filter(|sent| !sent.is_empty()) {
        body.push(b' ');
        body.extend(sent);
    }
    let kind_of_body = "content-type: text/plain\r\n";
    let length = format!("content-length: {}\r\n", body.len());
    let (first, second) = body.split_at(body.len() / 2);
    let chunk = |data: &[u8]| {
        let size = format!("{:x}\r\n", data.len());
        [size.as_bytes(), data, b"\r\n"].concat()
    };
    let chunks = [chunk(first), chunk(second)].concat();
    let (head, mut body) = match kind {
        "chunked" => (
            format!("200 OK\r\n{kind_of_body}transfer-encoding: chunked\r\n"),
            [&*chunks, b"0\r\n\r\n"].concat(),
        ),
        "trailers" => (
            format!("200 OK\r\n{kind_of_body}transfer-encoding: chunked\r\n"),
            [&*chunks, b"0\r\nx-end: 1\r\n\r\n"].concat(),
        ),
        "204" => (format!("204 No Content\r\n{kind_of_body}"), Vec::new()),
        "304" => (
            format!("304 Not Modified\r\n{kind_of_body}{length}"),
            Vec::new(),
        ),
        "eof" => (
            format!("200 OK\r\n{kind_of_body}connection: close\r\n"),
            body,
        ),
        "refuse" => (format!("403 Forbidden\r\n{kind_of_body}{length}"), body),
        "103" => (format!("{HINTS}200 OK\r\n{kind_of_body}{length}"), body),
        "hop" => (format!("200 OK\r\n{HOP}{kind_of_body}{length}"), body),
        _ => (format!("200 OK\r\n{kind_of_body}{length}"), body),
    };
    if method == "HEAD" {
        body.clear();
    }
    [b"HTTP/1.1 ", head.as_bytes(), b"\r\n", &body].concat()
}

const TUNNEL: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const HINTS: &str = "103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 ";
const HOP: &str = "connection: keep-alive, x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n\
    proxy-connection: keep-alive\r\nte: trailers\r\nupgrade: h2c\r\n";
