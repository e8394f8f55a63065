//! Why the gateway cannot start.

use chassis::config::Report;
use chassis::net::handover::HandoverError;

/// Why the role cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Config(#[from] Report),
    #[error("the admin listener cannot listen on {0}: {1}")]
    Admin(std::net::SocketAddr, std::io::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no hand-over: {0}")]
    Handover(#[from] HandoverError),
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    /// For a log, and for the process whose place this one did not take.
    pub(crate) fn in_a_line(&self) -> String {
        match self {
            Self::Config(report) => report.lines().collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        }
    }
}
