//! What is kept in front of the data: in memory, and on servers that all processes share.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cache::{Kind, Limits, Node, Options, Password};
use chassis::config::Secret;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mistakes;

/// What is kept in memory in front of the data, and on servers that all processes share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// The most profiles kept in memory.
    pub profiles: u64,
    /// How long a profile is served without a look at the data, from memory and from a `remote` each. A change shows at once in the process that makes it; in others at once
    /// with a `remote` of Redis, after a second with one of Memcached, and else after this time.
    pub profile_ttl: Period,
    /// How long after that an old profile is still served, while it is loaded anew or its shard is away.
    pub profile_stale: Period,
    /// The most sessions kept in memory.
    pub sessions: u64,
    /// The same for a session's state: whether it has ended.
    pub session_ttl: Period,
    /// How long it is remembered that something does not exist.
    pub negative_ttl: Period,
    /// Servers that all processes of the service share as a second level.
    pub remote: Option<RemoteConfig>,
}

/// Servers that all processes share. While they are away the service is slower, and right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// What they are.
    pub kind: RemoteKind,
    /// Where they are: `"HOST:PORT"`. Of a cluster, or of sentinels, some to begin with; else keys are dealt out to all.
    pub nodes: Vec<CacheAddress>,
    /// Servers of the same kind that stand in while one of `nodes` is away. What they hold lives for ten seconds.
    #[serde(default)]
    pub gutter: Vec<CacheAddress>,
    /// The name under which the sentinels know the primary.
    #[serde(default)]
    pub primary: Option<String>,
    /// As whom to log in to Redis.
    #[serde(default)]
    pub user: Option<String>,
    /// With which password: `"${VARIABLE}"` or `"${file:PATH}"`.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// How long a server may take to answer. One that takes longer is left alone until it answers again.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// What every key on the servers begins with.
    #[serde(default = "default_prefix")]
    pub prefix: String,
}

/// What the shared servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteKind {
    /// Redis 6.2 or newer, each server by itself.
    Redis,
    /// A Redis Cluster.
    RedisCluster,
    /// A Redis primary that sentinels watch over.
    RedisSentinel,
    /// Memcached 1.6 or newer, each server by itself.
    Memcached,
}

/// The address of a server: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct CacheAddress(Node);

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            profiles: 100_000,
            profile_ttl: Period::from_secs(60),
            profile_stale: Period::from_secs(60),
            sessions: 100_000,
            session_ttl: Period::from_secs(10),
            negative_ttl: Period::from_secs(5),
            remote: None,
        }
    }
}

fn default_timeout() -> Period {
    Period::from_millis(100)
}

fn default_prefix() -> String {
    "tidegate".to_owned()
}

impl CacheConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn mistakes(&self) -> Mistakes {
        let remote = self.remote.as_ref();
        remote.map(RemoteConfig::mistakes).unwrap_or_default()
    }

    pub(crate) fn profile_limits(&self, lag_bound: Duration) -> Limits {
        self.limits(
            self.profiles,
            self.profile_ttl,
            *self.profile_stale,
            lag_bound,
        )
    }

    pub(crate) fn session_limits(&self, lag_bound: Duration) -> Limits {
        // That a session has ended is not to be served late.
        self.limits(self.sessions, self.session_ttl, Duration::ZERO, lag_bound)
    }

    fn limits(&self, entries: u64, ttl: Period, stale: Duration, lag_bound: Duration) -> Limits {
        Limits {
            entries,
            ttl: *ttl,
            negative_ttl: *self.negative_ttl,
            stale,
            jitter: 0.1,
            // Whoever reads a replica at its bound, and how long that may take.
            marks: lag_bound * 2 + Duration::from_secs(5),
        }
    }
}

impl RemoteConfig {
    fn mistakes(&self) -> Mistakes {
        let sentinel = self.kind == RemoteKind::RedisSentinel;
        let memcached = self.kind == RemoteKind::Memcached;
        let names_someone = self.user.is_some() || self.password.is_some();
        let has_v6 = self.addresses().any(|node| node.host.contains(':'));
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let prefix = (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(sound);
        Mistakes::default()
            .unless(
                !self.nodes.is_empty(),
                "cache.remote.nodes",
                "must name a server",
            )
            .unless(
                sentinel == self.primary.is_some(),
                "cache.remote.primary",
                "is for sentinels, and they need it",
            )
            .unless(
                !(memcached && names_someone),
                "cache.remote.password",
                "is for Redis",
            )
            .unless(
                !(memcached && has_v6),
                "cache.remote.nodes",
                "must be names or IPv4 addresses for Memcached",
            )
            .unless(
                !sentinel || self.gutter.is_empty(),
                "cache.remote.gutter",
                "is not for sentinels: they replace a server themselves",
            )
            .unless(
                !self.timeout.is_zero(),
                "cache.remote.timeout",
                "must be longer than 0s",
            )
            .unless(
                prefix,
                "cache.remote.prefix",
                "must be 1 to 64 letters, digits, '-', '_' and '.'",
            )
    }

    pub(crate) fn options(&self) -> Options {
        let nodes = |addresses: &[CacheAddress]| -> Vec<_> {
            addresses.iter().map(|address| address.0.clone()).collect()
        };
        // A variable that is not set is no password.
        let password = self.password.as_ref();
        let password = password.filter(|secret| !secret.expose().is_empty());
        Options {
            kind: match self.kind {
                RemoteKind::Redis => Kind::Redis,
                RemoteKind::RedisCluster => Kind::RedisCluster,
                RemoteKind::RedisSentinel => {
                    Kind::RedisSentinel(self.primary.clone().unwrap_or_default())
                }
                RemoteKind::Memcached => Kind::Memcached,
            },
            nodes: nodes(&self.nodes),
            gutter: nodes(&self.gutter),
            timeout: *self.timeout,
            prefix: self.prefix.clone(),
            user: self.user.clone(),
            password: password.map(|secret| Password(secret.expose().to_owned())),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .chain(&self.gutter)
            .map(|address| &address.0)
    }
}

impl FromStr for CacheAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let node = text.parse();
        node.map(Self).map_err(|why| format!("`{text}`: {why}"))
    }
}

impl TryFrom<String> for CacheAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CacheAddress> for String {
    fn from(address: CacheAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for CacheAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mistake;
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, key) in [
            ("kind = 'redis'\nnodes = []", "nodes"),
            ("kind = 'redis-sentinel'\nnodes = ['a:1']", "primary"),
            ("kind = 'redis'\nnodes = ['a:1']\nprimary = 'm'", "primary"),
            (
                "kind = 'memcached'\nnodes = ['a:1']\npassword = 'x'",
                "password",
            ),
            ("kind = 'memcached'\nnodes = ['[::1]:1']", "nodes"),
            ("kind = 'redis'\nnodes = ['a:1']\ntimeout = '0s'", "timeout"),
            ("kind = 'redis'\nnodes = ['a:1']\nprefix = 'a b'", "prefix"),
        ] {
            let remote = toml::from_str(text).unwrap();
            let config = CacheConfig {
                remote: Some(remote),
                ..CacheConfig::default()
            };
            let Some(Mistake { key: found, .. }) = config.mistakes().iter().next() else {
                panic!("{text} is refused");
            };
            assert_eq!(found, format!("cache.remote.{key}"));
        }
        for node in ["a", "a:", ":1", "a:x", "a b:1", "a:70000", "a:0", "::1:1"] {
            assert!(node.parse::<CacheAddress>().is_err(), "{node}");
        }
        for node in ["redis-1.internal:6379", "10.0.0.1:1", "[2001:db8::1]:6379"] {
            assert_eq!(node.parse::<CacheAddress>().unwrap().to_string(), node);
        }
    }

    #[test]
    fn the_password_stays_out_of_sight() {
        let text = "kind = 'redis'\nnodes = ['a:1']\npassword = 'hidden'";
        let remote: RemoteConfig = toml::from_str(text).unwrap();
        for shown in [format!("{remote:?}"), format!("{:?}", remote.options())] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }
}
