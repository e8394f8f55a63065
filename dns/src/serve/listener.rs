//! Listeners as sockets: which are bound, kept and closed by a start, a reload, a hand-over.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use chassis::config::Diagnostic;
use chassis::net::handover::Offered;
use chassis::net::{
    Address, Bound, BoundDatagram, Inherited, ListenOptions, Listener, bind, bind_datagram,
};
use tokio::sync::watch;

use super::{Shared, tcp, udp};
use crate::state::ListenerState;

/// The listeners that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
}

/// A listener with both of its transports.
struct Open {
    wanted: ListenerState,
    tcp: Bound,
    udp: BoundDatagram,
    closing: watch::Sender<bool>,
    leaving: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What becomes of the sockets when a state comes into force.
pub(crate) struct Plan(Vec<(ListenerState, Planned)>);

enum Planned {
    /// The one at this place among the open ones stays.
    Keep(usize),
    Open(Bound, BoundDatagram),
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
    ) -> io::Result<(Bound, BoundDatagram)> {
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
            let bound = tcp.address().tcp().unwrap_or(listener.address);
            let udp = bind_datagram(&listener.name, bound, &options, threads, is_held, inherited);
            tries -= 1;
            match udp {
                Ok(udp) => return Ok((tcp, udp)),
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
                    let kept = before[at].take();
                    self.open.extend(kept.map(|open| Open {
                        wanted: listener,
                        ..open
                    }));
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
            tracing::info!(listener = &*gone.wanted.name, address = %gone.tcp.address(), "closed");
            gone.close();
        }
    }

    /// Names and bound addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &Address)> {
        self.open
            .iter()
            .map(|open| (&*open.wanted.name, open.tcp.address()))
    }

    /// Every socket, for a successor.
    pub(crate) fn offered(&self) -> Vec<Offered<'_>> {
        self.open.iter().flat_map(Open::offered).collect()
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
        udp: BoundDatagram,
        threads: usize,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        tcp.open(&ListenOptions::default())?;
        let buffer = shared.state.load().receive_buffer;
        if let Err(error) = udp.set_receive_buffer(buffer) {
            tracing::warn!(listener = &*wanted.name, %error, "the receive buffer is not set");
        }
        let (closing, closed) = watch::channel(false);
        for (_, listener) in tcp.for_workers(1)? {
            if let Listener::Tcp(listener) = listener {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(tcp::accept(listener, shared.clone(), closed.clone()));
            }
        }
        let leaving = Arc::new(AtomicBool::new(false));
        let sockets = udp.for_workers(threads)?.into_iter().enumerate();
        let started = sockets
            .map(|(number, socket)| udp::start(number, socket, shared.clone(), leaving.clone()));
        let threads = started.collect::<io::Result<_>>()?;
        tracing::info!(listener = &*wanted.name, address = %tcp.address(), "listening");
        Ok(Self {
            wanted,
            tcp,
            udp,
            closing,
            leaving,
            threads,
        })
    }

    fn offered(&self) -> impl Iterator<Item = Offered<'_>> {
        let sockets = self.tcp.descriptors().chain(self.udp.descriptors());
        sockets.map(|socket| Offered {
            name: &self.wanted.name,
            address: self.tcp.address(),
            removable: false,
            socket,
        })
    }

    /// Whether these sockets can be that listener's.
    fn suits(&self, listener: &ListenerState) -> bool {
        let same = self.wanted.address == listener.address;
        let named = listener.address.port() != 0 || self.wanted.name == listener.name;
        same && named && self.wanted.dual_stack == listener.dual_stack
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
