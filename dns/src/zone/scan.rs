//! RFC 1035 text to records, by the crate `domain`.

use bytes::Bytes;
use domain::base::iana::Class;
use domain::base::name::{Name as Scanned, ToName};
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use super::Name;
use super::generate::expand;
use super::tokens::{WrittenOut, write_out};

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

/// Reads text; each item comes with the number of the line where it begins, or of a blank one before it,
/// from 0.
///
/// # Errors
/// What cannot be read, in the order of lines.
pub(super) fn scan(
    text: &[u8],
    origin: &Name,
    mut take: impl FnMut(usize, Item),
) -> Result<(), Vec<ScanError>> {
    let written = write_out(text, &origin.to_string());
    let mut errors: Vec<ScanError> = read(&written.text, origin, &mut take)
        .err()
        .into_iter()
        .collect();
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
            match written.mistakes.into_iter().next() {
                Some((_, why)) => Err(why),
                None => {
                    let mut generated = |_, item| {
                        if let Item::Record(record) = item {
                            take(line, Item::Generated(record));
                        }
                    };
                    read(&written.text, &origin, &mut generated).map_err(|error| error.message)
                }
            }
        });
        let wrong = |why| at_octet(text, generate.at, format!("$GENERATE: {why}"));
        errors.extend(records.err().map(wrong));
    }
    errors.sort_by_key(|error| error.line);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}

/// Reads what is written out.
fn read(text: &[u8], origin: &Name, take: &mut dyn FnMut(usize, Item)) -> Result<(), ScanError> {
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        file.extend_from_slice(b"\n");
    }
    file.set_origin(to_scanned(origin)?);
    file.set_default_class(Class::IN);
    let (mut line, mut counted) = (0, 0);
    loop {
        let start = next_line(text, file.current_offset().min(text.len()));
        line += lines_in(&text[counted..start]);
        counted = start;
        match file.next_entry() {
            Ok(Some(Entry::Record(record))) => {
                let item = to_item(&record).map_err(|why| at_line(line, why))?;
                take(line, Item::Record(item));
            }
            Ok(Some(Entry::Include { path, origin })) => {
                let origin = origin.map(|name| Name::from(name.as_slice()));
                take(line, Item::Include(path.to_string(), origin));
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let error = placed(&error.to_string());
                return Err(ScanError {
                    entry: line,
                    ..error
                });
            }
        }
    }
}

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
    let owner = record.owner().to_name::<Vec<u8>>();
    let mut data = Vec::new();
    let composed = record.data().compose_rdata(&mut data);
    composed.map_err(|_| "the record is too long")?;
    Ok(ScannedItem {
        owner: Name::from_wire(owner.into_octets()),
        rtype: record.rtype().to_int(),
        ttl: record.ttl().as_secs(),
        data: data.into(),
    })
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
