//! Stands between the socket and the crate h2, and watches what it does not: frames that
//! come too often, and a client that takes nothing of what it is sent.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::{Excess, Meter};
use crate::serve::reset_on_close;

/// A stream whose frames are counted. After an excess nothing more is read.
#[derive(Debug)]
pub(super) struct Guarded {
    inner: Stream,
    meter: Meter,
    watch: Arc<Watch>,
}

/// What the guard has seen, for the accept loop of the same connection.
#[derive(Debug)]
pub(super) struct Watch {
    start: Instant,
    /// One more than the place in [`Excess::ALL`]; 0 for none.
    excess: AtomicU8,
    /// Since when the client takes nothing, in milliseconds after the start and one more; 0 when it does.
    blocked: AtomicU64,
    /// Which limit made h2 end the connection.
    goodbye: OnceLock<&'static str>,
}

impl Guarded {
    /// Watches a stream whose client may reset so many requests.
    pub(super) fn new(inner: Stream, resets: u32) -> (Self, Arc<Watch>) {
        let start = Instant::now();
        let watch = Arc::new(Watch {
            start,
            excess: AtomicU8::new(0),
            blocked: AtomicU64::new(0),
            goodbye: OnceLock::new(),
        });
        let guarded = Self {
            inner,
            meter: Meter::new(resets, start),
            watch: watch.clone(),
        };
        (guarded, watch)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The client takes nothing: what waits for it is not to outlive the connection.
        if !self.watch.blocked().is_zero() {
            reset_on_close(&self.inner);
        }
    }
}

impl Watch {
    /// What the client did too often, if anything.
    pub(super) fn excess(&self) -> Option<Excess> {
        let place = usize::from(self.excess.load(Relaxed)).checked_sub(1)?;
        Excess::ALL.get(place).copied()
    }

    /// Which limit made h2 end the connection, if one did.
    pub(super) fn goodbye(&self) -> Option<&'static str> {
        self.goodbye.get().copied()
    }

    /// How long the client has taken nothing of what waits for it.
    pub(super) fn blocked(&self) -> Duration {
        match self.blocked.load(Relaxed) {
            0 => Duration::ZERO,
            since => self
                .start
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }

    fn hear(&self, excess: Option<Excess>) {
        if let Some(excess) = excess {
            self.excess.store(excess as u8 + 1, Relaxed);
        }
    }

    /// What is below may gather, so that a write which goes through is no proof of a client that
    /// takes something; but what it gathers is little, and then it is blocked.
    fn writes(&self, blocked: bool) {
        let known = self.blocked.load(Relaxed) > 0;
        if blocked && !known {
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.blocked.store(now + 1, Relaxed);
        } else if !blocked && known {
            self.blocked.store(0, Relaxed);
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.excess().is_some() {
            // The accept loop looks after every poll, so nobody needs to be woken.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            this.watch.hear(this.meter.received(read, Instant::now()));
        }
        polled
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.watch.writes(polled.is_pending());
        if let Poll::Ready(Ok(count)) = polled {
            this.watch.hear(this.meter.sent(&buf[..count]));
            if let Some(reason) = this.meter.goodbye() {
                let _ = this.watch.goodbye.set(reason);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch.writes(polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl Peek for Guarded {}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

// The digests of a connection are read before it is guarded.
impl Ssl for Guarded {}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}
