//! A connection to an endpoint: what is written to it and what arrives.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_rustls::client::TlsStream;

use super::answer::{Answer, LIMITS, judge};
use super::buffer::Buffer;
use crate::cluster::{PeerSettings, Target};
use crate::deadline::{Broken, Deadline};
use crate::h1::head::AnswerParser;
use crate::refusal::Refusal;
use crate::serve::send_now;

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Which connections can stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    target: u64,
    /// The client that the PROXY header names.
    client: u64,
}

impl Key {
    pub(super) fn new(target: &Target, client: u64) -> Self {
        Self {
            target: target.id,
            client,
        }
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(super) struct Upstream {
    wire: Wire,
    deadline: Deadline,
    key: Key,
    read_timeout: Duration,
    write_timeout: Duration,
    /// It has carried a request before.
    pub(super) reused: bool,
    parser: AnswerParser,
}

/// Its bytes.
#[derive(Debug)]
struct Wire {
    io: Io,
    /// What is to be written: this, then `piece`, then `tail`.
    out: Vec<u8>,
    written: usize,
    piece: Bytes,
    tail: &'static [u8],
    /// TLS has taken bytes that it has not written yet.
    flushing: bool,
    /// What has arrived and was not taken yet: `buffer[start..end]`.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

/// What has happened on a connection.
#[derive(Debug)]
pub(super) enum Progress {
    /// All that was to be written was taken.
    Written,
    /// Nothing more can be written; there may be an answer nevertheless.
    Unwritable(io::Error),
    /// Bytes have arrived.
    Arrived,
    /// No more bytes will arrive.
    Ended,
}

/// A piece up to this size is copied behind what is to be written already.
const COPY: usize = 4 << 10;
/// Room for most heads.
const HEAD: usize = 512;

impl Upstream {
    pub(super) fn new(io: Io, key: Key, settings: &PeerSettings) -> Self {
        Self {
            wire: Wire {
                io,
                out: Vec::with_capacity(HEAD),
                written: 0,
                piece: Bytes::new(),
                tail: b"",
                flushing: false,
                buffer: None,
                start: 0,
                end: 0,
            },
            deadline: Deadline::default(),
            key,
            read_timeout: settings.read_timeout,
            write_timeout: settings.write_timeout,
            reused: false,
            parser: AnswerParser::default(),
        }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Whether nothing has arrived while it waited: an end, or bytes that nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        let (socket, quiet) = match &self.wire.io {
            Io::Plain(stream) => (stream, true),
            // Otherwise it has bytes that were decrypted already, or a goodbye.
            Io::Tls(stream) => (stream.get_ref().0, stream.get_ref().1.wants_read()),
        };
        // Whatever is left of the task's turn: an answer is needed now.
        let ready = pin!(unconstrained(poll_fn(|cx| socket.poll_read_ready(cx))));
        let mut nobody = Context::from_waker(Waker::noop());
        quiet && self.arrived().is_empty() && ready.poll(&mut nobody).is_pending()
    }

    /// Where to write what stands before the next piece.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.wire.out
    }

    /// Adds a piece of the body and what stands behind it. Nothing may wait but `out`.
    pub(super) fn write_piece(&mut self, piece: Bytes, tail: &'static [u8]) {
        let wire = &mut self.wire;
        debug_assert!(wire.piece.is_empty(), "one piece at a time");
        match piece.len() <= COPY {
            true => {
                wire.out.extend_from_slice(&piece);
                wire.out.extend_from_slice(tail);
            }
            false => (wire.piece, wire.tail) = (piece, tail),
        }
    }

    /// Adds what stands at the end of the body.
    pub(super) fn write_end(&mut self, end: &'static [u8]) {
        let wire = &mut self.wire;
        match (wire.piece.is_empty(), wire.tail, end) {
            (true, _, end) => wire.out.extend_from_slice(end),
            (false, b"", end) => wire.tail = end,
            (false, _, b"") => {}
            // The end of a chunk, and the end of all.
            (false, ..) => wire.tail = b"\r\n0\r\n\r\n",
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_writing(&self) -> bool {
        self.wire.is_writing()
    }

    /// What has arrived.
    pub(super) fn arrived(&self) -> &[u8] {
        self.wire.arrived()
    }

    /// So much of it was taken.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.wire.consume(bytes);
    }

    /// The head of the answer, once it is complete.
    ///
    /// # Errors
    /// When it is malformed.
    pub(super) fn head(&mut self, method: &Method) -> Result<Option<Answer>, Refusal> {
        let arrived = self.wire.arrived();
        if arrived.is_empty() {
            return Ok(None);
        }
        let Some(head) = self.parser.parse(arrived, &LIMITS)? else {
            return Ok(None);
        };
        let answer = judge(&head, method)?;
        let len = head.len;
        self.parser.restart();
        self.wire.consume(len);
        Ok(Some(answer))
    }

    /// Waits until something happens; `silent` when the upstream may say nothing for as long as it likes,
    /// because it waits for us. May be dropped before without losing anything.
    pub(super) async fn progress(&mut self, silent: bool) -> Result<Progress, Broken> {
        let patience = match self.is_writing() {
            true => self.write_timeout,
            false => self.read_timeout,
        };
        let silent = silent && !self.is_writing();
        let Self { wire, deadline, .. } = self;
        let progress = poll_fn(|cx| wire.poll_progress(cx));
        match silent {
            true => progress.await.map_err(Broken::Failed),
            false => deadline.within(patience, progress).await,
        }
    }
}

impl Wire {
    fn is_writing(&self) -> bool {
        self.has_more() || self.flushing
    }

    fn has_more(&self) -> bool {
        !self.out.is_empty() || !self.piece.is_empty() || !self.tail.is_empty()
    }

    /// Forgets what was to be written.
    fn give_up_writing(&mut self) {
        self.out.clear();
        self.written = 0;
        self.piece = Bytes::new();
        self.tail = b"";
        self.flushing = false;
    }

    fn arrived(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.start..self.end],
            None => &[],
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.buffer = None;
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        if self.is_writing() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(Progress::Written)),
                Poll::Ready(Err(error)) => {
                    self.give_up_writing();
                    return Poll::Ready(Ok(Progress::Unwritable(error)));
                }
                Poll::Pending => {}
            }
        }
        let count = ready!(self.poll_read(cx))?;
        Poll::Ready(Ok(match count {
            0 => Progress::Ended,
            _ => Progress::Arrived,
        }))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_more() {
            let out = &self.out[self.written..];
            let count = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(self.io.poll_write(cx, &[IoSlice::new(out)]))?
            } else {
                let parts = [out, &self.piece, self.tail].map(IoSlice::new);
                ready!(self.io.poll_write(cx, &parts))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.note_written(count);
            self.flushing = matches!(self.io, Io::Tls(_));
        }
        if self.flushing {
            ready!(self.io.poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&mut self, mut count: usize) {
        let of_out = count.min(self.out.len() - self.written);
        self.written += of_out;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        count -= of_out;
        let of_piece = count.min(self.piece.len());
        self.piece.advance(of_piece);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
        }
        self.tail = &self.tail[count - of_piece..];
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = self.buffer.take().unwrap_or_else(Buffer::take);
        if self.end == buffer.len() {
            buffer.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == buffer.len() {
            self.buffer = Some(buffer);
            return Poll::Ready(Err(io::Error::other("a line that is too long")));
        }
        let mut room = ReadBuf::new(&mut buffer[self.end..]);
        let read = self.io.poll_read(cx, &mut room);
        let count = room.filled().len();
        self.end += count;
        if self.end > 0 {
            self.buffer = Some(buffer);
        }
        read.map_ok(|()| count)
    }
}

impl Io {
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Self::Plain(stream), [one]) => match send_now(stream, one) {
                Some(sent) => Poll::Ready(sent),
                None => Pin::new(stream).poll_write(cx, one),
            },
            (Self::Plain(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Self::Tls(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio::task::coop::consume_budget;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_was_closed_is_not_quiet_even_at_the_end_of_a_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (other, _) = listener.accept().await.unwrap();
        let target = Arc::new(Target { id: 1, address });
        let upstream = Upstream::new(
            Io::Plain(stream),
            Key::new(&target, 0),
            &PeerSettings::for_tests(),
        );
        assert!(upstream.is_quiet());
        drop(other);
        tokio::time::sleep(Duration::from_millis(20)).await;
        poll_fn(|cx| {
            while pin!(consume_budget()).poll(cx).is_ready() {}
            assert!(!upstream.is_quiet());
            Poll::Ready(())
        })
        .await;
    }
}
