//! Queries: those of the load, as dnsperf reads them, and one whose answer is looked at before.

use std::net::UdpSocket;
use std::time::Duration;

use crate::error::Error;
use crate::peer::{DNS_ZONE, Running, dns_address, dns_name, dns_network, dns_site_of};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// Addresses; every so many-th of a name that is not there, none when 0.
    Plain { missing: usize },
    /// Addresses, by resolvers that tell their clients' networks (RFC 7871).
    FromNetworks,
    /// Addresses with their signatures.
    ForSignatures,
}

/// Has no divisor in common with the numbers of names and networks.
const STEP: usize = 7_919;

/// Each name once, or each network with one of the names, in an order in which neighbours are far from each other; each
/// message behind its length.
pub(super) fn queries(asked: Asked, names: usize, networks: usize) -> Vec<u8> {
    let count = match asked {
        Asked::FromNetworks => networks * 10,
        Asked::Plain { .. } | Asked::ForSignatures => names,
    };
    let mut all = Vec::new();
    for place in 0..count {
        let number = place * STEP;
        let is_missing =
            matches!(asked, Asked::Plain { missing } if missing > 0 && place % missing == 0);
        let prefix = if is_missing { "no" } else { "" };
        let name = format!("{prefix}{}", dns_name(number % names));
        // Not in step with the names.
        let query = query(&name, asked, (number / names + number) % networks);
        all.extend_from_slice(&(query.len() as u16).to_be_bytes());
        all.extend(query);
    }
    all
}

/// A query for the address of a name of the zone.
fn query(name: &str, asked: Asked, network: usize) -> Vec<u8> {
    // A record of type OPT whose sender takes 1,232 octets (RFC 6891).
    let opt = |flags: u8, options: &[u8]| {
        let fixed = [0, 0, 41, 4, 208, 0, 0, flags, 0, 0, options.len() as u8];
        [&fixed, options].concat()
    };
    let additional = match asked {
        Asked::Plain { .. } => Vec::new(),
        Asked::FromNetworks => {
            let [a, b, c] = dns_network(network);
            opt(0, &[0, 8, 0, 7, 0, 1, 24, 0, a, b, c])
        }
        Asked::ForSignatures => opt(0x80, &[]),
    };
    let additionals = u8::from(!additional.is_empty());
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, additionals];
    for label in [name].into_iter().chain(DNS_ZONE.split('.')) {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query.extend(additional);
    query
}

/// Makes sure that a server answers as it is meant to: with the right address, and with signatures where they are asked for.
pub(super) fn check(running: &Running, asked: Asked) -> Result<(), Error> {
    const NAME: usize = 7;
    const NETWORK: usize = 500;
    let answer = ask(running, &query(&dns_name(NAME), asked, NETWORK));
    let answer = answer.map_err(|error| running.failed(&format!("no answer: {error}")))?;
    let address = match asked {
        Asked::FromNetworks => dns_site_of(NETWORK),
        Asked::Plain { .. } | Asked::ForSignatures => dns_address(NAME),
    };
    let records = match asked {
        Asked::ForSignatures => 2,
        Asked::Plain { .. } | Asked::FromNetworks => 1,
    };
    let counts = answer.get(3..8).unwrap_or_default();
    let data = [&[0, 4], &address[..]].concat();
    let is_there = answer.windows(data.len()).any(|part| part == data);
    match counts {
        [code, _, _, 0, answers] if code & 0x0F == 0 && *answers == records && is_there => Ok(()),
        _ => Err(running.failed(&format!(
            "it does not answer as it is meant to: {answer:02x?}"
        ))),
    }
}

fn ask(running: &Running, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(running.address)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut answer = vec![0; 4096];
    // One that listens may still be reading its zone.
    let mut tries = 25;
    loop {
        socket.send(query)?;
        tries -= 1;
        match socket.recv(&mut answer) {
            Ok(length) if answer[3] & 0x0F == 0 || tries == 0 => {
                answer.truncate(length);
                return Ok(answer);
            }
            Err(error) if tries == 0 => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_network_is_asked_for() {
        let mut rest = &queries(Asked::FromNetworks, 100, 1_000)[..];
        let mut asked = std::collections::BTreeSet::new();
        let mut count = 0;
        while let [high, low, more @ ..] = rest {
            let (query, later) = more.split_at(u16::from_be_bytes([*high, *low]).into());
            asked.insert(query.to_vec());
            count += 1;
            rest = later;
        }
        assert_eq!((count, asked.len()), (10_000, 10_000));
        let networks: std::collections::BTreeSet<_> = asked
            .iter()
            .map(|query| query[query.len() - 3..].to_vec())
            .collect();
        assert_eq!(networks.len(), 1_000);
    }

    #[test]
    fn one_of_eleven_is_not_there() {
        let all = queries(Asked::Plain { missing: 11 }, 1_100, 1_000);
        let missing = all.windows(4).filter(|part| part == b"\x09non").count();
        assert_eq!(missing, 100);
    }
}
