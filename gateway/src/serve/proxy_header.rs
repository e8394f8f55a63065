//! The PROXY header that a balancer puts before a client's bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use chassis::net::proxy_protocol::{Header, Origin, Parsing, Refusal as Malformed, parse};
use plugins::Client;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::ProxyHeader;
use crate::refusal::Refusal;
use crate::state::ListenerState;

/// Why a connection ends before its first request.
#[derive(Debug)]
pub(super) enum Refused {
    /// What it began with is not as it must be.
    For(Refusal),
    /// It ended by itself.
    Gone,
}

/// Reads the header if this listener expects one from this peer, and takes over what it says of
/// the client, and of the address (`local`) that it has connected to.
/// What was read beyond it is in `ahead`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    listener: &ListenerState,
    client: &mut Client,
    local: &mut Option<SocketAddr>,
    ahead: &mut Vec<u8>,
) -> Result<(), Refused> {
    let peer: Option<IpAddr> = client.address.map(|address| address.ip());
    let required = match (listener.proxy_header, listener.trusts(peer)) {
        (ProxyHeader::Off, _) | (ProxyHeader::Optional, false) => return Ok(()),
        (ProxyHeader::Required, false) => return Err(Refused::For(Refusal::ProxyHeaderMissing)),
        (ProxyHeader::Required, true) => true,
        (ProxyHeader::Optional, true) => false,
    };
    loop {
        match parse(ahead) {
            Parsing::Parsed { header, length } => {
                ahead.drain(..length);
                take_over(client, local, &header);
                return Ok(());
            }
            Parsing::Incomplete { .. } => {}
            Parsing::Refused(Malformed::NoHeader) if !required => return Ok(()),
            Parsing::Refused(Malformed::NoHeader) => {
                return Err(Refused::For(Refusal::ProxyHeaderMissing));
            }
            Parsing::Refused(_) => return Err(Refused::For(Refusal::ProxyHeader)),
        }
        match read_some(stream, ahead).await {
            Ok(0) | Err(_) if ahead.is_empty() => return Err(Refused::Gone),
            Ok(0) | Err(_) => return Err(Refused::For(Refusal::ProxyHeader)),
            Ok(_) => {}
        }
    }
}

async fn read_some(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut piece = [0; 512];
    let count = stream.read(&mut piece).await?;
    ahead.extend_from_slice(&piece[..count]);
    Ok(count)
}

fn take_over(client: &mut Client, local: &mut Option<SocketAddr>, header: &Header) {
    match &header.origin {
        // The balancer itself asks, for the health of this gateway perhaps.
        Origin::Local => return,
        Origin::Inet {
            source,
            destination,
            ..
        } => {
            client.address = Some(*source);
            *local = Some(*destination);
        }
        Origin::Unknown | Origin::Unix { .. } => client.address = None,
    }
    client.tls |= header.tlvs.ssl.as_ref().is_some_and(|ssl| ssl.tls);
}
