//! A policy, judged.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chassis::config::{Diagnostic, Located};
use serde::{Deserialize, Serialize};

use super::config::{AllDown, EndpointConfig, PolicyConfig, PoolConfig};
use super::group::Family;
use super::rendezvous::Key;
use super::tables::MOST_ANSWERS;
use super::variants::{MOST_VARIANTS, Variants};
use crate::geo::{SiteId, Sites};

/// The two kinds of capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// Our own.
    Private,
    /// Rented.
    Public,
}

impl PoolKind {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Private => Self::Public,
            Self::Public => Self::Private,
        }
    }
}

impl std::fmt::Display for PoolKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Private => "private",
            Self::Public => "public",
        })
    }
}

/// An endpoint of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Whose capacity it is.
    pub pool: PoolKind,
    /// Where it is.
    pub site: SiteId,
    /// What clients are given.
    pub address: IpAddr,
    /// Its configured share; 0 drains it.
    pub weight: u32,
    /// The name of its check; none when it counts as up.
    pub check: Option<Located<String>>,
    /// What is checked, when it is not the address itself.
    pub probe: Option<Located<SocketAddr>>,
    pub(super) key: Key,
}

/// What holds for a pool as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pool {
    pub(super) all_down: AllDown,
    pub(super) window: Duration,
}

/// A policy, ready to decide with.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// All endpoints, ordered by pool, site and address. Views have them in the same order.
    pub endpoints: Vec<Endpoint>,
    /// The configured share of clients whom the public pool serves first.
    pub spill: f64,
    pub(super) private: Option<Pool>,
    pub(super) public: Option<Pool>,
    /// Sites in the order of trying, when it is the same for all clients.
    pub(super) order: Vec<SiteId>,
    pub(super) answers: usize,
    /// Lengths of sticky prefixes of IPv4 and IPv6.
    pub(super) sticky: [u8; 2],
    /// The answers of IPv4 and IPv6.
    variants: [Variants; 2],
}

/// Every query draws a lot for each endpoint at a site: more than this would be slow, and want addresses of their own.
const MOST_AT_A_SITE: usize = 64;
/// The same limit as for weights of the gateway's endpoints.
pub(crate) const LARGEST_WEIGHT: u32 = 1_000_000;

impl Policy {
    /// Judges a policy. Whether its checks exist is judged where checks are.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(
        name: &Located<String>,
        config: &PolicyConfig,
        sites: &Sites,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut endpoints = Vec::new();
        for (kind, pool) in pools(config) {
            judge_pool(kind, pool, &mut mistakes);
            for endpoint in &*pool.endpoints {
                let compiled = compile_endpoint(kind, pool, endpoint, sites, &mut mistakes);
                match (compiled, twice(&endpoints, endpoint)) {
                    (Some(_), Some(twice)) => mistakes.push(twice),
                    (Some(compiled), None) => endpoints.push(compiled),
                    (None, _) => {}
                }
            }
        }
        if endpoints.is_empty() && mistakes.is_empty() {
            let empty = format!("the policy `{}` has no endpoint", **name);
            let help = "add `endpoints` to `private` or `public`";
            mistakes.push(name.wrong(empty).help(help));
        }
        endpoints.sort_by_key(|one: &Endpoint| (one.pool, one.site, one.address));
        if let Err(mistake) = judge_crowds(name, &endpoints, sites) {
            mistakes.push(mistake);
        }
        judge_numbers(config, &mut mistakes);
        let order = order(&config.order, sites, config, &mut mistakes);
        let pool = |config: &Option<PoolConfig>| {
            config.as_ref().map(|pool| Pool {
                all_down: pool.all_down.clone(),
                window: *pool.last_good_window,
            })
        };
        match mistakes.is_empty() {
            false => Err(mistakes),
            true => Self {
                name: name.to_string(),
                endpoints,
                spill: *config.spill,
                private: pool(&config.private),
                public: pool(&config.public),
                order,
                answers: usize::from(*config.answers),
                sticky: [*config.sticky_v4, *config.sticky_v6],
                variants: Default::default(),
            }
            .with_variants(&config.answers),
        }
    }

    fn with_variants(mut self, answers: &Located<u8>) -> Result<Self, Vec<Diagnostic>> {
        self.variants = [Family::V4, Family::V6].map(|family| Variants::new(&self, family));
        let most = self.variants.iter().map(|variants| variants.count).max();
        match most.filter(|count| *count > MOST_VARIANTS) {
            None => Ok(self),
            Some(count) => {
                let wrong =
                    format!("{count} different answers, and at most {MOST_VARIANTS} can be");
                let help = "fewer `answers`, or fewer endpoints at a site";
                Err(vec![answers.wrong(wrong).help(help)])
            }
        }
    }

    /// Every answer of a family that the policy can give, by number: an answer that was written ahead holds for
    /// as long as the configuration does.
    pub fn variants(&self, family: Family) -> Vec<Vec<IpAddr>> {
        self.numbered(family).list(self)
    }

    pub(super) fn numbered(&self, family: Family) -> &Variants {
        &self.variants[usize::from(family == Family::V6)]
    }

    /// The index of an endpoint by its address.
    pub fn endpoint(&self, address: IpAddr) -> Option<usize> {
        let mut all = self.endpoints.iter();
        all.position(|endpoint| endpoint.address == address)
    }

    /// Whether clients can be sent to the public pool.
    pub fn has_public(&self) -> bool {
        self.public.is_some()
    }

    pub(super) fn pool(&self, kind: PoolKind) -> Option<&Pool> {
        match kind {
            PoolKind::Private => self.private.as_ref(),
            PoolKind::Public => self.public.as_ref(),
        }
    }

    /// The sites to try for clients of a site.
    pub(super) fn order_for<'a>(&'a self, site: SiteId, sites: &'a Sites) -> &'a [SiteId] {
        match self.order.as_slice() {
            [] => &sites.site(site).order,
            order => order,
        }
    }
}

fn pools(config: &PolicyConfig) -> impl Iterator<Item = (PoolKind, &PoolConfig)> {
    let private = config.private.iter().map(|pool| (PoolKind::Private, pool));
    private.chain(config.public.iter().map(|pool| (PoolKind::Public, pool)))
}

fn compile_endpoint(
    kind: PoolKind,
    pool: &PoolConfig,
    config: &EndpointConfig,
    sites: &Sites,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Endpoint> {
    let before = mistakes.len();
    let site = sites.named(&config.site);
    let site = site.map_err(|mistake| mistakes.push(mistake)).ok();
    let address = *config.address;
    if address.is_unspecified() || address.is_multicast() {
        let what = "no client can connect to this address";
        mistakes.push(config.address.wrong(what));
    }
    if *config.weight > LARGEST_WEIGHT {
        let limit = format!("a weight is at most {LARGEST_WEIGHT}");
        mistakes.push(config.weight.wrong(limit));
    }
    let check = config.check.as_ref().or(pool.check.as_ref());
    if let (Some(probe), None) = (&config.probe, check) {
        mistakes.push(probe.wrong("a `probe` without a `check`"));
    }
    if let Some(probe) = config.probe.as_ref().filter(|probe| probe.port() == 0) {
        mistakes.push(probe.wrong("a port is from 1 to 65535"));
    }
    let site = site.filter(|_| mistakes.len() == before)?;
    Some(Endpoint {
        pool: kind,
        site,
        address,
        weight: *config.weight,
        check: check.cloned(),
        probe: config.probe,
        key: Key::of_endpoint(address),
    })
}

fn twice(known: &[Endpoint], config: &EndpointConfig) -> Option<Diagnostic> {
    let address = &config.address;
    let known = known.iter().any(|one| one.address == **address);
    known.then(|| {
        address.wrong(format!(
            "the address {} is in this policy already",
            **address
        ))
    })
}

fn judge_pool(kind: PoolKind, pool: &PoolConfig, mistakes: &mut Vec<Diagnostic>) {
    if pool.endpoints.is_empty() {
        let empty = format!("the {kind} pool has no endpoint");
        mistakes.push(pool.endpoints.wrong(empty));
    }
    if let AllDown::Fixed(addresses) = &pool.all_down {
        let different: BTreeSet<_> = addresses.iter().collect();
        if different.len() != addresses.len() || !(1..=MOST_ANSWERS).contains(&addresses.len()) {
            let wrong = format!("from 1 to {MOST_ANSWERS} different addresses can be `fixed`");
            mistakes.push(pool.endpoints.wrong(wrong).label("of this pool"));
        }
    }
}

fn judge_crowds(
    name: &Located<String>,
    endpoints: &[Endpoint],
    sites: &Sites,
) -> Result<(), Diagnostic> {
    let place = |one: &Endpoint| (one.pool, one.site, one.address.is_ipv4());
    let mut sorted: Vec<_> = endpoints.iter().map(place).collect();
    sorted.sort_unstable();
    let mut crowds = sorted.chunk_by(|a, b| a == b);
    match crowds.find(|crowd| crowd.len() > MOST_AT_A_SITE) {
        None => Ok(()),
        Some(crowd) => {
            let (pool, site, _) = crowd[0];
            let site = &sites.site(site).name;
            let limit = format!(
                "at most {MOST_AT_A_SITE} endpoints of a family in the {pool} pool at {site}"
            );
            Err(name.wrong(limit))
        }
    }
}

fn judge_numbers(config: &PolicyConfig, mistakes: &mut Vec<Diagnostic>) {
    let spill = &config.spill;
    if !(0.0..=1.0).contains(&**spill) {
        mistakes.push(spill.wrong("a share is from 0 to 1"));
    } else if **spill > 0.0 && config.public.is_none() {
        mistakes.push(spill.wrong("a spill without a `public` pool"));
    }
    if !(1..=MOST_ANSWERS).contains(&usize::from(*config.answers)) {
        let wrong = format!("must be from 1 to {MOST_ANSWERS}");
        mistakes.push(config.answers.wrong(wrong));
    }
    for (bits, most) in [(&config.sticky_v4, 32), (&config.sticky_v6, 128)] {
        if !(1..=most).contains(&**bits) {
            mistakes.push(bits.wrong(format!("must be from 1 to {most}")));
        }
    }
}

fn order(
    names: &[Located<String>],
    sites: &Sites,
    config: &PolicyConfig,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<SiteId> {
    let endpoints = || pools(config).flat_map(|(_, pool)| &*pool.endpoints);
    let mut order = Vec::new();
    for name in names {
        let is_there = |endpoint: &EndpointConfig| *endpoint.site == **name;
        match sites.named(name) {
            Err(mistake) => mistakes.push(mistake),
            Ok(site) if order.contains(&site) => {
                mistakes.push(name.wrong(format!("`{}` is there already", **name)));
            }
            Ok(site) => {
                if !endpoints().any(is_there) {
                    let what = format!("the policy has no endpoint at `{}`", **name);
                    mistakes.push(name.wrong(what));
                }
                order.push(site);
            }
        }
    }
    order
}
