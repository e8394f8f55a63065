//! Listeners of datagrams: who may have a session, and where it goes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::telemetry::Pressure;

use super::{Ending, Seat, Shared};
use crate::admission::{Full, Permit};
use crate::balance::Cluster;
use crate::connection_log::Event;
use crate::datagram::{Denial, End, Ended, Plan, Steer};
use crate::sniff::ServerName;
use crate::state::ListenerState;

/// While no endpoint has answered: it answers in this time, or there is none to wait for (conntrack has the same).
const UNANSWERED: Duration = Duration::from_secs(30);
/// Sessions of a listener that was removed have so long to end.
const DRAIN: Duration = Duration::from_secs(30);

/// How a listener treats datagrams.
pub(super) fn plan(listener: &ListenerState, shared: &Arc<Shared>) -> Plan {
    let idle = listener.timeouts.relay.idle;
    Plan {
        quic: listener.routing.by_name(),
        transparent: listener.transparent,
        idle,
        unanswered: UNANSWERED.min(idle),
        opening: listener.timeouts.first_bytes,
        drain: DRAIN,
        steer: Box::new(Leads {
            listener: listener.clone(),
            shared: shared.clone(),
        }),
    }
}

struct Leads {
    listener: ListenerState,
    shared: Arc<Shared>,
}

/// A session that was let in.
struct Admitted {
    pressure: Arc<Pressure>,
    _permit: Permit,
    _seat: Seat,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // It had nothing to wait for: the datagram that begins it goes on at once.
        self.pressure.end(Duration::ZERO, false);
    }
}

impl Leads {
    fn let_in(&self, client: IpAddr, inherited: bool, now: Instant) -> Result<Admitted, Ending> {
        let Self { listener, shared } = self;
        if !listener.lets_in(client) {
            return Err(Ending::Denied);
        }
        let seat = shared.open.take(shared.state.load().connections);
        let seat = seat.ok_or(Ending::ProcessFull)?;
        let mut limits = listener.limits;
        if inherited {
            limits.accept_rate = None;
        }
        let mut permit = listener.admission.admit(&limits, now)?;
        permit.claim(client, &limits)?;
        listener.counts.accepted();
        shared.pressure.begin();
        Ok(Admitted {
            pressure: shared.pressure.clone(),
            _permit: permit,
            _seat: seat,
        })
    }
}

impl Steer for Leads {
    fn admit(
        &self,
        client: IpAddr,
        inherited: bool,
        now: Instant,
    ) -> Result<Box<dyn Send>, Denial> {
        match self.let_in(client, inherited, now) {
            Ok(admitted) => Ok(Box::new(admitted)),
            Err(ending) if [Ending::ProcessFull, Full::Listener.into()].contains(&ending) => {
                Err(Denial::Full)
            }
            Err(_) => Err(Denial::Client),
        }
    }

    fn cluster(&self, name: Option<&ServerName>) -> Option<Arc<Cluster>> {
        let cluster = self.listener.routing.cluster(name)?;
        Some(cluster.cluster.clone())
    }

    fn ended(&self, ended: &Ended<'_>) {
        let ending = match ended.end {
            End::Idle => Ending::Idle,
            End::Evicted => Ending::ListenerFull,
            End::Closed | End::HandedOver => Ending::Drained,
        };
        let listener = &self.listener;
        listener.counts.ended(ending, ended.up, ended.down);
        if let Some(log) = &self.shared.state.load().connection_log {
            let cluster = listener.routing.cluster(ended.name);
            let event = Event {
                listener: &listener.name,
                client: ended.path.client,
                service: ended.path.service,
                name: ended.name.map(ServerName::as_str),
                cluster: cluster.map(|cluster| &*cluster.name),
                endpoint: Some(ended.endpoint),
                ending,
                up: ended.up,
                down: ended.down,
                setup: None,
                duration: ended.lasted,
            };
            event.log(log);
        }
    }
}
