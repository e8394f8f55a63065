//! The messages that this process sends on its own: questions to primaries, and NOTIFY.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};

use super::key::Key;
use super::tsig::Chain;
use super::version::Entry;
use crate::wire::{HEADER, IN, TO_QUESTION};
use crate::zone::Name;

/// A message, and what its answer must fit.
pub(super) struct Request {
    pub(super) id: u16,
    /// The question, as it stands in the message.
    pub(super) question: Vec<u8>,
    pub(super) message: Vec<u8>,
    /// Verifies the answers.
    pub(super) chain: Option<Chain>,
}

/// The opcode of NOTIFY (RFC 1996).
pub(super) const NOTIFY: u8 = 4;

impl Request {
    /// A question of the usual kind.
    pub(super) fn question(apex: &Name, qtype: u16, key: Option<&Arc<Key>>) -> Self {
        Self::new(apex, qtype, 0, [None, None], key)
    }

    /// A question for the changes since a version (RFC 1995, 3).
    pub(super) fn changes(since: &Entry, key: Option<&Arc<Key>>) -> Self {
        let ixfr = crate::wire::rtype::IXFR;
        Self::new(&since.owner, ixfr, 0, [None, Some(since)], key)
    }

    /// Word of a new version (RFC 1996, 3.7).
    pub(super) fn notify(soa: &Entry, key: Option<&Arc<Key>>) -> Self {
        // AA, as if it were an answer.
        let flags = u16::from(NOTIFY) << 11 | 0x0400;
        Self::new(&soa.owner, soa.rtype, flags, [Some(soa), None], key)
    }

    /// A message with at most a record in its answer and one in its authority section.
    fn new(
        apex: &Name,
        qtype: u16,
        flags: u16,
        records: [Option<&Entry>; 2],
        key: Option<&Arc<Key>>,
    ) -> Self {
        let mut question = apex.to_vec();
        question.extend_from_slice(&qtype.to_be_bytes());
        question.extend_from_slice(&IN.to_be_bytes());
        let id = u16::from_be_bytes(random());
        let mut message = Vec::with_capacity(512);
        let counts = records.map(|record| u16::from(record.is_some()));
        for field in [id, flags, 1, counts[0], counts[1], 0] {
            message.extend_from_slice(&field.to_be_bytes());
        }
        debug_assert_eq!(message.len(), HEADER);
        message.extend_from_slice(&question);
        for record in records.into_iter().flatten() {
            message.extend_from_slice(&TO_QUESTION.to_be_bytes());
            message.extend_from_slice(&record.rtype.to_be_bytes());
            message.extend_from_slice(&IN.to_be_bytes());
            message.extend_from_slice(&record.ttl.to_be_bytes());
            message.extend_from_slice(&(record.data.len() as u16).to_be_bytes());
            message.extend_from_slice(&record.data);
        }
        let chain = key.map(|key| Chain::request(key, &mut message, now()));
        Self {
            id,
            question,
            message,
            chain,
        }
    }
}

/// Seconds since 1970, for signatures.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Octets that nobody can guess.
pub(super) fn random<const OCTETS: usize>() -> [u8; OCTETS] {
    let mut octets = [0; OCTETS];
    if SystemRandom::new().fill(&mut octets).is_err() {
        tracing::error!("the system has no random numbers");
    }
    octets
}

/// A number from 0 to 1.
pub(super) fn chance() -> f64 {
    f64::from(u16::from_be_bytes(random())) / f64::from(u16::MAX)
}
