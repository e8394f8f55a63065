//! What the user services can be told. Every default is fit for production on one machine.

use std::path::PathBuf;

use chassis::units::{Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod bootstrap;
mod cache;
mod data;
mod lockout;
mod mistakes;
mod recovery;
mod services;

use crate::Error;

pub use bootstrap::BootstrapConfig;
pub use cache::{CacheAddress, CacheConfig, RemoteConfig, RemoteKind};
pub use data::{DataConfig, Durability, ServerAddress, ShardConfig};
pub use lockout::LockoutConfig;
pub(crate) use mistakes::{Mistake, Mistakes};
pub use recovery::{RecoveryConfig, WebhookConfig};
pub use services::{PartConfig, ServicesConfig};

/// The settings of the user services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the data lives.
    pub data: DataConfig,
    /// What is kept in memory in front of the data.
    pub cache: CacheConfig,
    /// How passwords are hashed.
    pub hash: HashConfig,
    /// The tokens handed out at login.
    pub tokens: TokenConfig,
    /// When wrong passwords are too many.
    pub lockout: LockoutConfig,
    /// How users who have forgotten their password get a new one.
    pub recovery: RecoveryConfig,
    /// The first administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapConfig>,
    /// How long is kept who logged in, and what changed.
    pub history: HistoryConfig,
    /// Where the parts of the services are, when each runs in processes of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServicesConfig>,
}

/// How passwords are hashed: argon2id with one lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HashConfig {
    /// Threads that hash. Without it: half the cores, at least one.
    #[schemars(range(min = 1))]
    pub threads: Option<u16>,
    /// The most hashes that wait for a thread; above it requests are refused with 503, registrations before logins.
    #[schemars(range(min = 1))]
    pub queue: u32,
    /// Memory of one hash, at least 8KiB. A change rehashes every password at its next login.
    pub memory: Size,
    /// Passes over the memory, at least 1.
    #[schemars(range(min = 1))]
    pub iterations: u32,
}

/// The tokens handed out at login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenConfig {
    /// Who issues the tokens (the claim `iss`).
    pub issuer: String,
    /// Whom the tokens are for (the claim `aud`).
    pub audience: String,
    /// How long an access token is valid.
    pub access_ttl: Period,
    /// How long a refresh token is valid, and so how long an unused session lives.
    pub refresh_ttl: Period,
    /// The directory of the signing keys, Ed25519 in PKCS #8 PEM files. The last file by name
    /// signs, all are published. Without it: `keys` below the data directory.
    pub keys: Option<PathBuf>,
    /// The age at which the newest key is followed by a new one, looked at when the keys are
    /// read: at start and at reload. "0s" never makes another key.
    pub rotate_after: Period,
}

/// How long is kept who logged in, and what changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// How many whole months are kept besides the current one, 1 to 120. Those before are dropped within an hour.
    #[schemars(range(min = 1, max = 120))]
    pub keep_months: u16,
    /// A directory where a month is written before it is dropped, as `history_YEAR_MONTH.shardN.jsonl`: one file a
    /// shard, one line of JSON an event. It holds addresses of people: only this user may read it, and nothing is ever
    /// deleted there. Without it: what is dropped is gone.
    pub archive: Option<PathBuf>,
}

impl Default for HashConfig {
    fn default() -> Self {
        Self {
            threads: None,
            queue: 64,
            memory: Size::from_kib(19 * 1024),
            iterations: 2,
        }
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self {
            issuer: "tidegate".to_owned(),
            audience: "tidegate".to_owned(),
            access_ttl: Period::from_secs(5 * 60),
            refresh_ttl: Period::from_secs(30 * 86_400),
            keys: None,
            rotate_after: Period::from_secs(90 * 86_400),
        }
    }
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            keep_months: 13,
            archive: None,
        }
    }
}

impl Config {
    /// Where the signing keys are.
    pub fn keys_dir(&self) -> PathBuf {
        let keys = self.tokens.keys.clone();
        keys.unwrap_or_else(|| self.data.dir.join("keys"))
    }

    /// What serde cannot say: the first value that does not work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.mistakes().iter().next() {
            Some(first) => Err(first.into()),
            None => Ok(()),
        }
    }

    /// What serde cannot say: every value that does not work.
    pub(crate) fn mistakes(&self) -> Mistakes {
        let services = self.services.as_ref();
        let services = services.map(|services| services.mistakes(&self.cache));
        let bootstrap = self.bootstrap.as_ref().map(BootstrapConfig::mistakes);
        self.tokens
            .mistakes()
            .and(self.hash.mistakes())
            .and(self.cache.mistakes())
            .and(services.unwrap_or_default())
            .and(self.lockout.mistakes())
            .and(self.recovery.mistakes())
            .and(bootstrap.unwrap_or_default())
            .and(self.history.mistakes())
            .and(self.data.mistakes())
    }
}

impl TokenConfig {
    fn mistakes(&self) -> Mistakes {
        let sound = *self.refresh_ttl >= *self.access_ttl;
        Mistakes::default()
            .unless(
                self.access_ttl.as_secs() > 0,
                "tokens.access_ttl",
                "must be at least 1s",
            )
            .unless(
                sound,
                "tokens.refresh_ttl",
                "must not be shorter than access_ttl",
            )
    }
}

impl HashConfig {
    fn mistakes(&self) -> Mistakes {
        // RFC 9106, section 3.1: 8 KiB a lane, and a pass.
        let memory = self.memory.bytes() >= 8 * 1024;
        Mistakes::default()
            .unless(
                self.threads != Some(0),
                "hash.threads",
                "must be at least 1",
            )
            .unless(self.queue > 0, "hash.queue", "must be at least 1")
            .unless(memory, "hash.memory", "must be at least 8KiB")
            .unless(self.iterations > 0, "hash.iterations", "must be at least 1")
    }
}

impl HistoryConfig {
    fn mistakes(&self) -> Mistakes {
        let sound = (1..=120).contains(&self.keep_months);
        Mistakes::default().unless(sound, "history.keep_months", "must be 1 to 120")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        Config::default().check().unwrap();
    }

    #[test]
    fn the_defaults_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_explained_in_the_schema() {
        fn check(path: &str, schema: &serde_json::Value) {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let text = &property["description"];
                assert!(text.is_string(), "{path}.{name} has no description");
            }
        }
        let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
        check("", &schema);
        let sections = schema["$defs"].as_object().unwrap();
        assert_eq!(sections.len(), 15);
        sections
            .iter()
            .for_each(|(name, section)| check(name, section));
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for text in [
            "[hash]\nmemroy = \"1MiB\"",
            "[dta]",
            "[tokens]\nalg = \"none\"",
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn values_that_do_not_work_are_refused() {
        for text in [
            "[tokens]\naccess_ttl = \"0s\"",
            "[tokens]\nrefresh_ttl = \"1s\"",
            "[hash]\nthreads = 0",
            "[hash]\nqueue = 0",
            "[hash]\nmemory = \"1KiB\"",
            "[hash]\niterations = 0",
            "[data]\nshards = 0",
            "[data]\nshards = 5000",
            "[lockout]\nattempts = 0",
            "[lockout]\naccount_attempts = 10001",
            "[lockout]\nwindow = \"0s\"",
            "[lockout]\nentries = 0",
            "[recovery]\ntoken_ttl = \"0s\"",
            "[recovery]\ninterval = \"1h\"",
            "[bootstrap]\nusername = \"x\"\nemail = \"a@b.org\"\npassword = \"long enough\"",
            "[bootstrap]\nusername = \"root\"\nemail = \"a\"\npassword = \"long enough\"",
            "[bootstrap]\nusername = \"root\"\nemail = \"a@b.org\"\npassword = \"short\"",
            "[history]\nkeep_months = 0",
            "[history]\nkeep_months = 121",
        ] {
            assert!(
                toml::from_str::<Config>(text).unwrap().check().is_err(),
                "{text}"
            );
        }
    }
}
