//! From a socket to connections.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::Shared;
use super::connection::Connection;
use crate::state::ListenerState;

/// After a failure to accept, above all for want of descriptors: nothing is gained by trying at once.
const PAUSE: Duration = Duration::from_millis(100);
/// So long nobody is told again.
const SAID_FOR: Duration = Duration::from_secs(60);

/// Accepts connections until the listener is closed; what waits then is served too, unless somebody else has the socket.
pub(super) async fn accept(
    socket: TcpListener,
    listener: Arc<ArcSwap<ListenerState>>,
    shared: Arc<Shared>,
    mut closed: watch::Receiver<Closing>,
) {
    let mut closing = closed.clone();
    let mut closing = pin!(closing.wait_for(|closing| *closing != Closing::No));
    let serve = |(stream, peer): (TcpStream, SocketAddr)| {
        let connection = Connection {
            stream,
            peer,
            listener: listener.load_full(),
            shared: shared.clone(),
        };
        drop(spawn_local(connection.serve()));
    };
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = &mut closing => break,
        };
        match accepted {
            Ok(accepted) => serve(accepted),
            // The client has left before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let listener = listener.load();
                listener.counts.not_accepted();
                // Once: it may be long until there are enough descriptors again, and a single one comes and goes.
                if said.is_none_or(|said| said.elapsed() > SAID_FOR) {
                    said = Some(Instant::now());
                    tracing::error!(listener = &*listener.name, %error, "cannot accept: connections wait");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if *closed.borrow_and_update() == Closing::Gone
        && let Ok(socket) = socket.into_std()
    {
        // Clients that have connected meanwhile know of nothing.
        while let Ok((stream, peer)) = socket.accept() {
            let adopted = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            let _ = adopted.map(|stream| serve((stream, peer)));
        }
    }
}

/// Whether a listener goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It does.
    No,
    /// Nobody listens there any more.
    Gone,
    /// A successor has the socket.
    HandedOver,
}
