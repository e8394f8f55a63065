//! Hashing in threads of its own.
//!
//! One hash takes 15 ms of one core and 19 MiB: the point where a wave of logins overloads the
//! service. So hashes have a pool with few threads and a bounded queue of its own, apart from
//! the runtime's threads: other requests go on while hashes wait, and what does not fit into the
//! queue is refused at once instead of being answered too late.

mod argon;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use crate::Error;
use crate::config::HashConfig;
use crate::fields::Password;
use crate::metrics::HashMetrics;
use argon::{Argon, Workspace};

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
    queue: Sender<Job>,
    queue_limit: usize,
    closing: AtomicBool,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
    limit: usize,
    activity: Arc<Activity>,
}

impl Hasher {
    /// Starts the threads.
    pub(crate) fn start(config: &HashConfig, metrics: HashMetrics) -> Result<Self, Error> {
        let argon = Argon::new(config)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = config.threads.map_or((cores / 2).max(1), usize::from);
        let queue_limit = config.queue as usize;
        let (queue, jobs) = crossbeam_channel::bounded(queue_limit);
        let activity = Arc::new(Activity {
            in_flight: AtomicUsize::new(0),
            wait_micros: AtomicU64::new(0),
            metrics,
        });
        let thread = |number| {
            let (jobs, argon, activity) = (jobs.clone(), argon.clone(), activity.clone());
            std::thread::Builder::new()
                .name(format!("hash-{number}"))
                .spawn(move || work(&jobs, &argon, &activity))
                .map_err(|error| Error::Internal(format!("no thread to hash in: {error}")))
        };
        let threads = (0..limit).map(thread).collect::<Result<_, _>>()?;
        Ok(Self {
            queue,
            queue_limit,
            closing: AtomicBool::new(false),
            threads: std::sync::Mutex::new(threads),
            limit,
            activity,
        })
    }

    /// Hashes a new password, with a new salt. [`Error::Overloaded`] when the queue is full.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Error> {
        self.submit(|reply| Task::Hash { password, reply }).await?
    }

    /// Compares a password with a hash. [`Error::Overloaded`] when the queue is full.
    pub(crate) async fn verify(&self, password: Password, hash: &str) -> Result<Verified, Error> {
        let hash = hash.to_owned();
        let task = |reply| Task::Verify {
            password,
            hash,
            reply,
        };
        self.submit(task).await?
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
        self.closing.store(true, Ordering::Release);
        let threads = self
            .threads
            .lock()
            .map(|mut threads| std::mem::take(&mut *threads));
        let threads = threads.unwrap_or_default();
        for _ in &threads {
            // Behind everything queued; a thread that ended by itself needs none.
            let _ = self.queue.send(Job {
                queued: Instant::now(),
                task: Task::Stop,
            });
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    async fn submit<T>(&self, task: impl FnOnce(oneshot::Sender<T>) -> Task) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            queued: Instant::now(),
            task: task(reply),
        };
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Overloaded);
        }
        match self.queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.activity.metrics.rejected.inc();
                return Err(Error::Overloaded);
            }
        }
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
    Stop,
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
fn work(jobs: &Receiver<Job>, argon: &Argon, activity: &Activity) {
    let mut workspace = Workspace::default();
    for job in jobs {
        match job.task {
            Task::Stop => return,
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
