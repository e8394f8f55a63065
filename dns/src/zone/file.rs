//! Zone files (RFC 1035, 5.1), with `$INCLUDE`.

use std::path::{Path, PathBuf};

use chassis::config::{Diagnostic, Place};

use super::Name;
use super::read::Collector;
use super::scan::{Item, ScanError, scan};

/// Files may include each other so deep.
const DEEPEST: usize = 8;

/// Reads a zone file; `named_at` is where its path is written.
pub(super) fn read(path: &Path, named_at: Place, zone: &mut Collector<'_>) {
    let apex = zone.apex.clone();
    read_at(path, named_at, &apex, 0, zone);
}

fn read_at(path: &Path, named_at: Place, origin: &Name, depth: usize, zone: &mut Collector<'_>) {
    let bytes = std::fs::read(path);
    // Also a file that is missing is one to watch: it may come back.
    let text = bytes.as_deref().map(String::from_utf8_lossy);
    let text = text.unwrap_or_default().into_owned();
    let file = zone.sources.add(path.to_owned(), &text);
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            return zone.wrong(Diagnostic::new(named_at, what));
        }
    };
    let mut items = Vec::new();
    let outcome = scan(&bytes, origin, |start, item| items.push((start, item)));
    for (start, item) in items {
        let place = Place::new(file, entry(&bytes, start));
        match item {
            Item::Record(record) => zone.add(record, place),
            Item::Include(..) if depth == DEEPEST => {
                zone.wrong(Diagnostic::new(place, "files include each other too deep"));
            }
            Item::Include(included, origin_there) => {
                let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
                let origin = origin_there.as_ref().unwrap_or(origin);
                read_at(&folder.join(included), place, origin, depth + 1, zone);
            }
        }
    }
    if let Err(error) = outcome {
        zone.wrong(Diagnostic::new(place_of(file, &text, &error), in_words(&error.message)));
    }
}

/// The line of an entry that begins at `start` or after blank lines and comments.
fn entry(text: &[u8], mut start: usize) -> std::ops::Range<usize> {
    loop {
        let rest = &text[start.min(text.len())..];
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
        let blank = first.is_none_or(|byte| matches!(byte, b';'));
        // `$ORIGIN` and `$TTL` are no entries of their own.
        let directive = line.starts_with(b"$") && !line.to_ascii_uppercase().starts_with(b"$INCLUDE");
        if !(blank || directive) || rest.len() <= end {
            let margin = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            return start + margin..start + end;
        }
        start += end + 1;
    }
}

fn place_of(file: usize, text: &str, error: &ScanError) -> Place {
    let mut start = 0;
    for line in text.split_inclusive('\n').take(error.line.saturating_sub(1)) {
        start += line.len();
    }
    let line = text[start..].split('\n').next().unwrap_or_default();
    let column = error.column.saturating_sub(1).min(line.len());
    let length = line[floor(line, column)..]
        .find(char::is_whitespace)
        .unwrap_or(line.len() - floor(line, column));
    let at = start + floor(line, column);
    Place::new(file, at..at + length.max(1))
}

/// The nearest boundary of a character at or below.
fn floor(line: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0)
}

/// What the reader of zone files says, for who has written one.
fn in_words(message: &str) -> String {
    match message {
        "expected rtype" => "expected a type of records, a TTL in seconds, or IN".to_owned(),
        other => other.to_owned(),
    }
}
