//! Files that the running process writes: their folders must be there, and are not made by whoever only checks.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use super::{Diagnostic, Located, Sources};
use crate::files::folder_of;

/// Where a configuration has the process write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written<'a> {
    /// A log.
    pub log: Option<&'a Located<PathBuf>>,
    /// What is set at the admin API.
    pub state: Option<&'a Located<PathBuf>>,
    /// The socket where a successor knocks.
    pub door: Option<&'a Located<PathBuf>>,
}

impl Written<'_> {
    /// Finds files that could not be made where they are to be.
    pub fn judge(self, sources: &Sources, mistakes: &mut Vec<Diagnostic>) {
        let Self { log, state, door } = self;
        for written in [log, state, door].into_iter().flatten() {
            mistakes.extend(in_folder(written, sources).err());
        }
        let kind = |written: &Located<PathBuf>| {
            let found = fs::symlink_metadata(sources.resolve(written, written.place()));
            found.map(|found| found.file_type()).ok()
        };
        if let Some(log) = log.filter(|log| kind(log).is_some_and(|kind| kind.is_dir())) {
            mistakes.push(log.wrong("this is a folder"));
        }
        if let Some(door) = door.filter(|door| kind(door).is_some_and(|kind| !kind.is_socket())) {
            mistakes.push(door.wrong("there is a file of another kind at this path"));
        }
    }
}

/// Judges the folder that a file is to be in.
fn in_folder(written: &Located<PathBuf>, sources: &Sources) -> Result<(), Diagnostic> {
    let path = sources.resolve(written, written.place());
    let folder = folder_of(&path);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(written.wrong(format!("{} is not a folder", folder.display()))),
        Err(error) => {
            let what = format!("the folder {} cannot be used: {error}", folder.display());
            Err(written.wrong(what).help("make it, for the server's user"))
        }
    }
}
