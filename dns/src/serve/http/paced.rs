//! Notes what hyper does not tell: whether a client takes what it is sent, and when it asked last.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::serve::leave::LINGER;

/// A stream whose writes are watched.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    /// Until when what still comes is read and dropped, once our direction has ended.
    lingers: Option<Pin<Box<Sleep>>>,
}

/// What is known of a connection. Times are milliseconds after its start, and one more.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    /// Since when the client takes nothing; 0 when it does.
    blocked: AtomicU64,
    /// When the last request began or ended.
    last: AtomicU64,
    /// Requests under way.
    busy: AtomicU32,
    /// Requests so far.
    asked: AtomicU32,
    /// Whether the connection is to end soon.
    leaving: AtomicBool,
}

/// A request under way; it is while this lives.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Pace>);

impl<S> Paced<S> {
    /// Watches a stream.
    pub(super) fn new(stream: S) -> (Self, Arc<Pace>) {
        let pace = Arc::new(Pace {
            start: Instant::now(),
            blocked: AtomicU64::new(0),
            last: AtomicU64::new(1),
            busy: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
        });
        let paced = Self {
            stream,
            pace: pace.clone(),
            lingers: None,
        };
        (paced, pace)
    }
}

impl Pace {
    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.busy.fetch_add(1, Relaxed);
        self.asked.fetch_add(1, Relaxed);
        self.last.store(self.now(), Relaxed);
        UnderWay(self.clone())
    }

    /// The connection is to end soon.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// How many requests there were.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }

    /// How long nothing was asked for.
    pub(super) fn idle(&self) -> Duration {
        match self.busy.load(Relaxed) {
            0 => self.since(self.last.load(Relaxed)),
            _ => Duration::ZERO,
        }
    }

    /// How long the client has taken nothing of what waits for it.
    pub(super) fn blocked(&self) -> Duration {
        match self.blocked.load(Relaxed) {
            0 => Duration::ZERO,
            moment => self.since(moment),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn since(&self, moment: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment))
    }

    fn note<T>(&self, polled: &Poll<T>) {
        match (polled.is_pending(), self.blocked.load(Relaxed)) {
            (true, 0) => self.blocked.store(self.now(), Relaxed),
            (false, 1..) => self.blocked.store(0, Relaxed),
            _ => {}
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.last.store(self.0.now(), Relaxed);
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.pace.note(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.pace.note(&polled);
        polled
    }

    /// As `take_leave` does it; hyper asks for it once and then drops the stream.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let mut dropped = [0; 4096];
        let lingers = this
            .lingers
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        while lingers.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut dropped);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
