//! New connections to endpoints: TCP, the PROXY header, TLS.

use std::io;
use std::net::SocketAddr;

use pingora_core::{Error, ErrorType, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::{because, upstream};
use super::upstream::{Io, Key, Upstream};
use crate::cluster::{Endpoint, Target, TlsTarget};

/// Connects within the cluster's time. `client` is who the PROXY header names, and what it
/// connected to.
///
/// # Errors
/// When the endpoint cannot be connected to.
pub(super) async fn connect(
    endpoint: &Endpoint,
    target: &Target,
    client: Option<(SocketAddr, SocketAddr)>,
) -> Result<Box<Upstream>> {
    let limit = endpoint.settings.connect_timeout;
    let mut tls = false;
    let connected = async {
        let stream = open(target.address, endpoint.introduction(client)).await?;
        match &endpoint.tls {
            None => Ok(Io::Plain(stream)),
            Some(target) => {
                tls = true;
                shake_hands(target, stream).await
            }
        }
    };
    let io = match tokio::time::timeout(limit, connected).await {
        Ok(io) => io?,
        Err(_) if tls => return Err(upstream(ErrorType::TLSHandshakeTimedout, "connecting")),
        Err(_) => return Err(upstream(ErrorType::ConnectTimedout, "connecting")),
    };
    let key = Key::new(target, endpoint.group(client));
    Ok(Box::new(Upstream::new(io, key, &endpoint.settings)))
}

async fn open(address: SocketAddr, introduction: Option<Vec<u8>>) -> Result<TcpStream> {
    let opened = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some(introduction) = introduction {
            // It fits into the empty send buffer, so this waits for nobody.
            stream.write_all(&introduction).await?;
        }
        Ok(stream)
    };
    opened.await.map_err(|error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ErrorType::ConnectNoRoute
            }
            _ => ErrorType::ConnectError,
        };
        let what = format!("cannot connect to {address}");
        Error::because(kind, what, error).into_up()
    })
}

async fn shake_hands(target: &TlsTarget, stream: TcpStream) -> Result<Io> {
    let connector = TlsConnector::from(target.config.clone());
    match connector.connect(target.name.clone(), stream).await {
        Ok(stream) => Ok(Io::Tls(Box::new(stream))),
        Err(error) => Err(because(
            ErrorType::TLSHandshakeFailure,
            "no TLS with the endpoint",
            error,
        )),
    }
}
