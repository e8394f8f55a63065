//! Probes against servers that are well, unwell, silent, or something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

fn http(path: &str) -> HttpProbe {
    HttpProbe {
        path: path.into(),
        host: None,
        statuses: vec![200..=399],
        tls: None,
    }
}

async fn ask(probe: Probe, target: SocketAddr) -> Result<(), String> {
    let asked = Instant::now();
    let outcome = probe.ask(target, LIMIT).await;
    assert!(asked.elapsed() < LIMIT * 3, "the limit holds");
    outcome.map_err(|failed| failed.why)
}

/// Answers each connection with these pieces, a moment apart, and shows what it was asked.
async fn answering(
    pieces: &'static [&'static str],
) -> (SocketAddr, Arc<tokio::sync::Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(tokio::sync::Mutex::new(String::new()));
    let shown = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            *shown.lock().await = String::from_utf8_lossy(&buffer[..length]).into();
            for piece in pieces {
                let _ = stream.write_all(piece.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_status_decides() {
    let (address, asked) = answering(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    assert_eq!(
        ask(Probe::Http(http("/healthz?a=1")), address).await,
        Ok(())
    );
    let request = asked.lock().await.clone();
    assert!(
        request.starts_with("GET /healthz?a=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("\r\nhost: {address}\r\n")),
        "{request}"
    );
    let named = HttpProbe {
        host: Some("api.example.com".into()),
        ..http("/")
    };
    assert_eq!(ask(Probe::Http(named), address).await, Ok(()));
    assert!(asked.lock().await.contains("\r\nhost: api.example.com\r\n"));
    let strict = HttpProbe {
        statuses: vec![200..=200],
        ..http("/")
    };
    assert_eq!(
        ask(Probe::Http(strict), address).await,
        Err("status 204".into())
    );
    let (address, _) = answering(&["HTTP/1.1 503 no\r\n\r\n"]).await;
    assert_eq!(
        ask(Probe::Http(http("/")), address).await,
        Err("status 503".into())
    );
}

#[tokio::test]
async fn interim_answers_and_pieces_are_put_together() {
    let pieces = &[
        "HTTP/1.1 103 Early",
        " Hints\r\nlink: a\r\n\r",
        "\nHTTP/1.1 2",
        "00 OK\r\n",
    ];
    let (address, _) = answering(pieces).await;
    assert_eq!(ask(Probe::Http(http("/")), address).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_answer_is_said() {
    for (pieces, why) in [
        (&["SSH-2.0-x\r\n"][..], "not answered by HTTP/1.1"),
        (&["SSH"][..], "not answered by HTTP/1.1"),
        (&["HTTP/1.1 abc\r\n"][..], "not answered by HTTP/1.1"),
        (&[][..], "the connection ended before an answer"),
        (
            &["HTTP/1.1 20"][..],
            "the connection ended before an answer",
        ),
    ] {
        let (address, _) = answering(pieces).await;
        assert_eq!(
            ask(Probe::Http(http("/")), address).await,
            Err(why.into()),
            "{pieces:?}"
        );
    }
}

#[tokio::test]
async fn silence_ends_with_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    assert_eq!(
        ask(Probe::Http(http("/")), silent).await,
        Err("no answer within 1s".into())
    );
    assert_eq!(
        ask(Probe::Tcp, silent).await,
        Ok(()),
        "it is connected to all the same"
    );
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let probe = Probe::Udp(UdpProbe {
        send: b"ping".to_vec(),
        expect: Vec::new(),
    });
    let outcome = ask(probe, socket.local_addr().unwrap()).await;
    assert_eq!(outcome, Err("no answer within 1s".into()));
}

#[tokio::test]
async fn a_closed_port_is_known_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = ask(Probe::Tcp, closed).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
    let probe = Probe::Dns(DnsProbe::new("example.com", RecordType::A, 1).unwrap());
    let refused = ask(probe, closed).await.unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_datagram_is_answered_as_expected() {
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [b"pong ", &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    let probe = |expect: &str| {
        Probe::Udp(UdpProbe {
            send: b"7".to_vec(),
            expect: expect.as_bytes().to_vec(),
        })
    };
    assert_eq!(ask(probe("pong 7"), address).await, Ok(()));
    assert!(ask(probe("pong 8"), address).await.is_err());
}

/// Answers queries with this rcode and number of answers, after an answer to another question.
async fn name_server(code: u8, answers: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = buffer[..length].to_vec();
            answer[2] |= 0x84;
            answer[3] = code;
            answer[7] = answers;
            let mut forged = answer.clone();
            forged[0] ^= 1;
            forged[3] = 0;
            forged[7] = 9;
            for datagram in [&b"x"[..], &forged, &answer] {
                let _ = socket.send_to(datagram, from).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_name_server_must_answer_the_question() {
    let probe = || Probe::Dns(DnsProbe::new("Api.example.com.", RecordType::Aaaa, 1).unwrap());
    assert_eq!(ask(probe(), name_server(0, 1).await).await, Ok(()));
    let empty = ask(probe(), name_server(0, 0).await).await;
    assert_eq!(empty, Err("0 records in the answer".into()));
    let refused = ask(probe(), name_server(5, 0).await).await;
    assert_eq!(refused, Err("answered with REFUSED".into()));
    let odd = ask(probe(), name_server(11, 0).await).await;
    assert_eq!(odd, Err("answered with rcode 11".into()));
}

#[test]
fn names_are_judged() {
    let long = "a".repeat(63);
    let longest = format!("{long}.{long}.{long}.{}", "a".repeat(61));
    for good in ["example.com", "example.com.", ".", "", &longest] {
        assert!(DnsProbe::new(good, RecordType::Soa, 0).is_ok(), "{good}");
    }
    let too_long = format!("{longest}a");
    for bad in ["a..b", ".a", "a..", &format!("{long}a.b"), &too_long] {
        assert!(DnsProbe::new(bad, RecordType::Soa, 0).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn over_tls_the_certificate_counts() {
    let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = stream.flush().await;
            }
        }
    });
    let probe = |name: &'static str, trusted: bool| {
        let authorities = trusted.then(|| vec![made.cert.der().clone()]);
        let name = ServerName::try_from(name).unwrap();
        Probe::Http(HttpProbe {
            tls: Some(TlsProbe::new(name, authorities)),
            ..http("/")
        })
    };
    assert_eq!(ask(probe("api.example.com", true), address).await, Ok(()));
    let other = ask(probe("www.example.com", true), address)
        .await
        .unwrap_err();
    assert!(other.starts_with("TLS: "), "{other}");
    let unknown = ask(probe("api.example.com", false), address)
        .await
        .unwrap_err();
    assert!(unknown.starts_with("TLS: "), "{unknown}");
    assert_eq!(
        probe("api.example.com", true),
        probe("api.example.com", true)
    );
    assert_ne!(
        probe("api.example.com", true),
        probe("api.example.com", false)
    );
}
