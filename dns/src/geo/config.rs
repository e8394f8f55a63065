//! Sites and the map of clients to them, as they are written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chassis::config::Located;
use schemars::JsonSchema;
use serde::Deserialize;

/// A regional data centre.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Its name, for rules, policies, logs and metrics.
    pub name: Located<String>,
    /// Degrees north of the equator, from -90 to 90.
    #[serde(default)]
    pub latitude: Option<Located<f64>>,
    /// Degrees east of Greenwich, from -180 to 180.
    #[serde(default)]
    pub longitude: Option<Located<f64>>,
    /// The sites that take this one's clients when it cannot, in this order; then all others, nearest first.
    #[serde(default)]
    pub failover: Vec<Located<String>>,
}

/// Which site a client belongs to. The first that knows decides: networks (inline and in files
/// together, the longest prefix), each database in order, the default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoConfig {
    /// The site of clients that nothing else maps. Needed when there are several sites.
    #[serde(default)]
    pub default: Option<Located<String>>,
    /// Networks and their sites: `"192.0.2.0/24" = "fra"`.
    #[serde(default)]
    pub networks: BTreeMap<Located<String>, Located<String>>,
    /// Files with a network and a site in each line, and comments after `#`.
    #[serde(default)]
    pub files: Vec<Located<PathBuf>>,
    /// Databases in MaxMind's format.
    #[serde(default)]
    pub database: Vec<DatabaseConfig>,
}

/// A database in MaxMind's format (`.mmdb`), and what follows from its records.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The file. It is read as a whole when the configuration is; a new one counts from the next reload,
    /// which a change of the file brings about.
    pub file: Located<PathBuf>,
    /// What a record must hold for a site. The first rule that matches decides.
    #[serde(default)]
    pub rule: Vec<RuleConfig>,
    /// Maps records that no rule matches and that have coordinates to the nearest site.
    #[serde(default)]
    pub nearest: Located<bool>,
}

/// What a record must hold: one of the values of each key that is set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Continents: `"AF"`, `"AN"`, `"AS"`, `"EU"`, `"NA"`, `"OC"` or `"SA"`.
    #[serde(default)]
    pub continent: Vec<Located<String>>,
    /// Countries by ISO 3166-1: `"DE"`. Where the database says only where a network is registered, that counts.
    #[serde(default)]
    pub country: Vec<Located<String>>,
    /// Subdivisions by ISO 3166-2: `"US-CA"`.
    #[serde(default)]
    pub subdivision: Vec<Located<String>>,
    /// Numbers of autonomous systems.
    #[serde(default)]
    pub asn: Vec<Located<u32>>,
    /// The site.
    pub site: Located<String>,
}
