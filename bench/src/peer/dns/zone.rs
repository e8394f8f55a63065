//! The zone of all, and its names.

use std::fmt::Write;

/// The zone of all.
pub(crate) const ZONE: &str = "bench.test";

/// The number of a name, as it stands in the zone and in queries.
pub(crate) fn name(number: usize) -> String {
    format!("n{number:06}")
}

/// The address of a name.
pub(crate) fn address(number: usize) -> [u8; 4] {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    [10, a, b, c]
}

/// A zone file with so many names, each with an address of its own.
pub(crate) fn zone(names: usize) -> String {
    of(names, |number| {
        let [a, b, c, d] = address(number);
        format!("A {a}.{b}.{c}.{d}")
    })
}

/// A zone file with so many names, and a record for each.
pub(super) fn of(names: usize, record: impl Fn(usize) -> String) -> String {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\n"
    );
    for number in 0..names {
        let _ = writeln!(text, "{} {}", name(number), record(number)); // text takes everything
    }
    text
}
