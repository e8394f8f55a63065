//! Who has guessed wrong too often, and for how long nobody listens to them.
//!
//! Every name has two counts of wrong passwords, and both say no before a hash is spent:
//!
//! ```text
//!   name + client's address   `attempts`           whoever guesses from one place
//!   name                      `account_attempts`   whoever guesses from many
//! ```
//!
//! The second is not asked for an address that has logged in to the account before: else anybody
//! could lock a stranger out. At the limit a wait begins, and each further wrong password doubles
//! it, up to `window`. Every quiet `window` halves the count.
//!
//! Counts are by the name as it was typed, whether an account has it or not, and those of a username
//! and of an e-mail address are apart: otherwise they would tell which belong together.
//!
//! Memory of this process, and bounded. What processes share of it is the gate's (`gate`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use prometheus::IntCounter;
use sha2::{Digest, Sha256};
use store::{Id, Time};

use crate::Error;
use crate::config::LockoutConfig;

mod gate;

pub(crate) use gate::Gate;

/// Counts wrong passwords and codes.
#[derive(Debug)]
struct Lockout {
    config: LockoutConfig,
    counts: Cache<Key, Count>,
    /// Names, each with an address that it has logged in from.
    familiar: Cache<Key, ()>,
    refused: IntCounter,
}

/// A guess that was let in. Where it is dropped, nobody was told whether it was right, and it counts
/// nothing: clients that give up while a database stands still are not locked out when it is back.
#[derive(Debug)]
#[must_use = "a guess that is dropped counts nothing"]
struct Guess {
    lockout: Arc<Lockout>,
    near: Key,
    /// The count of all addresses, when that applies.
    far: Option<Key>,
    begun: Time,
    /// It ends as one that counts nothing.
    open: bool,
}

impl Lockout {
    fn new(config: LockoutConfig, refused: IntCounter) -> Self {
        let counts = Cache::builder()
            .max_capacity(config.entries)
            // By then the highest count has decayed to nothing.
            .time_to_idle(*config.window * (HALVINGS + 1));
        let familiar = Cache::builder()
            .max_capacity(config.entries)
            .time_to_idle(FAMILIAR);
        Self {
            counts: counts.build(),
            familiar: familiar.build(),
            config,
            refused,
        }
    }

    /// Lets a guess in by its address, or says for how long none is: [`Error::LockedOut`].
    fn admit_near(self: &Arc<Self>, near: Key, now: Time) -> Result<Guess, Error> {
        self.begin(near, self.config.attempts, now)?;
        Ok(Guess {
            lockout: self.clone(),
            near,
            far: None,
            begun: now,
            open: true,
        })
    }

    /// Lets it in by the count of all addresses as well, unless its own is a familiar one.
    fn admit_far(&self, mut guess: Guess, who: &str) -> Result<Guess, Error> {
        if !self.familiar.contains_key(&guess.near) {
            let far = Key::far(who);
            self.begin(far, self.config.account_attempts, guess.begun)?;
            guess.far = Some(far);
        }
        Ok(guess)
    }

    /// Starts anew for somebody, wherever they are: the password is a new one.
    fn clear(&self, who: &str, from: Option<IpAddr>) {
        for key in [Key::far(who), Key::near(who, from)] {
            self.change(key, |count| count.wrong = 0);
        }
    }

    fn begin(&self, key: Key, limit: u32, now: Time) -> Result<(), Error> {
        let mut refused = None;
        let window = *self.config.window;
        self.counts.entry(key).and_compute_with(|entry| {
            let count = entry.map_or(Count::none(now), |entry| entry.into_value());
            let mut count = count.decayed(window, now);
            refused = count.refuses(limit, now);
            count.running += u32::from(refused.is_none());
            Op::Put(count)
        });
        match refused {
            None => Ok(()),
            Some(wait) => {
                self.refused.inc();
                Err(Error::LockedOut(wait))
            }
        }
    }

    /// Changes a count that is there.
    fn change(&self, key: Key, change: impl FnOnce(&mut Count)) {
        self.counts.entry(key).and_compute_with(|entry| {
            let Some(entry) = entry else { return Op::Nop };
            let mut count = entry.into_value();
            change(&mut count);
            Op::Put(count)
        });
    }
}

impl Guess {
    /// The password was right. The address is a familiar one from now on, for all `names` of the account.
    fn right<'n>(mut self, from: Option<IpAddr>, names: impl Iterator<Item = &'n str>) {
        self.open = false;
        self.lockout.change(self.near, Count::right);
        if let Some(far) = self.far {
            self.lockout.change(far, Count::undecided);
        }
        for name in names {
            self.lockout.familiar.insert(Key::near(name, from), ());
        }
    }

    /// The password was wrong.
    fn wrong(mut self) {
        self.open = false;
        let Lockout { config, .. } = &*self.lockout;
        let keys = std::iter::once((self.near, config.attempts));
        for (key, limit) in keys.chain(self.far.map(|far| (far, config.account_attempts))) {
            let wrong = |count: &mut Count| count.wrong(limit, *config.window, self.begun);
            self.lockout.change(key, wrong);
        }
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        if self.open {
            for key in std::iter::once(self.near).chain(self.far) {
                self.lockout.change(key, Count::undecided);
            }
        }
    }
}

/// Who a user is to the counts, where no name was typed.
pub(crate) fn of_user(user: Id) -> String {
    format!("user {user}")
}

/// What is counted, hashed: names of any length cost the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key([u8; 16]);

impl Key {
    fn near(who: &str, from: Option<IpAddr>) -> Self {
        match from.map(|address| address.to_canonical()) {
            None => Self::new(0, &[], who),
            Some(IpAddr::V4(address)) => Self::new(4, &address.octets(), who),
            // A household has at least a /64 (RFC 6177).
            Some(IpAddr::V6(address)) => Self::new(6, &address.octets()[..8], who),
        }
    }

    fn far(who: &str) -> Self {
        Self::new(FAR, &[], who)
    }

    /// Whether it is of all addresses.
    const fn is_far(self) -> bool {
        self.0[0] & 1 == 1
    }

    fn new(kind: u8, address: &[u8], who: &str) -> Self {
        let hash = Sha256::new()
            .chain_update([kind])
            .chain_update(address)
            .chain_update(who)
            .finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        key[0] = key[0] & !1 | u8::from(kind == FAR);
        Self(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How often somebody was wrong.
#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    /// Guesses that are let in and not yet decided.
    running: u32,
    /// The end of the wait, or the last wrong guess.
    until: Time,
}

impl Count {
    const fn none(now: Time) -> Self {
        Self {
            wrong: 0,
            running: 0,
            until: now,
        }
    }

    fn decayed(mut self, window: Duration, now: Time) -> Self {
        let quiet = now.since(self.until).as_millis() / window.as_millis().max(1);
        let quiet = u32::try_from(quiet).unwrap_or(u32::MAX);
        if quiet > 0 {
            self.wrong = self.wrong.checked_shr(quiet).unwrap_or(0);
            self.until = self.until.plus(window.saturating_mul(quiet));
        }
        self
    }

    /// For how long to refuse guesses, if at all.
    fn refuses(&self, limit: u32, now: Time) -> Option<Duration> {
        if self.wrong >= limit && now < self.until {
            return Some(self.until.since(now));
        }
        // Who sends many at once gets no more of them in than one after another.
        let room = limit.saturating_sub(self.wrong).max(1);
        (self.running >= room).then_some(Duration::from_secs(1))
    }

    fn wrong(&mut self, limit: u32, window: Duration, now: Time) {
        self.undecided();
        let most = limit.saturating_add(DOUBLINGS);
        self.wrong = self.wrong.saturating_add(1).min(most);
        self.until = self.until.max(now);
        if self.wrong >= limit {
            let first = (window / (1 << DOUBLINGS)).max(Duration::from_secs(1));
            let wait = first * (1 << (self.wrong - limit));
            self.until = now.plus(wait.min(window));
        }
    }

    fn right(&mut self) {
        self.undecided();
        self.wrong = 0;
    }

    fn undecided(&mut self) {
        self.running = self.running.saturating_sub(1);
    }
}

/// The kind of key that is of all addresses.
const FAR: u8 = 1;
/// From the first wait to the longest, which is the window.
const DOUBLINGS: u32 = 5;
/// Quiet windows until a count is gone: limits are below two to the power of this.
const HALVINGS: u32 = 16;
/// How long an address stays familiar after the last login from it.
const FAMILIAR: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
mod tests;
