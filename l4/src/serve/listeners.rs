//! Listeners as sockets: which are bound, kept and closed by a start, a reload, a hand-over.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chassis::config::Diagnostic;
use chassis::net::handover::Offered;
use chassis::net::{Address, Bound, Inherited, Listener, bind};
use tokio::sync::watch;

use super::accept::{Closing, accept};
use super::{Shared, Workers};
use crate::compile::NOT_ALLOWED;
use crate::config::Mode;
use crate::forward::Transport;
use crate::state::ListenerState;

/// The listeners that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
}

/// A listener with its sockets.
struct Open {
    wanted: Arc<ArcSwap<ListenerState>>,
    bound: Bound,
    closing: watch::Sender<Closing>,
}

/// What becomes of the sockets when a state comes into force.
pub(crate) struct Plan(Vec<(ListenerState, Planned)>);

enum Planned {
    /// The one at this place among the open ones stays.
    Keep(usize),
    Open(Bound),
}

impl Listeners {
    /// Binds the listeners that are not open yet.
    ///
    /// # Errors
    /// The first that cannot be bound; then nothing has changed.
    pub(crate) fn plan(
        &self,
        wanted: &[ListenerState],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Plan, Diagnostic> {
        let mut free = vec![true; self.open.len()];
        let mut planned = Vec::with_capacity(wanted.len());
        let held: BTreeSet<u16> = self.open.iter().map(Open::port).collect();
        for listener in wanted.iter().filter(|one| is_ours(one)) {
            let suits = |at: &usize| free[*at] && self.open[*at].suits(listener);
            let kept = (0..self.open.len()).find(suits);
            let plan = match kept {
                Some(at) => {
                    free[at] = false;
                    Planned::Keep(at)
                }
                None => {
                    let ListenerState {
                        name,
                        address,
                        options,
                        place,
                        ..
                    } = listener;
                    let tcp = Address::Tcp(*address);
                    let bound = bind(name, &tcp, options, workers, &held, inherited);
                    Planned::Open(bound.map_err(|error| {
                        let denied = error.kind() == io::ErrorKind::PermissionDenied;
                        let why = match denied && options.transparent {
                            true => format!("{error}; {NOT_ALLOWED}"),
                            false => error.to_string(),
                        };
                        let what =
                            format!("the listener `{name}` cannot listen on {address}: {why}");
                        Diagnostic::new(*place, what)
                    })?)
                }
            };
            planned.push((listener.clone(), plan));
        }
        Ok(Plan(planned))
    }

    /// Opens, keeps and closes.
    pub(crate) fn apply(&mut self, plan: Plan, workers: &Workers, shared: &Arc<Shared>) {
        let mut before: Vec<Option<Open>> = self.open.drain(..).map(Some).collect();
        for (listener, planned) in plan.0 {
            let name = listener.name.clone();
            let opened = match planned {
                Planned::Keep(at) => before[at].take().map(|kept| kept.keep(listener)),
                Planned::Open(bound) => Some(Open::start(listener, bound, workers, shared)),
            };
            match opened {
                Some(Ok(open)) => self.open.push(open),
                Some(Err(error)) => tracing::error!(listener = &*name, %error, "cannot serve"),
                None => {}
            }
        }
        for gone in before.into_iter().flatten() {
            tracing::info!(listener = &*gone.wanted.load().name, address = %gone.bound.address(), "closed");
            gone.closing.send_replace(Closing::Gone);
        }
    }

    /// Names and bound addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Arc<str>, &Address)> {
        self.open
            .iter()
            .map(|open| (open.wanted.load().name.clone(), open.bound.address()))
    }

    /// Names, for [`Self::offered`].
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.addresses().map(|(name, _)| name).collect()
    }

    /// Every socket, for a successor, with the names of the listeners.
    pub(crate) fn offered<'a>(&'a self, names: &'a [Arc<str>]) -> Vec<Offered<'a>> {
        let open = self.open.iter().zip(names);
        open.flat_map(|(open, name)| {
            open.bound.descriptors().map(move |socket| Offered {
                name,
                address: open.bound.address(),
                removable: false,
                socket,
            })
        })
        .collect()
    }

    /// Takes nothing more. What waits in the sockets is served by a successor where there is one, and by this process
    /// otherwise.
    pub(crate) fn close(&self, handed_over: bool) {
        for open in &self.open {
            open.closing.send_replace(match handed_over {
                true => Closing::HandedOver,
                false => Closing::Gone,
            });
        }
    }
}

/// Whether this process takes what comes there.
fn is_ours(listener: &ListenerState) -> bool {
    listener.mode == Mode::Proxy && listener.transport == Transport::Tcp
}

impl Open {
    fn start(
        wanted: ListenerState,
        bound: Bound,
        workers: &Workers,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        bound.open(&wanted.options)?;
        let (closing, closed) = watch::channel(Closing::No);
        tracing::info!(listener = &*wanted.name, address = %bound.address(), "listening");
        let wanted = Arc::new(ArcSwap::from_pointee(wanted));
        for (worker, socket) in bound.for_workers(workers.count())? {
            let Listener::Tcp(socket) = socket else {
                continue;
            };
            let (wanted, shared, closed) = (wanted.clone(), shared.clone(), closed.clone());
            workers.give(worker, move || async move {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => accept(socket, wanted, shared, closed).await,
                    Err(error) => tracing::error!(%error, "a socket cannot be used"),
                }
            });
        }
        Ok(Self {
            wanted,
            bound,
            closing,
        })
    }

    /// Goes on with other settings.
    fn keep(self, listener: ListenerState) -> io::Result<Self> {
        if self.wanted.load().options != listener.options {
            self.bound.open(&listener.options)?;
        }
        self.wanted.store(Arc::new(listener));
        Ok(self)
    }

    /// Whether these sockets can be that listener's.
    fn suits(&self, listener: &ListenerState) -> bool {
        let wanted = self.wanted.load();
        let same = wanted.address == listener.address
            && wanted.options.dual_stack == listener.options.dual_stack
            && wanted.transparent == listener.transparent;
        let named = listener.address.port() != 0 || wanted.name == listener.name;
        same && named
    }

    fn port(&self) -> u16 {
        self.bound
            .address()
            .tcp()
            .map_or(0, |address| address.port())
    }
}
