//! Copies of zones on disk: the messages of a transfer, each with its length in front.
//!
//! A file is replaced as a whole ([`chassis::files`]), so that a crash leaves the old one or the new one, and a predecessor
//! that still writes does not meet its successor. When it was changed last is when the primary was heard last. Copies are
//! for nobody else: not everybody may transfer a zone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chassis::files::{self, Folder};

use super::out::Outgoing;
use super::receive::{Got, Limits, Receiver};
use super::version::Version;
use crate::wire::{IN, rtype};
use crate::zone::{Name, file_name};

/// The file of a zone.
pub(super) fn path(folder: &Path, apex: &Name) -> PathBuf {
    let name = apex.to_string().replace('/', "\\047");
    folder.join(file_name(&name, "axfr"))
}

/// Reads a copy, and when its primary was heard last; none when there is none.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub(super) fn read(path: &Path, apex: &Name) -> io::Result<Option<(Version, SystemTime)>> {
    let file = match files::open(path) {
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
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Folder::make(files::folder_of(path))?.replace(name, 0o600, |file| {
        let mut file = BufWriter::new(file);
        let mut messages = Outgoing::to_file(version);
        while let Some(message) = messages.next(0).map_err(io::Error::other)? {
            file.write_all(&(message.len() as u16).to_be_bytes())?;
            file.write_all(&message)?;
        }
        file.flush()
    })
}

/// Removes what writers that were killed have left in the folders of these copies.
pub(super) fn sweep<'a>(copies: impl Iterator<Item = &'a Path>) {
    let folders: BTreeSet<&Path> = copies.map(files::folder_of).collect();
    for folder in folders {
        // There is none before the first copy; a folder that cannot be read is told when a copy is written.
        let _ = Folder::open(folder).and_then(|folder| folder.sweep());
    }
}

/// Keeps that the primary was heard.
///
/// # Errors
/// When the file cannot be changed.
pub(super) fn touch(path: &Path, heard: SystemTime) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(heard)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::super::version::Entry;
    use super::*;

    fn version(serial: u32) -> Version {
        let apex = Name::from_text("example.test").expect("a name");
        let entry = |rtype, data: Vec<u8>| Entry {
            owner: apex.clone(),
            rtype,
            ttl: 60,
            data: data.into(),
        };
        let numbers = [serial, 1, 2, 3, 4].map(u32::to_be_bytes).concat();
        let soa = entry(rtype::SOA, [vec![0, 0], numbers].concat());
        let ns = entry(rtype::NS, b"\x01a\x07example\x04test\x00".to_vec());
        Version::new(soa, vec![ns])
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn copies_are_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let apex = Name::from_text("example.test").unwrap();
        let file = path(&folder.path().join("copies"), &apex);
        write(&file, &version(7)).unwrap();
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        assert_eq!(mode(&file), 0o600);
        let (kept, _) = read(&file, &apex).unwrap().unwrap();
        assert_eq!(kept.serial(), 7);
    }

    #[test]
    fn a_zone_with_the_longest_name_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let label = "x".repeat(61);
        let longest = format!("{label}.{label}.{label}.{label}");
        let apex = Name::from_text(&longest.replace('x', "\\200")).unwrap();
        let soa = Entry {
            owner: apex.clone(),
            ..version(7).soa
        };
        let file = path(folder.path(), &apex);
        write(&file, &Version::new(soa, Vec::new())).unwrap();
        assert_eq!(read(&file, &apex).unwrap().unwrap().0.serial(), 7);
    }

    #[test]
    fn a_predecessor_that_still_writes_does_not_harm_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let apex = Name::from_text("example.test").unwrap();
        let file = path(folder.path(), &apex);
        let writers = [1, 2, 3, 4].map(|first| {
            let file = file.clone();
            std::thread::spawn(move || {
                for round in 0..20 {
                    write(&file, &version(first * 100 + round)).expect("it is written");
                }
            })
        });
        while !writers.iter().all(std::thread::JoinHandle::is_finished) {
            read(&file, &apex).unwrap();
        }
        for writer in writers {
            writer.join().unwrap();
        }
        let (kept, _) = read(&file, &apex).unwrap().unwrap();
        assert_eq!(kept.serial() % 100, 19, "one of the last");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_a_killed_writer_has_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".tidegate.new.0123456789abcdef");
        let yesterday = SystemTime::now() - Duration::from_secs(86_400);
        File::create(&left)
            .unwrap()
            .set_modified(yesterday)
            .unwrap();
        sweep([folder.path().join("a.axfr")].iter().map(|path| &**path));
        assert!(!left.exists());
    }
}
