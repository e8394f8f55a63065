use std::io;
use std::path::PathBuf;

/// Why packets are not forwarded as they should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrError {
    /// A folder that is no part of a BPF file system, and where none can be.
    #[error("{folder} is not in a BPF file system, and none can be mounted there: {error}")]
    Mount {
        /// The folder for the program.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A folder that another process has.
    #[error("{0} is another process's: two instances need [dr] pins of their own")]
    Taken(PathBuf),
    /// A folder that cannot be used.
    #[error("{folder}: {error}")]
    Folder {
        /// The folder for the program.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel does not take the program.
    #[error("the kernel does not take the program for direct return: {0}")]
    Load(String),
    /// The kernel does not attach the program.
    #[error("the program cannot be attached to {interface} ({attach}): {error}")]
    Attach {
        /// The interface, as configured.
        interface: String,
        /// The kind, as configured.
        attach: &'static str,
        /// What the kernel says.
        error: String,
    },
    /// An interface that there is not.
    #[error("there is no network interface {0}")]
    Interface(String),
    /// A map that cannot be read or written.
    #[error("a map of the program for direct return: {0}")]
    Map(#[from] aya::maps::MapError),
    /// The maps have no room for what is configured.
    #[error("{0}")]
    Full(String),
    /// What the kernel knows about the network cannot be read.
    #[error("the kernel's network tables: {0}")]
    Network(String),
}
