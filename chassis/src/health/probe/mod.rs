//! Questions that show whether something is well.

mod dns;
mod http;
#[cfg(test)]
mod tests;
mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

pub use self::dns::{DnsProbe, NotAName, RecordType};
pub use self::http::{HttpProbe, TlsProbe, system_authorities};
pub use self::udp::UdpProbe;

use crate::net::is_exhaustion;

/// A question, whose good answer shows that something is well.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A GET that is answered with a certain status.
    Http(HttpProbe),
    /// A connection that is accepted.
    Tcp,
    /// A TLS handshake that must succeed.
    Tls(TlsProbe),
    /// A datagram that is answered.
    Udp(UdpProbe),
    /// A DNS query that is answered.
    Dns(DnsProbe),
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In a few words.
    pub why: String,
    /// It failed in this process, which says nothing about what was probed.
    pub ours: bool,
}

impl Failed {
    /// It is not well.
    pub fn because(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            ours: false,
        }
    }

    pub(super) fn at(doing: &str, error: &io::Error) -> Self {
        Self {
            why: format!("{doing}: {error}"),
            ours: is_exhaustion(error),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Failed {}

impl Probe {
    /// Asks once. Whatever it takes, the answer is here within `limit`.
    ///
    /// # Errors
    /// Why it is not well, or cannot be asked.
    pub async fn ask(&self, target: SocketAddr, limit: Duration) -> Result<(), Failed> {
        let answer = async {
            match self {
                Self::Http(probe) => probe.ask(target).await,
                Self::Tcp => connect(target).await.map(drop),
                Self::Tls(probe) => probe.connect(target).await.map(drop),
                Self::Udp(probe) => probe.ask(target).await,
                Self::Dns(probe) => probe.ask(target).await,
            }
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failed::because(format!("no answer within {limit:?}"))),
        }
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream, Failed> {
    let connected = TcpStream::connect(target).await;
    connected.map_err(|error| Failed::at("connecting", &error))
}
