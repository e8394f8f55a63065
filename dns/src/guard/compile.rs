//! Where the configuration of the guard is judged.

use std::net::IpAddr;

use chassis::config::Diagnostic;
use ipnet::IpNet;

use super::{CookieSecret, Cookies, CookiesConfig, Guard, Kept, Limiter, RateLimitConfig};
use crate::config::Config;

/// The longest name that the server may tell of itself, in octets.
pub(crate) const LONGEST_IDENTITY: usize = 64;
/// More secrets cost a hash each, for every cookie that is none of ours.
const MOST_SECRETS: usize = 4;

/// Judges a configuration; mistakes are added to those that are known.
pub(crate) fn compile(config: &Config, kept: &Kept, mistakes: &mut Vec<Diagnostic>) -> Guard {
    let identity = config.nsid.as_ref();
    if let Some(name) = identity.filter(|name| !(1..=LONGEST_IDENTITY).contains(&name.len())) {
        mistakes.push(name.wrong(format!("from 1 to {LONGEST_IDENTITY} octets")));
    }
    Guard {
        cookies: cookies(&config.cookies, kept, mistakes),
        limiter: config
            .rate_limit
            .as_ref()
            .and_then(|limit| limiter(limit, kept, mistakes)),
        identity: identity.map_or_else(Box::default, |name| name.as_bytes().into()),
    }
}

fn cookies(config: &CookiesConfig, kept: &Kept, mistakes: &mut Vec<Diagnostic>) -> Option<Cookies> {
    let before = mistakes.len();
    let mut secrets = Vec::new();
    let written = config.secrets.as_ref();
    if let Some(none) = written.filter(|secrets| secrets.is_empty()) {
        let help = "without `secrets` the process makes one up at its start";
        mistakes.push(none.wrong("no secret signs cookies").help(help));
    }
    if *config.require && !config.enabled {
        let what = "no client could get the cookie that is required: `enabled` is false";
        mistakes.push(config.require.wrong(what));
    }
    let written = written.map_or(&[][..], |secrets| secrets);
    for secret in written {
        match CookieSecret::from_hex(secret.expose()) {
            Some(secret) => secrets.push(secret),
            None => mistakes.push(secret.wrong("a secret is 32 hexadecimal digits").help(
                "make one with `openssl rand -hex 16`, the same for all servers behind an address",
            )),
        }
    }
    if let Some(secret) = written.get(MOST_SECRETS) {
        mistakes.push(secret.wrong(format!("at most {MOST_SECRETS} secrets")));
    }
    if !config.enabled || mistakes.len() > before {
        return None;
    }
    Some(match secrets.is_empty() {
        true => Cookies::own(kept.secret.clone(), *config.require),
        false => Cookies::shared(secrets, *config.require),
    })
}

fn limiter(
    config: &RateLimitConfig,
    kept: &Kept,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Limiter> {
    let before = mistakes.len();
    if !(1..=1_000_000).contains(&*config.limit) {
        mistakes.push(config.limit.wrong("from 1 to 1000000 answers a second"));
    }
    for (bits, most) in [(&config.ipv4_prefix, 32), (&config.ipv6_prefix, 128)] {
        if !(1..=most).contains(&**bits) {
            mistakes.push(bits.wrong(format!("from 1 to {most} bits")));
        }
    }
    let mut exempt = Vec::new();
    for network in &config.exempt {
        match (network.parse::<IpNet>(), network.parse::<IpAddr>()) {
            (Ok(parsed), _) => exempt.push(parsed.trunc()),
            (_, Ok(address)) => exempt.push(address.into()),
            _ => mistakes.push(network.wrong("neither an address nor a network")),
        }
    }
    let table = kept.table.get_or_init(Default::default);
    let bits = [*config.ipv4_prefix, *config.ipv6_prefix];
    (mistakes.len() == before)
        .then(|| Limiter::new(table.clone(), *config.limit, config.slip, bits, &exempt))
}
