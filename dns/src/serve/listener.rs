//! Listeners as sockets: which are bound, kept and closed by a start, a reload, a hand-over.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use chassis::config::Diagnostic;
use chassis::net::handover::Offered;
use chassis::net::{
    Address, Bound, BoundDatagram, Inherited, ListenOptions, Listener, bind, bind_datagram,
};
use tokio::sync::watch;

use super::accept::accept;
use super::{Shared, udp};
use crate::state::ListenerState;

/// The listeners that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
}

/// A listener with its transports.
struct Open {
    wanted: Arc<ArcSwap<ListenerState>>,
    tcp: Bound,
    /// None where queries come over TLS or HTTP.
    udp: Option<BoundDatagram>,
    closing: watch::Sender<bool>,
    leaving: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What becomes of the sockets when a state comes into force.
pub(crate) struct Plan(Vec<(ListenerState, Planned)>);

enum Planned {
    /// The one at this place among the open ones stays.
    Keep(usize),
    Open(Bound, Option<BoundDatagram>),
}

/// A port that is free for TCP may be taken for UDP: then another is tried.
const TRIES: usize = 20;
/// Between two looks at threads that are to end.
const LOOK: Duration = Duration::from_millis(10);

impl Listeners {
    /// Binds the listeners that are not open yet.
    ///
    /// # Errors
    /// The first that cannot be bound; then nothing has changed.
    pub(crate) fn plan(
        &self,
        wanted: &[ListenerState],
        threads: usize,
        inherited: &mut Inherited,
    ) -> Result<Plan, Diagnostic> {
        let mut free = vec![true; self.open.len()];
        let mut planned = Vec::with_capacity(wanted.len());
        for listener in wanted {
            let suits = |at: &usize| free[*at] && self.open[*at].suits(listener);
            let kept = (0..self.open.len()).find(suits);
            let plan = match kept {
                Some(at) => {
                    free[at] = false;
                    Planned::Keep(at)
                }
                None => {
                    let (tcp, udp) = self.bind(listener, threads, inherited).map_err(|error| {
                        let ListenerState { name, address, .. } = listener;
                        let what =
                            format!("the listener `{name}` cannot listen on {address}: {error}");
                        Diagnostic::new(listener.place, what)
                    })?;
                    Planned::Open(tcp, udp)
                }
            };
            planned.push((listener.clone(), plan));
        }
        Ok(Plan(planned))
    }

    fn bind(
        &self,
        listener: &ListenerState,
        threads: usize,
        inherited: &mut Inherited,
    ) -> io::Result<(Bound, Option<BoundDatagram>)> {
        let options = ListenOptions {
            dual_stack: listener.dual_stack,
            ..ListenOptions::default()
        };
        let held: BTreeSet<u16> = self.open.iter().map(Open::port).collect();
        let is_held = held.contains(&listener.address.port());
        let address = Address::Tcp(listener.address);
        let mut tries = if address.takes_any_port() { TRIES } else { 1 };
        loop {
            // One queue of connections is enough: they are few.
            let tcp = bind(&listener.name, &address, &options, 1, &held, inherited)?;
            if !listener.has_udp() {
                return Ok((tcp, None));
            }
            let bound = tcp.address().tcp().unwrap_or(listener.address);
            let udp = bind_datagram(&listener.name, bound, &options, threads, is_held, inherited);
            tries -= 1;
            match udp {
                Ok(udp) => return Ok((tcp, Some(udp))),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Opens, keeps and closes.
    pub(crate) fn apply(&mut self, plan: Plan, threads: usize, shared: &Arc<Shared>) {
        let mut before: Vec<Option<Open>> = self.open.drain(..).map(Some).collect();
        for (listener, planned) in plan.0 {
            match planned {
                Planned::Keep(at) => {
                    if let Some(kept) = before[at].take() {
                        kept.wanted.store(Arc::new(listener));
                        self.open.push(kept);
                    }
                }
                Planned::Open(tcp, udp) => {
                    let name = listener.name.clone();
                    match Open::start(listener, tcp, udp, threads, shared) {
                        Ok(open) => self.open.push(open),
                        Err(error) => tracing::error!(listener = &*name, %error, "cannot serve"),
                    }
                }
            }
        }
        for gone in before.into_iter().flatten() {
            tracing::info!(listener = &*gone.wanted.load().name, address = %gone.tcp.address(), "closed");
            gone.close();
        }
    }

    /// Names and bound addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Arc<str>, &Address)> {
        self.open
            .iter()
            .map(|open| (open.wanted.load().name.clone(), open.tcp.address()))
    }

    /// Names, for [`Self::offered`].
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.addresses().map(|(name, _)| name).collect()
    }

    /// Every socket, for a successor, with the names of the listeners.
    pub(crate) fn offered<'a>(&'a self, names: &'a [Arc<str>]) -> Vec<Offered<'a>> {
        let open = self.open.iter().zip(names);
        open.flat_map(|(open, name)| open.offered(name)).collect()
    }

    /// Takes nothing more; what waits in the sockets is answered, by a successor where there is one.
    pub(crate) fn close(&self) {
        for open in &self.open {
            open.close();
        }
    }

    /// Waits until the threads have ended, at most so long.
    pub(crate) async fn finish(&mut self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        let busy = |open: &Open| !open.threads.iter().all(JoinHandle::is_finished);
        while self.open.iter().any(busy) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        self.open.clear();
    }
}

impl Open {
    fn start(
        wanted: ListenerState,
        tcp: Bound,
        udp: Option<BoundDatagram>,
        threads: usize,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        tcp.open(&ListenOptions::default())?;
        let (closing, closed) = watch::channel(false);
        let leaving = Arc::new(AtomicBool::new(false));
        let mut started = Vec::new();
        if let Some(udp) = &udp {
            let buffer = shared.state.load().receive_buffer;
            if let Err(error) = udp.set_receive_buffer(buffer) {
                tracing::warn!(listener = &*wanted.name, %error, "the receive buffer is not set");
            }
            for (number, socket) in udp.for_workers(threads)?.into_iter().enumerate() {
                started.push(udp::start(number, socket, shared.clone(), leaving.clone())?);
            }
        }
        tracing::info!(listener = &*wanted.name, address = %tcp.address(), "listening");
        let wanted = Arc::new(ArcSwap::from_pointee(wanted));
        for (_, socket) in tcp.for_workers(1)? {
            if let Listener::Tcp(socket) = socket {
                let socket = tokio::net::TcpListener::from_std(socket)?;
                let accepting = accept(socket, wanted.clone(), shared.clone(), closed.clone());
                tokio::spawn(accepting);
            }
        }
        Ok(Self {
            wanted,
            tcp,
            udp,
            closing,
            leaving,
            threads: started,
        })
    }

    fn offered<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Offered<'a>> {
        let datagrams = self.udp.iter().flat_map(BoundDatagram::descriptors);
        let sockets = self.tcp.descriptors().chain(datagrams);
        sockets.map(move |socket| Offered {
            name,
            address: self.tcp.address(),
            removable: false,
            socket,
        })
    }

    /// Whether these sockets can be that listener's.
    fn suits(&self, listener: &ListenerState) -> bool {
        let wanted = self.wanted.load();
        let same = wanted.address == listener.address && wanted.dual_stack == listener.dual_stack;
        let named = listener.address.port() != 0 || wanted.name == listener.name;
        same && named && self.udp.is_some() == listener.has_udp()
    }

    fn port(&self) -> u16 {
        let address: Option<SocketAddr> = self.tcp.address().tcp();
        address.map_or(0, |address| address.port())
    }

    fn close(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.closing.send_replace(true);
    }
}
