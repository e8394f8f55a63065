//! A datagram that must be answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::Failed;

/// A datagram that must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// What is sent.
    pub send: Vec<u8>,
    /// What an answer must begin with.
    pub expect: Vec<u8>,
}

/// The largest datagram.
const LARGEST: usize = 65_535;

impl UdpProbe {
    pub(super) async fn ask(&self, target: SocketAddr) -> Result<(), Failed> {
        exchange(target, &self.send, |answer| {
            answer.starts_with(&self.expect).then_some(Ok(()))
        })
        .await
    }
}

/// Sends a datagram from a port of its own, and listens until an answer is judged. Others may send there too, so what does
/// not belong to the question is passed over. A port that nobody listens on is known at once, by ICMP.
pub(super) async fn exchange(
    target: SocketAddr,
    question: &[u8],
    judge: impl Fn(&[u8]) -> Option<Result<(), Failed>>,
) -> Result<(), Failed> {
    let from: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let failed = |doing| move |error: io::Error| Failed::at(doing, &error);
    let socket = UdpSocket::bind((from, 0))
        .await
        .map_err(failed("opening a socket"))?;
    socket.connect(target).await.map_err(failed("connecting"))?;
    socket.send(question).await.map_err(failed("sending"))?;
    let mut answer = vec![0; LARGEST];
    loop {
        let length = socket
            .recv(&mut answer)
            .await
            .map_err(failed("receiving"))?;
        if let Some(verdict) = judge(&answer[..length]) {
            return verdict;
        }
    }
}
