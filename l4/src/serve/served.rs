//! What is counted and logged of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Ending, Shared};
use crate::connection_log::Event;
use crate::relay::Moved;
use crate::sniff::ServerName;
use crate::state::{ClusterState, ListenerState};

/// A connection that is served. It has ended when this is dropped: at its end, with the thread that it is on, or
/// because of a fault.
pub(super) struct Served {
    pub(super) listener: Arc<ListenerState>,
    pub(super) shared: Arc<Shared>,
    pub(super) begun: Instant,
    pub(super) known: Known,
    pub(super) moved: Moved,
    /// How it ended, once it has.
    pub(super) ending: Option<Ending>,
}

/// Where a connection comes from and goes to, as far as it is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) client: SocketAddr,
    /// What the client has connected to; the listener's address until it is known better.
    pub(super) service: SocketAddr,
    pub(super) name: Option<ServerName>,
    pub(super) cluster: Option<Arc<ClusterState>>,
    pub(super) endpoint: Option<SocketAddr>,
    /// Until an endpoint had it.
    pub(super) setup: Option<Duration>,
}

impl Served {
    /// Counts one that begins.
    pub(super) fn begin(
        client: SocketAddr,
        listener: Arc<ListenerState>,
        shared: Arc<Shared>,
    ) -> Self {
        listener.counts.accepted();
        shared.pressure.begin();
        let known = Known {
            client,
            service: listener.address,
            name: None,
            cluster: None,
            endpoint: None,
            setup: None,
        };
        Self {
            listener,
            shared,
            begun: Instant::now(),
            known,
            moved: Moved::default(),
            ending: None,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let cut_off = || match std::thread::panicking() {
            true => Ending::Fault,
            false => Ending::Drained,
        };
        let ending = self.ending.unwrap_or_else(cut_off);
        let Self {
            listener,
            shared,
            known,
            ..
        } = self;
        let (up, down) = (self.moved.up.get(), self.moved.down.get());
        listener.counts.ended(ending, up, down);
        let duration = self.begun.elapsed();
        if let Some(setup) = known.setup {
            listener.counts.set_up(setup);
        }
        let latency = known.setup.unwrap_or(duration);
        shared.pressure.end(latency, ending.failed());
        if let Some(log) = &shared.state.load().connection_log {
            let event = Event {
                listener: &listener.name,
                client: known.client,
                service: known.service,
                name: known.name.as_ref().map(ServerName::as_str),
                cluster: known.cluster.as_ref().map(|cluster| &*cluster.name),
                endpoint: known.endpoint,
                ending,
                up,
                down,
                setup: known.setup,
                duration,
            };
            event.log(log);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use arc_swap::ArcSwap;

    use super::*;
    use crate::compile::compile;
    use crate::direct_return::DirectReturn;
    use crate::health::Health;

    #[test]
    fn what_does_not_come_to_its_end_is_counted_too() {
        let file =
            std::env::temp_dir().join(format!("tidegate-served-{}.toml", std::process::id()));
        let text = "admin = { address = \"127.0.0.1:0\" }\n\
                    [[listener]]\nname = \"in\"\naddress = \"127.0.0.1:7001\"\ncluster = \"up\"\n\
                    [cluster.up]\nendpoints = [{ address = \"127.0.0.1:7002\" }]\n";
        std::fs::write(&file, text).unwrap();
        let compiled = compile(&file, None, Instant::now()).unwrap();
        std::fs::remove_file(&file).unwrap();
        let listener = Arc::new(compiled.state.listeners[0].clone());
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(compiled.state),
            health: Health::new(),
            forwarding: Arc::default(),
            open: Arc::default(),
            leaving: Arc::default(),
            pressure: Arc::default(),
            direct_return: DirectReturn::default(),
        });
        let begin = || Served::begin(listener.address, listener.clone(), shared.clone());
        let served = begin();
        assert_eq!(shared.pressure.in_flight(), 1);
        drop(served);
        let broken = catch_unwind(AssertUnwindSafe(|| {
            let _served = begin();
            std::panic::resume_unwind(Box::new("a fault"));
        }));
        assert!(broken.is_err());
        assert_eq!(shared.pressure.in_flight(), 0);
        let ended = |ending| listener.counts.count(ending);
        assert_eq!((ended(Ending::Drained), ended(Ending::Fault)), (1, 1));
    }
}
