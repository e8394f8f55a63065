//! A policy at one state of health, made ready for the packet path: a look-up by site, and lots.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::compile::{Policy, PoolKind};
use super::group::{Family, Group, Question, View};
use super::rendezvous::{Key, Lot, is_larger, lot};
use super::variants::Numbers;
use crate::geo::{SiteId, Sites};

/// The most addresses of an answer.
pub const MOST_ANSWERS: usize = 8;

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses of endpoints that are up.
    Answer,
    /// Addresses although nothing is up.
    LastResort,
    /// An error: SERVFAIL.
    Fail,
    /// There are no addresses of the family: an empty answer.
    Nothing,
}

/// What every client of some sites chooses from.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) group: Group,
    members: Box<[Member]>,
    addresses: Box<[IpAddr]>,
    outcome: Outcome,
    /// All weights are the same: the lots are in the order of the hashes.
    even: bool,
    variant: Variant,
}

/// How the number of an answer is found.
#[derive(Debug)]
enum Variant {
    /// From the places of the chosen in their crowd, which is larger when some are down or drained.
    OfCrowd(Numbers, Box<[u8]>),
    /// It is always this one.
    Always(u32),
    /// There is no answer.
    None,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    key: Key,
    per_weight: f64,
}

/// All answers of a policy at one state of health.
#[derive(Debug)]
pub struct Tables {
    /// For each site, family and pool to try first.
    index: Box<[u32]>,
    choices: Box<[Choices]>,
    spill: Spill,
    sticky: [u8; 2],
    answers: usize,
}

/// Which share of client prefixes begins with the public pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spill {
    /// All prefixes begin with one pool.
    Pool(PoolKind),
    /// Those whose number is below this one begin with the public pool.
    Below(u64),
}

/// What was chosen for a client.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    choices: &'a Choices,
    chosen: [u8; MOST_ANSWERS],
    count: u8,
    /// The prefix length that the choice was made by; 0 when all clients of the site are answered the same.
    pub by_prefix: u8,
}

impl Spill {
    pub(super) fn new(policy: &Policy, view: &View) -> Self {
        let share = view.spill.unwrap_or(policy.spill);
        match (policy.private.is_some(), policy.public.is_some()) {
            (true, true) if share >= 1.0 => Self::Pool(PoolKind::Public),
            (true, true) if share > 0.0 => Self::Below(threshold(share)),
            (false, _) => Self::Pool(PoolKind::Public),
            _ => Self::Pool(PoolKind::Private),
        }
    }

    pub(super) fn first(self, key: Key) -> PoolKind {
        match self {
            Self::Pool(pool) => pool,
            Self::Below(limit) if key.spill() < limit => PoolKind::Public,
            Self::Below(_) => PoolKind::Private,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is between 0 and 1, and what rounds up to 2^64 saturates"
)]
fn threshold(share: f64) -> u64 {
    (share * 2f64.powi(64)) as u64
}

impl Tables {
    /// Decides for every site, family and pool at a state of health.
    pub fn new(policy: &Policy, sites: &Sites, view: &View) -> Self {
        let mut known: BTreeMap<(Family, Group), u32> = BTreeMap::new();
        let mut index = Vec::with_capacity(sites.len() * 4);
        for (site, _) in sites.iter() {
            for family in [Family::V4, Family::V6] {
                for first in [PoolKind::Private, PoolKind::Public] {
                    let question = Question {
                        policy,
                        sites,
                        view,
                        site,
                        family,
                        first,
                    };
                    let group = question.group(&mut |_| {});
                    let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                    index.push(*known.entry((family, group)).or_insert(next));
                }
            }
        }
        let mut groups: Vec<_> = known.into_iter().map(|(of, id)| (id, of)).collect();
        groups.sort_unstable_by_key(|(id, _)| *id);
        let choices = groups
            .into_iter()
            .map(|(_, (family, group))| Choices::new(policy, family, group));
        Self {
            index: index.into(),
            choices: choices.collect(),
            spill: Spill::new(policy, view),
            sticky: policy.sticky,
            answers: policy.answers,
        }
    }

    /// Chooses for a client of a site. It allocates nothing.
    pub fn pick(&self, site: SiteId, family: Family, client: IpAddr) -> Picked<'_> {
        let base = site.index() * 4 + 2 * usize::from(family == Family::V6);
        let (private, public) = (self.index[base], self.index[base + 1]);
        let spilled = matches!(self.spill, Spill::Below(_)) && private != public;
        let alone = |id: u32| self.choices[id as usize].members.len() < 2;
        let sticky = self.sticky[usize::from(client.to_canonical().is_ipv6())];
        if !spilled {
            // Both are the same where the share is between 0 and 1.
            let id = match self.spill {
                Spill::Pool(PoolKind::Public) => public,
                _ => private,
            };
            if alone(id) {
                return self.choices[id as usize].pick(None, self.answers, 0);
            }
        }
        let key = Key::of_prefix(client, self.sticky);
        let id = match self.spill.first(key) {
            PoolKind::Private => private,
            PoolKind::Public => public,
        };
        self.choices[id as usize].pick(Some(key), self.answers, sticky)
    }

    /// How many different sets to choose from there are.
    pub fn groups(&self) -> usize {
        self.choices.len()
    }
}

impl Choices {
    pub(super) fn new(policy: &Policy, family: Family, group: Group) -> Self {
        let (mut members, mut addresses): (Vec<Member>, Vec<IpAddr>) = Default::default();
        let mut even = true;
        let variant = variant(policy, family, &group);
        let outcome = match &group {
            Group::Among {
                members: among,
                last_resort,
                ..
            } => {
                even = among.iter().all(|(_, weight)| *weight == among[0].1);
                for (at, weight) in among {
                    let endpoint = &policy.endpoints[*at];
                    addresses.push(endpoint.address);
                    members.push(Member {
                        key: endpoint.key,
                        per_weight: 1.0 / f64::from(*weight),
                    });
                }
                match last_resort {
                    true => Outcome::LastResort,
                    false => Outcome::Answer,
                }
            }
            Group::Fixed(fixed) => {
                addresses.extend(fixed);
                Outcome::LastResort
            }
            Group::Fail => Outcome::Fail,
            Group::Nothing => Outcome::Nothing,
        };
        Self {
            group,
            members: members.into(),
            addresses: addresses.into(),
            outcome,
            even,
            variant,
        }
    }

    pub(super) fn pick(&self, key: Option<Key>, answers: usize, sticky: u8) -> Picked<'_> {
        let mut picked = Picked {
            choices: self,
            chosen: [0, 1, 2, 3, 4, 5, 6, 7],
            count: u8::try_from(self.addresses.len()).unwrap_or(u8::MAX),
            by_prefix: sticky,
        };
        if let (Some(key), 2..) = (key, self.members.len()) {
            match answers {
                1 => picked.chosen[0] = self.smallest(key),
                _ => self.smallest_few(key, answers, &mut picked.chosen),
            }
            picked.count = picked.count.min(u8::try_from(answers).unwrap_or(u8::MAX));
        }
        picked
    }

    fn smallest(&self, key: Key) -> u8 {
        let numbered = (0u8..).zip(&*self.members);
        if self.even {
            let hashes = numbered.map(|(at, member)| (key.draw(member.key), at));
            // The largest hash is the smallest lot; the first of equals.
            let best = hashes.reduce(|best, one| if one.0 > best.0 { one } else { best });
            return best.map_or(0, |(_, at)| at);
        }
        let mut best = (Lot::INFINITY, 0);
        for (at, member) in numbered {
            if let Some(lot) = smaller_lot(key, member, best.0) {
                best = (lot, at);
            }
        }
        best.1
    }

    /// The smallest lots in ascending order, by insertion.
    fn smallest_few(&self, key: Key, count: usize, chosen: &mut [u8; MOST_ANSWERS]) {
        let mut lots = [f64::INFINITY; MOST_ANSWERS];
        let last = count.clamp(1, MOST_ANSWERS) - 1;
        for (number, member) in (0u8..).zip(&*self.members) {
            if let Some(lot) = smaller_lot(key, member, lots[last]) {
                let mut rank = last;
                while rank > 0 && lots[rank - 1] > lot {
                    (lots[rank], chosen[rank]) = (lots[rank - 1], chosen[rank - 1]);
                    rank -= 1;
                }
                (lots[rank], chosen[rank]) = (lot, number);
            }
        }
    }
}

/// The lot of a member, when it is smaller than another.
fn smaller_lot(key: Key, member: &Member, other: Lot) -> Option<Lot> {
    let hash = key.draw(member.key);
    // Most are not, and need no logarithm to be told so.
    if is_larger(hash, member.per_weight, other) {
        return None;
    }
    Some(lot(hash, member.per_weight)).filter(|lot| *lot < other)
}

fn variant(policy: &Policy, family: Family, group: &Group) -> Variant {
    let variants = policy.numbered(family);
    match group {
        Group::Fail => Variant::None,
        Group::Nothing => Variant::Always(0),
        Group::Fixed(addresses) => Variant::Always(variants.fixed(addresses)),
        Group::Among {
            members,
            pool,
            site,
            ..
        } => {
            let Some(crowd) = variants.crowd(*pool, *site) else {
                return Variant::None;
            };
            let place = |(at, _): &(usize, u32)| {
                let place = crowd.members.iter().position(|member| member == at);
                u8::try_from(place.unwrap_or_default()).unwrap_or_default()
            };
            let places = members.iter().map(place).collect();
            Variant::OfCrowd(crowd.numbers, places)
        }
    }
}

impl<'a> Picked<'a> {
    /// What is to be answered.
    pub fn outcome(&self) -> Outcome {
        self.choices.outcome
    }

    /// The addresses to answer, the client's own choice first.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + 'a {
        let choices = self.choices;
        let (chosen, count) = (self.chosen, usize::from(self.count));
        (0..count).map(move |at| choices.addresses[usize::from(chosen[at])])
    }

    /// The scope of the answer for EDNS Client Subnet, when the site was found with this scope.
    pub fn scope(&self, of_site: u8) -> u8 {
        self.by_prefix.max(of_site)
    }

    /// The number of the answer among [`Policy::variants`] of the family; none when there is no answer.
    pub fn variant(&self) -> Option<u32> {
        match &self.choices.variant {
            Variant::None => None,
            Variant::Always(number) => Some(*number),
            Variant::OfCrowd(numbers, places) => {
                let mut chosen = self
                    .chosen
                    .map(|at| places.get(usize::from(at)).copied().unwrap_or(0));
                Some(numbers.of(&mut chosen[..usize::from(self.count)]))
            }
        }
    }

    /// Where they are and whose capacity it is, when they are endpoints.
    pub fn of(&self) -> Option<(PoolKind, SiteId)> {
        match self.choices.group {
            Group::Among { pool, site, .. } => Some((pool, site)),
            _ => None,
        }
    }
}
