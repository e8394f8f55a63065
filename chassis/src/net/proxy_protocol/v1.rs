//! Version 1: one line of text.
//!
//! ```text
//! PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
//! PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n
//! PROXY UNKNOWN ...\r\n
//! ```

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Header, Origin, Progress, Refusal, Tlvs, Version};

pub(super) const PREFIX: &[u8] = b"PROXY ";

/// With its end of line.
const LONGEST: usize = 107;

const SHORTEST: usize = "PROXY UNKNOWN\r\n".len();

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Refusal> {
    let window = &bytes[..bytes.len().min(LONGEST)];
    let end = window.iter().position(|byte| *byte == b'\r');
    // A line that comes in pieces is judged as one that comes whole.
    let line = &window[..end.unwrap_or(window.len())];
    if !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Refusal::Line);
    }
    let Some(end) = end else {
        return match bytes.len() < LONGEST {
            true => Ok(Progress::Needs(SHORTEST.saturating_sub(bytes.len()).max(2))),
            false => Err(Refusal::TooLong),
        };
    };
    match bytes.get(end + 1) {
        Some(b'\n') if end + 2 <= LONGEST => {}
        Some(b'\n') => return Err(Refusal::TooLong),
        Some(_) => return Err(Refusal::Line),
        None if end + 2 > LONGEST => return Err(Refusal::TooLong),
        None => return Ok(Progress::Needs(1)),
    }
    let header = Header {
        version: Version::V1,
        origin: origin(&bytes[PREFIX.len()..end]).ok_or(Refusal::Line)?,
        tlvs: Tlvs::default(),
    };
    Ok(Progress::Done(header, end + 2))
}

fn origin(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    match words.next()? {
        "TCP4" => inet::<std::net::Ipv4Addr>(words),
        "TCP6" => inet::<std::net::Ipv6Addr>(words),
        // What follows is not to be understood.
        "UNKNOWN" => Some(Origin::Unknown),
        _ => None,
    }
}

fn inet<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<Origin> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (source, destination) = (address()?, address()?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Origin::Inet {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
        datagram: false,
    })
}

/// Decimal without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| canonical)
}
