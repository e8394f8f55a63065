//! The origin: a small server that answers as fast as it can, so that the proxies are what is measured.
//!
//! Every path gets 200 and 80 bytes; `/bytes/N` gets N bytes. Bodies of requests are read and
//! dropped. A request to upgrade gets 101, and then everything comes back as it was sent.
//! On a port of its own it speaks gRPC, on another the same HTTP over TLS. Where it speaks HTTP it has more addresses.

pub(crate) mod grpc;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use crate::load::Head;

/// What a path without `/bytes/` answers.
pub(crate) const BODY: &[u8] = &[b'x'; 80];

/// The `Sec-WebSocket-Key` that the load sends, and its answer (RFC 6455, section 1.3).
pub(crate) const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// So many addresses it has for HTTP, from 127.0.0.1 on, with the same port. Who connects anew for each request needs
/// them: a connection that has ended holds its pair of ports for a second at the least, and one address has 28,000.
const ADDRESSES: u8 = 16;

/// All addresses of an origin that has this one.
pub(crate) fn addresses(first: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    (1..=ADDRESSES).map(move |last| (Ipv4Addr::new(127, 0, 0, last), first.port()).into())
}

/// Longest body that `/bytes/N` answers.
const LONGEST: usize = 16 << 20;

/// The arguments of the hidden subcommand.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Its threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// What it shows in TLS handshakes, a file in PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// The certificate's key, a file in PEM.
    #[arg(long)]
    key: PathBuf,
}

/// Serves HTTP/1.1, gRPC and HTTP/1.1 over TLS on three free ports, whose addresses it prints in this
/// order, until it is ended.
pub(crate) fn serve(arguments: &Arguments) -> io::Result<()> {
    let acceptor = tls::acceptor(&arguments.certificate, &arguments.key)?;
    let listeners = Listeners::bind(acceptor)?;
    for _ in 1..arguments.threads {
        let listeners = listeners.try_clone()?;
        std::thread::spawn(move || listeners.serve());
    }
    let [http, grpc, tls] = listeners.addresses()?;
    println!("{http} {grpc} {tls}");
    listeners.serve()
}

struct Listeners {
    http: Vec<std::net::TcpListener>,
    grpc: std::net::TcpListener,
    tls: std::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl Listeners {
    fn bind(acceptor: TlsAcceptor) -> io::Result<Self> {
        let bind = |address: SocketAddr| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        let free = (Ipv4Addr::LOCALHOST, 0).into();
        let first = bind(free)?;
        let others = addresses(first.local_addr()?).skip(1).map(bind);
        Ok(Self {
            http: iter::once(Ok(first))
                .chain(others)
                .collect::<io::Result<_>>()?,
            grpc: bind(free)?,
            tls: bind(free)?,
            acceptor,
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        let clones = self.http.iter().map(std::net::TcpListener::try_clone);
        Ok(Self {
            http: clones.collect::<io::Result<_>>()?,
            grpc: self.grpc.try_clone()?,
            tls: self.tls.try_clone()?,
            acceptor: self.acceptor.clone(),
        })
    }

    fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        let Self {
            http, grpc, tls, ..
        } = self;
        Ok([http[0].local_addr()?, grpc.local_addr()?, tls.local_addr()?])
    }

    /// Serves on this thread.
    fn serve(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, async {
            let grpc = TcpListener::from_std(self.grpc)?;
            let tls = TcpListener::from_std(self.tls)?;
            let answers = Rc::new(Answers::default());
            // A connection that ends in the middle of something is the proxy's affair.
            for http in self.http {
                let http = TcpListener::from_std(http)?;
                spawn_local(accept_all(http, answers.clone()));
            }
            loop {
                let answers = answers.clone();
                tokio::select! {
                    stream = accept(&grpc) => {
                        let stream = stream?;
                        spawn_local(async move { grpc::connection(stream).await.ok() });
                    }
                    stream = accept(&tls) => {
                        let accepting = self.acceptor.accept(stream?);
                        spawn_local(async move { connection(accepting.await?, &answers).await });
                    }
                }
            }
        })
    }
}

async fn accept_all(listener: TcpListener, answers: Rc<Answers>) -> io::Result<Infallible> {
    loop {
        let (stream, answers) = (accept(&listener).await?, answers.clone());
        spawn_local(async move { connection(stream, &answers).await });
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reading and writing, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

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

async fn connection(mut stream: impl Stream, answers: &Answers) -> io::Result<()> {
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
        stream.flush().await?; // TLS may keep some
    }
}

async fn read(stream: &mut impl Stream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()), // the end, or a head that is too long
        count => Ok(count),
    }
}

async fn echo(mut stream: impl Stream, mut buffer: Vec<u8>) -> io::Result<()> {
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
