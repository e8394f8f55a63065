//! Where the parts of the services are, when each runs in processes of its own.

use std::net::SocketAddr;

use chassis::config::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CacheConfig, Mistakes, RemoteKind};
use crate::parts::Part;

/// Where the parts of the services are, when each runs in processes of its own: `tidegate users --service NAME`.
/// They need the same `data`, the same `tokens.keys`, and a `cache.remote` of Redis, by which they hear of each other's changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServicesConfig {
    /// By which the parts know each other, at least 16 characters: `"${VARIABLE}"` or `"${file:PATH}"`. They speak HTTP
    /// without TLS, and passwords are among what they say: keep them on a network of their own.
    #[serde(skip_serializing)]
    pub secret: Secret,
    /// Registration, passwords and second factors, recovery, administration; all hashing.
    pub accounts: PartConfig,
    /// Logins, tokens and their keys, sessions.
    pub sessions: PartConfig,
    /// Profiles.
    pub profiles: PartConfig,
    /// What happened to accounts.
    pub history: PartConfig,
}

/// Where a part is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// Where it listens, in the place of `listen.address`.
    pub listen: SocketAddr,
    /// Where operators look at it, in the place of `admin.address`.
    pub admin: SocketAddr,
    /// Where the others find it: `"http://HOST:PORT"`. Without it: at `listen`.
    #[serde(default)]
    pub url: Option<String>,
}

impl ServicesConfig {
    /// Where a part is.
    pub fn part(&self, part: Part) -> &PartConfig {
        match part {
            Part::Accounts => &self.accounts,
            Part::Sessions => &self.sessions,
            Part::Profiles => &self.profiles,
            Part::History => &self.history,
        }
    }

    /// What serde cannot say: values that do not work.
    pub(super) fn mistakes(&self, cache: &CacheConfig) -> Mistakes {
        let remote = cache.remote.as_ref();
        let tells = remote.is_some_and(|remote| remote.kind != RemoteKind::Memcached);
        let mistakes = Mistakes::default()
            .unless(
                self.secret.expose().len() >= 16,
                "services.secret",
                "must have at least 16 characters",
            )
            .unless(
                tells,
                "services",
                "need a `cache.remote` of Redis, by which they hear of each other's changes",
            );
        let urls = [
            (&self.accounts, "services.accounts.url"),
            (&self.sessions, "services.sessions.url"),
            (&self.profiles, "services.profiles.url"),
            (&self.history, "services.history.url"),
        ];
        urls.into_iter().fold(mistakes, |mistakes, (part, key)| {
            let url = part.url.as_ref();
            let sound = url.is_none_or(|url| url.starts_with("http://"));
            mistakes.unless(sound, key, "must begin with http://")
        })
    }
}

impl PartConfig {
    pub(crate) fn url(&self) -> String {
        let here = || format!("http://{}", self.listen);
        self.url.clone().unwrap_or_else(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_their_own_need_a_secret_and_redis() {
        let part = "{ listen = '127.0.0.1:1', admin = '127.0.0.1:2' }";
        let parts: String = ["accounts", "sessions", "profiles", "history"]
            .map(|name| format!("{name} = {part}\n"))
            .concat();
        let read = |secret: &str| -> ServicesConfig {
            toml::from_str(&format!("secret = '{secret}'\n{parts}")).unwrap()
        };
        let none = CacheConfig::default();
        let with = |kind: &str| CacheConfig {
            remote: Some(toml::from_str(&format!("kind = '{kind}'\nnodes = ['a:1']")).unwrap()),
            ..CacheConfig::default()
        };
        let long = read("0123456789abcdef");
        let sound = |services: &ServicesConfig, cache: &CacheConfig| {
            services.mistakes(cache) == Mistakes::default()
        };
        assert!(sound(&long, &with("redis-cluster")));
        assert!(!sound(&long, &none));
        assert!(!sound(&long, &with("memcached")));
        assert!(!sound(&read("short"), &with("redis")));
        assert_eq!(long.part(Part::History).url(), "http://127.0.0.1:1");
        assert!(!format!("{long:?}").contains("0123456789abcdef"));
    }
}
