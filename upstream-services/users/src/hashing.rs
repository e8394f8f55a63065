//! Hashing in threads of its own.
//!
//! One hash takes 15 ms of one core and 19 MiB: the point where a wave of logins overloads the
//! service. So hashes have a pool with few threads and a bounded queue of its own, apart from
//! the runtime's threads: other requests go on while hashes wait, and what does not fit into the
//! queue is refused at once instead of being answered too late. Logins go before registrations.

mod argon;
mod lanes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::Error;
use crate::config::HashConfig;
use crate::fields::Password;
use crate::metrics::HashMetrics;
use argon::{Argon, Workspace};
use lanes::Lanes;

pub(crate) use lanes::Lane;

/// What the hashing pool is doing: the pressure signal of the user services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashQueue {
    /// Hashes being computed.
    pub in_flight: usize,
    /// The most that are computed at once: the pool's threads.
    pub limit: usize,
    /// Hashes waiting for a thread.
    pub queued: usize,
    /// The most that may wait.
    pub queue_limit: usize,
    /// How long recent hashes waited, smoothed; zero when nothing waits or runs.
    pub wait: Duration,
}

/// The answer to "is this the password?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) matches: bool,
    /// The hash was made with other parameters than today's.
    pub(crate) outdated: bool,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Hasher {
    queue: Arc<Lanes<Job>>,
    queue_limit: usize,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    limit: usize,
    activity: Arc<Activity>,
}

impl Hasher {
    /// Starts the threads.
    pub(crate) fn start(config: &HashConfig, metrics: HashMetrics) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = config.threads.map_or((cores / 2).max(1), usize::from);
        Self::with_threads(limit, config, metrics)
    }

    /// A pool without threads, for a process in which nothing is hashed: it refuses everything.
    pub(crate) fn idle(config: &HashConfig, metrics: HashMetrics) -> Result<Self, Error> {
        let idle = Self::with_threads(0, config, metrics)?;
        idle.queue.close();
        Ok(idle)
    }

    fn with_threads(
        limit: usize,
        config: &HashConfig,
        metrics: HashMetrics,
    ) -> Result<Self, Error> {
        let argon = Argon::new(config)?;
        let queue_limit = config.queue as usize;
        let queue = Arc::new(Lanes::new(queue_limit));
        let activity = Arc::new(Activity {
            in_flight: AtomicUsize::new(0),
            wait_micros: AtomicU64::new(0),
            metrics,
        });
        let thread = |number| {
            let (jobs, argon, activity) = (queue.clone(), argon.clone(), activity.clone());
            std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || work(&jobs, &argon, &activity))
                .map_err(|error| Error::Internal(format!("no thread to hash in: {error}")))
        };
        let threads = (0..limit).map(thread).collect::<Result<_, _>>()?;
        Ok(Self {
            queue,
            queue_limit,
            threads: std::sync::Mutex::new(threads),
            limit,
            activity,
        })
    }

    /// Hashes a new password, with a new salt. [`Error::Overloaded`] when the queue is full.
    pub(crate) async fn hash(&self, lane: Lane, password: Password) -> Result<String, Error> {
        self.submit(lane, |reply| Task::Hash { password, reply })
            .await?
    }

    /// Compares a password with a hash. [`Error::Overloaded`] when the queue is full.
    pub(crate) async fn verify(&self, password: Password, hash: &str) -> Result<Verified, Error> {
        let hash = hash.to_owned();
        let task = |reply| Task::Verify {
            password,
            hash,
            reply,
        };
        self.submit(Lane::Login, task).await?
    }

    /// Whether there are threads that hash.
    pub(crate) const fn hashes(&self) -> bool {
        self.limit > 0
    }

    /// What the pool is doing now.
    pub(crate) fn pressure(&self) -> HashQueue {
        let in_flight = self.activity.in_flight.load(Ordering::Relaxed);
        let queued = self.queue.len();
        let idle = in_flight == 0 && queued == 0;
        let micros = self.activity.wait_micros.load(Ordering::Relaxed);
        HashQueue {
            in_flight,
            limit: self.limit,
            queued,
            queue_limit: self.queue_limit,
            wait: Duration::from_micros(if idle { 0 } else { micros }),
        }
    }

    /// Takes no more work, finishes what is queued, and ends the threads. Blocks.
    pub(crate) fn close(&self) {
        self.queue.close();
        let threads = self
            .threads
            .lock()
            .map(|mut threads| std::mem::take(&mut *threads));
        for thread in threads.unwrap_or_default() {
            let _ = thread.join();
        }
    }

    async fn submit<T>(
        &self,
        lane: Lane,
        task: impl FnOnce(oneshot::Sender<T>) -> Task,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            queued: Instant::now(),
            task: task(reply),
        };
        let pushed = self.queue.push(lane, job);
        // Whoever had to make room is told by the end of its channel.
        if !matches!(pushed, Ok(None)) {
            self.activity.metrics.rejected.inc();
        }
        drop(pushed.map_err(|_| Error::Overloaded)?);
        answer.await.map_err(|_| Error::Overloaded)
    }
}

/// One hash to compute.
#[derive(Debug)]
struct Job {
    queued: Instant,
    task: Task,
}

#[derive(Debug)]
enum Task {
    Hash {
        password: Password,
        reply: oneshot::Sender<Result<String, Error>>,
    },
    Verify {
        password: Password,
        hash: String,
        reply: oneshot::Sender<Result<Verified, Error>>,
    },
}

/// What the threads share with those who watch.
#[derive(Debug)]
struct Activity {
    in_flight: AtomicUsize,
    wait_micros: AtomicU64,
    metrics: HashMetrics,
}

impl Activity {
    /// Counts a hash while it is computed.
    fn during<T>(&self, queued: Instant, compute: impl FnOnce() -> T) -> T {
        self.waited(queued.elapsed());
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let computed = compute();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.metrics.done.inc();
        computed
    }

    fn waited(&self, wait: Duration) {
        self.metrics.wait.observe(wait.as_secs_f64());
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        // An exponential mean over about eight hashes; a lost update does no harm.
        let mean = self.wait_micros.load(Ordering::Relaxed);
        let mean = mean - mean / 8 + micros / 8;
        self.wait_micros.store(mean, Ordering::Relaxed);
    }
}

/// The life of one thread.
fn work(jobs: &Lanes<Job>, argon: &Argon, activity: &Activity) {
    let mut workspace = Workspace::default();
    while let Some(job) = jobs.pop() {
        match job.task {
            // Whoever gave up waiting needs no answer.
            Task::Hash { reply, .. } if reply.is_closed() => {}
            Task::Verify { reply, .. } if reply.is_closed() => {}
            Task::Hash { password, reply } => {
                let hash = || argon.hash(&password, &mut workspace);
                let _ = reply.send(activity.during(job.queued, hash));
            }
            Task::Verify {
                password,
                hash,
                reply,
            } => {
                let verify = || argon.verify(&password, &hash, &mut workspace);
                let _ = reply.send(activity.during(job.queued, verify));
            }
        }
    }
}

#[cfg(test)]
mod tests;
