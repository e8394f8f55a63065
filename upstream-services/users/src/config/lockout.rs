//! When wrong passwords are too many.

use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mistakes;

/// When wrong passwords and codes are too many: 429 before a hash is spent. Counted by each process for itself, and with a
/// `cache.remote` of Redis by all of them together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LockoutConfig {
    /// Wrong passwords for one name from one client address, at most 10000. Then a wait begins, a thirty-second of
    /// `window`, and each further wrong password doubles it, up to `window`.
    #[schemars(range(min = 1, max = 10_000))]
    pub attempts: u32,
    /// Wrong passwords for one name from all client addresses that have not logged in to it before, at most 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub account_attempts: u32,
    /// The longest wait; and the quiet time after which half of the wrong passwords are forgotten.
    pub window: Period,
    /// The most names and addresses that are remembered in memory.
    #[schemars(range(min = 1))]
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
    pub(super) fn mistakes(&self) -> Mistakes {
        let limit = 1..=10_000;
        Mistakes::default()
            .unless(
                limit.contains(&self.attempts),
                "lockout.attempts",
                "must be 1 to 10000",
            )
            .unless(
                limit.contains(&self.account_attempts),
                "lockout.account_attempts",
                "must be 1 to 10000",
            )
            .unless(
                (1..=86_400).contains(&self.window.as_secs()),
                "lockout.window",
                "must be 1s to 1d",
            )
            .unless(self.entries > 0, "lockout.entries", "must be at least 1")
    }
}
