//! Why a role cannot start.

use crate::config::Report;
use crate::net::handover::HandoverError;

/// Why a role that listens cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Report),
    /// Somebody else has the address, or it is not this machine's.
    #[error("the admin listener cannot listen on {0}: {1}")]
    Admin(std::net::SocketAddr, std::io::Error),
    /// Another process's place was not taken.
    #[error("no hand-over: {0}")]
    Handover(#[from] HandoverError),
    /// A fault of the program.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The machine refuses something.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl StartError {
    /// For a log, and for the process whose place this one did not take.
    pub fn in_a_line(&self) -> String {
        match self {
            Self::Config(report) => report.lines().collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        }
    }
}
