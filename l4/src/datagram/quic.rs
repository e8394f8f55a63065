//! Where the datagrams of a QUIC client go: by connection id, else by the name in its first packets, else by its
//! addresses.

use std::sync::Arc;

use super::counts::Counter;
use super::ids::Id;
use super::openings::Progress;
use super::session::{Session, Target};
use super::sessions::{Moment, Sessions, lease};
use super::table::Path;
use crate::sniff::{LongHeader, ServerName, long_header};

impl Sessions {
    /// Whether these datagrams, which came as one, are of one connection that is established.
    pub(super) fn are_of_one<'a>(
        &self,
        path: &Path,
        mut datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let Some(first) = datagrams.next().filter(|first| is_short(first)) else {
            return false;
        };
        let mut length = None;
        datagrams.all(|datagram| {
            let length = *length.get_or_insert_with(|| self.id_length(path, first));
            is_short(datagram) && datagram.get(1..=length) == first.get(1..=length)
        })
    }

    /// How long the connection id in a short header is; where nobody knows, what is usual.
    fn id_length(&self, path: &Path, datagram: &[u8]) -> usize {
        let at = self.table.find(path);
        let session = at.and_then(|at| self.table.get(at));
        let own = session.and_then(|session| session.id_of(datagram));
        let id = own.or_else(|| Some(self.shared.ids.get_short(datagram)?.0));
        id.map_or(USUAL_LENGTH, |id| id.octets().len())
    }

    /// Sends a datagram to where it belongs.
    pub(super) fn steer(&mut self, path: Path, datagram: &[u8], moment: Moment<'_>) {
        let at = match long_header(datagram) {
            Some(header) => self.of_long_header(path, &header, datagram, moment),
            None => self.of_short_header(path, datagram, moment),
        };
        if let Some(at) = at {
            self.send(at, datagram, moment);
        }
    }

    fn of_long_header(
        &mut self,
        path: Path,
        header: &LongHeader<'_>,
        datagram: &[u8],
        moment: Moment<'_>,
    ) -> Option<usize> {
        let id = Id::read(header.destination);
        if let Some(id) = id
            && let Some(target) = self.shared.ids.get(&id)
        {
            let at = self.session_with(path, target, moment)?;
            self.pin(at, id, false);
            return Some(at);
        }
        let youngest = self.table.find(&path);
        match id {
            Some(id) if header.is_initial() || header.is_early() => {
                self.of_first_packet(path, id, header, datagram, moment)
            }
            // The endpoint says which versions there are, to whoever asks for another. Nothing proves that this is an id,
            // or QUIC at all: the client's address leads.
            _ if !header.is_known() => youngest.or_else(|| self.begin_default(path, moment)),
            _ => youngest.or_else(|| self.of_nobody(path, moment)),
        }
    }

    /// Waits for the name that a connection is for, and sends what has waited. The session of a packet that is not the
    /// first of its connection, though its id is not known.
    fn of_first_packet(
        &mut self,
        path: Path,
        id: Id,
        header: &LongHeader<'_>,
        datagram: &[u8],
        moment: Moment<'_>,
    ) -> Option<usize> {
        let patience = moment.plan.opening;
        let progress = self
            .openings
            .take(path, id, header, datagram, patience, moment.now);
        match progress {
            Progress::Waits => {}
            Progress::Broken(fault) => {
                self.count(Counter::Malformed, 1);
                tracing::debug!(client = %path.client, fault, "a QUIC connection is dropped");
            }
            Progress::Foreign => {
                let youngest = self.table.find(&path);
                let strange = youngest.is_none();
                self.count(Counter::Malformed, strange.into());
                return youngest;
            }
            Progress::Whole(name, waiting) => {
                let at = self.session_by_name(path, name, moment)?;
                self.pin(at, id, false);
                for datagram in waiting {
                    self.send(at, &datagram, moment);
                }
            }
        }
        None
    }

    /// The session of a packet of a connection that is established.
    pub(super) fn of_short_header(
        &mut self,
        path: Path,
        datagram: &[u8],
        moment: Moment<'_>,
    ) -> Option<usize> {
        let youngest = self.table.find(&path);
        let session = youngest.and_then(|at| self.table.get(at));
        if session.is_some_and(|session| session.id_of(datagram).is_some()) {
            return youngest;
        }
        // A client may have connections with several endpoints from one port.
        if let Some((id, target)) = self.shared.ids.get_short(datagram) {
            let at = self.session_with(path, target, moment)?;
            self.pin(at, id, true);
            return Some(at);
        }
        youngest.or_else(|| self.of_nobody(path, moment))
    }

    /// A session for a packet of a connection that nobody here knows: to where the client was led last, else to where
    /// those without a name go.
    fn of_nobody(&mut self, path: Path, moment: Moment<'_>) -> Option<usize> {
        self.count(Counter::UnknownId, 1);
        match self.shared.clients.latest(path.client.ip()) {
            Some(target) => self.session_with(path, target, moment),
            None => self.begin_default(path, moment),
        }
    }

    /// The session of a path with this endpoint, which begins when there is none.
    fn session_with(
        &mut self,
        path: Path,
        target: Arc<Target>,
        moment: Moment<'_>,
    ) -> Option<usize> {
        let is_with = |session: &Session| session.target == target;
        if let Some(at) = self.table.find_where(&path, is_with) {
            return Some(at);
        }
        let Some(lease) = lease(&target.endpoint) else {
            self.count(Counter::NoEndpoint, 1);
            return None;
        };
        self.begin(path, target, lease, moment)
    }

    /// A session of a path for a name, with whichever endpoint that gets.
    fn session_by_name(
        &mut self,
        path: Path,
        name: Option<ServerName>,
        moment: Moment<'_>,
    ) -> Option<usize> {
        let Some(cluster) = moment.plan.steer.cluster(name.as_ref()) else {
            self.count(Counter::NoRoute, 1);
            return None;
        };
        let (mut target, lease) = self.choose(&cluster, path, None, moment)?;
        target.name = name;
        let target = Arc::new(target);
        let is_with = |session: &Session| session.target == target;
        match self.table.find_where(&path, is_with) {
            Some(at) => Some(at),
            None => self.begin(path, target, lease, moment),
        }
    }

    /// Learns the connection ids that an endpoint has chosen.
    pub(super) fn learn<'a>(&mut self, at: usize, datagrams: impl Iterator<Item = &'a [u8]>) {
        for datagram in datagrams {
            // One that negotiates the version repeats what the client has chosen.
            if let Some(header) = long_header(datagram).filter(|header| header.version != 0)
                && let Some(id) = Id::read(header.source)
            {
                self.pin(at, id, true);
            }
        }
    }
}

/// The length of connection ids that most servers choose.
const USUAL_LENGTH: usize = 8;

fn is_short(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 == 0)
}
