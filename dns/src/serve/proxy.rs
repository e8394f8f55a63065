//! The PROXY header that a balancer puts before a client's octets.

use std::io;
use std::net::SocketAddr;

use chassis::net::proxy_protocol::{Origin, Parsing, ProxyHeader, Refusal, parse};
use tokio::io::AsyncRead;

use super::ahead::Ahead;
use crate::state::ListenerState;

/// Reads the header where the listener expects one of this peer; who the client is.
///
/// # Errors
/// When it is missing or malformed. The connection is to be closed.
pub(super) async fn read(
    stream: &mut Ahead<impl AsyncRead + Unpin>,
    listener: &ListenerState,
    peer: SocketAddr,
) -> io::Result<SocketAddr> {
    let required = match (listener.proxy_header, listener.trusts(peer.ip())) {
        (ProxyHeader::Off, _) | (ProxyHeader::Optional, false) => return Ok(peer),
        (ProxyHeader::Required, false) => return Err(refused(Refusal::NoHeader)),
        (ProxyHeader::Required, true) => true,
        (ProxyHeader::Optional, true) => false,
    };
    loop {
        match parse(stream.seen()) {
            Parsing::Parsed { header, length } => {
                stream.take(length);
                return Ok(match header.origin {
                    Origin::Inet { source, .. } => source,
                    // The balancer itself asks, or does not say for whom.
                    Origin::Local | Origin::Unknown | Origin::Unix { .. } => peer,
                });
            }
            // As much as is missing, and no more: what follows is not always ours to read, as in TLS.
            Parsing::Incomplete { needed } => {
                // The first octet alone says of most connections that there is no header.
                let octets = if stream.seen().is_empty() { 1 } else { needed };
                if !stream.see(octets).await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Parsing::Refused(Refusal::NoHeader) if !required => return Ok(peer),
            Parsing::Refused(refusal) => return Err(refused(refusal)),
        }
    }
}

fn refused(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, refusal)
}

#[cfg(test)]
mod tests {
    use chassis::config::Place;
    use chassis::net::Networks;
    use chassis::net::proxy_protocol::{LOCAL_V2, Tlvs, encode_v2};

    use super::*;

    fn listener(proxy_header: ProxyHeader) -> ListenerState {
        ListenerState {
            name: "l".into(),
            address: "127.0.0.1:53".parse().unwrap(),
            dual_stack: false,
            place: Place::default(),
            proxy_header,
            trusted: Networks::from_iter(["10.0.0.0/8".parse().unwrap()]),
            tls: None,
            handshake: std::time::Duration::ZERO,
            http: None,
        }
    }

    /// Who the client is, and what is left to read.
    fn outcome(mode: ProxyHeader, peer: &str, octets: &[u8]) -> Option<(String, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut stream = Ahead::new(octets);
            let peer = SocketAddr::new(peer.parse().unwrap(), 1);
            let client = read(&mut stream, &listener(mode), peer).await.ok()?;
            let mut rest = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)
                .await
                .unwrap();
            Some((client.ip().to_string(), rest))
        })
    }

    #[test]
    fn only_proxies_are_believed() {
        use ProxyHeader::{Off, Optional, Required};
        let source = "192.0.2.7:1".parse().unwrap();
        let destination = "192.0.2.1:53".parse().unwrap();
        let header = encode_v2(source, destination, &Tlvs::default()).unwrap();
        let headed = [&header[..], b"rest"].concat();
        let local = [LOCAL_V2, b"rest"].concat();
        let line = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 53\r\nrest".to_vec();
        for (mode, peer, octets, expected) in [
            (Required, "10.0.0.1", &headed, Some("192.0.2.7")),
            (Required, "::ffff:10.0.0.1", &line, Some("192.0.2.7")),
            (Required, "10.0.0.1", &local, Some("10.0.0.1")),
            (Optional, "10.0.0.1", &headed, Some("192.0.2.7")),
            (Required, "192.0.2.9", &headed, None),
        ] {
            let found = outcome(mode, peer, octets);
            let expected = expected.map(|client| (client.to_owned(), b"rest".to_vec()));
            assert_eq!(found, expected, "{mode:?} {peer}");
        }
        let plain = b"\0\x20plain".to_vec();
        for (mode, peer) in [
            (Off, "10.0.0.1"),
            (Optional, "10.0.0.1"),
            (Optional, "192.0.2.9"),
        ] {
            let (client, rest) = outcome(mode, peer, &plain).unwrap();
            assert_eq!((&*client, rest), (peer, plain.clone()), "{mode:?} {peer}");
        }
        assert_eq!(outcome(Required, "10.0.0.1", &plain), None);
        assert_eq!(outcome(Required, "10.0.0.1", &header[..20]), None);
    }
}
