//! The sessions of a thread: how they begin, go on elsewhere, and end.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use chassis::net::is_exhaustion;
use rustix::event::epoll;

use super::batch::{Batch, Outgoing};
use super::counts::Counter;
use super::ids::Id;
use super::openings::Openings;
use super::plan::{Denial, End, Ended, Plan};
use super::session::{Connecting, Session, Target};
use super::table::{Path, Sender, Table};
use super::{Shared, Stage};
use crate::balance::{Cluster, Counted, Endpoint, Flow, Lease};
use crate::forward::Transport;

/// What holds for a batch.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) plan: &'a Plan,
    pub(super) stage: Stage,
    pub(super) now: Instant,
}

/// The sessions of a thread.
pub(super) struct Sessions {
    pub(super) table: Table<Session>,
    pub(super) openings: Openings,
    pub(super) shared: Arc<Shared>,
    epoll: Arc<OwnedFd>,
    /// How many sockets there were: an event of one that is closed must not be taken for another's.
    sockets: u32,
}

/// So many endpoints are tried for a datagram.
const TRIES: usize = 3;
/// The most connection ids of one session: a client may have all of its connections from one port.
const MOST_IDS: usize = 256;
/// The most connection ids of a listener.
const MOST_IDS_IN_ALL: usize = 1 << 18;
/// Sessions that are ended at a time, so that datagrams do not wait for long.
const SWEPT: usize = 256;

impl Sessions {
    pub(super) fn new(shared: Arc<Shared>, epoll: Arc<OwnedFd>) -> Self {
        Self {
            table: Table::new(),
            openings: Openings::default(),
            shared,
            epoll,
            sockets: 0,
        }
    }

    pub(super) fn count(&self, counter: Counter, amount: u64) {
        self.shared.counts.add(counter, amount);
    }

    /// The session that an event is of.
    pub(super) fn of_token(&self, token: u64) -> Option<usize> {
        let at = (token & u64::from(u32::MAX)).checked_sub(1)? as usize;
        self.table
            .get(at)
            .is_some_and(|session| session.token == token)
            .then_some(at)
    }

    /// Begins a session of a path with an endpoint of the cluster for no name.
    pub(super) fn begin_default(&mut self, path: Path, moment: Moment<'_>) -> Option<usize> {
        let Some(cluster) = moment.plan.steer.cluster(None) else {
            self.count(Counter::NoRoute, 1);
            return None;
        };
        let (target, lease) = self.choose(&cluster, path, None, moment)?;
        self.begin(path, Arc::new(target), lease, moment)
    }

    /// An endpoint of a cluster for a session.
    pub(super) fn choose(
        &self,
        cluster: &Cluster,
        path: Path,
        other_than: Option<SocketAddr>,
        moment: Moment<'_>,
    ) -> Option<(Target, Lease)> {
        let hash = cluster.hash(|| Flow {
            transport: Transport::Udp,
            client: path.client,
            service: path.service,
        });
        let mut tried = Vec::new();
        let mut last_resort = None;
        let lease = loop {
            let Some(at) = cluster.pick(hash, &tried) else {
                break last_resort;
            };
            tried.push(at);
            let endpoint = &cluster.endpoints()[at];
            if other_than == Some(endpoint.address) {
                continue;
            }
            let refuses = self.shared.refusals.has(endpoint.address, moment.now);
            // To go from one that refuses to another that does is in vain.
            if refuses && (other_than.is_some() || last_resort.is_some()) {
                continue;
            }
            match lease(endpoint) {
                Some(lease) if refuses => last_resort = Some(lease),
                Some(lease) => break Some(lease),
                None => {}
            }
        };
        let Some(lease) = lease else {
            if other_than.is_none() {
                self.count(Counter::NoEndpoint, 1);
            }
            return None;
        };
        let target = Target {
            endpoint: lease.endpoint().clone(),
            name: None,
        };
        Some((target, lease))
    }

    /// Begins a session.
    pub(super) fn begin(
        &mut self,
        path: Path,
        target: Arc<Target>,
        lease: Lease,
        moment: Moment<'_>,
    ) -> Option<usize> {
        if moment.stage != Stage::Open {
            self.count(Counter::Stray, 1);
            return None;
        }
        let steer = &moment.plan.steer;
        let client = path.client.ip();
        let permit = match steer.admit(client, false, moment.now) {
            Err(Denial::Full) if self.evict(moment) => steer.admit(client, false, moment.now),
            outcome => outcome,
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(denial) => {
                self.count(Counter::NotAdmitted, 1);
                // Others may have sessions that can go; the client tries again.
                self.shared.short.fetch_or(denial == Denial::Full, Relaxed);
                return None;
            }
        };
        let connecting = connecting(&target, path, moment.plan);
        let socket = match connecting.connect() {
            Err(error) if is_exhaustion(&error) && self.evict(moment) => connecting.connect(),
            outcome => outcome,
        };
        let socket = socket.map_err(|error| self.no_socket(&error)).ok()?;
        self.count(Counter::Sessions, 1);
        target.endpoint.counts.add(Counted::Connected, 1);
        self.insert(path, target, socket, lease, permit, moment)
    }

    /// Has a session, with everything that it needs.
    pub(super) fn insert(
        &mut self,
        path: Path,
        target: Arc<Target>,
        socket: UdpSocket,
        lease: Lease,
        permit: Box<dyn Send>,
        moment: Moment<'_>,
    ) -> Option<usize> {
        let session = Session {
            socket,
            target,
            token: 0,
            ids: Vec::new(),
            begun: moment.now,
            up: 0,
            down: 0,
            lease,
            _permit: permit,
        };
        self.shared.open.fetch_add(1, Relaxed);
        self.shared.clients.begin(path.client.ip(), &session.target);
        let at = self.table.insert(path, session, moment.now);
        if let Err(error) = self.listen(at) {
            self.no_socket(&error);
            self.end(at, End::Closed, moment.plan, moment.now);
            return None;
        }
        Some(at)
    }

    fn no_socket(&self, error: &io::Error) {
        self.count(Counter::NoSocket, 1);
        tracing::debug!(%error, "no socket for a session");
    }

    /// Has the events of a session's socket told.
    fn listen(&mut self, at: usize) -> io::Result<()> {
        self.sockets = self.sockets.wrapping_add(1);
        let token = u64::from(self.sockets) << 32 | (at as u64 + 1);
        if let Some(session) = self.table.get_mut(at) {
            session.token = token;
            let data = epoll::EventData::new_u64(token);
            epoll::add(&*self.epoll, &session.socket, data, epoll::EventFlags::IN)?;
        }
        Ok(())
    }

    /// Sends what is in slots to the endpoint of a session.
    pub(super) fn forward(
        &mut self,
        batch: &mut Batch,
        at: usize,
        outgoing: &[Outgoing],
        moment: Moment<'_>,
    ) {
        self.leave_unwell(at, moment);
        let mut rest = outgoing;
        for _ in 0..TRIES {
            let Some(session) = self.table.get_mut(at) else {
                return;
            };
            let sent = batch.send(&session.socket, rest);
            let (done, left) = rest.split_at(sent.done);
            let (datagrams, octets) = batch.amount(done);
            session.up += octets;
            self.count(Counter::Up, datagrams - sent.failed.min(datagrams));
            self.count(Counter::OctetsUp, octets);
            self.count(Counter::NotSent, sent.failed);
            rest = left;
            if rest.is_empty() {
                break;
            }
            self.refused(at, moment);
        }
        self.count(Counter::NotSent, batch.amount(rest).0);
        self.table.touch(at, Sender::Client, moment.now);
    }

    /// Sends one datagram to the endpoint of a session.
    pub(super) fn send(&mut self, at: usize, datagram: &[u8], moment: Moment<'_>) {
        self.leave_unwell(at, moment);
        for _ in 0..TRIES {
            let Some(session) = self.table.get_mut(at) else {
                return;
            };
            match session.socket.send(datagram) {
                Ok(octets) => {
                    session.up += octets as u64;
                    self.count(Counter::Up, 1);
                    self.count(Counter::OctetsUp, octets as u64);
                    self.table.touch(at, Sender::Client, moment.now);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.refused(at, moment);
                }
                Err(_) => break,
            }
        }
        self.count(Counter::NotSent, 1);
    }

    /// The endpoint has refused a datagram: the session goes on with another.
    pub(super) fn refused(&mut self, at: usize, moment: Moment<'_>) {
        let Some(session) = self.table.get(at) else {
            return;
        };
        let endpoint = &session.target.endpoint;
        endpoint.counts.add(Counted::Failed, 1);
        self.shared.refusals.note(endpoint.address, moment.now);
        self.count(Counter::Refused, 1);
        self.move_on(at, moment);
    }

    /// No flow stays with an endpoint that is found to be dead, or that is there no more.
    fn leave_unwell(&mut self, at: usize, moment: Moment<'_>) {
        let is_over = |session: &Session| {
            let endpoint = &session.target.endpoint;
            !endpoint.is_well() || endpoint.is_left(moment.now)
        };
        if self.table.get(at).is_some_and(is_over) {
            self.move_on(at, moment);
        }
    }

    /// Goes on with another endpoint, when there is one.
    #[cold]
    fn move_on(&mut self, at: usize, moment: Moment<'_>) {
        let Some(session) = self.table.get(at) else {
            return;
        };
        let path = self.table.path(at);
        let name = session.target.name.clone();
        let Some(cluster) = moment.plan.steer.cluster(name.as_ref()) else {
            return;
        };
        let former = session.target.endpoint.address;
        let Some((mut target, lease)) = self.choose(&cluster, path, Some(former), moment) else {
            return;
        };
        target.name = name;
        let socket = match connecting(&target, path, moment.plan).connect() {
            Ok(socket) => socket,
            Err(error) => return self.no_socket(&error),
        };
        let Some(session) = self.table.get_mut(at) else {
            return;
        };
        // What they were for is there no more.
        for id in session.ids.drain(..) {
            self.shared.ids.unpin(&id);
        }
        target.endpoint.counts.add(Counted::Connected, 1);
        (session.socket, session.target, session.lease) = (socket, Arc::new(target), lease);
        self.count(Counter::Moved, 1);
        if let Err(error) = self.listen(at) {
            self.no_socket(&error);
            self.end(at, End::Closed, moment.plan, moment.now);
        }
    }

    /// Has a connection id lead to the endpoint of a session. When it has too many, the one goes that was not asked for
    /// for longest: its connection has ended, most likely.
    pub(super) fn pin(&mut self, at: usize, id: Id, by_endpoint: bool) {
        let Some(session) = self.table.get_mut(at) else {
            return;
        };
        let ids = &self.shared.ids;
        if let Some(known) = session.ids.iter().rposition(|known| *known == id) {
            session.ids[known..].rotate_left(1);
            return;
        }
        if session.ids.len() >= MOST_IDS {
            ids.unpin(&session.ids.remove(0));
        }
        if ids.pin(id, &session.target, by_endpoint, MOST_IDS_IN_ALL) {
            session.ids.push(id);
        }
    }

    /// Ends a session for another; whether there was one.
    fn evict(&mut self, moment: Moment<'_>) -> bool {
        let Some(at) = self.table.oldest_unproved() else {
            return false;
        };
        self.count(Counter::Evicted, 1);
        self.end(at, End::Evicted, moment.plan, moment.now);
        true
    }

    /// Ends a session for one that another thread could not begin.
    pub(super) fn make_room(&mut self, moment: Moment<'_>) {
        if self.shared.short.load(Relaxed) && self.evict(moment) {
            self.shared.short.store(false, Relaxed);
        }
    }

    /// Ends what was quiet for too long; whether that is all.
    pub(super) fn sweep(&mut self, moment: Moment<'_>) -> bool {
        let slow = self.openings.expire(moment.now);
        self.count(Counter::Slow, slow);
        let Plan {
            unanswered, idle, ..
        } = *moment.plan;
        for _ in 0..SWEPT {
            let Some(at) = self.table.stale(unanswered, idle, moment.now) else {
                return true;
            };
            self.end(at, End::Idle, moment.plan, moment.now);
        }
        false
    }

    /// Ends a session; what it was.
    pub(super) fn end(
        &mut self,
        at: usize,
        end: End,
        plan: &Plan,
        now: Instant,
    ) -> Option<Session> {
        self.table.get(at)?;
        let path = self.table.path(at);
        let session = self.table.remove(at)?;
        for id in &session.ids {
            self.shared.ids.unpin(id);
        }
        self.shared.clients.end(path.client.ip());
        self.shared.open.fetch_sub(1, Relaxed);
        let counts = &session.target.endpoint.counts;
        counts.add(Counted::Up, session.up);
        counts.add(Counted::Down, session.down);
        plan.steer.ended(&Ended {
            path,
            endpoint: session.target.endpoint.address,
            name: session.target.name.as_ref(),
            up: session.up,
            down: session.down,
            lasted: now.saturating_duration_since(session.begun),
            end,
        });
        Some(session)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        let plan = self.shared.plan.load_full();
        let now = Instant::now();
        while let Some(at) = self.table.any() {
            self.end(at, End::Closed, &plan, now);
        }
    }
}

/// Counts a session of an endpoint; none when it has as many as it may have.
pub(super) fn lease(endpoint: &Arc<Endpoint>) -> Option<Lease> {
    let lease = endpoint.lease();
    if lease.is_none() {
        endpoint.counts.add(Counted::Full, 1);
    }
    lease
}

fn connecting(target: &Target, path: Path, plan: &Plan) -> Connecting {
    Connecting {
        endpoint: target.endpoint.address,
        speak_for: plan.transparent.then_some(path.client),
        quic: plan.quic,
    }
}
