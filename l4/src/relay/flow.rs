//! One direction of a relay.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::coop::has_budget_remaining;

use super::pipe::Pipe;

/// So much is copied at a time, in octets.
const CHUNK: usize = 64 * 1024;
/// After so many chunks in a row that were full, the kernel moves the bytes; where it has done so before, after one.
const FULL_CHUNKS: u8 = 4;

thread_local! {
    /// What was read, until it is written or kept: at once.
    pub(super) static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// Whose connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    From,
    To,
}

/// Bytes on their way from one connection to another. A flow that waits for bytes holds no buffer.
pub(super) struct Flow<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    /// What was read and not taken.
    rest: Vec<u8>,
    written: usize,
    /// How many chunks in a row were full.
    full: u8,
    /// How many of them are enough.
    enough: u8,
    pipe: Option<Pipe>,
    stage: Stage,
    moved: &'a Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Moving,
    /// Nothing more comes; what is there is to be delivered, and then the end.
    Ending,
    Ended,
}

impl<'a> Flow<'a> {
    /// A flow that begins with `early`.
    pub(super) fn new(
        from: ReadHalf<'a>,
        to: WriteHalf<'a>,
        early: Vec<u8>,
        moved: &'a Cell<u64>,
    ) -> Self {
        Self {
            from,
            to,
            rest: early,
            written: 0,
            full: 0,
            enough: FULL_CHUNKS,
            pipe: None,
            stage: Stage::Moving,
            moved,
        }
    }

    /// Whether the end has come and was passed on.
    pub(super) fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Where the bytes go.
    pub(super) fn to(&self) -> &TcpStream {
        self.to.as_ref()
    }

    /// Whether it has bytes that nobody has got.
    pub(super) fn holds(&self) -> bool {
        let piped = self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0);
        self.written < self.rest.len() || piped
    }

    /// Moves what can be moved; ready at the end. When the other flow between these connections has ended before, the end
    /// is left to whoever closes them.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        other_ended: bool,
    ) -> Poll<Result<(), Break>> {
        loop {
            if self.stage == Stage::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.deliver(context)).map_err(|_| Break::To)?;
            if self.stage == Stage::Ending {
                if !other_ended {
                    ready!(Pin::new(&mut self.to).poll_shutdown(context)).map_err(|_| Break::To)?;
                }
                self.stage = Stage::Ended;
                continue;
            }
            match self.pipe {
                Some(_) => ready!(self.fill(context))?,
                None => ready!(self.copy(context))?,
            }
        }
    }

    /// Writes what is left of a chunk, or what is in the pipe.
    fn deliver(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            let rest = &self.rest[self.written..];
            let count = ready!(Pin::new(&mut self.to).poll_write(context, rest))?;
            self.written += count;
            self.count(count);
        }
        if !self.rest.is_empty() {
            self.rest = Vec::new();
            self.written = 0;
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let to = self.to.as_ref();
            ready!(to.poll_write_ready(context))?;
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.count(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Copies what has arrived.
    fn copy(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Break>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut chunk = ReadBuf::new(scratch);
            let read = Pin::new(&mut self.from).poll_read(context, &mut chunk);
            if read.is_pending() && has_budget_remaining() {
                // A burst ends where a wait begins; what is but the turn of others does not end it.
                self.full = 0;
            }
            ready!(read).map_err(|_| Break::From)?;
            let chunk = chunk.filled();
            if chunk.is_empty() {
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            self.full = if chunk.len() == CHUNK {
                self.full + 1
            } else {
                0
            };
            if self.full >= self.enough {
                self.full = 0;
                self.enough = 1;
                // Without one it is copied on.
                self.pipe = Pipe::take().ok();
            }
            match Pin::new(&mut self.to).poll_write(context, chunk) {
                Poll::Ready(Ok(count)) => {
                    self.count(count);
                    self.rest.extend_from_slice(&chunk[count..]);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Break::To)),
                Poll::Pending => self.rest.extend_from_slice(chunk),
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Fills the pipe; gives it back when nothing is there that the kernel can move.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Break>> {
        let from = self.from.as_ref();
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        let ready = from.poll_read_ready(context).map_err(|_| Break::From)?;
        let filled = match ready {
            Poll::Ready(()) => pipe.fill(from),
            // Who waits may wait for long, and a pipe is much memory. After a turn of others it goes on.
            Poll::Pending if has_budget_remaining() => Ok(0),
            Poll::Pending => return Poll::Pending,
        };
        match filled {
            Ok(1..) => return Poll::Ready(Ok(())),
            // Before an urgent octet that is how the kernel answers too, and then there is more: reading tells.
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(Err(Break::From)),
        }
        if let Some(pipe) = self.pipe.take() {
            pipe.give_back();
        }
        Poll::Ready(Ok(()))
    }

    fn count(&self, octets: usize) {
        self.moved.set(self.moved.get() + octets as u64);
    }
}
