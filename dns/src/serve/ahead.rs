//! A connection of which the beginning was read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream that gives back what was read of it too early.
#[derive(Debug)]
pub(super) struct Ahead<S> {
    ahead: Vec<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Ahead<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            ahead: Vec::new(),
            stream,
        }
    }

    /// What was read and not taken yet.
    pub(super) fn seen(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes so many octets of what was read.
    pub(super) fn take(&mut self, octets: usize) {
        self.ahead.drain(..octets.min(self.ahead.len()));
    }

    /// Reads so many octets more, and no more; false when the stream ends before.
    pub(super) async fn see(&mut self, octets: usize) -> io::Result<bool> {
        let wanted = self.ahead.len() + octets;
        let mut more = (&mut self.stream).take(octets as u64);
        while self.ahead.len() < wanted {
            if more.read_buf(&mut self.ahead).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let octets = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..octets]);
        self.ahead.drain(..octets);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
