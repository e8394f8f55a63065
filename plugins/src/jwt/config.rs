//! The table of the `jwt` plugin, and building an instance from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::config::{Diagnostic, Located};
use chassis::units::Period;
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::Keys;
use super::remote::Remote;
use super::token::Checks;
use super::verified::VerifiedTokens;
use super::{Jwt, Source};
use crate::plugin::Plugin;
use crate::registry::Setting;

/// Lets only requests with a valid access token (`Authorization: Bearer`) through; others get 401.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The URL of a JSON Web Key Set. It is fetched at the start, every
    /// `refresh`, and when a token names an unknown key, which waits for it (at most one fetch a second).
    #[serde(default)]
    jwks: Option<Located<String>>,
    /// Keys written here, in place of `jwks`.
    #[serde(default)]
    keys: Vec<KeyConfig>,
    /// How often to fetch the key set.
    #[serde(default = "default_refresh")]
    refresh: Period,
    /// Who must have issued the token (`iss`).
    #[serde(default)]
    issuer: Option<String>,
    /// Whom the token must be meant for (`aud`).
    #[serde(default)]
    audience: Option<String>,
    /// How far clocks may be apart.
    #[serde(default)]
    leeway: Period,
    /// Claims to tell the upstream, as `claim = "header"`. The client's own
    /// headers of these names are removed.
    #[serde(default)]
    forward: BTreeMap<String, Located<String>>,
    /// Lets requests without a token through; an invalid token is refused all the same.
    #[serde(default)]
    optional: bool,
    /// How many verified tokens each thread remembers.
    #[serde(default = "default_remember")]
    remember: Located<u32>,
}

/// A public key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyConfig {
    /// The key's id, as in a token's `kid`.
    pub(super) id: String,
    /// The public key in PEM: Ed25519, P-256, P-384 or RSA.
    pub(super) pem: Located<String>,
}

fn default_refresh() -> Period {
    Period::from_secs(300)
}

fn default_remember() -> Located<u32> {
    Located::nowhere(10_000)
}

pub(super) fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let source = match (&config.jwks, config.keys.as_slice()) {
        (Some(url), []) => Source::Remote(remote(setting, url, config.refresh)?),
        (None, [_, ..]) => Source::Inline(Arc::new(Keys::inline(&config.keys)?)),
        _ => {
            let place = setting.table.place();
            return Err(Diagnostic::new(place, "needs either `jwks` or `keys`")
                .help("jwks = \"https://accounts.example.com/.well-known/jwks.json\""));
        }
    };
    let forward = config
        .forward
        .iter()
        .map(|(claim, name)| {
            let name =
                HeaderName::try_from(&***name).map_err(|_| name.wrong("not a name of a header"))?;
            Ok((claim.clone(), name))
        })
        .collect::<Result<_, Diagnostic>>()?;
    if *config.remember == 0 || *config.remember > 10_000_000 {
        return Err(config.remember.wrong("must be from 1 to 10000000"));
    }
    Ok(Arc::new(Jwt {
        source,
        checks: Checks::new(
            config.issuer.as_deref(),
            config.audience.as_deref(),
            *config.leeway,
        ),
        verified: VerifiedTokens::new(*config.remember as usize),
        forward,
        optional: config.optional,
        name: setting.name.into(),
    }))
}

fn remote(
    setting: &Setting<'_>,
    url: &Located<String>,
    refresh: Period,
) -> Result<Arc<Remote>, Diagnostic> {
    let parsed: http::Uri = url.parse().map_err(|_| url.wrong("not a URL"))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
        return Err(url.wrong("not an http or https URL"));
    }
    if refresh.as_secs() == 0 {
        return Err(Diagnostic::new(
            setting.table.place(),
            "`refresh` is at least 1 s",
        ));
    }
    if let Some(old) = setting.previous::<Jwt>()
        && let Source::Remote(old) = &old.source
        && old.is(url, *refresh)
    {
        return Ok(old.clone());
    }
    Remote::start(setting.name, url, *refresh, setting.runtime)
        .map_err(|error| url.wrong(format!("cannot fetch keys: {error}")))
}
