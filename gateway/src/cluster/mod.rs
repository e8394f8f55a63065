//! Clusters: which endpoint gets the next request.
//!
//! ```text
//! check task --flips--> Endpoint.healthy, HEALTH_EPOCH + 1
//! request -> Cluster::pick -> (epoch changed? build a new Schedule) -> next of the Schedule
//! ```

mod check;
mod endpoint;
mod introduce;
mod tls_target;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use chassis::turns::turns;

pub(crate) use self::check::CheckSettings;
use self::endpoint::health_epoch;
pub(crate) use self::endpoint::{Count, Endpoint, PeerHttp, PeerSettings, PeerTls, Target};
pub(crate) use self::tls_target::TlsTarget;

/// A named set of endpoints.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    /// Each with its weight.
    pub(crate) members: Vec<(Arc<Endpoint>, u32)>,
    /// How many other endpoints to try after one could not be connected to.
    pub(crate) retries: usize,
    /// Whether our own relay carries its requests: its endpoints speak HTTP/1.1 and nothing else.
    pub(crate) relayed: bool,
    current: ArcSwap<Schedule>,
    next: AtomicUsize,
}

/// Members in the order of their turns, as of a health epoch.
#[derive(Debug)]
struct Schedule {
    epoch: u64,
    turns: Box<[u32]>,
}

impl Cluster {
    pub(crate) fn new(
        name: Arc<str>,
        members: Vec<(Arc<Endpoint>, u32)>,
        retries: usize,
        relay: bool,
    ) -> Self {
        let nothing = Schedule {
            epoch: u64::MAX,
            turns: Box::default(),
        };
        let http2 = |(endpoint, _): &(Arc<Endpoint>, u32)| endpoint.may_speak_http2();
        Self {
            name,
            relayed: relay && !members.iter().any(http2),
            members,
            retries,
            current: ArcSwap::from_pointee(nothing),
            next: AtomicUsize::new(0),
        }
    }

    /// The next healthy endpoint by smooth weighted round robin that was not tried yet.
    pub(crate) fn pick(&self, tried: &[Arc<Endpoint>]) -> Option<Arc<Endpoint>> {
        let epoch = health_epoch();
        let mut schedule = self.current.load();
        if schedule.epoch != epoch {
            self.current.store(Arc::new(self.schedule(epoch)));
            schedule = self.current.load();
        }
        let turns = &schedule.turns;
        let start = self.next.fetch_add(1, Relaxed);
        (0..turns.len())
            .map(|step| turns[start.wrapping_add(step) % turns.len()])
            .map(|member| &self.members[member as usize].0)
            .find(|endpoint| !tried.iter().any(|one| Arc::ptr_eq(one, endpoint)))
            .cloned()
    }

    fn schedule(&self, epoch: u64) -> Schedule {
        let weight_now = |(endpoint, weight): &(Arc<Endpoint>, u32)| match endpoint.is_healthy() {
            true => *weight,
            false => 0,
        };
        let weights: Vec<u32> = self.members.iter().map(weight_now).collect();
        Schedule {
            epoch,
            turns: turns(&weights),
        }
    }

    /// Waits until every check has given its first verdict.
    pub(crate) async fn judged(&self) {
        for (endpoint, _) in &self.members {
            endpoint.judged().await;
        }
    }
}

#[cfg(test)]
mod tests;
