//! What a successor is told of the sessions of its predecessor: it leads each to the same endpoint, from a socket of its
//! own. QUIC takes that for a client that has moved; without it, nobody would know where a connection belongs whose
//! name was in its first packets alone.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Shared;
use super::ids::Id;
use super::session::Target;
use super::sessions::MOST_IDS_IN_ALL;
use super::table::Path;
use crate::sniff::ServerName;

/// A session, as it is told to a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bequest {
    /// The client.
    pub client: SocketAddr,
    /// The address that it sends to.
    pub service: SocketAddr,
    /// Who has the session.
    pub endpoint: SocketAddr,
    /// What it is for, as far as the client has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Connection ids that lead to the endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Vec<u8>>,
}

/// Sessions of a predecessor that no datagram has come for yet.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    /// Whether there are any: mostly there are none.
    any: AtomicBool,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    until: Instant,
    sessions: HashMap<Path, Vec<(Bequest, Target)>>,
    /// What was pinned and counted for them.
    ids: Vec<Id>,
    clients: Vec<IpAddr>,
}

impl Legacy {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a predecessor has led a path, the last time that it is asked.
    pub(super) fn claim(&self, path: &Path) -> Option<Target> {
        if !self.any.load(Relaxed) {
            return None;
        }
        let sessions = self.kept().as_mut()?.sessions.remove(path)?;
        sessions.into_iter().next_back().map(|(_, target)| target)
    }

    /// What nobody has claimed.
    fn left(&self) -> Vec<Bequest> {
        let kept = self.kept();
        let sessions = kept
            .iter()
            .flat_map(|kept| kept.sessions.values().flatten());
        sessions.map(|(bequest, _)| bequest.clone()).collect()
    }
}

impl Shared {
    /// Takes over the sessions of a predecessor, before there are threads. Those with endpoints that are there no more
    /// are passed over, and so are those that no datagram comes for in the time that sessions have.
    pub fn inherit(&self, sessions: Vec<Bequest>, now: Instant) {
        let plan = self.plan.load();
        let mut kept = Kept {
            until: now + plan.idle,
            sessions: HashMap::new(),
            ids: Vec::new(),
            clients: Vec::new(),
        };
        for bequest in sessions {
            let name = bequest.name.as_deref();
            let name = name.and_then(|name| ServerName::read(name.as_bytes()));
            let Some(cluster) = plan.steer.cluster(name.as_ref()) else {
                continue;
            };
            let mut endpoints = cluster.endpoints().iter();
            let Some(endpoint) = endpoints.find(|one| one.address == bequest.endpoint) else {
                continue;
            };
            let target = Target {
                endpoint: endpoint.clone(),
                name,
            };
            for id in bequest.ids.iter().filter_map(|id| Id::read(id)) {
                if self.ids.pin(id, &target, true, MOST_IDS_IN_ALL) {
                    kept.ids.push(id);
                }
            }
            self.clients.begin(bequest.client.ip(), &target);
            kept.clients.push(bequest.client.ip());
            let path = Path {
                client: bequest.client,
                service: bequest.service,
            };
            let sessions = kept.sessions.entry(path).or_default();
            sessions.push((bequest, target));
        }
        *self.legacy.kept() = Some(kept);
        self.legacy.any.store(true, Relaxed);
    }

    /// Keeps nothing for longer than its time.
    pub(super) fn forget_legacy(&self, now: Instant) {
        if !self.legacy.any.load(Relaxed) {
            return;
        }
        let over = self.legacy.kept().take_if(|kept| now >= kept.until);
        let Some(over) = over else {
            return;
        };
        self.legacy.any.store(false, Relaxed);
        for id in &over.ids {
            self.ids.unpin(id);
        }
        for client in over.clients {
            self.clients.end(client);
        }
    }

    /// What a successor is to be told, once every thread has said what it has; none before.
    pub fn bequeath(&self) -> Option<Vec<Bequest>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let all = told.threads >= self.threads.load(Relaxed);
        all.then(|| [told.sessions.clone(), self.legacy.left()].concat())
    }
}

/// What threads have said of their sessions, after a successor has their sockets.
#[derive(Debug, Default)]
pub(super) struct Told {
    threads: usize,
    sessions: Vec<Bequest>,
}

impl Told {
    pub(super) fn add(&mut self, sessions: impl Iterator<Item = Bequest>) {
        self.threads += 1;
        self.sessions.extend(sessions);
    }
}
