//! A stream with deadlines.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Deadlines;

/// Where a connection is: it waits for a head, or (odd) a request is being answered.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicU64);

impl Phase {
    /// A request has come, or was answered.
    pub(super) fn next(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's stream. What takes too long ends it with an error.
pub(super) struct Timed {
    stream: TcpStream,
    phase: Arc<Phase>,
    deadlines: Deadlines,
    /// The phase that `begun` and `due` are of.
    seen: u64,
    /// Some of a head is here.
    begun: bool,
    /// When the head has to be here, or the connection to be used again.
    due: Option<Instant>,
    /// When some of an answer was last taken.
    used: Instant,
    /// Set to a moment that is not later than `due`, so that a request need not set it.
    timer: Pin<Box<Sleep>>,
    /// While nothing is taken of an answer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(stream: TcpStream, phase: Arc<Phase>, deadlines: Deadlines) -> Self {
        let now = Instant::now();
        let due = now + deadlines.head;
        Self {
            stream,
            phase,
            deadlines,
            seen: 0,
            begun: true,
            due: Some(due),
            used: now,
            timer: Box::pin(sleep_until(due)),
            stalled: None,
        }
    }

    /// Nothing comes: whether it has taken too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let due = *self.due.get_or_insert(self.used + self.deadlines.idle);
        loop {
            if self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// A request is being answered, and nothing has to come. hyper need not look again when it is: the timer brings it back.
    fn keep_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let later = Instant::now() + self.deadlines.idle;
            self.timer.as_mut().reset(later);
        }
    }

    /// After a write: the time between two requests begins when the last of an answer was taken. hyper looks for what comes
    /// next all the while, and the phase has changed since the answer's head.
    fn wrote(&mut self, cx: &mut Context<'_>, polled: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(_)) = &polled {
            self.used = Instant::now();
            let patience = match self.begun {
                true => self.deadlines.head,
                false => self.deadlines.idle,
            };
            // Not the timer: it is set anew when it is found to be too early.
            self.due = self.due.map(|_| self.used + patience);
        }
        self.written(cx, polled)
    }

    /// Whether an answer that is not taken has waited too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.deadlines.write;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let phase = self.phase.0.load(Ordering::Relaxed);
        if phase != self.seen {
            (self.seen, self.begun, self.due) = (phase, false, None);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if phase % 2 == 1 {
            // Bodies have a deadline where they are read.
            if polled.is_pending() {
                self.keep_timer(cx);
            }
            return polled;
        }
        if polled.is_pending() {
            return self.wait(cx);
        }
        if buffer.filled().len() > before && !self.begun {
            self.begun = true;
            self.due = Some(Instant::now() + self.deadlines.head);
        }
        polled
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, polled)
    }
}
