//! How users who have forgotten their password get a new one.

use std::path::PathBuf;

use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// How users who have forgotten their password get a new one: a token by e-mail, which a program of yours sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// The directory in which messages are put, a JSON file each, complete when it ends in `.json`; made if it is
    /// missing, readable by this user only. Without it nobody can recover an account.
    pub spool: Option<PathBuf>,
    /// How long a token is valid.
    pub token_ttl: Period,
    /// The least time between two messages to one user.
    pub interval: Period,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            spool: None,
            token_ttl: Period::from_secs(30 * 60),
            interval: Period::from_secs(2 * 60),
        }
    }
}

impl RecoveryConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |key, why| Err(Error::Config { key, why });
        if self.token_ttl.as_secs() == 0 || self.token_ttl.as_secs() > 86_400 {
            return wrong("recovery.token_ttl", "must be 1s to 1d");
        }
        if *self.interval > *self.token_ttl {
            return wrong("recovery.interval", "must not be longer than token_ttl");
        }
        Ok(())
    }
}
