//! Hand-over: a new process takes the listening sockets of the one that serves.
//!
//! ```text
//! successor                               predecessor
//!   | -- connect to the door ------------> |   mode 0600, same user or root
//!   | -- hello {version, within} --------> |
//!   | <-- sockets, 64 at most, ... end --- |   or `refused {why}`
//!   |  compiles, claims, binds             |   serves on
//!   | -- ready --------------------------> |   or `failed {why}`, or gone: serves on
//!   | <------------------------ draining - |   stops accepting
//!   |  accepts; opens its own door         |   finishes what it has
//! ```
//!
//! The sockets are the same in both processes, so a connection that comes in between waits in
//! their queues. The successor accepts nothing before `draining`: should it die until then, no
//! client has noticed.

mod door;
mod message;
mod successor;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Diagnostic, Located, Place, Sources};
use crate::net::validate_socket_path;
use crate::units::Period;

pub use self::door::{Candidate, Door, Offered, ReadySuccessor};
pub use self::successor::TakeOver;

/// What a process has made up itself, such as a secret, and its successor goes on with; by name.
pub type Kept = BTreeMap<String, String>;

/// How a newer process can take this one's place.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandoverConfig {
    /// Path of a Unix socket where this process waits for a successor, for its own user and root
    /// alone. `tidegate handover` connects to it.
    pub socket: Located<PathBuf>,
    /// How long connections may go on in the predecessor, such as downloads and WebSockets. Then they are cut. An L4
    /// balancer closes its own spread evenly over that time, after a first tenth.
    #[serde(default = "default_drain")]
    pub drain: Period,
}

/// Where a successor can take this process's place: a [`HandoverConfig`] that was judged.
#[derive(Clone, Debug)]
pub struct Handover {
    /// The path where it knocks.
    pub door: PathBuf,
    /// Where that is written.
    pub place: Place,
    /// How long connections may go on after it.
    pub drain: Duration,
}

impl Handover {
    /// Judges a configuration.
    ///
    /// # Errors
    /// When its path cannot be one of a socket.
    pub fn compile(config: &HandoverConfig, sources: &Sources) -> Result<Self, Diagnostic> {
        let place = config.socket.place();
        let door = sources.resolve(&config.socket, place);
        let door = std::path::absolute(&door).unwrap_or(door);
        validate_socket_path(&door).map_err(|why| config.socket.wrong(why))?;
        Ok(Self {
            door,
            place,
            drain: *config.drain,
        })
    }
}

/// Why a hand-over came to nothing. The predecessor serves on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// There is no process to take the place of.
    #[error("nobody listens at {path} ({source})")]
    Nobody {
        /// The door's path.
        path: PathBuf,
        /// What connecting to it said.
        source: std::io::Error,
    },
    /// The predecessor does not let this process take its place.
    #[error("the running process refuses: {0}")]
    Refused(String),
    /// The successor could not take its place.
    #[error("{0}")]
    Failed(String),
    /// The other side runs for another user.
    #[error("the other process runs for user {0}, which is neither ours nor root")]
    Stranger(u32),
    /// It did not end in time.
    #[error("it took longer than {0:?}")]
    TooLate(Duration),
    /// The other side is gone, or does not speak as it should.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
}

/// How long a successor may take until it is ready, unless it asks for another time.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a successor may ask for at most.
const LONGEST: Duration = Duration::from_secs(600);

/// How long the other side may take for a message that it does not have to work for.
const PROMPTLY: Duration = Duration::from_secs(5);

const fn default_drain() -> Period {
    Period::from_secs(600)
}
