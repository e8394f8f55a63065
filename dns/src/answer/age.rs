//! How long an answer may be kept as a whole, for caches that know no DNS (RFC 8484, 5.1).

use crate::wire::{HEADER, rtype, skip_name, u16_at};

/// The least TTL of the answer's records, in seconds; where there are none, that of the records that say so, such as the SOA record of
/// what is not there. None when nothing says how long.
pub fn age(message: &[u8]) -> Option<u32> {
    let questions = u16_at(message, 4)?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    for counted_at in [6, 8] {
        let mut least = None;
        for _ in 0..u16_at(message, counted_at)? {
            at = skip_name(message, at)?;
            let fixed = message.get(at..at + 10)?;
            let ttl = u32::from_be_bytes(*fixed.get(4..)?.first_chunk()?);
            let is_option = u16_at(fixed, 0)? == rtype::OPT;
            least = match least {
                _ if is_option => least,
                Some(other) if other < ttl => least,
                _ => Some(ttl),
            };
            at += 10 + usize::from(u16_at(fixed, 8)?);
        }
        if least.is_some() {
            return least;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with records of these TTLs among its answers and authorities.
    fn message(answers: &[u32], authorities: &[u32]) -> Vec<u8> {
        let mut message = vec![0, 0, 0x84, 0, 0, 1];
        for count in [answers.len(), authorities.len(), 1] {
            message.extend((count as u16).to_be_bytes());
        }
        message.extend(b"\x01a\x04test\0\0\x01\0\x01");
        for ttl in answers.iter().chain(authorities).chain([&1]) {
            message.extend([0xC0, HEADER as u8, 0, 1, 0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend([0, 4, 192, 0, 2, 1]);
        }
        message
    }

    #[test]
    fn the_least_of_what_was_asked_for_counts() {
        for (answers, authorities, expected) in [
            (&[300, 60, 900][..], &[5][..], Some(60)),
            (&[], &[120, 30], Some(30)),
            (&[], &[], None),
        ] {
            let whole = message(answers, authorities);
            assert_eq!(age(&whole), expected);
            for end in 0..whole.len() {
                age(&whole[..end]);
            }
        }
        let cut = message(&[300], &[]);
        assert_eq!(age(&cut[..cut.len() - 30]), None);
    }
}
