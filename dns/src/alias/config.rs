//! Who is asked for the addresses of others' names, as it is written.

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// Who is asked for the addresses that `ALIAS` records lead to, where these are not in zones of this server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResolverConfig {
    /// Resolvers: addresses, perhaps with a port (`"127.0.0.1:5353"`). Those of `/etc/resolv.conf` when there are none.
    pub servers: Vec<Located<String>>,
    /// How long a server has for an answer, of two tries.
    pub timeout: Located<Period>,
    /// A target is asked for again when its TTL is over, but not sooner than this.
    pub soonest: Located<Period>,
    /// And not later than this.
    pub latest: Located<Period>,
    /// How long the last addresses are answered when they cannot be asked for any more; then `SERVFAIL`.
    pub stale: Located<Period>,
    /// Whether targets may lead to private addresses (RFC 1918, RFC 4193). Loopback, link-local, multicast and
    /// unspecified addresses are never taken.
    pub private: bool,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        let period = |seconds| Located::nowhere(Period::from_secs(seconds));
        Self {
            servers: Vec::new(),
            timeout: period(2),
            soonest: period(5),
            latest: period(300),
            stale: period(86_400),
            private: false,
        }
    }
}
