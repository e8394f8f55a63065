//! What the two sides say to each other: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::Kept;
use crate::net::Address;

/// The protocol of this build. A change that the other side would misunderstand needs another.
pub(super) const VERSION: u32 = 1;

/// How many descriptors go with one message; the kernel takes at most 253 (unix(7)).
pub(super) const BATCH: usize = 64;

/// What a successor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromSuccessor {
    /// First of all.
    Hello {
        version: u32,
        pid: u32,
        /// It wants to be ready within so many milliseconds.
        within_ms: u64,
    },
    /// It has all that it needs and waits for `draining`.
    Ready,
    /// It gives up.
    Failed { why: String },
}

/// What a predecessor says. It may hold secrets: it is not to be printed.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromPredecessor {
    /// The message brings one descriptor for each of these.
    Sockets { sockets: Vec<Described> },
    /// These were all.
    End {
        pid: u32,
        /// What it has made up itself and its successor goes on with, by name. A successor that does not know a name passes
        /// it over.
        #[serde(default, skip_serializing_if = "Kept::is_empty")]
        kept: Kept,
    },
    /// There will be no hand-over.
    Refused { why: String },
    /// It accepts nothing from now on.
    Draining,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Described {
    /// The listener's name.
    pub(super) name: String,
    /// What it is bound to.
    pub(super) address: Address,
    /// Whether its file goes when it goes.
    pub(super) removable: bool,
}
