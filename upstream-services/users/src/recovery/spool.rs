//! Messages for a program that sends them: a JSON file each, in a directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Message;

/// A directory of messages.
#[derive(Clone, Debug)]
pub(super) struct Spool(PathBuf);

impl Spool {
    /// Makes the directory if it is missing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self(dir.to_owned()))
    }

    /// Whether there is room for another message; an error where there is none. Blocks.
    pub(super) fn room(&self) -> io::Result<()> {
        match fs::read_dir(&self.0)?.count() < MOST {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{MOST} messages wait: does anything send them?"
            ))),
        }
    }

    /// Adds a message. It appears complete or not at all, and outlives a power loss. Blocks.
    pub(super) fn put(&self, message: &Message) -> io::Result<()> {
        self.room()?;
        let Self(dir) = self;
        let name = uuid::Uuid::now_v7();
        let unfinished = dir.join(format!("{name}.tmp"));
        let mut open = OpenOptions::new();
        let mut file = open
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)?;
        let written = serde_json::to_writer(&file, message)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, dir.join(format!("{name}.json"))));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished); // what went wrong before says more
        }
        written?;
        File::open(dir)?.sync_all()
    }
}

/// So many messages may wait.
const MOST: usize = 10_000;
