//! The PROXY protocol towards endpoints: a connection begins with the addresses of its client.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chassis::net::proxy_protocol::{LOCAL_V1, LOCAL_V2, Tlvs, encode_v1, encode_v2};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::config::ProxyProtocol;

/// Makes new connections to the peer begin with these addresses: the client's, and what it
/// connected to. Without a client they say that they are the gateway's own.
pub(super) fn introduce(
    peer: &mut HttpPeer,
    version: ProxyProtocol,
    client: Option<(SocketAddr, SocketAddr)>,
) {
    peer.group_key = client.map_or(0, group);
    peer.options.custom_l4 = Some(Arc::new(Introduction(introduction(version, client))));
}

/// The header with these addresses.
pub(super) fn introduction(
    version: ProxyProtocol,
    client: Option<(SocketAddr, SocketAddr)>,
) -> Vec<u8> {
    match (version, client) {
        (ProxyProtocol::V1, None) => LOCAL_V1.to_vec(),
        (ProxyProtocol::V2, None) => LOCAL_V2.to_vec(),
        (ProxyProtocol::V1, Some((source, destination))) => encode_v1(source, destination),
        (ProxyProtocol::V2, Some((source, destination))) => {
            let header = encode_v2(source, destination, &Tlvs::default());
            header.expect("a header without TLVs is not too long")
        }
    }
}

/// Pooled connections are shared within a group only. Its key is secret to this process, so
/// that nobody can choose a port that gives the key of another client.
pub(super) fn group(client: (SocketAddr, SocketAddr)) -> u64 {
    static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYED.hash_one(client)
}

/// Connects, and sends this first.
#[derive(Debug)]
struct Introduction(Vec<u8>);

#[async_trait]
impl L4Connect for Introduction {
    async fn connect(&self, address: &PingoraAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "not an Internet address");
        };
        let connected = async {
            let mut stream = TcpStream::connect(address).await?;
            // It fits into the empty send buffer, so this waits for nobody.
            stream.write_all(&self.0).await?;
            Ok(Stream::from(stream))
        };
        connected.await.map_err(|error: std::io::Error| {
            let why = format!("cannot connect to {address}");
            Error::because(ErrorType::ConnectError, why, error)
        })
    }
}
