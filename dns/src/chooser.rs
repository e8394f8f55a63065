//! Which of a policy's answers a client gets now: place, health and weight put together for the packet path.
//!
//! ```text
//! client address -> Geo: site, scope -> Tables of the policy: endpoints -> the number of the answer with them
//! ```
//!
//! Answers are numbered by the configuration ([`Policy::variants`]), so that they are written and signed once. A change of
//! health makes new [`Tables`] for the policies that it is about, and one store of a pointer lets queries see them.

mod answers;
mod counts;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use chassis::config::{Diagnostic, Sources};

use crate::geo::{Geo, SiteId, Sites};
use crate::health::{Snapshot, Viewed};
use crate::policy::{Family, Outcome, Policy, Tables, View, decide};

pub(crate) use self::answers::family;
pub use self::counts::SiteCounts;

use self::counts::Places;

/// Chooses answers for clients.
#[derive(Debug)]
pub struct Chooser {
    sites: Arc<Sites>,
    geo: Geo,
    policies: Vec<Arc<Policy>>,
    now: ArcSwap<Vec<Current>>,
    /// The epoch that `now` follows from; held while that changes. Queries do not take it.
    followed: Mutex<u64>,
    /// Where choices are counted, when they are.
    counting: OnceLock<(Arc<SiteCounts>, Places)>,
}

/// What holds for a policy now.
#[derive(Clone, Debug)]
struct Current {
    tables: Arc<Tables>,
    /// What the tables were made from; none before the first snapshot.
    viewed: Option<Arc<Viewed>>,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The number of the answer among [`Policy::variants`]; none for SERVFAIL.
    pub variant: Option<u32>,
    /// The length of the client's prefix that it holds for (RFC 7871, section 7.2.1); 0 for all clients.
    pub scope: u8,
    /// Whether it is a last resort: nothing is up.
    pub last_resort: bool,
    /// The site that it leads to.
    pub site: Option<SiteId>,
}

impl Chooser {
    /// Until it follows a snapshot nothing is known of any endpoint.
    pub fn new(sites: Arc<Sites>, geo: Geo, policies: Vec<Arc<Policy>>) -> Self {
        let nothing = View::default();
        let first = policies.iter().map(|policy| Current {
            tables: Arc::new(Tables::new(policy, &sites, &nothing)),
            viewed: None,
        });
        let first = first.collect();
        Self {
            now: ArcSwap::from_pointee(first),
            followed: Mutex::default(),
            counting: OnceLock::new(),
            sites,
            geo,
            policies,
        }
    }

    /// Counts each choice from now on; the first call holds.
    pub fn count_in(&self, counts: &Arc<SiteCounts>) {
        let names = self.sites.iter().map(|(_, site)| site.name.as_str());
        self.counting
            .get_or_init(|| (counts.clone(), counts.places(names)));
    }

    /// The sites among which it chooses.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.sites
    }

    /// Every policy. Its place here is its number for [`Chooser::choose`].
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// Lets answers follow from this snapshot. Views of policies that are configured in another way here are passed over,
    /// and so are snapshots that are older than the last.
    pub fn follow(&self, snapshot: &Snapshot) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshot.epoch < *followed {
            return;
        }
        *followed = snapshot.epoch;
        let before = self.now.load();
        let next = self
            .policies
            .iter()
            .zip(&**before)
            .map(|(policy, current)| {
                let viewed = snapshot.policies.get(&policy.name);
                // While a reload waits for its first checks, the old policies follow what they share with the new ones.
                let fits = |viewed: &&Arc<Viewed>| {
                    Arc::ptr_eq(&viewed.policy, policy) || viewed.policy == *policy
                };
                let viewed = viewed.filter(fits);
                let same = |viewed: &&Arc<Viewed>| {
                    current
                        .viewed
                        .as_ref()
                        .is_some_and(|before| Arc::ptr_eq(before, viewed))
                };
                match viewed.filter(|viewed| !same(viewed)) {
                    None => current.clone(),
                    Some(viewed) => Current {
                        tables: Arc::new(Tables::new(policy, &self.sites, &viewed.view)),
                        viewed: Some(viewed.clone()),
                    },
                }
            });
        self.now.store(Arc::new(next.collect()));
    }

    /// Chooses for a client. It allocates nothing and waits for nobody.
    pub fn choose(&self, policy: usize, family: Family, client: IpAddr) -> Chosen {
        let found = self.geo.find(client);
        let now = self.now.load();
        let picked = now[policy].tables.pick(found.site, family, client);
        if let Some((counts, places)) = self.counting.get() {
            counts.count(places, &picked);
        }
        let variant = picked.variant();
        Chosen {
            variant,
            // An error is for nobody to keep.
            scope: variant.map_or(0, |_| picked.scope(found.scope)),
            last_resort: picked.outcome() == Outcome::LastResort,
            site: picked.of().map(|(_, site)| site),
        }
    }

    /// How the choice for a client comes about, a line for each step.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub fn explain(
        &self,
        policy: usize,
        family: Family,
        client: IpAddr,
        sources: &Sources,
    ) -> Result<Vec<String>, Diagnostic> {
        let mut steps = self.geo.explain(client, &self.sites, sources)?;
        let now = self.now.load();
        let nothing = View::default();
        let viewed = now[policy].viewed.as_ref();
        let view = viewed.map_or(&nothing, |viewed| &viewed.view);
        let site = self.geo.site(client);
        let policy = &self.policies[policy];
        steps.extend(decide(policy, &self.sites, site, family, client, view).steps);
        Ok(steps)
    }
}

#[cfg(test)]
mod tests;
