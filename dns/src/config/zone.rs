//! Zones.

use std::path::PathBuf;

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dnssec::ZoneDnssecConfig;
use crate::transfer::{PeerConfig, TransferRuleConfig};

/// A zone. Its records are those of `file`, and those that are written here.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its name, such as `"example.com"`.
    pub name: Located<String>,
    /// A zone file (RFC 1035, 5), with the SOA record.
    #[serde(default)]
    pub file: Option<Located<PathBuf>>,
    /// How long records that are written here may be kept, unless they say it.
    #[serde(default = "default_ttl")]
    pub ttl: Located<Period>,
    /// Its name servers: names of this zone (`"ns1"`), or any with a dot at the end.
    #[serde(default)]
    pub ns: Vec<Located<String>>,
    /// Its SOA record, where there is no `file`.
    #[serde(default)]
    pub soa: SoaConfig,
    /// How it is signed; it is not when this is not set.
    #[serde(default)]
    pub dnssec: Option<Located<ZoneDnssecConfig>>,
    /// Its records.
    #[serde(default)]
    pub record: Vec<RecordConfig>,
    /// Where the zone comes from, instead of a `file` and records: servers to ask, in this order.
    #[serde(default)]
    pub primary: Vec<PeerConfig>,
    /// Who may copy the zone (AXFR, IXFR): whom one of the rules allows. Nobody without a rule.
    #[serde(default)]
    pub transfer: Vec<TransferRuleConfig>,
    /// Servers that are told of a new version (NOTIFY).
    #[serde(default)]
    pub notify: Vec<PeerConfig>,
}

/// The SOA record of a zone (RFC 1035, 3.3.13).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoaConfig {
    /// The first name server; the first of `ns` when it is not set.
    pub primary: Option<Located<String>>,
    /// Whom to write to: an e-mail address, or a name of the same meaning; `hostmaster` of this zone when it is not set.
    pub contact: Option<Located<String>>,
    /// The version of the zone; when the configuration was changed last, in seconds since 1970, when it is not set.
    pub serial: Option<u32>,
    /// How often secondaries ask for a new version.
    pub refresh: Located<Period>,
    /// How soon they ask again after a failure.
    pub retry: Located<Period>,
    /// After how long without an answer they give the zone up.
    pub expire: Located<Period>,
    /// How long may be kept that a name or type is not there.
    pub negative: Located<Period>,
}

/// A set of records of one name and type.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordConfig {
    /// A name of the zone: `"@"` is the zone itself, `"www"`, `"*.users"`, or any with a dot at the end.
    pub name: Located<String>,
    /// The type, such as `"A"`, `"HTTPS"` or `"TYPE65280"`. `"ALIAS"` is answered with the addresses of another name.
    pub r#type: Located<String>,
    /// How long they may be kept; the zone's `ttl` when it is not set, for an `ALIAS` a minute at most.
    #[serde(default)]
    pub ttl: Option<Located<Period>>,
    /// The data of each, as in a zone file: `"10 mail"` for `MX`, `"1 . alpn=h2,h3"` for `HTTPS`. Text
    /// (`TXT`) may stand without quotes of its own.
    #[serde(default)]
    pub values: Vec<Located<String>>,
    /// The policy that chooses the records for each client, instead of `values`.
    #[serde(default)]
    pub policy: Option<Located<String>>,
}

impl Default for SoaConfig {
    fn default() -> Self {
        let period = |seconds| Located::nowhere(Period::from_secs(seconds));
        Self {
            primary: None,
            contact: None,
            serial: None,
            refresh: period(3600),
            retry: period(600),
            expire: period(14 * 86_400),
            negative: period(300),
        }
    }
}

fn default_ttl() -> Located<Period> {
    Located::nowhere(Period::from_secs(300))
}
