//! Which cluster the balancer gives a connection to: by address, by the name in TLS, by `Host`, and what PROXY headers say.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::l4::{Balancer, Recorder, client_hello, cluster, introduce, listener, sni};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Two endpoints with names, and one for the rest.
struct Site {
    balancer: Balancer,
    one: Recorder,
    other: Recorder,
    rest: Recorder,
}

impl Site {
    async fn start() -> Self {
        let (one, other, rest) = (
            Recorder::start("one").await,
            Recorder::start("other").await,
            Recorder::start("rest").await,
        );
        // On a busy machine octets come slowly one by one.
        let patient = "cluster = \"rest\"\ntimeouts = { first_bytes = \"60s\" }";
        let mut text = listener("names", patient);
        text += &listener("port", "cluster = \"other\"\n");
        text += "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\nlisteners = [\"names\"]\n";
        text +=
            "[[route]]\nnames = [\"*.other.test\"]\ncluster = \"other\"\nlisteners = [\"names\"]\n";
        for (name, endpoint) in [("one", &one), ("other", &other), ("rest", &rest)] {
            text += &cluster(name, &[(endpoint.address, 1)], "");
        }
        Self {
            balancer: Balancer::start(&text).await,
            one,
            other,
            rest,
        }
    }

    fn names(&self) -> SocketAddr {
        self.balancer.listener("names")
    }
}

/// An extension `encrypted_client_hello` of an outer ClientHello (RFC 9849, 5).
fn encrypted() -> (u16, Vec<u8>) {
    let mut content = vec![0, 0, 1, 0, 1, 42, 0, 32];
    content.extend([5; 32]);
    content.extend([0, 144]);
    content.extend([6; 144]);
    (0xfe0d, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_has_its_cluster() {
    let site = Site::start().await;
    let port = site.balancer.listener("port");
    assert_eq!(introduce(port, &[b"whatever it is"]).await, "other");
    assert_eq!(site.other.taken().await, b"whatever it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_is_read_wherever_it_is_split() {
    let site = Site::start().await;
    let hello = client_hello(&[encrypted(), sni("One.Test"), (43, vec![2, 3, 4])], 16_384);
    let mut all = JoinSet::new();
    for at in 1..hello.len() {
        let (hello, names) = (hello.clone(), site.names());
        all.spawn(async move {
            let (first, second) = hello.split_at(at);
            (at, introduce(names, &[first, second]).await)
        });
    }
    let count = all.len();
    while let Some(outcome) = all.join_next().await {
        let (at, name) = outcome.expect("it does not panic");
        assert_eq!(name, "one", "split after {at} octets");
    }
    for _ in 0..count {
        assert_eq!(site.one.taken().await, hello, "not one octet is lost");
        if site.one.take().is_empty() {
            break;
        }
    }
    let octets: Vec<&[u8]> = hello.chunks(1).collect();
    assert_eq!(introduce(site.names(), &octets).await, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_in_every_shape() {
    let site = Site::start().await;
    let tls = |extensions: &[(u16, Vec<u8>)], record| client_hello(extensions, record);
    let long = (21, vec![0; 9000]);
    let head = |host: &str| {
        format!("GET / HTTP/1.1\r\nAccept: */*\r\nHost: {host}\r\n\r\nbody").into_bytes()
    };
    let cases = [
        (tls(&[sni("one.test")], 1), "one", "an octet a record"),
        (tls(&[sni("one.test")], 100), "one", "several records"),
        (tls(&[long, sni("one.test")], 4000), "one", "a long one"),
        (tls(&[sni("a.b.other.test")], 16_384), "other", "below"),
        (tls(&[sni("other.test")], 16_384), "rest", "not below"),
        (tls(&[sni("unknown.test")], 16_384), "rest", "unknown"),
        (tls(&[(43, vec![2, 3, 4])], 16_384), "rest", "no name"),
        (tls(&[encrypted()], 16_384), "rest", "no outer name"),
        (tls(&[encrypted(), sni("one.test")], 16_384), "one", "ECH"),
        (head("one.test"), "one", "HTTP"),
        (head("X.OTHER.test:8080"), "other", "HTTP with a port"),
        (head("unknown.test"), "rest", "HTTP to another"),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "rest", "HTTP to nobody"),
        (
            b"\x00\x01\x02 no protocol".to_vec(),
            "rest",
            "something else",
        ),
    ];
    for (bytes, want, what) in cases {
        assert_eq!(introduce(site.names(), &[&bytes]).await, want, "{what}");
        let endpoint = match want {
            "one" => &site.one,
            "other" => &site.other,
            _ => &site.rest,
        };
        assert_eq!(endpoint.taken().await, bytes, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_of_its_own_a_listener_takes_only_what_it_has_a_route_for() {
    let one = Recorder::start("one").await;
    let text = listener("names", "")
        + "[[route]]\nnames = [\"one.test\"]\ncluster = \"one\"\n"
        + &cluster("one", &[(one.address, 1)], "");
    let balancer = Balancer::start(&text).await;
    let names = balancer.listener("names");
    let hello = client_hello(&[sni("one.test")], 16_384);
    assert_eq!(introduce(names, &[&hello]).await, "one");
    let hello = client_hello(&[sni("two.test")], 16_384);
    assert_eq!(introduce(names, &[&hello]).await, "");
    balancer.sees("names", "no_route", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_headers_come_in_and_go_out() {
    let (plain, line, binary) = (
        Recorder::start("plain").await,
        Recorder::start("line").await,
        Recorder::start("binary").await,
    );
    let keys = "proxy_protocol = \"required\"\ntrusted = [\"127.0.0.0/8\"]";
    let mut text = listener("in", &format!("{keys}\ncluster = \"plain\""));
    text += &listener("open", "cluster = \"line\"");
    let stranger = keys.replace("127.0.0.0", "10.0.0.0");
    text += &listener("stranger", &format!("{stranger}\ncluster = \"plain\""));
    text += "[[route]]\nnames = [\"one.test\"]\ncluster = \"binary\"\nlisteners = [\"in\"]\n";
    text += &cluster("plain", &[(plain.address, 1)], "");
    text += &cluster("line", &[(line.address, 1)], "proxy_protocol = \"v1\"");
    text += &cluster("binary", &[(binary.address, 1)], "proxy_protocol = \"v2\"");
    let balancer = Balancer::start(&text).await;
    let (from, to) = ("203.0.113.9:4711", "192.0.2.1:443");
    let header = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
    let hello = client_hello(&[sni("one.test")], 16_384);
    for parts in [
        &[&header[..], &hello][..],
        &[&[&header[..], &hello].concat()],
    ] {
        assert_eq!(introduce(balancer.listener("in"), parts).await, "binary");
        let got = binary.taken().await;
        let (head, rest) = got.split_at(got.len() - hello.len());
        assert_eq!(rest, hello);
        assert!(
            head.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
            "{head:?}"
        );
        let addresses = [203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb];
        assert_eq!(&head[16..28], addresses, "{from} to {to}");
        assert_eq!(&head[28..], b"\x02\x00\x08one.test", "the authority");
    }
    // Byte by byte, of version 2.
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend([203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x67, 1, 0xbb]);
    let octets: Vec<&[u8]> = header.chunks(1).chain([&b"\0hi"[..]]).collect();
    assert_eq!(introduce(balancer.listener("in"), &octets).await, "plain");
    assert_eq!(plain.taken().await, b"\0hi");
    let mut client = TcpStream::connect(balancer.listener("open")).await.unwrap();
    let own = client.local_addr().unwrap();
    client.write_all(b"hi").await.unwrap();
    client.shutdown().await.unwrap();
    let got = String::from_utf8(line.taken().await).unwrap();
    let open = balancer.listener("open");
    let want = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\nhi",
        own.port(),
        open.port()
    );
    assert_eq!(got, want);
    // Nobody else may say who the client is, nor leave it open.
    for (listener, parts) in [
        ("in", [&b"GET / HTTP/1.1\r\n\r\n"[..]]),
        ("in", [&b"PROXY TCP4 203.0.113.9 oh\r\n"[..]]),
        (
            "stranger",
            [&b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"[..]],
        ),
    ] {
        assert_eq!(introduce(balancer.listener(listener), &parts).await, "");
    }
    balancer.sees("in", "proxy_header", 2.0).await;
    balancer.sees("stranger", "proxy_header", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_behind_the_balancer_knows_the_client() {
    use tidegate_tests::gateway::{Gateway, Keys};
    use tidegate_tests::upstream::Upstream;
    let upstream = Upstream::start("up").await;
    let keys = Keys {
        listener: "proxy_protocol = \"required\"\ntrusted = [\"127.0.0.0/8\"]",
        ..Keys::default()
    };
    let gateway = Gateway::with(&keys.before(&upstream.address.to_string())).await;
    let text = listener(
        "in",
        "proxy_protocol = \"optional\"\ntrusted = [\"127.0.0.0/8\"]\ncluster = \"gateway\"",
    ) + &cluster(
        "gateway",
        &[(gateway.listener("http"), 1)],
        "proxy_protocol = \"v2\"",
    );
    let balancer = Balancer::start(&text).await;
    let request = "GET /who HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";
    let header = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n";
    for (header, client) in [(header, "203.0.113.9"), ("", "127.0.0.1")] {
        let text = format!("{header}{request}");
        let answer = tidegate_tests::wire::ask(balancer.listener("in"), &text).await;
        assert_eq!(answer.status, 200);
        let seen = upstream.seen().pop().expect("it has reached the upstream");
        let forwarded = seen.headers["x-forwarded-for"].to_str().unwrap();
        assert_eq!(forwarded, client);
    }
    tokio::time::timeout(Duration::from_secs(10), async {
        balancer.sees("in", "done", 2.0).await;
    })
    .await
    .expect("connections end with their clients");
}
