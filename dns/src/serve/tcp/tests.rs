use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{DuplexStream, ReadBuf};

use super::*;
use crate::metrics::Transport;

/// Remembers what was read of it until our direction was ended.
struct Recorded {
    stream: DuplexStream,
    ended: bool,
    read: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.ended {
            let mut read = self.read.lock().unwrap();
            read.extend_from_slice(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.ended, "nothing is sent after the end");
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn shared() -> Arc<Shared> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.toml");
    std::fs::write(&file, "admin = { address = \"127.0.0.1:0\" }\n").unwrap();
    let compiled = crate::compile::compile(&file, &Default::default());
    let state = compiled.map(|compiled| compiled.state);
    Arc::new(Shared {
        state: arc_swap::ArcSwap::from_pointee(state.unwrap_or_else(|report| panic!("{report}"))),
        health: crate::health::Health::new(),
        learned: Default::default(),
        counts: Default::default(),
        sites: Default::default(),
        clients: Default::default(),
        pressure: Arc::default(),
    })
}

/// A query for `a.test`, with its length in front; it is refused.
fn query(id: u16) -> Vec<u8> {
    let mut query = vec![0, 24];
    query.extend(id.to_be_bytes());
    query.extend(b"\0\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01");
    query
}

fn messages(octets: &[u8]) -> Vec<u16> {
    let mut ids = Vec::new();
    let mut rest = octets;
    while let Some(one) = message(rest) {
        ids.push(u16::from_be_bytes([one[0], one[1]]));
        rest = &rest[2 + one.len()..];
    }
    ids
}

/// Sends pieces of so many octets, with a pause of so many milliseconds after each, and closes the listener at a
/// moment; the ids that the server has read, and those that it has answered.
async fn conversation(pieces: Vec<(usize, u64)>, close_at: u64) -> (Vec<u16>, Vec<u16>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let read = Arc::new(Mutex::new(Vec::new()));
    let recorded = Recorded {
        stream: ours,
        ended: false,
        read: read.clone(),
    };
    let asking = Asking {
        client: "192.0.2.1".parse().unwrap(),
        transport: Transport::Tcp,
        keepalive: None,
    };
    let connection = Connection::new(recorded, asking, shared(), TcpLimits::default());
    let (closing, closed) = watch::channel(false);
    let (mut from, mut to) = tokio::io::split(theirs);
    let sending = async {
        let all: Vec<u8> = (0..1000).flat_map(query).collect();
        let mut at = 0;
        for (octets, pause) in pieces {
            let end = (at + octets).min(all.len());
            if to.write_all(&all[at..end]).await.is_err() {
                return;
            }
            at = end;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    let close = async {
        tokio::time::sleep(Duration::from_millis(close_at)).await;
        closing.send_replace(true);
    };
    let mut answers = Vec::new();
    let reading = from.read_to_end(&mut answers);
    let (served, (), (), heard) = tokio::join!(connection.serve(closed), sending, close, reading);
    served.unwrap();
    heard.unwrap();
    let read = messages(&read.lock().unwrap());
    (read, messages(&answers))
}

/// Pieces, and when the listener is closed.
type Played = (Vec<(usize, u64)>, u64);

fn played() -> impl Strategy<Value = Vec<Played>> {
    let pieces = prop::collection::vec((1usize..400, 0u64..60), 1..40);
    prop::collection::vec((pieces, 0u64..1200), 200)
}

proptest! {
    // Time passes as it does: all conversations at once.
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 0, ..ProptestConfig::default() })]
    /// Whatever arrives in whatever pieces, and whenever the listener is closed.
    #[test]
    fn every_query_that_was_read_is_answered_before_the_end(all in played()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let begun: Vec<_> = all
                .into_iter()
                .map(|(pieces, close_at)| {
                    tokio::spawn(conversation(pieces, close_at))
                })
                .collect();
            let mut answers = 0;
            for one in begun {
                let (read, answered) = one.await.unwrap();
                assert_eq!(read, answered);
                answers += answered.len();
            }
            assert!(answers > 1000, "{answers}");
        });
    }
}

#[tokio::test]
async fn a_closed_listener_ends_busy_connections_after_a_while() {
    let began = Instant::now();
    // A query every 50 ms, for 4 seconds, and the listener is closed after one.
    let (read, answered) = conversation(vec![(26, 50); 80], 1000).await;
    assert_eq!(read, answered);
    assert!((20..=50).contains(&answered.len()), "{}", answered.len());
    assert!(began.elapsed() < Duration::from_secs(6));
    // A query that is on its way when the listener is closed is answered.
    let (_, answered) = conversation(vec![(26, 230), (26, 10)], 200).await;
    assert_eq!(answered, [0, 1]);
    // Who has said nothing yet is given the time to.
    let (_, answered) = conversation(vec![(0, 400), (26, 10)], 100).await;
    assert_eq!(answered, [0]);
}
