//! TLVs of version 2: type (1), length (2), value.

use super::checksum::crc32c;
use super::{Refusal, Ssl, Tlvs};

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
pub(super) const SSL_VERSION: u8 = 0x21;
pub(super) const SSL_COMMON_NAME: u8 = 0x22;
pub(super) const SSL_CIPHER: u8 = 0x23;
pub(super) const SSL_SIGNATURE: u8 = 0x24;
pub(super) const SSL_KEY: u8 = 0x25;

/// Bits of the `client` field of the SSL TLV.
pub(super) const CLIENT_TLS: u8 = 1;
pub(super) const CLIENT_CERTIFICATE: u8 = 2;
pub(super) const CLIENT_SESSION_CERTIFICATE: u8 = 4;

/// The most bytes of a unique id.
const LONGEST_ID: usize = 128;

/// Reads the TLVs that begin at `start` of a whole header.
pub(super) fn parse(header: &[u8], start: usize) -> Result<Tlvs, Refusal> {
    let mut tlvs = Tlvs::default();
    let mut rest = &header[start..];
    while !rest.is_empty() {
        let (kind, value, after) = split(rest)?;
        let at = header.len() - after.len() - value.len();
        rest = after;
        match kind {
            ALPN if !value.is_empty() => once(&mut tlvs.alpn, value.to_vec())?,
            AUTHORITY => once(&mut tlvs.authority, text(value)?)?,
            UNIQUE_ID if value.len() <= LONGEST_ID => once(&mut tlvs.unique_id, value.to_vec())?,
            SSL => once(&mut tlvs.ssl, Box::new(ssl(value)?))?,
            ALPN | UNIQUE_ID => return Err(Refusal::Tlvs),
            CRC32C if tlvs.checksum => return Err(Refusal::Tlvs),
            CRC32C => tlvs.checksum = verify(header, at, value)?,
            _ => {}
        }
    }
    Ok(tlvs)
}

/// The checksum covers the whole header, with zeros in its own place.
fn verify(header: &[u8], at: usize, value: &[u8]) -> Result<bool, Refusal> {
    let told = <[u8; 4]>::try_from(value).map_err(|_| Refusal::Tlvs)?;
    let actual = crc32c([&header[..at], &[0; 4], &header[at + told.len()..]]);
    match actual == u32::from_be_bytes(told) {
        true => Ok(true),
        false => Err(Refusal::Checksum),
    }
}

fn ssl(value: &[u8]) -> Result<Ssl, Refusal> {
    let (fixed, mut rest) = value.split_first_chunk::<5>().ok_or(Refusal::Tlvs)?;
    let [client, verify @ ..] = *fixed;
    let set = |bit| client & bit != 0;
    let shown = set(CLIENT_CERTIFICATE) || set(CLIENT_SESSION_CERTIFICATE);
    let mut ssl = Ssl {
        tls: set(CLIENT_TLS),
        certificate: set(CLIENT_CERTIFICATE),
        session_certificate: set(CLIENT_SESSION_CERTIFICATE),
        // Zero also stands for "there was none" (section 2.2.6).
        verified: shown && verify == [0; 4],
        ..Ssl::default()
    };
    while !rest.is_empty() {
        let (kind, value, after) = split(rest)?;
        rest = after;
        let field = match kind {
            SSL_VERSION => &mut ssl.version,
            SSL_COMMON_NAME => &mut ssl.common_name,
            SSL_CIPHER => &mut ssl.cipher,
            SSL_SIGNATURE => &mut ssl.signature_algorithm,
            SSL_KEY => &mut ssl.key_algorithm,
            _ => continue,
        };
        once(field, text(value)?)?;
    }
    Ok(ssl)
}

/// The first TLV: its type, its value, and what follows.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Refusal> {
    let (head, rest) = bytes.split_first_chunk::<3>().ok_or(Refusal::Tlvs)?;
    let [kind, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(length).ok_or(Refusal::Tlvs)?;
    Ok((kind, value, rest))
}

/// Said twice, it could be read in two ways.
fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Tlvs),
    }
}

fn text(value: &[u8]) -> Result<String, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| Refusal::Tlvs)?;
    match text.chars().any(char::is_control) {
        true => Err(Refusal::Tlvs),
        false => Ok(text.to_owned()),
    }
}
