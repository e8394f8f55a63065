//! From a site and a state of health to the endpoints among which a client's lot decides.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compile::{Endpoint, Policy, PoolKind};
use super::config::AllDown;
use crate::geo::{SiteId, Sites};

/// What was asked for: addresses of IPv4 (A) or IPv6 (AAAA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A.
    V4,
    /// AAAA.
    V6,
}

impl Family {
    /// Whether an address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Whether an endpoint can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It can.
    Up,
    /// It cannot.
    Down,
    /// No check of it has ended yet: clients are not sent there.
    Unknown,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "not checked yet",
        })
    }
}

/// What is known of an endpoint at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointView {
    /// Whether it can serve.
    pub status: Status,
    /// The weight that operators or `control` have set.
    pub weight: Option<u32>,
    /// When it went down, in milliseconds of some clock; none when it never was up.
    pub down_at: Option<u64>,
    /// Why it is so, for explanations.
    pub why: Option<Arc<str>>,
}

impl EndpointView {
    /// An endpoint that is up, with its configured weight.
    pub const fn up() -> Self {
        Self {
            status: Status::Up,
            weight: None,
            down_at: None,
            why: None,
        }
    }
}

/// What is known of a policy's endpoints at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The endpoints, in the order of [`Policy::endpoints`]. One that is missing is not checked yet.
    pub endpoints: Vec<EndpointView>,
    /// The spill that operators or `control` have set.
    pub spill: Option<f64>,
}

impl View {
    /// A view in which everything is up and as configured.
    pub fn all_up(policy: &Policy) -> Self {
        Self {
            endpoints: vec![EndpointView::up(); policy.endpoints.len()],
            spill: None,
        }
    }

    pub(super) fn status(&self, at: usize) -> Status {
        self.endpoints
            .get(at)
            .map_or(Status::Unknown, |one| one.status)
    }

    pub(super) fn weight(&self, at: usize, endpoint: &Endpoint) -> u32 {
        let set = self.endpoints.get(at).and_then(|one| one.weight);
        set.unwrap_or(endpoint.weight)
    }

    fn down_at(&self, at: usize) -> Option<u64> {
        self.endpoints.get(at).and_then(|one| one.down_at)
    }
}

/// What a client's lot decides about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// Endpoints and their weights, none of which is 0.
    Among {
        members: Vec<(usize, u32)>,
        pool: PoolKind,
        site: SiteId,
        /// They are not up; the pool's word for "all down" names them.
        last_resort: bool,
    },
    /// These addresses.
    Fixed(Vec<IpAddr>),
    /// No answer.
    Fail,
    /// The policy has no address of the family.
    Nothing,
}

/// What a group is looked for with.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) policy: &'a Policy,
    pub(super) sites: &'a Sites,
    pub(super) view: &'a View,
    pub(super) site: SiteId,
    pub(super) family: Family,
    /// The pool to try first.
    pub(super) first: PoolKind,
}

/// Hears of each step.
pub(super) type Tell<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

impl Question<'_> {
    /// Finds the group.
    pub(super) fn group(&self, tell: Tell<'_>) -> Group {
        let mut present = [self.first, self.first.other()]
            .into_iter()
            .filter(|pool| self.of_pool(*pool).next().is_some());
        let Some(own) = present.next() else {
            tell(format_args!("the policy has no {} address", self.family));
            return Group::Nothing;
        };
        let up = |at: usize| self.view.status(at) == Status::Up;
        for pool in std::iter::once(own).chain(present) {
            if let Some((site, members)) = self.first_site(pool, &up, tell) {
                return Group::Among {
                    members,
                    pool,
                    site,
                    last_resort: false,
                };
            }
        }
        let known = |(at, _)| self.view.status(at) != Status::Unknown;
        let pools = [own, own.other()];
        if !pools
            .into_iter()
            .flat_map(|pool| self.of_pool(pool))
            .any(known)
        {
            // They may well be up: a last resort now would stay in caches for nothing.
            tell(format_args!("no check has ended yet: SERVFAIL"));
            return Group::Fail;
        }
        self.all_down(own, tell)
    }

    fn all_down(&self, own: PoolKind, tell: Tell<'_>) -> Group {
        let Some(pool) = self.policy.pool(own) else {
            return Group::Fail;
        };
        let found = match &pool.all_down {
            AllDown::Fixed(addresses) => {
                tell(format_args!("all down: the {own} pool's fixed addresses"));
                let mut fixed = addresses.clone();
                fixed.retain(|address| self.family.has(*address));
                return match fixed.is_empty() {
                    true => Group::Nothing,
                    false => Group::Fixed(fixed),
                };
            }
            AllDown::Fail => None,
            AllDown::All => {
                tell(format_args!(
                    "all down: the {own} pool answers as if all were up"
                ));
                self.first_site(own, &|_| true, tell)
            }
            AllDown::LastGood => {
                tell(format_args!(
                    "all down: the {own} pool answers what was up last"
                ));
                let seen = self
                    .of_pool(own)
                    .filter_map(|(at, _)| self.view.down_at(at));
                let window = u64::try_from(pool.window.as_millis()).unwrap_or(u64::MAX);
                let since = seen.max().map(|last| last.saturating_sub(window));
                let good = |at| since.is_some() && self.view.down_at(at) >= since;
                self.first_site(own, &good, tell)
            }
        };
        match found {
            None => {
                tell(format_args!("no answer: SERVFAIL"));
                Group::Fail
            }
            Some((site, members)) => Group::Among {
                members,
                pool: own,
                site,
                last_resort: true,
            },
        }
    }

    /// The first site in order with endpoints of the pool that are usable and not drained.
    fn first_site(
        &self,
        pool: PoolKind,
        usable: &dyn Fn(usize) -> bool,
        tell: Tell<'_>,
    ) -> Option<(SiteId, Vec<(usize, u32)>)> {
        for &site in self.policy.order_for(self.site, self.sites) {
            let mut members = Vec::new();
            let mut there = false;
            for (at, endpoint) in self.of_pool(pool).filter(|(_, one)| one.site == site) {
                there = true;
                let weight = self.view.weight(at, endpoint);
                let name = &self.sites.site(site).name;
                let status = self.view.status(at);
                let why = self
                    .view
                    .endpoints
                    .get(at)
                    .and_then(|one| one.why.as_deref());
                let (open, close) = if why.is_some() { (" (", ")") } else { ("", "") };
                let why = why.unwrap_or_default();
                let address = endpoint.address;
                if weight == 0 {
                    tell(format_args!(
                        "{pool} {name}: {address} is drained (weight 0)"
                    ));
                } else {
                    tell(format_args!(
                        "{pool} {name}: {address} is {status}{open}{why}{close}, weight {weight}"
                    ));
                }
                if weight > 0 && usable(at) {
                    members.push((at, weight));
                }
            }
            if !members.is_empty() {
                return Some((site, members));
            }
            if there {
                let name = &self.sites.site(site).name;
                tell(format_args!(
                    "{pool} {name}: nothing to answer with, the next site"
                ));
            }
        }
        tell(format_args!(
            "the {pool} pool has nothing to answer with at any site"
        ));
        None
    }

    fn of_pool(&self, pool: PoolKind) -> impl Iterator<Item = (usize, &Endpoint)> {
        let family = self.family;
        let all = self.policy.endpoints.iter().enumerate();
        all.filter(move |(_, one)| one.pool == pool && family.has(one.address))
    }
}
