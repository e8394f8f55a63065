//! Tokens that were verified before: checking a signature costs more than the rest of a request.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use quick_cache::Equivalent;
use quick_cache::unsync::Cache;
use thread_local::ThreadLocal;

use crate::exchange::Identity;

/// A verified token.
pub(super) struct Verified {
    pub(super) identity: Arc<Identity>,
    /// What the upstream is told: no value for a claim that the token has not. Those stand first.
    pub(super) forward: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Unix seconds.
    pub(super) valid_until: u64,
    pub(super) generation: u64,
}

/// Each thread remembers its own, so that none waits for another. The whole
/// token is the key: a token that differs anywhere is verified.
pub(super) struct VerifiedTokens {
    threads: ThreadLocal<RefCell<Tokens>>,
    capacity: usize,
}

type Tokens = Cache<Key<Box<[u8]>>, Arc<Verified>>;

/// A token, hashed by its end alone: there stands the signature, and the rest follows from it.
struct Key<T>(T);

const HASHED: usize = 32;

impl VerifiedTokens {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            threads: ThreadLocal::new(),
            capacity,
        }
    }

    pub(super) fn find(&self, token: &[u8], generation: u64, now: u64) -> Option<Arc<Verified>> {
        let cache = self.threads.get()?.borrow();
        let verified = cache.get(&Key(token))?;
        let holds = verified.generation == generation && now < verified.valid_until;
        holds.then(|| verified.clone())
    }

    pub(super) fn insert(&self, token: &[u8], verified: Arc<Verified>) {
        let cache = self
            .threads
            .get_or(|| RefCell::new(Cache::new(self.capacity)));
        cache.borrow_mut().insert(Key(token.into()), verified);
    }
}

impl<T: AsRef<[u8]>> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let token = self.0.as_ref();
        state.write(&token[token.len().saturating_sub(HASHED)..]);
    }
}

impl<T: AsRef<[u8]>> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl<T: AsRef<[u8]>> Eq for Key<T> {}

impl Equivalent<Key<Box<[u8]>>> for Key<&[u8]> {
    fn equivalent(&self, key: &Key<Box<[u8]>>) -> bool {
        *self.0 == *key.0
    }
}
