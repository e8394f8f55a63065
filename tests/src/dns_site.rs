//! The DNS server with every transport that it has.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::eventually::SOON;
use crate::name_server::NameServer;
use crate::openssl::{Said, run};

/// A server with every transport, and an authority that its clients trust.
#[derive(Debug)]
pub struct Site {
    /// Who signs its certificates: `a` for `dns.test`, `b` for `other.test`.
    pub authority: Authority,
    /// The server; its listener `dns` is UDP and TCP.
    pub server: NameServer,
    /// DNS over TLS.
    pub dot: SocketAddr,
    /// DNS over HTTPS at `/dns-query`.
    pub doh: SocketAddr,
    /// DNS over HTTP at `/q`, which trusts loopback.
    pub http: SocketAddr,
}

impl Site {
    /// With more of a configuration, and more keys for TLS.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(more: &str, tls: &str) -> Self {
        let authority = Authority::new("authority");
        authority.server("a", &["dns.test"]);
        authority.server("b", &["other.test"]);
        let folder = authority.folder().display();
        let tls = format!(
            "tls = {{ certificate = \"{folder}/a.pem\", key = \"{folder}/a.key\", {tls} }}"
        );
        let configuration = format!(
            r#"{more}
[[listener]]
name = "dot"
address = "127.0.0.1:0"
{tls}

[[listener]]
name = "doh"
address = "127.0.0.1:0"
{tls}
http = {{}}

[[listener]]
name = "http"
address = "127.0.0.1:0"
http = {{ path = "/q", streams = 10 }}
trusted = ["127.0.0.1"]
{ZONE}"#
        );
        let server = NameServer::start(&configuration, |_| {}).await;
        let [dot, doh, http] = ["dot", "doh", "http"].map(|name| server.listener(name));
        Self {
            authority,
            server,
            dot,
            doh,
            http,
        }
    }

    /// A metric; 0 when there is none.
    pub async fn metric(&self, metric: &str) -> f64 {
        self.server.admin.metric(metric).await.unwrap_or(0.0)
    }

    async fn curl(&self, args: &str) -> Said {
        run("curl", self.authority.folder(), args).await
    }

    /// Asks the HTTPS listener for a path, with more of curl's arguments; headers, then the body.
    pub async fn https(&self, path: &str, more: &str) -> Said {
        let port = self.doh.port();
        let args = format!(
            "-s -i --max-time 10 --cacert ca.pem --resolve dns.test:{port}:127.0.0.1 {more} https://dns.test:{port}{path}"
        );
        self.curl(&args).await
    }
}

/// What a client of DNS prints, such as `dig`.
///
/// # Panics
/// When it is not installed.
pub fn said(program: &str, server: SocketAddr, args: &[&str]) -> String {
    let output = Command::new(program)
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string()])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: make setup-tests"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A message as it is sent over a stream: with its length in front.
pub fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

/// How long it takes until the other side ends a connection.
///
/// # Panics
/// When it does not.
pub async fn ended(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let end = async { while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {} };
    let ended = tokio::time::timeout(SOON, end).await;
    assert!(ended.is_ok(), "the connection does not end");
    began.elapsed()
}

const ZONE: &str = r#"
[[zone]]
name = "example.test"
ns = ["ns1"]
soa = { serial = 1, negative = "40s" }

[[zone.record]]
name = "ns1"
type = "A"
values = ["192.0.2.53"]

[[zone.record]]
name = "www"
type = "A"
ttl = "77s"
values = ["192.0.2.1"]
"#;
