//! Servers that answer checks, count them, and fail when told to.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// 200, or 503 when it fails.
    Http,
    /// Accepts, or does not listen when it fails.
    Tcp,
    /// Sends back what it gets, or nothing when it fails.
    Udp,
    /// Answers with one record, or SERVFAIL when it fails.
    Dns,
    /// Accepts, and says nothing.
    Silent,
}

/// A server of one kind.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    asked: AtomicUsize,
    failing: AtomicBool,
    half: AtomicBool,
}

impl State {
    /// Counts a question; whether it is to be answered well.
    fn ask(&self) -> bool {
        let number = self.asked.fetch_add(1, SeqCst);
        // Without a pattern, and the same in every run.
        let coin = BuildHasherDefault::<DefaultHasher>::default().hash_one(number) & 1 == 1;
        !self.failing.load(SeqCst) && (!self.half.load(SeqCst) || coin)
    }
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Self {
        let state = Arc::new(State::default());
        let address = match kind {
            Kind::Udp | Kind::Dns => datagrams(kind, state.clone()).await,
            _ => connections(kind, state.clone()),
        };
        Self { address, state }
    }

    /// Has it fail from now on, or be well.
    pub(crate) fn fail(&self, failing: bool) {
        self.state.failing.store(failing, SeqCst);
    }

    /// Has it fail half of the time.
    pub(crate) fn fail_half(&self, half: bool) {
        self.state.half.store(half, SeqCst);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(SeqCst)
    }
}

async fn datagrams(kind: Kind, state: Arc<State>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let well = state.ask();
            let answer = &mut buffer[..length];
            if kind == Kind::Dns {
                answer[2] |= 0x84;
                answer[3] = if well { 0 } else { 2 };
                answer[7] = u8::from(well);
            }
            if well || kind == Kind::Dns {
                let _ = socket.send_to(answer, from).await;
            }
        }
    });
    address
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("it can be set");
    socket.bind(address).expect("the port is ours");
    socket.listen(64).expect("it listens")
}

fn connections(kind: Kind, state: Arc<State>) -> SocketAddr {
    let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = first.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut listener = Some(first);
        loop {
            if kind == Kind::Tcp && state.failing.load(SeqCst) {
                listener = None;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            }
            let open = listener.get_or_insert_with(|| listen(address));
            let soon = std::time::Duration::from_millis(5);
            let Ok(Ok((mut stream, _))) = tokio::time::timeout(soon, open.accept()).await else {
                continue;
            };
            let well = state.ask();
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                match kind {
                    Kind::Http => {
                        let status = if well {
                            "200 OK"
                        } else {
                            "503 Service Unavailable"
                        };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    _ => {
                        let _ = stream.read(&mut buffer).await;
                    }
                }
            });
        }
    });
    address
}
