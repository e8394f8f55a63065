//! When wrong passwords are too many.

use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// When wrong passwords and codes are too many: 429 before a hash is spent. Counted by each process for itself, and with a
/// `cache.remote` of Redis by all of them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LockoutConfig {
    /// Wrong passwords for one name from one client address, at most 10000. Then a wait begins, a thirty-second of
    /// `window`, and each further wrong password doubles it, up to `window`.
    pub attempts: u32,
    /// Wrong passwords for one name from all client addresses that have not logged in to it before, at most 10000.
    pub account_attempts: u32,
    /// The longest wait; and the quiet time after which half of the wrong passwords are forgotten.
    pub window: Period,
    /// The most names and addresses that are remembered in memory.
    pub entries: u64,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self {
            attempts: 10,
            account_attempts: 100,
            window: Period::from_secs(15 * 60),
            entries: 100_000,
        }
    }
}

impl LockoutConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |key, why| Err(Error::Config { key, why });
        let limit = 1..=10_000;
        if !limit.contains(&self.attempts) {
            return wrong("lockout.attempts", "must be 1 to 10000");
        }
        if !limit.contains(&self.account_attempts) {
            return wrong("lockout.account_attempts", "must be 1 to 10000");
        }
        if self.window.as_secs() == 0 || self.window.as_secs() > 86_400 {
            return wrong("lockout.window", "must be 1s to 1d");
        }
        if self.entries == 0 {
            return wrong("lockout.entries", "must be at least 1");
        }
        Ok(())
    }
}
