//! Policies, as they are written.

use std::net::{IpAddr, SocketAddr};

use chassis::config::Located;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a client's addresses are chosen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Our own capacity: it serves clients first.
    #[serde(default)]
    pub private: Option<PoolConfig>,
    /// Rented capacity: it serves `spill` of the clients, and all whom the private pool cannot.
    #[serde(default)]
    pub public: Option<PoolConfig>,
    /// The share of clients, from 0 to 1, whom the public pool serves first. `control` and operators set another
    /// by the admin API.
    #[serde(default = "default_spill")]
    pub spill: Located<f64>,
    /// The order in which sites are tried, the same for all clients, and no others. Without it a client's own site is
    /// tried first, then those that take its clients over.
    #[serde(default)]
    pub order: Vec<Located<String>>,
    /// How many addresses an answer has at most, from 1 to 8.
    #[serde(default = "default_answers")]
    pub answers: Located<u8>,
    /// The length of the IPv4 prefixes whose clients all get the same answer.
    #[serde(default = "default_sticky_v4")]
    pub sticky_v4: Located<u8>,
    /// The same for IPv6.
    #[serde(default = "default_sticky_v6")]
    pub sticky_v6: Located<u8>,
}

/// Endpoints of one kind of capacity.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Its members.
    pub endpoints: Located<Vec<EndpointConfig>>,
    /// How its endpoints are checked: the name of a `[check.NAME]`. Without one they count as up.
    #[serde(default)]
    pub check: Option<Located<String>>,
    /// What its clients are answered while no endpoint of either pool is up.
    #[serde(default)]
    pub all_down: AllDown,
    /// For `"last_good"`: what was up within this time before the last endpoint went down counts as the last good.
    #[serde(default = "default_last_good_window")]
    pub last_good_window: Period,
}

/// What is answered while no endpoint is up.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// The endpoints that were up last; an error (`SERVFAIL`) when none ever was.
    #[default]
    LastGood,
    /// As if all endpoints of the pool were up.
    All,
    /// An error (`SERVFAIL`), so that resolvers ask another server.
    Fail,
    /// These addresses, at most 8.
    Fixed(Vec<IpAddr>),
}

/// A member of a pool.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// The site where it is.
    pub site: Located<String>,
    /// The address that clients are given, IPv4 or IPv6.
    pub address: Located<IpAddr>,
    /// Its share among the endpoints of its site; 0 drains it.
    #[serde(default = "default_weight")]
    pub weight: Located<u32>,
    /// How it is checked, when that differs from its pool.
    #[serde(default)]
    pub check: Option<Located<String>>,
    /// Address and port that are checked, when they differ from the address that clients are given and the port of the check.
    #[serde(default)]
    pub probe: Option<Located<SocketAddr>>,
}

impl PolicyConfig {
    /// Every address that a client may be given.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.private.iter().chain(&self.public).flat_map(|pool| {
            let fixed: &[IpAddr] = match &pool.all_down {
                AllDown::Fixed(addresses) => addresses,
                _ => &[],
            };
            let endpoints = pool.endpoints.iter().map(|endpoint| *endpoint.address);
            endpoints.chain(fixed.iter().copied())
        })
    }
}

fn default_spill() -> Located<f64> {
    Located::nowhere(0.0)
}
fn default_answers() -> Located<u8> {
    Located::nowhere(1)
}
fn default_sticky_v4() -> Located<u8> {
    Located::nowhere(24)
}
fn default_sticky_v6() -> Located<u8> {
    Located::nowhere(48)
}
const fn default_last_good_window() -> Period {
    Period::from_secs(60)
}
fn default_weight() -> Located<u32> {
    Located::nowhere(100)
}
