//! Every kind of check gates the first connection: of two endpoints only the one that passes gets any.

use std::net::{SocketAddr, UdpSocket};

use tidegate_tests::authority::Authority;
use tidegate_tests::l4::{Balancer, cluster, listener};
use tidegate_tests::name_server::{NameServer, ZONE};
use tidegate_tests::named::{Named, who};
use tidegate_tests::upstream::Upstream;

/// Which of two endpoints gets connections when the first is asked at one address and the other at another.
async fn chosen(check: &str, good: SocketAddr, bad: SocketAddr) {
    let (a, b) = (Named::start("good").await, Named::start("bad").await);
    let text = format!(
        r#"
[check.it]
interval = "100ms"
timeout = "1s"
{check}
[cluster.web]
check = "it"
endpoints = [
    {{ address = "{}", probe = "{good}" }},
    {{ address = "{}", probe = "{bad}" }},
]
"#,
        a.address, b.address
    );
    let balancer = Balancer::start(&(text + &listener("in", "cluster = \"web\""))).await;
    for _ in 0..10 {
        let who = who(balancer.listener("in")).await;
        assert_eq!(who.as_deref(), Some("good"), "{check}");
    }
    assert_eq!(b.accepted(), 0, "{check}");
    let found = balancer.endpoint("web", b.address).await;
    assert_eq!(found["well"], false, "{check}");
    assert!(found["why"].is_string(), "{check}: {found}");
}

#[tokio::test]
async fn tcp() {
    let open = Named::start("open").await;
    chosen("tcp = {}", open.address, "127.0.0.1:1".parse().unwrap()).await;
}

#[tokio::test]
async fn http() {
    let (good, bad) = (Upstream::start("good").await, Upstream::start("bad").await);
    bad.set_healthy(false);
    let check = "http = { path = \"/healthz\" }";
    chosen(check, good.address, bad.address).await;
}

#[tokio::test]
async fn tls() {
    let authority = Authority::new("an authority");
    authority.server("good", &["good.test"]);
    authority.server("other", &["other.test"]);
    let tls = |name: &str, certificate: &str| {
        let file = |kind| authority.file(&format!("{certificate}.{kind}"));
        let (certificate, key) = (file("pem"), file("key"));
        let (certificate, key) = (certificate.display(), key.display());
        let tls = format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}");
        listener(name, &format!("cluster = \"any\"\n{tls}"))
    };
    let any = cluster("any", &[("127.0.0.1:1".parse().unwrap(), 1)], "");
    let text = tls("good", "good") + &tls("other", "other") + &any;
    let server = Balancer::start(&text).await;
    let ca = authority.file("ca.pem");
    let check = format!(
        "tls = {{ server_name = \"good.test\", ca = \"{}\" }}",
        ca.display()
    );
    chosen(&check, server.listener("good"), server.listener("other")).await;
}

/// A server that answers every datagram so; until the test's process ends.
fn answers(answer: &'static [u8]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(answer, from);
        }
    });
    address
}

#[tokio::test]
async fn udp() {
    let check = "udp = { send = \"ping\", expect = \"pong\" }";
    chosen(check, answers(b"pong!"), answers(b"pang")).await;
}

#[tokio::test]
async fn dns() {
    let good = NameServer::start(ZONE, |_| {}).await;
    let other = ZONE.replace("example.test", "other.test");
    let bad = NameServer::start(&other, |_| {}).await;
    let check = "dns = { name = \"www.example.test\" }";
    chosen(check, good.address, bad.address).await;
}
