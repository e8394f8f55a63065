//! Listeners as sockets: which are bound, kept and closed by a start, a reload, a hand-over.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chassis::config::Diagnostic;
use chassis::net::handover::Offered;
use chassis::net::{Address, Inherited};

use super::accept::Closing;
use super::estate::Sessions;
use super::sockets::{Sockets, Takers};
use super::{Shared, Workers};
use crate::compile::NOT_ALLOWED;
use crate::config::Mode;
use crate::datagram::{self, Bequest};
use crate::state::ListenerState;

/// The listeners that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
    /// Whoever took what came to those that are closed.
    closing: Vec<Takers>,
}

/// A listener with its sockets.
struct Open {
    wanted: Arc<ArcSwap<ListenerState>>,
    sockets: Sockets,
    takers: Takers,
}

/// What becomes of the sockets when a state comes into force.
pub(crate) struct Plan {
    listeners: Vec<(ListenerState, Planned)>,
    /// What a predecessor has told.
    sessions: Sessions,
}

enum Planned {
    /// The one at this place among the open ones stays.
    Keep(usize),
    Open(Sockets),
}

impl Plan {
    /// Goes on with the sessions of a predecessor.
    pub(crate) fn inherit(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }
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
        for listener in wanted.iter().filter(|one| is_ours(one)) {
            let suits = |at: &usize| free[*at] && self.open[*at].suits(listener);
            let kept = (0..self.open.len()).find(suits);
            let plan = match kept {
                Some(at) => {
                    free[at] = false;
                    Planned::Keep(at)
                }
                None => {
                    let same = |open: &&Open| open.sockets.transport() == listener.transport;
                    let held: BTreeSet<u16> =
                        self.open.iter().filter(same).map(Open::port).collect();
                    let bound = Sockets::bind(listener, workers, &held, inherited);
                    Planned::Open(bound.map_err(|error| {
                        let ListenerState {
                            name,
                            address,
                            options,
                            place,
                            ..
                        } = listener;
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
        Ok(Plan {
            listeners: planned,
            sessions: Sessions::new(),
        })
    }

    /// Opens, keeps and closes.
    pub(crate) fn apply(&mut self, mut plan: Plan, workers: &Workers, shared: &Arc<Shared>) {
        let mut before: Vec<Option<Open>> = self.open.drain(..).map(Some).collect();
        for (listener, planned) in plan.listeners {
            let name = listener.name.clone();
            let opened = match planned {
                Planned::Keep(at) => before[at]
                    .take()
                    .map(|kept| Ok(kept.keep(listener, shared))),
                Planned::Open(bound) => {
                    let sessions = plan.sessions.remove(&*name).unwrap_or_default();
                    Some(Open::start(listener, bound, workers, shared, sessions))
                }
            };
            match opened {
                Some(Ok(open)) => self.open.push(open),
                Some(Err(error)) => tracing::error!(listener = &*name, %error, "cannot serve"),
                None => {}
            }
        }
        for gone in before.into_iter().flatten() {
            tracing::info!(listener = &*gone.wanted.load().name, address = %gone.sockets.address(), "closed");
            match self.open.iter().any(|open| open.covers(&gone)) {
                true => gone.takers.give_way(),
                false => gone.takers.close(Closing::Gone),
            }
        }
    }

    /// Names and bound addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Arc<str>, &Address)> {
        self.open
            .iter()
            .map(|open| (open.wanted.load().name.clone(), open.sockets.address()))
    }

    /// Names, for [`Self::offered`].
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.addresses().map(|(name, _)| name).collect()
    }

    /// Those of datagrams, by name.
    pub(crate) fn datagrams(&self) -> Vec<(Arc<str>, Arc<datagram::Shared>)> {
        let open = self.open.iter();
        let shared = |open: &Open| match &open.takers {
            Takers::Udp(shared) => Some((open.wanted.load().name.clone(), shared.clone())),
            Takers::Tcp(_) => None,
        };
        open.filter_map(shared).collect()
    }

    /// Every socket, for a successor, with the names of the listeners.
    pub(crate) fn offered<'a>(&'a self, names: &'a [Arc<str>]) -> Vec<Offered<'a>> {
        let open = self.open.iter().zip(names);
        open.flat_map(|(open, name)| {
            let descriptors = open.sockets.descriptors().into_iter();
            descriptors.map(move |socket| Offered {
                name,
                address: open.sockets.address(),
                removable: false,
                socket,
            })
        })
        .collect()
    }

    /// Takes nothing more. What waits in the sockets is served by a successor where there is one, and by this process
    /// otherwise.
    pub(crate) fn close(&mut self, handed_over: bool) {
        for Open {
            sockets, takers, ..
        } in self.open.drain(..)
        {
            // Before whoever takes has looked for the last time: nobody is to connect to what nobody serves.
            drop(sockets);
            takers.close(match handed_over {
                true => Closing::HandedOver,
                false => Closing::Gone,
            });
            self.closing.push(takers);
        }
    }

    /// Waits until what has waited in the sockets that are closed is being served.
    pub(crate) async fn closed(&self) {
        for takers in &self.closing {
            takers.closed().await;
        }
    }
}

/// Whether this process takes what comes there.
fn is_ours(listener: &ListenerState) -> bool {
    listener.mode == Mode::Proxy
}

impl Open {
    fn start(
        wanted: ListenerState,
        sockets: Sockets,
        workers: &Workers,
        shared: &Arc<Shared>,
        sessions: Vec<Bequest>,
    ) -> io::Result<Self> {
        let wanted = Arc::new(ArcSwap::from_pointee(wanted));
        let takers = sockets.open(&wanted, workers, shared, sessions)?;
        tracing::info!(listener = &*wanted.load().name, address = %sockets.address(), "listening");
        Ok(Self {
            wanted,
            sockets,
            takers,
        })
    }

    /// Goes on with other settings. What the kernel refuses of them is told, and tried again at the next reload: the
    /// listener serves all the same.
    fn keep(self, listener: ListenerState, shared: &Arc<Shared>) -> Self {
        if let Err(error) = self.sockets.set(&listener) {
            tracing::error!(listener = &*listener.name, %error, "options are not in force");
        }
        self.takers.follow(&listener, shared);
        self.wanted.store(Arc::new(listener));
        self
    }

    /// Whether these sockets can be that listener's.
    fn suits(&self, listener: &ListenerState) -> bool {
        let wanted = self.wanted.load();
        let same = wanted.address == listener.address
            && wanted.options.dual_stack == listener.options.dual_stack
            && wanted.transparent == listener.transparent;
        let named = listener.address.port() != 0 || wanted.name == listener.name;
        same && named && self.sockets.transport() == listener.transport
    }

    /// Whether what is sent to the address of another comes here once that is gone.
    fn covers(&self, other: &Self) -> bool {
        let addresses = (self.sockets.address().tcp(), other.sockets.address().tcp());
        let (Some(own), Some(others)) = addresses else {
            return false;
        };
        let dual_stack = self.wanted.load().options.dual_stack;
        let family = own.is_ipv4() == others.is_ipv4() || own.is_ipv6() && dual_stack;
        let holds = own.ip() == others.ip() || own.ip().is_unspecified() && family;
        let transports = (self.sockets.transport(), other.sockets.transport());
        holds && own.port() == others.port() && transports.0 == transports.1
    }

    fn port(&self) -> u16 {
        self.sockets
            .address()
            .tcp()
            .map_or(0, |address| address.port())
    }
}
