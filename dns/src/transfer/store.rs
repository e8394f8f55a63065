//! Copies of zones on disk: the messages of a transfer, each with its length in front.
//!
//! A file is replaced as a whole, so that a crash leaves the old one or the new one. When it was changed last is when the
//! primary was heard last.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::out::Outgoing;
use super::receive::{Got, Limits, Receiver};
use super::version::Version;
use crate::wire::{IN, rtype};
use crate::zone::Name;

/// The file of a zone.
pub(super) fn path(folder: &Path, apex: &Name) -> PathBuf {
    let name = apex.to_string().replace('/', "\\047");
    folder.join(format!("{name}axfr"))
}

/// Reads a copy, and when its primary was heard last; none when there is none.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub(super) fn read(path: &Path, apex: &Name) -> io::Result<Option<(Version, SystemTime)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let heard = file.metadata()?.modified()?;
    let mut question = apex.to_vec();
    question.extend_from_slice(&rtype::AXFR.to_be_bytes());
    question.extend_from_slice(&IN.to_be_bytes());
    let limits = Limits {
        records: usize::MAX,
        octets: u64::MAX,
    };
    let mut receiver = Receiver::new(apex.clone(), 0, &question, None, limits);
    let mut file = BufReader::new(file);
    loop {
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        file.read_exact(&mut message)?;
        match receiver.take(&message).map_err(io::Error::other)? {
            None => {}
            Some(Got::Whole(version) | Got::Changed(version)) => return Ok(Some((version, heard))),
            Some(Got::UpToDate) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Replaces a copy.
///
/// # Errors
/// When it cannot be written; then the old one is still there.
pub(super) fn write(path: &Path, version: &Version) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_added_extension("new");
    let mut file = BufWriter::new(File::create(&beside)?);
    let mut messages = Outgoing::to_file(version);
    while let Some(message) = messages.next(0).map_err(io::Error::other)? {
        file.write_all(&(message.len() as u16).to_be_bytes())?;
        file.write_all(&message)?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Keeps that the primary was heard.
///
/// # Errors
/// When the file cannot be changed.
pub(super) fn touch(path: &Path, heard: SystemTime) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(heard)
}
