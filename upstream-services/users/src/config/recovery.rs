//! How users who have forgotten their password get a new one.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chassis::config::Secret;
use chassis::units::Period;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Mistake, Mistakes};

/// How users who have forgotten their password get a new one: a token by e-mail, which a program of yours sends. Without `spool`
/// and `webhook` nobody can recover an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// The directory in which messages are put, a JSON file each, complete when it ends in `.json`; made if it is
    /// missing, readable by this user only.
    pub spool: Option<PathBuf>,
    /// The server to which messages are sent, instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// How long a token is valid.
    pub token_ttl: Period,
    /// The least time between two messages to one user.
    pub interval: Period,
}

/// A server to which messages are sent: a POST of JSON each, signed as Standard Webhooks 1.0 describes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where it is: `https://`, or `http://` on this machine.
    pub url: String,
    /// What messages are signed with: `whsec_` and the base64 of 24 to 64 random bytes. Write `"${VARIABLE}"` or
    /// `"${file:PATH}"`.
    #[serde(skip_serializing)]
    pub secret: Secret,
    /// How long the answer may take, 100ms to 1m.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// How often a message is tried, 1 to 10: again when there is no answer, or 408, 429 or 5xx, after a second or less, then twice
    /// as long each time, up to half a minute.
    #[serde(default = "default_attempts")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// How many messages may wait, those on their way among them, 1 to 100000. Above it they are dropped; who asks again is
    /// sent one.
    #[serde(default = "default_queue")]
    #[schemars(range(min = 1, max = 100_000))]
    pub queue: u32,
}

const fn default_timeout() -> Period {
    Period::from_secs(5)
}

const fn default_attempts() -> u32 {
    5
}

const fn default_queue() -> u32 {
    1_000
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            spool: None,
            webhook: None,
            token_ttl: Period::from_secs(30 * 60),
            interval: Period::from_secs(2 * 60),
        }
    }
}

impl RecoveryConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn mistakes(&self) -> Mistakes {
        let webhook = self.webhook.as_ref();
        let alone = self.spool.is_none() || webhook.is_none();
        Mistakes::default()
            .unless(
                (1..=86_400).contains(&self.token_ttl.as_secs()),
                "recovery.token_ttl",
                "must be 1s to 1d",
            )
            .unless(
                *self.interval <= *self.token_ttl,
                "recovery.interval",
                "must not be longer than token_ttl",
            )
            .unless(
                alone,
                "recovery.webhook",
                "stands beside `spool`: take one out",
            )
            .and(webhook.map(WebhookConfig::mistakes).unwrap_or_default())
    }
}

impl WebhookConfig {
    fn mistakes(&self) -> Mistakes {
        Mistakes::default()
            .read(self.url())
            .read(self.key())
            .unless(
                (100..=60_000).contains(&self.timeout.as_millis()),
                "recovery.webhook.timeout",
                "must be 100ms to 1m",
            )
            .unless(
                (1..=10).contains(&self.attempts),
                "recovery.webhook.attempts",
                "must be 1 to 10",
            )
            .unless(
                (1..=100_000).contains(&self.queue),
                "recovery.webhook.queue",
                "must be 1 to 100000",
            )
    }

    /// Where it is: nowhere that a token would travel in the clear.
    pub(crate) fn url(&self) -> Result<Url, Mistake> {
        let wrong = |why| Mistake {
            key: "recovery.webhook.url",
            why,
        };
        let url = Url::parse(&self.url).map_err(|_| wrong("is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must hold no user and no password"));
        }
        let here = ["localhost", "127.0.0.1", "[::1]"];
        match url.scheme() {
            "https" => Ok(url),
            "http" if url.host_str().is_some_and(|host| here.contains(&host)) => Ok(url),
            _ => Err(wrong(
                "must begin with https://, or with http:// on this machine",
            )),
        }
    }

    /// The bytes that messages are signed with.
    pub(crate) fn key(&self) -> Result<Vec<u8>, Mistake> {
        let text = self.secret.expose().trim().strip_prefix("whsec_");
        let key = text.and_then(|text| STANDARD.decode(text).ok());
        key.filter(|key| (24..=64).contains(&key.len()))
            .ok_or(Mistake {
                key: "recovery.webhook.secret",
                why: "must be `whsec_` and the base64 of 24 to 64 bytes",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (url, more, key) in [
            ("https://mail.example.org/x", "", None),
            ("http://127.0.0.1:1/", "", None),
            ("http://[::1]:1/", "timeout = '1m'", None),
            ("http://mail.example.org/", "", Some("url")),
            ("http://127.0.0.1.example.org/", "", Some("url")),
            ("https://user@example.org/", "", Some("url")),
            ("mail.example.org", "", Some("url")),
            ("ftp://127.0.0.1/", "", Some("url")),
            ("https://a", "timeout = '0s'", Some("timeout")),
            ("https://a", "timeout = '61s'", Some("timeout")),
            ("https://a", "attempts = 0", Some("attempts")),
            ("https://a", "attempts = 11", Some("attempts")),
            ("https://a", "queue = 0", Some("queue")),
        ] {
            let text = format!("[webhook]\nurl = '{url}'\nsecret = '{SECRET}'\n{more}");
            assert_eq!(
                refused(&text),
                key.map(|key| format!("recovery.webhook.{key}")),
                "{text}"
            );
        }
        for secret in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let text = format!("[webhook]\nurl = 'https://a'\nsecret = '{secret}'");
            assert_eq!(refused(&text).as_deref(), Some("recovery.webhook.secret"));
        }
        let both = format!("spool = 'x'\nwebhook = {{ url = 'https://a', secret = '{SECRET}' }}");
        assert_eq!(refused(&both).as_deref(), Some("recovery.webhook"));
    }

    #[test]
    fn the_secret_stays_out_of_sight() {
        let text = format!("[webhook]\nurl = 'https://a'\nsecret = '{SECRET}'");
        let config: RecoveryConfig = toml::from_str(&text).unwrap();
        assert!(!format!("{config:?}").contains("MfKQ"), "{config:?}");
        assert!(!toml::to_string(&config).unwrap().contains("MfKQ"));
    }

    fn refused(text: &str) -> Option<String> {
        let config: RecoveryConfig = toml::from_str(text).unwrap();
        let first = config.mistakes().iter().next();
        first.map(|mistake| mistake.key.to_owned())
    }
}
