//! What can stop a run, named by whose fault it is.

use std::io;
use std::path::PathBuf;

use crate::report::Failure;

/// Why a run, or a suite of it, could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for what there is not.
    #[error("{0}")]
    Usage(String),
    /// The binary under test is not there.
    #[error("there is no {}: build it (`cargo build --release`) or say --tidegate PATH", .0.display())]
    NoTidegate(PathBuf),
    /// A proxy does not start, or does not answer as it should.
    #[error("{peer}: {what}")]
    Peer {
        /// Which one.
        peer: &'static str,
        /// What it does, with the end of its output.
        what: String,
    },
    /// The kernel or the file system refuses something.
    #[error("{what}: {source}")]
    Machine {
        /// What was wanted.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// A server that a suite needs does not run.
    #[error(transparent)]
    Server(servers::Error),
    /// All else was measured and written.
    #[error("not all was measured:{}", listed(.0))]
    Incomplete(Vec<Failure>),
    /// The load could not be driven.
    #[error("load: {0}")]
    Load(String),
}

impl Error {
    /// For `map_err`: the kernel refused this.
    pub(crate) fn machine<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Machine {
            what,
            source: error.into(),
        }
    }
}

fn listed(failures: &[Failure]) -> String {
    let line = |failure: &Failure| format!("\n  {}: {}", failure.what(), failure.reason());
    failures.iter().map(line).collect()
}
