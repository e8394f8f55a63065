//! The files that a configuration was read from, and places in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where something was written: a byte range in one of the [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the file plus one; 0 stands for "nowhere" (a default value).
    file: u16,
    start: u32,
    end: u32,
}

impl Place {
    pub(super) const NOWHERE: Self = Self {
        file: 0,
        start: 0,
        end: 0,
    };

    /// A byte range of the file with this number.
    pub fn new(file: usize, span: std::ops::Range<usize>) -> Self {
        Self {
            file: u16::try_from(file + 1).unwrap_or(0),
            start: u32::try_from(span.start).unwrap_or(0),
            end: u32::try_from(span.end).unwrap_or(0),
        }
    }

    /// The index of the file, or none for a value that was not written anywhere.
    pub(super) fn file(self) -> Option<usize> {
        usize::from(self.file).checked_sub(1)
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }
}

/// One configuration file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
}

/// Every file of one configuration, in the order of reading.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub(super) files: Vec<Source>,
    pub(super) folders: Vec<PathBuf>,
    /// Files that values were read from.
    pub(super) values: Vec<PathBuf>,
}

impl Sources {
    /// Adds a file that is to be watched and that diagnostics may point into; its number, for [`Place::new`].
    pub fn add(&mut self, path: PathBuf, text: &str) -> usize {
        self.files.push(Source {
            path,
            text: text.into(),
        });
        self.files.len() - 1
    }

    /// A path as written at `place`: relative paths start at the folder of the file that names them.
    pub fn resolve(&self, path: &Path, place: Place) -> PathBuf {
        let folder = place
            .file()
            .and_then(|file| self.files.get(file))
            .or(self.files.first())
            .and_then(|source| source.path.parent());
        folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    /// `file:line:column` of a place, lines and columns from 1.
    pub fn locate(&self, place: Place) -> String {
        let Some(source) = place.file().and_then(|file| self.files.get(file)) else {
            return "(default)".into();
        };
        let before = &source.text[..place.start().min(source.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}", source.path.display())
    }

    /// The files that were read.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let files = self.files.iter().map(|source| source.path.clone());
        files.chain(self.values.iter().cloned())
    }

    /// The folders that include patterns name: a new file there is a change too.
    pub fn include_folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.folders.iter().cloned()
    }
}
