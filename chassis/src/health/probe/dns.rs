//! A DNS query that must be answered (RFC 1035).

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use super::Failed;
use super::udp::exchange;

/// A query that must be answered with NOERROR and a number of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProbe {
    /// The question's name, type and class as they are sent.
    question: Vec<u8>,
    /// How many records the answer section must have at least.
    answers: u16,
}

/// The types that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the names of RFC 1035 and RFC 3596")]
#[repr(u16)]
pub enum RecordType {
    A = 1,
    Ns = 2,
    Soa = 6,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
}

/// Text that is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name")]
pub struct NotAName;

const HEADER: usize = 12;

impl DnsProbe {
    /// A query for a name, with or without the dot at its end.
    ///
    /// # Errors
    /// When the name has an empty label, one of more than 63 bytes, or more than 255 bytes in all.
    pub fn new(name: &str, kind: RecordType, answers: u16) -> Result<Self, NotAName> {
        let mut question = Vec::new();
        let name = name.strip_suffix('.').unwrap_or(name);
        for label in name.split('.').filter(|_| !name.is_empty()) {
            let length = u8::try_from(label.len()).map_err(|_| NotAName)?;
            if !(1..=63).contains(&length) {
                return Err(NotAName);
            }
            question.push(length);
            question.extend(label.as_bytes());
        }
        question.push(0);
        if question.len() > 255 {
            return Err(NotAName);
        }
        question.extend((kind as u16).to_be_bytes());
        question.extend(1u16.to_be_bytes()); // class IN
        Ok(Self { question, answers })
    }

    pub(super) async fn ask(&self, target: SocketAddr) -> Result<(), Failed> {
        // A number that nobody can foresee: another who answers first must guess it.
        let id = RandomState::new().hash_one(target).to_be_bytes();
        let id = [id[0], id[1]];
        let mut query = id.to_vec();
        query.extend([0, 0]); // a standard query; recursion is not asked for
        query.extend([0, 1, 0, 0, 0, 0, 0, 0]); // one question
        query.extend(&self.question);
        exchange(target, &query, |answer| self.judge(id, answer)).await
    }

    /// None when it is not an answer to this query.
    fn judge(&self, id: [u8; 2], answer: &[u8]) -> Option<Result<(), Failed>> {
        let (header, rest) = answer.split_at_checked(HEADER)?;
        let response = header[2] & 0x80 != 0;
        let questions = u16::from_be_bytes([header[4], header[5]]);
        let echoed = rest.get(..self.question.len());
        let same = echoed.is_some_and(|echoed| echoed.eq_ignore_ascii_case(&self.question));
        // A refusal may come without the question.
        if header[..2] != id || !response || !(questions == 0 || same) {
            return None;
        }
        let code = header[3] & 0x0f;
        let answers = u16::from_be_bytes([header[6], header[7]]);
        Some(match code {
            0 if answers >= self.answers => Ok(()),
            0 => Err(Failed::because(format!("{answers} records in the answer"))),
            code => Err(Failed::because(format!("answered with {}", name_of(code)))),
        })
    }
}

fn name_of(code: u8) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
    ];
    let name = names.get(usize::from(code));
    name.map_or_else(|| format!("rcode {code}"), |name| (*name).to_owned())
}
