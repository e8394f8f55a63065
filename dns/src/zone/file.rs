//! Zone files (RFC 1035, 5.1), with `$INCLUDE`.

use std::path::{Path, PathBuf};

use chassis::config::{Diagnostic, Place};

use super::Name;
use super::binary::Binary;
use super::read::Collector;
use super::scan::{Item, MOST_TOLD, ScanError, scan};

/// Files may include each other so deep.
const DEEPEST: usize = 8;

/// Reads a zone file; `named_at` is where its path is written.
pub(super) fn read(path: &Path, named_at: Place, zone: &mut Collector<'_>) {
    let apex = zone.apex.clone();
    read_at(path, named_at, &apex, 0, zone);
}

fn read_at(path: &Path, named_at: Place, origin: &Name, depth: usize, zone: &mut Collector<'_>) {
    let bytes = chassis::files::read(path);
    let binary = bytes.as_deref().ok().and_then(Binary::find);
    // Also a file that is missing is one to watch: it may come back.
    let text = match &binary {
        Some(binary) => binary.shown.clone(),
        None => String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned(),
    };
    let file = zone.sources.add(path.to_owned(), &text);
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("cannot read {}: {error}", path.display());
            return zone.wrong(Diagnostic::new(named_at, what));
        }
    };
    if let Some(Binary { octet, at, .. }) = binary {
        let what = format!(
            "{} is not text: it has the octet 0x{octet:02x}",
            path.display()
        );
        let help = "a zone file is text (RFC 1035, 5); a copy of a server's own may be in a form of its own";
        let place = Place::new(file, at..at + Binary::STAND_IN.len_utf8());
        return zone.wrong(Diagnostic::new(place, what).help(help));
    }
    let lines = Lines::new(&text);
    let outcome = scan(&bytes, origin, |line, item| {
        let place = Place::new(file, lines.entry(line));
        match item {
            Item::Record(record) => zone.add(record, place),
            Item::Generated(record) => zone.add(record, Place::new(file, lines.whole(line))),
            Item::Include(..) if depth == DEEPEST => {
                zone.wrong(Diagnostic::new(place, "files include each other too deep"));
            }
            Item::Include(included, origin_there) => {
                let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
                let origin = origin_there.as_ref().unwrap_or(origin);
                read_at(&folder.join(included), place, origin, depth + 1, zone);
            }
        }
    });
    let errors = outcome.err().unwrap_or_default();
    for (number, error) in errors.iter().enumerate() {
        let mistake = Diagnostic::new(lines.place_of(file, error), in_words(&error.message));
        zone.wrong(match number + 1 == MOST_TOLD {
            true => mistake.help("there may be more: no more of a file are told at a time"),
            false => mistake,
        });
    }
}

/// The lines of a file, to find places.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn line(&self, number: usize) -> Option<&'a str> {
        self.text[*self.starts.get(number)?..].split('\n').next()
    }

    /// The entry that begins at a line or after blank lines, comments and directives there.
    fn entry(&self, first: usize) -> std::ops::Range<usize> {
        let is_entry = |number: &usize| {
            let line = self.line(*number).unwrap_or_default();
            let directive =
                line.starts_with('$') && !line.to_ascii_uppercase().starts_with("$INCLUDE");
            let first = line.trim_start().chars().next();
            !directive && first.is_some_and(|first| first != ';')
        };
        self.whole((first..self.starts.len()).find(is_entry).unwrap_or(first))
    }

    /// A line without the blanks around it.
    fn whole(&self, number: usize) -> std::ops::Range<usize> {
        let line = self.line(number).unwrap_or_default();
        let start = self.starts.get(number).copied().unwrap_or(self.text.len());
        let margin = line.len() - line.trim_start().len();
        start + margin..start + line.trim_end().len().max(margin)
    }

    /// The word where something cannot be read.
    fn place_of(&self, file: usize, error: &ScanError) -> Place {
        let entry = self.entry(error.entry);
        let number = error.line.saturating_sub(1);
        let begins = self.starts.get(number).copied().unwrap_or(self.text.len());
        // What is wrong with the last word of an entry is noticed at the beginning of the next.
        if error.column <= 1 && begins > entry.start {
            return Place::new(file, entry);
        }
        let number = error.line.saturating_sub(1).min(self.starts.len() - 1);
        let line = self.line(number).unwrap_or_default();
        let column = floor(line, error.column.saturating_sub(1).min(line.len()));
        // The reader may have read a part of the word.
        let word = line[..column].rfind(|char: char| char.is_whitespace() || "()".contains(char));
        let column = word.map_or(0, |at| at + 1);
        let length = line[column..]
            .find(char::is_whitespace)
            .unwrap_or(line.len() - column);
        let start = self.starts[number] + column;
        Place::new(file, start..start + length.max(1))
    }
}

/// The nearest boundary of a character at or below.
fn floor(line: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|at| line.is_char_boundary(*at))
        .unwrap_or(0)
}

/// What the reader of zone files says, for who has written one.
fn in_words(message: &str) -> String {
    match message {
        other if other.starts_with("different class") => "only the class IN is served".to_owned(),
        "trailing tokens" => "nothing more is expected in this entry".to_owned(),
        "expected rtype" => "expected a type of records, a TTL in seconds, or IN".to_owned(),
        other => other.to_owned(),
    }
}
