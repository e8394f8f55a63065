//! The body of a request as it arrives: where it ends, how long it may be, by when it must come.

use std::time::Instant;

use bytes::BytesMut;

use super::chunked::{Chunked, Piece};
use super::head::HeadLimits;
use super::message::Framing;
use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::state::Timeouts;

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    pub(super) pace: Pace,
    limit: Option<u64>,
    /// A tunnel of which the client's direction has ended.
    half: bool,
}

#[derive(Debug)]
enum State {
    Done,
    Length(u64),
    Chunked(Chunked),
    /// The connection was upgraded: everything is body until it ends.
    Tunnel,
}

impl Body {
    /// A body of a request whose head was read at `now`.
    ///
    /// # Errors
    /// When it is known already that it is too long.
    pub(super) fn new(framing: Framing, limit: Option<u64>, now: Instant) -> Result<Self, Refusal> {
        let state = match framing {
            Framing::Empty => State::Done,
            Framing::Length(length) if limit.is_some_and(|limit| length > limit) => {
                return Err(Refusal::BodyTooLong);
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::default()),
        };
        Ok(Self {
            state,
            pace: Pace::new(now),
            limit,
            half: false,
        })
    }

    /// The next piece of what has arrived.
    ///
    /// # Errors
    /// When it is malformed or too long.
    pub(super) fn next(
        &mut self,
        arrived: &mut BytesMut,
        limits: &HeadLimits,
        now: Instant,
    ) -> Result<Piece, Refusal> {
        let piece = match &mut self.state {
            State::Done => return Ok(Piece::End),
            State::Chunked(chunked) => chunked.next(arrived, limits)?,
            State::Length(_) | State::Tunnel if arrived.is_empty() => Piece::More,
            State::Tunnel => Piece::Data(arrived.split().freeze()),
            State::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX);
                let here = here.min(arrived.len());
                *left -= here as u64;
                Piece::Data(arrived.split_to(here).freeze())
            }
        };
        match &piece {
            Piece::Data(bytes) => self.pace.note(bytes.len(), now),
            Piece::End => self.state = State::Done,
            Piece::More => {}
        }
        self.judge_length()?;
        self.look_ahead(arrived);
        Ok(piece)
    }

    /// The rest of it; nothing is left here.
    pub(super) fn take(&mut self) -> Self {
        Self {
            state: std::mem::replace(&mut self.state, State::Done),
            ..*self
        }
    }

    /// Whether nothing of it is left to read.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether what is left may be at most so many bytes: of chunks nobody knows.
    pub(super) fn may_be_nearly_done(&self, bytes: u64) -> bool {
        match &self.state {
            State::Done => true,
            State::Length(left) => *left <= bytes,
            State::Chunked(chunked) => chunked.owed() <= bytes,
            State::Tunnel => false,
        }
    }

    /// From now on everything is body.
    pub(super) fn become_tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// Whether it is a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Ends it: nothing more is read.
    pub(super) fn end(&mut self) {
        self.state = State::Done;
    }

    /// By when its next piece must have come.
    pub(super) fn due(&self, timeouts: &Timeouts) -> Instant {
        match (self.is_tunnel(), self.half) {
            (false, _) => self.pace.due(timeouts),
            (true, false) => self.pace.last() + timeouts.tunnel,
            // The other direction may go on for a while after the client's end.
            (true, true) => self.pace.last() + timeouts.linger,
        }
    }

    /// Notes that the client has ended its direction of a tunnel.
    pub(super) fn end_half(&mut self, now: Instant) {
        if !self.half {
            self.half = true;
            self.pace.note(0, now);
        }
    }

    /// Notes that something passed in the other direction of a tunnel.
    pub(super) fn touch(&mut self, now: Instant) {
        self.pace.note(0, now);
    }

    /// A chunk that is too large is refused when it is announced.
    fn judge_length(&self) -> Result<(), Refusal> {
        let owed = match &self.state {
            State::Chunked(chunked) => chunked.owed(),
            State::Tunnel => return Ok(()),
            State::Done | State::Length(_) => 0,
        };
        let all = self.pace.received.saturating_add(owed);
        match self.limit.is_some_and(|limit| all > limit) {
            true => Err(Refusal::BodyTooLong),
            false => Ok(()),
        }
    }

    /// Notices the end together with the last piece, when it is there already.
    fn look_ahead(&mut self, arrived: &mut BytesMut) {
        let ended = match &mut self.state {
            State::Length(0) => true,
            State::Chunked(chunked) => chunked.take_plain_end(arrived),
            _ => false,
        };
        if ended {
            self.state = State::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_length_ends_the_body_and_leaves_the_rest() {
        let now = Instant::now();
        let mut body = Body::new(Framing::Length(3), Some(3), now).unwrap();
        let mut arrived = BytesMut::from(&b"abcGET"[..]);
        let limits = HeadLimits::default();
        let piece = body.next(&mut arrived, &limits, now).unwrap();
        assert_eq!(piece, Piece::Data(Bytes::from_static(b"abc")));
        assert!(body.is_done());
        assert_eq!(&arrived[..], b"GET");
        assert!(Body::new(Framing::Length(4), Some(3), now).is_err());
    }

    #[test]
    fn chunks_count_against_the_limit_and_the_end_is_seen_early() {
        let now = Instant::now();
        let limits = HeadLimits::default();
        let mut body = Body::new(Framing::Chunked, Some(4), now).unwrap();
        let mut arrived = BytesMut::from(&b"3\r\nabc\r\n0\r\n\r\n"[..]);
        let piece = body.next(&mut arrived, &limits, now).unwrap();
        assert_eq!(piece, Piece::Data(Bytes::from_static(b"abc")));
        assert!(body.is_done() && arrived.is_empty());
        let mut body = Body::new(Framing::Chunked, Some(4), now).unwrap();
        let mut arrived = BytesMut::from(&b"5\r\nabcde\r\n"[..]);
        let outcome = body.next(&mut arrived, &limits, now);
        assert_eq!(outcome, Err(Refusal::BodyTooLong));
    }
}
