//! How cookies and the limiter are configured.

use chassis::config::{Located, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// Cookies, by which clients show that their address is theirs (RFC 7873).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CookiesConfig {
    /// Whether clients that ask for a cookie get one.
    pub enabled: bool,
    /// What signs them: 32 hexadecimal digits each, better from a file: `"${file:/etc/tidegate/cookie-secret}"`. The first
    /// signs, all are taken. Servers behind one address must have the same. Without any, the process makes one up at its
    /// start, and a successor takes it over.
    pub secrets: Option<Located<Vec<Located<Secret>>>>,
    /// Whether clients that know cookies get `BADCOOKIE` over UDP until they send a valid one. Who sends none at all is
    /// answered.
    pub require: Located<bool>,
}

/// How many answers one network gets over UDP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Answers a second of each kind: records, none of them (no such name or type, referrals), and errors. As many may
    /// come at once.
    pub limit: Located<u32>,
    /// Every so many answers beyond the limit one is sent without records, so that who really asked comes over TCP, or with
    /// a cookie; 0 sends none.
    pub slip: u32,
    /// How many bits of an IPv4 address make a network.
    pub ipv4_prefix: Located<u8>,
    /// How many bits of an IPv6 address make a network.
    pub ipv6_prefix: Located<u8>,
    /// Addresses and networks that are not limited, such as `["192.0.2.0/24", "2001:db8::1"]`.
    pub exempt: Vec<Located<String>>,
}

impl Default for CookiesConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            secrets: None,
            require: Located::nowhere(false),
        }
    }
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            limit: Located::nowhere(200),
            slip: 2,
            ipv4_prefix: Located::nowhere(24),
            ipv6_prefix: Located::nowhere(56),
            exempt: Vec::new(),
        }
    }
}
