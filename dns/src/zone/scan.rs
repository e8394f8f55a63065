//! RFC 1035 text to records, by the crate `domain`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use domain::base::iana::Class;
use domain::base::name::{Name as Scanned, ToName};
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use super::generate::expand;
use super::tokens::{PRIVATE, WrittenOut, absolute, entry_end, write_out};
use super::{Name, name_end};
use crate::wire::rtype;

/// What stands in a zone file.
#[derive(Debug)]
pub(super) enum Item {
    Record(ScannedItem),
    /// Of a `$GENERATE` in exactly this line.
    Generated(ScannedItem),
    /// `$INCLUDE`: a path, and the origin there.
    Include(String, Option<Name>),
}

/// A record.
#[derive(Debug)]
pub(super) struct ScannedItem {
    pub(super) owner: Name,
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    /// In wire form, not compressed.
    pub(super) data: Box<[u8]>,
}

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScanError {
    /// From 1; 0 when it is not known.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    /// The line where the entry begins, or a blank one before it, from 0.
    pub(super) entry: usize,
    pub(super) message: String,
}

/// Mistakes of a text that are told at a time.
pub(super) const MOST_TOLD: usize = 20;

/// Reads text; each item comes with the number of the line where it begins, or of a blank one before it,
/// from 0.
///
/// # Errors
/// What cannot be read, in the order of lines; at most [`MOST_TOLD`].
pub(super) fn scan(
    text: &[u8],
    origin: &Name,
    mut take: impl FnMut(usize, Item),
) -> Result<(), Vec<ScanError>> {
    let written = write_out(text, &origin.to_string());
    let mut errors = read(&written, origin, &mut take);
    let WrittenOut {
        generates,
        mistakes,
        ..
    } = written;
    errors.extend(
        mistakes
            .into_iter()
            .map(|(at, why)| at_octet(text, at, why)),
    );
    for generate in &generates {
        let line = lines_in(&text[..generate.at]);
        let origin = Name::from_text(&String::from_utf8_lossy(&generate.origin));
        let records = expand(generate).and_then(|records| {
            let origin = origin.ok_or("the origin is not a name")?;
            let written = write_out(records.as_bytes(), &origin.to_string());
            match written.mistakes.first() {
                Some((_, why)) => Err(why.clone()),
                None => {
                    let mut generated = |_, item| {
                        if let Item::Record(record) = item {
                            take(line, Item::Generated(record));
                        }
                    };
                    let errors = read(&written, &origin, &mut generated);
                    let first = errors.into_iter().next();
                    first.map_or(Ok(()), |error| Err(error.message))
                }
            }
        });
        let wrong = |why| at_octet(text, generate.at, format!("$GENERATE: {why}"));
        errors.extend(records.err().map(wrong));
    }
    errors.sort_by_key(|error| (error.line, error.column));
    errors.truncate(MOST_TOLD);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}

/// Reads what is written out, and goes on behind what it cannot read.
fn read(written: &WrittenOut, origin: &Name, take: &mut dyn FnMut(usize, Item)) -> Vec<ScanError> {
    let mut errors: Vec<ScanError> = Vec::new();
    let mut from = Start {
        at: 0,
        line: 0,
        origin: origin.clone(),
        owner: None,
    };
    while let Err((error, start)) = read_from(&written.text, &from, take) {
        // Where an entry begins is where the one before may have been found wrong.
        let is_known = errors.last() == Some(&error);
        let at = behind(&written.text, from.at.max(start), &error);
        from = from.moved(written, at);
        if !is_known {
            errors.push(error);
        }
        if errors.len() >= MOST_TOLD || at >= written.text.len() {
            break;
        }
    }
    errors
}

/// Where reading begins, and what holds there.
struct Start {
    at: usize,
    /// From 0.
    line: usize,
    origin: Name,
    /// Of the last record before.
    owner: Option<Name>,
}

impl Start {
    fn moved(mut self, written: &WrittenOut, at: usize) -> Self {
        let passed = &written.text[self.at..at];
        let origins = written.origins.iter().rev().filter(|(from, _)| *from <= at);
        let mut origins = origins.filter_map(|(_, origin)| named(origin));
        // An entry that cannot be read may have an owner, for those that follow.
        let owner = |line: &[u8]| {
            let end = line.iter().position(u8::is_ascii_whitespace);
            named(&absolute(&line[..end?], self.origin.to_string().as_bytes()))
        };
        let is_owner = |line: &&[u8]| {
            line.first()
                .is_some_and(|first| !b" \t;$)\r".contains(first))
        };
        let mut lines = passed.split(|byte| *byte == b'\n').rev().filter(is_owner);
        self.owner = lines.find_map(owner).or(self.owner);
        self.origin = origins.next().unwrap_or(self.origin);
        self.line += lines_in(passed);
        self.at = at;
        self
    }
}

fn named(text: &[u8]) -> Option<Name> {
    Name::from_text(std::str::from_utf8(text).ok()?)
}

/// Behind the entry that cannot be read, which begins at `start` or later.
fn behind(text: &[u8], start: usize, error: &ScanError) -> usize {
    let line = error.line.saturating_sub(1);
    let mut at = start;
    let mut number = lines_in(&text[..start]);
    loop {
        let end = entry_end(text, at);
        let has_words = text[at..end].iter().any(|byte| !byte.is_ascii_whitespace());
        number += lines_in(&text[at..end]);
        // What is wrong with the last word of an entry is noticed at the beginning of the next line.
        let is_passed = number > line || number == line && error.column <= 1 && has_words;
        if is_passed || end >= text.len() {
            return end;
        }
        at = end;
    }
}

/// Reads until something cannot be read; then also where the last entry before it ends.
fn read_from(
    whole: &[u8],
    from: &Start,
    take: &mut dyn FnMut(usize, Item),
) -> Result<(), (ScanError, usize)> {
    // A record that is not taken: the next ones may have no owner of their own.
    let owner = from.owner.as_ref();
    let head = owner.map_or_else(String::new, |owner| {
        format!("{owner} TYPE{PRIVATE} \\# 0\n")
    });
    let rest = &whole[from.at..];
    let text = match head.is_empty() {
        true => Cow::Borrowed(rest),
        false => Cow::Owned([head.as_bytes(), rest].concat()),
    };
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.extend_from_slice(&text);
    if !text.ends_with(b"\n") {
        file.extend_from_slice(b"\n");
    }
    file.set_origin(to_scanned(&from.origin).map_err(|error| (error, from.at))?);
    file.set_default_class(Class::IN);
    // A line of the text, from 0, as one of the whole.
    let in_whole = |line: usize| (line + from.line).saturating_sub(lines_in(head.as_bytes()));
    let (mut line, mut counted) = (0, 0);
    loop {
        let start = next_line(&text, file.current_offset().min(text.len()));
        line += lines_in(&text[counted..start]);
        counted = start;
        let failed = |error| (error, (from.at + start).saturating_sub(head.len()));
        let at = in_whole(line);
        // The reader panics where a text ends in an open parenthesis (domain 0.12.3): a zone file must not end a reload so.
        let entry = catch_unwind(AssertUnwindSafe(|| file.next_entry()));
        let entry = entry.map_err(|_| failed(at_line(at, UNREADABLE)))?;
        match entry {
            Ok(Some(Entry::Record(_))) if start < head.len() => {}
            Ok(Some(Entry::Record(record))) => {
                let item = to_item(&record).map_err(|why| failed(at_line(at, why)))?;
                take(at, Item::Record(item));
            }
            Ok(Some(Entry::Include { path, origin })) => {
                let origin = origin.map(|name| name.as_slice().to_vec());
                if origin.as_ref().is_some_and(|name| !is_whole(name)) {
                    return Err(failed(at_line(at, TWO_DOTS)));
                }
                let origin = origin.map(Name::from_wire);
                take(at, Item::Include(path.to_string(), origin));
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let error = placed(&error.to_string());
                return Err(failed(ScanError {
                    line: in_whole(error.line),
                    entry: at,
                    ..error
                }));
            }
        }
    }
}

/// Of an entry that the reader gives up.
const UNREADABLE: &str = "this entry has no end: is a parenthesis left open?";

/// Where the line after an entry begins: the reader leaves the end of some entries for the next one.
fn next_line(text: &[u8], at: usize) -> usize {
    if at == 0 || text[at - 1] == b'\n' {
        return at;
    }
    let end = text[at..].iter().position(|byte| *byte == b'\n');
    end.map_or(text.len(), |end| at + end + 1)
}

fn lines_in(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// At an octet of the text.
fn at_octet(text: &[u8], at: usize, message: String) -> ScanError {
    let line = lines_in(&text[..at]);
    let before = text[..at].iter().rev().take_while(|byte| **byte != b'\n');
    ScanError {
        line: line + 1,
        column: before.count() + 1,
        entry: line,
        message,
    }
}

fn to_scanned(name: &Name) -> Result<Scanned<Bytes>, ScanError> {
    let bytes = Bytes::copy_from_slice(name);
    Scanned::from_octets(bytes).map_err(|error| ScanError {
        line: 0,
        column: 1,
        entry: 0,
        message: error.to_string(),
    })
}

fn to_item(record: &ScannedRecord) -> Result<ScannedItem, &'static str> {
    if record.class() != Class::IN {
        return Err("only the class IN is served");
    }
    let owner = record.owner().to_name::<Vec<u8>>().into_octets();
    let mut data = Vec::new();
    let composed = record.data().compose_rdata(&mut data);
    composed.map_err(|_| "the record is too long")?;
    let rtype = record.rtype().to_int();
    if !is_whole(&owner) || !has_whole_names(rtype, &data) {
        return Err(TWO_DOTS);
    }
    Ok(ScannedItem {
        owner: Name::from_wire(owner),
        rtype,
        ttl: record.ttl().as_secs(),
        data: data.into(),
    })
}

/// The crate takes two dots for a label without octets, which ends a name on the wire.
const TWO_DOTS: &str = "there is no label before a dot";

fn is_whole(name: &[u8]) -> bool {
    name_end(name) == Some(name.len())
}

/// Whether the names of the data end where they should.
fn has_whole_names(kind: u16, data: &[u8]) -> bool {
    let names = rtype::names(kind);
    if names.count == 0 {
        return true;
    }
    let behind =
        (0..names.count).try_fold(names.offset, |at, _| Some(at + name_end(data.get(at..)?)?));
    behind
        .and_then(|behind| data.get(behind..))
        .is_some_and(|rest| match kind {
            // Five numbers (RFC 1035, 3.3.13).
            rtype::SOA => rest.len() == 20,
            rtype::SVCB | rtype::HTTPS => is_parameters(rest),
            _ => rest.is_empty(),
        })
}

/// Whether these are parameters of a service, each with its number and length (RFC 9460, 2.2).
fn is_parameters(mut rest: &[u8]) -> bool {
    while let [_, _, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = more.get(length..) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

fn at_line(line: usize, message: &str) -> ScanError {
    ScanError {
        line: line + 1,
        column: 1,
        entry: line,
        message: message.to_owned(),
    }
}

/// The crate tells the place in the text of its error alone: `line:column: message`.
fn placed(error: &str) -> ScanError {
    let mut parts = error.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.trim().parse().ok());
    let (line, column) = (number().unwrap_or(0), number().unwrap_or(1));
    let message = parts.next().unwrap_or(error).trim().to_owned();
    ScanError {
        line,
        column,
        entry: line.saturating_sub(1),
        message,
    }
}
