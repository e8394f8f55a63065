//! QUIC, with a client and servers that others have written.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, Incoming, ServerConfig};
use rustls::crypto::ring::default_provider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_l4::balance::Scheduler;
use tidegate_l4::datagram::Counter;
use tokio::task::JoinHandle;

use crate::site::{Answering, PATIENCE, Site, Wanted, cluster, eventually};

const NAMES: [&str; 2] = ["one.test", "two.test"];

/// Servers that say what they are called, and send as much as they are asked for.
struct Servers {
    addresses: Vec<SocketAddr>,
    client: ClientConfig,
    tasks: Vec<JoinHandle<()>>,
}

impl Servers {
    fn start(names: &[&'static str], retry: bool) -> Self {
        let certified = rcgen::generate_simple_self_signed(NAMES.map(String::from))
            .expect("what is made here is sound");
        let certificate = CertificateDer::from(certified.cert.der().to_vec());
        let mut addresses = Vec::new();
        let mut tasks = Vec::new();
        for name in names {
            let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der())
                .expect("what is made here is sound");
            let tls = rustls::ServerConfig::builder_with_provider(default_provider().into())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("what is made here is sound")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .expect("what is made here is sound");
            let tls = QuicServerConfig::try_from(tls).expect("what is made here is sound");
            let config = ServerConfig::with_crypto(Arc::new(tls));
            let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into())
                .expect("what is made here is sound");
            addresses.push(endpoint.local_addr().expect("what is made here is sound"));
            tasks.push(tokio::spawn(serve(endpoint, name, retry)));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("what is made here is sound");
        let tls = rustls::ClientConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("what is made here is sound")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = QuicClientConfig::try_from(tls).expect("what is made here is sound");
        Self {
            addresses,
            client: ClientConfig::new(Arc::new(tls)),
            tasks,
        }
    }

    fn client(&self) -> Endpoint {
        let mut endpoint =
            Endpoint::client(([127, 0, 0, 1], 0).into()).expect("what is made here is sound");
        endpoint.set_default_client_config(self.client.clone());
        endpoint
    }

    /// A listener that leads each name to the server of the same place, and all else to the last.
    fn site(&self, change: impl FnOnce(&mut Wanted)) -> Site {
        self.wanted(change).start("127.0.0.1:0")
    }

    fn wanted(&self, change: impl FnOnce(&mut Wanted)) -> Wanted {
        let one = |address: &SocketAddr| cluster(Scheduler::RoundRobin, &[*address]);
        let mut clusters: HashMap<_, _> = NAMES
            .into_iter()
            .map(Some)
            .zip(self.addresses.iter().map(one))
            .collect();
        clusters.insert(None, one(&self.addresses[self.addresses.len() - 1]));
        let mut wanted = Wanted::new(clusters[&None].clone());
        wanted.clusters = clusters;
        wanted.quic = true;
        change(&mut wanted);
        wanted
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(endpoint: Endpoint, name: &'static str, retry: bool) {
    while let Some(incoming) = endpoint.accept().await {
        if retry && incoming.may_retry() {
            incoming.retry().expect("the connection holds");
        } else {
            tokio::spawn(answer(incoming, name));
        }
    }
}

async fn answer(incoming: Incoming, name: &'static str) {
    let Ok(connection) = incoming.await else {
        return;
    };
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let wanted = receive
                .read_to_end(1 << 28)
                .await
                .expect("the connection holds");
            match wanted.first_chunk() {
                Some(count) if wanted.len() == 8 => {
                    let count = u64::from_be_bytes(*count);
                    for at in (0..count).step_by(CHUNK) {
                        let chunk = chunk(at, (count - at).min(CHUNK as u64) as usize);
                        send.write_all(&chunk).await.expect("the connection holds");
                    }
                }
                _ => send
                    .write_all(name.as_bytes())
                    .await
                    .expect("the connection holds"),
            }
            send.finish().expect("the connection holds");
        });
    }
}

const CHUNK: usize = 1 << 16;

/// Octets of a long row, in which none is like those some way before it.
fn chunk(at: u64, length: usize) -> Vec<u8> {
    (at..at + length as u64)
        .map(|at| (at ^ at >> 7 ^ at >> 17) as u8)
        .collect()
}

async fn ask(connection: &Connection, what: &[u8]) -> Vec<u8> {
    let asking = async {
        let (mut send, mut receive) = connection.open_bi().await.expect("the connection holds");
        send.write_all(what).await.expect("the connection holds");
        send.finish().expect("the connection holds");
        receive
            .read_to_end(1 << 28)
            .await
            .expect("the connection holds")
    };
    tokio::time::timeout(6 * PATIENCE, asking)
        .await
        .expect("there is an answer")
}

async fn name(connection: &Connection) -> String {
    // A server may send to an address that is not proved three times as much as has come from there, and this one
    // proves an address with no less than 1200 octets (RFC 9000, 8.1 and 8.2.1).
    let question = b"who? ".repeat(200);
    String::from_utf8(ask(connection, &question).await).expect("the connection holds")
}

async fn connect(client: &Endpoint, to: SocketAddr, name: &str) -> Connection {
    let connecting = client.connect(to, name).expect("the connection holds");
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .expect("it connects in time")
        .expect("the connection holds")
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_clusters_even_from_one_port() {
    let servers = Servers::start(&NAMES, false);
    let site = servers.site(|_| {});
    let (one, other) = (servers.client(), servers.client());
    for client in [&one, &other, &one] {
        let connections = [
            connect(client, site.address(), NAMES[0]).await,
            connect(client, site.address(), NAMES[1]).await,
        ];
        for _ in 0..3 {
            for (connection, want) in connections.iter().zip(NAMES) {
                assert_eq!(name(connection).await, want);
            }
        }
    }
    assert_eq!(
        site.shared.open(),
        4,
        "two clients, with two endpoints each"
    );
    assert_eq!(site.sum(Counter::UnknownId), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_arrive_as_they_were_sent() {
    const COUNT: u64 = 100_000_000;
    let servers = Servers::start(&NAMES, false);
    let site = servers.site(|_| {});
    let client = servers.client();
    let connection = connect(&client, site.address(), NAMES[0]).await;
    let answer = ask(&connection, &COUNT.to_be_bytes()).await;
    assert_eq!(answer.len() as u64, COUNT);
    assert!(answer == chunk(0, COUNT as usize), "the octets differ");
    // And upwards.
    assert_eq!(ask(&connection, &answer[..20_000_000]).await, b"one.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_want_the_address_proved_first() {
    let servers = Servers::start(&NAMES, true);
    let site = servers.site(|_| {});
    let client = servers.client();
    for want in NAMES {
        let connection = connect(&client, site.address(), want).await;
        assert_eq!(name(&connection).await, want);
    }
}

/// Between client and listener: what a router with address translation does.
struct Router {
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    /// Where it is seen by the listener, each time anew.
    outer: Arc<AtomicU16>,
    rebind: tokio::sync::mpsc::Sender<()>,
}

impl Router {
    async fn start(to: SocketAddr) -> Self {
        let inner = tokio::net::UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has sockets");
        let address = inner.local_addr().expect("loopback has sockets");
        let (rebind, mut rebinds) = tokio::sync::mpsc::channel(1);
        let outer = Arc::new(AtomicU16::new(0));
        let seen = outer.clone();
        let route = async move {
            let mut client = None;
            let (mut up, mut down) = (vec![0; 70_000], vec![0; 70_000]);
            loop {
                let outer = tokio::net::UdpSocket::bind("127.0.0.1:0")
                    .await
                    .expect("loopback has sockets");
                outer.connect(to).await.expect("loopback has sockets");
                seen.store(
                    outer.local_addr().expect("loopback has sockets").port(),
                    Relaxed,
                );
                loop {
                    tokio::select! {
                        _ = rebinds.recv() => break,
                        received = inner.recv_from(&mut up) => {
                            let (length, from) = received.expect("loopback has sockets");
                            client = Some(from);
                            let _ = outer.send(&up[..length]).await;
                        }
                        received = outer.recv(&mut down) => {
                            if let (Some(client), Ok(length)) = (client, received) {
                                let _ = inner.send_to(&down[..length], client).await;
                            }
                        }
                    }
                }
            }
        };
        Self {
            address,
            tasks: vec![tokio::spawn(route)],
            outer,
            rebind,
        }
    }

    /// Has the listener see another address.
    async fn rebind(&self) {
        let before = self.outer.load(Relaxed);
        self.rebind.send(()).await.expect("loopback has sockets");
        while self.outer.load(Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_found_by_their_ids_behind_another_address() {
    let servers = Servers::start(&NAMES, false);
    let site = servers.site(|_| {});
    let router = Router::start(site.address()).await;
    let (near, far) = (servers.client(), servers.client());
    // Two connections with different endpoints from one port.
    let moving = connect(&far, router.address, NAMES[0]).await;
    let beside = connect(&far, router.address, NAMES[1]).await;
    assert_eq!(name(&moving).await, NAMES[0]);
    for _ in 0..5 {
        // Whoever has this IP address was last led to the other cluster.
        let other = connect(&near, site.address(), NAMES[1]).await;
        router.rebind().await;
        assert_eq!(name(&moving).await, NAMES[0]);
        assert_eq!(name(&beside).await, NAMES[1]);
        assert_eq!(name(&other).await, NAMES[1]);
    }
    assert_eq!(site.sum(Counter::UnknownId), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_on_when_their_client_moves() {
    let names = [NAMES[0], "unused", NAMES[1]];
    let servers = Servers::start(&names, false);
    let site = servers.site(|wanted| {
        // The wrong endpoint knows nothing of the connection.
        let addresses = &servers.addresses;
        let one = cluster(Scheduler::RoundRobin, &addresses[..2]);
        wanted.clusters.insert(Some(NAMES[0]), one);
    });
    let client = servers.client();
    let connection = connect(&client, site.address(), NAMES[0]).await;
    let before = name(&connection).await;
    for _ in 0..3 {
        let loading = {
            let connection = connection.clone();
            tokio::spawn(async move { ask(&connection, &5_000_000u64.to_be_bytes()).await })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        client
            .rebind(UdpSocket::bind("127.0.0.1:0").expect("the connection holds"))
            .expect("the connection holds");
        assert!(
            loading.await.expect("the connection holds") == chunk(0, 5_000_000),
            "the octets differ"
        );
        assert_eq!(name(&connection).await, before);
    }
    assert!(site.shared.open() >= 4, "each address has its session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_knows_where_connections_belong() {
    let names = [NAMES[0], NAMES[1], "default"];
    let servers = Servers::start(&names, false);
    let wanted = servers.wanted(|_| {});
    let mut site = wanted.clone().start("127.0.0.1:0");
    let router = Router::start(site.address()).await;
    let (near, far) = (servers.client(), servers.client());
    // Two share a port, one will be seen at another.
    let connections = [
        connect(&near, site.address(), NAMES[0]).await,
        connect(&near, site.address(), NAMES[1]).await,
        connect(&far, router.address, NAMES[0]).await,
    ];
    for turn in 0..4 {
        site = tokio::task::block_in_place(|| wanted.clone().succeed(&site));
        if turn % 2 == 0 {
            router.rebind().await;
        }
        // The last turns are two in a row without a word of the first.
        for connection in connections.iter().skip(turn % 3) {
            let want = match std::ptr::eq(connection, &connections[1]) {
                true => NAMES[1],
                false => NAMES[0],
            };
            assert_eq!(name(connection).await, want, "after {turn}");
        }
    }
    for (connection, want) in connections.iter().zip([NAMES[0], NAMES[1], NAMES[0]]) {
        assert_eq!(name(connection).await, want);
    }
    assert_eq!(site.sum(Counter::UnknownId), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_may_have_any_number_of_connections_one_after_the_other() {
    let servers = Servers::start(&NAMES, false);
    let site = servers.site(|_| {});
    let client = servers.client();
    // This one is used all the time, and is not forgotten for those that come later.
    let first = connect(&client, site.address(), NAMES[0]).await;
    for number in 0..400 {
        let want = NAMES[number % 2];
        let connection = connect(&client, site.address(), want).await;
        assert_eq!(name(&connection).await, want, "the connection {number}");
        assert_eq!(name(&first).await, NAMES[0], "after {number}");
        connection.close(0u8.into(), b"");
    }
    assert_eq!(site.shared.open(), 2);
    assert_eq!(site.sum(Counter::UnknownId), 0);
}

#[test]
fn what_looks_like_another_version_stays_with_one_endpoint() {
    let (one, two) = (Answering::start("one"), Answering::start("two"));
    let addresses = [one.address, two.address];
    let mut wanted = Wanted::new(cluster(Scheduler::RoundRobin, &addresses));
    wanted.quic = true;
    let site = wanted.start("127.0.0.1:0");
    let client = site.client();
    let answers = (0..20u8).map(|number| {
        // RTP (RFC 3550, 5.1): what counts up is where QUIC has a connection id.
        let packet = [&[0x80, 96, 0, number, 0, 6][..], &[number; 60]].concat();
        client.0.send(&packet).unwrap();
        let answer = client.receive(PATIENCE).unwrap();
        answer.split(' ').take(2).collect::<String>()
    });
    let answers: HashSet<_> = answers.collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(site.shared.open(), 1);
}

#[test]
fn other_versions_and_protocols_go_to_the_default() {
    let (one, default) = (Answering::start("one"), Answering::start("default"));
    let mut wanted = Wanted::new(cluster(Scheduler::RoundRobin, &[default.address]));
    let named = cluster(Scheduler::RoundRobin, &[one.address]);
    wanted.clusters.insert(Some(NAMES[0]), named);
    wanted.quic = true;
    let site = wanted.start("127.0.0.1:0");
    for question in ["\u{c0}\0\0\0\u{1}", "hello", "\u{7f}", ""] {
        let client = site.client();
        assert!(client.ask(question).starts_with("default"), "{question:?}");
    }
    let mut greased = vec![0xC0, 0x0A, 0x1A, 0x2A, 0x3A, 8];
    greased.extend([7; 1200]);
    let client = site.client();
    for _ in 0..3 {
        client.0.send(&greased).unwrap();
        assert!(
            client
                .receive(PATIENCE)
                .is_some_and(|answer| answer.starts_with("default"))
        );
    }
    assert_eq!(site.shared.open(), 5);
}

#[test]
fn first_packets_that_lead_nowhere_cost_no_session() {
    let one = Answering::start("one");
    let mut wanted = Wanted::new(cluster(Scheduler::RoundRobin, &[one.address]));
    wanted.quic = true;
    wanted.opening = Duration::from_millis(300);
    let site = wanted.start("127.0.0.1:0");
    // The header of an Initial, then nothing that could be decrypted.
    let mut first = vec![
        0xC3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x96,
    ];
    first.resize(1200, 0x5A);
    let client = site.client();
    for number in 0..20 {
        first[6] = number;
        client.0.send(&first).unwrap();
    }
    assert!(eventually(|| site.sum(Counter::Malformed) == 20));
    assert_eq!(site.shared.open(), 0);
    assert!(
        client.ask("hello").starts_with("one"),
        "the client may do better"
    );
    // From then on it may be of a connection that its endpoint knows.
    client.0.send(&first).unwrap();
    let answer = client.receive(PATIENCE);
    assert!(answer.is_some_and(|answer| answer.starts_with("one")));
}
