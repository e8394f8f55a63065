//! The messages of a transfer to a version: what is read, and what must be there (RFC 5936, 2.2; RFC 1995, 4).
//!
//! It does no I/O: messages come without their lengths and signatures. All of them are hostile.

use std::sync::Arc;

use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;

use super::tsig::{Why, question};
use super::version::{Entry, Misfit, Step, Version};
use crate::wire::rtype::{self, ALIAS, SOA};
use crate::zone::Name;

/// Reads the answer to one request.
pub struct Receiver {
    apex: Name,
    id: u16,
    question: Box<[u8]>,
    /// What changes are asked for from.
    base: Option<Arc<Version>>,
    limits: Limits,
    octets: u64,
    messages: u32,
    records: usize,
    stage: Stage,
}

/// How much may come.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Octets of messages.
    pub octets: u64,
}

/// What came.
#[derive(Debug)]
pub enum Got {
    /// There is nothing later.
    UpToDate,
    /// A version, by changes of the one before.
    Changed(Version),
    /// A version as a whole.
    Whole(Version),
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It is no message, or not what was asked for.
    #[error("{0}")]
    Broken(&'static str),
    /// The other side says why.
    #[error("it answers {0}")]
    Code(domain::base::iana::Rcode),
    /// There is too much.
    #[error("it is larger than `transfers.{0}` allows")]
    TooLarge(&'static str),
    /// Changes that do not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// A signature is wrong.
    #[error(transparent)]
    Signature(#[from] Why),
}

/// What was read so far. The first record is the SOA record of the version that the other side has.
enum Stage {
    Begin,
    /// The first record is there.
    First(Entry),
    /// All records of the version.
    Whole(Entry, Vec<Entry>),
    /// Changes: those that are complete, and the one that is read.
    Changes(Entry, Vec<Step>, Change),
    End(Option<Got>),
}

struct Change {
    from: Entry,
    removed: Vec<Entry>,
    /// Once it is there, records come.
    to: Option<Entry>,
    added: Vec<Entry>,
}

impl Change {
    fn new(from: Entry) -> Self {
        Self {
            from,
            removed: Vec::new(),
            to: None,
            added: Vec::new(),
        }
    }
}

impl Receiver {
    /// Reads the answer to a request with this id and question; `base` when it is one for changes.
    pub fn new(
        apex: Name,
        id: u16,
        question: &[u8],
        base: Option<Arc<Version>>,
        limits: Limits,
    ) -> Self {
        Self {
            apex,
            id,
            question: question.into(),
            base,
            limits,
            octets: 0,
            messages: 0,
            records: 0,
            stage: Stage::Begin,
        }
    }

    /// Reads the next message; what came when it is the last.
    ///
    /// # Errors
    /// Why it is of no use, and with it all that came before.
    pub fn take(&mut self, message: &[u8]) -> Result<Option<Got>, Wrong> {
        self.octets += message.len() as u64;
        if self.octets > self.limits.octets {
            return Err(Wrong::TooLarge("size"));
        }
        let read = self.head(message)?;
        let broken = |_| Wrong::Broken("a message cannot be read");
        let mut empty = true;
        for record in read.answer().map_err(broken)? {
            empty = false;
            let entry = self.entry(&record.map_err(broken)?)?;
            self.records += 1;
            // A change names records twice.
            if self.records > self.limits.records.saturating_mul(2) {
                return Err(Wrong::TooLarge("records"));
            }
            // Elsewhere the number may mean something else, and its data would be acted on as a name here.
            if entry.rtype != ALIAS {
                self.record(entry)?;
            }
        }
        if empty {
            return Err(Wrong::Broken("a message without records"));
        }
        self.messages += 1;
        self.end_of_message()
    }

    /// Judges the header and the question.
    fn head<'a>(&self, message: &'a [u8]) -> Result<&'a Message<[u8]>, Wrong> {
        let read = Message::from_slice(message).map_err(|_| Wrong::Broken("no header"))?;
        let header = read.header();
        if header.id() != self.id || !header.qr() || header.opcode().to_int() != 0 {
            return Err(Wrong::Broken("not an answer to what was asked"));
        }
        if header.rcode() != domain::base::iana::Rcode::NOERROR {
            return Err(Wrong::Code(header.rcode()));
        }
        if header.tc() {
            return Err(Wrong::Broken("an answer that was cut"));
        }
        // Only the first message needs one (RFC 5936, 2.2.1).
        match read.header_counts().qdcount() {
            0 if self.messages > 0 => Ok(read),
            1 if question(message)
                .is_some_and(|found| found.eq_ignore_ascii_case(&self.question)) =>
            {
                Ok(read)
            }
            _ => Err(Wrong::Broken("not an answer to this question")),
        }
    }

    fn entry(&self, record: &ParsedRecord<'_, [u8]>) -> Result<Entry, Wrong> {
        if record.class() != Class::IN {
            return Err(Wrong::Broken("a record of another class than IN"));
        }
        let kind = record.rtype().to_int();
        if rtype::is_meta(kind) {
            return Err(Wrong::Broken("a record of a type that no record has"));
        }
        let owner = record.owner().to_name::<Vec<u8>>();
        let owner = Name::from(owner.as_slice());
        if !owner.is_in(&self.apex) || kind == SOA && owner != self.apex {
            return Err(Wrong::Broken("a record that is not of the zone"));
        }
        let parsed = record.to_record::<AllRecordData<_, _>>().ok().flatten();
        let parsed = parsed.ok_or(Wrong::Broken("a record whose data cannot be read"))?;
        let mut data = Vec::new();
        let composed = parsed.data().compose_rdata(&mut data);
        composed.map_err(|_| Wrong::Broken("a record that is too long"))?;
        Ok(Entry {
            owner,
            rtype: kind,
            // RFC 2181, 8.
            ttl: match record.ttl().as_secs() {
                ttl if i32::try_from(ttl).is_ok() => ttl,
                _ => 0,
            },
            data: data.into(),
        })
    }

    fn record(&mut self, entry: Entry) -> Result<(), Wrong> {
        let is_soa = entry.rtype == SOA;
        let same = |one: &Entry, other: &Entry| one.times() == other.times();
        self.stage = match std::mem::replace(&mut self.stage, Stage::End(None)) {
            Stage::Begin if is_soa && entry.times().is_some() => Stage::First(entry),
            Stage::Begin => return Err(Wrong::Broken("it does not begin with a SOA record")),
            Stage::First(last) if !is_soa => Stage::Whole(last, vec![entry]),
            // A zone of one record.
            Stage::First(last) if same(&last, &entry) => whole(last, Vec::new()),
            Stage::First(last) if self.base.is_some() => {
                Stage::Changes(last, Vec::new(), Change::new(entry))
            }
            Stage::First(_) => return Err(Wrong::Broken("changes, and nobody asked for them")),
            Stage::Whole(last, records) if is_soa => match same(&last, &entry) {
                true => whole(last, records),
                false => return Err(Wrong::Broken("the SOA record at the end is another one")),
            },
            Stage::Whole(last, mut records) => {
                records.push(entry);
                Stage::Whole(last, records)
            }
            Stage::Changes(last, steps, change) => self.change(last, steps, change, entry)?,
            Stage::End(_) => return Err(Wrong::Broken("records after the last")),
        };
        Ok(())
    }

    /// The next record among changes.
    fn change(
        &self,
        last: Entry,
        mut steps: Vec<Step>,
        mut change: Change,
        entry: Entry,
    ) -> Result<Stage, Wrong> {
        let is_soa = entry.rtype == SOA;
        match &change.to {
            None if is_soa => change.to = Some(entry),
            None => change.removed.push(entry),
            Some(_) if !is_soa => change.added.push(entry),
            Some(to) => {
                // It begins the next change, or is the last record.
                if to.times() != entry.times() {
                    return Err(Wrong::Broken("changes that do not follow each other"));
                }
                let complete = to.times() == last.times();
                steps.push(Step {
                    from: change.from,
                    to: to.clone(),
                    removed: change.removed.into(),
                    added: change.added.into(),
                });
                if complete {
                    let base = self.base.as_ref().ok_or(Misfit)?;
                    let version = base.after(&steps)?;
                    return Ok(Stage::End(Some(Got::Changed(version))));
                }
                change = Change::new(entry);
            }
        }
        Ok(Stage::Changes(last, steps, change))
    }

    fn end_of_message(&mut self) -> Result<Option<Got>, Wrong> {
        // One SOA record, and no more: there are no changes, or we are to come back.
        if let (Stage::First(last), Some(base), 1) = (&self.stage, &self.base, self.messages) {
            let serial = last.times().map_or(0, |times| times.serial);
            if !super::version::is_newer(serial, base.serial()) {
                return Ok(Some(Got::UpToDate));
            }
        }
        let Stage::End(got) = &mut self.stage else {
            return Ok(None);
        };
        let got = got.take();
        if let Some(Got::Whole(version) | Got::Changed(version)) = &got
            && version.records.len() >= self.limits.records
        {
            return Err(Wrong::TooLarge("records"));
        }
        Ok(got)
    }
}

fn whole(soa: Entry, records: Vec<Entry>) -> Stage {
    Stage::End(Some(Got::Whole(Version::new(soa, records))))
}

#[cfg(test)]
mod tests;
