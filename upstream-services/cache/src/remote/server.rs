//! One server, or one cluster: what it costs when it is away, and what it has missed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backend::{Backend, Found, Outcome};
use super::entry::Entry;
use super::memcached::Memcached;
use super::options::{Kind, Node, Options};
use super::redis::Redis;
use crate::{Need, RemoteError};

/// A server with its breaker.
pub(super) struct Server {
    name: String,
    /// Where deletions are told.
    channel: String,
    backend: Box<dyn Backend>,
    timeout: Duration,
    /// The parts that fail each by itself.
    parts: Box<[Part]>,
    failures: AtomicU64,
    /// Requests that found no place in time.
    crowded: AtomicU64,
    /// Whether it was said that it refuses a script.
    refuses: AtomicBool,
    /// Deletions that were given up.
    lost: AtomicU64,
}

/// A part of a server that fails by itself.
#[derive(Default)]
struct Part {
    /// It did not answer: nothing is asked of it until it does again.
    down: AtomicBool,
    missed: Mutex<Missed>,
}

/// What a part has missed while it was down.
#[derive(Default)]
struct Missed {
    /// A key of it, to find out whether it answers.
    probe: String,
    deletions: HashMap<String, Deletion>,
}

/// A deletion that is still to be told.
#[derive(Clone, PartialEq)]
struct Deletion {
    ttl: Duration,
    /// What other processes are to be told.
    message: Option<String>,
    /// Tells it from an earlier one of the same key.
    number: u64,
}

/// How a server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStats {
    /// Its address.
    pub name: String,
    /// Whether all of it answers.
    pub up: bool,
    /// Requests that failed or took too long.
    pub failures: u64,
    /// Requests that were given up because all connections were in use: it may be well.
    pub crowded: u64,
    /// Deletions that it is still to be told.
    pub missed: usize,
    /// Deletions that it will not be told, because there were too many.
    pub lost: u64,
}

impl Server {
    /// The servers of some options, or those in the gutter.
    pub(super) fn all(options: &Options, gutter: bool) -> Result<Vec<Arc<Self>>, RemoteError> {
        let nodes = match gutter {
            true => &options.gutter,
            false => &options.nodes,
        };
        if nodes.is_empty() {
            return match gutter {
                true => Ok(Vec::new()),
                false => Err(RemoteError::Options("there are no nodes")),
            };
        }
        let one_of = |nodes: &[Node]| -> Result<Arc<Self>, RemoteError> {
            let backend: Box<dyn Backend> = match options.kind {
                Kind::Memcached => Box::new(Memcached::new(&nodes[0])),
                _ => Box::new(Redis::new(options, nodes)?),
            };
            let channel = options.channel();
            Ok(Arc::new(Self::new(
                nodes,
                backend,
                options.timeout,
                channel,
            )))
        };
        match options.kind {
            Kind::Redis | Kind::Memcached => nodes.chunks(1).map(one_of).collect(),
            Kind::RedisCluster | Kind::RedisSentinel(_) => Ok(vec![one_of(nodes)?]),
        }
    }

    fn new(nodes: &[Node], backend: Box<dyn Backend>, timeout: Duration, channel: String) -> Self {
        let names: Vec<_> = nodes.iter().map(Node::to_string).collect();
        Self {
            name: names.join(","),
            channel,
            timeout,
            parts: (0..backend.parts()).map(|_| Part::default()).collect(),
            backend,
            failures: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What is under a key; none when the server cannot be asked.
    pub(super) async fn look(&self, key: &str, lease: Duration) -> Option<Found> {
        self.ask(key, self.backend.look(key, lease)).await
    }

    /// What is under a key; none also when the server cannot be asked.
    pub(super) async fn get(&self, key: &str) -> Option<Entry> {
        self.ask(key, self.backend.get(key)).await.flatten()
    }

    pub(super) async fn fill(&self, key: &str, token: &[u8], entry: &Entry, ttl: Duration) {
        let fill = self.backend.fill(key, token, entry, ttl);
        let _ = self.ask(key, fill).await;
    }

    pub(super) async fn give_back(&self, key: &str, token: &[u8]) {
        let _ = self.ask(key, self.backend.give_back(key, token)).await;
    }

    /// Deletes a key and tells other processes, now or as soon as the server answers again.
    pub(super) async fn delete(
        &self,
        key: &str,
        need: &Need,
        ttl: Duration,
        message: Option<String>,
    ) {
        let deletion = Entry::Deleted(need.clone());
        // However long that takes: what is not deleted there must not be read. Who has a place gives it back in time,
        // or finds the server down for all.
        let _place = match self.part(key).down.load(Relaxed) {
            true => None,
            false => self.place().await,
        };
        let deleted = self
            .ask_now(key, self.backend.delete(key, &deletion, ttl))
            .await;
        let told = match (deleted, &message) {
            (None, _) => None,
            (Some(()), None) => Some(()),
            (Some(()), Some(message)) => {
                let publish = self.backend.publish(&self.channel, message);
                self.ask_now(key, publish).await
            }
        };
        if told.is_some() {
            return;
        }
        let part = self.part(key);
        let mut missed = part.missed();
        part.down.store(true, Relaxed); // it may have come back between
        if missed.deletions.len() < MOST_MISSED || missed.deletions.contains_key(key) {
            missed.probe = key.to_owned();
            let number = self.failures.fetch_add(1, Relaxed);
            let deletion = Deletion {
                ttl,
                message,
                number,
            };
            missed.deletions.insert(key.to_owned(), deletion);
        } else if self.lost.fetch_add(1, Relaxed) == 0 {
            tracing::error!(server = self.name, "misses more deletions than are kept");
        }
    }

    /// Runs a script; none when the server cannot be asked, refuses it, or knows no scripts.
    pub(super) async fn script(&self, script: &str, key: &str, arguments: &[i64]) -> Option<i64> {
        let run = self.backend.script(script, key, arguments)?;
        let run = async {
            match run.await {
                Err(error) if error.is_refusal() => {
                    if !self.refuses.swap(true, Relaxed) {
                        tracing::error!(server = self.name, %error, "a script is refused");
                    }
                    Ok(None)
                }
                outcome => outcome.map(Some),
            }
        };
        self.ask(key, run).await.flatten()
    }

    /// Tells a channel; whether that was possible.
    pub(super) async fn publish(&self, channel: &str, message: &str) -> bool {
        if self.parts.iter().all(|part| part.down.load(Relaxed)) {
            return false;
        }
        let publish = self.backend.publish(channel, message);
        matches!(timeout(self.timeout, publish).await, Ok(Ok(())))
    }

    /// As [`Backend::follow`].
    pub(super) fn follow<'a>(
        &'a self,
        channel: &'a str,
        heard: mpsc::Sender<String>,
    ) -> Option<Outcome<'a, ()>> {
        self.backend.follow(channel, heard)
    }

    /// Asks parts that do not answer whether they do again, and tells them what they have missed.
    pub(super) fn mend(self: &Arc<Self>) -> JoinHandle<()> {
        let server = self.clone();
        tokio::spawn(async move {
            server.greet().await;
            loop {
                tokio::time::sleep(PROBE).await;
                join_all(server.parts.iter().map(|part| server.revive(part))).await;
            }
        })
    }

    /// Finds out whether it can be used at all, before anybody needs it. Of a cluster, one part of it.
    async fn greet(&self) {
        // Any key of ours will do: who logs in may have a right to no others.
        let key = &self.channel;
        let greeted = match timeout(REVIVAL, self.backend.ping(key)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RemoteError::Late),
        };
        if let Err(error) = greeted {
            self.went_down(self.part(key), key, &error);
        }
    }

    async fn revive(&self, part: &Part) {
        if !part.down.load(Relaxed) {
            return;
        }
        let probe = part.missed().probe.clone();
        if !self.answers(self.backend.ping(&probe)).await {
            return;
        }
        loop {
            let missed = {
                let missed = part.missed();
                if missed.deletions.is_empty() {
                    part.down.store(false, Relaxed);
                    tracing::info!(server = self.name, "answers again");
                    return;
                }
                let some = missed.deletions.iter().take(AT_ONCE);
                some.map(|(key, what)| (key.clone(), what.clone()))
                    .collect::<Vec<_>>()
            };
            let told = missed
                .iter()
                .map(|(key, deletion)| self.tell_late(key, deletion));
            let told = join_all(told).await;
            if told.contains(&false) {
                return;
            }
            let mut left = part.missed();
            for (key, what) in missed {
                // Deleted again meanwhile, it is to be told again.
                if left.deletions.get(&key) == Some(&what) {
                    left.deletions.remove(&key);
                }
            }
        }
    }

    /// Deletes what was to be deleted a while ago. Somebody else may have changed and filled it since.
    async fn tell_late(&self, key: &str, deletion: &Deletion) -> bool {
        let entry = Entry::Deleted(Need::Latest);
        let delete = self.backend.delete(key, &entry, deletion.ttl);
        if !self.answers(delete).await {
            return false;
        }
        match &deletion.message {
            Some(message) => {
                self.answers(self.backend.publish(&self.channel, message))
                    .await
            }
            None => true,
        }
    }

    async fn answers(&self, request: Outcome<'_, ()>) -> bool {
        let _place = self.place().await;
        let answered = matches!(timeout(REVIVAL, request).await, Ok(Ok(())));
        if !answered {
            self.backend.renew();
        }
        answered
    }

    /// Asks, unless all places are in use for as long as a request may take: that is no fault of the server's.
    async fn ask<T>(
        &self,
        key: &str,
        request: impl Future<Output = Result<T, RemoteError>>,
    ) -> Option<T> {
        if self.part(key).down.load(Relaxed) {
            return None;
        }
        let Ok(_place) = timeout(self.timeout, self.place()).await else {
            self.crowded.fetch_add(1, Relaxed);
            return None;
        };
        self.ask_now(key, request).await
    }

    /// A place for a request, where their number is limited.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.backend.places()?.acquire().await;
        Some(place.expect("it is never closed"))
    }

    /// Asks, in the place that the caller has.
    async fn ask_now<T>(
        &self,
        key: &str,
        request: impl Future<Output = Result<T, RemoteError>>,
    ) -> Option<T> {
        let part = self.part(key);
        if part.down.load(Relaxed) {
            return None;
        }
        let outcome = match timeout(self.timeout, request).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RemoteError::Late),
        };
        match outcome {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.went_down(part, key, &error);
                None
            }
        }
    }

    /// A part does not answer: from now on it is only asked for this key, and whether it does again.
    fn went_down(&self, part: &Part, key: &str, error: &RemoteError) {
        self.failures.fetch_add(1, Relaxed);
        self.backend.renew();
        let mut missed = part.missed();
        missed.probe = key.to_owned();
        if !part.down.swap(true, Relaxed) {
            tracing::warn!(server = self.name, %error, "the cache does without it");
        }
    }

    fn part(&self, key: &str) -> &Part {
        &self.parts[self.backend.part(key)]
    }

    pub(super) fn stats(&self) -> ServerStats {
        let parts = &self.parts;
        ServerStats {
            name: self.name.clone(),
            up: !parts.iter().any(|part| part.down.load(Relaxed)),
            failures: self.failures.load(Relaxed),
            crowded: self.crowded.load(Relaxed),
            missed: parts.iter().map(|part| part.missed().deletions.len()).sum(),
            lost: self.lost.load(Relaxed),
        }
    }
}

impl Part {
    fn missed(&self) -> MutexGuard<'_, Missed> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two questions to a server that does not answer.
const PROBE: Duration = Duration::from_millis(200);
/// How long it may take to answer then, with a new connection.
const REVIVAL: Duration = Duration::from_secs(1);
/// How many deletions a part may miss.
const MOST_MISSED: usize = 10_000;
/// How many of them are sent at once.
const AT_ONCE: usize = 100;
