//! Every answer that a policy can give, numbered, so that answers can be written and signed ahead.
//!
//! The numbers follow from the configuration alone: health, weights and spill only change which of them is
//! chosen. Number 0 is the empty answer. The others are, for each crowd (the endpoints of a pool at a site), all sets
//! of one endpoint, then all of two, up to as many as an answer may have; and each pool's fixed addresses.
//!
//! A set of k places c1 < c2 < ... < ck has the rank C(c1, 1) + C(c2, 2) + ... + C(ck, k) among all sets of k: the
//! combinatorial number system (D. Knuth, The Art of Computer Programming, vol. 4A, 7.2.1.3, theorem L).

use std::net::IpAddr;

use super::compile::{Policy, PoolKind};
use super::config::AllDown;
use super::group::Family;
use super::tables::MOST_ANSWERS;
use crate::geo::SiteId;

/// More answers than this are not written ahead.
pub(super) const MOST_VARIANTS: u64 = 4096;

/// The numbered answers of one family.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Variants {
    crowds: Vec<Crowd>,
    /// The number and the addresses of each pool's last resort.
    fixed: Vec<(PoolKind, u32, Vec<IpAddr>)>,
    pub(super) count: u64,
}

/// The endpoints of a pool at a site.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Crowd {
    pub(super) pool: PoolKind,
    pub(super) site: SiteId,
    /// Their places in the policy, ascending.
    pub(super) members: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// How the sets of a crowd are numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The number of the first set of each size, from size 1 on.
    first: [u32; MOST_ANSWERS],
}

impl Variants {
    pub(super) fn new(policy: &Policy, family: Family) -> Self {
        let mut all = Self {
            count: 1,
            ..Self::default()
        };
        let mut crowds: Vec<Crowd> = Vec::new();
        let endpoints = policy.endpoints.iter().enumerate();
        for (at, endpoint) in endpoints.filter(|(_, one)| family.has(one.address)) {
            let place = (endpoint.pool, endpoint.site);
            match crowds
                .last_mut()
                .filter(|crowd| (crowd.pool, crowd.site) == place)
            {
                Some(crowd) => crowd.members.push(at),
                None => crowds.push(Crowd {
                    pool: endpoint.pool,
                    site: endpoint.site,
                    members: vec![at],
                    numbers: Numbers::default(),
                }),
            }
        }
        for crowd in &mut crowds {
            for size in 1..=policy.answers.min(crowd.members.len()) {
                crowd.numbers.first[size - 1] = number(all.count);
                all.count = all.count.saturating_add(choose(crowd.members.len(), size));
            }
        }
        all.crowds = crowds;
        for kind in [PoolKind::Private, PoolKind::Public] {
            if let Some(AllDown::Fixed(addresses)) = policy.pool(kind).map(|pool| &pool.all_down) {
                let mut fixed = addresses.clone();
                fixed.retain(|address| family.has(*address));
                if !fixed.is_empty() {
                    all.fixed.push((kind, number(all.count), fixed));
                    all.count += 1;
                }
            }
        }
        all
    }

    pub(super) fn crowd(&self, pool: PoolKind, site: SiteId) -> Option<&Crowd> {
        let mut crowds = self.crowds.iter();
        crowds.find(|crowd| (crowd.pool, crowd.site) == (pool, site))
    }

    /// The number of a pool's fixed addresses.
    pub(super) fn fixed(&self, addresses: &[IpAddr]) -> u32 {
        let mut fixed = self.fixed.iter();
        let same = fixed.find(|(_, _, of)| of == addresses);
        same.map_or(0, |(_, number, _)| *number)
    }

    /// All of them, by number.
    pub(super) fn list(&self, policy: &Policy) -> Vec<Vec<IpAddr>> {
        let mut list = vec![Vec::new()];
        for crowd in &self.crowds {
            for size in 1..=policy.answers.min(crowd.members.len()) {
                for rank in 0..choose(crowd.members.len(), size) {
                    let places = set_of_rank(rank, size);
                    let address = |place: usize| policy.endpoints[crowd.members[place]].address;
                    list.push(places.into_iter().map(address).collect());
                }
            }
        }
        list.extend(self.fixed.iter().map(|(_, _, addresses)| addresses.clone()));
        list
    }
}

impl Numbers {
    /// The number of a set of places in the crowd, which are sorted here.
    pub(super) fn of(&self, places: &mut [u8]) -> u32 {
        places.sort_unstable();
        let sizes = 1..=places.len();
        let rank: u64 = sizes
            .zip(&*places)
            .map(|(size, place)| choose(usize::from(*place), size))
            .sum();
        self.first[places.len() - 1] + number(rank)
    }
}

/// The set with this rank among the sets of this size, ascending.
fn set_of_rank(mut rank: u64, size: usize) -> Vec<usize> {
    let mut places = Vec::with_capacity(size);
    for size in (1..=size).rev() {
        let mut place = size - 1;
        while choose(place + 1, size) <= rank {
            place += 1;
        }
        rank -= choose(place, size);
        places.push(place);
    }
    places.reverse();
    places
}

/// How many sets of `size` there are of `from`: exact for what policies have, at most 64 and 8.
const fn choose(from: usize, size: usize) -> u64 {
    let (mut count, mut step) = (1u64, 0);
    while step < size {
        if from <= step {
            return 0;
        }
        count = count * (from - step) as u64 / (step + 1) as u64;
        step += 1;
    }
    count
}

fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_sets_and_back() {
        for size in 1..=4 {
            for rank in 0..choose(9, size) {
                let places = set_of_rank(rank, size);
                assert!(places.is_sorted() && places.len() == size && places[size - 1] < 9);
                let mut places: Vec<u8> = places.iter().rev().map(|at| *at as u8).collect();
                assert_eq!(u64::from(Numbers::default().of(&mut places)), rank);
            }
        }
        assert_eq!(choose(64, 8), 4_426_165_368);
    }
}
