//! Pipes, through which the kernel moves bytes from socket to socket (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// How much a pipe is to hold, in octets: what anybody may have (/proc/sys/fs/pipe-max-size).
const SIZE: usize = 1 << 20;
/// Empty pipes that a thread keeps.
const KEPT: usize = 16;

/// How many there may be: connections are not to lack descriptors for them.
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static EMPTY: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe. It is empty when nothing is in it any more; then another may use it.
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Octets in it.
    held: usize,
    /// Last: it counts until its descriptors are closed.
    _place: Place,
}

/// A place among the pipes that there may be, until it is dropped.
struct Place(());

/// Has no more pipes be made than these; each needs two descriptors.
pub(crate) fn limit_pipes(most: usize) {
    MOST.store(most, Relaxed);
}

impl Place {
    fn take() -> io::Result<Self> {
        let place = Self(());
        match COUNT.fetch_add(1, Relaxed) < MOST.load(Relaxed) {
            true => Ok(place),
            false => Err(io::ErrorKind::QuotaExceeded.into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Relaxed);
    }
}

impl Pipe {
    /// An empty pipe.
    pub(super) fn take() -> io::Result<Self> {
        if let Some(pipe) = EMPTY.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let place = Place::take()?;
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user has so much of them, and then gets smaller ones: those do as well.
        let _ = fcntl_setpipe_size(&into, SIZE);
        Ok(Self {
            out,
            into,
            held: 0,
            _place: place,
        })
    }

    /// Gives it back for others, when it is empty.
    pub(super) fn give_back(self) {
        if self.held == 0 {
            EMPTY.with_borrow_mut(|empty| {
                if empty.len() < KEPT {
                    empty.push(self);
                }
            });
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what has arrived at a socket, while it is empty itself; nothing at the end, and where an urgent octet is next.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let count = splice(from, None, &self.into, None, SIZE, FLAGS)?;
        self.held += count;
        Ok(count)
    }

    /// Gives what it holds to a socket, as far as that takes it.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(&self.out, None, to, None, self.held, FLAGS)?;
        self.held -= count.min(self.held);
        Ok(count)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
