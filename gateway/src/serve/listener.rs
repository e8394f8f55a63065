//! Listening sockets: one of each listener for every worker thread.
//!
//! A reload binds what is new, keeps what stays and closes what is gone. A
//! socket is known by its configured address; what its listener does with a
//! connection (certificate, HTTP/2) is looked up in the current state.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use chassis::config::Diagnostic;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::worker::{Listen, Workers};
use crate::state::ListenerState;

/// The sockets that are open.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By the listener's name.
    open: BTreeMap<Arc<str>, Open>,
}

struct Open {
    configured: SocketAddr,
    bound: SocketAddr,
    /// Set to true to end its accept loops.
    closing: watch::Sender<bool>,
}

/// A listener's sockets, bound and not yet given to the workers.
pub(crate) struct Bound {
    pub(crate) name: Arc<str>,
    configured: SocketAddr,
    /// What it is bound to.
    pub(crate) address: SocketAddr,
    sockets: Vec<TcpListener>,
}

const BACKLOG: i32 = 4096;

impl Listeners {
    /// Binds the listeners that are not open yet, without accepting anything.
    ///
    /// # Errors
    /// The first that cannot be bound; then none is.
    pub(crate) fn bind(
        &self,
        wanted: &[Arc<ListenerState>],
        sockets: usize,
    ) -> Result<Vec<Bound>, Diagnostic> {
        wanted
            .iter()
            .filter(|listener| !self.keeps(listener))
            .map(|listener| {
                bind(listener.address, sockets)
                    .map(|(address, sockets)| Bound {
                        name: listener.name.clone(),
                        configured: listener.address,
                        address,
                        sockets,
                    })
                    .map_err(|error| {
                        let ListenerState { name, address, .. } = &**listener;
                        let what =
                            format!("the listener `{name}` cannot listen on {address}: {error}");
                        Diagnostic::new(listener.place, what)
                    })
            })
            .collect()
    }

    /// Hands new sockets to the workers, and closes those that are no longer wanted.
    pub(crate) fn apply(
        &mut self,
        wanted: &[Arc<ListenerState>],
        bound: Vec<Bound>,
        workers: &Workers,
    ) {
        let gone = |open: &Open, name: &str| {
            !wanted
                .iter()
                .any(|one| *one.name == *name && one.address == open.configured)
        };
        self.open.retain(|name, open| {
            let gone = gone(open, name);
            if gone {
                tracing::info!(listener = &**name, address = %open.bound, "closed");
                open.closing.send_replace(true);
            }
            !gone
        });
        for Bound {
            name,
            configured,
            address,
            sockets,
        } in bound
        {
            let (closing, closed) = watch::channel(false);
            tracing::info!(listener = &*name, %address, "listening");
            for (worker, socket) in sockets.into_iter().enumerate() {
                workers.listen(
                    worker,
                    Listen {
                        name: name.clone(),
                        local: address,
                        socket,
                        closed: closed.clone(),
                    },
                );
            }
            self.open.insert(
                name,
                Open {
                    configured,
                    bound: address,
                    closing,
                },
            );
        }
    }

    /// The bound addresses by the listener's name.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.open
            .iter()
            .map(|(name, open)| (name.to_string(), open.bound.to_string()))
    }

    /// Closes everything.
    pub(crate) fn close(&self) {
        for open in self.open.values() {
            open.closing.send_replace(true);
        }
    }

    fn keeps(&self, listener: &ListenerState) -> bool {
        self.open
            .get(&listener.name)
            .is_some_and(|open| open.configured == listener.address)
    }
}

/// Binds `count` sockets to one address.
fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // SO_REUSEPORT would let us share the port with a stranger without a word,
    // so the first socket asks without it whether anybody is there.
    if address.port() != 0 {
        socket(address, false)?;
    }
    let first = socket(address, true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(socket(bound, true)?);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok((bound, sockets.into_iter().map(TcpListener::from).collect()))
}

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_a_port_with_each_other_but_with_nobody_else() {
        let (address, sockets) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(sockets.len(), 3);
        let error = bind(address, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert!(bind(address, 1).is_ok());
    }
}
