//! The form in which records are signed (RFC 4034, section 6), and the records that only signed zones have.

use crate::wire::{IN, LONGEST_LABEL, LONGEST_NAME, rtype};
use crate::zone::{labels, name_end};

/// A record's data with its names in lower case, where the type is one of RFC 4034, 6.2 and RFC 6840, 5.1.
pub(crate) fn data(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    let (at, count) = match kind {
        rtype::SVCB | rtype::HTTPS => return data,
        NAPTR => (naptr_replacement(&data), 1),
        PX => (2, 2),
        _ => {
            let names = rtype::names(kind);
            (names.offset, names.count)
        }
    };
    let mut at = at;
    for _ in 0..count {
        let Some(name) = data.get_mut(at..) else {
            break;
        };
        let end = name_end(name).unwrap_or(0);
        // Lengths of labels are below 64, and so are no letters.
        name[..end].make_ascii_lowercase();
        at += end;
    }
    data
}

const NAPTR: u16 = 35;
const PX: u16 = 26;

/// After two numbers and three strings (RFC 3403, 4.1).
fn naptr_replacement(data: &[u8]) -> usize {
    let mut at = 4;
    for _ in 0..3 {
        at += 1 + usize::from(data.get(at).copied().unwrap_or(0));
    }
    at
}

/// The records of a set in canonical order, each as it is signed but for its owner.
pub(crate) fn tails<'a>(
    kind: u16,
    ttl: u32,
    records: impl Iterator<Item = &'a [u8]>,
) -> Vec<Box<[u8]>> {
    let mut sorted: Vec<Vec<u8>> = records.map(|record| data(kind, record)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
        .into_iter()
        .map(|data| tail(kind, ttl, &data).into())
        .collect()
}

/// A record as it is signed but for its owner.
pub(crate) fn tail(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut tail = Vec::with_capacity(10 + data.len());
    tail.extend_from_slice(&kind.to_be_bytes());
    tail.extend_from_slice(&IN.to_be_bytes());
    tail.extend_from_slice(&ttl.to_be_bytes());
    tail.extend_from_slice(&(data.len() as u16).to_be_bytes());
    tail.extend_from_slice(data);
    tail
}

/// How many labels a signature says that its owner has (RFC 4034, 3.1.3).
pub(crate) fn signed_labels(owner: &[u8]) -> u8 {
    let wildcard = usize::from(owner.starts_with(b"\x01*"));
    (labels(owner) - wildcard) as u8
}

/// The types that a name has, as an NSEC record lists them (RFC 4034, 4.1.2).
pub(crate) fn bitmap(types: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut types: Vec<u16> = types.into_iter().collect();
    types.sort_unstable();
    let mut bitmap = Vec::new();
    for window in types.chunk_by(|one, other| one >> 8 == other >> 8) {
        let mut bits = [0_u8; 32];
        let mut length = 0;
        for [_, kind] in window.iter().map(|kind| kind.to_be_bytes()) {
            let at = usize::from(kind / 8);
            bits[at] |= 0x80 >> (kind % 8);
            length = at + 1;
        }
        bitmap.extend_from_slice(&[(window[0] >> 8) as u8, length as u8]);
        bitmap.extend_from_slice(&bits[..length]);
    }
    bitmap
}

/// Writes the first name that can stand after `owner` (RFC 9824, 3.1; RFC 4471, 3.1.2); its length.
pub(crate) fn successor(owner: &[u8], out: &mut [u8; LONGEST_NAME]) -> usize {
    if owner.len() + 2 <= LONGEST_NAME {
        // A label with the smallest octet in front.
        out[..2].copy_from_slice(&[1, 0]);
        out[2..2 + owner.len()].copy_from_slice(owner);
        return 2 + owner.len();
    }
    // Nothing can stand below: it is the next name beside.
    let length = usize::from(owner[0]);
    let (label, rest) = owner[1..].split_at(length);
    if length < LONGEST_LABEL && owner.len() < LONGEST_NAME {
        out[0] = length as u8 + 1;
        out[1..=length].copy_from_slice(label);
        out[length + 1] = 0;
        out[length + 2..length + 2 + rest.len()].copy_from_slice(rest);
        return owner.len() + 1;
    }
    let Some(last) = label.iter().rposition(|octet| *octet != 0xFF) else {
        out[..rest.len()].copy_from_slice(rest);
        return rest.len();
    };
    out[0] = last as u8 + 1;
    out[1..=last].copy_from_slice(&label[..last]);
    // Capital letters are the same as small ones.
    out[last + 1] = match label[last] {
        b'@' => b'[',
        octet => octet + 1,
    };
    out[last + 2..last + 2 + rest.len()].copy_from_slice(rest);
    last + 2 + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_data_are_in_lower_case_where_the_rfc_says_so() {
        assert_eq!(data(rtype::MX, b"\0\x0A\x01A\0"), b"\0\x0A\x01a\0");
        assert_eq!(
            data(rtype::SOA, b"\x01A\0\x01B\0XXXXXXXXXXXXXXXXXXXX"),
            b"\x01a\0\x01b\0XXXXXXXXXXXXXXXXXXXX"
        );
        let naptr = b"\0\x01\0\x02\x01S\x03SIP\x00\x01A\0";
        assert_eq!(data(NAPTR, naptr), b"\0\x01\0\x02\x01S\x03SIP\x00\x01a\0");
        for kept in [rtype::HTTPS, rtype::TXT, rtype::NSEC] {
            assert_eq!(data(kept, b"\0\x01\x01A\0"), b"\0\x01\x01A\0");
        }
    }

    #[test]
    fn records_are_in_order_and_once() {
        let records: [&[u8]; 3] = [b"\x01B\0", b"\x01a\0", b"\x01b\0"];
        let tails = tails(rtype::NS, 5, records.into_iter());
        assert_eq!(tails.len(), 2);
        assert_eq!(&*tails[0], b"\0\x02\0\x01\0\0\0\x05\0\x03\x01a\0");
    }

    #[test]
    fn types_are_listed_as_in_the_rfc() {
        // RFC 4034, 4.3: A MX RRSIG NSEC TYPE1234.
        let mut expected = vec![0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 0x1b];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(bitmap([47, 1234, 1, 15, 46]), expected);
        assert_eq!(bitmap([]), b"");
    }

    #[test]
    fn a_successor_is_the_next_name_that_can_be() {
        let next = |owner: &[u8]| {
            let mut out = [0; LONGEST_NAME];
            let length = successor(owner, &mut out);
            out[..length].to_vec()
        };
        assert_eq!(next(b"\x01a\0"), b"\x01\0\x01a\0");
        assert_eq!(next(b"\0"), b"\x01\0\0");
        let of = |first: &[u8], length: usize| {
            // Labels of 63 octets below, so that the name has `length` octets.
            let mut name = vec![first.len() as u8];
            name.extend_from_slice(first);
            while length - 1 - name.len() > 64 {
                name.push(62);
                name.extend([b'x'; 62]);
            }
            let last = length - 2 - name.len();
            name.push(last as u8);
            name.extend(vec![b'x'; last]);
            name.push(0);
            assert_eq!(name.len(), length);
            name
        };
        let longest = of(b"ab", LONGEST_NAME);
        assert_eq!(next(&longest)[..3], *b"\x02ac");
        assert_eq!(next(&of(b"a@", LONGEST_NAME))[..3], *b"\x02a[");
        assert_eq!(next(&of(b"a\xFF", LONGEST_NAME))[..2], *b"\x01b");
        let one_less = of(b"ab", LONGEST_NAME - 1);
        assert_eq!(next(&one_less)[..4], *b"\x03ab\0");
    }
}
