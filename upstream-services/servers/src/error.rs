//! Why a server does not run.

use std::path::{Path, PathBuf};

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not installed.
    #[error("{program} is not installed; on Debian: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The program cannot be started.
    #[error("{program}: {source}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The program has ended, or does not answer.
    #[error("{program} {what}; its log {} says:\n{tail}", log.display())]
    Failed {
        /// The program.
        program: &'static str,
        /// What it did.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
}

impl Error {
    /// Makes an error of one with this file or folder.
    pub(crate) fn file(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            path: path.clone(),
            source,
        }
    }
}
