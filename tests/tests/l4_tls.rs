//! TLS that ends at the balancer, beside TLS that passes through it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use tidegate_tests::authority::Authority;
use tidegate_tests::byte_peers::Server;
use tidegate_tests::eventually::{SOON, eventually};
use tidegate_tests::l4::{Balancer, Recorder, cluster, introduce, listener};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and clients that trust it.
struct Site {
    authority: Authority,
    trusting: Arc<ClientConfig>,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new("authority");
        for name in ["one", "two", "rest"] {
            authority.server(name, &[&format!("{name}.test")]);
        }
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority.file("ca.pem"));
        let root = root.expect("an authority has a certificate");
        roots.add(root).expect("it is one");
        let provider = rustls::crypto::ring::default_provider();
        let trusting = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            authority,
            trusting: Arc::new(trusting),
        }
    }

    /// The key `tls` with a certificate, and more in it.
    fn tls(&self, name: &str, more: &str) -> String {
        let file = |end: &str| self.authority.file(&format!("{name}.{end}"));
        let (certificate, key) = (file("pem"), file("key"));
        format!(
            "tls = {{ certificate = \"{}\", key = \"{}\"{more} }}\n",
            certificate.display(),
            key.display()
        )
    }

    /// A client that speaks these protocols.
    fn speaking(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.trusting);
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        Arc::new(config)
    }
}

/// Connects and does the handshake.
fn connect(to: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    let tcp = TcpStream::connect(to)?;
    tcp.set_read_timeout(Some(SOON))?;
    let name = ServerName::try_from(name.to_owned()).expect("it is a name");
    let session = ClientConnection::new(config.clone(), name).expect("it is sound");
    let mut stream = StreamOwned::new(session, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The certificate that a client got.
fn certificate(stream: &Stream) -> Vec<u8> {
    let all = stream.conn.peer_certificates();
    all.and_then(|all| all.first())
        .expect("there is one")
        .to_vec()
}

fn on_disk(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path)
        .expect("it is one")
        .to_vec()
}

/// Says `hello` over TLS and ends it: the certificate, the protocol, and what was said until the end.
async fn ask(
    to: SocketAddr,
    name: &'static str,
    config: Arc<ClientConfig>,
) -> std::io::Result<(Vec<u8>, Option<Vec<u8>>, String)> {
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = connect(to, name, &config)?;
        stream.write_all(b"hello")?;
        stream.conn.send_close_notify();
        stream.flush()?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        Ok((certificate(&stream), protocol, said.trim().to_owned()))
    });
    asking.await.expect("it does not panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_ends_for_some_names_and_passes_for_others() {
    let site = Site::new();
    let (one, rest) = (Recorder::start("one").await, Recorder::start("rest").await);
    // What passes through ends at the second listener, which stands for a server of its own.
    let back = listener(
        "back",
        &("cluster = \"rest\"\n".to_owned() + &site.tls("two", "")),
    );
    let behind = Balancer::start(&(back + &cluster("rest", &[(rest.address, 1)], ""))).await;
    let more = ", alpn = [\"h2\", \"http/1.1\"]";
    let keys = "cluster = \"rest\"\n".to_owned() + &site.tls("rest", "");
    let text = listener("in", &keys)
        + "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\n"
        + &site.tls("one", more)
        + "[[route]]\nnames = [\"two.test\"]\ncluster = \"behind\"\n"
        + &cluster("one", &[(one.address, 1)], "proxy_protocol = \"v2\"")
        + &cluster("behind", &[(behind.listener("back"), 1)], "")
        + &cluster("rest", &[(rest.address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    let shown = |name: &str| on_disk(&site.authority.file(&format!("{name}.pem")));
    let protocol = Some(b"http/1.1".to_vec());
    let answer = ask(to, "one.test", site.speaking(&[b"x", b"http/1.1"])).await;
    assert_eq!(answer.unwrap(), (shown("one"), protocol, "one".into()));
    let got = one.taken().await;
    let text = String::from_utf8_lossy(&got);
    for part in ["one.test", "http/1.1", "TLSv1.3", "TLS_AES_"] {
        assert!(text.contains(part), "{part} is not in {text:?}");
    }
    assert!(text.ends_with("hello"));
    // There are no protocols by default.
    let answer = ask(to, "two.test", site.speaking(&[b"h2"])).await;
    assert_eq!(answer.unwrap(), (shown("two"), None, "rest".into()));
    assert_eq!(rest.taken().await, b"hello");
    let answer = ask(to, "rest.test", site.trusting.clone()).await;
    assert_eq!(answer.unwrap(), (shown("rest"), None, "rest".into()));
    balancer.sees("in", "done", 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_fail_are_counted_by_reason() {
    let site = Site::new();
    let one = Recorder::start("one").await;
    let text = listener("in", "")
        + "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\n"
        + &site.tls("one", ", alpn = [\"h2\"]")
        + &cluster("one", &[(one.address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    assert!(ask(to, "one.test", site.speaking(&[b"h2"])).await.is_ok());
    let refused = ask(to, "one.test", site.speaking(&[b"x"])).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    let plain = b"GET / HTTP/1.1\r\nhost: one.test\r\n\r\n";
    assert_eq!(introduce(to, &[plain]).await.find("one"), None);
    balancer.sees("in", "handshake", 2.0).await;
    for outcome in ["full", "no_shared_protocol", "not_tls"] {
        let labels = format!("{{listener=\"in\",outcome=\"{outcome}\"}}");
        let metric = format!("tidegate_l4_tls_handshakes_total{labels}");
        let count = balancer.admin.metric(&metric).await;
        assert_eq!(count, Some(1.0), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_in_tls_are_whole_and_ends_are_ends() {
    let site = Site::new();
    let server = Server::local("up");
    let keys = "cluster = \"up\"\ntimeouts = { first_bytes = \"1s\" }\n".to_owned();
    let text =
        listener("in", &(keys + &site.tls("one", ""))) + &cluster("up", &[(server.address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    let config = site.trusting.clone();
    let echoed = move || {
        let mut stream = connect(to, "one.test", &config).unwrap();
        stream.write_all(b"echo\n").unwrap();
        let mut chunk: Vec<u8> = (0..200_003_u32).map(|at| (at * 7 % 251) as u8).collect();
        let mut back = vec![0; chunk.len()];
        for round in 0..100 {
            chunk[0] = round;
            stream.write_all(&chunk).unwrap();
            stream.read_exact(&mut back).unwrap();
            assert!(chunk == back, "round {round}");
        }
        stream.write_all(b"the end").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        let mut rest = String::new();
        // An end without `close_notify` would be an error.
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the end");
    };
    tokio::task::spawn_blocking(echoed).await.unwrap();
    balancer.sees("in", "done", 1.0).await;
    let config = site.trusting.clone();
    let broken = move || {
        let mut stream = connect(to, "one.test", &config).unwrap();
        stream.write_all(b"reset\n").unwrap();
        let broken = stream.read(&mut [0; 9]).unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::ConnectionReset);
        // Cut off, as nobody ends what is whole.
        let mut stream = connect(to, "one.test", &config).unwrap();
        stream.write_all(b"hold\n").unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        stream
    };
    let stream = tokio::task::spawn_blocking(broken).await.unwrap();
    let ended = eventually("the endpoint hears of it", SOON, async || {
        server.endings().pop()
    });
    assert_eq!(ended.await, "ConnectionReset");
    balancer.sees("in", "endpoint_broke", 1.0).await;
    balancer.sees("in", "client_broke", 1.0).await;
    drop(stream);
    // A handshake that stops.
    let mut half = TcpStream::connect(to).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .unwrap();
    balancer.sees("in", "slow", 1.0).await;
    drop(half);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_leave_without_a_word_once_the_endpoint_has_ended() {
    let site = Site::new();
    let endpoints = TcpListener::bind("127.0.0.1:0").unwrap();
    let up = endpoints.local_addr().unwrap();
    let text = listener(
        "in",
        &("cluster = \"up\"\n".to_owned() + &site.tls("one", "")),
    ) + &cluster("up", &[(up, 1)], "");
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    let talking = move || {
        let mut stream = connect(to, "one.test", &site.trusting).unwrap();
        let (mut endpoint, _) = endpoints.accept().unwrap();
        endpoint.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"question").unwrap();
        endpoint.read_exact(&mut [0; 8]).unwrap();
        endpoint.write_all(b"answer").unwrap();
        endpoint.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
        stream.sock.shutdown(Shutdown::Write).unwrap();
        endpoint.read(&mut [0; 9])
    };
    let end = tokio::task::spawn_blocking(talking).await.unwrap();
    assert_eq!(end.expect("an end, and no reset"), 0);
    balancer.sees("in", "done", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_and_sessions_go_on() {
    let site = Site::new();
    let one = Recorder::start("one").await;
    let text = listener("in", "")
        + "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\n"
        + &site.tls("one", "")
        + &cluster("one", &[(one.address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let to = balancer.listener("in");
    let ask = async || {
        let config = site.trusting.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let mut stream = connect(to, "one.test", &config).unwrap();
            // With it come the tickets.
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            (certificate(&stream), stream.conn.handshake_kind().unwrap())
        });
        asking.await.expect("it does not panic")
    };
    let (first, kind) = ask().await;
    assert_eq!(kind, HandshakeKind::Full);
    assert_eq!(ask().await.1, HandshakeKind::Resumed);
    balancer.reload(&text).await;
    assert_eq!(
        ask().await.1,
        HandshakeKind::Resumed,
        "a reload ends no session"
    );
    // Nobody has to reload: the files are watched.
    site.authority.server("one", &["one.test"]);
    let second = on_disk(&site.authority.file("one.pem"));
    assert_ne!(first, second);
    eventually("the new certificate is shown", SOON, async || {
        let mut fresh = ClientConfig::clone(&site.trusting);
        fresh.resumption = rustls::client::Resumption::disabled();
        let fresh = Arc::new(fresh);
        let asking = tokio::task::spawn_blocking(move || connect(to, "one.test", &fresh));
        let stream = asking.await.ok()?.ok()?;
        (certificate(&stream) == second).then_some(())
    })
    .await;
    fs::write(site.authority.file("one.key"), "no key").unwrap();
    let answer = balancer.admin.reload().await;
    assert_ne!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("one.key"), "{}", answer.text());
    ask().await;
}
