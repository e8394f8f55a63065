//! The archive of a month: a line of JSON a row, complete or under another name.
//!
//! ```text
//!   rows, a page at a time --> NAME.jsonl.part --> fsync --> rename to NAME.jsonl --> fsync of the folder --> DROP TABLE
//! ```
//!
//! A `.part` is what a process wrote that ended before its time: what stands in it whole is kept, and the rows after
//! the last of it follow. A complete file whose table is still there was not followed by the drop.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::month::Month;
use super::{Kind, TimeTable};
use crate::sql::{Statement, Values};
use crate::turn::Turn;
use crate::{Error, Id, Value};

/// Archives the table of a month. When it returns, all rows are in the complete file, on disk.
pub(super) async fn write(
    turn: &mut Turn<'_>,
    table: &TimeTable,
    month: Month,
    dir: &Path,
) -> Result<(), Error> {
    let name = table.table(month);
    let select = format!("SELECT MIN(id), MAX(id) FROM {name}");
    let ends: Vec<(Option<Id>, Option<Id>)> = turn.all(Statement::of(select)).await?;
    let Some(&(Some(first), Some(last))) = ends.first() else {
        return Ok(()); // no rows, no file
    };
    let path = dir.join(format!("{name}.shard{}.jsonl", turn.shard().number()));
    let opened = blocking(&path, open).await?;
    let mut part = match opened {
        Opened::Complete(found) if found == Some((first, last)) => return Ok(()),
        Opened::Complete(_) => return Err(Error::OtherArchive(path)),
        Opened::Part(part) => part,
    };
    loop {
        let select = format!(
            "SELECT id, owner{} FROM {name} WHERE id > ? ORDER BY id LIMIT ?",
            table.list()
        );
        let after = part.last.map_or(-1, Id::as_i64);
        let select = Statement::of(select).bind(after).bind(PAGE as i64);
        let rows: Vec<Values> = turn.all(select).await?;
        let Some(last) = rows.last().and_then(id_of) else {
            break;
        };
        let text: String = rows.iter().map(|row| line(table, row)).collect();
        part = blocking(&path, move |_| part.append(&text, last)).await?;
        if rows.len() < PAGE {
            break;
        }
    }
    blocking(&path, move |path| part.complete(path)).await
}

/// What is there of an archive.
enum Opened {
    /// All of it: the first id and the last.
    Complete(Option<(Id, Id)>),
    /// The beginning, perhaps of nothing.
    Part(Part),
}

/// The beginning of an archive.
struct Part {
    file: File,
    /// The last row that is in it.
    last: Option<Id>,
}

impl Part {
    fn append(mut self, text: &str, last: Id) -> io::Result<Self> {
        self.file.write_all(text.as_bytes())?;
        self.last = Some(last);
        Ok(self)
    }

    /// From here on it is the archive, whatever happens.
    fn complete(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(part_of(path), path)?;
        sync_dir_of(path)
    }
}

/// Opens what there is of the archive at a path.
fn open(path: &Path) -> io::Result<Opened> {
    match File::open(path) {
        Ok(complete) => {
            let (ends, _) = whole_lines(&complete)?;
            // Whoever renamed it may have ended before the folder was on disk.
            sync_dir_of(path)?;
            return Ok(Opened::Complete(ends));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut open = OpenOptions::new();
    let open = open.create(true).truncate(false).read(true).write(true);
    let mut file = open.mode(0o600).open(part_of(path))?;
    let (ends, length) = whole_lines(&file)?;
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(Opened::Part(Part {
        file,
        last: ends.map(|(_, last)| last),
    }))
}

/// The first id and the last of the lines that are whole and in order, and how long these lines are.
fn whole_lines(file: &File) -> io::Result<(Option<(Id, Id)>, u64)> {
    #[derive(Deserialize)]
    struct Line {
        id: Id,
    }
    let mut reader = BufReader::new(file);
    let (mut ends, mut length, mut line) = (None::<(Id, Id)>, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        let id = match serde_json::from_slice::<Line>(&line) {
            Ok(Line { id }) if line.ends_with(b"\n") => id,
            _ => return Ok((ends, length)),
        };
        ends = match ends {
            Some((first, last)) if last < id => Some((first, id)),
            Some(_) => return Ok((ends, length)),
            None => Some((id, id)),
        };
        length += read as u64;
    }
}

/// A row as a line of JSON. Ids are strings, as everywhere: JavaScript cannot hold 63 bits.
fn line(table: &TimeTable, row: &Values) -> String {
    let own = [("id", Kind::Id), ("owner", Kind::Id)];
    let declared = table.columns.iter();
    let declared = declared.map(|column| (column.name, column.kind));
    let members = own.into_iter().chain(declared).zip(&row.0);
    let members = members.map(|((name, kind), value)| {
        let value = match (kind, value) {
            (_, Value::Null | Value::Bytes(_)) => serde_json::Value::Null,
            (Kind::Id, Value::Integer(id)) => id.to_string().into(),
            (_, Value::Integer(number)) => (*number).into(),
            (_, Value::Text(text)) => text.as_str().into(),
        };
        format!("\"{name}\":{value}")
    });
    format!("{{{}}}\n", members.collect::<Vec<_>>().join(","))
}

fn id_of(row: &Values) -> Option<Id> {
    match row.0.first() {
        Some(&Value::Integer(id)) => Id::from_i64(id),
        _ => None,
    }
}

fn part_of(path: &Path) -> PathBuf {
    path.with_extension("jsonl.part")
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Runs work on files, which blocks, elsewhere.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let file = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&file)).await;
    let done = done.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

/// The most rows in memory at once.
const PAGE: usize = 1000;
