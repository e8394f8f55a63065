//! The OPT record of an answer (RFC 6891, 6.1.1).

use super::Limits;
use crate::wire::{Edns, KEEPALIVE, PADDING, rtype};

/// Octets of an OPT record without options.
const PLAIN: usize = 11;
/// Octets of an option without data.
const OPTION: usize = 4;
/// Octets of the option that says how long a connection is kept (RFC 7828, 3.1).
const KEPT: usize = OPTION + 2;
/// Padded answers have a multiple of so many octets (RFC 8467, 4.1).
const BLOCK: usize = 468;

/// How many octets [`write()`] takes at least; only padding, for which there may be no room, comes on top.
pub(super) fn length(edns: Option<&Edns>, limits: &Limits) -> usize {
    edns.map_or(0, |edns| {
        let subnet = edns.subnet.map_or(0, |subnet| subnet.len());
        PLAIN + subnet + kept(edns, limits).map_or(0, |_| KEPT)
    })
}

/// Writes the record after so many octets of the message; how many octets it took. `code` is the whole response code.
pub(super) fn write(
    edns: &Edns,
    limits: &Limits,
    code: u16,
    scope: u8,
    before: usize,
    out: &mut [u8],
) -> usize {
    let mut end = PLAIN;
    if let Some(subnet) = edns.subnet {
        end += subnet.write(scope, &mut out[end..]);
    }
    if let Some(kept) = kept(edns, limits) {
        option(KEEPALIVE, 2, &mut out[end..]);
        out[end + OPTION..end + KEPT].copy_from_slice(&kept.to_be_bytes());
        end += KEPT;
    }
    if edns.padding && limits.padded {
        let whole = (before + end + OPTION).next_multiple_of(BLOCK) - before;
        if let Some(padding) = out.get_mut(end..whole) {
            let octets = padding.len() - OPTION;
            option(PADDING, octets as u16, padding);
            padding[OPTION..].fill(0);
            end = whole;
        }
    }
    // DO is copied (RFC 3225, 3).
    let flags = if edns.wants_dnssec { 0x80 } else { 0 };
    let [_, kind] = rtype::OPT.to_be_bytes();
    // What we take over UDP.
    let [size_high, size_low] = limits.largest_udp.to_be_bytes();
    let [high, low] = ((end - PLAIN) as u16).to_be_bytes();
    let code = (code >> 4) as u8;
    let record = [
        0, 0, kind, size_high, size_low, code, 0, flags, 0, high, low,
    ];
    out[..PLAIN].copy_from_slice(&record);
    end
}

/// How long the connection is kept, for a client that wants to know, in tenths of a second.
fn kept(edns: &Edns, limits: &Limits) -> Option<u16> {
    limits.keepalive.filter(|_| edns.keepalive)
}

fn option(code: u16, length: u16, out: &mut [u8]) {
    out[..2].copy_from_slice(&code.to_be_bytes());
    out[2..OPTION].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Limits = Limits {
        largest_udp: 1232,
        tcp: true,
        padded: true,
        keepalive: Some(100),
    };

    fn padding(limits: &Limits, before: usize, room: usize) -> usize {
        let edns = Edns {
            udp_size: 1232,
            version: 0,
            wants_dnssec: false,
            subnet: None,
            keepalive: true,
            padding: true,
        };
        let mut out = vec![0xAA; room];
        let written = write(&edns, limits, 0, 0, before, &mut out);
        assert!(out[written..].iter().all(|octet| *octet == 0xAA));
        assert_eq!(
            usize::from(u16::from_be_bytes([out[9], out[10]])),
            written - PLAIN
        );
        written - length(Some(&edns), limits)
    }

    #[test]
    fn answers_are_padded_to_blocks_where_there_is_room() {
        for before in 30..=1000 {
            let padding = padding(&TCP, before, 1000);
            assert_eq!((before + PLAIN + KEPT + padding) % BLOCK, 0);
            assert!((OPTION..BLOCK + OPTION).contains(&padding), "{padding}");
        }
        assert_eq!(padding(&TCP, 30, 437), 0, "a block has no room");
        let open = Limits {
            padded: false,
            ..TCP
        };
        assert_eq!(padding(&open, 30, 1000), 0);
        assert_eq!(padding(&Limits::udp(1232), 30, 1000), 0);
    }
}
