//! What a query costs.

use std::fs;

use arc_swap::ArcSwap;
use chassis::telemetry::Pressure;

use super::*;
use crate::compile::compile;
use crate::health::Health;
use crate::learned::Learned;

const CONFIG: &str = r#"
admin = { address = "127.0.0.1:0" }
nsid = "fra1"
rate_limit = { limit = 10, slip = 2 }

[[zone]]
name = "example.test"
ns = ["ns1"]

[[zone.record]]
name = "ns1"
type = "A"
values = ["192.0.2.1"]
"#;

/// `ns1.example.test A` with the client's part of a cookie and a question for the server's name, and `nope.example.test`.
fn queries() -> [Vec<u8>; 2] {
    [&b"\x03ns1"[..], b"\x04nope"].map(|label| {
        let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        packet.extend(label);
        packet.extend(b"\x07example\x04test\x00\x00\x01\x00\x01");
        packet.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x10");
        packet.extend(b"\x00\x0a\x00\x08cookies!\x00\x03\x00\x00");
        packet
    })
}

#[tokio::test]
async fn a_batch_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dns.toml");
    fs::write(&file, CONFIG).unwrap();
    let compiled = compile(&file, &Learned::default()).unwrap_or_else(|report| panic!("{report}"));
    let shared = Arc::new(Shared {
        state: ArcSwap::from_pointee(compiled.state),
        health: Health::new(),
        learned: Default::default(),
        counts: Default::default(),
        sites: Default::default(),
        clients: Default::default(),
        pressure: Arc::new(Pressure::default()),
    });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(socket.local_addr().unwrap()).unwrap();
    let batch = Batch::new(&socket, false).unwrap();
    let mut worker = Worker::new(socket, shared.clone(), batch);
    let state = shared.state.load_full();
    let queries = queries();
    let mut answers = [0; 512];
    let now = Instant::now();
    // What is made once is made in the first batch; the limit is reached in the second.
    for round in 0..3 {
        for at in 0..BATCH {
            client.send(&queries[at % 2]).unwrap();
        }
        let count = worker.batch.receive(&worker.socket, true).unwrap();
        assert_eq!(count, BATCH);
        let counted = allocation_counter::measure(|| worker.answer(count, &state, now));
        assert!(round == 0 || counted.count_total == 0, "{counted:?}");
        client.set_nonblocking(true).unwrap();
        let received = std::iter::from_fn(|| client.recv(&mut answers).ok()).count();
        // Ten answers of each kind, and half of those beyond.
        let expected = if round == 0 { 26 } else { 16 };
        assert_eq!(received, expected, "in round {round}");
        client.set_nonblocking(false).unwrap();
    }
}
