//! A zone, or its changes, as a sequence of messages (RFC 5936, 2.2; RFC 1995, 4).

use std::sync::Arc;

use super::journal::Since;
use super::tsig::Chain;
use super::version::{Entry, Version};
use crate::wire::{Flags, HEADER, Header, IN, TO_QUESTION};
use crate::zone::Name;

/// The messages that answer a request. Each is made when it is asked for.
pub struct Outgoing {
    header: Header,
    question: Box<[u8]>,
    apex: Name,
    opt: Option<[u8; 11]>,
    chain: Option<Chain>,
    pieces: std::vec::IntoIter<Piece>,
    /// The piece that was begun, and how many of its records were sent.
    begun: Option<(Piece, usize)>,
    /// How many messages there were.
    messages: u32,
}

/// Records that follow each other.
enum Piece {
    One(Entry),
    Many(Arc<[Entry]>),
}

/// A message is full when it has so many octets: more would not make transfers faster.
const FULL: usize = 16 * 1024;
/// The longest message.
const LONGEST: usize = 65_535;

impl Piece {
    fn entries(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

/// A record that fits into no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record is longer than a message")]
pub struct TooLong;

impl Outgoing {
    /// The messages with a version, or with what has changed; `question` stands in each of them, `opt` in the first.
    pub fn new(
        header: Header,
        question: &[u8],
        opt: Option<[u8; 11]>,
        version: &Version,
        since: Since,
        chain: Option<Chain>,
    ) -> Self {
        let soa = || Piece::One(version.soa.clone());
        let pieces = match since {
            Since::UpToDate => vec![soa()],
            Since::Whole => vec![soa(), Piece::Many(version.records.clone()), soa()],
            Since::Steps(steps) => {
                let steps = steps.iter().flat_map(|step| {
                    [
                        Piece::One(step.from.clone()),
                        Piece::Many(step.removed.clone()),
                        Piece::One(step.to.clone()),
                        Piece::Many(step.added.clone()),
                    ]
                });
                [soa()].into_iter().chain(steps).chain([soa()]).collect()
            }
        };
        Self {
            header,
            question: question.into(),
            apex: version.soa.owner.clone(),
            opt,
            chain,
            pieces: pieces.into_iter(),
            begun: None,
            messages: 0,
        }
    }

    /// The messages of a file: a whole version, in answer to nobody.
    pub fn to_file(version: &Version) -> Self {
        let header = Header {
            id: 0,
            flags: Flags(0),
            counts: [0; 4],
        };
        let mut question = version.soa.owner.to_vec();
        question.extend_from_slice(&crate::wire::rtype::AXFR.to_be_bytes());
        question.extend_from_slice(&IN.to_be_bytes());
        Self::new(header, &question, None, version, Since::Whole, None)
    }

    /// The next message; none after the last. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// A record that fits into no message.
    pub fn next(&mut self, now: u64) -> Result<Option<Vec<u8>>, TooLong> {
        let mut message = vec![0; HEADER];
        message.extend_from_slice(&self.question);
        let after = self
            .chain
            .as_ref()
            .map_or(0, |chain| chain.key().record_length())
            + 11;
        let mut count: u16 = 0;
        let mut owner = Owner::default();
        loop {
            if self.begun.is_none() {
                self.begun = self.pieces.next().map(|piece| (piece, 0));
            }
            let Some((piece, sent)) = &mut self.begun else {
                break;
            };
            let Some(entry) = piece.entries().get(*sent) else {
                self.begun = None;
                continue;
            };
            if message.len() + entry.octets() + after > LONGEST {
                match count {
                    0 => return Err(TooLong),
                    _ => break,
                }
            }
            owner.write(entry, &self.apex, &mut message);
            count += 1;
            *sent += 1;
            if message.len() >= FULL || count == u16::MAX {
                break;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let opt = self.opt.filter(|_| self.messages == 0);
        message.extend(opt.iter().flatten());
        self.messages += 1;
        let header = Header {
            id: self.header.id,
            flags: Flags(self.header.flags.echoed().0 | Flags::AA),
            counts: [1, count, 0, u16::from(opt.is_some())],
        };
        header.write(&mut message);
        if let Some(chain) = &mut self.chain {
            chain.sign(&mut message, now);
        }
        Ok(Some(message))
    }
}

/// The owner that stands last in a message, to point to.
#[derive(Default)]
struct Owner(Option<(Name, u16)>);

/// What a pointer can reach.
const FARTHEST: usize = 0x3FFF;

impl Owner {
    /// Writes a record. Its owner points to the one before, or to the apex in the question.
    fn write(&mut self, entry: &Entry, apex: &Name, message: &mut Vec<u8>) {
        let at = message.len();
        match &self.0 {
            _ if entry.owner == *apex => message.extend_from_slice(&TO_QUESTION.to_be_bytes()),
            Some((last, position)) if *last == entry.owner => {
                message.extend_from_slice(&(0xC000 | position).to_be_bytes());
            }
            _ => {
                match entry.owner.strip_suffix(&**apex) {
                    Some(labels) => {
                        message.extend_from_slice(labels);
                        message.extend_from_slice(&TO_QUESTION.to_be_bytes());
                    }
                    None => message.extend_from_slice(&entry.owner),
                }
                self.0 = (at <= FARTHEST).then(|| (entry.owner.clone(), at as u16));
            }
        }
        message.extend_from_slice(&entry.rtype.to_be_bytes());
        message.extend_from_slice(&IN.to_be_bytes());
        message.extend_from_slice(&entry.ttl.to_be_bytes());
        message.extend_from_slice(&(entry.data.len() as u16).to_be_bytes());
        message.extend_from_slice(&entry.data);
    }
}
