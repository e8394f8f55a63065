//! A client's connection: what is read and written on it, each with a deadline.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora_core::protocols::Digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use crate::deadline::{Broken, Deadline};
use crate::refusal::Refusal;
use crate::serve::{Connected, Owing, Transport};
use crate::state::{ListenerState, Timeouts};

/// A client's connection between and during requests.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) io: Transport,
    /// What has arrived and was not taken yet. Without room while the connection is idle.
    pub(super) arrived: BytesMut,
    /// What is to be sent with the next flush.
    pub(super) out: Vec<u8>,
    /// How much of `out` was sent already.
    sent: usize,
    pub(super) connected: Connected,
    /// True once its listener closes: the next answer says so and is the last.
    pub(super) closing: watch::Receiver<bool>,
    /// The client has sent its last byte.
    pub(super) ended: bool,
    deadline: Deadline,
}

/// Reads of heads go through one buffer a thread, so that an idle connection needs none.
const SCRATCH: usize = 16 << 10;
/// How much of a body is read at once.
const BODY_READ: usize = 32 << 10;
/// A piece up to this size is copied behind what is to be sent already; a larger one is sent from where it is.
const COPY: usize = 4 << 10;
/// What waits to be sent, at most.
const GATHER: usize = 32 << 10;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

impl Connection {
    pub(crate) fn new(io: Transport, connected: Connected, closing: watch::Receiver<bool>) -> Self {
        Self {
            io,
            arrived: BytesMut::new(),
            out: Vec::new(),
            sent: 0,
            connected,
            closing,
            ended: false,
            deadline: Deadline::default(),
        }
    }

    /// Puts bytes that were read already before all others.
    pub(crate) fn begin_with(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// Waits for bytes and adds them to what has arrived; 0 at the end. Safe to cancel.
    pub(super) async fn read(&mut self, limit: Limit) -> Result<usize, Broken> {
        let Self {
            io,
            arrived,
            deadline,
            ..
        } = self;
        let read = poll_fn(|cx| {
            SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
                arrived.extend_from_slice(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            })
        });
        let count = limit.apply(deadline, read).await?;
        self.ended |= count == 0;
        Ok(count)
    }

    /// The same for bodies, which are many bytes and are not copied.
    pub(super) async fn read_body(&mut self, due: Instant) -> Result<usize, Broken> {
        self.arrived.reserve(BODY_READ);
        let read = self.io.read_buf(&mut self.arrived);
        let count = self.deadline.until(due, read).await?;
        self.ended |= count == 0;
        Ok(count)
    }

    /// Waits until a moment, or for ever.
    pub(super) async fn wait(&mut self, due: Option<Instant>) -> Broken {
        let never = std::future::pending::<io::Result<()>>();
        match due {
            Some(due) => self.deadline.until(due, never).await.err(),
            None => never.await.err().map(Broken::Failed),
        }
        .unwrap_or(Broken::Late)
    }

    /// Takes bytes that may wait for more; sends them at once when they are many.
    pub(super) async fn gather(&mut self, bytes: &[u8], patience: Duration) -> Result<(), Broken> {
        match bytes.len() <= COPY && self.out.len() <= GATHER {
            true => self.out.extend_from_slice(bytes),
            false => self.send(bytes, patience).await?,
        }
        Ok(())
    }

    /// Sends what is gathered, and then these bytes. Each piece must be taken within `patience`.
    /// Safe to cancel when there are no bytes.
    pub(super) async fn send(&mut self, bytes: &[u8], patience: Duration) -> Result<(), Broken> {
        let mut bytes = bytes;
        if bytes.len() <= COPY {
            self.out.extend_from_slice(bytes);
            bytes = &[];
        }
        while self.sent < self.out.len() || !bytes.is_empty() {
            let gathered = &self.out[self.sent..];
            let write = write_some(&mut self.io, gathered, bytes);
            let count = self.deadline.within(patience, write).await?;
            let of_gathered = count.min(gathered.len());
            self.sent += of_gathered;
            bytes = &bytes[count - of_gathered..];
        }
        self.out.clear();
        self.sent = 0;
        match self.io.is_plain() {
            true => Ok(()),
            false => self.deadline.within(patience, self.io.flush()).await,
        }
    }

    /// Gives back the room that an idle connection does not need.
    pub(super) fn release_room(&mut self) {
        if self.arrived.is_empty() {
            self.arrived = BytesMut::new();
        }
        self.out = Vec::new();
    }

    /// The listener, as it was when the connection came.
    pub(super) fn listener(&self) -> &ListenerState {
        &self.connected.listener
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.connected.listener.timeouts
    }

    /// What Pingora wants to know of a connection.
    pub(super) fn digest(&self) -> Digest {
        Digest {
            socket_digest: Some(self.io.socket_digest(&self.connected)),
            proxy_digest: self.connected.clone().into_digest(),
            ..Digest::default()
        }
    }

    /// Counts a refusal and tells the log.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let client = self.connected.client.address;
        self.listener().refusals.count(refusal, client);
    }

    /// Ends the connection after the last answer to a client that is to send no more (RFC 9112, section 9.6).
    pub(super) async fn end(self: Box<Self>, owing: &Owing) {
        // With nothing unread, the kernel ends the connection without a reset.
        if !self.arrived.is_empty() || !self.io.is_plain_and_silent() {
            Box::pin(self.linger(owing)).await;
        }
    }

    /// Ends a connection between two requests.
    pub(super) async fn close(mut self) {
        if !self.io.is_plain() {
            let patience = self.timeouts().linger;
            let _ = tokio::time::timeout(patience, self.io.shutdown()).await;
        }
    }
}

/// How long something may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    None,
    Within(Duration),
    Until(Instant),
}

impl Limit {
    async fn apply<T>(
        self,
        deadline: &mut Deadline,
        outcome: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Broken> {
        match self {
            Self::None => outcome.await.map_err(Broken::Failed),
            Self::Within(patience) => deadline.within(patience, outcome).await,
            Self::Until(due) => deadline.until(due, outcome).await,
        }
    }
}

async fn write_some(io: &mut Transport, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let count = poll_fn(|cx| {
        let io = Pin::new(&mut *io);
        match (first, second) {
            (first, []) => io.poll_write(cx, first),
            ([], second) => io.poll_write(cx, second),
            (first, second) => {
                io.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)])
            }
        }
    });
    match count.await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}
