//! How long a relay goes on.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{End, Limits};
use crate::draining::Member;

/// What is shorter than this does not say whom a drain is to tell, which is dearer than a timer.
const SHORT: Duration = Duration::from_millis(100);

/// Ends a relay in which nothing moves, or that has lasted for too long.
pub(super) struct Pace<'a> {
    limits: &'a Limits,
    drains: &'a mut [Member],
    /// Whether it is short so far.
    short: bool,
    expires: Option<Instant>,
    timer: Pin<&'a mut Sleep>,
    /// When something was different.
    last: Instant,
    /// The same, for others.
    told: &'a Cell<Option<Instant>>,
    state: State,
}

/// How far a relay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Octets, both ways.
    pub(super) moved: u64,
    /// Directions that have ended.
    pub(super) ended: u8,
}

/// A timer for a [`Pace`], which sets it.
pub(super) fn timer() -> Sleep {
    sleep_until(Instant::now())
}

impl<'a> Pace<'a> {
    pub(super) fn new(
        limits: &'a Limits,
        drains: &'a mut [Member],
        mut timer: Pin<&'a mut Sleep>,
        told: &'a Cell<Option<Instant>>,
    ) -> Self {
        let begun = Instant::now();
        let expires = limits.total.map(|total| begun + total);
        timer.as_mut().reset(begun + SHORT.min(limits.idle));
        Self {
            limits,
            drains,
            short: true,
            expires,
            timer,
            last: begun,
            told,
            state: State::default(),
        }
    }

    /// Why the relay is to end, if it is; to be asked whenever something may have moved.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, state: State) -> Poll<End> {
        if state != self.state {
            self.state = state;
            self.last = Instant::now();
            self.told.set(Some(self.last));
        }
        if self.short && self.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.short = false;
        let due = self.drains.iter_mut();
        let due = due.filter_map(|member| member.due(context)).min();
        let due = due.map(Instant::from_std);
        let patience = match state.ended {
            0 => self.limits.idle,
            _ => self.limits.half_closed.min(self.limits.idle),
        };
        let until = [self.expires, due].into_iter().flatten();
        let until = until.fold(self.last + patience, Instant::min);
        // Set when it fires alone, for nothing is as frequent as bytes; but a shorter time is heeded at once.
        if until < self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if now >= until {
                let has_come = |time: Option<Instant>| time.is_some_and(|time| now >= time);
                return Poll::Ready(match (has_come(due), has_come(self.expires)) {
                    (true, _) => End::Drained,
                    (false, true) => End::Expired,
                    (false, false) => End::Idle,
                });
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
