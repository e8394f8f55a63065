//! Listeners as sockets: which are bound, kept and closed by a start, a reload, a hand-over.
//!
//! A socket is known by its address, and where any port will do by the name of its listener too.
//! So a listener can get another name, certificate or limit without its socket; and what it does
//! with a connection is looked up when one is accepted.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chassis::config::Diagnostic;
use chassis::net::handover::Offered;
use chassis::net::{Address, Bound, Inherited, bind};
use tokio::sync::watch;

use super::worker::{Listen, Workers};
use crate::state::ListenerState;

/// The sockets that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    open: Vec<Open>,
}

/// A listener that is open, as workers see it.
pub(super) struct Listening {
    /// What the current configuration says about it.
    pub(super) current: ArcSwap<ListenerState>,
    /// What it is bound to.
    pub(super) bound: Address,
}

struct Open {
    listening: Arc<Listening>,
    bound: Bound,
    /// Set to true to end its accept loops.
    closing: watch::Sender<bool>,
}

/// What becomes of the sockets when a state comes into force.
pub(crate) struct Plan {
    /// For each listener of the state.
    listeners: Vec<(Arc<ListenerState>, Planned)>,
}

enum Planned {
    /// The one at this place among the open ones stays.
    Keep(usize),
    Open(Bound),
}

impl Listeners {
    /// Binds the listeners that are not open yet, without accepting anything.
    ///
    /// # Errors
    /// The first that cannot be bound; then nothing has changed.
    pub(crate) fn plan(
        &self,
        wanted: &[Arc<ListenerState>],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Plan, Diagnostic> {
        let kept = self.kept(wanted);
        let mut held: BTreeSet<u16> = self.open.iter().filter_map(Open::port).collect();
        let mut listeners = Vec::with_capacity(wanted.len());
        for (listener, kept) in wanted.iter().zip(kept) {
            let planned = match kept {
                Some(at) => Planned::Keep(at),
                None => {
                    let ListenerState {
                        name,
                        address,
                        options,
                        ..
                    } = &**listener;
                    let bound = bind(name, address, options, workers, &held, inherited);
                    let bound = bound.map_err(|error| {
                        let what =
                            format!("the listener `{name}` cannot listen on {address}: {error}");
                        Diagnostic::new(listener.place, what)
                    })?;
                    held.extend(bound.address().tcp().map(|tcp| tcp.port()));
                    Planned::Open(bound)
                }
            };
            listeners.push((listener.clone(), planned));
        }
        Ok(Plan { listeners })
    }

    /// Opens, keeps and closes.
    pub(crate) fn apply(&mut self, plan: Plan, workers: &Workers) {
        let mut before: Vec<Option<Open>> = self.open.drain(..).map(Some).collect();
        for (listener, planned) in plan.listeners {
            let open = match planned {
                Planned::Keep(at) => before[at].take().map(|open| open.update(listener)),
                Planned::Open(bound) => Some(Open::start(listener, bound, workers)),
            };
            self.open.extend(open);
        }
        for gone in before.into_iter().flatten() {
            let name = gone.listening.current.load().name.clone();
            tracing::info!(listener = &*name, address = %gone.bound.address(), "closed");
            gone.bound.remove_file();
            gone.closing.send_replace(true);
        }
    }

    /// Names and bound addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (Arc<str>, &Address)> {
        self.open.iter().map(|open| {
            let name = open.listening.current.load().name.clone();
            (name, open.bound.address())
        })
    }

    /// Every socket, for a successor.
    pub(crate) fn offered<'a>(&'a self, names: &'a [Arc<str>]) -> Vec<Offered<'a>> {
        let named = self.open.iter().zip(names);
        let offered = named.flat_map(|(open, name)| {
            open.bound.descriptors().map(move |socket| Offered {
                name,
                address: open.bound.address(),
                removable: open.bound.owns_file(),
                socket,
            })
        });
        offered.collect()
    }

    /// Accepts nothing more; connections that wait in the queues now still count as accepted.
    pub(crate) fn close(&mut self) {
        for open in self.open.drain(..) {
            open.closing.send_replace(true);
        }
    }

    /// Removes the files of Unix sockets.
    pub(crate) fn remove_files(&self) {
        for open in &self.open {
            open.bound.remove_file();
        }
    }

    /// Which of the open ones each wanted listener keeps: first by name, then whoever has the address.
    fn kept(&self, wanted: &[Arc<ListenerState>]) -> Vec<Option<usize>> {
        let mut free: Vec<bool> = vec![true; self.open.len()];
        let mut kept: Vec<Option<usize>> = vec![None; wanted.len()];
        for by_name in [true, false] {
            for (listener, kept) in wanted.iter().zip(&mut kept) {
                if kept.is_some() || (!by_name && listener.address.takes_any_port()) {
                    continue;
                }
                let fits = |at: &usize| free[*at] && self.open[*at].suits(listener, by_name);
                *kept = (0..self.open.len()).find(fits);
                if let Some(at) = *kept {
                    free[at] = false;
                }
            }
        }
        kept
    }
}

impl Open {
    fn start(listener: Arc<ListenerState>, bound: Bound, workers: &Workers) -> Self {
        let name = listener.name.clone();
        let address = bound.address().clone();
        if let Err(error) = bound.open(&listener.options) {
            tracing::error!(listener = &*name, %address, %error, "not every option is set");
        }
        let listening = Arc::new(Listening {
            current: ArcSwap::new(listener),
            bound: address.clone(),
        });
        let (closing, closed) = watch::channel(false);
        match bound.for_workers(workers.count()) {
            Ok(sockets) => {
                tracing::info!(listener = &*name, %address, "listening");
                for (worker, socket) in sockets {
                    let (listening, closed) = (listening.clone(), closed.clone());
                    workers.listen(
                        worker,
                        Listen {
                            listening,
                            socket,
                            closed,
                        },
                    );
                }
            }
            Err(error) => {
                tracing::error!(listener = &*name, %address, %error, "cannot accept");
            }
        }
        Self {
            listening,
            bound,
            closing,
        }
    }

    fn update(self, listener: Arc<ListenerState>) -> Self {
        let before = self.listening.current.swap(listener.clone());
        if before.options != listener.options
            && let Err(error) = self.bound.open(&listener.options)
        {
            let address = self.bound.address();
            tracing::error!(listener = &*listener.name, %address, %error, "not every option is set");
        }
        self
    }

    /// Whether this socket can be that listener's.
    fn suits(&self, listener: &ListenerState, by_name: bool) -> bool {
        let current = self.listening.current.load();
        (!by_name || current.name == listener.name)
            && current.address == listener.address
            // Whether a socket takes both families is fixed when it is bound.
            && current.options.dual_stack == listener.options.dual_stack
    }

    fn port(&self) -> Option<u16> {
        self.bound.address().tcp().map(|tcp| tcp.port())
    }
}
