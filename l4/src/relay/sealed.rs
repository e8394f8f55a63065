//! The relay of a client that speaks TLS, which ends here: what it says is copied, opened and sealed.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::flow::{Break, SCRATCH, Stage};
use super::pace::{Pace, State, timer};
use super::{End, Limits, Moved, Outcome, ended, reset};
use crate::draining::Member;

/// As [`super::relay`] for a client over TLS. `early` goes to the endpoint first. The end of one side is passed on, to
/// the client as `close_notify` (RFC 8446, 6.1); a client that ends without it has broken the connection, unless the
/// endpoint has ended before.
pub async fn relay_sealed<S>(
    client: &mut TlsStream<S>,
    endpoint: &mut TcpStream,
    early: Vec<u8>,
    limits: &Limits,
    moved: &Moved,
    drains: &mut [Member],
) -> End
where
    S: AsyncRead + AsyncWrite + AsRef<TcpStream> + Unpin,
{
    let mut both = Both {
        client,
        endpoint,
        up: Copy::new(early, &moved.up),
        down: Copy::new(Vec::new(), &moved.down),
        moved,
        end: End::Drained,
    };
    let timer = pin!(timer());
    let mut pace = Pace::new(limits, drains, timer, &moved.last);
    both.end = poll_fn(|context| {
        if let Some(end) = ended(both.poll(context)) {
            return Poll::Ready(end);
        }
        let state = State {
            moved: moved.up.get() + moved.down.get(),
            ended: u8::from(both.up.ended()) + u8::from(both.down.ended()),
        };
        pace.poll(context, state)
    })
    .await;
    both.end
}

/// As [`super::Both`].
struct Both<'a, S: AsRef<TcpStream>> {
    client: &'a mut TlsStream<S>,
    endpoint: &'a mut TcpStream,
    up: Copy<'a>,
    down: Copy<'a>,
    moved: &'a Moved,
    end: End,
}

impl<S: AsyncRead + AsyncWrite + AsRef<TcpStream> + Unpin> Both<'_, S> {
    fn poll(&mut self, context: &mut Context<'_>) -> (Outcome, Outcome) {
        let (client, endpoint) = (&mut *self.client, &mut *self.endpoint);
        // Who has got our `close_notify` often says nothing more, and has no reason to: that cuts nothing off.
        self.up.may_end_plainly = self.down.ended();
        (
            self.up.poll(context, client, endpoint),
            self.down.poll(context, endpoint, client),
        )
    }
}

impl<S: AsRef<TcpStream>> Drop for Both<'_, S> {
    fn drop(&mut self) {
        let lately = self.moved.lately();
        if self.end.cuts_off(End::ClientBroke, self.up.holds(), lately) {
            reset(self.endpoint);
        }
        if self
            .end
            .cuts_off(End::EndpointBroke, self.down.holds(), lately)
        {
            reset(self.client.get_ref().0.as_ref());
        }
    }
}

/// One direction.
struct Copy<'a> {
    /// What was read and not taken.
    rest: Vec<u8>,
    written: usize,
    /// Whether something was taken that may not have been sent.
    unsent: bool,
    /// Whether an end without `close_notify` is one.
    may_end_plainly: bool,
    stage: Stage,
    moved: &'a Cell<u64>,
}

impl<'a> Copy<'a> {
    fn new(early: Vec<u8>, moved: &'a Cell<u64>) -> Self {
        Self {
            rest: early,
            written: 0,
            unsent: false,
            may_end_plainly: false,
            stage: Stage::Moving,
            moved,
        }
    }

    fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether it has bytes that nobody has got.
    fn holds(&self) -> bool {
        self.written < self.rest.len() || self.unsent
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Outcome {
        while !self.ended() {
            ready!(self.deliver(context, to)).map_err(|_| Break::To)?;
            if self.stage == Stage::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(|_| Break::To)?;
                self.stage = Stage::Ended;
                break;
            }
            ready!(SCRATCH.with_borrow_mut(|scratch| {
                let mut chunk = ReadBuf::new(scratch);
                match ready!(Pin::new(&mut *from).poll_read(context, &mut chunk)) {
                    Ok(()) => {}
                    Err(error) if self.is_end(&error) => {}
                    Err(_) => return Poll::Ready(Err(Break::From)),
                }
                if chunk.filled().is_empty() {
                    self.stage = Stage::Ending;
                }
                let offered = self.offer(context, to, chunk.filled());
                Poll::Ready(offered.map_err(|_| Break::To))
            }))?;
        }
        Poll::Ready(Ok(()))
    }

    fn is_end(&self, error: &io::Error) -> bool {
        self.may_end_plainly && error.kind() == io::ErrorKind::UnexpectedEof
    }

    /// Writes as much of a chunk as is taken at once, and keeps the rest.
    fn offer(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        chunk: &[u8],
    ) -> io::Result<()> {
        let mut taken = 0;
        if !chunk.is_empty()
            && let Poll::Ready(count) = Pin::new(to).poll_write(context, chunk)
        {
            taken = count?;
            self.took(taken);
        }
        self.rest.extend_from_slice(&chunk[taken..]);
        Ok(())
    }

    fn deliver(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.written < self.rest.len() {
            let rest = &self.rest[self.written..];
            let count = ready!(Pin::new(&mut *to).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.took(count);
        }
        if !self.rest.is_empty() {
            self.rest = Vec::new();
            self.written = 0;
        }
        if self.unsent {
            ready!(Pin::new(to).poll_flush(context))?;
            self.unsent = false;
        }
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, octets: usize) {
        self.unsent = true;
        self.moved.set(self.moved.get() + octets as u64);
    }
}
