//! The origin: a small server that answers as fast as it can, so that the proxies are what is measured.
//!
//! Every path gets 200 and 80 bytes; `/bytes/N` gets N bytes. Bodies of requests are read and
//! dropped. A request to upgrade gets 101, and then everything comes back as it was sent.
//! On a port of its own it speaks gRPC.

pub(crate) mod grpc;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::load::Head;

/// What a path without `/bytes/` answers.
pub(crate) const BODY: &[u8] = &[b'x'; 80];

/// The `Sec-WebSocket-Key` that the load sends, and its answer (RFC 6455, section 1.3).
pub(crate) const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest body that `/bytes/N` answers.
const LONGEST: usize = 16 << 20;

/// Serves HTTP/1.1 and gRPC on two free ports, whose addresses it prints, until it is ended.
pub(crate) fn serve(threads: usize) -> io::Result<()> {
    let listeners = Listeners::bind()?;
    for _ in 1..threads {
        let listeners = listeners.try_clone()?;
        std::thread::spawn(move || listeners.serve());
    }
    println!(
        "{} {}",
        listeners.http.local_addr()?,
        listeners.grpc.local_addr()?
    );
    listeners.serve()
}

struct Listeners {
    http: std::net::TcpListener,
    grpc: std::net::TcpListener,
}

impl Listeners {
    fn bind() -> io::Result<Self> {
        let bind = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        let (http, grpc) = (bind()?, bind()?);
        Ok(Self { http, grpc })
    }

    fn try_clone(&self) -> io::Result<Self> {
        let (http, grpc) = (self.http.try_clone()?, self.grpc.try_clone()?);
        Ok(Self { http, grpc })
    }

    /// Serves on this thread.
    fn serve(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, async {
            let http = TcpListener::from_std(self.http)?;
            let grpc = TcpListener::from_std(self.grpc)?;
            let answers = Rc::new(Answers::default());
            // A connection that ends in the middle of something is the proxy's affair.
            loop {
                tokio::select! {
                    accepted = http.accept() => {
                        let (stream, _) = accepted?;
                        stream.set_nodelay(true)?;
                        let answers = answers.clone();
                        spawn_local(async move { connection(stream, &answers).await.ok() });
                    }
                    accepted = grpc.accept() => {
                        let (stream, _) = accepted?;
                        stream.set_nodelay(true)?;
                        spawn_local(async move { grpc::connection(stream).await.ok() });
                    }
                }
            }
        })
    }
}

/// Answers that were made before.
#[derive(Default)]
struct Answers(RefCell<HashMap<usize, Bytes>>);

impl Answers {
    fn to(&self, target: &[u8]) -> Bytes {
        let length = target.strip_prefix(b"/bytes/").and_then(|rest| {
            let text = std::str::from_utf8(rest).ok()?;
            text.parse().ok().filter(|length| *length <= LONGEST)
        });
        let length: usize = length.unwrap_or(BODY.len());
        let mut made = self.0.borrow_mut();
        made.entry(length).or_insert_with(|| answer(length)).clone()
    }
}

fn answer(length: usize) -> Bytes {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let mut whole = head.into_bytes();
    whole.resize(whole.len() + length, BODY[0]);
    whole.into()
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        let Some(head) = Head::parse(&buffer[..filled]) else {
            filled += read(&mut stream, &mut buffer[filled..]).await?;
            continue;
        };
        if head.header(b"upgrade").is_some() {
            return echo(stream, buffer).await;
        }
        let answer = answers.to(head.target());
        let whole = head.length + head.content_length().unwrap_or(0);
        let mut missing = whole.saturating_sub(filled);
        if missing == 0 {
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        } else {
            filled = 0;
        }
        while missing > 0 {
            let most = missing.min(buffer.len());
            missing -= read(&mut stream, &mut buffer[..most]).await?;
        }
        stream.write_all(&answer).await?;
    }
}

async fn read(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()), // the end, or a head that is too long
        count => Ok(count),
    }
}

async fn echo(mut stream: TcpStream, mut buffer: Vec<u8>) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    loop {
        let count = read(&mut stream, &mut buffer).await?;
        stream.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_how_long_the_answer_is() {
        let answers = Answers::default();
        assert!(answers.to(b"/").ends_with(BODY));
        assert!(
            answers
                .to(b"/bytes/5")
                .ends_with(b"Content-Length: 5\r\n\r\nxxxxx")
        );
        assert_eq!(answers.to(b"/bytes/99999999999"), answers.to(b"/"));
    }
}
