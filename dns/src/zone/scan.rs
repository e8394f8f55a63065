//! RFC 1035 text to records, by the crate `domain`.

use bytes::Bytes;
use domain::base::iana::Class;
use domain::base::name::{Name as Scanned, ToName};
use domain::base::rdata::ComposeRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use super::Name;
use super::tokens::write_out;

/// What stands in a zone file.
#[derive(Debug)]
pub(super) enum Item {
    Record(ScannedItem),
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
    pub(super) data: Vec<u8>,
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
pub(super) fn scan(
    text: &[u8],
    origin: &Name,
    mut take: impl FnMut(usize, Item),
) -> Result<(), ScanError> {
    let text = &write_out(text, &origin.to_string())[..];
    let mut file = Zonefile::with_capacity(text.len() + 1);
    file.extend_from_slice(text);
    if !text.ends_with(b"\n") {
        file.extend_from_slice(b"\n");
    }
    file.set_origin(to_scanned(origin)?);
    file.set_default_class(Class::IN);
    let (mut line, mut counted) = (0, 0);
    loop {
        let start = file.current_offset().min(text.len());
        line += text[counted..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
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
        data,
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
