//! Sessions that go over to a successor, with their sockets: neither clients nor endpoints see anything of it.
//!
//! The kernel goes on to hand each client to the same socket of the listener, of which the successor has the same number:
//! a session stays with the thread of that number.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Shared;
use super::ids::Id;
use super::plan::End;
use super::session::Target;
use super::sessions::{Moment, Sessions, lease};
use super::table::{Path, Standing};
use crate::sniff::ServerName;

/// A session, as it is told to a successor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bequest {
    /// The number of its thread.
    pub thread: usize,
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
    /// Whether the endpoint has ever answered.
    pub answered: bool,
    /// Whether the client has sent after that.
    #[serde(default)]
    pub proved: bool,
    /// Connected to the endpoint. It goes another way than the rest.
    #[serde(skip)]
    pub socket: Option<OwnedFd>,
}

/// Sessions between two processes.
#[derive(Debug, Default)]
pub(super) struct Bequests {
    /// How many threads have said what they have.
    threads: usize,
    sessions: Vec<Bequest>,
}

/// The most connection ids of a session that a successor is told, the latest.
const MOST_IDS: usize = 32;

impl Shared {
    /// Takes over the sessions of a predecessor, before there are threads.
    pub fn inherit(&self, sessions: Vec<Bequest>) {
        lock(&self.inherited).sessions = sessions;
    }

    /// What a successor is to have, after this listener was replaced: once every thread has said what it has, and once
    /// only; none before.
    pub fn bequeath(&self) -> Option<Vec<Bequest>> {
        let mut bequests = lock(&self.bequests);
        let all = bequests.threads >= self.threads.load(Relaxed);
        all.then(|| std::mem::take(&mut bequests.sessions))
    }
}

impl Sessions {
    /// Gives all sessions away.
    pub(super) fn bequeath(&mut self, thread: usize, moment: Moment<'_>) {
        let all: Vec<usize> = self.table.places().collect();
        let given = all.into_iter().filter_map(|at| {
            let standing = self.table.standing(at);
            let path = self.table.path(at);
            let session = self.end(at, End::HandedOver, moment.plan, moment.now)?;
            let ids = session.ids.iter().rev().take(MOST_IDS).rev();
            Some(Bequest {
                thread,
                client: path.client,
                service: path.service,
                endpoint: session.target.endpoint.address,
                name: session.target.name.as_ref().map(ToString::to_string),
                ids: ids.map(|id| id.octets().to_vec()).collect(),
                answered: standing >= Standing::Answered,
                proved: standing == Standing::Proved,
                socket: Some(session.socket.into()),
            })
        });
        let given: Vec<_> = given.collect();
        let mut bequests = lock(&self.shared.bequests);
        bequests.threads += 1;
        bequests.sessions.extend(given);
    }

    /// Goes on with the sessions that a predecessor's thread of this number had. Those with endpoints that are there no
    /// more begin anew.
    pub(super) fn adopt(&mut self, thread: usize, moment: Moment<'_>) {
        let shared = self.shared.clone();
        let is_mine = |bequest: &mut Bequest| bequest.thread == thread;
        let mine: Vec<_> = lock(&shared.inherited)
            .sessions
            .extract_if(.., is_mine)
            .collect();
        for bequest in mine {
            if let Err(error) = self.adopt_one(bequest, moment) {
                tracing::debug!(%error, "a session begins anew");
            }
        }
    }

    fn adopt_one(&mut self, bequest: Bequest, moment: Moment<'_>) -> io::Result<()> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let name = bequest.name.as_deref();
        let name = name.and_then(|name| ServerName::read(name.as_bytes()));
        let cluster = moment.plan.steer.cluster(name.as_ref());
        let cluster = cluster.ok_or_else(missing)?;
        let mut endpoints = cluster.endpoints().iter();
        let endpoint = endpoints.find(|one| one.address == bequest.endpoint);
        let endpoint = endpoint.ok_or_else(missing)?.clone();
        let socket = UdpSocket::from(bequest.socket.ok_or_else(missing)?);
        if socket.peer_addr()? != endpoint.address {
            return Err(missing());
        }
        let lease = lease(&endpoint).ok_or_else(missing)?;
        let path = Path {
            client: bequest.client,
            service: bequest.service,
        };
        let target = Arc::new(Target { endpoint, name });
        let permit = moment.plan.steer.admit(path.client.ip(), true, moment.now);
        let permit = permit.map_err(|_| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        let at = self.insert(path, target, socket, lease, permit, moment);
        let at = at.ok_or_else(missing)?;
        for id in bequest.ids.iter().filter_map(|id| Id::read(id)) {
            self.pin(at, id, true);
        }
        let standing = match (bequest.proved, bequest.answered) {
            (true, _) => Standing::Proved,
            (false, true) => Standing::Answered,
            (false, false) => Standing::Unanswered,
        };
        self.table.stand(at, standing, moment.now);
        Ok(())
    }
}

fn lock(bequests: &Mutex<Bequests>) -> MutexGuard<'_, Bequests> {
    bequests.lock().unwrap_or_else(PoisonError::into_inner)
}
