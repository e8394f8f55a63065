//! Names below a DNAME record (RFC 6672, 3.2): the record, the CNAME record that it makes, and what that leads to as far
//! as the zone goes.
//!
//! What it leads to was compiled for another question. Its records are copied from there name by name, without
//! compression: it is seldom, and needs no memory but the stack.

use std::net::IpAddr;

use super::{Reply, Responded};
use crate::answer::bytes::Answer;
use crate::answer::edns::Reason;
use crate::answer::{Found, Snapshot};
use crate::wire::{Flags, HEADER, IN, LONGEST_NAME, Query, QueryName, TO_QUESTION, rcode, rtype};
use crate::zone::name_end;

/// DNAME records are followed so often; a resolver asks for the rest.
const MOST_MOVES: usize = 4;
/// What leads to longer answers is not followed: a resolver asks for it.
const LONGEST_FOLLOWED: usize = 4096;
/// Type, class, TTL and length of a record.
const FIXED: usize = 10;

/// Records that are written one after the other, as long as there is room.
struct Records<'a, 's> {
    out: &'a mut [u8],
    len: usize,
    counts: [u16; 3],
    /// Whose DNAME records are there; an answer holds each once.
    owners: [&'s [u8]; MOST_MOVES],
}

impl Snapshot {
    /// Answers for a name that `found` says to be below the DNAME record of `owner`; `further` when what that leads to is
    /// to follow.
    pub(super) fn send_moved<'s>(
        &'s self,
        (reply, query): (&Reply<'_>, &Query),
        (found, owner, further): (&Found<'s>, &'s [u8], bool),
        answer: &Answer,
        name: &QueryName,
        client: IpAddr,
        out: &mut [u8],
    ) -> Responded {
        let start = HEADER + reply.question.len();
        let room = reply.space(out);
        let mut records = Records {
            out: &mut out[start..start + room],
            len: 0,
            counts: [0; 3],
            owners: [owner, &[], &[], &[]],
        };
        let mut outcome = Outcome {
            code: rcode::NOERROR,
            flags: Flags(Flags::AA),
            scope: 0,
            site: None,
            lacks: None,
        };
        // The name as the client has written it.
        let asked = &reply.question[..name.wire().len()];
        match records.first(answer, asked, owner) {
            Err(Unwritten::TooLong) => outcome.code = rcode::YXDOMAIN,
            Err(Unwritten::NoRoom) => outcome.flags = Flags(Flags::AA | Flags::TC),
            // A CNAME record was asked for, or anything: here it is.
            Ok(_) if !further || [rtype::CNAME, rtype::ANY].contains(&query.qtype) => {}
            Ok(next) => self.follow(next, (found, query), client, &mut records, &mut outcome),
        }
        let Outcome {
            code,
            flags,
            scope,
            site,
            lacks,
        } = outcome;
        if let Some(reason) = lacks {
            return reply.fail(rcode::SERVFAIL, reason, query.qtype, out);
        }
        let (len, counts) = (records.len, records.counts);
        let responded = reply.finish(len, counts, code, flags, scope, query.qtype, out);
        Responded { site, ..responded }
    }

    /// Where the answer for a name comes from: the name itself, or where DNAME records lead it as far as answers follow
    /// them.
    pub(crate) fn find_moved(&self, name: &QueryName, qtype: u16) -> Found<'_> {
        let first = self.find(name, qtype);
        if [rtype::CNAME, rtype::ANY].contains(&qtype) {
            return first;
        }
        let (mut found, mut at) = (first, name.wire().to_vec());
        let mut owners = Vec::new();
        while let Some(owner) = found.dname.filter(|_| owners.len() < MOST_MOVES) {
            owners.push(owner);
            let Some(next) = self.moved(&at, &found, owner) else {
                break;
            };
            let led = self.find(&next, qtype);
            let again = led.dname.is_some_and(|owner| owners.contains(&owner));
            if led.zone != first.zone || again {
                break;
            }
            (found, at) = (led, next.wire().to_vec());
        }
        found
    }

    /// The name that a DNAME record makes of one below its owner.
    fn moved(&self, name: &[u8], found: &Found<'_>, owner: &[u8]) -> Option<QueryName> {
        let answer = self.answers.get(found.given.split().ok()? as usize)?;
        // The target is not compressed, and stands last.
        let target = answer.bytes().get(2 + FIXED..)?;
        let prefix = name.strip_suffix(owner)?;
        let mut next = QueryName::default();
        next.set(&[prefix, target].concat()).then_some(next)
    }

    /// Adds what a name leads to, if it is in the same zone and there is room.
    fn follow<'s>(
        &'s self,
        mut next: QueryName,
        (first, query): (&Found<'s>, &Query),
        client: IpAddr,
        records: &mut Records<'_, 's>,
        outcome: &mut Outcome,
    ) {
        for moves in 1..=MOST_MOVES {
            let found = self.find(&next, query.qtype);
            let again = found.dname.is_some_and(|owner| records.has_moved(owner));
            if found.zone != first.zone || again {
                return;
            }
            let (number, scope, site) = match found.given.split() {
                Ok(number) => (Some(number), 0, None),
                Err(dynamic) => self.choose(dynamic, client, query.edns.as_ref()),
            };
            let answer = number.and_then(|number| self.answers.get(number as usize));
            let Some(answer) = answer else {
                outcome.lacks = Some(found.given.lacks());
                return;
            };
            let Some(owner) = found.dname else {
                if records.append(answer, &next).is_some() {
                    (outcome.code, outcome.scope) = (answer.code.into(), scope);
                    outcome.site = site;
                }
                return;
            };
            match records.dname(answer, next.wire(), owner) {
                Ok(further) if moves < MOST_MOVES => {
                    records.owners[moves] = owner;
                    next = further;
                }
                Err(Unwritten::TooLong) => return outcome.code = rcode::YXDOMAIN,
                _ => return,
            }
        }
    }
}

/// What is said of the whole.
struct Outcome {
    code: u16,
    flags: Flags,
    scope: u8,
    site: Option<u16>,
    /// Why there is no answer at all.
    lacks: Option<Reason>,
}

/// Why a CNAME record was not made.
enum Unwritten {
    TooLong,
    NoRoom,
}

/// What stands in the first record of an answer between its owner and its data, and all that follows. For the owner
/// there is a pointer to the question; the root is as short as it is.
fn split<'a>(bytes: &'a [u8], owner: &[u8]) -> (&'a [u8], &'a [u8]) {
    let owner = owner.len().min(2);
    let (head, rest) = bytes.split_at((owner + FIXED).min(bytes.len()));
    (head.get(owner..).unwrap_or_default(), rest)
}

impl Records<'_, '_> {
    /// The DNAME record and the CNAME record of the question, whose name they point to.
    fn first(
        &mut self,
        answer: &Answer,
        asked: &[u8],
        owner: &[u8],
    ) -> Result<QueryName, Unwritten> {
        let bytes = answer.bytes();
        if bytes.len() > self.out.len() {
            return Err(Unwritten::NoRoom);
        }
        answer.copy(bytes, asked.len(), self.out);
        (self.len, self.counts) = (bytes.len(), [answer.counts[0], 0, 0]);
        // The data is the target, and not compressed. A signature may follow.
        let (fixed, target) = split(bytes, owner);
        let length = match fixed.last_chunk() {
            Some(length) => usize::from(u16::from_be_bytes(*length)),
            None => 0,
        };
        let target = target.get(..length).unwrap_or_default();
        let made = self.cname(&TO_QUESTION.to_be_bytes(), fixed, asked, owner, target);
        // Half of it is of no use.
        if matches!(made, Err(Unwritten::NoRoom)) {
            (self.len, self.counts) = (0, [0; 3]);
        }
        made
    }

    /// Another DNAME record, and the CNAME record of a name that was led to.
    fn dname(
        &mut self,
        answer: &Answer,
        name: &[u8],
        owner: &[u8],
    ) -> Result<QueryName, Unwritten> {
        let before = (self.len, self.counts);
        let bytes = answer.bytes();
        let (fixed, target) = split(bytes, owner);
        let made = self
            .put(&[owner, fixed, target])
            .ok_or(Unwritten::NoRoom)
            .and_then(|()| {
                self.counts[0] += 1;
                self.cname(name, fixed, name, owner, target)
            });
        if matches!(made, Err(Unwritten::NoRoom)) {
            (self.len, self.counts) = before;
        }
        made
    }

    /// The CNAME record with this owner that leads from a name below `owner` to the same below `target`.
    fn cname(
        &mut self,
        written: &[u8],
        fixed: &[u8],
        name: &[u8],
        owner: &[u8],
        target: &[u8],
    ) -> Result<QueryName, Unwritten> {
        let prefix = &name[..name.len().saturating_sub(owner.len())];
        let length = prefix.len() + target.len();
        if length > LONGEST_NAME {
            return Err(Unwritten::TooLong);
        }
        let kind = rtype::CNAME.to_be_bytes();
        // It may be kept as long as the DNAME record.
        let ttl = fixed.get(4..8).unwrap_or_default();
        let size = (length as u16).to_be_bytes();
        let record = [
            written,
            &kind,
            &IN.to_be_bytes(),
            ttl,
            &size,
            prefix,
            target,
        ];
        self.put(&record).ok_or(Unwritten::NoRoom)?;
        self.counts[0] += 1;
        let mut next = QueryName::default();
        match next.set(&self.out[self.len - length..self.len]) {
            true => Ok(next),
            false => Err(Unwritten::TooLong),
        }
    }

    /// Adds the records of an answer to a question for `name`. None when there is no room for them: then it adds none.
    fn append(&mut self, answer: &Answer, name: &QueryName) -> Option<()> {
        let mut message = [0; LONGEST_FOLLOWED];
        let question = name.wire();
        let start = HEADER + question.len() + 4;
        let end = start + answer.bytes().len();
        message[HEADER..]
            .get_mut(..question.len())?
            .copy_from_slice(question);
        answer.copy(answer.bytes(), question.len(), message.get_mut(start..end)?);
        let before = (self.len, self.counts);
        let mut at = start;
        for (section, count) in answer.counts.into_iter().enumerate() {
            for _ in 0..count {
                let here = self.len;
                match self.copy_record(&message[..end], at) {
                    Some(next) if self.is_again(here) => {
                        (at, self.len) = (next, here);
                        continue;
                    }
                    Some(next) => at = next,
                    None if section == 2 => {
                        // Additional records may be left out.
                        self.len = here;
                        return Some(());
                    }
                    None => {
                        (self.len, self.counts) = before;
                        return None;
                    }
                }
                self.counts[section] += 1;
            }
        }
        Some(())
    }

    /// Whether the DNAME record of a name is there.
    fn has_moved(&self, owner: &[u8]) -> bool {
        let mut owners = self.owners.iter();
        owners.any(|one| one.eq_ignore_ascii_case(owner))
    }

    /// Whether the record that begins at `here` is a DNAME record that is there already.
    fn is_again(&self, here: usize) -> bool {
        let record = &self.out[here..self.len];
        let owner = name_end(record).unwrap_or(0);
        record[owner..].starts_with(&rtype::DNAME.to_be_bytes()) && self.has_moved(&record[..owner])
    }

    /// Copies the record of a message that begins at `at`; where the next one does.
    fn copy_record(&mut self, message: &[u8], at: usize) -> Option<usize> {
        let fixed_at = self.copy_name(message, at)?;
        let data_at = fixed_at + FIXED;
        let fixed = message.get(fixed_at..data_at)?;
        self.put(&[fixed])?;
        let end = data_at + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let names = rtype::names(u16::from_be_bytes([fixed[0], fixed[1]]));
        let (length_at, written_at) = (self.len - 2, self.len);
        let mut rest = data_at;
        if names.compressible {
            self.put(&[message.get(rest..rest + names.offset)?])?;
            rest += names.offset;
            for _ in 0..names.count {
                rest = self.copy_name(message, rest)?;
            }
        }
        self.put(&[message.get(rest..end)?])?;
        let length = (self.len - written_at) as u16;
        self.out[length_at..written_at].copy_from_slice(&length.to_be_bytes());
        Some(end)
    }

    /// Copies the name of a message that begins at `at`; where it ends there.
    fn copy_name(&mut self, message: &[u8], mut at: usize) -> Option<usize> {
        let mut end = None;
        loop {
            let length = *message.get(at)?;
            match length {
                0 => {
                    self.put(&[&[0]])?;
                    return Some(end.unwrap_or(at + 1));
                }
                0xC0.. => {
                    end = end.or(Some(at + 2));
                    let pointer = u16::from_be_bytes([length & 0x3F, *message.get(at + 1)?]);
                    // Ours lead back always.
                    at = Some(usize::from(pointer)).filter(|to| *to < at)?;
                }
                _ => {
                    let next = at + 1 + usize::from(length);
                    self.put(&[message.get(at..next)?])?;
                    at = next;
                }
            }
        }
    }

    fn put(&mut self, parts: &[&[u8]]) -> Option<()> {
        for part in parts {
            let room = self.out.get_mut(self.len..self.len + part.len())?;
            room.copy_from_slice(part);
            self.len += part.len();
        }
        Some(())
    }
}
