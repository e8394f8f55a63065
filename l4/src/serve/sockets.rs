//! The sockets of one listener, and whoever takes what comes there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chassis::net::{Address, Bound, BoundDatagram, Inherited, Listener, bind, bind_datagram};
use tokio::sync::watch;

use super::accept::{Closing, accept};
use super::{Shared, Workers, datagrams};
use crate::datagram::{self, Bequest, Stage};
use crate::forward::Transport;
use crate::state::ListenerState;

/// Sockets that are bound; nobody takes what comes there yet.
pub(super) enum Sockets {
    Tcp(Bound),
    Udp(BoundDatagram),
}

/// Whoever takes what comes there.
pub(super) enum Takers {
    Tcp(watch::Sender<Closing>),
    Udp(Arc<datagram::Shared>),
}

/// So many octets wait for a thread; the kernel gives at most what `net.core.rmem_max` says.
const RECEIVE_BUFFER: usize = 2 << 20;

impl Sockets {
    /// Binds a listener; `held` are the ports where this process listens already, with the same protocol.
    pub(super) fn bind(
        listener: &ListenerState,
        workers: usize,
        held: &BTreeSet<u16>,
        inherited: &mut Inherited,
    ) -> io::Result<Self> {
        let ListenerState {
            name,
            address,
            options,
            ..
        } = listener;
        match listener.transport {
            Transport::Tcp => {
                let address = Address::Tcp(*address);
                let bound = bind(name, &address, options, workers, held, inherited);
                bound.map(Self::Tcp)
            }
            Transport::Udp => {
                let held = held.contains(&address.port());
                let bound = bind_datagram(name, *address, options, workers, held, inherited);
                bound.map(Self::Udp)
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        match self {
            Self::Tcp(bound) => bound.address(),
            Self::Udp(bound) => bound.address(),
        }
    }

    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Tcp(bound) => bound.descriptors().collect(),
            Self::Udp(bound) => bound.descriptors().collect(),
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Udp(_) => Transport::Udp,
        }
    }

    /// Has what comes there be taken.
    pub(super) fn open(
        &self,
        wanted: &Arc<ArcSwap<ListenerState>>,
        workers: &Workers,
        shared: &Arc<Shared>,
        sessions: Vec<Bequest>,
    ) -> io::Result<Takers> {
        match self {
            Self::Tcp(bound) => open_tcp(bound, wanted, workers, shared).map(Takers::Tcp),
            Self::Udp(bound) => {
                let opened = open_udp(bound, &wanted.load(), workers, shared, sessions);
                opened.map(Takers::Udp)
            }
        }
    }

    /// Follows other settings.
    pub(super) fn set(&self, listener: &ListenerState) -> io::Result<()> {
        match self {
            Self::Tcp(bound) => bound.open(&listener.options),
            Self::Udp(_) => Ok(()),
        }
    }
}

impl Takers {
    /// Follows another state.
    pub(super) fn follow(&self, listener: &ListenerState, shared: &Arc<Shared>) {
        if let Self::Udp(datagrams) = self {
            let plan = datagrams::plan(listener, shared);
            datagrams.plan.store(Arc::new(plan));
        }
    }

    /// Closes for another listener that has the address. The kernel hands each client to one of all sockets there, so
    /// that the sessions of this one would hold off clients of the other.
    pub(super) fn give_way(&self) {
        match self {
            Self::Tcp(_) => self.close(Closing::Gone),
            Self::Udp(datagrams) => datagrams.close(Stage::Ended),
        }
    }

    /// Waits until nothing comes from there any more; datagrams have an end of their own.
    pub(super) async fn closed(&self) {
        if let Self::Tcp(told) = self {
            told.closed().await;
        }
    }

    pub(super) fn close(&self, closing: Closing) {
        match self {
            Self::Tcp(told) => {
                told.send_replace(closing);
            }
            Self::Udp(datagrams) => match closing {
                Closing::No => {}
                Closing::Gone => datagrams.close(Stage::Draining),
                Closing::HandedOver => datagrams.close(Stage::Replaced),
            },
        }
    }
}

fn open_tcp(
    bound: &Bound,
    wanted: &Arc<ArcSwap<ListenerState>>,
    workers: &Workers,
    shared: &Arc<Shared>,
) -> io::Result<watch::Sender<Closing>> {
    bound.open(&wanted.load().options)?;
    let (closing, closed) = watch::channel(Closing::No);
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
    Ok(closing)
}

fn open_udp(
    bound: &BoundDatagram,
    listener: &ListenerState,
    workers: &Workers,
    shared: &Arc<Shared>,
    sessions: Vec<Bequest>,
) -> io::Result<Arc<datagram::Shared>> {
    // A smaller one than was asked for does as well.
    let _ = bound.set_receive_buffer(RECEIVE_BUFFER);
    let plan = datagrams::plan(listener, shared);
    let datagrams = Arc::new(datagram::Shared::new(plan, listener.datagrams.clone())?);
    if !sessions.is_empty() {
        datagrams.inherit(sessions);
    }
    let mut sockets = bound.for_workers(workers.count())?.into_iter().enumerate();
    // A thread ends by itself, after the listener.
    let started = sockets.try_for_each(|(number, socket)| {
        datagram::start(number, socket, datagrams.clone()).map(drop)
    });
    if let Err(error) = started {
        // Some of them are there.
        datagrams.close(Stage::Ended);
        return Err(error);
    }
    Ok(datagrams)
}
