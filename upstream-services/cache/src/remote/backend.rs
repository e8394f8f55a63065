//! What a server has to be able to do.

use std::time::Duration;

use futures::future::BoxFuture;
use redis::{ErrorKind, ServerErrorKind};
use tokio::sync::{Semaphore, mpsc};

use super::entry::Entry;

/// A server's protocol.
pub(super) trait Backend: Send + Sync {
    /// What is under a key; when that is nothing, a lease is put there, unless there is one.
    fn look<'a>(&'a self, key: &'a str, lease: Duration) -> Outcome<'a, Found>;

    /// What is under a key, and nothing else.
    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>>;

    /// Replaces what the token stands for, if that is still there; whether it was.
    fn fill<'a>(
        &'a self,
        key: &'a str,
        token: &'a [u8],
        entry: &'a Entry,
        ttl: Duration,
    ) -> Outcome<'a, bool>;

    /// Gives back a lease that nothing came of, if it is still there: the next may have it.
    fn give_back<'a>(&'a self, key: &'a str, token: &'a [u8]) -> Outcome<'a, ()>;

    /// Puts a deletion under a key, whatever is there. Where another one is that asks for something else, nobody knows which is later:
    /// then it asks for the latest.
    fn delete<'a>(&'a self, key: &'a str, deletion: &'a Entry, ttl: Duration) -> Outcome<'a, ()>;

    /// Whether the part of it that has a key answers.
    fn ping<'a>(&'a self, key: &'a str) -> Outcome<'a, ()>;

    /// Tells whoever follows the channel.
    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> Outcome<'a, ()>;

    /// Sends on what is told on a channel, until that ends; none where there are no channels. The first message is empty: from there on
    /// everything is heard.
    fn follow<'a>(
        &'a self,
        channel: &'a str,
        heard: mpsc::Sender<String>,
    ) -> Option<Outcome<'a, ()>>;

    /// Runs a script with one key; none where there are no scripts.
    fn script<'a>(
        &'a self,
        _script: &'a str,
        _key: &'a str,
        _arguments: &'a [i64],
    ) -> Option<Outcome<'a, i64>> {
        None
    }

    /// Of what each request needs one while it runs; none where any number may run.
    fn places(&self) -> Option<&Semaphore> {
        None
    }

    /// How many parts fail each by itself.
    fn parts(&self) -> usize {
        1
    }

    /// Which of the parts has a key.
    fn part(&self, _key: &str) -> usize {
        0
    }

    /// It did not answer: the next request is to go over a new connection.
    fn renew(&self) {}
}

/// What comes of a request.
pub(super) type Outcome<'a, T> = BoxFuture<'a, Result<T, RemoteError>>;

/// What is under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// An entry, and the token for it.
    Entry(Entry, Vec<u8>),
    /// Nothing but the lease that was just put there, or what cannot be read: this token.
    Vacant(Vec<u8>),
    /// Somebody else's lease.
    Taken,
}

/// Why a server could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There are no nodes, or they are of no use.
    #[error("{0}")]
    Options(&'static str),
    /// Redis, or the way to it, failed.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Memcached, or the way to it, failed.
    #[error(transparent)]
    Memcached(#[from] async_memcached::Error),
    /// It does not answer.
    #[error("no answer in time")]
    Late,
}

impl RemoteError {
    /// Whether it is the answer of a server that does what is asked of it, but not this: a right that is missing, for
    /// one.
    pub(super) fn is_refusal(&self) -> bool {
        use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
        let Self::Redis(error) = self else {
            return false;
        };
        match error.kind() {
            ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly) => false,
            ErrorKind::Server(_) | ErrorKind::Extension => true,
            // It has answered, if not as was expected.
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => true,
            _ => false,
        }
    }
}
