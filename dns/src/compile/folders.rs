//! Files that the running server writes: their folders must be there, and are not made by whoever only checks.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use chassis::config::{Diagnostic, Located, Sources};
use chassis::files::folder_of;

use crate::config::Config;

/// Finds files that could not be made where they are to be.
pub(super) fn judge(config: &Config, sources: &Sources, mistakes: &mut Vec<Diagnostic>) {
    let log = config.query_log.as_ref().and_then(|log| log.file.as_ref());
    let door = config.handover.as_ref().map(|handover| &handover.socket);
    let all = [log, config.health.state.as_ref(), door];
    for written in all.into_iter().flatten() {
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
