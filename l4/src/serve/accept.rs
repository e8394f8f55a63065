//! From a socket to connections.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::connection::Connection;
use super::{Shared, scarcity};
use crate::state::ListenerState;

/// After a failure to accept, above all for want of descriptors: nothing is gained by trying at once.
const PAUSE: Duration = Duration::from_millis(100);

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
    loop {
        let accepted = tokio::select! {
            accepted = next(&socket) => accepted,
            _ = &mut closing => break,
        };
        match accepted {
            Ok(accepted) => {
                scarcity::is_over();
                serve(accepted);
            }
            // The client has left before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let listener = listener.load();
                listener.counts.not_accepted();
                scarcity::tell(&listener.name, &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if *closed.borrow_and_update() == Closing::Gone
        && let Ok(socket) = socket.into_std()
    {
        take_rest(&socket, serve);
    }
    // Those that were taken last have begun when this has: they were there before.
    let _ = spawn_local(async {}).await;
}

/// The next connection, as soon as those that are there have what they need.
async fn next(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    while scarcity::is_waited_for() {
        tokio::time::sleep(PAUSE).await;
    }
    socket.accept().await
}

/// Serves clients that have connected meanwhile and know of nothing.
fn take_rest(socket: &std::net::TcpListener, serve: impl Fn((TcpStream, SocketAddr))) {
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                let adopted = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream));
                let _ = adopted.map(|stream| serve((stream, peer)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
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
