//! Bytes from a client to an endpoint and back: copied first, and moved within the kernel when there are many.

mod flow;
mod pace;
mod pipe;
mod sealed;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::flow::{Break, Flow};
use self::pace::{Pace, State, timer};
use crate::draining::Member;

pub(crate) use self::pipe::limit_pipes;
pub use self::sealed::relay_sealed;

/// How long a pair of connections may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So long nothing may move.
    pub idle: Duration,
    /// So long nothing may move after one side has ended what it sends.
    pub half_closed: Duration,
    /// So long in all; none without a limit.
    pub total: Option<Duration>,
}

/// How a pair of connections ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides have ended what they send, and all of it was delivered.
    Done,
    /// Nothing moved for too long.
    Idle,
    /// It was there for too long.
    Expired,
    /// Its endpoint or this process leaves.
    Drained,
    /// The client's connection broke: the endpoint's was reset.
    ClientBroke,
    /// The endpoint's connection broke: the client's was reset.
    EndpointBroke,
}

/// What was moved so far, in octets. It grows while a relay runs.
#[derive(Debug, Default)]
pub struct Moved {
    /// From the client to the endpoint.
    pub up: Cell<u64>,
    /// From the endpoint to the client.
    pub down: Cell<u64>,
    /// When something was, either way.
    pub last: Cell<Option<Instant>>,
}

/// Where nothing was moved for so long, a connection is taken to rest between two exchanges.
const LULL: Duration = Duration::from_secs(1);

impl Moved {
    /// Whether a connection that is closed now is in the middle of something.
    fn lately(&self) -> bool {
        self.last.get().is_some_and(|last| last.elapsed() < LULL)
    }
}

/// Moves bytes both ways until both sides have ended, one has broken, or a limit is reached. `early` was read from the
/// client before and goes first. An end of one side is passed on, and the other may go on; the end of the second is passed
/// on when the caller drops the connections. `drains` say when they are to be closed because the endpoint or this process
/// leaves. Dropped before the end, it is as if that had come then.
pub async fn relay(
    client: &mut TcpStream,
    endpoint: &mut TcpStream,
    early: Vec<u8>,
    limits: &Limits,
    moved: &Moved,
    drains: &mut [Member],
) -> End {
    let (from_client, to_client) = client.split();
    let (from_endpoint, to_endpoint) = endpoint.split();
    let mut both = Both {
        up: Flow::new(from_client, to_endpoint, early, &moved.up),
        down: Flow::new(from_endpoint, to_client, Vec::new(), &moved.down),
        moved,
        end: End::Drained,
    };
    let Both { up, down, .. } = &mut both;
    let timer = pin!(timer());
    let mut pace = Pace::new(limits, drains, timer, &moved.last);
    both.end = poll_fn(|context| {
        let outcomes = (
            up.poll(context, down.ended()),
            down.poll(context, up.ended()),
        );
        if let Some(end) = ended(outcomes) {
            return Poll::Ready(end);
        }
        let state = State {
            moved: moved.up.get() + moved.down.get(),
            ended: u8::from(up.ended()) + u8::from(down.ended()),
        };
        pace.poll(context, state)
    })
    .await;
    both.end
}

/// Both directions; when this is dropped, who did not get all of it is told so.
struct Both<'a> {
    up: Flow<'a>,
    down: Flow<'a>,
    moved: &'a Moved,
    /// As when this process leaves, until it is known: a relay that does not run to its end is dropped with its thread.
    end: End,
}

impl Drop for Both<'_> {
    fn drop(&mut self) {
        let lately = self.moved.lately();
        if self.end.cuts_off(End::ClientBroke, self.up.holds(), lately) {
            reset(self.up.to());
        }
        if self
            .end
            .cuts_off(End::EndpointBroke, self.down.holds(), lately)
        {
            reset(self.down.to());
        }
    }
}

impl End {
    /// Whether one who gets bytes does not get all, or may think so: this side has ended it while it could have gone on
    /// and `holds` some of them, or some were moved `lately`, or the other side `broke`.
    fn cuts_off(self, broke: Self, holds: bool, lately: bool) -> bool {
        match self {
            Self::Idle => holds,
            Self::Expired | Self::Drained => holds || lately,
            _ => self == broke,
        }
    }
}

/// What came of one direction.
type Outcome = Poll<Result<(), Break>>;

/// How both directions have ended, once they have, or one has broken.
fn ended((up, down): (Outcome, Outcome)) -> Option<End> {
    match (up, down) {
        (Poll::Ready(Err(broke)), _) => Some(broken(broke, true)),
        (_, Poll::Ready(Err(broke))) => Some(broken(broke, false)),
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Some(End::Done),
        (Poll::Pending, _) | (_, Poll::Pending) => None,
    }
}

/// Whose connection broke; `up` when it was found on the way from the client.
fn broken(broke: Break, up: bool) -> End {
    match (broke, up) {
        (Break::From, true) | (Break::To, false) => End::ClientBroke,
        (Break::To, true) | (Break::From, false) => End::EndpointBroke,
    }
}

/// Has a connection end with a reset, so that nobody takes what was delivered for all there is.
pub fn reset(stream: &TcpStream) {
    // It fails for sockets alone that are no sockets.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
