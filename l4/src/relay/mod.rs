//! Bytes from a client to an endpoint and back: copied first, and moved within the kernel when there are many.

mod flow;
mod pipe;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use self::flow::{Break, Flow};

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
}

/// Moves bytes both ways until both sides have ended, one has broken, or a limit is reached. `early` was read from the
/// client before and goes first. An end of one side is passed on, and the other may go on.
pub async fn relay(
    client: &mut TcpStream,
    endpoint: &mut TcpStream,
    early: Vec<u8>,
    limits: &Limits,
    moved: &Moved,
) -> End {
    let end = {
        let (from_client, to_client) = client.split();
        let (from_endpoint, to_endpoint) = endpoint.split();
        let mut up = Flow::new(from_client, to_endpoint, early, &moved.up);
        let mut down = Flow::new(from_endpoint, to_client, Vec::new(), &moved.down);
        let begun = Instant::now();
        let expires = limits.total.map(|total| begun + total);
        let mut last = begun;
        let mut timer = pin!(sleep_until(first(begun + limits.idle, expires)));
        poll_fn(|context| {
            let before = moved.up.get() + moved.down.get();
            let outcomes = (up.poll(context), down.poll(context));
            if moved.up.get() + moved.down.get() != before {
                last = Instant::now();
            }
            match outcomes {
                (Poll::Ready(Err(broke)), _) => return Poll::Ready(broken(broke, true)),
                (_, Poll::Ready(Err(broke))) => return Poll::Ready(broken(broke, false)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Done),
                (Poll::Pending, Poll::Pending) => {}
                // The time begins when the side ends, for it moves then: nothing.
                (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => {}
            }
            let patience = match up.ended() || down.ended() {
                true => limits.half_closed.min(limits.idle),
                false => limits.idle,
            };
            let until = first(last + patience, expires);
            // Set when it fires alone, for nothing is as frequent as bytes; but a shorter time is heeded at once.
            if until < timer.deadline() {
                timer.as_mut().reset(until);
            }
            while timer.as_mut().poll(context).is_ready() {
                let now = Instant::now();
                if now >= until {
                    return Poll::Ready(match expires.is_some_and(|expires| now >= expires) {
                        true => End::Expired,
                        false => End::Idle,
                    });
                }
                timer.as_mut().reset(until);
            }
            Poll::Pending
        })
        .await
    };
    match end {
        End::ClientBroke => reset(endpoint),
        End::EndpointBroke => reset(client),
        End::Done | End::Idle | End::Expired => {}
    }
    end
}

fn first(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.min(other))
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
