//! The open loop: requests are due at times that do not depend on the answers.
//!
//! Times are those of a Poisson process, the same for every peer. Latency counts from when a
//! request was due, also while it waits for a free connection: so a proxy that stalls pays
//! for all the requests that would have come meanwhile (no coordinated omission). A `timerfd` wakes
//! the loop; tokio's own timers are no finer than a millisecond.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use super::crew::{Shared, drive};
use super::exchange::Connection;
use super::{Requests, Sample, Target};
use crate::error::Error;

/// An open loop.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Connections that are kept; a request that is due while none is free waits for one.
    pub(crate) connections: usize,
    /// What is sent.
    pub(crate) requests: Requests,
}

impl Open {
    /// Drives it for so long.
    pub(crate) fn run(&self, target: &Target, time: Duration) -> Result<Sample, Error> {
        let start = Instant::now();
        drive(self.connections, time, |share, local, sample| {
            let queue = Rc::new(Queue {
                due: RefCell::default(),
                waiting: Semaphore::new(0),
                sample: sample.clone(),
            });
            for _ in share.connections(self.connections) {
                let (queue, requests, target) =
                    (queue.clone(), self.requests.clone(), target.clone());
                local.spawn_local(async move { queue.serve(&target, &requests).await });
            }
            let times = Times {
                rate: self.rate / share.of as f64,
                seed: share.number as u64,
                start,
                end: start + time,
            };
            local.spawn_local(pace(times, queue));
        })
    }
}

/// What is due, and who waits for it.
struct Queue {
    /// When requests were due that nobody has sent yet.
    due: RefCell<VecDeque<Instant>>,
    /// As many permits as there are such; closed at the end.
    waiting: Semaphore,
    sample: Shared,
}

impl Queue {
    /// Sends what is due over one connection after the other.
    async fn serve(&self, target: &Target, requests: &Requests) {
        let mut connection = None;
        let mut turn = 0;
        while let Some(due) = self.next().await {
            turn += 1;
            let mut open = match connection.take() {
                Some(open) => open,
                None => match Connection::open(target).await {
                    Ok(open) => open,
                    Err(error) => {
                        self.sample.borrow_mut().failed(error.to_string());
                        continue;
                    }
                },
            };
            let answer = open.exchange(requests.at(turn)).await;
            let mut sample = self.sample.borrow_mut();
            match answer {
                Ok(answer) if answer.status == 200 => {
                    sample.answered(due.elapsed());
                    connection = (!answer.closes).then_some(open);
                }
                Ok(answer) => sample.failed(format!("status {}", answer.status)),
                Err(error) => sample.failed(error.to_string()),
            }
        }
    }

    /// The next that is due; `None` at the end, when all are sent.
    async fn next(&self) -> Option<Instant> {
        if let Ok(permit) = self.waiting.acquire().await {
            permit.forget();
        }
        self.due.borrow_mut().pop_front()
    }
}

/// When requests are due.
#[derive(Clone, Copy)]
struct Times {
    rate: f64,
    seed: u64,
    start: Instant,
    end: Instant,
}

/// Says what is due when it is, until the time is up.
async fn pace(times: Times, queue: Rc<Queue>) {
    if let Err(error) = release(times, &queue).await {
        queue.sample.borrow_mut().failed(format!("timer: {error}"));
    }
    queue.waiting.close();
}

async fn release(times: Times, queue: &Queue) -> io::Result<()> {
    let timer = Timer::new()?;
    let mut random = SmallRng::seed_from_u64(times.seed);
    let mut due = times.start;
    while due < times.end {
        if due > Instant::now() {
            timer.until(due).await?;
        }
        queue.due.borrow_mut().push_back(due);
        queue.waiting.add_permits(1);
        due += gap(times.rate, random.random());
    }
    Ok(())
}

/// The time to the next request of a Poisson process, of a uniform number in [0, 1).
fn gap(rate: f64, uniform: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - uniform).ln() / rate)
}

/// A timer of the kernel, accurate to some microseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Polled on the runtime that runs now.
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` is one open descriptor for all its life, and `Self` owns it.
        #[expect(unsafe_code, reason = "tokio has no safe way to wait for a `timerfd`")]
        let registered = unsafe { AsyncFd::register(descriptor) };
        Ok(Self(registered?))
    }

    async fn until(&self, due: Instant) -> io::Result<()> {
        let left = due.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_nanos(1)); // nothing would switch the timer off
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        let mut ready = self.0.readable().await?;
        let _ = ready.try_io(|inner| Ok(rustix::io::read(inner, &mut [0; 8])?));
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_at_the_rate_on_average() {
        let mut random = SmallRng::seed_from_u64(7);
        let total: Duration = (0..100_000).map(|_| gap(1000.0, random.random())).sum();
        let seconds = total.as_secs_f64();
        assert!((98.0..102.0).contains(&seconds), "{seconds}");
    }

    /// A server that answers at once, but for the 50th request: then nobody is answered for a while.
    fn stalling_server(stall: Duration) -> io::Result<std::net::SocketAddr> {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let count = std::sync::Arc::new(std::sync::Mutex::new(0));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 1000]; // the load waits for an answer: one request at a time
                    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                        let mut count = count.lock().expect("no thread panics");
                        *count += 1;
                        if *count == 50 {
                            std::thread::sleep(stall);
                        }
                        let sent =
                            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        sent.expect("the load waits");
                    }
                });
            }
        });
        Ok(address)
    }

    #[test]
    fn a_stall_is_paid_for_by_all_that_were_due_meanwhile() {
        let address = stalling_server(Duration::from_millis(300)).expect("a free port");
        let load = Open {
            rate: 1000.0,
            connections: 2,
            requests: Requests::get(["/"], ""),
        };
        let sample = load.run(&Target { address, tls: None }, Duration::from_millis(500));
        let sample = sample.expect("it runs");
        assert_eq!(sample.errors, 0, "{:?}", sample.error);
        // Those that were due in the first 200 ms; a closed loop with two connections sees two.
        let slow = sample.latency.count_between(100_000_000, u64::MAX);
        assert!(slow > 100, "{slow} of {}", sample.requests);
    }
}
