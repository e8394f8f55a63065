//! A GET that must be answered with a certain status, with or without TLS.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Failed, connect};

/// A GET by HTTP/1.1 on a connection of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Path and query, from the `/` on. Like `host` it has no spaces or control characters.
    pub path: String,
    /// The `Host`; the address that is asked when it is not set.
    pub host: Option<String>,
    /// The statuses that are good.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Speaks TLS.
    pub tls: Option<TlsProbe>,
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct TlsProbe {
    name: ServerName<'static>,
    authorities: Option<Vec<CertificateDer<'static>>>,
    config: Arc<ClientConfig>,
}

/// It is the same when it trusts the same; the prepared configuration follows from that.
impl PartialEq for TlsProbe {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.authorities == other.authorities
    }
}

impl TlsProbe {
    /// TLS with a server that has a certificate for this name, from one of these authorities or of the system's.
    pub fn new(
        name: ServerName<'static>,
        authorities: Option<Vec<CertificateDer<'static>>>,
    ) -> Self {
        let roots = match &authorities {
            None => system_authorities(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(authorities.iter().cloned());
                Arc::new(roots)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the suites of the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            name,
            authorities,
            config: Arc::new(config),
        }
    }

    pub(super) async fn connect(&self, target: SocketAddr) -> Result<TlsStream<TcpStream>, Failed> {
        let stream = connect(target).await?;
        let connector = TlsConnector::from(self.config.clone());
        let stream = connector.connect(self.name.clone(), stream).await;
        stream.map_err(|error| Failed::at("TLS", &error))
    }
}

/// The authorities that the system trusts, read once.
pub fn system_authorities() -> Arc<RootCertStore> {
    static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    SYSTEM.clone()
}

/// More than any head of an answer that only its status counts of.
const LONGEST_HEAD: usize = 16 << 10;

impl HttpProbe {
    pub(super) async fn ask(&self, target: SocketAddr) -> Result<(), Failed> {
        match &self.tls {
            None => self.converse(connect(target).await?, target).await,
            Some(tls) => self.converse(tls.connect(target).await?, target).await,
        }
    }

    async fn converse(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        target: SocketAddr,
    ) -> Result<(), Failed> {
        let own = target.to_string();
        let host = self.host.as_deref().unwrap_or(&own);
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {host}\r\nuser-agent: tidegate-check\r\naccept: */*\r\nconnection: close\r\n\r\n",
            self.path
        );
        let sent = stream.write_all(request.as_bytes()).await;
        sent.map_err(|error| Failed::at("sending", &error))?;
        let mut head = Vec::new();
        loop {
            match status(&head)? {
                Some(status) if self.statuses.iter().any(|good| good.contains(&status)) => {
                    return Ok(());
                }
                Some(status) => return Err(Failed::because(format!("status {status}"))),
                None if head.len() > LONGEST_HEAD => {
                    return Err(Failed::because("the head of the answer does not end"));
                }
                None => {}
            }
            let read = stream.read_buf(&mut head).await;
            if read.map_err(|error| Failed::at("receiving", &error))? == 0 {
                return Err(Failed::because("the connection ended before an answer"));
            }
        }
    }
}

/// The status of the answer, once its line is complete; interim answers (RFC 9110, section 15.2) are passed over.
fn status(mut head: &[u8]) -> Result<Option<u16>, Failed> {
    let no_http = || Failed::because("not answered by HTTP/1.1");
    loop {
        let Some(end) = find(head, b"\r\n") else {
            // Something else than HTTP need not be waited for.
            let begun = &head[..head.len().min(b"HTTP/1.".len())];
            return match b"HTTP/1.".starts_with(begun) {
                true => Ok(None),
                false => Err(no_http()),
            };
        };
        let line = std::str::from_utf8(&head[..end]).unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.").and_then(|line| line.get(2..5));
        let status: u16 = status
            .and_then(|code| code.parse().ok())
            .ok_or_else(no_http)?;
        if !(100..200).contains(&status) {
            return Ok(Some(status));
        }
        match find(head, b"\r\n\r\n") {
            Some(end) => head = &head[end + 4..],
            None => return Ok(None),
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
