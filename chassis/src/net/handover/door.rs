//! The predecessor's side: a door where successors knock.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;

use super::message::{BATCH, Described, FromPredecessor, FromSuccessor, VERSION};
use super::wire::Wire;
use super::{Handover, HandoverError, Kept, LONGEST, PROMPTLY};
use crate::config::Diagnostic;
use crate::net::{Address, FileMode, socket_file};

/// Where this process waits for a successor; closed at first.
#[derive(Debug)]
pub struct Door(watch::Sender<Option<Arc<Opened>>>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    listener: UnixListener,
    file: socket_file::SocketFile,
}

/// A process that wants to take this one's place.
#[derive(Debug)]
pub struct Candidate(Wire);

/// A successor that has all it needs, and accepts once it is told to.
#[derive(Debug)]
pub struct ReadySuccessor {
    wire: Wire,
    /// Its process id.
    pub pid: u32,
}

/// A listening socket for the successor.
#[derive(Debug)]
pub struct Offered<'a> {
    /// Its listener's name.
    pub name: &'a str,
    /// What it is bound to.
    pub address: &'a Address,
    /// Whether its file goes when it goes.
    pub removable: bool,
    /// The socket.
    pub socket: BorrowedFd<'a>,
}

impl Default for Door {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Door {
    /// Waits at this path from now on.
    ///
    /// # Errors
    /// When another process waits there, or the path cannot be used. Then nothing changes.
    pub fn open(&self, path: &Path) -> io::Result<()> {
        let current = self.0.borrow().clone();
        if current.is_some_and(|opened| opened.path == path) {
            return Ok(());
        }
        let socket = socket_file::bind(path, Some(FileMode::OWNER))?;
        socket.listen(BACKLOG)?;
        let opened = Opened::new(path, socket)?;
        self.close();
        self.0.send_replace(Some(Arc::new(opened)));
        Ok(())
    }

    /// Waits where the configuration says, or nowhere.
    ///
    /// # Errors
    /// When it cannot wait there; then nothing changes.
    pub fn follow(&self, handover: Option<&Handover>) -> Result<(), Diagnostic> {
        let Some(handover) = handover else {
            self.close();
            return Ok(());
        };
        self.open(&handover.door).map_err(|error| {
            let door = handover.door.display();
            let what = format!("cannot wait for a successor at {door}: {error}");
            Diagnostic::new(handover.place, what)
        })
    }

    /// Waits where the predecessor did, once this process serves in its place; what goes wrong is told.
    pub fn inherit(&self, handover: Option<&Handover>) {
        if let Some(Handover { door, .. }) = handover
            && let Err(error) = self.open_in_place(door)
        {
            tracing::error!(%error, path = %door.display(), "the next hand-over is not possible");
        }
    }

    /// Waits at the path where the predecessor did.
    ///
    /// # Errors
    /// When the path cannot be used.
    pub fn open_in_place(&self, path: &Path) -> io::Result<()> {
        let socket = socket_file::bind_over(path, FileMode::OWNER, BACKLOG)?;
        self.0
            .send_replace(Some(Arc::new(Opened::new(path, socket)?)));
        Ok(())
    }

    /// Waits no longer, and removes the file.
    pub fn close(&self) {
        if let Some(opened) = self.0.send_replace(None) {
            opened.file.remove();
        }
    }

    /// Waits no longer; the file is the successor's.
    pub fn leave(&self) {
        self.0.send_replace(None);
    }

    /// Lets candidates in, one at a time, for ever.
    pub async fn serve(&self, mut hand_over: impl AsyncFnMut(Candidate)) {
        loop {
            let candidate = self.next().await;
            let mut work = pin!(hand_over(candidate));
            loop {
                tokio::select! {
                    biased;
                    () = &mut work => break,
                    other = self.next() => {
                        tokio::spawn(other.refuse("another hand-over is under way"));
                    }
                }
            }
        }
    }

    async fn next(&self) -> Candidate {
        let mut doors = self.0.subscribe();
        loop {
            let opened = doors.borrow_and_update().clone();
            let accept = async {
                match &opened {
                    Some(opened) => opened.listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let accepted = tokio::select! {
                accepted = accept => accepted,
                _ = doors.changed() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    let wire = Wire::giving(stream);
                    match wire.judge_peer() {
                        Ok(()) => return Candidate(wire),
                        Err(error) => tracing::warn!(%error, "a hand-over was refused"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a successor");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Opened {
    fn new(path: &Path, socket: socket2::Socket) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            listener: UnixListener::from_std(socket.into())?,
            file: socket_file::SocketFile::at(path)?,
        })
    }
}

impl Candidate {
    /// Sends it away.
    pub async fn refuse(self, why: &str) {
        let refused = FromPredecessor::Refused { why: why.into() };
        let _ = self.0.send(&refused, &[], PROMPTLY).await;
    }

    /// Gives it the sockets and what was kept, and waits until it is ready.
    ///
    /// # Errors
    /// When it fails, goes away, or takes too long.
    pub async fn offer(
        mut self,
        sockets: &[Offered<'_>],
        kept: Kept,
    ) -> Result<ReadySuccessor, HandoverError> {
        let hello = self.0.receive(PROMPTLY).await?;
        let FromSuccessor::Hello {
            version,
            pid,
            within_ms,
        } = hello
        else {
            return Err(unexpected());
        };
        if version != VERSION {
            let why = format!(
                "it speaks version {version} of the hand-over, and this process version {VERSION}: stop this one and start it"
            );
            self.refuse(&why).await;
            return Err(HandoverError::Failed(why));
        }
        for batch in sockets.chunks(BATCH) {
            self.send_batch(batch).await?;
        }
        let pid_here = std::process::id();
        let end = FromPredecessor::End {
            pid: pid_here,
            kept,
        };
        self.0.send(&end, &[], PROMPTLY).await?;
        let within = Duration::from_millis(within_ms).min(LONGEST);
        match self.0.receive(within).await? {
            FromSuccessor::Ready => Ok(ReadySuccessor {
                pid: self.0.peer().unwrap_or(pid),
                wire: self.0,
            }),
            FromSuccessor::Failed { why } => Err(HandoverError::Failed(why)),
            FromSuccessor::Hello { .. } => Err(unexpected()),
        }
    }

    async fn send_batch(&self, batch: &[Offered<'_>]) -> Result<(), HandoverError> {
        let described = batch.iter().map(|offered| Described {
            name: offered.name.to_owned(),
            address: offered.address.clone(),
            removable: offered.removable,
        });
        let sockets = FromPredecessor::Sockets {
            sockets: described.collect(),
        };
        let descriptors: Vec<_> = batch.iter().map(|offered| offered.socket).collect();
        self.0.send(&sockets, &descriptors, PROMPTLY).await
    }
}

impl ReadySuccessor {
    /// Tells it to accept: this process no longer does.
    ///
    /// # Errors
    /// When it has gone meanwhile; then this process has to serve on.
    pub async fn confirm(self) -> Result<(), HandoverError> {
        self.wire
            .send(&FromPredecessor::Draining, &[], PROMPTLY)
            .await
    }
}

fn unexpected() -> HandoverError {
    io::Error::new(io::ErrorKind::InvalidData, "an unexpected message").into()
}

/// Candidates that may wait at the door.
const BACKLOG: i32 = 16;
