//! Tokens that were verified before: checking a signature costs more than the rest of a request.

use std::cell::RefCell;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use quick_cache::unsync::Cache;
use thread_local::ThreadLocal;

use crate::exchange::Identity;

/// A verified token.
pub(super) struct Verified {
    pub(super) identity: Arc<Identity>,
    pub(super) forward: Vec<(HeaderName, HeaderValue)>,
    /// Unix seconds.
    pub(super) valid_until: u64,
    pub(super) generation: u64,
}

/// Each thread remembers its own, so that none waits for another. The whole
/// token is the key: a token that differs anywhere is verified.
pub(super) struct VerifiedTokens {
    threads: ThreadLocal<RefCell<Cache<Box<str>, Arc<Verified>>>>,
    capacity: usize,
}

impl VerifiedTokens {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            threads: ThreadLocal::new(),
            capacity,
        }
    }

    pub(super) fn find(&self, token: &str, generation: u64, now: u64) -> Option<Arc<Verified>> {
        let cache = self.threads.get()?.borrow();
        let verified = cache.get(token)?;
        let holds = verified.generation == generation && now < verified.valid_until;
        holds.then(|| verified.clone())
    }

    pub(super) fn insert(&self, token: &str, verified: Arc<Verified>) {
        let cache = self
            .threads
            .get_or(|| RefCell::new(Cache::new(self.capacity)));
        cache.borrow_mut().insert(token.into(), verified);
    }
}
