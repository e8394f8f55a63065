//! Which of its endpoints a cluster gives to a connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use chassis::turns::turns;

use super::{Endpoint, Maglev, stable_hash};
use crate::forward::{Member, Transport};

/// How connections are dealt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// In turns, by weight, spread (smooth weighted round robin).
    RoundRobin,
    /// To the endpoint that has the fewest for its weight.
    LeastConnections,
    /// To the one of two, drawn by weight, that has fewer for its weight.
    TwoChoices,
    /// Always to the same endpoint for the same address of a client, by a table that every balancer with this
    /// configuration has.
    SourceHash,
    /// Always to the same endpoint for the same flow, by a table that every balancer with this configuration has.
    Maglev,
}

impl Scheduler {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::TwoChoices => "two_choices",
            Self::SourceHash => "source_hash",
            Self::Maglev => "maglev",
        }
    }
}

/// What makes connections or sessions one flow, for every balancer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What it is of.
    pub transport: Transport,
    /// The client.
    pub client: SocketAddr,
    /// The address that the client uses.
    pub service: SocketAddr,
}

/// A named set of endpoints.
#[derive(Debug)]
pub struct Cluster {
    scheduler: Scheduler,
    slow_start: Duration,
    /// Whether endpoints get connections that are not well, when none is.
    any: bool,
    endpoints: Box<[Arc<Endpoint>]>,
    table: ArcSwap<Table>,
    turn: AtomicUsize,
}

/// What the shares of the endpoints come to, until one of them changes.
#[derive(Debug)]
struct Table {
    shares: Box<[u32]>,
    deal: Deal,
}

#[derive(Debug)]
enum Deal {
    Turns(Box<[u32]>),
    Fewest,
    Slots(Maglev),
}

impl Cluster {
    /// A cluster of these endpoints.
    pub fn new(
        scheduler: Scheduler,
        slow_start: Duration,
        endpoints: Vec<Arc<Endpoint>>,
        now: Instant,
    ) -> Self {
        let cluster = Self {
            scheduler,
            slow_start,
            any: false,
            endpoints: endpoints.into(),
            table: ArcSwap::from_pointee(Table {
                shares: Box::default(),
                deal: Deal::Fewest,
            }),
            turn: 0.into(),
        };
        cluster.follow(now);
        cluster
    }

    /// Gives connections to endpoints that are not well while none is, instead of to nobody.
    #[must_use]
    pub fn or_any(mut self, any: bool, now: Instant) -> Self {
        self.any = any;
        self.follow(now);
        self
    }

    /// Its endpoints, as they are listed.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Its endpoints with their shares of new flows, for whoever forwards in its place.
    pub fn members(&self) -> Vec<Member> {
        let table = self.table.load();
        let endpoints = self.endpoints.iter().zip(&table.shares);
        let member = |(endpoint, share): (&Arc<Endpoint>, &u32)| Member {
            address: endpoint.address,
            share: *share,
            well: endpoint.is_well() || *share > 0,
        };
        endpoints.map(member).collect()
    }

    /// How connections are dealt out.
    pub fn scheduler(&self) -> Scheduler {
        self.scheduler
    }

    /// What the endpoint of a flow is found by; 0 where that does not depend on the flow.
    pub fn hash(&self, flow: impl FnOnce() -> Flow) -> u64 {
        match self.scheduler {
            Scheduler::RoundRobin | Scheduler::LeastConnections | Scheduler::TwoChoices => 0,
            Scheduler::SourceHash => flow().of_source(),
            Scheduler::Maglev => flow().of_all(),
        }
    }

    /// Deals by what the endpoints are now: to be called when one has changed, and every second while one
    /// starts slowly. Whether anything has changed.
    pub fn follow(&self, now: Instant) -> bool {
        let endpoints = self.endpoints.iter();
        let shares = endpoints.map(|endpoint| endpoint.share(self.slow_start, now));
        let mut shares: Box<[u32]> = shares.collect();
        if self.any && shares.iter().all(|share| *share == 0) {
            let endpoints = self.endpoints.iter();
            shares = endpoints.map(|endpoint| endpoint.share_anyway()).collect();
        }
        if self.table.load().shares == shares {
            return false;
        }
        let deal = match self.scheduler {
            Scheduler::RoundRobin | Scheduler::TwoChoices => Deal::Turns(turns(&shares)),
            Scheduler::LeastConnections => Deal::Fewest,
            Scheduler::SourceHash | Scheduler::Maglev => {
                let names: Vec<_> = self
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.address.to_string())
                    .collect();
                let list: Vec<_> = names
                    .iter()
                    .map(|name| &**name)
                    .zip(shares.iter().copied())
                    .collect();
                Deal::Slots(Maglev::new(&list, Maglev::SLOTS))
            }
        };
        self.table.store(Arc::new(Table { shares, deal }));
        true
    }

    /// The endpoint for a connection with this hash, other than those in `tried`; none when there is no other.
    pub fn pick(&self, hash: u64, tried: &[usize]) -> Option<usize> {
        let table = self.table.load();
        let free = |at: &usize| !tried.contains(at);
        let chosen = match &table.deal {
            Deal::Fewest => None,
            Deal::Slots(maglev) => {
                // The further hashes of a flow are the same for every balancer.
                let hashes = (0..=tried.len() as u64).map(|turn| another(hash, turn));
                hashes.filter_map(|hash| maglev.get(hash)).find(free)
            }
            Deal::Turns(turns) if self.scheduler == Scheduler::TwoChoices => {
                self.fewer_of_two(&table, turns).filter(free)
            }
            Deal::Turns(turns) => self.next(turns).filter(free),
        };
        chosen.or_else(|| self.fewest(&table, tried))
    }

    fn next(&self, turns: &[u32]) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Relaxed);
        turns
            .get(turn.checked_rem(turns.len())?)
            .map(|at| *at as usize)
    }

    fn fewer_of_two(&self, table: &Table, turns: &[u32]) -> Option<usize> {
        let draw = self.turn.fetch_add(1, Relaxed) as u64;
        let at = |draw| {
            let place = (u128::from(mixed(draw)) * turns.len() as u128) >> 64;
            turns.get(place as usize).map(|at| *at as usize)
        };
        let (one, other) = (at(draw)?, at(!draw)?);
        Some(match self.is_fuller(table, one, other) {
            true => other,
            false => one,
        })
    }

    fn fewest(&self, table: &Table, tried: &[usize]) -> Option<usize> {
        let free = (0..self.endpoints.len())
            .filter(|at| table.shares.get(*at).is_some_and(|share| *share > 0))
            .filter(|at| !tried.contains(at));
        free.reduce(|least, at| match self.is_fuller(table, least, at) {
            true => at,
            false => least,
        })
    }

    /// Whether one more connection would be a greater load for `one` than for `other`.
    fn is_fuller(&self, table: &Table, one: usize, other: usize) -> bool {
        let load = |at: usize, by: usize| {
            let open = u64::from(self.endpoints[at].open()) + 1;
            open * u64::from(table.shares.get(by).copied().unwrap_or(0))
        };
        // The fractions open/share, multiplied by both shares.
        load(one, other) > load(other, one)
    }
}

impl Flow {
    fn of_source(&self) -> u64 {
        stable_hash(&octets(self.client.ip()), SEED)
    }

    fn of_all(&self) -> u64 {
        let mut octets = [0; 37];
        octets[..16].copy_from_slice(&self::octets(self.client.ip()));
        octets[16..18].copy_from_slice(&self.client.port().to_be_bytes());
        octets[18..34].copy_from_slice(&self::octets(self.service.ip()));
        octets[34..36].copy_from_slice(&self.service.port().to_be_bytes());
        octets[36] = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        stable_hash(&octets, SEED)
    }
}

/// Of the hashes of flows: others than those of endpoints.
const SEED: u64 = 2;

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A further hash for a further turn; the first turn has the hash itself.
fn another(hash: u64, turn: u64) -> u64 {
    match turn {
        0 => hash,
        _ => mixed(hash.wrapping_add(turn.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014, figure 13): numbers in a row become numbers that look drawn.
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use chassis::health::Forced;
    use proptest::prelude::*;

    use super::*;

    fn cluster(scheduler: Scheduler, weights: &[u32]) -> Cluster {
        let now = Instant::now();
        let endpoint = |(at, weight): (usize, &u32)| {
            let address = format!("192.0.2.{at}:80").parse().expect("it is one");
            let endpoint = Endpoint::new(address, *weight);
            endpoint.set_well(true, now);
            Arc::new(endpoint)
        };
        let endpoints = weights.iter().enumerate().map(endpoint).collect();
        Cluster::new(scheduler, Duration::ZERO, endpoints, now)
    }

    const ALL: [Scheduler; 5] = [
        Scheduler::RoundRobin,
        Scheduler::LeastConnections,
        Scheduler::TwoChoices,
        Scheduler::SourceHash,
        Scheduler::Maglev,
    ];

    fn flow(number: u32) -> u64 {
        stable_hash(&number.to_be_bytes(), 3)
    }

    #[test]
    fn connections_follow_the_weights() {
        let weights = [1, 2, 3, 4];
        for scheduler in ALL {
            let cluster = cluster(scheduler, &weights);
            let mut counts = [0; 4];
            let mut leases = Vec::new();
            for number in 0..200_000 {
                let at = cluster.pick(flow(number), &[]).expect("there are some");
                counts[at] += 1;
                leases.push(cluster.endpoints()[at].lease());
            }
            for (count, weight) in counts.into_iter().zip(weights) {
                let want = f64::from(weight) * 20_000.0;
                let off = (f64::from(count) - want).abs() / want;
                assert!(off < 0.03, "{scheduler:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn no_endpoint_without_weight_or_health_is_chosen() {
        for scheduler in ALL {
            let cluster = cluster(scheduler, &[1, 0, 1]);
            cluster.endpoints()[2].set_well(false, Instant::now());
            assert!(cluster.follow(Instant::now()));
            assert!(!cluster.follow(Instant::now()), "nothing has changed");
            for number in 0..100 {
                assert_eq!(cluster.pick(flow(number), &[]), Some(0), "{scheduler:?}");
                assert_eq!(cluster.pick(flow(number), &[0]), None, "{scheduler:?}");
            }
            cluster.endpoints()[0].set_weight(Some(0), Instant::now());
            cluster.follow(Instant::now());
            assert_eq!(cluster.pick(1, &[]), None, "{scheduler:?}");
        }
    }

    #[test]
    fn when_none_is_well_any_that_is_not_forced_down_gets_connections() {
        for scheduler in ALL {
            let now = Instant::now();
            let cluster = cluster(scheduler, &[1, 1, 0, 1]).or_any(true, now);
            let endpoints = cluster.endpoints();
            endpoints[0].force(Forced::Down, now);
            endpoints[1].set_well(false, now);
            cluster.follow(now);
            assert_eq!(cluster.pick(1, &[]), Some(3), "{scheduler:?}: it is well");
            cluster.endpoints()[3].set_well(false, now);
            cluster.follow(now);
            let both: HashSet<_> = (0..100)
                .map(|number| cluster.pick(flow(number), &[]))
                .collect();
            let wanted = match scheduler {
                Scheduler::LeastConnections => vec![Some(1)],
                _ => vec![Some(1), Some(3)],
            };
            assert_eq!(both, wanted.into_iter().collect(), "{scheduler:?}");
            assert_eq!(cluster.pick(1, &[1, 3]), None);
        }
    }

    #[test]
    fn a_flow_is_the_same_for_its_client_alone_or_with_all_that_makes_it() {
        let flow = |port: u16, service: &str| Flow {
            transport: Transport::Tcp,
            client: SocketAddr::new("192.0.2.1".parse().expect("it is one"), port),
            service: service.parse().expect("it is one"),
        };
        let by_source = cluster(Scheduler::SourceHash, &[1]);
        let by_flow = cluster(Scheduler::Maglev, &[1]);
        let (one, other) = (flow(1, "192.0.2.9:443"), flow(2, "192.0.2.9:443"));
        assert_eq!(by_source.hash(|| one), by_source.hash(|| other));
        assert_ne!(by_flow.hash(|| one), by_flow.hash(|| other));
        assert_ne!(
            by_flow.hash(|| one),
            by_flow.hash(|| flow(1, "192.0.2.8:443"))
        );
        let mapped = Flow {
            client: "[::ffff:192.0.2.1]:1".parse().expect("it is one"),
            ..one
        };
        assert_eq!(by_flow.hash(|| one), by_flow.hash(|| mapped));
        assert_eq!(cluster(Scheduler::RoundRobin, &[1]).hash(|| one), 0);
    }

    #[test]
    fn a_full_endpoint_gets_fewer() {
        for scheduler in [Scheduler::LeastConnections, Scheduler::TwoChoices] {
            let cluster = cluster(scheduler, &[1, 1]);
            let _busy: Vec<_> = (0..100).map(|_| cluster.endpoints()[0].lease()).collect();
            let mut counts = HashMap::new();
            for number in 0..1000 {
                *counts.entry(cluster.pick(flow(number), &[])).or_insert(0) += 1;
            }
            assert!(counts[&Some(1)] > 700, "{scheduler:?}: {counts:?}");
        }
    }

    #[test]
    fn a_flow_keeps_its_endpoint_and_has_the_same_second_everywhere() {
        let (one, other) = (
            cluster(Scheduler::Maglev, &[1; 5]),
            cluster(Scheduler::Maglev, &[1; 5]),
        );
        for number in 0..1000 {
            let first = one.pick(flow(number), &[]).expect("there are some");
            assert_eq!(other.pick(flow(number), &[]), Some(first));
            let second = one.pick(flow(number), &[first]);
            assert_eq!(other.pick(flow(number), &[first]), second);
        }
    }

    proptest! {
        #[test]
        fn every_endpoint_is_tried_once(weights in prop::collection::vec(0u32..5, 1..7), hash: u64) {
            for scheduler in ALL {
                let cluster = cluster(scheduler, &weights);
                let mut tried = Vec::new();
                while let Some(at) = cluster.pick(hash, &tried) {
                    prop_assert!(!tried.contains(&at) && weights[at] > 0);
                    tried.push(at);
                }
                prop_assert_eq!(tried.len(), weights.iter().filter(|weight| **weight > 0).count());
            }
        }
    }
}
