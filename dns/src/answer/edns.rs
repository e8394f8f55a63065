//! The OPT record of an answer (RFC 6891, 6.1.1).

use crate::wire::{Edns, rtype};

/// Octets of an OPT record without options.
const PLAIN: usize = 11;

/// How many octets [`write()`] takes.
pub(super) fn length(edns: Option<&Edns>) -> usize {
    edns.map_or(0, |edns| {
        PLAIN + edns.subnet.map_or(0, |subnet| subnet.len())
    })
}

/// Writes the record. `size` is what we take over UDP, `code` the whole response code.
pub(super) fn write(edns: &Edns, size: u16, code: u16, scope: u8, out: &mut [u8]) {
    let options = edns
        .subnet
        .map_or(0, |subnet| subnet.write(scope, &mut out[PLAIN..]));
    // DO is copied (RFC 3225, 3), and CO too (RFC 9824, 5.1).
    let dnssec = if edns.wants_dnssec { 0x80 } else { 0 };
    let compact = if edns.takes_compact { 0x40 } else { 0 };
    let flags = dnssec | compact;
    let [_, kind] = rtype::OPT.to_be_bytes();
    let [size_high, size_low] = size.to_be_bytes();
    let [high, low] = (options as u16).to_be_bytes();
    let code = (code >> 4) as u8;
    let record = [
        0, 0, kind, size_high, size_low, code, 0, flags, 0, high, low,
    ];
    out[..PLAIN].copy_from_slice(&record);
}
