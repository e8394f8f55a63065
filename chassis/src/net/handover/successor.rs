//! The successor's side.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;

use super::message::{FromPredecessor, FromSuccessor, VERSION};
use super::wire::Wire;
use super::{HandoverError, Kept, PROMPTLY};
use crate::net::{Inherited, InheritedSocket, Source};

/// Taking the place of another process.
pub struct TakeOver {
    wire: Wire,
    predecessor: u32,
    kept: Kept,
}

impl fmt::Debug for TakeOver {
    /// Without what was kept, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TakeOver");
        let shown = shown.field("predecessor", &self.predecessor);
        shown.finish_non_exhaustive()
    }
}

impl TakeOver {
    /// Asks the process behind the door for its sockets; this one wants to be ready `within`.
    ///
    /// # Errors
    /// When there is nobody, or it refuses.
    pub async fn begin(door: &Path, within: Duration) -> Result<(Self, Inherited), HandoverError> {
        let nobody = |source| HandoverError::Nobody {
            path: door.to_owned(),
            source,
        };
        let stream = UnixStream::connect(door).await.map_err(nobody)?;
        let mut wire = Wire::taking(stream);
        wire.judge_peer()?;
        let hello = FromSuccessor::Hello {
            version: VERSION,
            pid: std::process::id(),
            within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        // A predecessor that refuses does not wait for it.
        let _ = wire.send(&hello, &[], PROMPTLY).await;
        let mut sockets = Vec::new();
        loop {
            // It may have to finish a reload first.
            match wire.receive(within).await? {
                FromPredecessor::Sockets { sockets: described } => {
                    let descriptors = wire.take_descriptors(described.len())?;
                    for (one, socket) in described.into_iter().zip(descriptors) {
                        let (address, source) = (Some(one.address), Source::Predecessor);
                        let removable = one.removable;
                        sockets.push(InheritedSocket::new(
                            one.name, address, socket, source, removable,
                        )?);
                    }
                }
                FromPredecessor::End { pid, kept } => {
                    let this = Self {
                        kept,
                        predecessor: wire.peer().unwrap_or(pid),
                        wire,
                    };
                    return Ok((this, sockets.into_iter().collect()));
                }
                FromPredecessor::Refused { why } => return Err(HandoverError::Refused(why)),
                FromPredecessor::Draining => return Err(unexpected()),
            }
        }
    }

    /// The process whose place this one takes.
    pub fn predecessor(&self) -> u32 {
        self.predecessor
    }

    /// What the predecessor kept by this name.
    pub fn kept(&self, name: &str) -> Option<&str> {
        self.kept.get(name).map(String::as_str)
    }

    /// Says that this process can serve, and waits until the predecessor accepts no longer.
    ///
    /// A predecessor that has died accepts no longer either.
    ///
    /// # Errors
    /// When the predecessor serves on: then this process must not accept.
    pub async fn ready(mut self) -> Result<(), HandoverError> {
        match self.confirm().await {
            Err(HandoverError::Broken(_)) if is_gone(self.predecessor) => Ok(()),
            outcome => outcome,
        }
    }

    async fn confirm(&mut self) -> Result<(), HandoverError> {
        self.wire.send(&FromSuccessor::Ready, &[], PROMPTLY).await?;
        match self.wire.receive(PROMPTLY).await? {
            FromPredecessor::Draining => Ok(()),
            FromPredecessor::Refused { why } => Err(HandoverError::Refused(why)),
            _ => Err(unexpected()),
        }
    }

    /// Says why this process gives up.
    pub async fn fail(self, why: &str) {
        let failed = FromSuccessor::Failed { why: why.into() };
        let _ = self.wire.send(&failed, &[], PROMPTLY).await;
    }
}

/// Whether a process has ended, though perhaps nobody has heard of it yet.
fn is_gone(process: u32) -> bool {
    if process == 0 {
        return false; // it is in a namespace that is hidden from here
    }
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => {
            let state = stat.rsplit(") ").next().unwrap_or_default();
            state.starts_with(['Z', 'X'])
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn unexpected() -> HandoverError {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected message").into()
}
