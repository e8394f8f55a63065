//! The queue of hashes: bounded, and with two lanes.
//!
//! Logins go before registrations, and a login that finds the queue full takes the place of the
//! registration that came last: a flood of registrations refuses itself. Every eighth hash is a
//! registration's all the same, so that a flood of logins does not end them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whose hash it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Of somebody who has an account, or says so.
    Login,
    /// Of somebody who wants one; and what can wait.
    Register,
}

/// A queue of jobs for threads.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
    limit: usize,
}

/// Why a job was not taken.
#[derive(Debug)]
pub(super) struct Full;

#[derive(Debug)]
struct Waiting<T> {
    logins: VecDeque<T>,
    registrations: VecDeque<T>,
    /// Logins taken since the last registration.
    in_a_row: u32,
    closed: bool,
}

impl<T> Lanes<T> {
    /// A queue of at most `limit` jobs.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                logins: VecDeque::new(),
                registrations: VecDeque::new(),
                in_a_row: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
            limit,
        }
    }

    /// Adds a job; the one that had to make room for it is returned.
    pub(super) fn push(&self, lane: Lane, job: T) -> Result<Option<T>, Full> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Full);
        }
        let mut displaced = None;
        if waiting.len() >= self.limit {
            displaced = match lane {
                Lane::Login => waiting.registrations.pop_back(),
                Lane::Register => None,
            };
            if displaced.is_none() {
                return Err(Full);
            }
        }
        match lane {
            Lane::Login => waiting.logins.push_back(job),
            Lane::Register => waiting.registrations.push_back(job),
        }
        drop(waiting);
        self.arrived.notify_one();
        Ok(displaced)
    }

    /// Waits for the next job; `None` when the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.next() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes no more jobs.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Nothing that is done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    fn len(&self) -> usize {
        self.logins.len() + self.registrations.len()
    }

    fn next(&mut self) -> Option<T> {
        let registration_due = self.in_a_row >= LOGINS_IN_A_ROW || self.logins.is_empty();
        if registration_due && let Some(job) = self.registrations.pop_front() {
            self.in_a_row = 0;
            return Some(job);
        }
        let job = self.logins.pop_front()?;
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(job)
    }
}

/// So many logins go before a registration that waits.
const LOGINS_IN_A_ROW: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lanes: &Lanes<u32>) -> Vec<u32> {
        lanes.close();
        std::iter::from_fn(|| lanes.pop()).collect()
    }

    #[test]
    fn logins_go_first_and_registrations_come_to_their_turn() {
        let lanes = Lanes::new(100);
        for number in 0..2 {
            lanes.push(Lane::Register, 100 + number).unwrap();
        }
        for number in 0..10 {
            lanes.push(Lane::Login, number).unwrap();
        }
        assert_eq!(lanes.len(), 12);
        let order = [0, 1, 2, 3, 4, 5, 6, 100, 7, 8, 9, 101];
        assert_eq!(drain(&lanes), order);
    }

    #[test]
    fn a_login_takes_the_place_of_the_last_registration() {
        let lanes = Lanes::new(2);
        lanes.push(Lane::Register, 100).unwrap();
        lanes.push(Lane::Register, 101).unwrap();
        lanes.push(Lane::Register, 102).expect_err("full");
        assert_eq!(lanes.push(Lane::Login, 0).unwrap(), Some(101));
        assert_eq!(lanes.push(Lane::Login, 1).unwrap(), Some(100));
        lanes.push(Lane::Login, 2).expect_err("full of logins");
        assert_eq!(drain(&lanes), [0, 1]);
        lanes.push(Lane::Login, 3).expect_err("closed");
    }
}
