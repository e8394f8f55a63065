//! Writing headers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::checksum::crc32c;
use super::tlv::{
    ALPN, AUTHORITY, CLIENT_CERTIFICATE, CLIENT_SESSION_CERTIFICATE, CLIENT_TLS, CRC32C, SSL,
    SSL_CIPHER, SSL_COMMON_NAME, SSL_KEY, SSL_SIGNATURE, SSL_VERSION, UNIQUE_ID,
};
use super::v2::{FIXED, PROXY, SIGNATURE};
use super::{LIMIT, Refusal, Ssl, Tlvs};

/// The header of the proxy's own connections, such as health checks.
pub const LOCAL_V1: &[u8] = b"PROXY UNKNOWN\r\n";

/// The header of the proxy's own connections, such as health checks.
pub const LOCAL_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A line of version 1. An IPv4 address beside an IPv6 one is written as one (`::ffff:`).
pub fn encode_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = one_family(source, destination);
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (source, destination) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {source} {destination}\r\n").into_bytes()
}

/// A TCP header of version 2. An IPv4 address beside an IPv6 one is written as one (`::ffff:`).
///
/// # Errors
/// [`Refusal::TooLong`] when the TLVs do not fit within [`LIMIT`].
pub fn encode_v2(
    source: SocketAddr,
    destination: SocketAddr,
    tlvs: &Tlvs,
) -> Result<Vec<u8>, Refusal> {
    let (from, to) = one_family(source, destination);
    let mut header = Vec::with_capacity(FIXED + 36);
    header.extend_from_slice(SIGNATURE);
    let family = if from.is_ipv4() { 0x11 } else { 0x21 };
    header.extend_from_slice(&[PROXY, family, 0, 0]);
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => header.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => header.extend_from_slice(&address.octets()),
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    write_tlvs(&mut header, tlvs)?;
    if header.len() > LIMIT {
        return Err(Refusal::TooLong);
    }
    let length = size(header.len() - FIXED)?;
    header[FIXED - 2..FIXED].copy_from_slice(&length);
    if tlvs.checksum {
        // It is the last, and zero so far, as it has to be while it is computed.
        let checksum = crc32c([&header[..]]).to_be_bytes();
        let at = header.len() - checksum.len();
        header[at..].copy_from_slice(&checksum);
    }
    Ok(header)
}

fn write_tlvs(header: &mut Vec<u8>, tlvs: &Tlvs) -> Result<(), Refusal> {
    let texts = [
        (ALPN, tlvs.alpn.as_deref()),
        (
            AUTHORITY,
            tlvs.authority.as_ref().map(|name| name.as_bytes()),
        ),
        (UNIQUE_ID, tlvs.unique_id.as_deref()),
    ];
    for (kind, value) in texts {
        if let Some(value) = value {
            write(header, kind, value)?;
        }
    }
    if let Some(ssl) = &tlvs.ssl {
        write(header, SSL, &ssl_value(ssl)?)?;
    }
    match tlvs.checksum {
        true => write(header, CRC32C, &[0; 4]),
        false => Ok(()),
    }
}

fn ssl_value(ssl: &Ssl) -> Result<Vec<u8>, Refusal> {
    let bits = [
        (ssl.tls, CLIENT_TLS),
        (ssl.certificate, CLIENT_CERTIFICATE),
        (ssl.session_certificate, CLIENT_SESSION_CERTIFICATE),
    ];
    let set = bits.iter().filter(|(set, _)| *set);
    let client = set.fold(0, |client, (_, bit)| client | bit);
    let mut value = vec![client, 0, 0, 0, u8::from(!ssl.verified)];
    let texts = [
        (SSL_VERSION, &ssl.version),
        (SSL_COMMON_NAME, &ssl.common_name),
        (SSL_CIPHER, &ssl.cipher),
        (SSL_SIGNATURE, &ssl.signature_algorithm),
        (SSL_KEY, &ssl.key_algorithm),
    ];
    for (kind, text) in texts {
        if let Some(text) = text {
            write(&mut value, kind, text.as_bytes())?;
        }
    }
    Ok(value)
}

fn write(to: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), Refusal> {
    to.push(kind);
    to.extend_from_slice(&size(value.len())?);
    to.extend_from_slice(value);
    Ok(())
}

fn size(length: usize) -> Result<[u8; 2], Refusal> {
    let length = u16::try_from(length).map_err(|_| Refusal::TooLong)?;
    Ok(length.to_be_bytes())
}

fn one_family(source: SocketAddr, destination: SocketAddr) -> (IpAddr, IpAddr) {
    let (source, destination) = (source.ip(), destination.ip());
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (mapped(source).into(), mapped(destination).into()),
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
